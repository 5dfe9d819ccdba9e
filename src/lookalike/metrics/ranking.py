"""The ranks of a query's right answers -> its scores, as they are defined here.

Every query ranks the **whole** database by (distance, position), best first. All scores are functions of one list of
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

**Empty cases.** Where nothing relevant was found the score is 0, and a query with no relevant image in the whole
database scores 0 everywhere and is counted. scikit-learn gives such a query 1.0, which rewards total failure: its
LRAP@1 is 1.0 for any ranking. That convention is reported too, under its own name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lookalike.array_types import Float64Array, Int64Array


class Hits:
    """Where one query's relevant images stand, and the sums that every score is made of.

    Parameters
    ----------
    ranks : ndarray of int64, shape (R,)
        Ranks of all its relevant images in the whole database, counted from 1, ascending; at least one.
    """

    def __init__(self, ranks: Int64Array) -> None:
        self.total = len(ranks)
        self._ranks = ranks
        self._precisions = np.cumsum(np.arange(1, self.total + 1) / ranks)

    def found(self, n: Any) -> Any:
        """Return how many relevant images are among the first ``n``, an int or an array of them."""
        return np.searchsorted(self._ranks, n, side="right")

    def gained(self, n: Any) -> Any:
        """Return the sum of the precision at each relevant rank up to ``n``, an int or an array of them."""
        count = self.found(n)
        return np.where(count > 0, self._precisions[count - 1], 0.0)

    @property
    def gained_in_all(self) -> float:
        """The sum of the precision at every relevant rank."""
        return float(self._precisions[-1])


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
    return lambda hits: float(hits.found(k) / k)


def _recall_at(k: int) -> Callable[[Hits], float]:
    return lambda hits: float(hits.found(k) / hits.total)


#: Every score but the curve of LRAP@n, in the order in which they are shown. A new metric is one line here.
METRICS = (
    Metric("P@1", _precision_at(1)),
    Metric("P@10", _precision_at(10)),
    Metric("recall@1", _recall_at(1), "in JSON"),
    Metric("recall@10", _recall_at(10), "in text"),
    Metric("recall@100", _recall_at(100)),
    Metric("recall@1000", _recall_at(1000), "in text"),
    Metric("R-precision", lambda hits: float(hits.found(hits.total) / hits.total)),
    Metric("mAP", lambda hits: hits.gained_in_all / hits.total),
    Metric("mAP@R", lambda hits: float(hits.gained(hits.total) / hits.total)),
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


def per_query(ranks: Int64Array, cuts: Sequence[int]) -> Float64Array:
    """Return the scores of one query, as defined at the top of this module.

    Parameters
    ----------
    ranks : ndarray of int64, shape (R,)
        Ranks of all its relevant images in the whole database, counted from 1, ascending.
    cuts : sequence of int
        Every n of LRAP@n, 1 or more.

    Returns
    -------
    ndarray of float64
        One value, 0..1, for each of :func:`score_names`; all 0 if there is no relevant image.

    Examples
    --------
    The article's example: a query for a 7 whose answers are 7, 1, 7.

    >>> per_query(np.array([1, 3]), [1, 2, 3])[-3:].round(4).tolist()
    [1.0, 1.0, 0.8333]
    """
    if not len(ranks):
        return np.zeros(len(METRICS) + len(cuts))
    hits, at = Hits(ranks), np.array(cuts, np.int64)
    curve = hits.gained(at) / np.maximum(hits.found(at), 1)
    return np.concatenate([[metric.value(hits) for metric in METRICS], curve])
