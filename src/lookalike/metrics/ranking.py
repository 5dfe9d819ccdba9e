"""Ranked answers + right answers -> scores, with their uncertainty.

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

import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lookalike.array_types import BoolArray, Float32Array, Float64Array, Int64Array
from lookalike.cores import usable_cores
from lookalike.errors import UsageError
from lookalike.metrics.bootstrap import bootstrap_percentiles
from lookalike.neighbors.exact import Block, Database

#: The article's list of n for LRAP@n.
CUTS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 30000, 40000, 50000, 60000)
#: The bits of float32's infinity: NaN is above, any number below.
INFINITY = 0x7F800000


def label_ranking_average_precision(y_true: ArrayLike, y_score: ArrayLike) -> float:
    """Return scikit-learn's ``label_ranking_average_precision_score``, digit for digit, from numpy alone.

    For each row, the mean over true labels of (true labels scored no lower / labels scored no lower), so that tied
    labels share the last rank among them; then the mean over rows. This is not ``LRAP@n`` above: ties have no order,
    and a row in which no label is true, or all are, gives 1.0.

    Parameters
    ----------
    y_true : array of bool or 0/1, shape (n, labels)
        Which labels are true.
    y_score : array of float, shape (n, labels)
        The higher, the more likely true.

    Returns
    -------
    float
        0..1, 1 if every true label is scored above every other.

    Raises
    ------
    UsageError
        If the shapes differ or are empty, ``y_true`` isn't 0 and 1, or a score is NaN or infinite.

    Examples
    --------
    >>> label_ranking_average_precision([[1, 0, 0], [0, 0, 1]], [[0.75, 0.5, 1], [1, 0.2, 0.1]])  # (1/2 + 1/3) / 2
    0.41666666666666663
    """
    true, score = np.asarray(y_true), np.asarray(y_score)
    if true.shape != score.shape or true.ndim != 2 or not true.size:
        raise UsageError(f"y_true and y_score must have one shape (n, labels), not {true.shape} and {score.shape}")
    if not np.isin(true, (0, 1)).all():
        raise UsageError("y_true must hold only 0 and 1; mark each label as true or not")
    if not np.isfinite(score).all():
        raise UsageError("y_score holds NaN or infinity; leave those rows out")
    total = 0.0
    for row, values in zip(true.astype(bool), score, strict=True):
        of_true = np.sort(values[row])
        if len(of_true) in (0, len(values)):
            total += 1.0
            continue
        no_lower_true = len(of_true) - np.searchsorted(of_true, of_true)
        no_lower = len(values) - np.searchsorted(np.sort(values), of_true)
        total += float(np.mean(no_lower_true / no_lower))
    return total / len(true)


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
    return [_ranks(np.ascontiguousarray(row), right[i]) for i, row in enumerate(distances)]


def _ranks(distances: Float32Array, relevant: BoolArray) -> Int64Array:
    """Rank one query's row.

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
        found = self.found(n)
        return np.where(found > 0, self._precisions[found - 1], 0.0)

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


def precision_at(k: int) -> Callable[[Hits], float]:
    """Return P@k, which divides by ``k`` even if there are fewer relevant images.

    Parameters
    ----------
    k : int
        How many answers count.

    Returns
    -------
    callable
        Hits -> P@k, 0..1.
    """
    return lambda hits: float(hits.found(k) / k)


def recall_at(k: int) -> Callable[[Hits], float]:
    """Return recall@k: the share of the relevant images that is found.

    Parameters
    ----------
    k : int
        How many answers count.

    Returns
    -------
    callable
        Hits -> recall@k, 0..1.
    """
    return lambda hits: float(hits.found(k) / hits.total)


