"""Descriptors -> an inverted file: search that looks into a few lists of near descriptors rather than at all of them.

Descriptors are put into lists by their nearest centre (k-means on a sample), and a query looks into those lists whose
centres are nearest to it: J. Sivic and A. Zisserman, *Video Google*, 2003; H. Jégou, M. Douze and C. Schmid, *Product
Quantization for Nearest Neighbor Search*, 2011 (IVF, here with whole descriptors and no quantisation, so that the
distances of what is found are exact, and only something may be missed).

**The recall meter.** How many lists are enough is measured, not guessed: a sample of the index's own descriptors is
searched exactly, and the number of lists is doubled until the lower end of the 95 % interval of recall@10 is at least the
floor of .99; then it is measured on another sample, which is the figure that is shown. Where half of all lists don't do,
search stays exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array, Float64Array, Int64Array
from lookalike.cores import product_threads
from lookalike.mapped import MappedArrays
from lookalike.neighbors.distances import DISTANCES
from lookalike.neighbors.exact import NUMBERS_AT_ONCE, Database
from lookalike.neighbors.ivf_scan import visit
from lookalike.neighbors.tiling import reach_of

#: What recall@10 must reach, and the numbers of answers for which it is measured.
FLOOR, CUTS = 0.99, (10, 100)
#: From this many on, queries look into lists together, and no more than so many.
_TOGETHER, _MAX_TOGETHER = 16, 1024


@dataclass(frozen=True)
class Recall:
    """What the meter found for one number of answers.

    Attributes
    ----------
    k : int
        Number of answers.
    probes : int
        Lists looked into.
    recall : float
        The share of the exact ``k`` nearest that are found, 0 to 1, on queries that took no part in choosing ``probes``.
    low, high : float
        Its 95 % interval (normal approximation over queries).
    queries : int
        How many it is of.
    met : bool
        Whether the lower end for choosing reached the floor; if not, search is exact.
    """

    k: int
    probes: int
    recall: float
    low: float
    high: float
    queries: int
    met: bool


class InvertedFile:
    """An inverted file, open for search.

    Parameters
    ----------
    stored : MappedArrays
        What :func:`lookalike.neighbors.ivf_build.write_lists` wrote.

    Attributes
    ----------
    distance : str
        The only distance it answers by.
    meter : list of Recall
        One a number of answers, ascending.
    """

    def __init__(self, stored: MappedArrays) -> None:
        arrays = {name: stored.array(name) for name in ("centres", "starts", "rows", "lengths")}
        whole = stored.rows("descriptors", 0, int(arrays["starts"][-1]), checked=False)
        self._set(arrays | {"descriptors": whole}, stored.facts)
        self._stored = stored

    @classmethod
    def unsealed(cls, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> InvertedFile:
        """Return one of arrays that are being written; what was just written needs no check."""
        lists = cls.__new__(cls)
        lists._set(arrays, facts)
        lists._sound[:] = True
        return lists

    def _set(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
        self.distance = str(facts["distance"])
        self.meter = [Recall(**recall) for recall in facts.get("meter", [])]
        self.centres: Float32Array = arrays["centres"]
        self._starts: Int64Array = arrays["starts"]
        self._sizes: Int64Array = np.diff(self._starts)
        self._rows: Int64Array = arrays["rows"]
        self._all: Float32Array = arrays["descriptors"]
        self._sound = np.zeros(len(self.centres), np.bool_)  # lists that have been checked
        self._measure = DISTANCES[self.distance](self._all, arrays["lengths"])
        by_centre = DISTANCES[self.distance].by_centre
        assert by_centre is not None, "no lists are written for such a distance"
        self._centred = Database(self.centres, by_centre)
        self._by_centre = self._centred.measure

    def __len__(self) -> int:
        """Return the number of lists."""
        return len(self.centres)

    @property
    def size(self) -> int:
        """Number of descriptors."""
        return int(self._starts[-1])

    def probes(self, k: int) -> int | None:
        """Return how many lists are enough for ``k`` answers.

        Parameters
        ----------
        k : int
            Number of answers.

        Returns
        -------
        int or None
            None where the meter found no number that is, or didn't measure so many answers.
        """
        return next((recall.probes for recall in self.meter if recall.k >= k and recall.met), None)

    def keys(self, rows: Sequence[int]) -> Int64Array:
        """Return the keys of some rows of the index.

        Parameters
        ----------
        rows : sequence of int
            In the order of the index.

        Returns
        -------
        ndarray of int64, shape (r,)
        """
        return self._stored.take("keys", rows)

    def search(self, queries: NDArray[Any], k: int, probes: int) -> tuple[Int64Array, Float32Array]:
        """Return the ``k`` nearest of what the ``probes`` nearest lists of each query hold.

        Parameters
        ----------
        queries : ndarray of float32, shape (n, d)
            One row a query.
        k : int
            How many, 1 to the number of descriptors.
        probes : int
            Lists to look into; more are looked into where these hold fewer than ``k``.

        Returns
        -------
        positions : ndarray of int64, shape (n, k)
            Rows of the index, by (distance, position).
        distances : ndarray of float32, shape (n, k)
            Exact, as :meth:`lookalike.neighbors.exact.Database.nearest` gives them.

        Raises
        ------
        ChecksumError
            If a list isn't what was written.
        UsageError
            If the queries are of another dimension, or one holds NaN, infinity or, for ``cosine``, only zeros.
        """
        asked, lengths = self._centred.checked(queries)
        self._measure.check("query", lengths)
        positions = np.empty((len(asked), k), np.int64)
        distances = np.empty((len(asked), k), np.float32)
        for start in range(0, len(asked), _MAX_TOGETHER):
            part = slice(start, start + _MAX_TOGETHER)
            asked_part, lengths_part = asked[part], lengths[part]
            chosen = self._chosen(asked_part, lengths_part, k, probes)
            self._check(np.unique(np.concatenate(chosen)))
            left, errors = self._measure.prepare(asked_part, lengths_part)[0], self._measure.errors(lengths_part)
            if len(asked_part) >= _TOGETHER:
                who, places = visit(left, errors, k, chosen, self._starts, self._list, self._measure.complete)
            else:
                candidates = [self._of_one(*query, k) for query in zip(left, errors, chosen, strict=True)]
                who = np.repeat(np.arange(len(candidates)), list(map(len, candidates)))
                places = np.concatenate(candidates)
            at_once = max(1, NUMBERS_AT_ONCE // asked_part.shape[1])
            exact = np.concatenate(
                [
                    self._measure.apart(asked_part, lengths_part, who[at : at + at_once], places[at : at + at_once])
                    for at in range(0, len(who), at_once)
                ]
            ).astype(np.float32)
            rows = self._rows[places]
            order = np.lexsort((rows, exact, who))
            first = order[np.flatnonzero(np.diff(who, prepend=-1))[:, None] + np.arange(k)]
            positions[part], distances[part] = rows[first], exact[first]
        return positions, distances

    def _check(self, lists: Int64Array) -> None:
        """Check lists that weren't yet, all of them together."""
        fresh = lists[~self._sound[lists] & (self._sizes[lists] > 0)]
        if len(fresh):
            self._stored.check_rows("descriptors", self._starts[fresh], self._starts[fresh + 1])
            self._sound[fresh] = True

    def _list(self, number: int) -> Float32Array:
        """Return the descriptors of a list, which was checked."""
        return self._all[int(self._starts[number]) : int(self._starts[number + 1])]

    def _chosen(self, asked: Float32Array, lengths: Float64Array, k: int, probes: int) -> list[Int64Array]:
        """Return the lists each query looks into, the nearest first."""
        probes = min(probes, len(self))
        left = self._by_centre.prepare(asked, lengths)[0]
        near = np.empty((len(asked), len(self)), np.float32)
        self._by_centre.multiply(left, near)

        def choose(part: slice) -> Int64Array:
            distances = near[part]
            self._by_centre.complete(0, len(self), distances)
            nearest = np.argpartition(distances, probes - 1, axis=1)[:, :probes]
            order = np.argsort(np.take_along_axis(distances, nearest, axis=1), axis=1, kind="stable")
            lists: Int64Array = np.take_along_axis(nearest, order, axis=1)
            return lists

        each = -(-len(asked) // product_threads()) if len(asked) >= _TOGETHER else len(asked)
        parts = [slice(start, start + each) for start in range(0, len(asked), each)]
        if len(parts) == 1:
            chosen = choose(parts[0])
        else:
            with ThreadPoolExecutor(len(parts)) as pool:
                chosen = np.concatenate(list(pool.map(choose, parts)))
        lists = list(chosen)
        for q in np.flatnonzero(self._sizes[chosen].sum(axis=1) < k).tolist():
            every = np.argsort(near[q], kind="stable")
            lists[q] = every[: int(np.searchsorted(np.cumsum(self._sizes[every]), k)) + 1]
        return lists

    def _of_one(self, left: Float32Array, error: float, lists: Int64Array, k: int) -> Int64Array:
        """Return the places of one query's candidates, at least ``k``."""
        edges = np.concatenate([[0], np.cumsum(self._sizes[lists])])
        values = np.empty(int(edges[-1]), np.float32)
        bounds = edges.tolist()
        for number, start, begin, end in zip(
            lists.tolist(), self._starts[lists].tolist(), bounds[:-1], bounds[1:], strict=True
        ):
            part = values[begin:end]
            np.vecdot(self._list(number), left, out=part)
            self._measure.complete(start, start + end - begin, part)
        kth = np.partition(values, k - 1)[k - 1 : k]
        near = np.flatnonzero(values <= reach_of(kth, np.array([2 * error])))
        part_of = np.searchsorted(edges, near, "right") - 1
        places: Int64Array = near - edges[part_of] + self._starts[lists][part_of]
        return places

    def facts(self) -> dict[str, Any]:
        """Return what ``lookalike info`` says of it.

        Returns
        -------
        dict
            Keys ``lists``, ``distance``, ``floor``, and ``meter``: a list of the fields of :class:`Recall`.
        """
        return {"lists": len(self), "distance": self.distance, "floor": FLOOR, "meter": [asdict(m) for m in self.meter]}
