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

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array, Float64Array, Int64Array
from lookalike.mapped import MappedArrays, writing_mapped
from lookalike.neighbors.distances import DISTANCES
from lookalike.neighbors.distances.base import lengths_of
from lookalike.neighbors.exact import NUMBERS_AT_ONCE, Database
from lookalike.neighbors.ivf_scan import visit
from lookalike.neighbors.tiling import product_threads, reach_of

#: What recall@10 must reach, and the numbers of answers for which it is measured.
FLOOR, CUTS = 0.99, (10, 100)
_SAMPLE = 256  # queries of the meter, each time
_TRAIN_PER_LIST, _TURNS = 32, 8
_MIN_LISTS, _MAX_LISTS = 16, 8192
_SEED = 0
#: From this many on, queries look into lists together, and no more than so many.
_TOGETHER, _MAX_TOGETHER = 16, 1024
_AT_ONCE = 2**23  # numbers moved or put into lists at a time


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
        What :func:`write_lists` wrote.

    Attributes
    ----------
    distance : str
        The only distance it answers by.
    meter : list of Recall
        One a number of answers, ascending.
    """

    def __init__(self, stored: MappedArrays | _Filled) -> None:
        self._stored = stored
        self.distance = str(stored.facts["distance"])
        self.meter = [Recall(**one) for one in stored.facts.get("meter", [])]
        self.centres: Float32Array = stored.array("centres")
        self._starts: Int64Array = stored.array("starts")
        self._sizes: Int64Array = np.diff(self._starts)
        self._rows: Int64Array = stored.array("rows")
        self._lengths: Float64Array = stored.array("lengths")
        self._all: Float32Array = stored.rows("descriptors", 0, self.size, checked=False)
        self._sound = np.zeros(len(self.centres), np.bool_)  # lists that have been checked
        self._measure = DISTANCES[self.distance](self._all, self._lengths)
        by_centre = DISTANCES[self.distance].by_centre
        assert by_centre is not None, "no lists are written for such a distance"
        self._centred = Database(self.centres, by_centre)
        self._by_centre = DISTANCES[by_centre](self.centres, self._centred.lengths)

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
        return next((one.probes for one in self.meter if one.k >= k and one.met), None)

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
            some, long = asked[part], lengths[part]
            chosen = self._chosen(some, long, k, probes)
            self._check(np.unique(np.concatenate(chosen)))
            left, errors = self._measure.prepare(some, long)[0], self._measure.errors(long)
            if len(some) >= _TOGETHER:
                who, places = visit(left, errors, k, chosen, self._starts, self._list, self._measure.complete)
            else:
                found = [self._of_one(*one, k) for one in zip(left, errors, chosen, strict=True)]
                who, places = np.repeat(np.arange(len(found)), [len(one) for one in found]), np.concatenate(found)
            at_once = max(1, NUMBERS_AT_ONCE // some.shape[1])
            exact = np.concatenate(
                [
                    self._measure.apart(some, long, who[at : at + at_once], places[at : at + at_once])
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

    def _list(self, one: int) -> Float32Array:
        """Return the descriptors of a list, which was checked."""
        return self._all[int(self._starts[one]) : int(self._starts[one + 1])]

    def _chosen(self, asked: Float32Array, lengths: Float64Array, k: int, probes: int) -> list[Int64Array]:
        """Return the lists each query looks into, the nearest first."""
        probes = min(probes, len(self))
        left = self._by_centre.prepare(asked, lengths)[0]
        near = np.empty((len(asked), len(self)), np.float32)
        self._by_centre.multiply(left, near)

        def choose(part: slice) -> Int64Array:
            some = near[part]
            self._by_centre.complete(0, len(self), some)
            nearest = np.argpartition(some, probes - 1, axis=1)[:, :probes]
            order = np.argsort(np.take_along_axis(some, nearest, axis=1), axis=1, kind="stable")
            found: Int64Array = np.take_along_axis(nearest, order, axis=1)
            return found

        each = -(-len(asked) // product_threads()) if len(asked) >= _TOGETHER else len(asked)
        parts = [slice(start, start + each) for start in range(0, len(asked), each)]
        if len(parts) == 1:
            chosen = choose(parts[0])
        else:
            with ThreadPoolExecutor(len(parts)) as pool:
                chosen = np.concatenate(list(pool.map(choose, parts)))
        found = list(chosen)
        for q in np.flatnonzero(self._sizes[chosen].sum(axis=1) < k).tolist():
            every = np.argsort(near[q], kind="stable")
            found[q] = every[: int(np.searchsorted(np.cumsum(self._sizes[every]), k)) + 1]
        return found

    def _of_one(self, left: Float32Array, error: float, lists: Int64Array, k: int) -> Int64Array:
        """Return the places of one query's candidates, at least ``k``."""
        edges = np.concatenate([[0], np.cumsum(self._sizes[lists])])
        values = np.empty(int(edges[-1]), np.float32)
        bounds = edges.tolist()
        for one, start, begin, end in zip(
            lists.tolist(), self._starts[lists].tolist(), bounds[:-1], bounds[1:], strict=True
        ):
            part = values[begin:end]
            np.vecdot(self._list(one), left, out=part)
            self._measure.complete(start, start + end - begin, part)
        kth = np.partition(values, k - 1)[k - 1 : k]
        near = np.flatnonzero(values <= reach_of(kth, np.array([2 * error])))
        part_of = np.searchsorted(edges, near, "right") - 1
        places: Int64Array = near - edges[part_of] + self._starts[lists][part_of]
        return places

    def told(self) -> dict[str, Any]:
        """Return what ``lookalike info`` says of it.

        Returns
        -------
        dict
            Keys ``lists``, ``distance``, ``floor``, and ``meter``: a list of the fields of :class:`Recall`.
        """
        return {"lists": len(self), "distance": self.distance, "floor": FLOOR, "meter": [asdict(m) for m in self.meter]}


