"""A distance of your own, here the Manhattan distance: the sum of absolute differences.

Try it by ``python examples/a_distance.py``. To have it as ``--distance manhattan``, put the class into a package of yours
that says in its pyproject.toml

    [project.entry-points."lookalike.distances"]
    manhattan = "your_package:Manhattan"
"""

import numpy as np

import lookalike
from lookalike.neighbors.distances import DISTANCES
from lookalike.neighbors.distances.base import ROUNDING, Distance
from lookalike.neighbors.exact import Database


class Manhattan(Distance):
    """``|q - x|`` summed over all values; ranked by that very sum."""

    name = "manhattan"

    def prepare(self, queries, lengths):
        return queries, np.zeros(len(queries), np.float32)

    def multiply(self, left, out):
        for query, row in zip(left, out, strict=True):
            row[:] = np.abs(self.descriptors - query).sum(axis=1)

    def multiply_rows(self, start, stop, across, out):
        for i, row in enumerate(self.descriptors[start:stop]):
            out[i] = np.abs(across - row[:, None]).sum(axis=0)

    def errors(self, lengths):  # of a sum of d terms, each at most what the two lengths allow
        d = self.descriptors.shape[1]
        return 2 * ROUNDING * d * np.sqrt(d) * (lengths + self.lengths.max())

    def apart(self, queries, lengths, pairs, positions):
        wide = self.descriptors[positions].astype(np.float64)
        return np.abs(wide - queries[pairs]).sum(axis=1)

    @classmethod
    def grouping_radius(cls, far, radius):  # the triangle inequality holds
        return (far + radius) * (1 + 1e-6)


if __name__ == "__main__":
    DISTANCES.table["manhattan"] = "__main__:Manhattan"  # what the entry point does for good
    images = lookalike.open_collection("mnist:test[0:1000]").array()
    pixels = images.reshape(1000, -1).astype(np.float32)
    positions, distances = Database(pixels, "manhattan").nearest(pixels[:1], 5)
    print(positions[0].tolist(), distances[0].tolist())
