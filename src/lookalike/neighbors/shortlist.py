"""One query's ranking values, part by part -> the few positions that may be among its nearest, and the values there.

What was found so far bounds what may still be an answer. The bound only falls, so several threads may share it: one that
sees an older bound keeps a few positions too many, and none too few.
"""

from __future__ import annotations

from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Int64Array

#: Groups whose minimum is taken first. They lie across the values, so that it is taken of whole vectors: that is ten times as
#: fast as to look at each value, and few groups hold an answer.
GROUPS = 1024
#: Values in a group from which on that pays.
LEAST_IN_A_GROUP = 8


class Shortlist:
    """What may be among the ``k`` nearest of one query.

    Parameters
    ----------
    k : int
        How many answers are asked for; at least as many values will be seen.
    error : float
        The most that a value can be wrong by; 0 for counts.
    kind : dtype
        Of the values: float32, or unsigned integers for exact counts.

    Examples
    --------
    >>> few = Shortlist(2, 0.0, np.float32)
    >>> few.take(0, np.array([3, 1, 4], np.float32))
    >>> few.take(3, np.array([1, 5, 9], np.float32))
    >>> [array.tolist() for array in few.found()]
    [[1, 3], [1.0, 1.0]]
    """

    def __init__(self, k: int, error: float, kind: Any) -> None:
        self.k, self.error = k, error
        kind = np.dtype(kind)
        #: No answer's value is above it.
        self.reach: Any = kind.type(np.inf) if kind.kind == "f" else kind.type(np.iinfo(kind).max)
        self._found: list[tuple[Int64Array, NDArray[Any]]] = []
        self._room = 4 * k
        self._lock = Lock()

    def take(self, start: int, values: NDArray[Any]) -> None:
        """Look at the values of the positions from ``start`` on."""
        positions = self._near(values)
        if len(positions):
            self.take_some(start + positions, values[positions])

    def take_some(self, positions: Int64Array, values: NDArray[Any]) -> None:
        """Look at the values of some positions."""
        reach = self._lower(values)
        kept = values <= reach
        with self._lock:
            self._found.append((positions[kept], values[kept]))
            self._room -= len(positions)
            if self._room < 0:
                self._found = [self._left()]
                self._room = max(4 * self.k, len(self._found[0][0]))

    def found(self) -> tuple[Int64Array, NDArray[Any]]:
        """Return the positions that are left, ascending, and their values."""
        positions, values = self._left()
        order = np.argsort(positions)
        return positions[order], values[order]

    def _left(self) -> tuple[Int64Array, NDArray[Any]]:
        positions, values = (np.concatenate(parts) for parts in zip(*self._found, strict=True))
        kept = values <= self._lower(values)
        return positions[kept], values[kept]

    def _near(self, values: NDArray[Any]) -> Int64Array:
        lines = len(values) // GROUPS
        if self.k > GROUPS // 4 or lines < LEAST_IN_A_GROUP:
            near: Int64Array = np.flatnonzero(values <= self.reach)
            kept: Int64Array = near[values[near] <= self._lower(values[near])]
            return kept
        # The k-th smallest of the minima of any groups is no less than the k-th smallest of all.
        grouped = values[: lines * GROUPS].reshape(lines, GROUPS)
        least = grouped.min(axis=0)
        columns = np.flatnonzero(least <= self.reach)
        least = least[columns]
        reach = self._lower(least)
        columns = columns[least <= reach]
        return _of_groups(values, grouped, columns, reach)

    def _lower(self, values: NDArray[Any]) -> Any:
        """Bring the bound down by some values, each of another position or group; return it."""
        if len(values) >= self.k:
            kth: Any = np.partition(values, self.k - 1)[self.k - 1]
            if self.error:  # the k-th may be too low by it, and another value too high; rounded up
                kth = np.nextafter(np.float32(float(kth) + 2 * self.error), np.float32(np.inf))
            self.reach = min(self.reach, kth)
        return self.reach


def _of_groups(values: NDArray[Any], grouped: NDArray[Any], columns: Int64Array, reach: Any) -> Int64Array:
    """Return the positions up to ``reach`` in some groups, and in the few values behind the last line of them."""
    if len(columns) > GROUPS // 8:
        return np.flatnonzero(values <= reach)
    line, column = np.nonzero(grouped[:, columns] <= reach)
    behind = np.flatnonzero(values[grouped.size :] <= reach)
    return np.concatenate([line * GROUPS + columns[column], grouped.size + behind])
