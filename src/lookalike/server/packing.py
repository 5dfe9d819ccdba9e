"""Files by their ids -> a ZIP archive that is made while it is sent: nothing of it lies in memory or in a folder."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence

#: Bytes of all files of one archive.
MOST = 2**30
#: What Windows takes no file of, with any ending.
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE | re.DOTALL)
#: What some system takes as more than a character of a name, and what a terminal would obey.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"|?*\ud800-\udfff\u202a-\u202e\u2066-\u2069]')


def names_of(ids: Sequence[str]) -> list[str]:
    r"""Return what each file is to be called in an archive, so that it stays in the folder that it is unpacked in.

    Parameters
    ----------
    ids : sequence of str
        Ids of images: paths, of whatever system, that may be absolute or lead upwards.

    Returns
    -------
    list of str
        One each, all different, also where case makes no difference.

    Examples
    --------
    >>> names_of(["cats/tom.jpg", "..\\..\\tom.jpg", "/cats/TOM.jpg", "C:/con.png"])
    ['cats/tom.jpg', 'tom.jpg', 'cats/TOM-2.jpg', 'C_/_con.png']
    """
    taken: set[str] = set()
    return [_new(_safe(identity), taken) for identity in ids]


def _safe(identity: str) -> str:
    parts = []
    for part in re.split(r"[/\\]", identity):
        if part in ("", ".", ".."):
            continue
        plain = _UNSAFE.sub("_", part).rstrip(". ") or "_"  # Windows drops what stands at the end
        parts.append(f"_{plain}" if _RESERVED.fullmatch(plain) else plain)
    return "/".join(parts) or "image"


def _new(name: str, taken: set[str]) -> str:
    folder, slash, file = name.rpartition("/")
    stem, dot, ending = file.rpartition(".")
    stem, ending = (stem, dot + ending) if stem else (file, "")
    found, number = name, 1
    while found.casefold() in taken:
        number += 1
        found = f"{folder}{slash}{stem}-{number}{ending}"
    taken.add(found.casefold())
    return found


def packed(ids: Sequence[str], read: Callable[[str], bytes]) -> Iterator[bytes]:
    """Make an archive, piece by piece.

    Parameters
    ----------
    ids : sequence of str
        Whose files.
    read : callable
        An id -> its file.

    Yields
    ------
    bytes
        The archive; each file is read when those before it have been taken.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w") as archive:
        for identity, name in zip(ids, names_of(ids), strict=True):
            archive.writestr(name, read(identity))
            yield sink.taken()
    yield sink.taken()


class _Sink(io.RawIOBase):
    """Holds what was written until it is taken; it can't go back."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._parts.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


__all__ = ["names_of", "packed"]
