"""Draws of the geometric families -> where each pixel of each augmented copy is read from; images + that -> moved images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array, Float64Array
from lookalike.transforms.families import ELASTIC_POINTS, FamilyDraws
from lookalike.transforms.windows import smooth_windows


class PixelMaps:
    """Where each pixel of each copy is read: an affine map, and a smooth field."""

    def __init__(self, draws: FamilyDraws, shape: tuple[int, ...]) -> None:
        height, width = shape
        number = draws.number
        self.matrix = np.broadcast_to(np.eye(2), (number, 2, 2)).copy()
        self.offset = np.zeros((number, 2))
        if "turn" in draws:
            angle = np.deg2rad(draws["turn"])
            self._then([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        if "shear" in draws:
            self._then([[1, 0], [draws["shear"], 1]])
        if "scale" in draws:
            grow = np.sign(draws.amounts["scale"]) * np.log1p(np.abs(draws.amounts["scale"]))
            down, across = (0, 0) if draws.exact else (0, 1)  # exactly: both sides alike
            self._then([[np.exp(-grow[:, down]), 0], [0, np.exp(-grow[:, across])]])
        if "mirror" in draws:
            self._then([[1, 0], [0, 1 - 2 * draws["mirror"]]])
        if "crop" in draws:
            kept = 1 - draws["crop"]
            self._then([[kept, 0], [0, kept]])
            self.offset += draws.places["crop"] * ((1 - kept) / 2)[:, None] * [height, width]
        if "shift" in draws:
            self.offset += draws.amounts["shift"] * [height, width]
        self.field = None
        if "elastic" in draws:
            points = draws.places["elastic"].reshape(number, 2, ELASTIC_POINTS, ELASTIC_POINTS)
            points = points - points.mean(axis=(2, 3), keepdims=True)  # what moves as a whole is a shift
            points /= np.abs(points).max(axis=(1, 2, 3), keepdims=True)
            self.field = (
                points * draws["elastic"][:, None, None, None] * np.reshape([height, width], (1, 2, 1, 1))
            ).astype(np.float32)
        self.down, self.across = smooth_windows(ELASTIC_POINTS, height), smooth_windows(ELASTIC_POINTS, width)
        self.y, self.x = (a.astype(np.float32) for a in np.mgrid[:height, :width])
        self.centre = ((height - 1) / 2, (width - 1) / 2)

    def _then(self, rows: Sequence[Sequence[Float64Array | float]]) -> None:
        number = len(self.matrix)
        step = np.stack([np.stack([np.broadcast_to(v, (number,)) for v in row], axis=1) for row in rows], axis=1)
        self.matrix = self.matrix @ step

    def sources(self, part: slice) -> tuple[Float32Array, Float32Array]:
        """Return the row and the column that each pixel is read from, both (b, h, w)."""
        matrix, offset = self.matrix[part].astype(np.float32), self.offset[part].astype(np.float32)
        y, x = self.y - np.float32(self.centre[0]), self.x - np.float32(self.centre[1])
        places = []
        for axis in range(2):
            at = matrix[:, axis, 0, None, None] * y + matrix[:, axis, 1, None, None] * x
            at += (offset[:, axis] + np.float32(self.centre[axis]))[:, None, None]
            if self.field is not None:
                at += self.down.T @ self.field[part, axis] @ self.across
            places.append(at)
        return places[0], places[1]


def move(
    pixels: Float32Array, maps: PixelMaps, part: slice, plain: NDArray[np.bool_], ground: Float32Array
) -> Float32Array:
    """Read each pixel from where it is to come from, bilinearly.

    Parameters
    ----------
    pixels : ndarray of float32, shape (b, h, w, channels)
        The images.
    maps : PixelMaps
        Of all images.
    part : slice
        Which images these are.
    plain : ndarray of bool, shape (b,)
        Which images go on in their ground beyond the border; others are mirrored.
    ground : ndarray of float32, shape (b, channels)
        That ground.

    Returns
    -------
    ndarray of float32, same shape as ``pixels``
    """
    y, x = maps.sources(part)
    number, height, width = pixels.shape[:3]
    outside = (y < -0.5) | (y > height - 0.5) | (x < -0.5) | (x > width - 0.5)
    outside &= plain[:, None, None]
    y, x = _fold(y, height), _fold(x, width)
    top, left = y.astype(np.intp), x.astype(np.intp)
    down = np.minimum(top + 1, height - 1) - top
    right = np.minimum(left + 1, width - 1) - left
    at = np.arange(number)[:, None, None] * (height * width) + top * width + left
    flat = pixels.reshape(-1, pixels.shape[3])
    share_y, share_x = (y - top)[..., None].astype(np.float32), (x - left)[..., None].astype(np.float32)
    above: Float32Array = flat[at]
    above += (flat[at + right] - above) * share_x
    at += down * width
    below = flat[at]
    below += (flat[at + right] - below) * share_x
    below -= above
    below *= share_y
    above += below
    np.copyto(above, ground[:, None, None, :], where=outside[..., None])
    return above


def _fold(at: Float32Array, size: int) -> Float32Array:
    """Mirror coordinates beyond the border back into 0..size-1."""
    folded = at + np.float32(0.5)
    np.abs(folded, out=folded)
    if folded.max(initial=0) > 2 * size:  # a remainder costs as much as all the rest
        folded %= np.float32(2 * size)
    folded -= np.float32(size)
    np.abs(folded, out=folded)
    np.subtract(np.float32(size - 0.5), folded, out=folded)
    return np.clip(folded, 0, size - 1, out=folded)
