"""First answers -> a second, better ordering of them, without labels.

A re-ranking is a file with one class and a line in ``RERANKERS`` of :mod:`lookalike.search.rerank`. It gives, for each query, a value for every image of the
index: the smaller, the nearer. So one and the same thing answers a search, which takes the first few, and a score, which
looks at all. A query never sees another query: each is ranked as if it were alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array, Int64Array
from lookalike.errors import UsageError

if TYPE_CHECKING:
    from lookalike.index.reader import IndexReader
    from lookalike.neighbors.exact import Database

_log = logging.getLogger(__name__)


#: Most bytes of values worked out at a time.
BLOCK_BYTES = 64 * 2**20


@dataclass(frozen=True, eq=False)
class RerankRequest:
    """What is asked of an index.

    Attributes
    ----------
    descriptors : ndarray, shape (b, d)
        Of the queries.
    picture : callable or None
        Number of the query -> the picture, uint8 of any size; None where there is none, as of words.
    among : ndarray of int64 or None
        The only rows that may be answers; None for all.
    """

    descriptors: NDArray[Any]
    picture: Callable[[int], NDArray[np.uint8]] | None = None
    among: NDArray[np.integer[Any]] | None = None

    def __len__(self) -> int:
        return len(self.descriptors)

    def part(self, start: int, stop: int) -> RerankRequest:
        """Return some of the queries."""
        picture = self.picture
        moved = None if picture is None else lambda i: picture(start + i)
        return RerankRequest(self.descriptors[start:stop], moved, self.among)


@dataclass(frozen=True, eq=False)
class Ranking:
    """The answers to one query.

    Attributes
    ----------
    rows : ndarray of int64, shape (k,)
        Rows of the index's descriptors, the best first.
    distances : ndarray of float32, shape (k,)
        Their distances as without re-ranking, so that they need not rise.
    inliers : dict of int to int
        Row -> details found in the same arrangement; of the pictures that were looked at, none for other methods.
    """

    rows: Int64Array
    distances: Float32Array
    inliers: dict[int, int] = field(default_factory=dict)


class Reranker:
    """One way to re-rank; the base of all.

    Parameters
    ----------
    index : IndexReader
        What is searched.
    distance : str, optional
        By default the encoder's own.
    on_note : callable, optional
        Called with a sentence before something that takes long.
    """

    name: ClassVar[str]
    #: What it needs: the query's picture; the encoder's own distance; keypoints, which small pictures lack; the graph.
    needs_picture: ClassVar[bool] = False
    needs_own_distance: ClassVar[bool] = False
    needs_keypoints: ClassVar[bool] = False
    needs_graph: ClassVar[bool] = False

    def __init__(
        self, index: IndexReader, *, distance: str | None = None, on_note: Callable[[str], None] | None = None
    ) -> None:
        self.index = index
        self.database: Database = index.database(distance)
        self.note = on_note or _log.info
        if self.needs_own_distance and self.database.distance != index.manifest.distance:
            raise UsageError(
                f"re-ranking by {self.name} goes by the encoder's own distance, {index.manifest.distance}; leave the "
                "distance out"
            )

    @classmethod
    def create(
        cls,
        index: IndexReader,
        *,
        distance: str | None = None,
        on_note: Callable[[str], None] | None = None,
        **params: Any,
    ) -> Reranker | None:
        """Make one for an index; None where it finds that nothing is better than the plain order."""
        return cls(index, distance=distance, on_note=on_note, **params)

    def values(self, asked: RerankRequest) -> tuple[Float32Array, list[dict[int, int]]]:
        """Return for each query a value for every image, (b, m), smaller is nearer, 0 or more; and its inliers."""
        raise NotImplementedError

    @property
    def queries_at_once(self) -> int:
        """How many queries to ask for at a time."""
        return max(1, BLOCK_BYTES // (4 * self.database.size))


def check_range(name: str, key: str, value: float, least: float, most: float) -> None:
    """Refuse a parameter out of its range.

    Parameters
    ----------
    name, key : str
        Of the re-ranking and the parameter.
    value, least, most : float
        What is given, and what may be.

    Raises
    ------
    UsageError
        If it isn't within.
    """
    if not least <= value <= most:
        raise UsageError(f"{name}: {key} is {value:g}; it must be {least:g} to {most:g}")


def scaled(plain: Float32Array, database: Database, queries: NDArray[Any], share: float) -> Float32Array:
    """Scale each row of plain distances, so that the greatest is a share of 1: to be added to other values.

    Parameters
    ----------
    plain : ndarray of float32, shape (b, m)
        What ``database`` gives for the queries; changed in place.
    database : Database
        Of the index.
    queries : ndarray, shape (b, d)
        Descriptors.
    share : float
        The greatest value afterwards.

    Returns
    -------
    ndarray of float32, shape (b, m)
        The same array; zeros where all distances are so small that rounding made them: it would be all there is to see.
    """
    most = plain.max(axis=1, keepdims=True)
    steps = database.resolution(queries)[:, None]
    told = database.measure.to_squares(most) > steps
    plain *= np.where(told, np.float32(share) / np.where(told, most, 1), 0).astype(np.float32)
    return plain


def ranking_values(
    reranker: Reranker | None, database: Database, asked: RerankRequest
) -> Iterator[tuple[Float32Array, Float32Array, list[dict[int, int]]]]:
    """Rank all images for every query, some queries at a time.

    Parameters
    ----------
    reranker : Reranker or None
        None ranks by the plain distance.
    database : Database
        Of the index.
    asked : RerankRequest
        The queries.

    Yields
    ------
    (values, distances, inliers)
        float32 (b, m), smaller is nearer and 0 or more; the plain distances; and what :class:`Ranking` says of inliers.

    Raises
    ------
    UsageError
        If it looks at pictures and there are none.
    """
    if reranker is not None and reranker.needs_picture and asked.picture is None:
        raise UsageError(
            f"re-ranking by {reranker.name} looks at the query's picture, and there is none: text, likes and --leave-one-out bring "
            "descriptors alone; use another"
        )
    step = max(1, BLOCK_BYTES // (4 * database.size)) if reranker is None else reranker.queries_at_once
    for start in range(0, len(asked), step):
        part = asked.part(start, start + step)
        plain = database.distances(part.descriptors)
        values, inliers = (plain, [{}] * len(part)) if reranker is None else reranker.values(part)
        if database.measure.signed:  # it has no least value, and a ranking begins at 0
            values = values - np.minimum(values.min(axis=1, keepdims=True), 0)
        yield values, plain, inliers


__all__ = ["Ranking", "RerankRequest", "Reranker", "check_range", "ranking_values", "scaled"]
