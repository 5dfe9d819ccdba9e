"""Query expansion: the query moves towards the answers it found, and asks again.

The new query is the mean of the old one and its ``k`` nearest images, each by its similarity to the power ``alpha``
(average: O. Chum et al., "Total recall", ICCV 2007; weighed: F. Radenovic, G. Tolias and O. Chum, "Fine-tuning CNN image
retrieval with no human annotation", TPAMI 41(7), 2018). With ``augment`` every image of the index has moved so as well,
before the query comes (R. Arandjelovic and A. Zisserman, "Three things everyone should know", CVPR 2012).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.index.graph import graph_of
from lookalike.neighbors.distances import Database
from lookalike.search.rerank.base import Reranker, RerankRequest, check_range

if TYPE_CHECKING:
    from lookalike.index.reader import IndexReader

Float32Array = NDArray[np.float32]

#: Distances by which the length of a descriptor counts.
_AS_THEY_ARE = ("euclidean", "inner product")


class Expansion(Reranker):
    """Average or weighed query expansion.

    Parameters
    ----------
    index, distance, on_note
        As of :class:`lookalike.search.rerank.base.Reranker`.
    k : int
        Answers that count.
    alpha : float
        0 weighs them alike; the greater, the more the nearest count.
    augment : int
        Neighbours that each image of the index moves towards, at most those of the graph; 0 for none.
    """

    name = "expansion"

    def __init__(
        self,
        index: IndexReader,
        *,
        distance: str | None = None,
        on_note: Callable[[str], None] | None = None,
        k: int = 10,
        alpha: float = 3.0,
        augment: int = 0,
    ) -> None:
        super().__init__(index, distance=distance, on_note=on_note)
        check_range(self.name, "k", k, 1, 10_000)
        check_range(self.name, "alpha", alpha, 0, 100)
        check_range(self.name, "augment", augment, 0, 50)
        self.k, self.alpha = min(k, self.database.size), alpha
        self.vectors = as_vectors(index.descriptors, self.database.distance)
        measure = self.database.distance if self.database.distance in _AS_THEY_ARE else "cosine"
        moved = self._augmented(augment) if augment else self.vectors
        self.moved = Database(moved, measure)

    def _augmented(self, k: int) -> Float32Array:
        near = graph_of(self.index, on_note=self.note).neighbours
        k = min(k, near.rows.shape[1])
        moved, total = self.vectors.copy(), np.ones(len(self.vectors), np.float32)
        for place in range(k):  # one neighbour of all at a time takes no more memory than the vectors
            weights = self._weights(near.squares[:, place], near.squares[:, k - 1], self.index.manifest.distance)
            moved += weights[:, None] * self.vectors[near.rows[:, place]]
            total += weights
        if self.database.distance in _AS_THEY_ARE:
            moved /= total[:, None]
        return moved

    def _weights(self, squares: Float32Array, last: Float32Array, distance: str) -> Float32Array:
        """Turn squared distances into weights: the cosine to the power alpha; of others a like curve from 1 on."""
        similarity: NDArray[Any]
        if distance == "euclidean":  # no cosine there: let the last count a half at alpha 1
            similarity = 1 - 0.5 * squares / np.maximum(last, np.finfo(np.float32).tiny)
        elif distance == "inner product":  # it has no greatest value: the nearest counts 1
            similarity = -squares / np.maximum(-squares.min(axis=-1, keepdims=True), np.finfo(np.float32).tiny)
        elif distance == "hamming":
            similarity = 1 - squares / (4 * self.database.dimension)
        else:
            similarity = 1 - squares
        return np.asarray(np.maximum(similarity, 0) ** self.alpha, np.float32)

    def values(self, asked: RerankRequest) -> tuple[Float32Array, list[dict[int, int]]]:
        """Ask, move, and ask again."""
        rows, far = self.database.nearest(asked.descriptors, self.k)
        distance = self.database.distance
        squares = far * far if distance == "euclidean" else far
        weights = self._weights(squares, squares[:, -1:], distance)
        queries = as_vectors(asked.descriptors, distance)
        moved = queries + np.einsum("bk,bkd->bd", weights, self.vectors[rows])
        if distance in _AS_THEY_ARE:
            moved /= 1 + weights.sum(axis=1, keepdims=True)
        lost = ~moved.any(axis=1)  # it and its answers cancel out
        moved[lost] = queries[lost]
        return self.moved.distances(moved.astype(np.float32)), [{}] * len(asked)


def as_vectors(descriptors: NDArray[Any], distance: str) -> Float32Array:
    """Return descriptors as vectors that can be added up.

    Parameters
    ----------
    descriptors : ndarray, shape (n, d)
        Of any distance.
    distance : str
        ``cosine``: they are brought to length 1; ``hamming``: each bit becomes -1 or 1.

    Returns
    -------
    ndarray of float32, shape (n, d), or (n, bits)

    Examples
    --------
    >>> as_vectors(np.array([[3, 4]], np.float32), "cosine").tolist()
    [[0.6000000238418579, 0.800000011920929]]
    >>> as_vectors(np.array([[0b10000001]], np.uint8), "hamming")[0, :2].tolist()
    [1.0, -1.0]
    """
    if distance == "hamming":
        return np.unpackbits(descriptors, axis=1).astype(np.float32) * 2 - 1
    table = np.asarray(descriptors, np.float32)
    if distance in _AS_THEY_ARE:
        return table
    lengths = np.sqrt(np.einsum("ij,ij->i", table, table, dtype=np.float64))
    return np.asarray(table / np.maximum(lengths, 1e-30)[:, None], np.float32)
