"""Ids of a collection -> names of files that any system takes, below one folder. An id is not a path.

An id comes from a list, an archive or a file system, and may be absolute, lead upwards, or hold what another system
reserves. Whatever it is, what is made of it here lies below the folder that was asked for, and no two are one file.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from lookalike.atomic import check_new
from lookalike.errors import UsageError

#: Names that Windows keeps for devices, whatever their ending.
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)", re.IGNORECASE)
_UNFIT = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"|?*\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]')
# Bytes of a name and of all of it, and folders: every system opens that.
_LONGEST, _LONGEST_PATH, _DEEPEST = 200, 800, 20


def output_names(ids: Sequence[str], ending: str) -> list[str]:
    r"""Turn ids into relative names of files.

    Parameters
    ----------
    ids : sequence of str
        Any text.
    ending : str
        Of the files, as ``.png``; it takes the place of an image's own where that leaves the names different. Empty where
        each keeps its own.

    Returns
    -------
    list of str
        One an id, with ``/`` between folders: relative, without ``.`` and ``..``, free of what some system can't hold, and
        different from each other where case and the form of accents don't count. Where a file would lie where another
        needs a folder, too, it gets another name.

    Examples
    --------
    >>> output_names(["cats/a.jpg", "../../etc/passwd", "C:\\con.bmp"], ".png")
    ['cats/a.png', 'etc/passwd.png', 'C_/_con.png']
    >>> output_names(["A.PNG", "a.png", "a.jpg"], ".png")
    ['A.png', 'a-2.png', 'a.jpg.png']
    """
    plain = [_parts(identity) for identity in ids]
    bare = [(*parts[:-1], os.path.splitext(parts[-1])[0]) for parts in plain] if ending else plain
    if ending and len({_folded("/".join(parts)) for parts in bare}) < len(ids):  # a.jpg beside a.png
        bare = [p if _folded(os.path.splitext(p[-1])[1]) != ending else b for p, b in zip(plain, bare, strict=True)]
    taken: set[str] = set()
    folders = {_folded("/".join(parts[:i])) for parts in bare for i in range(1, len(parts))}
    names = []
    for parts in bare:
        name = "/".join((*parts[:-1], _fit(parts[-1], ending)))
        n = 2
        while _folded(name) in taken or _folded(name) in folders:
            stem, own = (parts[-1], ending) if ending else os.path.splitext(parts[-1])
            name = "/".join((*parts[:-1], _fit(f"{stem}-{n}", own)))
            n += 1
        taken.add(_folded(name))
        names.append(name)
    return names


def output_paths(
    ids: Sequence[str], folder: Path, ending: str, *, inputs: Iterable[Path] = (), overwrite: bool = False
) -> list[Path]:
    """Say where files that are made of ids go; nothing is made.

    Parameters
    ----------
    ids : sequence of str
        Any text.
    folder : Path
        All of them lie below it; it needn't exist.
    ending : str
        As of :func:`output_names`.
    inputs : iterable of Path
        Files that none of them may be, whatever ``overwrite`` says.
    overwrite : bool
        Whether plain files that exist may be replaced.

    Returns
    -------
    list of Path
        One an id.

    Raises
    ------
    UsageError
        If one exists and may not be replaced, is one of the inputs, or a link lies on the way to it.
    """
    paths = [folder / name for name in output_names(ids, ending)]
    own = {_identity(path) for path in inputs} - {None}
    links: dict[Path, bool] = {}
    for path in paths:
        for parent in path.parents:
            if parent == folder:
                break
            if links.setdefault(parent, parent.is_symlink()):
                raise UsageError(f"{parent}: a link lies there, which would lead out of {folder}; pick another folder")
        if own and _identity(path) in own:
            raise UsageError(f"{path}: one of the images that are read; pick another folder")
        check_new(path, overwrite=overwrite)
    return paths


def check_outputs(*paths: Path | None, overwrite: bool, inputs: Iterable[str | Path] = ()) -> None:
    """Refuse, before a command's work, what it couldn't write after it.

    Parameters
    ----------
    *paths : Path or None
        Files that were asked for.
    overwrite : bool
        Whether plain files that exist may be replaced.
    inputs : iterable of str or Path
        Files that none of them may be, whatever ``overwrite`` says; what is no file is passed over.

    Raises
    ------
    UsageError
        If one exists and may not be replaced, is one of the inputs, or two are one file.
    """
    named = [path for path in paths if path is not None]
    own = {_identity(Path(path)) for path in inputs} - {None} if named else set()
    for i, path in enumerate(named):
        if own and _identity(path) in own:
            raise UsageError(f"{path}: a file that is read; pick another name for what is written")
        check_new(path, overwrite=overwrite)
        if os.path.abspath(path) in {os.path.abspath(other) for other in named[:i]}:
            raise UsageError(f"{path}: given twice; two files can't have one name")


def _parts(identity: str) -> tuple[str, ...]:
    text = unicodedata.normalize("NFC", identity.replace("\\", "/"))
    parts = [_plain(part) for part in text.split("/") if part.strip(" .")]
    parts = parts or ["_"]
    whole = "/".join(parts)
    if len(parts) > _DEEPEST or len(whole.encode()) > _LONGEST_PATH:
        parts = [hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:16], parts[-1]]
    return tuple(parts)


def _plain(part: str) -> str:
    part = _UNFIT.sub("_", part).rstrip(" .").lstrip(" ") or "_"
    if _RESERVED.fullmatch(part.split(".", 1)[0].rstrip()):
        part = f"_{part}"
    return _shorten(part)


def _shorten(part: str, room: int = 0) -> str:
    data = part.encode()
    if len(data) + room <= _LONGEST:
        return part
    mark = hashlib.sha256(data).hexdigest()[:12]
    return f"{data[: _LONGEST - room - 13].decode(errors='ignore').rstrip(' .')}-{mark}"


def _fit(stem: str, ending: str) -> str:
    name = _shorten(stem, len(ending)) + ending
    return f"_{name}" if _RESERVED.fullmatch(name.split(".", 1)[0].rstrip()) else name


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKD", name).casefold())


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
