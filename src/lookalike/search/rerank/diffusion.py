"""Re-ranking by diffusion: from the query to its nearest images, and on from neighbour to neighbour.

How it is worked out: :mod:`lookalike.neighbors.diffusion`; where the graph lies: :mod:`lookalike.index.graph`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array
from lookalike.index.graph import graph_of
from lookalike.neighbors.diffusion import STARTS, NeighborGraph
from lookalike.neighbors.exact import Database
from lookalike.search.rerank.base import Reranker, RerankRequest, check_range, scaled

if TYPE_CHECKING:
    from lookalike.index.reader import IndexReader


#: How much the plain distance counts beside diffusion: it orders what diffusion doesn't reach, or can't tell apart.
PLAIN = 1e-2
#: Less than any value that tells answers apart.
_BEFORE = 1e-12


class Diffusion(Reranker):
    """Diffusion on the index's neighbour graph.

    Parameters
    ----------
    index, **options
        As of :class:`lookalike.search.rerank.base.Reranker`.
    alpha : float, optional
        How far it goes: the weight of each further step; by default more in larger collections
        (:func:`lookalike.neighbors.diffusion.alpha_of`).
    first : int
        So many answers of the plain order stay first: it is the surer of these, and what diffusion loses with few images of a
        kind it mostly loses there.
    """

    name = "diffusion"
    needs_own_distance = True
    needs_graph = True

    def __init__(self, index: IndexReader, *, alpha: float | None = None, first: int = 1, **options: Any) -> None:
        super().__init__(index, **options)
        if alpha is not None:
            check_range(self.name, "alpha", alpha, 0, 0.999)
        check_range(self.name, "first", first, 0, STARTS)
        self.alpha, self.first = alpha, first
        self.graph = graph_of(index, on_note=self.note)

    def values(self, asked: RerankRequest) -> tuple[Float32Array, list[dict[int, int]]]:
        """Spread each query over the graph; what most arrives at is nearest, but for the first answers."""
        values = spread(self.graph, self.database, asked.descriptors, self.alpha)
        if self.first:
            if asked.among is None:
                rows = self.database.nearest(asked.descriptors, min(self.first, self.database.size))[0]
            else:
                allowed = np.asarray(asked.among, np.int64)
                plain = self.database.distances(asked.descriptors)[:, allowed]
                rows = allowed[np.argsort(plain, axis=1, kind="stable")[:, : self.first]]
            keep_first(values, rows)
        return values, [{}] * len(asked)


def keep_first(values: Float32Array, rows: NDArray[np.int64]) -> None:
    """Put some answers before all others, in their order.

    Parameters
    ----------
    values : ndarray of float32, shape (b, m)
        Smaller is nearer, 0 or more; changed.
    rows : ndarray of int64, shape (b, f)
        Of each query, the answers that come first.
    """
    np.maximum(values, np.float32(_BEFORE), out=values)
    ranks = np.arange(rows.shape[1], dtype=np.float32) * np.float32(_BEFORE / (rows.shape[1] + 1))
    np.put_along_axis(values, rows, np.broadcast_to(ranks, rows.shape), axis=1)


def spread(graph: NeighborGraph, database: Database, queries: NDArray[Any], alpha: float | None = None) -> Float32Array:
    """Rank a database for each query by diffusion.

    Parameters
    ----------
    graph : NeighborGraph
        Of the database.
    database : Database
        What is searched.
    queries : ndarray, shape (b, d)
        Descriptors.
    alpha : float, optional
        Weight of a further step; by default by the size of the graph.

    Returns
    -------
    ndarray of float32, shape (b, m)
        Smaller is nearer, 0 or more; the plain distance counts a hundredth.
    """
    plain = database.distances(queries)
    rows, far = database.nearest(queries, min(STARTS, database.size))
    squares = database.measure.to_squares(far)
    arrived = graph.spread(rows, graph.seeds(rows, squares), alpha)
    most = np.maximum(arrived.max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    arrived /= -most
    arrived += scaled(plain, database, queries, PLAIN)
    arrived += 1
    return np.maximum(arrived, 0, out=arrived)
