"""An index + query images, or its own + labels or ground truth -> the queries to rank, and which answers are right."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.collections.open import Collection, open_collection
from lookalike.errors import UsageError
from lookalike.metrics.ground_truth import GroundTruth, read_truth
from lookalike.search.query_descriptors import readable_queries

if TYPE_CHECKING:
    from lookalike.index.reader import IndexReader

_log = logging.getLogger(__name__)


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

    def take(self, positions: list[int]) -> QuerySet:
        """Return some of the queries.

        Parameters
        ----------
        positions : list of int
            Theirs.

        Returns
        -------
        QuerySet
        """
        read = self.picture
        return QuerySet(
            [self.ids[i] for i in positions],
            self.descriptors[positions],
            None if self.labels is None else self.labels[positions],
            None if self.right is None else [self.right[i] for i in positions],
            None if self.excluded is None else [self.excluded[i] for i in positions],
            None if read is None else lambda i: read(positions[i]),
        )

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
            return np.asarray(labels == self.labels[query])
        mask = np.zeros(size, np.bool_)
        mask[self.right[query]] = True
        return mask


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
    """Read queries and what is right for each, as :func:`lookalike.reports.evaluate.score` does.

    Parameters
    ----------
    index, queries, truth, leave_one_out, count, resize, seed, distance
        As of :func:`lookalike.reports.evaluate.score`. A query that can't be read, or is blank where cosine is asked for, is left out.
    on_note : callable, optional
        Called with a sentence where queries are images of the index, since such a score tells little; and with what is
        left out.

    Returns
    -------
    QuerySet

    Raises
    ------
    UsageError
        As of :func:`lookalike.reports.evaluate.score`.
    """
    known = read_truth(truth) if isinstance(truth, str | Path) else truth
    note = on_note or _log.info
    if leave_one_out:
        if queries is not None:
            raise UsageError("--leave-one-out asks by the index's own images; leave out the queries")
        rows = _drawn(len(index), count, seed, f"the index {index.path}")
        asked = QuerySet(
            index.ids_of(rows),
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
            note(
                f"{own:,} of {len(chosen):,} queries are images of the index, and each finds itself first, which counts; "
                "--leave-one-out leaves each out of its own answers"
            )
        read = readable_queries(index, chosen, distance or index.manifest.distance, resize=resize)
        if read.errors:
            first = next(iter(read.errors.values()))
            note(f"{len(read.errors):,} of {len(chosen):,} queries can't be asked and are left out; the first: {first}")
        name, good, ids = chosen.name, read.positions, list(chosen.ids)
        asked = QuerySet(
            [ids[i] for i in good],
            read.descriptors,
            None if chosen.labels is None else chosen.labels[good],
            picture=lambda i: chosen.read(read.positions[i]),
        )
    if known is not None:
        answers = known.rows(asked.ids if good is None else ids, index.ids)
        answers = answers if good is None else [answers[i] for i in good]
        excluded = [
            [*ignored, *(asked.excluded[i] if asked.excluded else ())] for i, (_, ignored) in enumerate(answers)
        ]
        asked = replace(asked, labels=None, right=[right for right, _ in answers], excluded=excluded)
        if leave_one_out or count is None:
            return asked
        return asked.take(_drawn(len(asked.ids), count, seed, known.name))
    if index.labels is None or asked.labels is None:
        which = f"the index {index.path}" if index.labels is None else name
        raise UsageError(
            f"{which} has no labels, so nothing says which answers are right; score a labelled collection, or name the "
            "right answers with --truth"
        )
    return _labelled(index, asked, name, note)


def _labelled(index: IndexReader, asked: QuerySet, name: str, note: Callable[[str], None]) -> QuerySet:
    """Leave out what has no label: as a query, and as an answer, since nobody knows whether it would be right."""
    assert asked.labels is not None
    assert index.labels is not None
    of_queries = np.flatnonzero(asked.labels != "")
    if not len(of_queries):
        raise UsageError(f"{name}: none of the {len(asked.ids):,} queries has a label; name others, or use --truth")
    if left_out := len(asked.ids) - len(of_queries):
        note(f"{left_out:,} of {len(asked.ids):,} queries have no label and are left out")
        asked = asked.take(of_queries.tolist())
    without = np.flatnonzero(index.labels == "").tolist()
    if not without:
        return asked
    note(f"{len(without):,} of {len(index):,} images have no label and aren't ranked")
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


def _drawn(size: int, count: int | None, seed: int, name: str) -> list[int]:
    if count is None:
        return list(range(size))
    if not 1 <= count <= size:
        raise UsageError(f"{count:,} queries asked for, but {name} holds {size:,}; ask for 1 to that many")
    drawn: NDArray[np.int64] = np.random.default_rng(seed).permutation(size)[:count]
    return sorted(drawn.tolist())


def sample_queries(
    index: IndexReader, queries: str | Path | Collection | None, *, count: int | None, seed: int
) -> Collection:
    """Open the query images of a score, or a seeded draw of them.

    Parameters
    ----------
    index : IndexReader
        Tells which queries are the default.
    queries : str, Path, Collection or None
        As of :func:`lookalike.reports.evaluate.score`.
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
