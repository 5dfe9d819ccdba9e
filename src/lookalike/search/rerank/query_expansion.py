"""Query expansion: the query moves towards the answers it found, and asks again.

The new query is the mean of the old one and its ``k`` nearest images, each by its similarity to the power ``alpha``
(average: O. Chum et al., "Total recall", ICCV 2007; weighed: F. Radenovic, G. Tolias and O. Chum, "Fine-tuning CNN image
retrieval with no human annotation", TPAMI 41(7), 2018). With ``augment`` every image of the index has moved so as well,
before the query comes (R. Arandjelovic and A. Zisserman, "Three things everyone should know", CVPR 2012).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lookalike.array_types import Float32Array
from lookalike.index.graph import graph_of
from lookalike.neighbors.distances import DISTANCES
from lookalike.neighbors.distances.base import Distance
from lookalike.neighbors.exact import Database
from lookalike.search.rerank.base import Reranker, RerankRequest, check_range

if TYPE_CHECKING:
    from lookalike.index.reader import IndexReader


class QueryExpansion(Reranker):
    """Average or weighed query expansion.

    Parameters
    ----------
    index, **options
        As of :class:`lookalike.search.rerank.base.Reranker`.
    k : int
        Answers that count.
    alpha : float
        0 weighs them alike; the greater, the more the nearest count.
    augment : int
        Neighbours that each image of the index moves towards, at most those of the graph; 0 for none.
    """

    name = "query-expansion"

    def __init__(
        self,
        index: IndexReader,
        *,
        k: int = 10,
        alpha: float = 0.0,
        augment: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(index, **options)
        check_range(self.name, "k", k, 1, 10_000)
        check_range(self.name, "alpha", alpha, 0, 100)
        check_range(self.name, "augment", augment, 0, 50)
        self.k, self.alpha = min(k, self.database.size), alpha
        self.measure = DISTANCES[self.database.distance]
        self.vectors = self.measure.vectors(index.descriptors)
        self.moved = Database(self._augmented(augment) if augment else self.vectors, self.measure.of_vectors)

    def _augmented(self, k: int) -> Float32Array:
        near = graph_of(self.index, on_note=self.note).neighbours
        k = min(k, near.rows.shape[1])
        own = DISTANCES[self.index.manifest.distance]  # the graph's
        moved, total = self.vectors.copy(), np.ones(len(self.vectors), np.float32)
        for place in range(k):  # one neighbour of all at a time takes no more memory than the vectors
            weights = self._weights(near.squares[:, place], near.squares[:, k - 1], own)
            moved += weights[:, None] * self.vectors[near.rows[:, place]]
            total += weights
        if self.measure.lengths_count:
            moved /= total[:, None]
        return moved

    def _weights(self, squares: Float32Array, last: Float32Array, measure: type[Distance]) -> Float32Array:
        """Turn squared distances into weights: how close they are, to the power alpha."""
        close = measure.closeness(squares, last, self.database.dimension)
        return np.asarray(np.maximum(close, 0) ** self.alpha, np.float32)

    def values(self, asked: RerankRequest) -> tuple[Float32Array, list[dict[int, int]]]:
        """Ask, move, and ask again."""
        rows, far = self.database.nearest(asked.descriptors, self.k)
        squares = self.measure.to_squares(far)
        weights = self._weights(squares, squares[:, -1:], self.measure)
        queries = self.measure.vectors(asked.descriptors)
        moved = queries + np.einsum("bk,bkd->bd", weights, self.vectors[rows])
        if self.measure.lengths_count:
            moved /= 1 + weights.sum(axis=1, keepdims=True)
        lost = ~moved.any(axis=1)  # it and its answers cancel out
        moved[lost] = queries[lost]
        return self.moved.distances(moved.astype(np.float32)), [{}] * len(asked)


class AlphaQueryExpansion(QueryExpansion):
    """Query expansion whose answers are weighed by their similarity to the power alpha (Radenovic et al., 2018)."""

    name = "alpha-query-expansion"

    def __init__(
        self,
        index: IndexReader,
        *,
        k: int = 10,
        alpha: float = 3.0,
        augment: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(index, k=k, alpha=alpha, augment=augment, **options)
