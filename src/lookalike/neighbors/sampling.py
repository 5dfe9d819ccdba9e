"""A number of rows and a seed -> which of them are drawn."""

from __future__ import annotations

import numpy as np

from lookalike.array_types import Int64Array


def sample_rows(number: int, most: int, seed: int) -> Int64Array:
    """Return ascending positions of at most ``most`` of ``number`` images, drawn by the seed.

    Parameters
    ----------
    number, most : int
        How many there are, how many are wanted.
    seed : int
        The same seed draws the same.

    Returns
    -------
    ndarray of int64

    Examples
    --------
    >>> sample_rows(3, 5, seed=0).tolist()
    [0, 1, 2]
    """
    if number <= most:
        return np.arange(number)
    return draw_rows(np.random.default_rng([seed, 0]), number, most)


def draw_rows(rng: np.random.Generator, number: int, most: int) -> Int64Array:
    """Draw at most ``most`` of ``number`` rows.

    Parameters
    ----------
    rng : Generator
        Moved on by a permutation of all rows, also where all are taken.
    number, most : int
        How many there are, how many are wanted.

    Returns
    -------
    ndarray of int64
        Ascending.
    """
    return np.sort(rng.permutation(number)[:most]).astype(np.int64)
