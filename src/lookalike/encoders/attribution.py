"""Which places of an image account for a product with its descriptor: exact, where a descriptor is made of places.

A histogram over cells, the pixels themselves and a network whose last maps are averaged have descriptors that are sums
over places, so a product with such a descriptor is a sum over them as well. For averaged maps: B. Zhou et al., "Learning
Deep Features for Discriminative Localization", CVPR 2016; for the similarity of two images: A. Stylianou, R. Souvenir and
R. Pless, "Visualizing Deep Similarity Networks", WACV 2019.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]

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
        down = windows(self.values.shape[0], rows, top, bottom)
        across = windows(self.values.shape[1], columns, left, right)
        laid: Float64Array = down @ self.values @ across.T
        return laid


def windows(cells: int, pixels: int, start: float = 0.0, end: float = 1.0) -> Float64Array:
    """Share each cell of a row out to the pixels of another: most to its centre, none from the next cell's on.

    Cells of histograms and of networks see their neighbours' ground as well, and so their values are laid out.

    Parameters
    ----------
    cells, pixels : int
        Of the two rows.
    start, end : float
        Where the cells begin and end, as shares of the row of pixels, 0 <= start < end <= 1.

    Returns
    -------
    ndarray of float64, shape (pixels, cells)
        Columns add up to 1.

    Examples
    --------
    >>> windows(2, 4).round(2)
    array([[0.43, 0.  ],
           [0.43, 0.14],
           [0.14, 0.43],
           [0.  , 0.43]])
    """
    cell = (end - start) * pixels / cells
    centres = start * pixels + (np.arange(cells) + 0.5) * cell - 0.5
    at = np.arange(pixels)[:, None]
    weights = np.maximum(0, 1 - np.abs(at - centres) / max(cell, 1))
    inside = np.where((at + 0.5 > start * pixels) & (at + 0.5 < end * pixels), weights, 0)
    # Of a cell that lies between the centres of two pixels all is outside.
    weights = np.where(inside.any(axis=0), inside, weights)
    shares: Float64Array = weights / weights.sum(axis=0)
    return shares


__all__ = ["WHOLE", "Box", "Contribution", "windows"]
