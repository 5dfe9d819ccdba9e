"""A database + labelled queries -> the scores of each query, their means, and how sure they are.

What each score is: :mod:`lookalike.metrics.ranking`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lookalike.array_types import BoolArray, Float64Array
from lookalike.cores import usable_cores
from lookalike.errors import UsageError
from lookalike.metrics.bootstrap import bootstrap_percentiles
from lookalike.metrics.ranking import Hits, score_names, scores_of
from lookalike.metrics.ranks import Ranks, ranks_of
from lookalike.neighbors.exact import Block, Database

#: The article's list of n for LRAP@n.
CUTS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 30000, 40000, 50000, 60000)


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
        Queries with no relevant image among the first 10 answers; those without any are counted too. Where ties are cut,
        the number to be expected, rounded.
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

    def add(self, ranks: Iterable[Ranks]) -> None:
        """Add queries.

        Parameters
        ----------
        ranks : iterable of Ranks
            What :func:`rank_relevant` returned for each.
        """
        self._rows.extend(self._row(one) for one in ranks)

    def _row(self, ranks: Ranks) -> Float64Array:
        """Return a query's scores, then the chance that nothing relevant is among its first 10, and its first n each."""
        hits = Hits(ranks, (1, 10, 100, 1000, *self.cuts))
        return np.concatenate([scores_of(hits, self.cuts), [hits.missed(n) for n in (10, *self.cuts)]])

    @property
    def values(self) -> Float64Array:
        """The scores of each query, shape (queries, len(names)); compare two rankings of the same queries by them."""
        return np.vstack(self._rows)[:, : len(self.names)] if self._rows else np.empty((0, len(self.names)))

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
        missed = np.vstack(self._rows)[:, len(names) :]
        scikit_learn = (values[:, -len(self.cuts) :] + missed[:, 1:]).mean(axis=0).tolist()
        return ScoreReport(
            queries=len(values),
            database=self.database,
            without_relevant=int((values[:, names.index("mAP")] == 0).sum()),
            none_in_first_10=round(float(missed[:, 0].sum())),
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


def compare_paired(first: Scores, second: Scores, seed: int = 0) -> dict[str, Difference]:
    """Compare two rankings of the same queries.

    Parameters
    ----------
    first, second : Scores
        Of the same queries in the same order.
    seed : int
        Of the bootstrap.

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
    >>> worse.add([Ranks(np.array([2])), Ranks(np.array([4]))])
    >>> better.add([Ranks(np.array([1])), Ranks(np.array([3]))])
    >>> round(compare_paired(worse, better)["mAP"].mean, 4)  # ((1 - 1/2) + (1/3 - 1/4)) / 2
    0.2917
    """
    a, b = first.values, second.values
    if len(a) != len(b) or not len(a):
        raise UsageError(f"{len(a):,} and {len(b):,} queries can't be compared in pairs; score both with the same ones")
    names = [name for name in first.names if name in second.names]
    apart = b[:, [second.names.index(name) for name in names]] - a[:, [first.names.index(name) for name in names]]
    low, high = bootstrap_percentiles(apart, seed).tolist()
    means = apart.mean(axis=0).tolist()
    return {name: Difference(*figures) for name, *figures in zip(names, means, low, high, strict=True)}


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

    Ranks come from float32 distances, in which images are tied that rounding can't tell apart; by its last digits two may
    still be tied or not from one block size or machine to another. Memory: ``BLOCK_BYTES`` (64 MiB), or 4 bytes an image and query of a block, and
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
    held, wanted = _labels("database", database_labels, database.size), _labels("query", query_labels, len(queries))
    if (held.dtype.kind in "US") != (wanted.dtype.kind in "US"):
        raise UsageError(f"database labels are {held.dtype}, query labels {wanted.dtype}; turn one into the other")
    known, codes = np.unique(np.concatenate([held, wanted]), return_inverse=True)
    codes = codes.astype(np.min_scalar_type(len(known)))  # the narrower, the sooner compared
    of_images, of_queries = codes[: database.size], codes[database.size :].tolist()
    return score_relevant(
        database, queries, lambda i: of_images == of_queries[i], excluded, cuts=cuts, block=block, progress=progress
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
            left_out = [] if excluded is None else list(excluded(query))
            rows[query] = scores._row(ranks_of(part.row(i, resolved=True), relevant(query), left_out))

    with ThreadPoolExecutor(workers) as pool:
        for part in database.blocks(queries, block):
            for done in [pool.submit(rank, part, first) for first in range(workers)]:
                done.result()
            if progress is not None:
                progress(part.start + len(part))
    scores._rows.extend(rows)
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
