"""Many queries x a database -> the few rows that may be among each query's nearest, tile by tile.

A tile is some queries against some rows: its matrix product stays in the processor's cache while the smallest values are
picked from it, so that the full matrix of values never exists. Each thread takes its own queries, with a matrix product
of one thread: picking then runs on all cores too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from lookalike.array_types import Float32Array, Float64Array, Int64Array
from lookalike.cores import one_thread_of_blas, product_threads

T = TypeVar("T")

#: A tile's queries and rows: large enough for the matrix product to run at its best, its product (8 MiB) and its rows
#: small enough for the cache. Of long rows it takes fewer.
TILE_QUERIES, TILE_ROWS, TILE_NUMBERS = 512, 4096, 2**22
#: Groups of consecutive rows in a tile whose minimum is taken first: few of them hold an answer.
GROUPS = 128
#: Pairs of a query and a candidate that may wait in memory; where all is alike there is no end of them.
MAX_PAIRS = 2**21
#: More answers than this are better picked from whole rows of values.
MAX_ANSWERS = GROUPS


def candidates(
    left: Float32Array,
    errors: Float64Array,
    k: int,
    size: int,
    multiply: Callable[[int, int, Float32Array, Float32Array], None],
    settle: Callable[[Int64Array, Int64Array], T],
) -> Iterator[T]:
    """Find the rows that may be among the ``k`` with the smallest values of each query, a value being a dot product.

    Parameters
    ----------
    left : ndarray of float32, shape (n, d)
        One row a query.
    errors : ndarray of float64, shape (n,)
        The most that a value of each query can be wrong by.
    k : int
        How many, 1 to ``MAX_ANSWERS``, and no more than ``size``.
    size : int
        Rows of the database.
    multiply : callable
        ``multiply(start, stop, across, out)`` writes the values of rows ``start`` to ``stop`` to ``out``, shape
        (stop - start, b), for some queries that are the columns of ``across``, shape (d, b).
    settle : callable
        ``settle(queries, rows)`` makes the answer of some queries, on the thread that found their pairs: int64, shape (c,),
        sorted by query and then by row, at least ``k`` a query.

    Yields
    ------
    what ``settle`` returned
        Queries in their order, some at a time.
    """
    threads = product_threads()
    each = max(1, min(TILE_QUERIES, -(-len(left) // threads)))
    starts = range(0, len(left), each)

    def work(start: int) -> T:
        part = slice(start, start + each)
        queries, rows = _of_all(left[part], 2 * errors[part], k, size, multiply)
        return settle(queries + start, rows)

    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, len(starts), 4 * threads):  # answers wait in memory until they are asked for
            with one_thread_of_blas():  # not while the caller, who may never come back, has the word
                found = list(pool.map(work, starts[first : first + 4 * threads]))
            yield from found


def _of_all(
    left: Float32Array,
    spans: Float64Array,
    k: int,
    size: int,
    multiply: Callable[[int, int, Float32Array, Float32Array], None],
) -> tuple[Int64Array, Int64Array]:
    """Return the pairs of some queries; of half as many at a time where they are too many to hold.

    It is no function within another: one that calls itself there is kept alive, with all queries, until a garbage collection.
    """
    pairs = _of_some(left, spans, k, size, multiply)
    if pairs is not None:
        return pairs
    half = len(left) // 2
    first = _of_all(left[:half], spans[:half], k, size, multiply)
    second = _of_all(left[half:], spans[half:], k, size, multiply)
    return np.concatenate([first[0], second[0] + half]), np.concatenate([first[1], second[1]])


def _of_some(
    left: Float32Array,
    slack: Float64Array,
    k: int,
    size: int,
    multiply: Callable[[int, int, Float32Array, Float32Array], None],
) -> tuple[Int64Array, Int64Array] | None:
    """Find the candidates of some queries; None where they are so many that fewer queries are to be taken at a time."""
    count, depth = left.shape
    # Rows times queries, and not the other way round: so the product is 20 % faster, and minima are of whole vectors.
    across = np.ascontiguousarray(left.T)
    most = max(4 * GROUPS, min(TILE_ROWS, TILE_NUMBERS // depth // (4 * GROUPS) * 4 * GROUPS))
    buffer = np.empty((min(most, size), count), np.float32)
    best = np.full((count, k), np.inf, np.float32)  # the k smallest values so far, the largest of them last
    reach = np.full(count, np.inf, np.float32)  # a row whose value is beyond can't be an answer
    waiting: list[tuple[Int64Array, Int64Array, Float32Array]] = []
    room = MAX_PAIRS
    for start in range(0, size, most):
        stop = min(start + most, size)
        values = buffer[: stop - start]
        multiply(start, stop, across, values)
        grouped = values.reshape(GROUPS if stop - start == most else stop - start, -1, count)
        least = grouped.min(axis=1)
        if start == 0:  # k groups hold at least k rows
            reach = reach_of(np.partition(least, k - 1, axis=0)[k - 1], slack)
        groups, queries = np.divmod(np.flatnonzero(least <= reach), count)
        near = grouped[groups, :, queries]
        pair, place = np.divmod(np.flatnonzero(near <= reach[queries, None]), near.shape[1])
        queries, rows, near = queries[pair], start + groups[pair] * near.shape[1] + place, near[pair, place]
        room -= len(queries)
        if room < 0 and count > 1:
            return None
        if len(queries):
            waiting.append((queries, rows, near))
            take_in(best, queries, near)
            reach = np.minimum(reach, reach_of(best[:, -1], slack))
    queries, rows, near = (np.concatenate(parts) for parts in zip(*waiting, strict=True))
    kept = near <= reach[queries]
    queries, rows = queries[kept], rows[kept]
    order = np.lexsort((rows, queries))
    return queries[order], rows[order]


def take_in(best: Float32Array, queries: Int64Array, values: Float32Array) -> None:
    """Bring the smallest values of each query up to date, in place.

    Parameters
    ----------
    best : ndarray of float32, shape (n, k)
        The smallest so far, the largest of them last; infinity where there are fewer.
    queries : ndarray of int64, shape (c,)
        Which query each further value is of.
    values : ndarray of float32, shape (c,)
        Further values.
    """
    k = best.shape[1]
    order = np.argsort(queries, kind="stable")
    queries, values = queries[order], values[order]
    who, first, many = np.unique(queries, return_index=True, return_counts=True)
    if int(many.max()) > 4 * k:  # a few queries with very many: one by one, or the table below would be huge
        for q, start, count in zip(who.tolist(), first.tolist(), many.tolist(), strict=True):
            merged = np.concatenate([best[q], values[start : start + count]])
            best[q] = np.partition(merged, k - 1)[:k]
        return
    table = np.full((len(who), k + int(many.max())), np.inf, np.float32)
    table[:, :k] = best[who]
    line = np.repeat(np.arange(len(who)), many)
    table[line, k + np.arange(len(values)) - np.repeat(first, many)] = values
    table.partition(k - 1, axis=1)
    best[who] = table[:, :k]


def reach_of(values: Float32Array, slack: Float64Array) -> Float32Array:
    """Return the largest value that may still be an answer, rounded up.

    Parameters
    ----------
    values : ndarray of float32, shape (n,)
        The k-th smallest values of some queries.
    slack : ndarray of float64, shape (n,)
        Twice the most that a value can be wrong by.

    Returns
    -------
    ndarray of float32, shape (n,)
    """
    reach: Float32Array = np.nextafter((values.astype(np.float64) + slack).astype(np.float32), np.float32(np.inf))
    return reach
