"""Tables of vectors -> rows of length 1; symmetric matrices -> their leading directions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def unit_rows(table: NDArray[Any]) -> NDArray[Any]:
    """Bring each row to length 1; a row of zeros stays as it is.

    Parameters
    ----------
    table : ndarray of float, shape (..., d)
        Vectors along the last axis.

    Returns
    -------
    ndarray of float, same shape and type
        A copy.

    Examples
    --------
    >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    lengths = np.linalg.norm(table, axis=-1, keepdims=True)
    unit: NDArray[Any] = table / np.where(lengths > 0, lengths, 1)
    return unit


def falling_eigenvectors(matrix: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the eigenvalues of a symmetric matrix in falling order, and their vectors.

    Parameters
    ----------
    matrix : ndarray of float, shape (d, d)
        Such as a scatter: its leading vectors are the principal directions.

    Returns
    -------
    values : ndarray of float, shape (d,)
        The greatest first.
    vectors : ndarray of float, shape (d, d)
        One a column, of length 1. The sign of each is arbitrary.

    Examples
    --------
    >>> falling_eigenvectors(np.diag([1.0, 4.0]))[0].tolist()
    [4.0, 1.0]
    """
    values, vectors = np.linalg.eigh(matrix)
    return values[::-1], vectors[:, ::-1]
