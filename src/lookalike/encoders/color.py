"""Images -> colour histograms over a grid. Nothing is learnt.

Sources: M. Swain and D. Ballard, "Color Indexing", IJCV 7(1), 1991 (the histogram); J. R. Smith and S.-F. Chang,
"VisualSEEk", ACM Multimedia 1996 (hue, saturation and value, with bins of their own for greys); R. Arandjelovic and
A. Zisserman, "Three things everyone should know to improve object retrieval", CVPR 2012 (the square root);
B. Ottosson, "A perceptual color space for image processing", 2020, bottosson.github.io (Oklab).
"""

from __future__ import annotations

from functools import cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array, Float64Array
from lookalike.encoders.attribution import Contribution
from lookalike.encoders.base import Encoder
from lookalike.errors import UsageError, unknown_name

SPACES = ("hsv", "oklab")
#: Levels a channel that are told apart before colours are shared out to bins; finer than any bin.
LEVELS = 32
#: Strips a cell, along each axis, within which all pixels weigh the same.
STRIPS = 4
#: Most cells a side.
MAX_GRID = 64


class Color(Encoder):
    """Colour histograms over a grid with soft borders; learns nothing.

    Each pixel is shared out between the nearest bins of its colour, and between the nearest cells of its place; each
    cell's histogram is divided by its sum and its square root taken; the descriptor's length is 1. Hue means nothing
    for a grey pixel, and neither hue nor saturation for a black one, so in ``hsv`` greys share bins of their own, and so
    does black; ``oklab`` has no such bins, and tells near-blacks apart more than eyes do. A grey image is one whose pixels are all grey: it has the same dimension, and only those bins. No image gives
    zeros: a black one is full of black.

    Parameters
    ----------
    space : {"hsv", "oklab"}
        ``hsv``: 8 hues, 4 saturations, 5 values: 101 bins. ``oklab``: 6 x 7 x 7 over lightness and two opponent
        colours, less those that no sRGB colour reaches: 192 bins.
    grid : int
        Cells a side, 1 or more. The descriptor has ``grid * grid * bins`` values.

    Examples
    --------
    >>> import numpy as np
    >>> red, black = np.zeros((2, 8, 8, 3), np.uint8)
    >>> red[..., 0] = 255
    >>> descriptors = Color(grid=1).fit(red[None]).encode(np.stack([red, black]))
    >>> descriptors.shape, descriptors.max(axis=1).tolist(), float(descriptors[0] @ descriptors[1])
    ((2, 101), [1.0, 1.0], 0.0)
    """

    name = "color"
    preferred_shape: ClassVar[tuple[int, ...] | None] = (64, 64, 3)

    def __init__(self, *, space: str = "hsv", grid: int = 4) -> None:
        self.space = space
        self.grid = grid

    def _fit(self, _images: NDArray[np.uint8]) -> None:
        if self.space not in SPACES:
            raise unknown_name("color space", str(self.space), SPACES)
        if not isinstance(self.grid, int) or isinstance(self.grid, bool) or self.grid < 1:
            raise UsageError(f"color: grid is {self.grid!r}; it must be a whole number of at least 1")
        if self.grid > MAX_GRID:  # the descriptor would fill the memory
            raise UsageError(f"color: grid is a number above {MAX_GRID}; it must be 1 to {MAX_GRID}")

    def _encode(self, images: NDArray[np.uint8]) -> Float32Array:
        number, height, width = images.shape[:3]
        bins, shares, count = _shares(self.space)
        rows, strip_of_row = _strips(self.grid, height)
        columns, strip_of_column = _strips(self.grid, width)
        strips = len(rows[0]), len(columns[0])
        place = (strip_of_row[:, None] * strips[1] + strip_of_column).ravel() * count
        descriptors = np.empty((number, self.grid**2 * count), np.float32)
        for image, out in zip(images, descriptors, strict=True):
            codes = _codes(image).ravel()
            histograms = np.bincount(
                (bins[codes] + place[:, None]).ravel(), shares[codes].ravel(), minlength=strips[0] * strips[1] * count
            ).reshape(*strips, count)
            cells = np.einsum("gr,rcb,hc->ghb", rows, histograms, columns, optimize=["einsum_path", (0, 1), (0, 1)])
            cells /= cells.sum(axis=2, keepdims=True)
            out[:] = np.sqrt(cells).ravel() / self.grid
        return descriptors

    def _contributions(
        self,
        image: NDArray[np.uint8],  # noqa: ARG002  (the cells are all it is about)
        raw: Float64Array,
        scale: float,
        offset: Float64Array,
        weights: Float64Array,
    ) -> list[Contribution]:
        values = ((scale * raw - offset) * weights).reshape(self.grid, self.grid, -1)
        colours = colours_of_bins(self.space)
        return [Contribution(self.name, values.sum(axis=2), colours=colours, by_colour=values.sum(axis=(0, 1)))]


