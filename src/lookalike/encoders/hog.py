"""Images -> histograms of oriented gradients over a grid. Nothing is learnt.

Sources: N. Dalal and B. Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005 (gradients, cells
with soft borders, for colour the channel with the strongest gradient); R. Arandjelovic and A. Zisserman, "Three things
everyone should know to improve object retrieval", CVPR 2012 (the square root); Y. LeCun et al., "Gradient-Based
Learning Applied to Document Recognition", Proc. IEEE, 1998 (deskewing of digits).
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from lookalike.array_types import Float32Array
from lookalike.cores import usable_cores
from lookalike.encoders.attribution import Contribution
from lookalike.encoders.base import Encoder
from lookalike.errors import UsageError
from lookalike.transforms.grounds import border_and_median
from lookalike.transforms.windows import bilinear_windows, cell_shares

#: Pixels worked on at once. A block then fits the cache, and its matrix products are too small for BLAS to start
#: threads of its own, which would get in the way of ours.
BLOCK_PIXELS = 2**16
#: Images worked on are a multiple of this many, filled up with black ones: BLAS takes other steps for the columns that
#: its widest step leaves over, so that the last bit of a descriptor would depend on what else was in the batch.
_ROUND = 16
#: Steps on a block are short and Python starts each one, so more threads than this only wait for it.
MAX_THREADS = 4
#: Pixels a row. A steeper slant is that of a level stroke; the steepest of MNIST's 60,000 digits needs 1.9.
MAX_SHEAR = 2.0
#: Most cells a side, and most bins of one.
MAX_CELLS = 64


class Hog(Encoder):
    """Histogram of oriented gradients, of grey or colour images of any size; learns nothing.

    Sobel gradients are shared out among ``bins`` directions and summed over ``cells`` x ``cells`` cells with soft
    borders; the histogram is divided by its sum and its square root taken, which makes its length 1. Directions are
    signed: a bright bar on a dark ground and a dark one on a bright ground differ, unless ``deskew`` is set. An image
    without any edge gives a zero vector.

    Parameters
    ----------
    cells : int
        Cells a side, 1 or more. The descriptor has ``cells * cells * bins`` values.
    bins : int
        Directions in the full circle, 4 or more.
    deskew : bool
        For single glyphs: first take the ground away, shear the ink upright and centre it, see :func:`deskew_glyphs`.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.zeros((1, 8, 8), np.uint8)
    >>> images[:, :, 4:] = 200  # one edge, brighter to the right: direction 0 of 4
    >>> Hog(cells=1, bins=4).fit(images).encode(images)
    array([[1., 0., 0., 0.]], dtype=float32)
    """

    name = "hog"

    def __init__(self, *, cells: int = 7, bins: int = 8, deskew: bool = False) -> None:
        self.cells = cells
        self.bins = bins
        self.deskew = deskew

    def _fit(self, _images: NDArray[np.uint8]) -> None:
        for name, least in (("cells", 1), ("bins", 4)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UsageError(f"hog: {name} is {value!r}; it must be a whole number of at least {least}")
            if value > MAX_CELLS:  # the descriptor would fill the memory
                raise UsageError(f"hog: {name} is a number above {MAX_CELLS}; it must be {least} to {MAX_CELLS}")
        if not isinstance(self.deskew, bool):
            raise UsageError(f"hog: deskew is {self.deskew!r}; it must be True or False")

    def _encode(self, images: NDArray[np.uint8]) -> Float32Array:
        number, height, width = images.shape[:3]
        descriptors = np.empty((number, self.cells**2 * self.bins), np.float32)
        most = max(_ROUND, BLOCK_PIXELS // (height * width) // _ROUND * _ROUND)
        starts = range(0, number, most)
        threads = min(len(starts), MAX_THREADS, usable_cores())

        def describe(starts: Iterable[int]) -> None:
            histogram: _Histogram | None = None
            for start in starts:
                part = images[start : start + most]
                block = -(-len(part) // _ROUND) * _ROUND
                if histogram is None or block != histogram.block:
                    histogram = _Histogram(block, height, width, self.cells, self.bins)
                if block > len(part):
                    part = np.concatenate([part, np.zeros((block - len(part), *part.shape[1:]), np.uint8)])
                out = descriptors[start : start + block]
                whole = out if len(out) == block else np.empty((block, out.shape[1]), np.float32)
                histogram(deskew_glyphs(part) if self.deskew else part, out=whole)
                if whole is not out:
                    out[:] = whole[: len(out)]

        if threads == 1:
            describe(starts)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(describe, (starts[i::threads] for i in range(threads))))
        return descriptors

    def _contributions(
        self,
        image: NDArray[np.uint8],
        raw: NDArray[np.float64],
        scale: float,
        offset: NDArray[np.float64],
        weights: NDArray[np.float64],
    ) -> list[Contribution]:
        values = ((scale * raw - offset) * weights).reshape(self.bins, self.cells, self.cells).sum(axis=0)
        return [Contribution(self.name, _slanted(values, image) if self.deskew else values)]


class _Histogram:
    """Describes blocks of ``block`` images in arrays made once; fresh ones each time would cost more than the sums.

    Images lie along the last axis, (h, w, block), so that every step runs over contiguous memory.
    """

    def __init__(self, block: int, height: int, width: int, cells: int, bins: int) -> None:
        self.block = block
        self.shape = (height, width, block)
        self.rows, self.columns = bilinear_windows(cells, height), bilinear_windows(cells, width)
        self.angles = 2 * np.pi / bins * np.arange(bins)
        self.pixels, self.smooth, self.right, self.down, self.spare = np.empty((5, *self.shape), np.float32)
        self.crosses = np.empty((bins, *self.shape), np.float32)
        self.in_columns = np.empty((height, cells, block), np.float32)
        self.histograms = np.empty((bins, cells, cells * block), np.float32)

    def __call__(self, images: NDArray[np.uint8] | Float32Array, out: Float32Array) -> None:
        self._gradients(images)
        self._share_out()
        columns = self.histograms.reshape(-1, self.block)
        total = columns.sum(axis=0)
        columns /= np.where(total > 0, total, 1)
        np.sqrt(columns, out=out.T)

    def _gradients(self, images: NDArray[np.uint8] | Float32Array) -> None:
        """Set ``right`` and ``down``: Sobel's filter; for colour, pixel by pixel the channel where it is greatest."""
        if images.ndim == 3:
            self._sobel(images, self.right, self.down)
            return
        right, down, greatest, square = np.empty((4, *self.shape), np.float32)
        greatest.fill(-1)
        for channel in range(images.shape[3]):
            self._sobel(images[..., channel], right, down)
            np.multiply(right, right, out=square)
            square += np.multiply(down, down, out=self.spare)
            greater = square > greatest
            for of_all, of_channel in ((greatest, square), (self.right, right), (self.down, down)):
                np.copyto(of_all, of_channel, where=greater)

    def _sobel(self, images: NDArray[np.uint8] | Float32Array, right: Float32Array, down: Float32Array) -> None:
        np.copyto(self.pixels, images.transpose(1, 2, 0))
        _smooth(self.pixels, 0, out=self.smooth)
        _difference(self.smooth, 1, out=right)
        _smooth(self.pixels, 1, out=self.smooth)
        _difference(self.smooth, 0, out=down)

    def _share_out(self) -> None:
        """Share each gradient out between the two directions beside it, and sum over the cells.

        Between the unit vectors u of bin b and v of bin b+1, a gradient g is ``p u + q v`` with
        ``p = cross(g, v) / sin(step)`` and ``q = cross(u, g) / sin(step)``: no angle is computed. Seen from one bin,
        its share is the lesser of the cross products with its two neighbours, where both are positive.
        """
        bins = len(self.angles)
        scale = 1 / np.sin(self.angles[1])
        for b, angle in enumerate(self.angles):
            cross = self.crosses[b]  # of g and the direction of bin b
            if bins % 2 == 0 and b >= bins // 2:
                np.negative(self.crosses[b - bins // 2], out=cross)
            else:
                np.multiply(self.right, np.float32(scale * np.sin(angle)), out=cross)
                cross -= np.multiply(self.down, np.float32(scale * np.cos(angle)), out=self.spare)
        for b in range(bins):
            share = self.spare
            if bins % 2 == 0:  # minus the cross product with bin b-1 is that with its opposite
                np.minimum(self.crosses[(b + 1) % bins], self.crosses[(b - 1 + bins // 2) % bins], out=share)
            else:
                np.negative(self.crosses[b - 1], out=share)
                np.minimum(self.crosses[(b + 1) % bins], share, out=share)
            np.maximum(share, 0, out=share)
            np.matmul(self.columns, share, out=self.in_columns)
            np.matmul(self.rows, self.in_columns.reshape(len(share), -1), out=self.histograms[b])


def _smooth(pixels: Float32Array, axis: int, out: Float32Array) -> None:
    """Weigh by (1, 2, 1) along an axis; beyond its border the image goes on as it ends."""
    pixels, out = pixels.swapaxes(0, axis), out.swapaxes(0, axis)
    np.multiply(pixels, 2, out=out)
    out[1:] += pixels[:-1]
    out[0] += pixels[0]
    out[:-1] += pixels[1:]
    out[-1] += pixels[-1]


def _difference(pixels: Float32Array, axis: int, out: Float32Array) -> None:
    """Take the next minus the previous along an axis; beyond its border the image goes on as it ends."""
    pixels, out = pixels.swapaxes(0, axis), out.swapaxes(0, axis)
    out[:-1] = pixels[1:]
    out[-1] = pixels[-1]
    out[1:] -= pixels[:-1]
    out[0] -= pixels[0]


def deskew_glyphs(images: NDArray[np.uint8]) -> Float32Array:
    """Cut glyphs from their ground, shear them upright and centre them.

    The ground is the median of the border. Where it is bright (above 127), the ink is what is darker, otherwise what
    is brighter: black on white and white on black come out the same. The ink is moved so that its centre of mass is
    the image's centre, and each row is shifted sideways, by up to two pixels more than the row above, so that its
    second moments are those of an upright glyph. Pixels are interpolated bilinearly; there is no ink outside the
    image. A colour image has a ground a channel, and moves as one.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        One glyph an image.

    Returns
    -------
    ndarray of float32, same shape
        Ink in 0..255 on a ground of 0; an image without ink is all 0.

    Examples
    --------
    >>> slanted = np.fliplr(np.eye(5, dtype=np.uint8))[None] * 200
    >>> deskew_glyphs(slanted)[0, 1:-1].round()
    array([[  0.,   0., 192.,   8.,   0.],
           [  0.,   0., 200.,   0.,   0.],
           [  0.,   8., 192.,   0.,   0.]], dtype=float32)
    """
    ink = _ink(images)
    if ink.ndim == 3:
        top, left = _source(ink)
        return _shift(ink, top, left)
    top, left = _source(ink.sum(axis=3, dtype=np.uint16))
    return np.stack([_shift(np.ascontiguousarray(ink[..., c]), top, left) for c in range(ink.shape[3])], axis=3)


def _ink(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    _, ground = border_and_median(images)
    bright = ground.reshape(len(images), -1).mean(axis=1) > 127
    over = (-1,) + (1,) * (images.ndim - 1)
    ground = ground.reshape(len(images), 1, 1, *ground.shape[1:])
    if bright.any():
        sign = bright.reshape(over)
        images, ground = np.where(sign, ~images, images), np.where(sign, ~ground, ground)
    return np.maximum(images, ground) - ground


def _source(ink: NDArray[np.unsignedinteger]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find where each row of the upright glyph begins in the slanted one: its top and its left, both (n, h)."""
    number, height, width = ink.shape
    y, x = (a.ravel() for a in np.mgrid[:height, :width].astype(np.float64))
    # Sums of whole numbers below 2**53: exact, so the same in any batch.
    mass, sum_y, sum_x, sum_yy, sum_xy = (ink.reshape(number, -1) @ np.stack([y * 0 + 1, y, x, y * y, x * y], axis=1)).T
    blank = mass == 0
    mass[blank] = 1
    centre_y, centre_x = sum_y / mass, sum_x / mass
    # A pixel is a square, not a point: 1/12 is its own second moment, and keeps a level stroke from dividing by 0.
    shear = (sum_xy / mass - centre_x * centre_y) / (sum_yy / mass - centre_y**2 + 1 / 12)
    shear = np.clip(shear, -MAX_SHEAR, MAX_SHEAR)
    rows = np.arange(height) - (height - 1) / 2
    return centre_y[:, None] + rows, centre_x[:, None] + shear[:, None] * rows - (width - 1) / 2


def _slanted(values: NDArray[np.float64], glyph: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Lay what belongs to cells of the upright glyph, (cells, cells), where these were in the slanted one, (h, w).

    What was outside goes to the nearest pixel of the border, so that the sum stays.
    """
    height, width = glyph.shape[:2]
    ink = _ink(glyph[None])
    (top,), (left,) = _source(ink if ink.ndim == 3 else ink.sum(axis=3, dtype=np.uint16))
    upright = cell_shares(len(values), height) @ values @ cell_shares(len(values), width).T
    y = top.round().astype(np.intp).clip(0, height - 1)
    x = (left[:, None] + np.arange(width)).round().astype(np.intp).clip(0, width - 1)
    slanted = np.zeros((height, width))
    np.add.at(slanted, (np.broadcast_to(y[:, None], x.shape), x), upright)
    return slanted


def _shift(ink: NDArray[np.uint8], top: NDArray[np.float64], left: NDArray[np.float64]) -> Float32Array:
    """Read row r of each image from height ``top[r]`` and from ``left[r]`` on, bilinearly; outside there is no ink."""
    number, height, width = ink.shape
    row_length = 3 * width + 2
    padded = np.zeros((number, height + 2, row_length), np.uint8)
    padded[:, 1:-1, width + 1 : -width - 1] = ink
    windows = sliding_window_view(padded.ravel(), width + 1)
    image = np.arange(number)[:, None] * (height + 2)
    column = np.clip(np.floor(left), -width - 1, width).astype(np.intp) + width + 1

    def row(y: NDArray[np.float64]) -> Float32Array:
        inside = np.clip(y + 1, 0, height + 1).astype(np.intp)
        return np.asarray(windows[(image + inside) * row_length + column], np.float32)

    above = np.floor(top)
    rows = row(above)
    rows += (row(above + 1) - rows) * (top - above).astype(np.float32)[..., None]
    share = (left - np.floor(left)).astype(np.float32)[..., None]
    shifted: Float32Array = rows[..., :-1] + (rows[..., 1:] - rows[..., :-1]) * share
    return shifted
