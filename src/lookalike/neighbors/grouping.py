"""Ranked descriptors -> which answers stand for others that are nearly equal to them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.neighbors.exact import Database

#: Answers that are compared with those before them at a time.
_AT_ONCE = 512


def group_near_duplicates(
    descriptors: NDArray[Any], distance: str, radius: float, most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Fold each answer into the best one that stands for itself and is near enough.

    So an answer's group doesn't depend on what comes after it, and pages agree with each other.

    Parameters
    ----------
    descriptors : ndarray, shape (n, d)
        Of the answers, the best first.
    distance : str
        What they are compared by.
    radius : float
        The largest distance at which an answer is folded, 0 or more.
    most : int
        How many answers that stand for themselves are looked for; what comes later is only folded into these.

    Returns
    -------
    leaders : ndarray of int64, shape (m,)
        Places of the answers that stand for themselves, ascending; at most ``most``.
    owner : ndarray of int64, shape (n,)
        For each answer the place of the one that it is folded into; its own if it isn't.

    Examples
    --------
    >>> points = np.array([[0, 1], [0, 1.1], [0, 3], [0, 1.2], [0, 3.1]], np.float32)
    >>> group_near_duplicates(points, "euclidean", 0.15, 5)[1].tolist()
    [0, 0, 2, 3, 2]
    """
    owner = np.arange(len(descriptors))
    leaders: list[int] = []
    for start in range(0, len(descriptors), _AT_ONCE):
        left = owner[start : start + _AT_ONCE].copy()
        if leaders:
            near = Database(descriptors[leaders], distance).within(descriptors[left], radius)
            for place, (within, _) in zip(left.tolist(), near, strict=True):
                if len(within):
                    owner[place] = leaders[int(within.min())]
            left = left[owner[left] == left]
        while len(left) and len(leaders) < most:
            leaders.append(int(left[0]))
            close = Database(descriptors[left[:1]], distance).nearest(descriptors[left], 1)[1][:, 0] <= radius
            owner[left[close]] = left[0]
            close[0] = True
            left = left[~close]
    return np.array(leaders, np.int64), owner
