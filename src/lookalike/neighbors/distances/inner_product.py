"""``-q.x``, of any sign: the larger the product, the nearer.

It is no distance in the strict sense: a long descriptor may be nearer to a query than the query to itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array, Float64Array, Int64Array
from lookalike.neighbors.distances.base import ROUNDING, Distance, FloatArray


class InnerProduct(Distance):
    """``-q.x``; ranked by how much it is above the least it can be, ``-|q| |x|`` with the longest row."""

    name = "inner product"
    signed = True
    by_centre = "inner product"
    of_vectors = "inner product"

    def __init__(self, descriptors: FloatArray, lengths: Float64Array) -> None:
        super().__init__(descriptors, lengths)
        self.longest = float(lengths.max())

    def prepare(self, queries: Float32Array, lengths: Float64Array) -> tuple[Float32Array, Float32Array]:
        """Return ``-q`` and the greatest product there can be."""
        return -queries, (lengths * self.longest).astype(np.float32)

    def multiply_rows(self, start: int, stop: int, across: Float32Array, out: Float32Array) -> None:
        """Multiply rows as they are where they can be."""
        rows = self.descriptors[start:stop]
        if rows.dtype == np.float32:
            np.matmul(rows, across, out=out)
        else:
            super().multiply_rows(start, stop, across, out)

    def to_distances(self, values: Float32Array, offset: np.float32) -> None:
        """Take the offset away."""
        np.subtract(values, offset, out=values)

    def to_value(self, distance: float, offset: float) -> float:
        """Add the offset."""
        return distance + offset

    def errors(self, lengths: Float64Array) -> Float64Array:
        """Bound by the dot product with the longest row, and the roundings of the offset and one sum."""
        terms = int(self.descriptors.shape[1])
        return 1.01 * ROUNDING * (terms + 6) * lengths * self.longest + terms * float(np.finfo(np.float32).tiny)

    def apart(
        self,
        queries: Float32Array,
        lengths: Float64Array,  # noqa: ARG002
        pairs: Int64Array,
        positions: Int64Array,
    ) -> Float64Array:
        """Return the product with its sign turned; 0 is never -0."""
        wide = self.descriptors[positions].astype(np.float64)
        products: Float64Array = np.einsum("ij,ij->i", wide, queries[pairs].astype(np.float64))
        return 0.0 - products

    @classmethod
    def similarity(cls, far: float, bits: int) -> float:  # noqa: ARG003
        """Return the product itself."""
        return -far

    @classmethod
    def closeness(cls, squares: Float32Array, last: Float32Array, dimension: int) -> NDArray[Any]:  # noqa: ARG003
        """Count the nearest as 1: products have no greatest value."""
        return np.asarray(-squares / np.maximum(-squares.min(axis=-1, keepdims=True), np.finfo(np.float32).tiny))
