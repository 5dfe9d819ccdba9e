"""An encoder of your own, here the mean brightness of each row and column.

Try it by ``python examples/an_encoder.py``. To have it as ``--encoder profile``, put the class into a package of yours
that says in its pyproject.toml

    [project.entry-points."lookalike.encoders"]
    profile = "your_package:Profile"
"""

import numpy as np

import lookalike
from lookalike.encoders.base import Encoder
from lookalike.neighbors.exact import Database


class Profile(Encoder):
    """Mean brightness of each row and each column; learns nothing."""

    name = "profile"

    def __init__(self, *, power: float = 1.0) -> None:
        self.power = power

    def _encode(self, images):
        grey = images if images.ndim == 3 else images.mean(axis=3)
        means = np.concatenate([grey.mean(axis=2), grey.mean(axis=1)], axis=1) / 255
        return (means**self.power).astype(np.float32)


if __name__ == "__main__":
    images = lookalike.open_collection("mnist:test[0:1000]").array()
    descriptors = Profile().fit(images).encode(images)  # (1000, 56) float32
    positions, distances = Database(descriptors).nearest(descriptors[:1], 5)
    print(positions[0].tolist(), distances[0].round(3).tolist())
