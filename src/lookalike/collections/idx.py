"""The IDX format, MNIST's own: a magic number, the dimensions, then the bytes; gzipped or not.

The format is described at the end of http://yann.lecun.com/exdb/mnist/.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import CollectionError

_UNSIGNED_BYTE = 8
_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20


def read_idx(path: str | Path, dimensions: tuple[int, ...]) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, and check all of it.

    Parameters
    ----------
    path : str or Path
        A raw or gzipped file (recognised by its first bytes, not its name).
    dimensions : tuple of int
        The numbers of dimensions that are welcome: ``(3, 4)`` for images, ``(1,)`` for labels.

    Returns
    -------
    ndarray of uint8
        With the shape the header states.

    Raises
    ------
    CollectionError
        If the magic number is another, or the file is shorter or longer than its header says. Of a longer one hardly
        more is read than that.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            gzipped = file.peek(2)[:2] == _GZIP
            with gzip.GzipFile(fileobj=file) if gzipped else file as stream:
                return _parse(stream, path, dimensions)
    except (EOFError, zlib.error, gzip.BadGzipFile) as e:
        raise CollectionError(f"{path}: its gzip stream is cut short or damaged ({e}); fetch it again") from e
    except OSError as e:
        raise CollectionError(f"{path}: can't be read: {e.strerror or e}") from e


def _parse(stream: BinaryIO | gzip.GzipFile, path: Path, dimensions: tuple[int, ...]) -> NDArray[np.uint8]:
    magic = stream.read(4)
    if len(magic) < 4:
        raise CollectionError(f"{path}: {len(magic)} bytes, too short for an IDX file; fetch it again")
    count = magic[3]
    if magic[:3] != bytes([0, 0, _UNSIGNED_BYTE]) or count not in dimensions:
        expected = " or ".join(f"0x{_UNSIGNED_BYTE << 8 | d:08x}" for d in dimensions)
        content = {b"\0\0\x08\x01": " (labels)", b"\0\0\x08\x03": " (images)"}.get(magic, "")
        raise CollectionError(
            f"{path}: begins with the magic number 0x{magic.hex()}{content}, expected {expected}; give another file"
        )
    header = stream.read(4 * count)
    if len(header) < 4 * count:
        raise CollectionError(f"{path}: cut short: it ends within its header; fetch it again")
    shape = tuple(np.frombuffer(header, ">u4").tolist())
    stated = math.prod(shape)
    pixels = bytearray()
    while len(pixels) <= stated and (chunk := stream.read(_CHUNK)):
        pixels += chunk
    if len(pixels) != stated:
        what = "cut short: it holds" if len(pixels) < stated else "too long: it holds at least"
        raise CollectionError(
            f"{path}: {what} {len(pixels):,} bytes of data where its header states {stated:,} "
            f"({' x '.join(map(str, shape))}); fetch it again"
        )
    return np.frombuffer(pixels, np.uint8).reshape(shape)


def is_idx(path: Path) -> bool:
    """Tell whether a file is an IDX file, or meant as one, by its first bytes and its name.

    Parameters
    ----------
    path : Path
        Any file.

    Returns
    -------
    bool
        True for ``…-idx3-ubyte`` and ``….idx``, and whatever begins as an IDX or a gzip file does (gzip holds no image
        format).
    """
    if path.name.lower().removesuffix(".gz").endswith((".idx", "-ubyte", ".ubyte", "idx1", "idx3", "idx4")):
        return True
    try:
        with path.open("rb") as f:
            return f.read(3).startswith((_GZIP, bytes([0, 0, _UNSIGNED_BYTE])))
    except OSError:
        return False


def labels_beside(path: Path) -> Path | None:
    """Find the label file that goes with an image file by MNIST's naming, if there is one.

    Parameters
    ----------
    path : Path
        Such as ``train-images-idx3-ubyte.gz``.

    Returns
    -------
    Path or None
        Such as ``train-labels-idx1-ubyte.gz``, or the same without ``.gz``.
    """
    stem = path.name.removesuffix(".gz")
    name = stem.replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1")
    beside = (path.with_name(name), path.with_name(name + ".gz"))
    return next((p for p in beside if p.is_file()), None) if name != stem else None