class _Filled:
    """The arrays of a file that isn't sealed yet, read as a sealed one's are."""

    def __init__(self, facts: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        self.facts = facts
        self._arrays = arrays

    def array(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    def rows(self, name: str, start: int, stop: int, *, checked: bool = True) -> NDArray[Any]:  # noqa: ARG002
        return self._arrays[name][start:stop]

    def check_rows(self, name: str, starts: Int64Array, stops: Int64Array) -> None:
        """Check nothing: what was just written is as it was written."""

    def take(self, name: str, rows: Sequence[int] | Int64Array) -> NDArray[Any]:
        return np.asarray(self._arrays[name][np.asarray(rows, np.int64)])


def write_lists(
    path: Path,
    descriptors: Float32Array,
    keys: Int64Array,
    distance: str,
    *,
    facts: dict[str, Any] | None = None,
    centres: Float32Array | None = None,
) -> InvertedFile:
    """Make an inverted file, and measure how many of its lists are enough.

    Parameters
    ----------
    path : Path
        The file, put in place whole.
    descriptors : ndarray of float32, shape (m, d)
        In the order of the index; may be mapped. At least 2.
    keys : ndarray of int64, shape (m,)
        Of their rows.
    distance : str
        A name in :data:`lookalike.neighbors.distances.DISTANCES`, but ``hamming``.
    facts : dict, optional
        Kept with it.
    centres : ndarray of float32, shape (lists, d), optional
        Those of an earlier file, where they may go on; learnt by default.

    Returns
    -------
    Lists
        Open.

    Raises
    ------
    OSError
        If the folder or the disk refuses.
    """
    lengths = lengths_of(descriptors)
    if centres is None:
        centres = _learn(descriptors, lengths, distance)
    owner = np.empty(len(descriptors), np.int64)
    nearest = Database(centres, "euclidean")
    for part in _parts(*descriptors.shape):
        owner[part] = nearest.nearest(DISTANCES[distance].placed(descriptors[part], lengths[part]), 1)[0][:, 0]
    order = np.argsort(owner, kind="stable")
    starts = np.searchsorted(owner[order], np.arange(len(centres) + 1))
    stated = {**(facts or {}), "distance": distance}
    shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
        "descriptors": ("<f4", descriptors.shape),
        "rows": ("<i8", order.shape),
        "lengths": ("<f8", lengths.shape),
        "keys": ("<i8", keys.shape),
        "centres": ("<f4", centres.shape),
        "starts": ("<i8", starts.shape),
    }
    with writing_mapped(path, stated, shapes) as arrays:
        for part in _parts(*descriptors.shape):
            arrays["descriptors"][part] = descriptors[order[part]]
        small = {"rows": order, "lengths": lengths[order], "keys": keys, "centres": centres, "starts": starts}
        for name, values in small.items():
            arrays[name][:] = values
        stated["meter"] = [asdict(one) for one in _measure(InvertedFile(_Filled(stated, arrays)), arrays, distance)]
    return InvertedFile(MappedArrays(path))


def _parts(count: int, dimension: int) -> Iterator[slice]:
    """Yield rows that are worked on together, so that many don't take memory as a whole."""
    step = max(1, _AT_ONCE // dimension)
    for start in range(0, count, step):
        yield slice(start, start + step)


def _learn(descriptors: Float32Array, lengths: Float64Array, distance: str) -> Float32Array:
    """Return centres by k-means on a sample: 2 sqrt(m) of them, so that choosing and looking into lists cost alike."""
    count = max(_MIN_LISTS, min(_MAX_LISTS, int(2 * len(descriptors) ** 0.5)))
    count = min(count, len(descriptors))
    rng = np.random.default_rng(_SEED)
    some = np.sort(rng.choice(len(descriptors), min(len(descriptors), _TRAIN_PER_LIST * count), replace=False))
    sample = np.empty((len(some), descriptors.shape[1]), np.float32)
    for part in _parts(*sample.shape):
        sample[part] = DISTANCES[distance].placed(descriptors[some[part]], lengths[some[part]])
    centres = sample[rng.choice(len(sample), count, replace=False)].copy()
    for _ in range(_TURNS):
        nearest = Database(centres, "euclidean")
        owner = np.concatenate([nearest.nearest(sample[part], 1)[0][:, 0] for part in _parts(*sample.shape)])
        order = np.argsort(owner, kind="stable")
        held, first, many = np.unique(owner[order], return_index=True, return_counts=True)
        for one, start, count_held in zip(held.tolist(), first.tolist(), many.tolist(), strict=True):
            centres[one] = np.add.reduce(sample[order[start : start + count_held]], axis=0) / count_held
        empty = np.setdiff1d(np.arange(count), held)
        centres[empty] = sample[rng.choice(len(sample), len(empty), replace=False)]
        if DISTANCES[distance].directional:
            long = np.linalg.norm(centres, axis=1)
            centres[long > 0] /= long[long > 0, None]
    return centres


def _measure(lists: InvertedFile, arrays: dict[str, NDArray[Any]], distance: str) -> list[Recall]:
    """Choose the number of lists for each number of answers, and measure what it finds."""
    rng = np.random.default_rng(_SEED)
    count = min(2 * _SAMPLE, lists.size)
    places = rng.choice(lists.size, count, replace=False)
    queries, own = arrays["descriptors"][places], arrays["rows"][places]
    most = min(max(CUTS), lists.size - 1)
    exact = arrays["rows"][Database(arrays["descriptors"], distance, arrays["lengths"]).nearest(queries, most + 1)[0]]
    tuning, testing = slice(0, count // 2), slice(count // 2, count)
    steps = sorted({n for power in range(14) for n in (2**power, 3 * 2**power) if n <= max(1, len(lists) // 2)})
    meter = []
    for k in sorted({min(cut, most) for cut in CUTS}):

        def recall(part: slice, probes: int, k: int = k) -> Float64Array:
            found = lists.search(queries[part], k + 1, probes)[0]
            return np.array(
                [
                    len(set(a[a != me][:k].tolist()) & set(b[b != me][:k].tolist())) / k
                    for a, b, me in zip(found, exact[part], own[part], strict=True)
                ]
            )

        for probes in steps:
            _, low, _ = _interval(recall(tuning, probes))
            if low >= FLOOR:
                break
        found = recall(testing, probes)
        mean, bottom, top = _interval(found)
        meter.append(Recall(k, probes, mean, bottom, top, len(found), bool(low >= FLOOR and mean >= FLOOR)))
    return meter


def _interval(values: Float64Array) -> tuple[float, float, float]:
    mean, error = float(values.mean()), 1.96 * float(values.std()) / max(1, len(values)) ** 0.5
    return mean, max(0.0, mean - error), min(1.0, mean + error)
