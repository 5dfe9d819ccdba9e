"""A tiny encoder whose descriptors can be worked out by hand, for the tests of index, search, score and commands."""

import time

import numpy as np

from lookalike.encoders.base import Encoder

#: What a test adds to ``lookalike.encoders.registry.TABLE``.
ENTRY = ("quadrants:Quadrants", "")


class Quadrants(Encoder):
    """Mean of each quarter of a grey image: of a 2 x 2 image, its pixels.

    ``hole`` is a mean that becomes NaN; ``seconds`` is how long a batch takes, at least.
    """

    name = "quadrants"

    def __init__(self, *, hole: int = -1, seconds: float = 0.0) -> None:
        self.hole = hole
        self.seconds = seconds

    def _encode(self, images):
        time.sleep(self.seconds)
        n, height, width = images.shape
        quarters = images.reshape(n, 2, height // 2, 2, width // 2).mean(axis=(2, 4), dtype=np.float32).reshape(n, 4)
        return np.where(quarters == self.hole, np.float32(np.nan), quarters)


def pictures(*rows):
    """Make 2 x 2 images whose descriptors are these rows."""
    return np.array(rows, np.uint8).reshape(-1, 2, 2)
