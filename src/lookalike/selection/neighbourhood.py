"""Descriptors -> what the graph of nearest neighbours says of them, without labels and without any other view of an image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Int64Array
from lookalike.metrics.ties import random_among_equal
from lookalike.neighbors.exact import Database

#: Neighbours of each image that are looked at.
NEIGHBOURS = 10


def nearest_others(table: NDArray[Any], distance: str, seed: int = 0) -> Int64Array:
    """Return the nearest other images of each, equally near ones at random.

    Parameters
    ----------
    table : ndarray, shape (n, d)
        Descriptors, none of zeros where the distance compares directions; n of 2 or more.
    distance : str
        What they are compared by.
    seed : int
        Of the order of equally near ones.

    Returns
    -------
    ndarray of int64, shape (n, k)
        k is ``NEIGHBOURS``, or n - 1; in no order.
    """
    number = len(table)
    distances = Database(table, distance).distances(table, resolved=True)
    np.fill_diagonal(distances, np.inf)
    order = random_among_equal(distances, np.random.default_rng([seed, 3]))
    each = min(NEIGHBOURS, number - 1)
    return np.asarray(np.argpartition(order, each - 1, axis=1)[:, :each], np.int64)


def neighbourhood_figures(near: Int64Array) -> dict[str, float]:
    """Return figures of a graph of nearest neighbours.

    Parameters
    ----------
    near : ndarray of int64, shape (n, k)
        What :func:`nearest_others` returned.

    Returns
    -------
    dict of str to float
        ``reciprocity``: share of neighbours that have the image among their own. ``Jaccard index``: the mean over pairs of
        neighbours of how many neighbours they share, to those that either has. ``orphans``: share of images that are
        nobody's neighbour. ``hubness``: the skewness of how often images are neighbours (M. Radovanovic, A. Nanopoulos and
        M. Ivanovic, "Hubs in space", JMLR 11, 2010).

    Examples
    --------
    >>> neighbourhood_figures(np.array([[1], [0], [1]]))["reciprocity"].__round__(2)
    0.67
    """
    number, each = near.shape
    marked = _marked(near)
    shared = marked.astype(np.float32) @ marked.T.astype(np.float32)
    counts = marked.sum(axis=0).astype(np.float64)
    spread = counts.std()
    return {
        "reciprocity": float((marked & marked.T).sum() / (number * each)),
        "Jaccard index": float((shared / (2 * each - shared))[marked].mean()),
        "orphans": float((counts == 0).mean()),
        "hubness": float(((counts - counts.mean()) ** 3).mean() / spread**3) if spread > 0 else 0.0,
    }


def agreement(near: Int64Array, others: Int64Array) -> float:
    """Return the share of neighbours that two graphs over the same images have in common, 0 to 1.

    Parameters
    ----------
    near, others : ndarray of int64, shape (n, k)
        Each image's neighbours, by two descriptors; a row of -1 for an image that isn't in a graph.

    Returns
    -------
    float
        Over the images that are in both; 0 where none is.
    """
    both = (near[:, 0] >= 0) & (others[:, 0] >= 0)
    if not both.any():
        return 0.0
    marked = np.zeros((int(both.sum()), len(others)), np.bool_)
    np.put_along_axis(marked, others[both], True, axis=1)
    return float(np.take_along_axis(marked, near[both], axis=1).mean())


def _marked(near: Int64Array) -> NDArray[np.bool_]:
    marked = np.zeros((len(near), len(near)), np.bool_)
    np.put_along_axis(marked, near, True, axis=1)
    return marked
