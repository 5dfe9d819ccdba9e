"""Descriptors of a collection -> a linear map under which mutual neighbours are nearer, without labels.

Two images that are each among the other's nearest are mostly of one kind. *Within* is the scatter of the differences
between such pairs, *total* that of the collection. Directions that vary in total more than within count for more:
``St v = w (Sw + r tr(Sw)/d I) v``, ``w > 1``, scaled by ``sqrt((w - 1) / w)``: linear discriminants (R. A. Fisher, 1936)
with the weights of a Gaussian model's likelihood ratio (S. Ioffe, "Probabilistic Linear Discriminant Analysis", ECCV 2006),
near to locality preserving projections (X. He and P. Niyogi, NIPS 2003). That map ``M`` is joined with the plain descriptor, so that what the pairs don't
say is kept. Joined, the product of two descriptors is ``x' (I + a M M') y``: one linear map, its symmetric root.
Mutual neighbours as evidence: H. Jegou et al., "A contextual dissimilarity measure for accurate and efficient image
search", CVPR 2007; D. Qin et al., "Hello neighbor: accurate object retrieval with k-reciprocal nearest neighbors", CVPR 2011.

The settings were chosen on the labelled collections of ``benchmarks/eyes.py``, with the labels in sight; a wide range of
each gives nearly the same.
"""

from __future__ import annotations

import numpy as np

from lookalike.array_types import Float32Array, Float64Array
from lookalike.cores import one_thread_of_blas
from lookalike.encoders.postprocess import Projection
from lookalike.neighbors.linalg import unit_rows
from lookalike.neighbors.sampling import sample_rows
from lookalike.selection.scatter import leading_directions, nearest_by_cosine, solve

NAME = "mutual neighbours"
#: Fewest descriptors that it is learnt from, and most: the graph's cost grows with their square.
MIN_ROWS, MAX_ROWS = 60, 6_000
#: Each one's neighbours that are looked at; the power of the cosine that a pair counts by; and the shrinkage ``r``.
NEIGHBOURS, POWER, SHRINK = 7, 3, 0.1
#: Weight of the mapped vector to the plain one, by the lengths of both, for each 1 of the neighbours' mean cosine: where
#: they are far, as in a collection without kinds, they say less, and queries that look different lose by the map.
WEIGHT = 3.0
#: Least ratio of total to within scatter in the leading direction. Random descriptors reach 1 to 4, labelled collections 18 to 600.
MIN_RATIO = 6.0
#: Longer descriptors keep so many leading directions of the collection.
MAX_LENGTH, LEADING = 1024, 512
#: Most that descriptors may be alike, as the square of the length of their mean, or little but rounding is left.
ALIKE = 0.99


