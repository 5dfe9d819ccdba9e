"""Distances + which images are right -> the ranks of the right ones, counted from 1, and which ties they share with others.

Where images at one distance are all right, or none is, their order changes no score. Of any other such *tie* it is kept
how many images it holds, and how many of them are right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lookalike.array_types import BoolArray, Float32Array, Int64Array
from lookalike.errors import UsageError

#: The bits of float32's infinity: NaN is above, any number below.
INFINITY = 0x7F800000
#: The key of an image that isn't ranked: above that of any distance, and of no right answer.
LAST = 0xFFFFFFFE


def _none() -> Int64Array:
    return np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Ranks:
    """Where one query's relevant images stand in its ranking.

    Attributes
    ----------
    latest : ndarray of int64, shape (R,)
        Ranks from 1, ascending. In a tie the relevant images stand behind the others: their latest places.
    before : ndarray of int64, shape (g,)
        For each tie of relevant images with others, ascending: how many images are nearer.
    sizes : ndarray of int64, shape (g,)
        How many images it holds.
    relevant : ndarray of int64, shape (g,)
        How many of them are relevant: at least one, and fewer than all.
    """

    latest: Int64Array
    before: Int64Array = field(default_factory=_none)
    sizes: Int64Array = field(default_factory=_none)
    relevant: Int64Array = field(default_factory=_none)


def rank_relevant(distances: Float32Array, relevant: BoolArray) -> list[Ranks]:
    """Return where each query's relevant images stand in its ranking by distance.

    Parameters
    ----------
    distances : ndarray of float32, shape (b, m)
        From each query to each image of the database: 0 or more, infinity allowed.
    relevant : ndarray of bool, shape (b, m)
        Which images are right answers.

    Returns
    -------
    list of Ranks
        One a query.

    Raises
    ------
    UsageError
        If the shapes differ, or a distance is negative, NaN or not float32.

    Examples
    --------
    The last image stands at rank 2 or 3, as it is as far as the first.

    >>> ranks = rank_relevant(np.array([[0.5, 0.2, 0.5]], np.float32), np.array([[False, True, True]]))[0]
    >>> ranks.latest.tolist(), ranks.before.tolist(), ranks.sizes.tolist(), ranks.relevant.tolist()
    ([1, 3], [1], [2], [1])
    """
    if distances.shape != relevant.shape or distances.ndim != 2:
        raise UsageError(f"distances and relevant must have one shape (b, m), not {distances.shape}, {relevant.shape}")
    right = relevant.astype(bool, copy=False)
    return [ranks_of(row, right[i]) for i, row in enumerate(distances)]


def ranks_of(distances: Float32Array, relevant: BoolArray, left_out: Sequence[int] = ()) -> Ranks:
    """Return where one query's relevant images stand, as :func:`rank_relevant` does of several.

    Parameters
    ----------
    distances : ndarray of float32, shape (m,)
        To each image: 0 or more, infinity allowed.
    relevant : ndarray of bool, shape (m,)
        Which images are right answers.
    left_out : sequence of int
        Positions of images that aren't ranked: they stand behind all others, and none is right.

    Returns
    -------
    Ranks

    Raises
    ------
    UsageError
        If a distance is negative, NaN or not float32.

    Notes
    -----
    No argsort: one key of 32 bits an image is sorted by value, which numpy does with vector instructions, several
    times as fast. From the top, a key holds the distance, and whether the image is relevant. The bits of floats >= 0
    are in the order of the floats, and the first, their sign, is 0. A tie that matters is then where two keys that
    follow each other differ in the last bit alone.
    """
    if distances.dtype != np.float32:
        raise UsageError(f"distances must be float32, these are {distances.dtype}; take those a Database returns")
    bits = np.ascontiguousarray(distances).view(np.int32)
    if not bits.size:
        return Ranks(_none())
    if bits.min() < 0 or bits.max() > INFINITY:
        bits = (distances + np.float32(0)).view(np.int32)  # -0.0 + 0.0 is 0.0, whose bits are in order
        if bits.min() < 0 or bits.max() > INFINITY:
            raise UsageError("distances must be 0 or more, and not NaN; take those a Database returns")
    key = bits.view(np.uint32) << np.uint32(1)
    key |= relevant
    if len(left_out):
        key[left_out] = LAST
    key.sort()
    latest = np.flatnonzero((key.astype(np.uint8) & np.uint8(1)).view(bool)) + 1
    last_others = np.flatnonzero((key[1:] ^ key[:-1]) == 1)
    if not len(last_others):
        return Ranks(latest)
    values = key[last_others]
    before = np.searchsorted(key, values)
    after = np.searchsorted(key, values + np.uint32(1), "right")
    return Ranks(latest, before, after - before, after - last_others - 1)
