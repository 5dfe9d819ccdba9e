"""An index + labelled queries -> a score report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.collections.open import Collection
from lookalike.errors import UsageError
from lookalike.metrics import scores
from lookalike.metrics.ground_truth import GroundTruth, write_qrels, write_run
from lookalike.metrics.ranking import SHOWN_IN_TEXT
from lookalike.metrics.ranks import ranks_of
from lookalike.metrics.scores import Difference, ScoreReport, Scores, compare_paired
from lookalike.reports.query_set import QuerySet, questions
from lookalike.search.rerank.base import RerankRequest, ranking_values
from lookalike.search.rerank.registry import create_reranker

if TYPE_CHECKING:
    from lookalike.index.reader import IndexReader


@dataclass(frozen=True)
class IndexScore(ScoreReport):
    """The scores of an index, with what was scored.

    Attributes
    ----------
    encoder : str
        Name of the encoder, with its preset where it has one.
    distance : str
        What the ranking went by.
    seed : int
        Of the queries drawn and of the bootstrap.
    rerank : str or None
        The re-ranking, with its parameters as they were given; None for the plain distance.
    """

    encoder: str
    distance: str
    seed: int
    rerank: str | None = None

    @property
    def lrap_intervals(self) -> list[tuple[float, float]]:
        """The interval of each point of ``lrap``."""
        return [self.intervals[f"LRAP@{n}"] for n, _ in self.lrap]

    @property
    def title(self) -> str:
        """What was scored, in a few words."""
        return f"{self.encoder}, {self.distance}" + ("" if self.rerank is None else f", re-ranked by {self.rerank}")

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON form."""
        return {"encoder": self.encoder, "distance": self.distance, "seed": self.seed} | super().to_json()

    def to_text(self) -> str:
        """Return a table for a terminal: each score with its 95 % interval, then the curve."""
        lines = [
            f"{self.title}: {self.queries:,} queries against {self.database:,} images",
            f"{'':<14}{'score':>8}   95 % interval",
        ]
        for name in (*SHOWN_IN_TEXT, *(f"LRAP@{n}" for n, _ in self.lrap)):
            low, high = self.intervals[name]
            lines.append(f"{name:<14}{self.metrics[name]:>8.4f}   {low:.4f} to {high:.4f}")
        if self.without_relevant:
            lines.append(f"{self.without_relevant:,} queries have no relevant image in the index; they score 0")
        if self.none_in_first_10:
            lines.append(
                f"{self.none_in_first_10:,} queries have none among the first 10: 0 in LRAP@10 here, "
                f"1 in scikit-learn's ({self.lrap_scikit_learn[0][1]:.4f})"
            )
        return "\n".join(lines)


