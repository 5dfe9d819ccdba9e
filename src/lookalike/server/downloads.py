"""Files by their ids -> a ZIP archive that is made while it is sent: nothing of it lies in memory or in a folder."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Sequence

from lookalike.outputs import output_names

#: Bytes of all files of one archive.
MAX_BYTES = 2**30


def zip_stream(ids: Sequence[str], read: Callable[[str], bytes]) -> Iterator[bytes]:
    """Make a ZIP archive, piece by piece.

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
        for identity, name in zip(ids, output_names(ids, ""), strict=True):
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


__all__ = ["MAX_BYTES", "zip_stream"]