#: Every score but the curve of LRAP@n, in the order in which they are shown. A new metric is one line here.
METRICS = (
    Metric("P@1", precision_at(1)),
    Metric("P@10", precision_at(10)),
    Metric("recall@1", recall_at(1), "in JSON"),
    Metric("recall@10", recall_at(10), "in text"),
    Metric("recall@100", recall_at(100)),
    Metric("recall@1000", recall_at(1000), "in text"),
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


@dataclass(frozen=True)
class ScoreReport:
    """Mean scores over queries, and how sure they are.

    Attributes
    ----------
    queries, database : int
        How many queries were ranked, against how many images.
    without_relevant : int
        Queries with no relevant image in the database; they score 0.
    none_in_first_10 : int
        Queries with no relevant image among the first 10 answers; those without any are counted too.
    metrics : dict of str to float
        Every score by name, LRAP@n included.
    intervals : dict of str to (float, float)
        95 % percentile bootstrap interval over queries, for every score.
    lrap : list of (int, float)
        n and LRAP@n: the article's curve.
    lrap_scikit_learn : list of (int, float)
        The same where a query with nothing relevant in its first n counts 1.0, as scikit-learn has it.
    """

    queries: int
    database: int
    without_relevant: int
    none_in_first_10: int
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    lrap: list[tuple[int, float]]
    lrap_scikit_learn: list[tuple[int, float]]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain numbers, lists and dictionaries.

        Returns
        -------
        dict
            Ready for ``json.dumps``; pairs became lists.
        """
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


class Scores:
    """Collects the scores of queries, block by block.

    Parameters
    ----------
    database : int
        How many images each query ranks.
    cuts : sequence of int, optional
        Every n of LRAP@n, each once, ascending; by default :data:`CUTS` up to the database's size, and that size.

    Raises
    ------
    UsageError
        If a cut is below 1 or above the database's size.
    """

    def __init__(self, database: int, cuts: Iterable[int] | None = None) -> None:
        self.database = database
        self.cuts = sorted({n for n in CUTS if n < database} | {database}) if cuts is None else sorted(set(cuts))
        for n in self.cuts:
            if not 1 <= n <= database:
                raise UsageError(f"LRAP@{n:,} can't be scored: n must be 1 to {database:,}, the images in the database")
        self._rows: list[Float64Array] = []

    def add(self, rows: Iterable[Float64Array]) -> None:
        """Add queries.

        Parameters
        ----------
        rows : iterable of ndarray of float64
            What :func:`per_query` returned for each, with these ``cuts``.
        """
        self._rows.extend(rows)

    @property
    def values(self) -> Float64Array:
        """The scores of each query, shape (queries, len(names)); compare two rankings of the same queries by them."""
        return np.vstack(self._rows) if self._rows else np.empty((0, len(self.names)))

    @property
    def names(self) -> list[str]:
        """The names of the scores."""
        return score_names(self.cuts)

    def report(self, seed: int = 0, resamples: int = 1000) -> ScoreReport:
        """Average over the queries added so far.

        Parameters
        ----------
        seed : int
            Of the bootstrap: the same seed gives the same intervals.
        resamples : int
            How many times the queries are drawn anew, with replacement.

        Returns
        -------
        ScoreReport

        Raises
        ------
        UsageError
            If no query was added.
        """
        if not self._rows:
            raise UsageError("there is no query to score; give at least one")
        values, names = self.values, self.names
        means = dict(zip(names, values.mean(axis=0).tolist(), strict=True))
        bounds = bootstrap_percentiles(values, seed, resamples)
        lrap = values[:, -len(self.cuts) :]
        # A score is 0 only where nothing was found: each relevant rank adds a precision above 0.
        scikit_learn = np.where(lrap == 0, 1.0, lrap).mean(axis=0).tolist()
        return ScoreReport(
            queries=len(values),
            database=self.database,
            without_relevant=int((values[:, names.index("mAP")] == 0).sum()),
            none_in_first_10=int((values[:, names.index("P@10")] == 0).sum()),
            metrics=means,
            intervals={name: (low, high) for name, (low, high) in zip(names, bounds.T.tolist(), strict=True)},
            lrap=[(n, means[f"LRAP@{n}"]) for n in self.cuts],
            lrap_scikit_learn=list(zip(self.cuts, scikit_learn, strict=True)),
        )


@dataclass(frozen=True)
class Difference:
    """How much better one ranking is than another, over the same queries.

    Attributes
    ----------
    mean : float
        Mean of the differences of a score, query by query: above 0 where the second is better.
    low, high : float
        95 % percentile bootstrap interval over queries, each drawn with both its scores.
    """

    mean: float
    low: float
    high: float

    @property
    def is_sure(self) -> bool:
        """Whether the interval leaves no doubt about which is better."""
        return self.low > 0 or self.high < 0


def compare_paired(first: Scores, second: Scores, seed: int = 0, resamples: int = 1000) -> dict[str, Difference]:
    """Compare two rankings of the same queries.

    Parameters
    ----------
    first, second : Scores
        Of the same queries in the same order.
    seed : int
        Of the bootstrap.
    resamples : int
        How many times the queries are drawn anew, with replacement.

    Returns
    -------
    dict of str to Difference
        By the names of the scores that both have.

    Raises
    ------
    UsageError
        If they hold different numbers of queries, or none.

    References
    ----------
    B. Efron and R. Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 13; paired, as in T. Sakai,
    "Evaluating evaluation metrics based on the bootstrap", SIGIR 2006.

    Examples
    --------
    >>> worse, better = Scores(4, [4]), Scores(4, [4])
    >>> worse.add([per_query(np.array([2]), [4]), per_query(np.array([4]), [4])])
    >>> better.add([per_query(np.array([1]), [4]), per_query(np.array([3]), [4])])
    >>> round(compare_paired(worse, better)["mAP"].mean, 4)  # ((1 - 1/2) + (1/3 - 1/4)) / 2
    0.2917
    """
    a, b = first.values, second.values
    if len(a) != len(b) or not len(a):
        raise UsageError(f"{len(a):,} and {len(b):,} queries can't be compared in pairs; score both with the same ones")
    names = [name for name in first.names if name in second.names]
    apart = b[:, [second.names.index(name) for name in names]] - a[:, [first.names.index(name) for name in names]]
    low, high = bootstrap_percentiles(apart, seed, resamples).tolist()
    means = apart.mean(axis=0).tolist()
    return {name: Difference(*found) for name, *found in zip(names, means, low, high, strict=True)}


def score(
    database: Database,
    database_labels: ArrayLike,
    queries: NDArray[np.floating],
    query_labels: ArrayLike,
    *,
    excluded: Callable[[int], Sequence[int]] | None = None,
    cuts: Iterable[int] | None = None,
    block: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Scores:
    """Rank the whole database for every query and score the rankings, in blocks.

    Ranks come from float32 distances, so two images closer in distance than its last digits may swap ranks from one
    block size or machine to another. Memory: ``BLOCK_BYTES`` (64 MiB), or 4 bytes an image and query of a block, and
    some 40 bytes an image for each processor core.

    Parameters
    ----------
    database : Database
        What is ranked.
    database_labels : array of numbers or text, shape (m,)
        One label an image. An image is relevant if its label is the query's.
    queries : ndarray of float32, shape (n, d)
        One row a query; where it is part of the database, exclude it, or it finds itself first.
    query_labels : array of numbers or text, shape (n,)
        One label a query.
    excluded : callable, optional
        Given a query's position, returns the positions of images that aren't ranked for it.
    cuts : iterable of int, optional
        Every n of LRAP@n; see :class:`Scores`.
    block : int, optional
        Queries in a block; by default what fits ``BLOCK_BYTES``.
    progress : callable, optional
        Called with the number of queries done so far, after each block.

    Returns
    -------
    Scores
        Ready for ``report()``.

    Raises
    ------
    UsageError
        If labels and descriptors differ in number, the two sets of labels in kind, or the queries can't be used.
    """
    known, codes = np.unique(_labels("database", database_labels, database.size), return_inverse=True)
    wanted = _labels("query", query_labels, len(queries))
    if (known.dtype.kind in "US") != (wanted.dtype.kind in "US"):
        raise UsageError(f"database labels are {known.dtype}, query labels {wanted.dtype}; turn one into the other")
    codes = codes.astype(np.min_scalar_type(len(known)))  # the narrower, the sooner compared
    places = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    wanted_codes = np.where(known[places] == wanted, places, len(known)).tolist()
    return score_relevant(
        database, queries, lambda i: codes == wanted_codes[i], excluded, cuts=cuts, block=block, progress=progress
    )


def score_relevant(
    database: Database,
    queries: NDArray[np.floating],
    relevant: Callable[[int], BoolArray],
    excluded: Callable[[int], Sequence[int]] | None = None,
    *,
    cuts: Iterable[int] | None = None,
    block: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Scores:
    """Do the same where each query has right answers of its own.

    Parameters
    ----------
    database : Database
        What is ranked.
    queries : ndarray of float32, shape (n, d)
        One row a query.
    relevant : callable
        Given a query's position, returns which images are right, bool of shape (m,), not to be changed; asked once a query, on several threads.
    excluded : callable, optional
        Given a query's position, returns the positions of images that aren't ranked for it: the query itself, or images
        that are neither right nor wrong.
    cuts, block, progress
        As of :func:`score`.

    Returns
    -------
    Scores
        Ready for ``report()``.

    Raises
    ------
    UsageError
        If the queries can't be used.
    """
    scores = Scores(database.size, cuts)
    workers = usable_cores()
    rows: list[Float64Array] = [np.empty(0)] * len(queries)

    def rank(part: Block, first: int) -> None:
        for i in range(first, len(part), workers):
            query = part.start + i
            row, right = part.row(i), relevant(query)
            if excluded is not None:
                left_out = list(excluded(query))
                # Behind all others, and not right: as if they weren't there.
                right = right.copy()
                row[left_out], right[left_out] = np.inf, False
            rows[query] = per_query(_ranks(row, right), scores.cuts)

    with ThreadPoolExecutor(workers) as pool:
        for part in database.blocks(queries, block):
            for done in [pool.submit(rank, part, first) for first in range(workers)]:
                done.result()
            if progress is not None:
                progress(part.start + len(part))
    scores.add(rows)
    return scores


def _labels(what: str, labels: ArrayLike, count: int) -> NDArray[Any]:
    array = np.asarray(labels)
    if array.dtype == object:  # as text comes from Arrow
        array = np.asarray(array.tolist())
    if array.shape != (count,):
        raise UsageError(f"{what} labels have shape {array.shape} for {count:,} images; give one label an image")
    if array.dtype.kind not in "biufUS":
        raise UsageError(f"{what} labels are {array.dtype}; give numbers or text, and leave out images without a label")
    return array
