"""``|q - x|``, 0 or more."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array, Float64Array, Int64Array
from lookalike.neighbors.distances.base import ROUNDING, SHORT_ROWS, Distance, FloatArray, squared_lengths


class Euclidean(Distance):
    """``|q - x|``; ranked by its square, ``|q|^2 - 2 q.x + |x|^2``."""

    name = "euclidean"
    by_centre = "euclidean"

    def __init__(self, descriptors: FloatArray, lengths: Float64Array) -> None:
        super().__init__(descriptors, lengths)
        self.squares = (lengths**2).astype(np.float32)
        self.longest = float(lengths.max())

    def prepare(self, queries: Float32Array, lengths: Float64Array) -> tuple[Float32Array, Float32Array]:
        """Return ``-2 q`` and ``|q|^2``."""
        return queries * np.float32(-2), (lengths**2).astype(np.float32)

    def complete(self, start: int, stop: int, values: Float32Array) -> None:
        """Add the square of each row."""
        np.add(values, self.squares[start:stop], out=values)

    def to_distances(self, values: Float32Array, offset: np.float32) -> None:  # noqa: ARG002
        """Take the root."""
        np.sqrt(values, out=values)

    def to_value(self, distance: float, offset: float) -> float:  # noqa: ARG002
        """Take the square."""
        return distance * distance

    def extend(self, left: Float32Array) -> Float32Array:
        """Add the 1 that takes in the square of each row."""
        return np.concatenate([left, np.ones((len(left), 1), np.float32)], axis=1)

    def widen(self, start: int, stop: int, out: Float32Array) -> None:
        """Write rows, and behind each its square: a query's own square changes no order."""
        super().widen(start, stop, out[:, :-1])
        out[:, -1] = self.squares[start:stop]

    def multiply_rows(self, start: int, stop: int, across: Float32Array, out: Float32Array) -> None:
        """Add the squares where less is to be written: behind the rows, or to their products."""
        rows = self.descriptors[start:stop]
        if rows.dtype != np.float32 or rows.shape[1] < SHORT_ROWS:
            super().multiply_rows(start, stop, across, out)
            return
        np.matmul(rows, across[:-1], out=out)
        out += self.squares[start:stop, None]

    def errors(self, lengths: Float64Array) -> Float64Array:
        """Bound by the dot product with the longest row and its square, and the roundings of two squares and three sums."""
        terms = int(self.descriptors.shape[1]) + 1
        underflow = terms * float(np.finfo(np.float32).tiny)
        both = (lengths + self.longest) ** 2
        return ROUNDING * (1.01 * terms * (2 * lengths + self.longest) * self.longest + 8 * both) + underflow

    def apart(
        self,
        queries: Float32Array,
        lengths: Float64Array,  # noqa: ARG002
        pairs: Int64Array,
        positions: Int64Array,
    ) -> Float64Array:
        """Return the length of the difference."""
        wide = self.descriptors[positions].astype(np.float64)
        wide -= queries[pairs]
        return np.sqrt(squared_lengths(wide))

    @classmethod
    def to_squares(cls, distances: Float32Array) -> Float32Array:
        """Return the squares.

        Examples
        --------
        >>> Euclidean.to_squares(np.array([3], np.float32)).tolist()
        [9.0]
        """
        return distances * distances

    @classmethod
    def pair_squares(cls, one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
        """Return the squares of the differences: no root is taken and squared again."""
        squares: Float64Array = ((one.astype(np.float64) - other.astype(np.float64)) ** 2).sum(axis=1)
        return squares

    @classmethod
    def grouping_radius(cls, far: float, radius: float) -> float:
        """Add the two, by the triangle inequality."""
        return (far + radius) * (1 + 1e-6)

    @classmethod
    def widened(cls, distance: float, error: float) -> float:
        """Widen the square, which the products make."""
        return math.sqrt(distance**2 + error)
