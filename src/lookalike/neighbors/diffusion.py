"""A neighbour graph -> how near every image is to a query, going from neighbour to neighbour.

Images of one kind need not all be alike: each may only be like the next. Diffusion ranks along such chains. With ``S``
the normalised weights of the graph and ``y`` the query's own nearest images,

    f = (I - a S)^-1 y = y + a S y + (a S)^2 y + ...

(D. Zhou et al., "Ranking on data manifolds", NIPS 2003; A. Iscen et al., "Efficient diffusion on region manifolds",
CVPR 2017). Solving it anew for every query is slow. So the first terms of the sum, which are local, are worked out on
the graph, and all others at once in the leading eigenvectors ``U`` of ``S``, which are found with the graph and kept:

    f ~ y + ... + (a S)^t y + U [(a w)^(t+1) / (1 - a w)] U' y

That is one product a query (A. Iscen et al., "Fast spectral ranking for similarity search", CVPR 2018; "Hybrid
diffusion", ACCV 2018). What is lost is at most ``(a w)^(t+1) / (1 - a w)`` of the first eigenvalue ``w`` left out.

What arrives at an image also grows with how many neighbours it has, so that ``f`` lies between two ways to normalise: as it
is it favours images that everything is near to, and divided by the root of the degree those that nothing is near to. It
is divided by the degree's fourth root.

Weights go by each image's own surroundings, so that they need no scale: ``exp(-d^2 / (s s'))``, ``s`` and ``s'`` the
distances of the two images to their tenth neighbour (L. Zelnik-Manor and P. Perona, "Self-tuning spectral clustering",
NIPS 2004).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array
from lookalike.errors import UsageError
from lookalike.neighbors.exact import Database
from lookalike.neighbors.others import others_than

#: Neighbours kept of each image, and the one whose distance is the scale of its surroundings.
NEIGHBOURS, SCALE_AT = 50, 10
#: Eigenvectors kept, at most.
DIRECTIONS = 96
#: Terms of the sum that are worked out on the graph itself.
LOCAL_TERMS = 2
#: How far diffusion goes: the weight of each further step. Chosen on twelve collections of up to 1,000 images, each left out in
#: turn (``benchmarks/diffusion.py``).
ALPHA = 0.95
#: Larger collections need further steps, as there are more images between the ends of a kind: from so many images on, up to so much.
ALPHA_UP_TO, MOST_ALPHA = 2000, 0.99
#: Nearest images of a query that it starts from.
STARTS = 10
#: Images whose neighbours are looked for at a time.
AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest other images of each image.

    Attributes
    ----------
    rows : ndarray of int32, shape (n, k)
        The nearest first; equal distances by row.
    squares : ndarray of float32, shape (n, k)
        Squared distances; of Hamming's, the number of bits.
    """

    rows: NDArray[np.int32]
    squares: Float32Array

    def __len__(self) -> int:
        return len(self.rows)


