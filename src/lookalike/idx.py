"""The IDX format, MNIST's own: a magic number, the dimensions, then the bytes; gzipped or not.

The format is described at the end of http://yann.lecun.com/exdb/mnist/.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import CollectionError

_UNSIGNED_BYTE = 8


def read_idx(path: str | Path, dimensions: tuple[int, ...]) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, and check all of it.

    Parameters
    ----------
    path : str or Path
        A raw or gzipped file (told by its first bytes, not its name).
    dimensions : tuple of int
        The numbers of dimensions that are welcome: ``(3, 4)`` for images, ``(1,)`` for labels.

    Returns
    -------
    ndarray of uint8
        With the shape the header states; read-only.

    Raises
    ------
    CollectionError
        If the magic number is another, or the file is shorter or longer than its header says.
    """
    path = Path(path)
    data = _read(path)
    if len(data) < 4:
        raise CollectionError(f"{path}: {len(data)} bytes, too short for an IDX file; fetch it again")
    zero, kind, count = int.from_bytes(data[:2], "big"), data[2], data[3]
    expected = " or ".join(f"0x{_UNSIGNED_BYTE << 8 | d:08x}" for d in dimensions)
    if zero or kind != _UNSIGNED_BYTE or count not in dimensions:
        what = " (labels, where images were expected)" if (zero, kind, count) == (0, _UNSIGNED_BYTE, 1) else ""
        raise CollectionError(f"{path}: not the IDX file expected: magic 0x{data[:4].hex()}, expected {expected}{what}")
    start = 4 + 4 * count
    shape = tuple(int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4)) if len(data) >= start else None
    if shape is None or len(data) < start + math.prod(shape):
        stated = "its header" if shape is None else f"the {start + math.prod(shape):,} bytes its header states"
        raise CollectionError(f"{path}: truncated: {len(data):,} bytes, fewer than {stated}; fetch it again")
    if len(data) > start + math.prod(shape):
        extra = len(data) - start - math.prod(shape)
        raise CollectionError(f"{path}: {extra:,} bytes more than its header states ({shape}); fetch it again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def is_idx(path: Path) -> bool:
    """Tell whether a file's name is one that IDX files bear (``…-idx3-ubyte``, ``….idx``, with or without ``.gz``)."""
    name = path.name.lower().removesuffix(".gz")
    return name.endswith((".idx", "ubyte")) or "-idx" in name


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
    name = path.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1")
    for candidate in (path.with_name(name), path.with_name(name + ".gz")):
        if candidate.is_file() and candidate.name.removesuffix(".gz") != path.name.removesuffix(".gz"):
            return candidate
    return None


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (EOFError, zlib.error, gzip.BadGzipFile) as e:
        raise CollectionError(f"{path}: its gzip stream is truncated or damaged ({e}); fetch it again") from e
    except OSError as e:
        raise CollectionError(f"{path}: can't be read: {e.strerror or e}") from e
