"""Images -> their pixels as descriptors: the baseline for every other encoder."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lookalike.encoders.attribution import Contribution
from lookalike.encoders.base import Encoder


class Pixels(Encoder):
    """Pixel values in 0..1, row by row; learns nothing.

    A descriptor has ``h * w`` values, or ``h * w * 3`` of a colour image. A black image gives a zero vector.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.array([[[0, 51], [102, 255]]], np.uint8)
    >>> Pixels().fit(images).encode(images)
    array([[0. , 0.2, 0.4, 1. ]], dtype=float32)
    """

    name = "pixels"

    def _encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.divide(images.reshape(len(images), -1), np.float32(255), dtype=np.float32)

    def _contributions(
        self,
        image: NDArray[np.uint8],
        raw: NDArray[np.float64],
        scale: float,
        offset: NDArray[np.float64],
        weights: NDArray[np.float64],
    ) -> list[Contribution]:
        values = ((scale * raw - offset) * weights).reshape(*image.shape[:2], -1).sum(axis=2)
        return [Contribution(self.name, values)]
