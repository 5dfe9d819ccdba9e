"""A tar, compressed or not -> its bytes in order, as ``tarfile`` and a reader of members ask for them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import IO, Any, cast

from lookalike.collections.ids import as_text
from lookalike.errors import CollectionError

_MODULES = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ": "lzma"}
_CHUNK = 1 << 20
_HEADER_BYTES = 1 << 20  # a tar's long names and attributes; more is an attack
_BOMB_BYTES, _BOMB_RATIO = 1 << 30, 100  # images hardly shrink, so what inflates that much holds none


class TarStream:
    """The inflated bytes of a tar; going forwards inflates on, going back begins again."""

    def __init__(self, path: str) -> None:
        self._raw = Path(path).open("rb")  # noqa: SIM115
        magic = self._raw.read(5)
        self._raw.seek(0)
        module = opener_of(magic)
        self.is_compressed = module is not None
        self._file = cast("IO[bytes]", self._raw if module is None else module.open(self._raw))
        self._path = path
        self._at = 0
        self.last = b""

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._raw.close()

    def tell(self) -> int:
        """Return how many bytes were passed."""
        return self._at

    def read(self, length: int) -> bytes:
        """Read as ``tarfile`` does, which wants headers only; ``last`` keeps the latest."""
        if not 0 <= length <= _HEADER_BYTES:
            raise ValueError(f"a header of {length:,} bytes")
        self.last = self._file.read(length)
        self._at += len(self.last)
        return self.last

    def take(self, length: int) -> bytes:
        """Read the content of a member, whole."""
        parts = []
        while length and (part := self._file.read(min(length, _CHUNK))):
            parts.append(part)
            length -= len(part)
            self._at += len(part)
        if length:
            raise EOFError(f"{length:,} bytes are missing at the end")
        return b"".join(parts)

    def seek(self, place: int) -> None:
        """Go to a place; CollectionError if it inflates as no archive of images does."""
        if not self.is_compressed:
            self._at = self._file.seek(place)
            return
        if place < self._at:
            self._at = self._file.seek(0)
        while self._at < place and (part := self._file.read(min(place - self._at, _CHUNK))):
            self._at += len(part)
            if self._at > max(_BOMB_BYTES, _BOMB_RATIO * self._raw.tell()):
                raise CollectionError(
                    f"{as_text(self._path)}: inflates more than {_BOMB_RATIO}-fold, as no archive of images does; "
                    "unpack it first"
                )


def opener_of(start: bytes) -> Any:
    """Return the module that inflates a file.

    Parameters
    ----------
    start : bytes
        The file's first bytes.

    Returns
    -------
    module or None
        None where it isn't compressed.
    """
    name = next((name for magic, name in _MODULES.items() if start.startswith(magic)), None)
    return None if name is None else import_module(name)
