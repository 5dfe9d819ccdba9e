"""Arrays <-> one file that is mapped into memory, and checked block by block as it is touched.

Opening costs a millisecond, however large the file is; a block's CRC-32 is compared the first time that something in it is
asked for. So a changed byte is an error and never a wrong value, and what isn't needed isn't read. The file is made beside
its name and put in place whole; it is never changed afterwards.

The form: ``LOOKVEC1``, then little-endian the length of the head and its CRC-32 (two uint32), the head (JSON), then, each from
a multiple of 4,096 bytes on, the arrays, then the CRC-32 of every 256 KiB from the first array's start to the last one's end.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.atomic import temporary_beside
from lookalike.cores import usable_cores

BLOCK_BYTES = 2**18
_MAGIC = b"LOOKVEC1"
_ALIGNED = 4096
_HEAD_BYTES = 4 * _ALIGNED  # room for the head, which is written last


class ChecksumError(Exception):
    """A file of mapped arrays isn't what was written."""


class MappedArrays:
    """An open file of mapped arrays.

    Parameters
    ----------
    path : Path
        The file.

    Attributes
    ----------
    facts : dict
        What was given to :func:`writing_mapped`.

    Raises
    ------
    ChecksumError
        If it is no such file, is cut short, or its head isn't what was written.
    OSError
        If it can't be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as f:
            start = f.read(_HEAD_BYTES)
            length, check = (int(n) for n in np.frombuffer(start[8:16].ljust(8, b"\0"), "<u4"))
            head = start[16 : 16 + length]
            if start[:8] != _MAGIC or zlib.crc32(head) != check:
                raise ChecksumError(f"{path}: its head isn't what was written")
            stated = json.loads(head)
            f.seek(stated["end"])
            table = f.read()
        if zlib.crc32(table) != stated["table_crc32"]:
            raise ChecksumError(f"{path}: cut short, or its table of checks isn't what was written")
        self.facts: dict[str, Any] = stated["facts"]
        self._end = int(stated["end"])
        self._checks = np.frombuffer(table, "<u4")
        self._seen = np.zeros(len(self._checks), np.bool_)
        self._bytes = np.memmap(path, np.uint8, "r")
        self._places = {name: int(place["offset"]) for name, place in stated["arrays"].items()}
        self._arrays = {name: _array(self._bytes, place) for name, place in stated["arrays"].items()}

    @property
    def names(self) -> list[str]:
        """Of its arrays."""
        return list(self._arrays)

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array, without reading it."""
        return self._arrays[name].shape

    def array(self, name: str) -> NDArray[Any]:
        """Return a whole array, checked.

        Parameters
        ----------
        name : str
            As it was written.

        Returns
        -------
        ndarray
            Read-only, mapped.

        Raises
        ------
        ChecksumError
            If it isn't what was written.
        """
        return self.rows(name, 0, len(self._arrays[name]))

    def rows(self, name: str, start: int, stop: int, *, checked: bool = True) -> NDArray[Any]:
        """Return some consecutive rows of an array, checked.

        Parameters
        ----------
        name : str
            As it was written.
        start, stop : int
            Rows.
        checked : bool
            False leaves the check to who reads a part of them.

        Returns
        -------
        ndarray
            Read-only, mapped.

        Raises
        ------
        ChecksumError
            If they aren't what was written.
        """
        array = self._arrays[name]
        if checked and stop > start:
            size = array.strides[0]
            place = self._places[name] - _HEAD_BYTES
            self._check((place + start * size) // BLOCK_BYTES, (place + stop * size - 1) // BLOCK_BYTES + 1)
        return array[start:stop]

    def check_rows(self, name: str, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> None:
        """Check some stretches of rows of an array together, on all cores.

        Parameters
        ----------
        name : str
            As it was written.
        starts, stops : ndarray of int64, shape (s,)
            Rows; of no empty stretch.

        Raises
        ------
        ChecksumError
            If they aren't what was written.
        """
        place, size = self._places[name] - _HEAD_BYTES, self._arrays[name].strides[0]
        wanted = np.zeros(len(self._checks), np.bool_)
        for first, last in zip(
            (place + starts * size) // BLOCK_BYTES, (place + stops * size - 1) // BLOCK_BYTES, strict=True
        ):
            wanted[first : last + 1] = True
        self._check_blocks(np.flatnonzero(wanted & ~self._seen))

    def take(self, name: str, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[Any]:
        """Return a copy of some rows of an array, checked.

        Raises
        ------
        ChecksumError
            If they aren't what was written.
        """
        array, wanted = self._arrays[name], np.asarray(rows, np.int64)
        place, size = self._places[name] - _HEAD_BYTES, array.strides[0]
        for edge in (wanted * size + place, wanted * size + place + size - 1):
            for block in np.unique(edge // BLOCK_BYTES).tolist():
                self._check(block, block + 1)
        return np.asarray(array[wanted])

    def check(self) -> None:
        """Check all that hasn't been yet.

        Raises
        ------
        ChecksumError
            If a block isn't what was written.
        """
        self._check(0, len(self._checks))

    def _check(self, first: int, last: int) -> None:
        if not self._seen[first:last].all():
            self._check_blocks(first + np.flatnonzero(~self._seen[first:last]))

    def _check_blocks(self, blocks: NDArray[np.int64]) -> None:
        if not len(blocks):
            return
        parts = [part.tolist() for part in np.array_split(blocks, min(usable_cores(), -(-len(blocks) // 16)))]
        if len(parts) == 1:
            good = [self._is_good(parts[0])]
        else:
            with ThreadPoolExecutor(len(parts)) as pool:
                good = list(pool.map(self._is_good, parts))
        if not all(good):
            raise ChecksumError(f"{self.path}: a block isn't what was written")
        self._seen[blocks] = True

    def _is_good(self, blocks: list[int]) -> bool:
        data = self._bytes.data[_HEAD_BYTES : self._end]
        return all(
            zlib.crc32(data[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES]) == int(self._checks[block])
            for block in blocks
        )


@contextmanager
def writing_mapped(
    path: Path, facts: Mapping[str, Any], shapes: Mapping[str, tuple[Any, tuple[int, ...]]]
) -> Iterator[dict[str, NDArray[Any]]]:
    """Make a file of mapped arrays: they are filled in the block, and it is put in place when that ends without an error.

    It isn't flushed to the disk: a power cut may leave a file that fails its checks, which is why only what can be made
    again belongs in one.

    Parameters
    ----------
    path : Path
        The file, replaced if it exists.
    facts : mapping
        Anything that JSON takes, a few kilobytes at most; what the block adds to it is kept too.
    shapes : mapping
        Name -> (dtype, shape) of each array; none of them empty.

    Yields
    ------
    dict of ndarray
        To be filled; mapped, so that they may be larger than the memory.

    Raises
    ------
    OSError
        If the folder or the disk refuses.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp(), "squares.mapped")
    >>> with writing_mapped(file, {"what": "squares"}, {"squares": ("<i8", (4,))}) as arrays:
    ...     arrays["squares"][:] = np.arange(4) ** 2
    >>> mapped = MappedArrays(file)
    >>> mapped.facts, mapped.array("squares").tolist()
    ({'what': 'squares'}, [0, 1, 4, 9])
    """
    places: dict[str, dict[str, Any]] = {}
    end = _HEAD_BYTES
    for name, (dtype, shape) in shapes.items():
        start = -(-end // _ALIGNED) * _ALIGNED
        end = start + np.dtype(dtype).itemsize * int(np.prod(shape))
        places[name] = {"dtype": np.dtype(dtype).str, "shape": list(shape), "offset": start}
    temporary = temporary_beside(path)
    try:
        with temporary.open("xb") as f:
            # Blocks of the disk are taken now: a full disk is an error here, and not a fault of the mapping later.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(f.fileno(), 0, end)
            else:
                f.truncate(end)
        data = np.memmap(temporary, np.uint8, "r+")
        yield {name: _array(data, place) for name, place in places.items()}
        blocks = [
            zlib.crc32(data[start : min(start + BLOCK_BYTES, end)].data)
            for start in range(_HEAD_BYTES, end, BLOCK_BYTES)
        ]
        table = np.array(blocks, "<u4").tobytes()
        stated = {"facts": dict(facts), "arrays": places, "end": end, "table_crc32": zlib.crc32(table)}
        head = json.dumps(stated).encode()
        if 16 + len(head) > _HEAD_BYTES:
            raise ValueError(f"{len(head):,} bytes of facts are too many")
        start_bytes = _MAGIC + np.array([len(head), zlib.crc32(head)], "<u4").tobytes() + head
        data[: len(start_bytes)] = np.frombuffer(start_bytes, np.uint8)
        del data
        with temporary.open("r+b") as f:  # not made anew, if somebody has taken it away
            f.seek(0, os.SEEK_END)
            f.write(table)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _array(data: NDArray[np.uint8], place: Mapping[str, Any]) -> NDArray[Any]:
    dtype, shape, start = np.dtype(place["dtype"]), tuple(place["shape"]), place["offset"]
    flat: NDArray[Any] = np.asarray(data)[start : start + dtype.itemsize * int(np.prod(shape))].view(dtype)
    return flat.reshape(shape)
