"""An index + labelled queries -> a score report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike import scores
from lookalike.collection import Collection, open_collection
from lookalike.errors import UsageError
from lookalike.rerank import Asked, create_reranking, ranking_values
from lookalike.scores import ScoreReport
from lookalike.search import query_images

if TYPE_CHECKING:
    from lookalike.index import Index

#: What a person sees first; the rest is in the JSON.
SHOWN = ("P@1", "P@10", "recall@10", "recall@100", "recall@1000", "R-precision", "mAP", "mAP@R")


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
        for name in (*SHOWN, *(f"LRAP@{n}" for n, _ in self.lrap)):
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
    index: Index,
    queries: str | Path | Collection | None = None,
    *,
    count: int | None = None,
    distance: str | None = None,
    resize: bool = False,
    seed: int = 0,
    rerank: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> IndexScore:
    """Rank the whole index for every query and score the rankings by the labels.

    Parameters
    ----------
    index : Index
        With labels.
    queries : str, Path or Collection, optional
        With labels, and not part of the index. Default: ``mnist:test`` for an index of ``mnist``.
    count : int, optional
        Take so many of them, drawn without replacement by ``seed``.
    distance : {"cosine", "euclidean"}, optional
        By default the encoder's own.
    resize : bool
        Bring queries of another size to the index's.
    seed : int
        Of the draw and of the bootstrap.
    rerank : str, optional
        What :func:`lookalike.rerank.create_reranking` takes. Show such a score beside the plain one: a re-ranking has
        seen the whole database, though no label and no other query.
    on_progress : callable, optional
        Called with (queries done, queries in all).
    on_note : callable, optional
        Called with a sentence before a step of the re-ranking that takes long.

    Returns
    -------
    IndexScore
        Means over the queries, with 95 % bootstrap intervals.

    Raises
    ------
    UsageError
        If index or queries have no labels, or more queries are asked for than there are.

    References
    ----------
    The definitions are in :mod:`lookalike.scores`.
    """
    chosen = sample_queries(index, queries, count=count, seed=seed)
    labels = index.labels
    if labels is None or chosen.labels is None:
        which = f"the index {index.path}" if labels is None else chosen.name
        raise UsageError(f"{which} has no labels, so nothing says which answers are right; score a labelled collection")
    descriptors = index.encoder.encode(query_images(index, chosen, resize=resize))
    database = index.database(distance)
    total = len(chosen)
    progress = None if on_progress is None else lambda done: on_progress(done, total)
    made = None if rerank is None else create_reranking(rerank, index, distance=distance, on_note=on_note)
    if made is None:
        found = scores.score(database, labels, descriptors, chosen.labels, progress=progress)
    else:
        found = scores.Scores(database.size)
        done = 0
        for values, _, _ in ranking_values(made, database, Asked(descriptors, chosen.read)):
            right = labels[None] == np.asarray(chosen.labels)[done : done + len(values), None]
            found.add(scores.per_query(ranks, found.cuts) for ranks in scores.rank_relevant(values, right))
            done += len(values)
            if progress is not None:
                progress(done)
    report = found.report(seed=seed)
    facts = {field.name: getattr(report, field.name) for field in fields(ScoreReport)}
    return IndexScore(**facts, encoder=encoder_title(index), distance=database.distance, seed=seed, rerank=rerank)


def sample_queries(
    index: Index, queries: str | Path | Collection | None, *, count: int | None, seed: int
) -> Collection:
    """Open the query images of a score, or a seeded draw of them.

    Parameters
    ----------
    index : Index
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
        if index.passport.source != "mnist:train":
            raise UsageError("name the query images: lookalike score QUERIES --index INDEX (only mnist has its own)")
        queries = "mnist:test"
    collection = open_collection(queries)
    if count is None:
        return collection
    if not 1 <= count <= len(collection):
        raise UsageError(
            f"{count:,} queries asked for, but {collection.name} holds {len(collection):,}; ask for 1 to that many"
        )
    drawn: NDArray[np.int64] = np.random.default_rng(seed).permutation(len(collection))[:count]
    return collection.take(np.sort(drawn))


def encoder_title(index: Index) -> str:
    """Name an index's encoder as a figure does: its preset, or its name with what was switched on.

    Parameters
    ----------
    index : Index
        Any index.

    Returns
    -------
    str
        Such as ``article``, ``hog`` or ``hog, deskewed``.
    """
    params, post = index.passport.params, index.passport.post
    named = str(params.get("preset", index.passport.encoder)) + (", deskewed" if params.get("deskew") else "")
    return named if post in (None, "unchanged") else f"{named}, {post}"
