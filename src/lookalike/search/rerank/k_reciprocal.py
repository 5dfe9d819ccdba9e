"""k-reciprocal re-ranking: two images are alike if they share those neighbours that count them as neighbours too.

Z. Zhong et al., "Re-ranking person re-identification with k-reciprocal encoding", CVPR 2017. Their code puts all queries
and the database into one table, so that queries count as each other's neighbours, which nobody who asks one question has.
Here neighbours are of the database alone, and each query is laid over them by itself. Sets are sparse rows:

- ``R(i)``: those of the ``k`` nearest of ``i`` that have ``i`` among their own ``k`` nearest;
- to it come the ``R`` of each member, with half the ``k``, where two thirds of it are in ``R(i)`` already;
- a member weighs ``exp(-d)``, all together 1; then each row is averaged with those of its nearest few;
- the distance is that of Jaccard, ``1 - sum(min) / sum(max)``, mixed with the plain one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array
from lookalike.index.graph import graph_of
from lookalike.search.rerank.base import Reranker, RerankRequest, check_range, scaled

if TYPE_CHECKING:
    from lookalike.index.reader import IndexReader


class KReciprocal(Reranker):
    """k-reciprocal re-ranking, without a look at other queries.

    Parameters
    ----------
    index, **options
        As of :class:`lookalike.search.rerank.base.Reranker`.
    k : int
        Neighbours that may be reciprocal, at most those of the graph.
    few : int
        Nearest that each is averaged with, itself among them.
    plain : float
        Share of the plain distance, 0 to 1.
    """

    name = "k-reciprocal"
    needs_own_distance = True

    def __init__(
        self,
        index: IndexReader,
        *,
        k: int = 20,
        few: int = 6,
        plain: float = 0.3,
        **options: Any,
    ) -> None:
        super().__init__(index, **options)
        check_range(self.name, "k", k, 2, 50)
        check_range(self.name, "few", few, 1, 50)
        check_range(self.name, "plain", plain, 0, 1)
        near = graph_of(index, on_note=self.note).neighbours
        self.k, self.plain = min(k, near.rows.shape[1]), plain
        self.few = min(few, self.k)
        self.half = max(1, round(self.k / 2))
        # Squared distances, in units of the typical one to the k-th neighbour, so that exp(-d) means the same everywhere.
        self.reach = near.squares[:, [self.half - 1, self.k - 1]]
        self.unit = float(np.median(near.squares[:, self.k - 1])) or 1.0
        self.of_half = _mutual(near.rows, self.half)
        whole = _mutual(near.rows, self.k)
        self.own = self._weighed(_grown(whole, self.of_half), index.descriptors)
        self.mixed = _averaged(self.own, near.rows, self.few).tocsc()

    def _weighed(self, sets: Any, descriptors: NDArray[Any]) -> Any:
        """Weigh each member of the sets of descriptors by how near it is; all of one set together 1."""
        weighed = sets.copy()
        owners = np.repeat(np.arange(len(descriptors)), np.diff(sets.indptr))
        for start in range(0, len(owners), 4096):
            part = slice(start, start + 4096)
            members = self.index.descriptors[sets.indices[part]]
            squares = self.database.measure.pair_squares(descriptors[owners[part]], members).astype(np.float32)
            weighed.data[part] = np.exp(-squares / np.float32(self.unit))
        total = np.asarray(weighed.sum(axis=1)).ravel()
        weighed.data /= np.where(total > 0, total, 1)[owners].astype(np.float32)
        return weighed

    def values(self, asked: RerankRequest) -> tuple[Float32Array, list[dict[int, int]]]:
        """Compare the neighbours of each query with those of every image."""
        from scipy import sparse

        size, queries = self.database.size, len(asked)
        plain = self.database.distances(asked.descriptors)
        rows, far = self.database.nearest(asked.descriptors, self.k)
        squares = self.database.measure.to_squares(far)
        # It is among an image's nearest k if it is no farther than the last of these.
        mutual = squares <= self.reach[rows, 1]
        lines = np.repeat(np.arange(queries), self.k).reshape(rows.shape)
        ones = np.ones(int(mutual.sum()), np.float32)
        whole = sparse.csr_array((ones, (lines[mutual], rows[mutual])), shape=(queries, size))
        own = self._weighed(_grown(whole, self.of_half), asked.descriptors)
        # Averaged with its nearest: itself, and the first few - 1 of the database.
        first = rows[:, : self.few - 1]
        pick = sparse.csr_array(
            (np.ones(first.size, np.float32), first.ravel(), np.arange(queries + 1) * first.shape[1]),
            shape=(queries, size),
        )
        own = ((own + pick @ self.own) / np.float32(1 + first.shape[1])).tocsr()
        out = scaled(plain, self.database, asked.descriptors, self.plain)
        for i in range(queries):
            mine = slice(own.indptr[i], own.indptr[i + 1])
            shared = np.zeros(size, np.float32)
            for column, weight in zip(own.indices[mine].tolist(), own.data[mine], strict=True):
                theirs = slice(self.mixed.indptr[column], self.mixed.indptr[column + 1])
                shared[self.mixed.indices[theirs]] += np.minimum(self.mixed.data[theirs], weight)
            out[i] += np.float32(1 - self.plain) * (1 - shared / (2 - shared))
        return np.maximum(out, 0), [{}] * queries


def _mutual(rows: NDArray[np.int32], k: int) -> Any:
    """Return which of each image's ``k`` nearest count it among theirs, itself included: sparse 0 and 1, (n, n)."""
    from scipy import sparse

    size = len(rows)
    near = np.hstack([np.arange(size, dtype=np.int32)[:, None], rows[:, :k]])
    ones = np.ones(near.size, np.float32)
    table = sparse.csr_array((ones, near.ravel(), np.arange(size + 1) * near.shape[1]), shape=(size, size))
    return table.multiply(table.T.tocsr()).tocsr()


def _grown(whole: Any, of_half: Any) -> Any:
    """Add to each set those of its members that lie within it by two thirds."""
    common = (whole @ of_half.T.tocsr()).multiply(whole).tocsr()
    sizes = np.asarray(of_half.sum(axis=1)).ravel()
    common.data = (common.data >= 2 / 3 * sizes[common.indices]).astype(np.float32)
    common.eliminate_zeros()
    grown = (whole + common @ of_half).tocsr()
    grown.data[:] = 1
    return grown


def _averaged(own: Any, rows: NDArray[np.int32], few: int) -> Any:
    """Average each row with those of its nearest few."""
    from scipy import sparse

    size = len(rows)
    near = np.hstack([np.arange(size, dtype=np.int32)[:, None], rows[:, : few - 1]])
    share = np.full(near.size, 1 / near.shape[1], np.float32)
    return sparse.csr_array((share, near.ravel(), np.arange(size + 1) * near.shape[1]), shape=(size, size)) @ own
