"""Descriptors, facts and keys of rows -> the checksums stored with them, since Lance has none."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def keys_crc32(keys: NDArray[np.int64]) -> int:
    """Return the check of which rows there are.

    Parameters
    ----------
    keys : ndarray of int64, shape (n,)
        Column ``key``, in any order.

    Returns
    -------
    int
        CRC-32 of the sorted keys as little-endian int64.
    """
    return zlib.crc32(np.sort(keys).astype("<i8").tobytes())


def facts_crc32(values: Sequence[object]) -> int:
    r"""Return the check stored beside the facts of an image, since Lance doesn't notice a changed byte.

    Parameters
    ----------
    values : sequence of int, str or None
        The columns of :data:`lookalike.index.schema.FACTS`, in that order.

    Returns
    -------
    int
        CRC-32 (ISO 3309, as in gzip) of the values as text in UTF-8, null as a byte 1, with a byte 0 between two.

    Examples
    --------
    >>> facts_crc32([7, "cats/tom.jpg", None]) == zlib.crc32(b"7\0cats/tom.jpg\0\1")
    True
    """
    return zlib.crc32("\0".join(["\1" if v is None else str(v) for v in values]).encode())


def descriptor_crc32(descriptors: NDArray[Any], keys: Sequence[int]) -> list[int]:
    """Return the check stored beside each descriptor; it covers the row's key, so that no two can be mistaken.

    Parameters
    ----------
    descriptors : ndarray of float32 or uint8, shape (n, d)
        C-contiguous.
    keys : sequence of int
        Column ``key``, one a descriptor.

    Returns
    -------
    list of int
        CRC-32 of each row's bytes, little-endian as Arrow stores them, continued from the key's lower 32 bits.

    Examples
    --------
    >>> descriptor_crc32(np.array([[1, 2]], "<f4"), [7]) == [zlib.crc32(np.array([1, 2], "<f4").tobytes(), 7)]
    True
    """
    if not descriptors.size:
        return []
    data, size = descriptors.data.cast("B"), descriptors[0].nbytes
    return [
        zlib.crc32(data[start : start + size], key & 0xFFFFFFFF)
        for start, key in zip(range(0, len(data), size), keys, strict=True)
    ]
