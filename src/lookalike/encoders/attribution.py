"""A descriptor that is a sum over places of an image -> what each place contributes to a product with it.

A histogram over cells, the pixels themselves and a network whose last maps are averaged have descriptors that are sums
over places, so a product with such a descriptor is a sum over them as well. For averaged maps: B. Zhou et al., "Learning
Deep Features for Discriminative Localization", CVPR 2016; for the similarity of two images: A. Stylianou, R. Souvenir and
R. Pless, "Visualizing Deep Similarity Networks", WACV 2019.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float64Array
from lookalike.transforms.windows import cell_shares

#: Left, top, right and bottom of a part of an image, as shares of its width and height.
Box = tuple[float, float, float, float]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, eq=False)
class Contribution:
    """What each place of an image adds to a product, as far as one encoder sees it.

    Attributes
    ----------
    name : str
        The encoder.
    values : ndarray of float64, shape (rows, columns)
        One a place, of any sign. They add up to the encoder's share in the product.
    box : tuple of float
        The part of the image that ``values`` cover.
    placed : bool
        False where the encoder doesn't know places: ``values`` is then one number.
    colours : ndarray of uint8, shape (b, 3), or None
        The colours that the encoder tells apart, where it does.
    by_colour : ndarray of float64, shape (b,), or None
        What each of them adds; the same sum in another order.
    """

    name: str
    values: Float64Array
    box: Box = WHOLE
    placed: bool = True
    colours: NDArray[np.uint8] | None = field(default=None, repr=False)
    by_colour: Float64Array | None = field(default=None, repr=False)

    @property
    def total(self) -> float:
        """The encoder's share in the product."""
        return float(self.values.sum())

    def on(self, rows: int, columns: int) -> Float64Array:
        """Lay the values out over the whole image on a grid of another size; their sum stays as it is."""
        left, top, right, bottom = self.box
        down = cell_shares(self.values.shape[0], rows, top, bottom)
        across = cell_shares(self.values.shape[1], columns, left, right)
        laid: Float64Array = down @ self.values @ across.T
        return laid


__all__ = [
    "WHOLE",
    "Box",
    "Contribution",
]