def neighbour_metric(
    descriptors: Float32Array, *, unit: bool = True, seed: int = 0, neighbours: int = NEIGHBOURS, rounds: int = 1
) -> Projection | None:
    """Learn the map from a collection's descriptors.

    Parameters
    ----------
    descriptors : ndarray of float32, shape (n, d)
        One row an image, none of zeros; of more than ``MAX_ROWS`` a sample is looked at.
    unit : bool
        Whether they are brought to length 1 first: where they are compared by cosine.
    seed : int
        Of the sample.
    neighbours : int
        How many neighbours of each are looked at.
    rounds : int
        How often the map is learnt: from the second time on, from the neighbours under the map before.

    Returns
    -------
    Projection or None
        Named ``mutual neighbours``, or ``centred`` where the neighbours show no structure. None where there are fewer
        than ``MIN_ROWS`` images, or nearly all are alike. The map gives at most ``MAX_LENGTH`` values.
    """
    number = len(descriptors)
    if number < MIN_ROWS:
        return None
    rows = np.asarray(descriptors[sample_rows(number, MAX_ROWS, seed)], np.float32)
    if unit:
        rows = unit_rows(rows)
    mean = rows.mean(axis=0)
    if mean @ mean > ALIKE * float(np.einsum("ij,ij->", rows, rows)) / len(rows):
        return None
    with one_thread_of_blas(with_scipy=True):
        return _learn(rows - mean, mean, unit, seed, min(neighbours, number // 4), rounds)


def _learn(rows: Float32Array, mean: Float32Array, unit: bool, seed: int, neighbours: int, rounds: int) -> Projection:
    """Learn the map from descriptors less their mean."""
    basis = _leading(rows, seed) if rows.shape[1] > MAX_LENGTH else None
    if basis is not None:
        rows = rows @ basis
    total = np.asarray(rows.T @ rows / len(rows), np.float64)
    seen, root, weight = rows, np.eye(0), 0.0
    for _ in range(rounds):
        within, closeness = mutual_scatter(rows, seen, neighbours)
        directions, ratio = (np.empty((rows.shape[1], 0)), 0.0) if within is None else _solved(total, within)
        if ratio < MIN_RATIO:
            return centred(mean, unit)
        weight = weight or WEIGHT * closeness  # under the map, neighbours are nearer than they look
        mapped = np.einsum("ij,ij->", directions.T @ total, directions.T)
        root = _root(weight**2 * float(np.trace(total) / mapped) * directions @ directions.T)
        seen = np.asarray(rows @ root, np.float32)
    matrix = root if basis is None else basis @ root
    facts = {"images": len(rows), "directions": directions.shape[1], "ratio": round(ratio, 2)}
    return Projection(NAME, mean, np.ascontiguousarray(matrix, np.float32), unit, params=facts)


def centred(mean: Float32Array, unit: bool) -> Projection:
    """Return what takes a mean off, and leaves the directions as they are.

    Parameters
    ----------
    mean : ndarray of float32, shape (d,)
        Of the collection's descriptors, or of a sample of them.
    unit : bool
        Whether descriptors are brought to length 1 first, as those were that the mean is of.

    Returns
    -------
    Projection
    """
    return Projection("centred", mean, np.empty((len(mean), 0), np.float32), unit, params={})


def mutual_scatter(rows: Float32Array, seen: Float32Array, neighbours: int) -> tuple[Float64Array | None, float]:
    """Return the mean of (x - y)(x - y)' over mutual neighbours x and y, each pair weighed by a power of its cosine.

    Parameters
    ----------
    rows : ndarray of float32, shape (n, d)
        Descriptors less their mean.
    seen : ndarray of float32, shape (n, p)
        What neighbours are found by: the same, or mapped.
    neighbours : int
        How many each has, less than n.

    Returns
    -------
    scatter : ndarray of float64, shape (d, d), or None
        None where no two are mutual neighbours with a cosine above 0.
    closeness : float
        The mean cosine of each row and its neighbours, 0 to 1.

    Examples
    --------
    >>> rows = np.repeat(np.float32([[1, 0.1], [-1, 0.1]]), 8, axis=0)
    >>> rows[::2, 1] *= -1
    >>> mutual_scatter(rows, rows, 7)[0].round(3).tolist()
    [[0.0, 0.0], [0.0, 0.022]]
    """
    from scipy.sparse import csr_array

    number = len(rows)
    near, cosines = nearest_by_cosine(unit_rows(seen), neighbours)
    starts = np.arange(number + 1) * neighbours
    graph = csr_array((np.maximum(cosines, 0).ravel() ** POWER, near.ravel(), starts), shape=(number, number))
    graph = graph.minimum(graph.T.tocsr()).tocsr()
    mass = float(graph.sum())
    if mass <= 0:
        return None, 0.0
    # In double precision, since of neighbours that are all alike nothing but rounding would be left.
    exact = rows.astype(np.float64)
    graph = graph.astype(np.float64)
    flow = exact * np.asarray(graph.sum(axis=1)).ravel()[:, None] - graph @ exact
    scatter = exact.T @ flow
    return (scatter + scatter.T) / mass, max(0.0, float(cosines.mean()))


def _leading(rows: Float32Array, seed: int) -> Float32Array:
    """Return the leading principal directions, of many rows by subspace iteration.

    N. Halko, P.-G. Martinsson and J. Tropp, "Finding Structure with Randomness", SIAM Review 53(2), 2011, algorithm 4.4.
    """
    if len(rows) <= 2 * LEADING:
        return leading_directions(rows, LEADING)
    sample = rows[sample_rows(len(rows), 8 * LEADING, seed)]
    rng = np.random.default_rng([seed, 3])
    span = rng.standard_normal((rows.shape[1], LEADING + LEADING // 8)).astype(np.float32)
    for _ in range(2):
        span = np.linalg.qr(sample.T @ (sample @ span))[0]
    return np.asarray(span @ leading_directions(sample @ span, LEADING), np.float32)


def _solved(total: Float64Array, within: Float64Array) -> tuple[Float64Array, float]:
    """Return the directions that vary more in total than within, weighed, and the leading one's ratio."""
    directions = solve(total, within, SHRINK).astype(np.float64)
    if not directions.shape[1]:
        return directions, 0.0
    first = directions[:, 0]
    floor = max(SHRINK * np.trace(within), 1e-7 * np.trace(total)) / len(within)  # as in solve
    return directions, float(first @ total @ first / (first @ within @ first + floor * (first @ first)))


def _root(matrix: Float64Array) -> Float64Array:
    """Return the symmetric root of the identity plus a matrix that has no negative eigenvalue."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(1 + np.maximum(values, 0))) @ vectors.T)
