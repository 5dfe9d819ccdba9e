"""``1 - cos(q, x)``: 0 for the same direction, 1 at a right angle, 2 for the opposite one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array, Float64Array, Int64Array
from lookalike.errors import UsageError
from lookalike.neighbors.distances.base import (
    NOTHING,
    ROUNDING,
    SHORT_ROWS,
    SHORTEST,
    Distance,
    FloatArray,
    finite_table,
    lengths_of,
    squared_lengths,
)


class Cosine(Distance):
    """``1 - cos(q, x)``; ranked by that very value."""

    name = "cosine"
    directional = True
    lengths_count = False
    by_centre = "inner product"
    of_vectors = "cosine"

    def __init__(self, descriptors: FloatArray, lengths: Float64Array) -> None:
        super().__init__(descriptors, lengths)
        # Scaling the products, not the descriptors, spares a normalised copy of the database.
        self.scale = (1.0 / lengths).astype(np.float32)

    @staticmethod
    def check(what: str, lengths: Float64Array) -> None:
        """Refuse rows of zeros."""
        zero = np.flatnonzero(lengths < SHORTEST)
        if len(zero):
            raise UsageError(
                f"{what} {zero[0]:,} (counted from 0) is all zeros, so it has no angle to others; "
                "leave that image out or use the distance euclidean"
            )

    def prepare(self, queries: Float32Array, lengths: Float64Array) -> tuple[Float32Array, Float32Array]:
        """Return ``-q / |q|`` and 1."""
        return (queries / -lengths[:, None]).astype(np.float32), np.ones(len(queries), np.float32)

    def complete(self, start: int, stop: int, values: Float32Array) -> None:
        """Make them cosines, with their sign turned."""
        np.multiply(values, self.scale[start:stop], out=values)

    def errors(self, lengths: Float64Array) -> Float64Array:
        """Bound by the dot product of two unit vectors, and a few roundings more."""
        return np.full(len(lengths), 1.01 * ROUNDING * (self.descriptors.shape[1] + 16))

    def widen(self, start: int, stop: int, out: Float32Array) -> None:
        """Write rows brought to length 1."""
        super().widen(start, stop, out)
        out *= self.scale[start:stop, None]

    def multiply_rows(self, start: int, stop: int, across: Float32Array, out: Float32Array) -> None:
        """Scale what is smaller, the rows or their products."""
        rows = self.descriptors[start:stop]
        if rows.dtype != np.float32 or rows.shape[1] < SHORT_ROWS:
            super().multiply_rows(start, stop, across, out)
            return
        np.matmul(rows, across, out=out)
        out *= self.scale[start:stop, None]

    def apart(
        self, queries: Float32Array, lengths: Float64Array, pairs: Int64Array, positions: Int64Array
    ) -> Float64Array:
        """Return ``|u - v|^2 / 2`` for unit vectors: no digits cancel, and equal rows give exactly 0."""
        wide = self.descriptors[positions].astype(np.float64)
        wide /= self.lengths[positions, None]
        wide -= queries[pairs].astype(np.float64) / lengths[pairs, None]
        return 0.5 * squared_lengths(wide)

    @classmethod
    def similarity(cls, far: float, bits: int) -> float:  # noqa: ARG003
        """Return the cosine."""
        return 1 - far

    @classmethod
    def grouping_radius(cls, far: float, radius: float) -> float:
        """Add the angles, which obey the triangle inequality.

        Examples
        --------
        >>> round(Cosine.grouping_radius(0.5, 0.5), 3)  # twice 60 degrees
        1.5
        """
        angle = math.acos(max(-1.0, 1 - far)) + math.acos(max(-1.0, 1 - radius))
        return (1 - math.cos(min(angle, math.pi))) * (1 + 1e-6) + 1e-6

    @classmethod
    def placed(cls, descriptors: Float32Array, lengths: Float64Array) -> Float32Array:
        """Return the directions."""
        return (descriptors / lengths[:, None]).astype(np.float32)

    @classmethod
    def vectors(cls, descriptors: NDArray[Any]) -> Float32Array:
        """Bring them to length 1.

        Examples
        --------
        >>> Cosine.vectors(np.array([[3, 4]], np.float32)).tolist()
        [[0.6000000238418579, 0.800000011920929]]
        """
        table = np.asarray(descriptors, np.float32)
        return np.asarray(table / np.maximum(lengths_of(table), SHORTEST)[:, None], np.float32)

    @classmethod
    def closeness(cls, squares: Float32Array, last: Float32Array, dimension: int) -> NDArray[Any]:  # noqa: ARG003
        """Return the cosine."""
        return 1 - squares

    @classmethod
    def mean(cls, descriptors: Sequence[NDArray[Any]], share: Float64Array) -> NDArray[Any]:
        """Average the directions."""
        table = finite_table(descriptors)
        table /= np.maximum(np.linalg.norm(table, axis=1, keepdims=True), np.finfo(np.float64).tiny)
        mean = share @ table
        if np.linalg.norm(mean) < NOTHING:
            raise UsageError(
                "the images of the query cancel each other out, so that no direction is left; change their weights"
            )
        return np.asarray(mean, np.float32)

    @classmethod
    def product_scale(cls, descriptors: NDArray[Any]) -> float:  # noqa: ARG003
        """Return 1, the product of two directions."""
        return 1.0
