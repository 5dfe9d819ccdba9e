"""Places in one plane and in another -> the homography that takes one to the other."""

from __future__ import annotations

import numpy as np

from lookalike.array_types import Float64Array


def fit_homography(x: Float64Array, y: Float64Array) -> Float64Array:
    """Fit a homography to any number of places by the direct linear transform.

    The method is algorithm 4.1 of R. Hartley and A. Zisserman, *Multiple View Geometry in Computer Vision*.

    Parameters
    ----------
    x, y : ndarray of float64, shape (n, 2)
        The same places in both planes; n is 4 or more.

    Returns
    -------
    ndarray of float64, shape (3, 3)
        It takes ``(x, 1)`` to a multiple of ``(y, 1)``, with the least algebraic error.
    """
    zero, one = np.zeros(len(x)), np.ones(len(x))
    u, v = x.T
    rows = [
        np.stack([u, v, one, zero, zero, zero, -y[:, 0] * u, -y[:, 0] * v, -y[:, 0]], axis=1),
        np.stack([zero, zero, zero, u, v, one, -y[:, 1] * u, -y[:, 1] * v, -y[:, 1]], axis=1),
    ]
    table = np.concatenate(rows)
    _, vectors = np.linalg.eigh(table.T @ table)
    matrix: Float64Array = vectors[:, 0].reshape(3, 3)
    return matrix / (matrix[2, 2] if abs(matrix[2, 2]) > 1e-12 else 1e-12)


def four_point_homographies(start: Float64Array, end: Float64Array) -> Float64Array:
    """Return the homographies that take each four places exactly to the same four.

    Parameters
    ----------
    start : ndarray of float64, shape (n, 4, 2)
        Four places, no three of them on a line.
    end : ndarray of float64, shape (4, 2)
        Where they go.

    Returns
    -------
    ndarray of float64, shape (n, 3, 3)
    """
    y, x = start[..., 0], start[..., 1]
    none, one = np.zeros_like(y), np.ones_like(y)
    ends = np.broadcast_to(end, start.shape)
    down = np.stack([y, x, one, none, none, none, -y * ends[..., 0], -x * ends[..., 0]], axis=-1)
    across = np.stack([none, none, none, y, x, one, -y * ends[..., 1], -x * ends[..., 1]], axis=-1)
    right = np.concatenate([ends[..., 0], ends[..., 1]], axis=1)
    solved = np.linalg.solve(np.concatenate([down, across], axis=1), right[..., None])[..., 0]
    return np.concatenate([solved, np.ones((len(solved), 1))], axis=1).reshape(-1, 3, 3)