def score(
    index: IndexReader,
    queries: str | Path | Collection | None = None,
    *,
    truth: str | Path | GroundTruth | None = None,
    leave_one_out: bool = False,
    count: int | None = None,
    distance: str | None = None,
    resize: bool = False,
    seed: int = 0,
    rerank: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> IndexScore:
    """Rank the whole index for every query and score the rankings by labels or ground truth.

    Parameters
    ----------
    index : IndexReader
        With labels, unless ``truth`` says what is right. Images without one aren't ranked.
    queries : str, Path or Collection, optional
        Not part of the index; with labels, unless ``truth`` says what is right. Default: ``mnist:test`` for an index of ``mnist``.
    truth : str, Path or GroundTruth, optional
        The right answers of each query; see :mod:`lookalike.metrics.ground_truth`.
    leave_one_out : bool
        Ask by the index's own images, each against all others.
    count : int, optional
        Take so many of them, drawn without replacement by ``seed``.
    distance : {"cosine", "euclidean"}, optional
        By default the encoder's own.
    resize : bool
        Bring queries of another size to the index's.
    seed : int
        Of the draw and of the bootstrap.
    rerank : str, optional
        What :func:`lookalike.search.rerank.registry.create_reranker` takes. Show such a score beside the plain one: a re-ranking has
        seen the whole database, though no label and no other query.
    on_progress : callable, optional
        Called with (queries done, queries in all).
    on_note : callable, optional
        Called with a sentence before a step of the re-ranking that takes long, and where queries are images of the index.

    Returns
    -------
    IndexScore
        Means over the queries, with 95 % bootstrap intervals; defined in :mod:`lookalike.metrics.ranking`. Images at one
        distance, or at distances that rounding can't tell apart, count as in random order.

    Raises
    ------
    UsageError
        If nothing says which answers are right, or more queries are asked for than there are.
    """
    chosen = {"truth": truth, "leave_one_out": leave_one_out, "count": count, "resize": resize, "seed": seed}
    asked = questions(index, queries, **chosen, distance=distance, on_note=on_note)  # type: ignore[arg-type]
    ranked = rank(index, asked, distance=distance, rerank=rerank, on_progress=on_progress, on_note=on_note)
    return report_of(index, ranked, distance, seed, rerank)


def rank(
    index: IndexReader,
    asked: QuerySet,
    *,
    distance: str | None = None,
    rerank: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Scores:
    """Rank the whole index for every query.

    Parameters
    ----------
    index : IndexReader
        What is ranked.
    asked : QuerySet
        For this index.
    distance, rerank, on_progress, on_note
        As of :func:`score`.

    Returns
    -------
    Scores
        Query by query.
    """
    database, total = index.database(distance), len(asked.ids)
    labels = index.labels if asked.right is None else None

    def show(done: int) -> None:
        if on_progress is not None:
            on_progress(done, total)

    relevant = partial(asked.relevant, labels=labels, size=database.size)
    reranker = None if rerank is None else create_reranker(rerank, index, distance=distance, on_note=on_note)
    if reranker is not None:
        result, done = Scores(database.size), 0
        for values, _, _ in ranking_values(reranker, database, RerankRequest(asked.descriptors, asked.picture)):
            result.add(
                ranks_of(row, relevant(query), asked.left_out(query)) for query, row in enumerate(values, start=done)
            )
            done += len(values)
            show(done)
        return result
    excluded = asked.left_out if asked.excluded is not None or asked.unranked else None
    if labels is not None and asked.labels is not None:
        return scores.score(database, labels, asked.descriptors, asked.labels, excluded=excluded, progress=show)
    return scores.score_relevant(database, asked.descriptors, relevant, excluded, progress=show)


def report_of(
    index: IndexReader, ranked: Scores, distance: str | None = None, seed: int = 0, rerank: str | None = None
) -> IndexScore:
    """Average the scores of an index.

    Parameters
    ----------
    index : IndexReader
        What was ranked.
    ranked : Scores
        From :func:`rank`.
    distance : str, optional
        By what; by default the encoder's own.
    seed : int
        Of the bootstrap.
    rerank : str, optional
        How it was re-ranked.

    Returns
    -------
    IndexScore
    """
    report = ranked.report(seed=seed)
    facts = {field.name: getattr(report, field.name) for field in fields(ScoreReport)}
    by = distance or index.manifest.distance
    return IndexScore(**facts, encoder=encoder_title(index), distance=by, seed=seed, rerank=rerank)


@dataclass(frozen=True)
class Comparison:
    """Two rankings of the same queries.

    Attributes
    ----------
    first, second : IndexScore
        Their scores.
    differences : dict of str to Difference
        By the names of the scores: above 0 where the second is better.
    """

    first: IndexScore
    second: IndexScore
    differences: dict[str, Difference]

    def sentence(self, name: str = "mAP") -> str:
        """Say which is better by a score, by how much, and how surely.

        Parameters
        ----------
        name : str
            Of the score.

        Returns
        -------
        str
        """
        difference = self.differences[name]
        titles = [self.first.encoder, self.second.encoder]
        if titles[0] == titles[1]:
            titles = [self.first.title, self.second.title]
        if titles[0] == titles[1]:
            titles = ["the first", "the second"]
        better, worse, sign = (titles[1], titles[0], 1) if difference.mean >= 0 else (titles[0], titles[1], -1)
        low, high = sorted((sign * difference.low, sign * difference.high))
        doubt = "" if difference.is_sure else ": within chance"
        return f"{better} is better than {worse} by {sign * difference.mean:.4f} {name}, 95 % {low:.4f} to {high:.4f}{doubt}"

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON form."""
        differences = {
            name: {**asdict(difference), "sure": difference.is_sure} for name, difference in self.differences.items()
        }
        return {"first": self.first.to_json(), "second": self.second.to_json(), "differences": differences}


def compare_indexes(
    first: IndexReader,
    second: IndexReader,
    queries: str | Path | Collection | None = None,
    *,
    truth: str | Path | GroundTruth | None = None,
    leave_one_out: bool = False,
    count: int | None = None,
    distance: str | None = None,
    resize: bool = False,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Comparison:
    """Score two indexes, or one through two encoders, by the same queries, and say how they differ.

    Parameters
    ----------
    first, second : IndexReader
        Of the same images.
    queries, truth, leave_one_out, count, distance, resize, seed, on_progress, on_note
        As of :func:`score`.

    Returns
    -------
    Comparison

    Raises
    ------
    UsageError
        As of :func:`score`; or if the two hold different images.
    """
    if first.ids != second.ids:
        raise UsageError(
            f"{first.path} and {second.path} hold different images ({len(first):,} and {len(second):,}), so their scores "
            "can't be compared; index the same collection"
        )
    rankings = []
    for number, index in enumerate((first, second)):
        asked = questions(
            index, queries, truth=truth, leave_one_out=leave_one_out, count=count, resize=resize, seed=seed,
            distance=distance, on_note=None if number else on_note,
        )  # fmt: skip
        total = 2 * len(asked.ids)
        done_before = number * len(asked.ids)

        def show(done: int, _: int, before: int = done_before, total: int = total) -> None:
            if on_progress is not None:
                on_progress(before + done, total)

        rankings.append(rank(index, asked, distance=distance, on_progress=show))
    reports = [report_of(i, ranked, distance, seed) for i, ranked in zip((first, second), rankings, strict=True)]
    return Comparison(reports[0], reports[1], compare_paired(rankings[0], rankings[1], seed=seed))


def export_trec(
    index: IndexReader,
    asked: QuerySet,
    *,
    run: str | Path | None,
    qrels: str | Path | None,
    depth: int = 1000,
    distance: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write an index's rankings, or what is right, for trec_eval and its like.

    Parameters
    ----------
    index : IndexReader
        What is asked.
    asked : QuerySet
        For this index.
    run, qrels : str or Path, optional
        Where the rankings go, and the right answers.
    depth : int
        Answers of a query.
    distance : str, optional
        By default the encoder's own.
    overwrite : bool
        Whether files that lie there may be replaced.

    Raises
    ------
    UsageError
        If a file can't be written, or exists and may not be replaced.
    """
    if run is not None:
        database = index.database(distance)
        most = max((len(rows) for rows in asked.excluded or []), default=0) + len(asked.unranked)
        rows, far = database.nearest(asked.descriptors, min(depth + most, database.size))

        def rankings() -> Iterator[tuple[str, list[str], list[float]]]:
            for i, query in enumerate(asked.ids):
                kept = ~np.isin(rows[i], asked.left_out(i))
                yield query, index.ids_of(rows[i][kept][:depth]), far[i][kept][:depth].tolist()

        write_run(run, rankings(), encoder_title(index).replace(" ", "-"), overwrite=overwrite)
    if qrels is not None:
        labels = index.labels if asked.right is None else None
        write_qrels(
            qrels,
            ((query, index.ids_of(_right_rows(asked, i, labels, len(index)))) for i, query in enumerate(asked.ids)),
            overwrite=overwrite,
        )


def _right_rows(asked: QuerySet, query: int, labels: NDArray[np.str_] | None, size: int) -> list[int]:
    right = asked.relevant(query, labels, size)
    if left_out := asked.left_out(query):
        right = right.copy()
        right[left_out] = False
    return np.flatnonzero(right).tolist()


def encoder_title(index: IndexReader) -> str:
    """Name an index's encoder as a figure does: its preset, or its name with what was switched on.

    Parameters
    ----------
    index : IndexReader
        Any index.

    Returns
    -------
    str
        Such as ``article``, ``hog`` or ``hog, deskewed``.
    """
    params, post = index.manifest.view.params, index.manifest.view.post
    named = str(params.get("preset", index.manifest.encoder)) + (", deskewed" if params.get("deskew") else "")
    return named if post in (None, "unchanged") else f"{named}, {post}"