@cache
def colours_of_bins(space: str) -> NDArray[np.uint8]:
    """Return a colour for each bin.

    Parameters
    ----------
    space : {"hsv", "oklab"}
        As of :class:`Color`.

    Returns
    -------
    ndarray of uint8, shape (bins, 3)
        In sRGB: of all colours that are told apart, the one with the largest share in the bin.
    """
    bins, shares, count = _shares(space)
    level = np.linspace(0, 255, LEVELS)
    rgb = np.stack(np.meshgrid(level, level, level, indexing="ij"), axis=-1).reshape(-1, 3)
    order = np.argsort(shares.ravel(), kind="stable")  # the last that is written to a bin is its largest
    chosen = np.zeros(count, np.intp)
    chosen[bins.ravel()[order]] = order // bins.shape[1]
    return rgb[chosen].round().astype(np.uint8)


def _codes(image: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Return each pixel's place in the cube of ``LEVELS`` a side."""
    levels = (image // (256 // LEVELS)).astype(np.intp)
    if levels.ndim == 2:
        return levels * (LEVELS * LEVELS + LEVELS + 1)
    return (levels[..., 0] * LEVELS + levels[..., 1]) * LEVELS + levels[..., 2]


def _strips(cells: int, size: int) -> tuple[Float64Array, NDArray[np.intp]]:
    """Return the weight of each strip in each cell, (cells, strips), and each pixel's strip, (size,).

    A weight is 1 at the cell's centre and falls to 0 at the next cell's; weighing strips instead of pixels makes no
    difference that shows, and leaves one pass over the image whatever the grid.
    """
    strips = min(size, cells * STRIPS)
    cell = strips / cells
    centres = (np.arange(cells) + 0.5) * cell - 0.5
    weights = np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(strips)) / max(cell, 1))
    return weights, np.arange(size) * strips // size


@cache
def _shares(space: str) -> tuple[NDArray[np.intp], Float64Array, int]:
    """Return, for every colour of the cube, the 8 bins nearest to it and its share in each; and the number of bins."""
    level = np.linspace(0, 1, LEVELS)
    rgb = np.stack(np.meshgrid(level, level, level, indexing="ij"), axis=-1).reshape(-1, 3)
    if space == "hsv":
        hue, saturation, value = _hsv(rgb).T
        sides = 8, 4, 5
        ladders = _ladder(hue * 8, 8, around=True), _ladder(saturation * 3, 4), _ladder(value * 4, 5)
    else:
        lightness, green_red, blue_yellow = _oklab(rgb).T
        sides = 6, 7, 7  # the two opponent colours of sRGB lie within -0.28..0.28 and -0.32..0.32
        ladders = (
            _ladder(lightness * 6 - 0.5, 6),
            _ladder((green_red + 0.28) / 0.56 * 7 - 0.5, 7),
            _ladder((blue_yellow + 0.32) / 0.64 * 7 - 0.5, 7),
        )
    (i, a), (j, b), (k, c) = ladders
    first, second, third = (x.reshape(len(rgb), -1) for x in np.broadcast_arrays(
        i[:, :, None, None], j[:, None, :, None], k[:, None, None, :]
    ))  # fmt: skip
    shares = (a[:, :, None, None] * b[:, None, :, None] * c[:, None, None, :]).reshape(len(rgb), -1)
    if space == "hsv":
        first = np.where((second == 0) | (third == 0), 0, first)  # no hue
        second = np.where(third == 0, 0, second)  # nor saturation
    bins = (first * sides[1] + second) * sides[2] + third
    # Bins without a share become the first one, which always has some; only bins that a colour reaches are numbered.
    reached, bins = np.unique(np.where(shares > 0, bins, bins[:, :1]), return_inverse=True)
    return bins.reshape(shares.shape), shares, len(reached)


def _ladder(at: Float64Array, steps: int, *, around: bool = False) -> tuple[NDArray[np.intp], Float64Array]:
    """Share positions out between the two whole numbers beside them, in 0..steps-1: which, (n, 2), and how much."""
    if not around:
        at = at.clip(0, steps - 1)
    low = np.floor(at).astype(np.intp)
    part = at - low
    high = (low + 1) % steps if around else np.minimum(low + 1, steps - 1)
    return np.stack([low % steps, high], axis=1), np.stack([1 - part, part], axis=1)


def _hsv(rgb: Float64Array) -> Float64Array:
    """Turn colours in 0..1, (n, 3), into hue, saturation and value in 0..1; hue and saturation of black are 0."""
    red, green, blue = rgb.T
    value = rgb.max(axis=1)
    chroma = value - rgb.min(axis=1)
    divisor = np.where(chroma > 0, chroma, 1)
    hue = np.where(
        value == red,
        (green - blue) / divisor % 6,
        np.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    return np.stack([hue / 6, chroma / np.where(value > 0, value, 1), value], axis=1)


def _oklab(rgb: Float64Array) -> Float64Array:
    """Turn sRGB colours in 0..1, (n, 3), into Oklab's lightness, green to red, and blue to yellow."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_cones = np.array([
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ])  # fmt: skip
    to_lab = np.array([
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ])  # fmt: skip
    lab: Float64Array = np.cbrt(linear @ to_cones.T) @ to_lab.T
    return lab
