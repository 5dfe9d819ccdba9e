"""Values of queries -> bootstrap intervals of their means."""

from __future__ import annotations

import numpy as np

from lookalike.array_types import Float64Array


def bootstrap_interval(values: Float64Array, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of a mean.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
        What the mean is of.
    seed : int
        The same seed gives the same interval.

    Returns
    -------
    (float, float)

    Examples
    --------
    >>> bootstrap_interval(np.ones(5))
    (1.0, 1.0)
    """
    drawn = np.random.default_rng(seed).integers(len(values), size=(1000, len(values)))
    low, high = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5]).tolist()
    return low, high


def bootstrap_percentiles(values: Float64Array, seed: int, resamples: int = 1000) -> Float64Array:
    """Return the 95 % percentile bootstrap intervals of several means, over the same queries drawn with replacement.

    Parameters
    ----------
    values : ndarray of float64, shape (queries, scores)
        What the means are of.
    seed : int
        The same seed gives the same intervals.
    resamples : int
        How many times as many queries are drawn.

    Returns
    -------
    ndarray of float64, shape (2, scores)
        The 2.5 and 97.5 percentiles.
    """
    queries = len(values)
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    # How often each query was drawn, times the values, is the sum over the drawn: a matrix product, no gathering.
    step = max(1, 2**20 // queries)
    for start in range(0, resamples, step):
        drawn = rng.integers(queries, size=(min(step, resamples - start), queries), dtype=np.int32)
        times = np.stack([np.bincount(row, minlength=queries) for row in drawn])
        means[start : start + step] = times.astype(np.float64) @ values / queries
    return np.percentile(means, [2.5, 97.5], axis=0)
