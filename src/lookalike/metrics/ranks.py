"""Distances + which images are right -> the ranks of the right ones, by (distance, position), counted from 1."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import BoolArray, Float32Array, Int64Array
from lookalike.errors import UsageError

#: The bits of float32's infinity: NaN is above, any number below.
INFINITY = 0x7F800000


def rank_relevant(distances: Float32Array, relevant: BoolArray) -> list[Int64Array]:
    """Return where each query's relevant images stand in its ranking by (distance, position).

    Parameters
    ----------
    distances : ndarray of float32, shape (b, m)
        From each query to each image of the database: 0 or more, infinity allowed.
    relevant : ndarray of bool, shape (b, m)
        Which images are right answers.

    Returns
    -------
    list of ndarray of int64
        For each query the ranks of its relevant images, counted from 1, ascending.

    Raises
    ------
    UsageError
        If the shapes differ, or a distance is negative, NaN or not float32.

    Examples
    --------
    >>> rank_relevant(np.array([[0.5, 0.2, 0.5]], np.float32), np.array([[True, False, True]]))[0].tolist()
    [2, 3]
    """
    if distances.shape != relevant.shape or distances.ndim != 2:
        raise UsageError(f"distances and relevant must have one shape (b, m), not {distances.shape}, {relevant.shape}")
    if distances.dtype != np.float32:
        raise UsageError(f"distances must be float32, these are {distances.dtype}; take those a Database returns")
    right = relevant.astype(bool, copy=False)
    return [ranks_of(np.ascontiguousarray(row), right[i]) for i, row in enumerate(distances)]


def ranks_of(distances: Float32Array, relevant: BoolArray) -> Int64Array:
    """Return where one query's relevant images stand, as :func:`rank_relevant` does of several.

    Parameters
    ----------
    distances : ndarray of float32, shape (m,)
        To each image: 0 or more, infinity allowed.
    relevant : ndarray of bool, shape (m,)
        Which images are right answers.

    Returns
    -------
    ndarray of int64
        Ranks from 1, ascending.

    Raises
    ------
    UsageError
        If a distance is negative or NaN.

    Notes
    -----
    No argsort: one key of 32 bits an image is sorted by value, which numpy does with vector instructions, several
    times as fast. From the top, a key holds the distance, as much of the position as fits, and whether the image is
    relevant. The bits of floats >= 0 are in the order of the floats, and a row spans only part of float32's range, so
    that some bits are left for the position. Where they can't tell two images apart, the few in question are looked up.
    """
    bits = distances.view(np.int32)
    if not bits.size:
        return np.empty(0, np.int64)
    low, high = int(bits.min()), int(bits.max())
    if low < 0 or high > INFINITY:
        bits = (distances + np.float32(0)).view(np.int32)  # -0.0 + 0.0 is 0.0, whose bits are in order
        low, high = int(bits.min()), int(bits.max())
        if low < 0 or high > INFINITY:
            raise UsageError("distances must be 0 or more, and not NaN; take those a Database returns")
    position_bits = (len(bits) - 1).bit_length()
    kept = min(position_bits, 31 - (high - low).bit_length())
    dropped = position_bits - kept

    key = np.subtract(bits, low).view(np.uint32)
    key <<= np.uint32(kept + 1)
    key |= _positions(len(bits), dropped)
    key |= relevant
    key.sort()
    hits = (key.astype(np.uint8) & np.uint8(1)).view(bool)
    if dropped:
        # Keys that differ in the last bit alone: same distance, perhaps another position, one relevant and one not.
        unsure = np.flatnonzero((key[1:] ^ key[:-1]) == 1)
        if len(unsure) > 64:  # as in short codes, where ties are the rule
            return _ranks_with_many_ties(bits, relevant)
        for even in key[unsure].tolist():
            start, stop = np.searchsorted(key, np.uint32(even)), np.searchsorted(key, np.uint32(even + 1), "right")
            first = ((even >> 1) & ((1 << kept) - 1)) << dropped
            part = slice(first, first + (1 << dropped))
            hits[start:stop] = relevant[part][bits[part] == (even >> (kept + 1)) + low]
    return np.flatnonzero(hits) + 1


def _ranks_with_many_ties(bits: NDArray[np.int32], relevant: BoolArray) -> Int64Array:
    """Do the same with keys of 64 bits, which have room for the whole position but take twice as long."""
    key = bits.astype(np.uint64)
    key <<= np.uint64(32)
    key |= _positions(len(bits), 0)
    key |= relevant
    key.sort()
    return np.flatnonzero((key.astype(np.uint8) & np.uint8(1)).view(bool)) + 1


@lru_cache(maxsize=16)
def _positions(size: int, dropped: int) -> NDArray[np.uint32]:
    """Return positions without their last bits, and with room for one bit below."""
    return (np.arange(size, dtype=np.uint32) >> np.uint32(dropped)) << np.uint32(1)
