"""The nearest rows of rows of a table -> which of them are others than the row itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import BoolArray


def others_than(rows: NDArray[np.integer[Any]], nearest: NDArray[np.integer[Any]]) -> BoolArray:
    """Mark the nearest rows that are others than the row itself; as many of each row.

    A row is its own nearest, but of equal ones another may come first. Where it isn't among the nearest at all, because
    more are equal than were asked for, the last of them is left out.

    Parameters
    ----------
    rows : ndarray of int, shape (n,)
        The rows that were asked with.
    nearest : ndarray of int, shape (n, k)
        Their nearest.

    Returns
    -------
    ndarray of bool, shape (n, k)
        k - 1 are true in each row.

    Examples
    --------
    >>> others_than(np.array([4, 5]), np.array([[4, 7], [1, 2]])).tolist()
    [[False, True], [True, False]]
    """
    others: BoolArray = nearest != rows[:, None]
    others[others.all(axis=1), -1] = False
    return others
