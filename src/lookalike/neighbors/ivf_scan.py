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

from lookalike.array_types import Float32Array, Float64Array, Int64Array
from lookalike.cores import one_thread_of_blas, product_threads
from lookalike.neighbors.tiling import MAX_PAIRS, reach_of, take_in

Pairs = tuple[Int64Array, Int64Array]
Hits = tuple[Int64Array, Int64Array, Float32Array]
Visit = tuple[int, Int64Array]

#: Values of some visits that are worked out before they are sifted (1 MiB).
VALUES_AT_ONCE = 2**18
#: Pairs that wait before their values tighten how near an answer must be; the first list has tightened it much already.
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
        ``rows_of(number)`` returns the rows of a list, float32 of shape (r, d).
    complete : callable
        ``complete(start, stop, values)`` makes the products of some queries with the rows ``start`` to ``stop``, shape
        (b, stop - start), their values, in place.

    Returns
    -------
    (queries, places) : ndarray of int64, shape (c,)
        Pairs, sorted by query; at least ``k`` a query. A place is one in the order of the lists.
    """
    pairs = _Search(left, 2 * errors, k, starts, rows_of, complete).run(chosen)
    if pairs is not None:
        return pairs
    half = len(left) // 2
    parts = [
        visit(left[half_of], errors[half_of], k, chosen[half_of], starts, rows_of, complete)
        for half_of in (slice(0, half), slice(half, None))
    ]
    return np.concatenate([parts[0][0], parts[1][0] + half]), np.concatenate([parts[0][1], parts[1][1]])


class _Search:
    """Some queries, and what is known so far of how near an answer must be: threads share it, and it only falls."""

    def __init__(
        self,
        left: Float32Array,
        slack: Float64Array,
        k: int,
        starts: Int64Array,
        rows_of: Callable[[int], Float32Array],
        complete: Callable[[int, int, Float32Array], None],
    ) -> None:
        self.left, self.slack, self.k, self.starts = left, slack, k, starts
        self.rows_of, self.complete = rows_of, complete
        self.reach = np.full(len(left), np.inf, np.float32)  # a row whose value is beyond can't be an answer
        self.best = np.full((len(left), k), np.inf, np.float32)

    def run(self, chosen: list[Int64Array]) -> Pairs | None:
        """Find the pairs; None where they are so many that fewer queries are to be taken at a time."""
        count = len(self.left)
        firsts = np.array([lists[0] for lists in chosen])
        others = np.concatenate([lists[1:] for lists in chosen])
        owners = np.repeat(np.arange(count), [len(lists) - 1 for lists in chosen])
        hits: list[Hits] = []
        taken, waiting, room = 0, 0, MAX_PAIRS
        threads = product_threads()
        with one_thread_of_blas(), ThreadPoolExecutor(threads) as pool:
            for look, into, queries in (
                (self.look_first, firsts, np.arange(count)),
                (self.look, others, owners),
            ):
                parts = _parts(into, queries, self.starts)
                for at in range(0, len(parts), 2 * threads):  # what they find waits in memory
                    hits += pool.map(look, parts[at : at + 2 * threads])
                    more = sum(len(part[0]) for part in hits[taken:]) - waiting
                    waiting, room = waiting + more, room - more
                    if room < 0 and count > 1:
                        return None
                    if waiting > PAIRS_AT_ONCE:
                        self.take(hits[taken:])
                        taken, waiting = len(hits), 0
        self.take(hits[taken:])
        queries, places, values = _joined(hits)
        kept = values <= self.reach[queries]
        queries, places = queries[kept], places[kept]
        order = np.argsort(queries, kind="stable")
        return queries[order], places[order]

    def take(self, hits: list[Hits]) -> None:
        """Bring what an answer must reach up to date."""
        queries, _, values = _joined(hits)
        if len(queries):
            take_in(self.best, queries, values)
            np.minimum(self.reach, reach_of(self.best[:, -1], self.slack), out=self.reach)

    def look_first(self, visits: list[Visit]) -> Hits:
        """Look into lists, the first ones of their queries: the k-th value in one bounds what an answer must reach."""
        return self.look(visits, first=True)

    def look(self, visits: list[Visit], *, first: bool = False) -> Hits:
        """Return what is near enough in some lists: query, place, value."""
        lists = np.array([number for number, _ in visits])
        sizes = self.starts[lists + 1] - self.starts[lists]
        many = np.array([len(queries) for _, queries in visits])
        edges = np.concatenate([[0], np.cumsum(sizes * many)])
        values, near = np.empty(int(edges[-1]), np.float32), np.empty(int(edges[-1]), np.bool_)
        for (number, queries), start, stop in zip(visits, edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            rows, asked = self.rows_of(number), self.left[queries]
            products: Float32Array
            is_near: NDArray[np.bool_]
            if len(queries) < FEW:
                products = values[start:stop].reshape(len(queries), -1)
                is_near = near[start:stop].reshape(len(queries), -1)
                np.vecdot(rows, asked[:, None], out=products)
            else:  # the other way round, as the product is quicker then
                products = values[start:stop].reshape(-1, len(queries)).T
                is_near = near[start:stop].reshape(-1, len(queries)).T
                np.matmul(rows, np.ascontiguousarray(asked.T), out=products.T)
            begin = int(self.starts[number])
            self.complete(begin, begin + len(rows), products)
            if first and len(rows) >= self.k:
                kth: Float32Array = np.partition(products, self.k - 1, axis=1)[:, self.k - 1]
                self.reach[queries] = reach_of(kth, self.slack[queries])
            np.less_equal(products, self.reach[queries, None], out=is_near)
        at = np.flatnonzero(near)
        which = np.searchsorted(edges, at, "right") - 1
        turned = many[which] >= FEW
        outer, inner = np.divmod(at - edges[which], np.where(turned, many[which], sizes[which]))
        ahead = (np.cumsum(many) - many)[which]
        owners = np.concatenate([queries for _, queries in visits])
        places = self.starts[lists[which]] + np.where(turned, outer, inner)
        return owners[ahead + np.where(turned, inner, outer)], places, values[at]


def _joined(hits: list[Hits]) -> Hits:
    if not hits:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    queries, places, values = (np.concatenate(parts) for parts in zip(*hits, strict=True))
    return queries, places, values


def _parts(into: Int64Array, queries: Int64Array, starts: Int64Array) -> list[list[Visit]]:
    """Return visits, grouped so that the values of a group are about ``VALUES_AT_ONCE``."""
    order = np.argsort(into, kind="stable")
    into, queries = into[order], queries[order]
    parts: list[list[Visit]] = [[]]
    room = VALUES_AT_ONCE
    for start, stop in pairwise([*np.flatnonzero(np.diff(into, prepend=-1)).tolist(), len(into)]):
        number = int(into[start])
        size = int(starts[number + 1] - starts[number])
        if not size:
            continue
        most = max(1, VALUES_AT_ONCE // size)
        for at in range(start, stop, most):
            asking = queries[at : min(at + most, stop)]
            if room < size * len(asking):
                parts.append([])
                room = VALUES_AT_ONCE
            parts[-1].append((number, asking))
            room -= size * len(asking)
    return [part for part in parts if part]
