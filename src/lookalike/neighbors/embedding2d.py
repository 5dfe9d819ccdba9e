"""A neighbour graph -> a position in the plane for every image, near where its neighbours are; and the clusters they form.

The method is UMAP's (L. McInnes, J. Healy and J. Melville, "UMAP: uniform manifold approximation and projection for
dimension reduction", 2018, arXiv:1802.03426): neighbours attract each other along a curve with two parameters, all others
repel. Two things are done otherwise, so that no compiled code is needed and the same input gives the same positions:

- An epoch takes every edge with its weight instead of drawing some, which is what drawing amounts to on average. Only those
  that repel are drawn. All images move at once; each one's step is divided by how strongly it is pulled, as
  Jacobi does, or it would swing about its neighbours instead of coming to rest between them.
- It starts from eigenvectors of the graph that diffusion goes by, which an index keeps. Those that only set a handful of
  images apart, identical ones or strays, say nothing of the others: they are passed over, and where none are left
  the principal components take their place, nearly as good a start (D. Kobak and G. Linderman, "Initialization is critical for
  preserving global data structure in both t-SNE and UMAP", Nature Biotechnology 39, 2021).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array
from lookalike.neighbors.diffusion import NeighborGraph, Neighbours
from lookalike.neighbors.linalg import falling_eigenvectors

#: Neighbours that attract, of those that the graph has.
ATTRACTING = 15
#: Times that all images move.
EPOCHS = 500
#: Images drawn to repel each image at a time, and how many a pull is answered by, as in the paper.
DRAWN, REPELLING = 5, 5
#: The curve 1 / (1 + A d^2B), fitted to stay flat up to a distance of 0.1: the paper's ``min_dist``.
A, B = 1.577, 0.895
#: No image is moved further by another at once.
FARTHEST = 4.0
#: Images that are moved at a time, so that what they need stays in the processor's cache.
AT_ONCE = 4096
#: Deviation of the start along each axis, and the kurtosis from which on an eigenvector sets only a few apart: two in a hundred
#: that differ from all others have about 50.
START, FEW_APART = 5.0, 50.0
#: Side of the grid on which density is looked at, and what counts as a peak: so many times as dense as the pass to a higher one.
GRID, PROMINENCE = 256, 2.0


@dataclass(frozen=True, eq=False)
class Layout:
    """Where each image lies.

    Attributes
    ----------
    positions : ndarray of float32, shape (n, 2)
        x to the right and y up, within -1 and 1.
    clusters : ndarray of uint16, shape (n,)
        The density cluster of each; 0 has most images.
    """

    positions: Float32Array
    clusters: NDArray[np.uint16]

    def spread_out(self, side: int = 26) -> list[int]:
        """Return rows that lie apart from each other: of each square of a grid, the image nearest to its middle.

        Parameters
        ----------
        side : int
            Squares along the longer side of the map.

        Returns
        -------
        list of int
            Ascending; of squares with no image none.
        """
        low, high = self.positions.min(axis=0), self.positions.max(axis=0)
        width = float((high - low).max()) / side or 1.0
        at = (self.positions - low) / width
        cells = np.minimum(at.astype(int), side - 1)
        off = ((at - cells - 0.5) ** 2).sum(axis=1)
        order = np.lexsort((off, cells[:, 1], cells[:, 0]))
        _, first = np.unique(cells[order], axis=0, return_index=True)
        return sorted(order[first].tolist())


def embed_2d(
    neighbours: Neighbours,
    start: Float32Array,
    *,
    epochs: int = EPOCHS,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Float32Array:
    """Find positions for all images so that neighbours lie near each other.

    Parameters
    ----------
    neighbours : Neighbours
        Of each image; the nearest ``ATTRACTING`` count.
    start : ndarray of float32, shape (n, 2)
        Where they are to begin with, as of :func:`spectral_init`.
    epochs : int
        Times that all move.
    seed : int
        Of what is drawn: the same seed and input, the same positions.
    on_progress : callable, optional
        Called with (epochs done, epochs to do).

    Returns
    -------
    ndarray of float32, shape (n, 2)
        Centred; the unit is that of the curve, in which 1 is about how far neighbours are apart.
    """
    graph = attraction(neighbours)
    size = len(neighbours)
    bounds, others, pull = graph.indptr, graph.indices, graph.data.astype(np.float32)
    answered = np.add.reduceat(pull, bounds[:-1]) * np.float32(REPELLING / DRAWN)
    rng = np.random.default_rng(seed)
    positions = start.astype(np.float32)
    positions = positions + rng.normal(0, 1e-3, positions.shape).astype(np.float32)  # none exactly upon another
    for epoch in range(epochs):
        step = np.float32(1 - epoch / epochs)
        drawn = rng.integers(0, size, (size, DRAWN), np.int32)
        moved = np.empty_like(positions)
        for first in range(0, size, AT_ONCE):
            last = min(first + AT_ONCE, size)
            edges = slice(bounds[first], bounds[last])
            here = positions[first:last]
            counts = np.diff(bounds[first : last + 1])
            rows = bounds[first:last] - bounds[first]
            # The neighbours' pull ...
            away = positions[others[edges]] - np.repeat(here, counts, axis=0)
            squares = np.maximum(np.einsum("ij,ij->i", away, away), 1e-6)
            bent = squares ** np.float32(B - 1)
            strength = pull[edges] * (np.float32(2 * A * B) * bent / (1 + np.float32(A) * bent * squares))
            move = np.stack([np.add.reduceat(strength * away[:, axis], rows) for axis in (0, 1)], axis=1)
            stiffness = np.add.reduceat(strength, rows)
            # ... and the push of some others.
            away = here[:, None] - positions[drawn[first:last]]
            squares = np.einsum("ijk,ijk->ij", away, away)
            push = np.float32(2 * B) / ((np.float32(0.001) + squares) * (1 + np.float32(A) * squares ** np.float32(B)))
            push[drawn[first:last] == np.arange(first, last)[:, None]] = 0
            pushed = np.clip(push[:, :, None] * away, -FARTHEST, FARTHEST).sum(axis=1)
            move += answered[first:last, None] * pushed
            moved[first:last] = here + step * np.clip(move / (1 + stiffness)[:, None], -FARTHEST, FARTHEST)
        positions = moved
        if on_progress is not None:
            on_progress(epoch + 1, epochs)
    return np.asarray(positions - positions.mean(axis=0), np.float32)


def attraction(neighbours: Neighbours) -> Any:
    """Turn a neighbour graph into how strongly each two images attract each other.

    Parameters
    ----------
    neighbours : Neighbours
        Of each image.

    Returns
    -------
    scipy.sparse.csr_array of float32, shape (n, n)
        Symmetric, above 0 to 1; no row is empty.

    Notes
    -----
    The paper's section 3.1: an image's nearest neighbour has weight 1, the others ``exp(-(d - d1) / s)`` with ``s`` such
    that all of them weigh ``log2(k)`` together; both directions are joined as ``a + b - ab``.
    """
    from scipy import sparse

    k = min(ATTRACTING, neighbours.rows.shape[1])
    distances = np.sqrt(np.maximum(neighbours.squares[:, :k], 0)).astype(np.float32)
    beyond = distances - distances[:, :1]
    low, high = np.zeros((len(beyond), 1)), np.full((len(beyond), 1), np.inf)
    scale = np.maximum(beyond.mean(axis=1, keepdims=True, dtype=np.float64), 1e-12)
    wanted = np.log2(max(k, 2))
    for _ in range(48):
        heavy = np.exp(-beyond / scale).sum(axis=1, keepdims=True) > wanted
        high, low = np.where(heavy, scale, high), np.where(heavy, low, scale)
        scale = np.where(np.isinf(high), scale * 2, (low + high) / 2)
        scale = np.maximum(scale, 1e-12)
    weights = np.maximum(np.exp(-beyond / scale), 1e-4).astype(np.float32)
    size = len(neighbours)
    starts = np.arange(size + 1, dtype=np.int64) * k
    one_way = sparse.csr_array(
        (weights.ravel(), neighbours.rows[:, :k].astype(np.int64).ravel(), starts), shape=(size, size)
    )
    other_way = one_way.T.tocsr()
    joined = (one_way + other_way - one_way * other_way).tocsr()
    joined.sort_indices()
    return joined


def spectral_init(graph: NeighborGraph, descriptors: NDArray[Any]) -> Float32Array:
    """Return where all images are to begin with: the first two eigenvectors of their graph that tell of all of them.

    Parameters
    ----------
    graph : Diffusion
        Of the images.
    descriptors : ndarray of float32, shape (n, d), or uint8, shape (n, bytes)
        Theirs.

    Returns
    -------
    ndarray of float32, shape (n, 2)
        Each axis with a deviation of about 5.
    """
    root = np.sqrt(np.maximum(graph.degree, np.finfo(np.float32).tiny))[:, None]
    axes = graph.basis / root
    axes = axes - np.median(axes, axis=0)
    deviation = axes.std(axis=0, dtype=np.float64)
    # One is the same everywhere, but for rounding: it tells nothing.
    telling = deviation > 1e-3 * np.abs(graph.basis / root).mean(axis=0)
    axes = (axes[:, telling] / deviation[telling]).astype(np.float64)
    broad = axes[:, (axes**4).mean(axis=0) < FEW_APART][:, :2]
    out = principal_positions(descriptors)
    out[:, : broad.shape[1]] = START * np.clip(broad * _signs(broad), -4, 4)
    return out


def principal_positions(descriptors: NDArray[Any]) -> Float32Array:
    """Return the two principal components of all images, as a start.

    Parameters
    ----------
    descriptors : ndarray of float32, shape (n, d), or uint8, shape (n, bytes)
        Packed codes are taken as their bits.

    Returns
    -------
    ndarray of float32, shape (n, 2)
        The first with a deviation of 5.
    """
    packed = descriptors.dtype == np.uint8
    chosen = np.linspace(0, len(descriptors) - 1, min(len(descriptors), 20_000)).astype(int)

    def plain(rows: Any) -> NDArray[np.float64]:
        return np.asarray(np.unpackbits(descriptors[rows], axis=1) if packed else descriptors[rows], np.float64)

    sample = plain(chosen)
    mean = sample.mean(axis=0)
    leading = falling_eigenvectors((sample - mean).T @ (sample - mean))[1][:, :2]
    leading = leading * _signs(leading)
    out = np.zeros((len(descriptors), 2), np.float32)
    for first in range(0, len(descriptors), AT_ONCE):
        rows = slice(first, first + AT_ONCE)
        out[rows, : leading.shape[1]] = (plain(rows) - mean) @ leading
    spread = float(out[:, 0].std())
    return out * np.float32(START / spread if spread > 0 else 0)


def _signs(vectors: NDArray[Any]) -> NDArray[Any]:
    """Return the sign of each column's largest entry: an eigenvector's own sign is chance."""
    return np.asarray(np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])]))


def density_clusters(positions: Float32Array) -> NDArray[np.uint16]:
    """Group images by the peaks of their density in the plane; how many there are comes out of it.

    Parameters
    ----------
    positions : ndarray of float32, shape (n, 2)
        Anywhere.

    Returns
    -------
    ndarray of uint16, shape (n,)
        The cluster of each, by the number of its images: 0 has most.

    Notes
    -----
    Density is smoothed by Silverman's rule over each group of positions; a peak stands ``PROMINENCE`` times above the pass to a
    higher one, and the plane is divided among the peaks as rain divides land (the watershed transform).
    """
    from scipy import ndimage

    size = len(positions)
    low, high = positions.min(axis=0), positions.max(axis=0)
    span = float((high - low).max()) or 1.0
    cells = ((positions - low) / span * (GRID - 1)).astype(int)
    counts = np.zeros((GRID, GRID))
    np.add.at(counts, (cells[:, 0], cells[:, 1]), 1)
    width = float(np.clip(GRID * 0.25 * size ** (-1 / 6), 2, GRID / 8))
    density = ndimage.gaussian_filter(counts, width / 3, mode="constant")
    # Below a hundredth of an image a cell there is nothing.
    height = np.log(np.maximum(density, 1e-2 * counts.sum() / GRID**2))
    peak = peak_basins(height, float(np.log(PROMINENCE)))[cells[:, 0], cells[:, 1]]
    names, which, many = np.unique(peak, return_inverse=True, return_counts=True)
    order = np.empty(len(names), np.uint16)
    order[np.argsort(-many, kind="stable")] = np.arange(len(names))
    return order[which]


def peak_basins(height: NDArray[np.float64], prominence: float) -> NDArray[np.int64]:
    """Assign every cell of a grid to the peak that it drains to, counting only prominent peaks.

    Parameters
    ----------
    height : ndarray of float64, shape (rows, columns)
        The surface.
    prominence : float
        A peak counts if it rises at least so far above the pass to a higher one; lower peaks join that one.

    Returns
    -------
    ndarray of int64, shape (rows, columns)
        Cells of one peak have one number.

    Notes
    -----
    Cells are visited from the highest down and joined by union-find. Labels equal those of a watershed from the h-maxima
    of the surface, as scikit-image computes it (``tests/unit/neighbors/test_embedding2d.py`` compares them).

    Examples
    --------
    >>> basins = peak_basins(np.array([[3.0, 1.0, 2.0, 1.5, 1.8]]), 0.5)
    >>> len(np.unique(basins)), bool(basins[0, 2] == basins[0, 4])
    (2, True)
    """
    rows, columns = height.shape
    padded = np.full((rows + 2, columns + 2), -np.inf)
    padded[1:-1, 1:-1] = height
    level = padded.ravel().tolist()
    across = columns + 2
    sides = (-across, -1, 1, across)
    around = (*sides, -across - 1, -across + 1, across - 1, across + 1)
    parent = [-1] * len(level)  # -1: not visited yet

    def peak_of(cell: int) -> int:
        while parent[cell] != cell:
            parent[cell] = parent[parent[cell]]
            cell = parent[cell]
        return cell

    for cell in np.argsort(-padded.ravel(), kind="stable")[: height.size].tolist():
        visited = [cell + step for step in around if parent[cell + step] >= 0]
        if not visited:
            parent[cell] = cell
            continue
        # A cell belongs to its highest neighbour; those across a side go before those across a corner.
        beside = [cell + step for step in sides if parent[cell + step] >= 0]
        parent[cell] = peak_of(max(beside or visited, key=level.__getitem__))
        meeting = {peak_of(neighbor) for neighbor in visited}
        highest = max(meeting, key=lambda peak: (level[peak], -peak))
        for peak in meeting - {highest}:
            if level[peak] - level[cell] < prominence:
                parent[peak] = highest
    peaks = np.array([peak_of(cell) if root >= 0 else -1 for cell, root in enumerate(parent)], np.int64)
    return peaks.reshape(padded.shape)[1:-1, 1:-1]


__all__ = [
    "Layout",
    "attraction",
    "density_clusters",
    "embed_2d",
    "peak_basins",
    "principal_positions",
    "spectral_init",
]
