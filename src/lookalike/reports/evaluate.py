"""An index + labelled queries -> a score report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.collections.open import Collection, open_collection
from lookalike.errors import UsageError
from lookalike.metrics import ranking
from lookalike.metrics.ground_truth import GroundTruth, read_truth, write_qrels, write_run
from lookalike.metrics.ranking import Difference, ScoreReport, Scores, compare_paired
from lookalike.search.engine import readable_queries
from lookalike.search.rerank.base import RerankRequest, ranking_values
from lookalike.search.rerank.registry import create_reranker

if TYPE_CHECKING:
    from lookalike.index.reader import IndexReader

_log = logging.getLogger(__name__)

#: What a person sees first; the rest is in the JSON.


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
        for name in (*ranking.SHOWN_IN_TEXT, *(f"LRAP@{n}" for n, _ in self.lrap)):
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


@dataclass(frozen=True, eq=False)
class QuerySet:
    """Queries to be ranked, and which answers are right.

    Attributes
    ----------
    ids : list of str
        One a query.
    descriptors : ndarray, shape (n, d)
        By the encoder of the index that is asked.
    labels : ndarray of str, shape (n,), or None
        An image is right if its label is the query's; None where ``right`` says it.
    right : list of list of int, or None
        For each query the rows of its right images.
    excluded : list of list of int, or None
        For each query the rows that aren't ranked.
    picture : callable or None
        Number of the query -> its picture, for re-rankings that look at it.
    unranked : list of int
        The rows that are ranked for no query, as nobody knows whether they are right.
    """

    ids: list[str]
    descriptors: NDArray[Any]
    labels: NDArray[np.str_] | None
    right: list[list[int]] | None = None
    excluded: list[list[int]] | None = None
    picture: Callable[[int], NDArray[np.uint8]] | None = None
    unranked: list[int] = field(default_factory=list)

    def left_out(self, query: int) -> list[int]:
        """Return the rows that aren't ranked for a query.

        Parameters
        ----------
        query : int
            Its position.

        Returns
        -------
        list of int
        """
        return self.unranked if self.excluded is None else [*self.excluded[query], *self.unranked]

    def relevant(self, query: int, labels: NDArray[np.str_] | None, size: int) -> NDArray[np.bool_]:
        """Return which of the index's images are right for a query.

        Parameters
        ----------
        query : int
            Its position.
        labels : ndarray of str or None
            The index's.
        size : int
            How many images the index has.

        Returns
        -------
        ndarray of bool, shape (size,)
        """
        if self.right is None:
            assert labels is not None
            assert self.labels is not None
            found: NDArray[np.bool_] = labels == self.labels[query]
            return found
        mask = np.zeros(size, np.bool_)
        mask[self.right[query]] = True
        return mask


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
        With labels, unless ``truth`` says what is right. Images without one aren't ranked, as nobody knows whether they are
        right.
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
        Means over the queries, with 95 % bootstrap intervals.

    Raises
    ------
    UsageError
        If nothing says which answers are right, or more queries are asked for than there are.

    References
    ----------
    The definitions are in :mod:`lookalike.metrics.ranking`.
    """
    chosen = {"truth": truth, "leave_one_out": leave_one_out, "count": count, "resize": resize, "seed": seed}
    asked = questions(index, queries, **chosen, distance=distance, on_note=on_note)  # type: ignore[arg-type]
    found = rank(index, asked, distance=distance, rerank=rerank, on_progress=on_progress, on_note=on_note)
    return report_of(index, found, distance, seed, rerank)


