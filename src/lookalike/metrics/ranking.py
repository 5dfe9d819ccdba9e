"""The ranks of a query's right answers -> its scores, as they are defined here.

Every query ranks the **whole** database by distance, the nearest first. All scores are functions of one list of
numbers: the ranks, counted from 1, of the *relevant* images, those with the query's label. ``R`` is how many there are
in the database, ``found(n)`` how many among the first ``n``, and the precision at a rank is found(rank) / rank.

``LRAP@n``
    Sum of the precision at each relevant rank <= n, divided by ``found(n)``, as the article that lookalike grew out of
    did. Not mAP, which divides by ``R``: LRAP@n doesn't mind what it failed to find. (Tsoumakas, Katakis, Vlahavas,
    "Mining Multi-label Data", 2010.)
``P@k``
    ``found(k) / k``; ``P@1`` is the accuracy of the 1-nearest-neighbour answer. Divides by ``k`` even if ``R`` or the
    database is smaller.
``recall@k``
    ``found(k) / R``. Not the recall@k of metric learning, the share of queries with any relevant image found.
``R-precision``
    ``found(R) / R``. Not P@k for a fixed k.
``mAP``
    Sum of the precision at all relevant ranks, divided by ``R``: average precision, neither interpolated nor cut.
    (This and R-precision: Manning, Raghavan, Schütze, *Introduction to Information Retrieval*, 2008, section 8.4.)
``mAP@R``
    Sum of the precision at relevant ranks <= R, divided by ``R``. Not LRAP@R, which divides by ``found(R)``.
    (Musgrave, Belongie, Lim, "A Metric Learning Reality Check", ECCV 2020.)

All are 0..1 and averaged over queries.

**Ties.** Images at one distance have no order, and the one in which they happen to be stored is mostly that of their
labels. So each score is its expected value when tied images are in random order: a descriptor that is the same for all
images scores what chance does. (F. McSherry and M. Najork, "Computing Information Retrieval Performance Measures
Efficiently in the Presence of Tied Scores", ECIR 2008.) Of a tie of ``t`` images, ``r`` of them relevant, with ``N``
images and ``R'`` relevant ones before it,

- the first ``L`` places hold ``L r / t`` relevant images, which all that is linear in found(n) needs;
- place ``p`` holds a relevant one with chance ``r / t``, and then ``R' + 1 + (p - 1) (r - 1) / (t - 1)`` of the first
  ``N + p`` are, so the first ``L`` places add ``sum over p of r / t (R' + 1 + (p - 1) (r - 1) / (t - 1)) / (N + p)`` to a
  sum of precisions. The sums of ``1 / (N + p)`` are differences of harmonic numbers;
- LRAP@n is a ratio of two numbers that vary together, where ``n`` cuts the tie. Given that ``k`` of its first ``L`` places
  are relevant, found(n) is known, and these places are themselves in random order; ``k`` follows the hypergeometric
  distribution, and the expected ratios are added up by its chances.

**Empty cases.** Where nothing relevant was found the score is 0, and a query with no relevant image in the whole
database scores 0 everywhere and is counted. scikit-learn gives such a query 1.0, which rewards total failure: its
LRAP@1 is 1.0 for any ranking. That convention is reported too, under its own name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lookalike.array_types import Float64Array, Int64Array
from lookalike.metrics.ranks import Ranks

#: Harmonic numbers up to here are added up; differences beyond come from a series that is exact to float64 by then.
SUMMED = 32
_HARMONIC = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, SUMMED + 1))])


class Hits:
    """Where one query's relevant images stand, and the sums that every score is made of.

    Parameters
    ----------
    ranks : Ranks
        Of all its relevant images in the whole database.
    cuts : sequence of int
        What n will be asked for; any other may be, but these are looked up together.
    """

    def __init__(self, ranks: Ranks, cuts: Sequence[int] = ()) -> None:
        self.total = len(ranks.latest)
        self._ranks = ranks
        self._first = ranks.latest.searchsorted(ranks.before, "right")  # relevant images before each tie
        precisions = np.arange(1, self.total + 1) / ranks.latest
        if len(ranks.sizes):
            before, sizes, relevant = ranks.before, ranks.sizes, ranks.relevant
            # In a tie every relevant image stands for an equal part of what the whole tie adds.
            inverse, pace = _harmonic_between(before, before + sizes), (relevant - 1) / (sizes - 1)
            each = _gained_in_tie(before, self._first, 1 / sizes, pace, sizes, inverse)
            members = np.repeat(self._first - np.cumsum(relevant) + relevant, relevant)
            members += np.arange(len(members))
            precisions[members] = np.repeat(each, relevant)
        self._gained = np.concatenate([[0.0], np.cumsum(precisions)])
        self._cuts: dict[int, _Cut] = {}
        self._look_up([self.total, *cuts])

    def found(self, n: int) -> float:
        """Return how many relevant images are among the first ``n``."""
        cut = self._cut(n)
        return cut.found + cut.places * cut.relevant / cut.size

    def missed(self, n: int) -> float:
        """Return the chance that no relevant image is among the first ``n``: 0 or 1 where ``n`` cuts no tie."""
        cut = self._cut(n)
        if cut.found or not cut.places:
            return float(cut.found == 0)
        drawn, chances = cut.draws
        return float(chances[0]) if drawn[0] == 0 else 0.0

    def gained(self, n: int) -> float:
        """Return the sum of the precision at each relevant rank up to ``n``."""
        cut = self._cut(n)
        return float(self._gained[cut.found] + cut.gained(cut.relevant, cut.size))

    @property
    def gained_in_all(self) -> float:
        """The sum of the precision at every relevant rank."""
        return float(self._gained[-1])

    def mean_precision(self, n: int) -> float:
        """Return LRAP@n: the mean of the precision at each relevant rank up to ``n``, 0 if there is none."""
        cut = self._cut(n)
        before = float(self._gained[cut.found])
        if not cut.places:
            return before / max(cut.found, 1)
        drawn, chances = cut.draws
        return float(chances @ ((before + cut.gained(drawn, cut.places)) / np.maximum(cut.found + drawn, 1)))

    def _cut(self, n: int) -> _Cut:
        if n not in self._cuts:
            self._look_up([n])
        return self._cuts[n]

    def _look_up(self, cuts: Sequence[int]) -> None:
        """Find what is among the first n, for each of ``cuts``."""
        at, ranks = np.array(cuts), self._ranks
        found = ranks.latest.searchsorted(at, "right").tolist()
        self._cuts.update((n, _Cut(count)) for n, count in zip(cuts, found, strict=True))
        ties = ranks.before.searchsorted(at) - 1
        where = np.flatnonzero(ties >= 0)
        where = where[at[where] < (ranks.before + ranks.sizes)[ties[where]]]
        if len(where):
            at, ties = at[where], ties[where]
            before = ranks.before[ties]
            inverse = _harmonic_between(before, at)
            facts = (self._first[ties], before, ranks.sizes[ties], ranks.relevant[ties], at - before, inverse)
            for n, *row in zip(at.tolist(), *(part.tolist() for part in facts), strict=True):
                self._cuts[n] = _Cut(*row)


@dataclass
class _Cut:
    """What is among the first n.

    ``found`` relevant images, and the first ``places`` of a tie that stands behind ``before`` images, holds ``size`` and
    among them ``relevant`` relevant ones; ``inverse`` is the sum of 1 / (before + p) over these places.
    """

    found: int
    before: int = 0
    size: int = 1
    relevant: int = 0
    places: int = 0
    inverse: float = 0.0

    def gained(self, relevant: Any, among: int) -> Any:
        """Return what these places add to the sum of precisions if ``relevant`` are in random order ``among`` so many."""
        share, pace = relevant / among, (relevant - 1) / (among - 1 or 1)
        return _gained_in_tie(self.before, self.found, share, pace, self.places, self.inverse)

    @cached_property
    def draws(self) -> tuple[Int64Array, Float64Array]:
        """How many of these places may be relevant, and how likely each number is: the hypergeometric distribution.

        Left out is what lies so far from the mean that all of it together is less likely than 1e-17. (W. Hoeffding,
        "Probability Inequalities for Sums of Bounded Random Variables", JASA 58, 1963: section 6, without replacement.)
        """
        size, relevant, places = self.size, self.relevant, self.places
        mean = places * relevant / size
        reach = 4.5 * math.sqrt(min(places, size - places, relevant, size - relevant)) + 1
        least = max(0, places + relevant - size, math.floor(mean - reach))
        drawn = np.arange(least, min(places, relevant, math.ceil(mean + reach)) + 1)
        k = drawn[:-1]
        # Each chance by that before it: no factorials, whose logarithms would lose digits.
        ratios = (relevant - k) * (places - k) / ((k + 1) * (size - relevant - places + 1 + k))
        steps = np.zeros(len(drawn))
        np.cumsum(np.log(ratios), out=steps[1:])
        chances = np.exp(steps - steps.max())
        return drawn, chances / chances.sum()


def _gained_in_tie(before: Any, found: Any, share: Any, pace: Any, places: Any, inverse: Any) -> Any:
    """Return the sum over the first places, from p = 1, of share * (found + 1 + (p - 1) * pace) / (before + p)."""
    later = places - (before + 1) * inverse  # the sum of (p - 1) / (before + p)
    return share * ((found + 1) * inverse + pace * later)


def _harmonic_between(start: Int64Array, stop: Int64Array) -> Float64Array:
    """Return 1 / (start + 1) + ... + 1 / stop.

    Beyond ``SUMMED`` by DeTemple's series about n + 1/2: a difference of tables would lose the digits of a short sum.
    (D. DeTemple, "A Quicker Convergence to Euler's Constant", American Mathematical Monthly 100(5), 1993.)
    """
    low, high = np.maximum(start, SUMMED) + 0.5, np.maximum(stop, SUMMED) + 0.5
    between = np.log1p((high - low) / low) + _correction(high) - _correction(low)
    few = np.flatnonzero(start < SUMMED)
    between[few] += _HARMONIC[np.minimum(stop[few], SUMMED)] - _HARMONIC[start[few]]
    return between


def _correction(x: Float64Array) -> Float64Array:
    inverse = 1 / (x * x)
    return inverse * (1 / 24 + inverse * (-7 / 960 + inverse * (31 / 8064 - inverse * (127 / 30720))))


@dataclass(frozen=True)
class Metric:
    """One score of a query, by its name.

    Attributes
    ----------
    name : str
        As reports, tables, the page and JSON call it.
    value : callable
        Hits -> the score, 0..1. A query with nothing relevant in the database scores 0 and isn't asked.
    shown : {"everywhere", "in text", "in JSON"}
        Whether the page's and the demo's tables show it, the command's text alone, or neither.
    """

    name: str
    value: Callable[[Hits], float]
    shown: str = "everywhere"


def _precision_at(k: int) -> Callable[[Hits], float]:
    return lambda hits: hits.found(k) / k


def _recall_at(k: int) -> Callable[[Hits], float]:
    return lambda hits: hits.found(k) / hits.total


#: Every score but the curve of LRAP@n, in the order in which they are shown. A new metric is one line here.
METRICS = (
    Metric("P@1", _precision_at(1)),
    Metric("P@10", _precision_at(10)),
    Metric("recall@1", _recall_at(1), "in JSON"),
    Metric("recall@10", _recall_at(10), "in text"),
    Metric("recall@100", _recall_at(100)),
    Metric("recall@1000", _recall_at(1000), "in text"),
    Metric("R-precision", lambda hits: hits.found(hits.total) / hits.total),
    Metric("mAP", lambda hits: hits.gained_in_all / hits.total),
    Metric("mAP@R", lambda hits: hits.gained(hits.total) / hits.total),
)
#: Names of those that the page and the demo show, and of those that the text of a report does.
SHOWN = tuple(metric.name for metric in METRICS if metric.shown == "everywhere")
SHOWN_IN_TEXT = tuple(metric.name for metric in METRICS if metric.shown != "in JSON")


def score_names(cuts: Sequence[int]) -> list[str]:
    """Return the names of the scores of one query, in :func:`per_query`'s order.

    Parameters
    ----------
    cuts : sequence of int
        Every n of LRAP@n.

    Returns
    -------
    list of str

    Examples
    --------
    >>> score_names([10])[-4:]
    ['R-precision', 'mAP', 'mAP@R', 'LRAP@10']
    """
    return [*(metric.name for metric in METRICS), *(f"LRAP@{n}" for n in cuts)]


def per_query(ranks: Ranks, cuts: Sequence[int]) -> Float64Array:
    """Return the scores of one query, as defined at the top of this module.

    Parameters
    ----------
    ranks : Ranks
        Of all its relevant images in the whole database.
    cuts : sequence of int
        Every n of LRAP@n, 1 or more.

    Returns
    -------
    ndarray of float64
        One value, 0..1, for each of :func:`score_names`; all 0 if there is no relevant image.

    Examples
    --------
    The article's example: a query for a 7 whose answers are 7, 1, 7.

    >>> per_query(Ranks(np.array([1, 3])), [1, 2, 3])[-3:].round(4).tolist()
    [1.0, 1.0, 0.8333]
    """
    return scores_of(Hits(ranks, cuts), cuts)


def scores_of(hits: Hits, cuts: Sequence[int]) -> Float64Array:
    """Return the same of a query whose sums are known.

    Parameters
    ----------
    hits : Hits
        Of the query.
    cuts : sequence of int
        Every n of LRAP@n, 1 or more.

    Returns
    -------
    ndarray of float64
    """
    if not hits.total:
        return np.zeros(len(METRICS) + len(cuts))
    return np.array([*(metric.value(hits) for metric in METRICS), *(hits.mean_precision(n) for n in cuts)])
