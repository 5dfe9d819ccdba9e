"""Queries x the lists that each looks into -> the few rows that may be among each query's nearest.

A visit is a list and the queries that look into it: each list is read once, however many they are. The values of some
dozen visits lie behind one another in one buffer that stays in the processor's cache and are sifted all at once, since a
visit alone is too short for the steps of Python that this would take.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lookalike.blockwise import MOST_PAIRS, one_thread_a_product, product_threads, reach_of, take_in

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]
Pairs = tuple[Int64Array, Int64Array]
Found = tuple[Int64Array, Int64Array, Float32Array]

#: Values of some visits that are worked out before they are sifted (1 MiB).
VALUES_AT_ONCE = 2**18
#: Pairs that wait before the values of what is found say how near an answer must be; the first list has said much already.
PAIRS_AT_ONCE = 2**16
#: Queries of a visit from which on a matrix product is quicker than row by row: it copies the list first.
FEW = 4


def visit(
    left: Float32Array,
    errors: Float64Array,
    k: int,
    chosen: list[Int64Array],
    starts: Int64Array,
    rows_of: Callable[[int], Float32Array],
    complete: Callable[[int, int, Float32Array], None],
) -> Pairs:
    """Find the rows that may be among the ``k`` with the smallest values, of those in the lists that a query looks into.

    Parameters
    ----------
    left : ndarray of float32, shape (n, d)
        One row a query.
    errors : ndarray of float64, shape (n,)
        The most that a value of each query can be wrong by.
    k : int
        How many, 1 or more; the lists that a query looks into hold at least as many.
    chosen : list of ndarray of int64
        The lists that each query looks into, the most promising first: its values dismiss most of the others.
    starts : ndarray of int64, shape (lists + 1,)
        Where each list starts in the order of the lists, and where the last one ends.
    rows_of : callable
        ``rows_of(one)`` returns the rows of a list, float32 of shape (r, d).
    complete : callable
        ``complete(start, stop, values)`` makes the products of some queries with the rows ``start`` to ``stop``, shape
        (b, stop - start), their values, in place.

    Returns
    -------
    (queries, places) : ndarray of int64, shape (c,)
        Pairs, sorted by query; at least ``k`` a query. A place is one in the order of the lists.
    """
    found = _of_some(left, 2 * errors, k, chosen, starts, rows_of, complete)
    if found is not None:
        return found
    half = len(left) // 2
    parts = [
        visit(left[some], errors[some], k, chosen[some], starts, rows_of, complete)
        for some in (slice(0, half), slice(half, None))
    ]
    return np.concatenate([parts[0][0], parts[1][0] + half]), np.concatenate([parts[0][1], parts[1][1]])


def _of_some(
    left: Float32Array,
    slack: Float64Array,
    k: int,
    chosen: list[Int64Array],
    starts: Int64Array,
    rows_of: Callable[[int], Float32Array],
    complete: Callable[[int, int, Float32Array], None],
) -> Pairs | None:
    """Find them; None where they are so many that fewer queries are to be taken at a time."""
    count = len(left)
    reach = np.full(count, np.inf, np.float32)  # a row whose value is beyond can't be an answer; threads share it
    best = np.full((count, k), np.inf, np.float32)

    def look(visits: list[tuple[int, Int64Array]], *, first: bool) -> Found:
        sizes = np.array([starts[one + 1] - starts[one] for one, _ in visits])
        many = np.array([len(queries) for _, queries in visits])
        edges = np.concatenate([[0], np.cumsum(sizes * many)])
        values, near = np.empty(int(edges[-1]), np.float32), np.empty(int(edges[-1]), np.bool_)
        for (one, queries), start, stop in zip(visits, edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            rows, asked = rows_of(one), left[queries]
            if len(queries) < FEW:
                some, hits = (a[start:stop].reshape(len(queries), -1) for a in (values, near))
                np.vecdot(rows, asked[:, None], out=some)
            else:
                turned, hits = (a[start:stop].reshape(-1, len(queries)) for a in (values, near))
                np.matmul(rows, np.ascontiguousarray(asked.T), out=turned)
                some, hits = turned.T, hits.T
            begin = int(starts[one])
            complete(begin, begin + len(rows), some)
            if first and len(rows) >= k:  # each query has one such list
                reach[queries] = reach_of(np.partition(some, k - 1, axis=1)[:, k - 1], slack[queries])
            np.less_equal(some, reach[queries, None], out=hits)
        at = np.flatnonzero(near)
        which = np.searchsorted(edges, at, "right") - 1
        across = many[which] >= FEW
        outer, inner = np.divmod(at - edges[which], np.where(across, many[which], sizes[which]))
        asking = np.concatenate([queries for _, queries in visits])
        ahead = np.cumsum(many) - many
        lists = np.array([one for one, _ in visits])
        queries = asking[ahead[which] + np.where(across, inner, outer)]
        return queries, starts[lists[which]] + np.where(across, outer, inner), values[at]

    firsts = np.array([lists[0] for lists in chosen])
    others = np.concatenate([lists[1:] for lists in chosen])
    owners = np.repeat(np.arange(count), [len(lists) - 1 for lists in chosen])
    found: list[Found] = []
    taken, waiting, room = 0, 0, MOST_PAIRS

    def take() -> None:
        nonlocal taken, waiting
        if waiting:
            queries, _, values = (np.concatenate(some) for some in zip(*found[taken:], strict=True))
            take_in(best, queries, values)
            np.minimum(reach, reach_of(best[:, -1], slack), out=reach)
        taken, waiting = len(found), 0

    threads = product_threads()
    with one_thread_a_product(), ThreadPoolExecutor(threads) as pool:
        for into, queries, first in ((firsts, np.arange(count), True), (others, owners, False)):
            parts = _parts(into, queries, starts)
            for at in range(0, len(parts), 2 * threads):  # what they find waits in memory
                some = parts[at : at + 2 * threads]
                for one in pool.map(lambda visits, first=first: look(visits, first=first), some):  # type: ignore[misc]
                    found.append(one)
                    waiting += len(one[0])
                    room -= len(one[0])
                    if room < 0 and count > 1:
                        return None
                    if waiting > PAIRS_AT_ONCE:
                        take()
    take()
    queries, places, values = (np.concatenate(some) for some in zip(*found, strict=True))
    kept = values <= reach[queries]
    queries, places = queries[kept], places[kept]
    order = np.argsort(queries, kind="stable")
    return queries[order], places[order]


def _parts(into: Int64Array, queries: Int64Array, starts: Int64Array) -> list[list[tuple[int, Int64Array]]]:
    """Return visits, grouped so that the values of a group are about ``VALUES_AT_ONCE``."""
    order = np.argsort(into, kind="stable")
    into, queries = into[order], queries[order]
    parts: list[list[tuple[int, Int64Array]]] = [[]]
    room = VALUES_AT_ONCE
    for start, stop in pairwise([*np.flatnonzero(np.diff(into, prepend=-1)).tolist(), len(into)]):
        one = int(into[start])
        size = int(starts[one + 1] - starts[one])
        if not size:
            continue
        most = max(1, VALUES_AT_ONCE // size)
        for at in range(start, stop, most):
            some = queries[at : min(at + most, stop)]
            if room < size * len(some):
                parts.append([])
                room = VALUES_AT_ONCE
            parts[-1].append((one, some))
            room -= size * len(some)
    return [part for part in parts if part]