def questions(
    index: IndexReader,
    queries: str | Path | Collection | None = None,
    *,
    truth: str | Path | GroundTruth | None = None,
    leave_one_out: bool = False,
    count: int | None = None,
    resize: bool = False,
    seed: int = 0,
    distance: str | None = None,
    on_note: Callable[[str], None] | None = None,
) -> QuerySet:
    """Read queries and what is right for each, as :func:`score` does.

    Parameters
    ----------
    index, queries, truth, leave_one_out, count, resize, seed, distance
        As of :func:`score`. A query that can't be read, or is blank where cosine is asked for, is left out.
    on_note : callable, optional
        Called with a sentence where queries are images of the index, since such a score tells little; and with what is
        left out.

    Returns
    -------
    Questions

    Raises
    ------
    UsageError
        As of :func:`score`.
    """
    known = read_truth(truth) if isinstance(truth, str | Path) else truth
    tell = on_note or _log.info
    if leave_one_out:
        if queries is not None:
            raise UsageError("--leave-one-out asks by the index's own images; leave out the queries")
        rows = _drawn(len(index), count, seed, f"the index {index.path}")
        asked = QuerySet(
            [index.ids[row] for row in rows],
            index.descriptors[rows],
            None if index.labels is None else index.labels[rows],
            None,
            [[row] for row in rows],
        )
        name, good = f"the index {index.path}", None
    else:
        # Ground truth may go by the order of all queries, so that they are drawn from only afterwards.
        chosen = sample_queries(index, queries, count=count if known is None else None, seed=seed)
        if own := _own(index, chosen):
            tell(
                f"{own:,} of {len(chosen):,} queries are images of the index, and each finds itself first, which counts; "
                "--leave-one-out leaves each out of its own answers"
            )
        read = readable_queries(index, chosen, distance or index.manifest.distance, resize=resize)
        if read.failed:
            first = next(iter(read.failed.values()))
            tell(f"{len(read.failed):,} of {len(chosen):,} queries can't be asked and are left out; the first: {first}")
        name, good, ids = chosen.name, read.positions, list(chosen.ids)
        asked = QuerySet(
            [ids[i] for i in good],
            read.descriptors,
            None if chosen.labels is None else chosen.labels[good],
            picture=lambda i: chosen.read(read.positions[i]),
        )
    if known is not None:
        found = known.rows(asked.ids if good is None else ids, index.ids)
        found = found if good is None else [found[i] for i in good]
        both = [[*left, *(asked.excluded[i] if asked.excluded else ())] for i, (_, left) in enumerate(found)]
        asked = replace(asked, labels=None, right=[right for right, _ in found], excluded=both)
        if leave_one_out or count is None:
            return asked
        return _taken(asked, _drawn(len(asked.ids), count, seed, known.name))
    if index.labels is None or asked.labels is None:
        which = f"the index {index.path}" if index.labels is None else name
        raise UsageError(
            f"{which} has no labels, so nothing says which answers are right; score a labelled collection, or name the "
            "right answers with --truth"
        )
    return _labelled(index, asked, name, tell)


def _labelled(index: IndexReader, asked: QuerySet, name: str, tell: Callable[[str], None]) -> QuerySet:
    """Leave out what has no label: as a query, and as an answer, since nobody knows whether it would be right."""
    assert asked.labels is not None
    assert index.labels is not None
    of_queries = np.flatnonzero(asked.labels != "")
    if not len(of_queries):
        raise UsageError(f"{name}: none of the {len(asked.ids):,} queries has a label; name others, or use --truth")
    if left_out := len(asked.ids) - len(of_queries):
        tell(f"{left_out:,} of {len(asked.ids):,} queries have no label and are left out")
        asked = _taken(asked, of_queries.tolist())
    without = np.flatnonzero(index.labels == "").tolist()
    if not without:
        return asked
    tell(f"{len(without):,} of {len(index):,} images have no label and aren't ranked")
    return replace(asked, unranked=without)


def _own(index: IndexReader, queries: Collection) -> int:
    """Count the queries that are images of the index itself, by where they come from."""
    if queries.source == index.manifest.source and queries.source != "array":
        return len(set(index.ids) & set(queries.ids))
    root, source = Path(index.manifest.source), Path(queries.source)
    folder = source if source.is_dir() else source.parent
    if not root.is_dir() or not folder.is_relative_to(root) or not (source.is_dir() or len(queries) == 1):
        return 0
    held, below = set(index.ids), folder.relative_to(root)
    return sum((below / name).as_posix() in held for name in queries.ids)


def _taken(asked: QuerySet, rows: list[int]) -> QuerySet:
    read = asked.picture
    return QuerySet(
        [asked.ids[i] for i in rows],
        asked.descriptors[rows],
        None if asked.labels is None else asked.labels[rows],
        None if asked.right is None else [asked.right[i] for i in rows],
        None if asked.excluded is None else [asked.excluded[i] for i in rows],
        None if read is None else lambda i: read(rows[i]),
    )


