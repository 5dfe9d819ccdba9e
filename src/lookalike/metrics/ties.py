"""Distances of which some are equal -> figures and orders in which equal images stand in a random order.

An encoder that can't tell images apart must gain nothing by it: whoever counts only the images that are nearer puts the wanted
one before all its equals, and whoever goes by storage order gives every query the same list.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array, Float64Array, Int64Array


def reciprocal_and_first(
    distances: Float32Array, wanted: NDArray[np.integer[Any]]
) -> tuple[Float64Array, Float64Array]:
    """Return the expected reciprocal rank of one image a query, and the chance that it comes first.

    Of ``t`` equally near images, the wanted one among them, behind ``g`` that are nearer, each stands on each of the ranks
    ``g + 1`` to ``g + t`` with a chance of ``1 / t``. So the expected reciprocal rank is ``(H(g + t) - H(g)) / t``, ``H`` being
    the harmonic numbers, and the chance of the first place ``1 / t`` where ``g`` is 0, else 0. F. McSherry and M. Najork,
    "Computing information retrieval performance measures efficiently in the presence of tied scores", ECIR 2008.

    Parameters
    ----------
    distances : ndarray of float32, shape (b, m)
        From each query to each image; no NaN. Those that rounding can't tell apart should be equal
        (:meth:`lookalike.neighbors.exact.Database.distances`, ``resolved``).
    wanted : ndarray of int, shape (b,)
        The image that each query should find.

    Returns
    -------
    reciprocal, first : ndarray of float64, shape (b,)
        0 to 1.

    Examples
    --------
    >>> reciprocal, first = reciprocal_and_first(np.float32([[0.5, 0.5, 0.9], [0.5, 0.5, 0.9]]), np.array([1, 2]))
    >>> reciprocal.round(3).tolist(), first.tolist()
    ([0.75, 0.333], [0.5, 0.0])
    """
    own = distances[np.arange(len(distances)), wanted][:, None]
    nearer, equal = (distances < own).sum(axis=1), (distances == own).sum(axis=1)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, distances.shape[1] + 1))])
    reciprocal: Float64Array = (harmonic[nearer + equal] - harmonic[nearer]) / equal
    first: Float64Array = (nearer == 0) / equal
    return reciprocal, first


def random_among_equal(distances: Float32Array, rng: np.random.Generator) -> Int64Array:
    """Return keys in the order of the distances, equal ones in a random order, another for each row.

    Parameters
    ----------
    distances : ndarray of float32, shape (b, m)
        Infinity and negative values allowed; no NaN.
    rng : Generator
        What draws the order.

    Returns
    -------
    ndarray of int64, shape (b, m)
        To be sorted, partitioned or searched for the least.

    Examples
    --------
    >>> keys = random_among_equal(np.float32([[2, -1, 2, 2]] * 100), np.random.default_rng(0))
    >>> set(keys.argmin(axis=1).tolist()), sorted(set(keys.argmax(axis=1).tolist()))
    ({1}, [0, 2, 3])
    """
    # The bits of floats, -0.0 made 0.0, are in the floats' order; those below 0 in the opposite one.
    bits = np.ascontiguousarray(distances + np.float32(0)).view(np.int32)
    keys: Int64Array = np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits).astype(np.int64)
    keys <<= 32
    keys |= rng.integers(2**32, size=keys.shape, dtype=np.uint32)
    return keys