def find_neighbours(
    database: Database,
    descriptors: NDArray[Any],
    k: int = NEIGHBOURS,
    *,
    known: Neighbours | None = None,
    positions: NDArray[np.int64] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Neighbours:
    """Find the nearest other images of every image, exactly.

    Parameters
    ----------
    database : Database
        Of these descriptors.
    descriptors : ndarray, shape (n, d)
        One row an image.
    k : int
        How many neighbours, at most n - 1.
    known : Neighbours, optional
        Those of an older state of the collection; only what has changed since is worked out.
    positions : ndarray of int64, shape (n,)
        With ``known``: where each image was in it, -1 for one that is new or has changed.
    on_progress : callable, optional
        Called with (images done, images to do).

    Returns
    -------
    Neighbours

    Raises
    ------
    UsageError
        If there are fewer than two images.
    """
    size = len(descriptors)
    if size < 2:
        raise UsageError(f"a neighbour graph needs at least 2 images, here is {size}; index more images first")
    k = min(k, size - 1)
    rows, squares = np.empty((size, k), np.int32), np.empty((size, k), np.float32)
    anew = np.ones(size, np.bool_)
    if known is not None and positions is not None and known.rows.shape[1] >= k:
        anew = _take_over(known, positions, database, descriptors, rows, squares)
    wanted = np.flatnonzero(anew)
    for start in range(0, len(wanted), AT_ONCE):
        part = wanted[start : start + AT_ONCE]
        near, far = database.nearest(descriptors[part], k + 1)
        others = others_than(part, near)
        rows[part] = near[others].reshape(-1, k)
        squares[part] = database.measure.to_squares(far[others].reshape(-1, k))
        if on_progress is not None:
            on_progress(start + len(part), len(wanted))
    return Neighbours(rows, squares)


def _take_over(
    known: Neighbours,
    positions: NDArray[np.int64],
    database: Database,
    descriptors: NDArray[Any],
    rows: NDArray[np.int32],
    squares: Float32Array,
) -> NDArray[np.bool_]:
    """Fill in the lists of images that are as they were; return which must be looked for anew.

    A list stays right if none of its images is gone, and new ones are merged into it.
    """
    size, k = rows.shape
    now = np.full(len(known) + 1, -1, np.int64)  # the last for positions of -1
    now[positions[positions >= 0]] = np.flatnonzero(positions >= 0)
    new = np.flatnonzero(positions < 0)
    if len(new) > size // 4:  # merging wouldn't be quicker
        return np.ones(size, np.bool_)
    old = np.flatnonzero(positions >= 0)
    lists = now[known.rows[positions[old], :k]]
    whole = (lists >= 0).all(axis=1)
    kept = old[whole]
    rows[kept], squares[kept] = lists[whole], known.squares[positions[kept], :k]
    anew = np.ones(size, np.bool_)
    anew[kept] = False
    for start in range(0, len(new), AT_ONCE):
        part = new[start : start + AT_ONCE]
        far = database.measure.to_squares(database.distances(descriptors[part]))[:, kept]
        # Only where the new one is nearer than the last is there anything to merge.
        newcomer, place = np.nonzero(far <= squares[kept, -1])
        for at in np.unique(place).tolist():
            row, mine = kept[at], newcomer[place == at]
            near = np.concatenate([rows[row], part[mine].astype(np.int32)])
            distance = np.concatenate([squares[row], far[mine, at]])
            order = np.lexsort((near, distance))[:k]
            rows[row], squares[row] = near[order], distance[order]
    return anew


@dataclass(frozen=True, eq=False)
class NeighborGraph:
    """Ready to rank: a neighbour graph with its leading eigenvectors.

    Attributes
    ----------
    neighbours : Neighbours
        The graph.
    basis : ndarray of float32, shape (n, r)
        Eigenvectors of the normalised weights.
    spectrum : ndarray of float32, shape (r,)
        Their eigenvalues, the largest first.
    """

    neighbours: Neighbours
    basis: Float32Array
    spectrum: Float32Array

    @cached_property
    def weights(self) -> Any:
        """The normalised weights, sparse and symmetric, (n, n)."""
        return self._weights[0]

    @property
    def degree(self) -> Float32Array:
        """The sum of each image's weights before they were normalised, (n,)."""
        return self._weights[1]

    @cached_property
    def _weights(self) -> tuple[Any, Float32Array]:
        return normalised_weights(self.neighbours)

    @cached_property
    def _share(self) -> Float32Array:
        """What arrives at an image is multiplied by this, for having many neighbours or few."""
        degree = self._weights[1]
        return np.asarray(np.where(degree > 0, degree, 1) ** -0.25, np.float32)

    @cached_property
    def _scale(self) -> Float32Array:
        return scales(self.neighbours.squares)

    def seeds(self, rows: NDArray[np.int64], squares: Float32Array) -> Float32Array:
        """Return how much of each query starts at its nearest images.

        Parameters
        ----------
        rows : ndarray of int64, shape (b, k)
            Its nearest images.
        squares : ndarray of float32, shape (b, k)
            Squared distances to them.

        Returns
        -------
        ndarray of float32, shape (b, k)
            0 to 1.
        """
        return np.asarray(np.exp(-squares / _products(scales(squares), self._scale[rows])), np.float32)

    def spread(self, rows: NDArray[np.int64], seeds: Float32Array, alpha: float | None = None) -> Float32Array:
        """Spread queries over the graph.

        Parameters
        ----------
        rows : ndarray of int64, shape (b, k)
            Where each begins.
        seeds : ndarray of float32, shape (b, k)
            With how much.
        alpha : float, optional
            Weight of a further step, 0 to less than 1; by default that of :func:`alpha_of`.

        Returns
        -------
        ndarray of float32, shape (b, n)
            0 or more: the more, the nearer.
        """
        from scipy import sparse

        if alpha is None:
            alpha = alpha_of(len(self.neighbours))
        queries, k = rows.shape
        starts = np.arange(queries + 1) * k
        now = sparse.csr_array((seeds.ravel(), rows.ravel(), starts), shape=(queries, len(self.neighbours)))
        tail = (alpha * self.spectrum) ** (LOCAL_TERMS + 1) / (1 - alpha * self.spectrum)
        out: Float32Array = ((now @ self.basis) * tail).astype(np.float32) @ self.basis.T
        for _ in range(LOCAL_TERMS):
            _add(out, now)
            now = (now @ self.weights) * np.float32(alpha)
        _add(out, now)
        np.maximum(out, 0, out=out)  # the eigenvectors left out make it differ a little from 0 where nothing arrives
        out *= self._share
        return out


def alpha_of(size: int) -> float:
    """Return how far diffusion goes where nobody says: further in larger collections.

    Parameters
    ----------
    size : int
        Images.

    Returns
    -------
    float
        The weight of each further step: :data:`ALPHA` up to :data:`ALPHA_UP_TO` images; beyond, 1 less it falls with the root
        of the size, which keeps the mean length of a walk in step with it, up to :data:`MOST_ALPHA`.
    """
    return min(MOST_ALPHA, 1 - (1 - ALPHA) * math.sqrt(min(1.0, ALPHA_UP_TO / max(size, 1))))


def prepare_diffusion(neighbours: Neighbours, directions: int = DIRECTIONS) -> NeighborGraph:
    """Find the leading eigenvectors of a neighbour graph.

    Parameters
    ----------
    neighbours : Neighbours
        The graph.
    directions : int
        How many, at most.

    Returns
    -------
    NeighborGraph
    """
    from scipy.sparse.linalg import eigsh

    weights, _ = normalised_weights(neighbours)
    size = len(neighbours)
    if size <= 2 * directions:
        values, vectors = np.linalg.eigh(weights.toarray().astype(np.float64))
    else:
        start = np.random.default_rng(0).normal(size=size).astype(np.float32)
        values, vectors = eigsh(weights, directions, which="LA", v0=start, tol=1e-2)
    order = np.argsort(-values, kind="stable")[:directions]
    basis = np.ascontiguousarray(vectors[:, order], np.float32)
    return NeighborGraph(neighbours, basis, np.clip(values[order], -1, 1).astype(np.float32))


def normalised_weights(neighbours: Neighbours) -> tuple[Any, Float32Array]:
    """Turn a neighbour graph into symmetric weights whose eigenvalues are within -1 and 1.

    Parameters
    ----------
    neighbours : Neighbours
        The graph. An edge that goes both ways weighs twice as much as one that goes one way.

    Returns
    -------
    (scipy.sparse.csr_array of float32, shape (n, n); ndarray of float32, shape (n,))
        The weights, and each image's degree: the sum of its weights before they were normalised.
    """
    from scipy import sparse

    size, k = neighbours.rows.shape
    scale = scales(neighbours.squares)
    weight = np.exp(-neighbours.squares / _products(scale, scale[neighbours.rows]))
    starts = np.arange(size + 1, dtype=np.int64) * k
    one_way = sparse.csr_array((weight.ravel(), neighbours.rows.ravel(), starts), shape=(size, size))
    both = (one_way + one_way.T).tocsr()
    degree = np.asarray(both.sum(axis=1), np.float32).ravel()
    root = (1 / np.sqrt(np.where(degree > 0, degree, 1))).astype(np.float32)
    both.data *= np.repeat(root, np.diff(both.indptr)) * root[both.indices]
    return both, degree


def scales(squares: Float32Array) -> Float32Array:
    """Return how far each image's surroundings reach.

    Parameters
    ----------
    squares : ndarray of float32, shape (n, k)
        Squared distances to the nearest, ascending.

    Returns
    -------
    ndarray of float32, shape (n,)
        The distance to the tenth, or the last.
    """
    return np.asarray(np.sqrt(squares[:, min(SCALE_AT, squares.shape[1]) - 1]), np.float32)


def _products(scale: Float32Array, others: Float32Array) -> Float32Array:
    """Return the products of scales, never 0: images that are all equal to their neighbours have a scale of 0."""
    return np.asarray(np.maximum(scale[:, None] * others, np.finfo(np.float32).tiny * 1e6), np.float32)


def _add(out: Float32Array, sparse: Any) -> None:
    """Add a sparse array to a dense one, in place."""
    lines = np.repeat(np.arange(out.shape[0]), np.diff(sparse.indptr))
    out[lines, sparse.indices] += sparse.data  # its indices are unique within a row


__all__ = ["NeighborGraph", "Neighbours", "find_neighbours", "prepare_diffusion"]
