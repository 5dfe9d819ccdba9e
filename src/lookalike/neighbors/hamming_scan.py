"""Many packed codes x a database of them -> the nearest of each query, by counting bits tile by tile.

A tile is some queries against some codes, so many that what is counted stays in the processor's cache. A code whose first
words differ in more bits than an answer's may is dismissed before its last words are looked at. Codes come in their order,
so of two at the same distance the one found first wins, and a tile need only be searched for what is nearer.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Int64Array
from lookalike.cores import usable_cores

Words = NDArray[np.uint64]
Counts = NDArray[np.uint8] | NDArray[np.uint16]
#: Queries of a tile, codes of the first one, and pairs of the others: 512 KiB of words.
TILE_QUERIES, FIRST_CODES, TILE_PAIRS = 16, 4096, 2**16
#: Words whose bits are counted in a byte.
WORDS_IN_A_BYTE = 3
#: Where no more than one pair in so many is left, the rest of its words is counted for these alone.
FEW_LEFT = 32
#: Pairs that wait before they are sorted in, for each query.
WAITING = 64


def nearest_codes(words: Words, queries: Words, k: int) -> tuple[Int64Array, Int64Array]:
    """Return the ``k`` codes that differ from each query in the fewest bits.

    Parameters
    ----------
    words : ndarray of uint64, shape (w, m)
        The database, a word of each code at a time.
    queries : ndarray of uint64, shape (n, w)
        One row a query.
    k : int
        How many, 1 to m.

    Returns
    -------
    (positions, distances) : ndarray of int64, shape (n, k)
        By (distance, position).

    Examples
    --------
    >>> positions, distances = nearest_codes(np.array([[7, 1, 5, 1]], np.uint64), np.array([[0]], np.uint64), 3)
    >>> positions.tolist(), distances.tolist()
    ([[1, 3, 2]], [[1, 1, 2]])
    """
    each = min(-(-len(queries) // usable_cores()), 8 * TILE_QUERIES)
    starts = range(0, len(queries), each)

    def work(start: int) -> Int64Array:
        return _of_some(words, queries[start : start + each], k)

    with ThreadPoolExecutor(min(usable_cores(), len(starts))) as pool:
        answers = np.concatenate(list(pool.map(work, starts)), axis=1)
    return answers[1].reshape(-1, k), answers[2].reshape(-1, k)


def _of_some(words: Words, queries: Words, k: int) -> Int64Array:
    """Return the nearest codes of some queries: rows (query, position, distance), sorted, ``k`` a query."""
    width, size = words.shape
    limit = np.full(len(queries), 64 * width + 1)  # what is as far is no answer
    best, waiting = np.empty((3, 0), np.int64), []
    room = WAITING * len(queries)
    group = -(-len(queries) // -(-len(queries) // TILE_QUERIES))
    most = TILE_PAIRS // group
    buffer = np.empty(group * max(most, FIRST_CODES), np.uint64)
    start = 0
    while start < size:
        stop = min(start + (most if start else FIRST_CODES), size)
        tile = words[:, start:stop]
        for first in range(0, len(queries), group):
            part = queries[first : first + group]
            near = _near(tile, part, limit[first : first + group], 0 if start else k, buffer)
            if near is not None:
                near[0] += first
                near[1] += start
                waiting.append(near)
                room -= near.shape[1]
        start = stop
        if waiting and (room < 0 or len(best[0]) < k * len(queries) or start == size):
            best = _first(np.concatenate([best, *waiting], axis=1), k)
            waiting, room = [], WAITING * len(queries)
            ends = np.cumsum(np.bincount(best[0], minlength=len(queries)))
            full = np.diff(ends, prepend=0) == k
            limit[full] = best[2, ends[full] - 1]
    return best


def _near(tile: Words, queries: Words, limit: Int64Array, k: int, buffer: Words) -> Int64Array | None:
    """Return which codes of a tile are nearer than each query's limit: rows (query, code, distance); None if none is.

    With a ``k`` above 0 no limit is known yet: at least that many are returned, if the tile holds them.
    """
    width, codes = tile.shape
    unlike = buffer[: len(queries) * codes].reshape(len(queries), codes)
    counts: Counts | None = None
    for word in range(0, width, WORDS_IN_A_BYTE):
        few: NDArray[np.uint8] | None = None
        for number in range(word, min(word + WORDS_IN_A_BYTE, width)):
            np.bitwise_xor(tile[number], queries[:, number, None], out=unlike)
            more = np.bitwise_count(unlike)
            few = more if few is None else np.add(few, more, out=few)
        assert few is not None
        counts = few if counts is None else np.add(counts, few, dtype=np.uint16)
        done = word + WORDS_IN_A_BYTE
        if k or done >= width:
            continue
        left = _below(counts, limit)
        if np.count_nonzero(left) * FEW_LEFT <= left.size:
            who, rows = np.divmod(np.flatnonzero(left), codes)
            rest = np.bitwise_count(tile[done:, rows] ^ queries.T[done:, who]).sum(axis=0, dtype=np.int64)
            far = counts[who, rows] + rest
            kept = far < limit[who]
            return np.stack([who[kept], rows[kept], far[kept]])
    assert counts is not None
    if k:
        limit = limit if codes <= k else np.partition(counts, k - 1, axis=1)[:, k - 1].astype(np.int64) + 1
    at = np.flatnonzero(_below(counts, limit))
    if not len(at):
        return None
    who, rows = np.divmod(at, codes)
    return np.stack([who, rows, counts.reshape(-1)[at].astype(np.int64)])


def _below(counts: Counts, limit: Int64Array) -> NDArray[np.bool_]:
    """Compare counts with a limit for each row; one that doesn't fit their type is above all of them, as is its largest."""
    bound: Any = np.minimum(limit, np.iinfo(counts.dtype).max).astype(counts.dtype)
    below: NDArray[np.bool_] = counts < bound[:, None]
    return below


def _first(pairs: Int64Array, k: int) -> Int64Array:
    """Sort rows (query, position, distance) by query, distance and position, and keep the first ``k`` of each query."""
    pairs = pairs[:, np.lexsort((pairs[1], pairs[2], pairs[0]))]
    who = pairs[0]
    starts = np.flatnonzero(np.diff(who, prepend=-1))
    rank = np.arange(len(who)) - np.repeat(starts, np.diff(starts, append=len(who)))
    return pairs[:, rank < k]
