"""Descriptors -> their scatter and its directions; two scatters -> the directions in which one exceeds the other.

Nothing is iterated, so results repeat: one eigenproblem each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array, Float64Array
from lookalike.neighbors.linalg import falling_eigenvectors
from lookalike.neighbors.sampling import sample_rows

#: Descriptors longer than this have their principal directions found by a sample.
LONGEST = 1536


def solve(total: Float64Array, within: Float64Array, shrink: float) -> Float32Array:
    """Return the directions that vary more in total than within, weighed.

    Parameters
    ----------
    total, within : ndarray of float64, shape (d, d)
        The scatters.
    shrink : float
        How far ``within`` is drawn towards a multiple of the identity.

    Returns
    -------
    ndarray of float32, shape (d, k)
        In falling order of their ratio; ``k`` may be 0. Of each, the greatest entry is positive.

    Examples
    --------
    >>> solve(np.diag([4.0, 1.0, 0.5]), np.eye(3), 0).astype(float).round(3).tolist()
    [[0.866], [0.0], [0.0]]
    """
    from scipy.linalg import eigh

    size = len(within)
    floor = max(shrink * np.trace(within) / size, 1e-7 * np.trace(total) / size, 1e-30)
    ratio, directions = eigh(total, within + floor * np.eye(size))
    ratio, directions = ratio[::-1], directions[:, ::-1]
    kept = int((ratio > 1 + 1e-6).sum())
    ratio, directions = ratio[:kept], directions[:, :kept]
    return np.asarray(_signed(directions) * np.sqrt((ratio - 1) / ratio), np.float32)


def nearest_by_cosine(rows: Float32Array, each: int) -> tuple[NDArray[np.int64], Float32Array]:
    """Return each row's nearest others by cosine.

    Parameters
    ----------
    rows : ndarray of float32, shape (n, d)
        Of length 1; n > ``each``.
    each : int
        How many.

    Returns
    -------
    near : ndarray of int64, shape (n, each)
        Where they are, the nearest first.
    cosines : ndarray of float32, shape (n, each)
    """
    near, cosines = np.empty((len(rows), each), np.int64), np.empty((len(rows), each), np.float32)
    for start in range(0, len(rows), 256):
        likeness = rows[start : start + 256] @ rows.T
        here = np.arange(len(likeness))
        likeness[here, start + here] = -np.inf
        first = np.argpartition(-likeness, each - 1, axis=1)[:, :each]
        order = np.argsort(-np.take_along_axis(likeness, first, axis=1), axis=1, kind="stable")
        near[start : start + 256] = np.take_along_axis(first, order, axis=1)
        cosines[start : start + 256] = np.take_along_axis(likeness, near[start : start + 256], axis=1)
    return near, cosines


def leading_directions(rows: Float32Array, most: int) -> Float32Array:
    """Return the leading principal directions of centred rows.

    Parameters
    ----------
    rows : ndarray of float32, shape (n, d)
        The descriptors, less their mean; of descriptors longer than ``LONGEST`` at most 4,000 are looked at.
    most : int
        How many directions are wanted.

    Returns
    -------
    ndarray of float32, shape (d, k)
        Orthonormal, the leading one first; ``k`` is at most ``most``. Of each, the greatest entry is positive.
    """
    sample = rows[sample_rows(len(rows), 4000, 0)] if rows.shape[1] > LONGEST else rows
    number, length = sample.shape
    most = min(most, number - 1 or 1, length)
    if length <= number:
        _, directions = falling_eigenvectors((sample.T @ sample).astype(np.float64))
        leading = directions[:, :most]
    else:
        values, sides = falling_eigenvectors((sample @ sample.T).astype(np.float64))
        kept = values[:most] > 1e-9 * max(values[0], 1e-30)
        leading = sample.T @ sides[:, :most][:, kept]
        leading = leading / np.linalg.norm(leading, axis=0)
    return np.ascontiguousarray(_signed(leading), np.float32)


def _signed(directions: NDArray[Any]) -> NDArray[Any]:
    """Turn each column so that its greatest entry is positive: an eigenvector's sign is anyone's choice."""
    greatest = np.take_along_axis(directions, np.abs(directions).argmax(axis=0)[None], axis=0)
    return directions * np.where(greatest < 0, -1, 1) + 0.0  # no -0.0