def _drawn(size: int, count: int | None, seed: int, name: str) -> list[int]:
    if count is None:
        return list(range(size))
    if not 1 <= count <= size:
        raise UsageError(f"{count:,} queries asked for, but {name} holds {size:,}; ask for 1 to that many")
    drawn: NDArray[np.int64] = np.random.default_rng(seed).permutation(size)[:count]
    return sorted(drawn.tolist())


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
    asked : Questions
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
    made = None if rerank is None else create_reranker(rerank, index, distance=distance, on_note=on_note)
    if made is not None:
        found, done = Scores(database.size), 0
        for values, _, _ in ranking_values(made, database, RerankRequest(asked.descriptors, asked.picture)):
            right = np.stack([relevant(done + i) for i in range(len(values))])
            for i in range(len(values)):
                left_out = asked.left_out(done + i)
                values[i, left_out], right[i, left_out] = np.inf, False
            found.add(ranking.per_query(ranks, found.cuts) for ranks in ranking.rank_relevant(values, right))
            done += len(values)
            show(done)
        return found
    excluded = asked.left_out if asked.excluded is not None or asked.unranked else None
    if labels is not None and asked.labels is not None:
        return ranking.score(database, labels, asked.descriptors, asked.labels, excluded=excluded, progress=show)
    return ranking.score_relevant(database, asked.descriptors, relevant, excluded, progress=show)


def report_of(
    index: IndexReader, found: Scores, distance: str | None = None, seed: int = 0, rerank: str | None = None
) -> IndexScore:
    """Average the scores of an index.

    Parameters
    ----------
    index : IndexReader
        What was ranked.
    found : Scores
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
    report = found.report(seed=seed)
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
        found = self.differences[name]
        titles = [self.first.encoder, self.second.encoder]
        if titles[0] == titles[1]:
            titles = [self.first.title, self.second.title]
        if titles[0] == titles[1]:
            titles = ["the first", "the second"]
        better, worse, sign = (titles[1], titles[0], 1) if found.mean >= 0 else (titles[0], titles[1], -1)
        low, high = sorted((sign * found.low, sign * found.high))
        doubt = "" if found.is_sure else ": within chance"
        return f"{better} is better than {worse} by {sign * found.mean:.4f} {name}, 95 % {low:.4f} to {high:.4f}{doubt}"

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON form."""
        differences = {name: {**asdict(one), "sure": one.is_sure} for name, one in self.differences.items()}
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
    made = []
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

        made.append(rank(index, asked, distance=distance, on_progress=show))
    reports = [report_of(i, found, distance, seed) for i, found in zip((first, second), made, strict=True)]
    return Comparison(reports[0], reports[1], compare_paired(made[0], made[1], seed=seed))


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
    asked : Questions
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
                yield query, [index.ids[row] for row in rows[i][kept][:depth]], far[i][kept][:depth].tolist()

        write_run(run, rankings(), encoder_title(index).replace(" ", "-"), overwrite=overwrite)
    if qrels is not None:
        labels = index.labels if asked.right is None else None
        write_qrels(
            qrels,
            (
                (query, [index.ids[row] for row in _right_rows(asked, i, labels, len(index))])
                for i, query in enumerate(asked.ids)
            ),
            overwrite=overwrite,
        )


def _right_rows(asked: QuerySet, query: int, labels: NDArray[np.str_] | None, size: int) -> list[int]:
    right = asked.relevant(query, labels, size)
    if left_out := asked.left_out(query):
        right = right.copy()
        right[left_out] = False
    return np.flatnonzero(right).tolist()


def sample_queries(
    index: IndexReader, queries: str | Path | Collection | None, *, count: int | None, seed: int
) -> Collection:
    """Open the query images of a score, or a seeded draw of them.

    Parameters
    ----------
    index : IndexReader
        Tells which queries are the default.
    queries : str, Path, Collection or None
        See :func:`score`.
    count : int or None
        How many to draw; None takes all.
    seed : int
        Of the draw.

    Returns
    -------
    Collection
        In the order of the collection.

    Raises
    ------
    UsageError
        If there is no default, or there are fewer than asked for.
    """
    if queries is None:
        if index.manifest.source != "mnist:train":
            raise UsageError("name the query images: lookalike score QUERIES --index INDEX (only mnist has its own)")
        queries = "mnist:test"
    collection = open_collection(queries, limits=index.limits)
    return collection if count is None else collection.take(_drawn(len(collection), count, seed, collection.name))


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
