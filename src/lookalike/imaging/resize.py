"""Arrays of pixels -> arrays of other types and sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import ImageError
from lookalike.imaging.formats import pillow

if TYPE_CHECKING:
    from PIL.Image import Image


_FLOAT_SLACK = 1e-6  # how far rounding may take a float out of 0..1


def to_uint8(images: NDArray[np.generic], where: str = "images") -> NDArray[np.uint8]:
    """Bring an array of pixels to 0..255 in uint8.

    Parameters
    ----------
    images : ndarray
        Booleans; uint16 in 0..65535; other integers in 0..255; or floats, all in 0..1 or all in 0..255.
    where : str
        Named in the error.

    Returns
    -------
    ndarray of uint8, same shape
        The input itself where it is uint8 already.

    Raises
    ------
    ImageError
        If values are NaN, infinite, or out of range. Floats whose largest is between 1 and 2 are out of both ranges.

    Examples
    --------
    >>> to_uint8(np.array([0.0, 0.5, 1.0])).tolist()
    [0, 128, 255]
    """
    if images.dtype == np.uint8:
        return images.view(np.ndarray).astype(np.uint8, copy=False)
    if images.dtype == np.bool_:
        return images.astype(np.uint8) * np.uint8(255)
    if images.dtype.kind == "u" and images.dtype.itemsize == 2:
        scaled = images.astype(np.float32)
        scaled /= 257
        return np.rint(scaled, out=scaled).astype(np.uint8)
    if images.dtype.kind not in "iuf":
        raise ImageError(f"{where}: pixels of type {images.dtype}, expected integers or floats", "unsupported")
    if not images.size:
        return images.astype(np.uint8)
    finite = np.isfinite(images)
    if not finite.all():
        first = ", ".join(map(str, np.argwhere(~finite)[0]))
        raise ImageError(f"{where}: NaN or infinity at [{first}]; replace such values first", "unsupported")
    low, high = float(images.min()), float(images.max())
    unit = images.dtype.kind == "f" and high <= 1 + _FLOAT_SLACK
    if low < -_FLOAT_SLACK or high > 255 or (images.dtype.kind == "f" and not unit and high < 2):
        raise ImageError(
            f"{where}: values from {low:g} to {high:g}, expected 0..1 or 0..255; scale them first", "unsupported"
        )
    return (images.astype(np.float32).clip(0, 1 if unit else 255) * (255 if unit else 1)).round().astype(np.uint8)


def fit_to(image: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Bring one image to a size and to grey or colour.

    Parameters
    ----------
    image : ndarray of uint8, shape (h, w) or (h, w, 3)
        The image.
    shape : tuple of int
        ``(height, width)`` for grey, ``(height, width, 3)`` for colour. The aspect ratio is not kept.

    Returns
    -------
    ndarray of uint8, shape ``shape``
        The image itself where it fits already. Grey is ITU-R 601 luma; scaling is Pillow's anti-aliased bicubic.
    """
    if image.shape == tuple(shape):
        return image
    return fit_picture(pillow().fromarray(image), shape)


def fit_picture(
    picture: Image, shape: tuple[int, ...], box: tuple[float, float, float, float] | None = None
) -> NDArray[np.uint8]:
    """Do :func:`fit_to`'s work on a picture, or a part of it.

    Parameters
    ----------
    picture : PIL.Image.Image
        In mode L or RGB.
    shape : tuple of int
        As of :func:`fit_to`.
    box : tuple of float, optional
        Left, top, right and bottom of the part; all of it if None.

    Returns
    -------
    ndarray of uint8, shape ``shape``
        The part of the picture.
    """
    kind = "RGB" if len(shape) == 3 else "L"
    if picture.mode != kind:
        picture = picture.convert(kind)
    size = (shape[1], shape[0])
    if box is not None or picture.size != size:
        picture = picture.resize(size, pillow().Resampling.BICUBIC, box, reducing_gap=3.0)
    return np.asarray(picture)


def average_down(images: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """Average images down until no side is longer than so many pixels; smaller ones stay as they are.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        The images.
    longest : int
        The longest that a side may be.

    Returns
    -------
    ndarray of uint8, shape (n, min(h, longest), min(w, longest)) or with 3 channels
        Means over equal shares of the sides, rounded.

    Examples
    --------
    >>> average_down(np.arange(64, dtype=np.uint8).reshape(1, 1, 64), 32)[0, 0, :3]
    array([0, 2, 4], dtype=uint8)
    """
    height, width = images.shape[1:3]
    if max(height, width) <= longest:
        return images
    rows, columns = (_shares(min(size, longest), size) for size in (height, width))
    small = np.empty((len(images), len(rows), len(columns), *images.shape[3:]), np.uint8)
    for image, out in zip(images, small, strict=True):
        channels = image.reshape(height, width, -1).transpose(2, 0, 1)
        means = rows @ channels.astype(np.float64) @ columns.T
        out[:] = means.round().transpose(1, 2, 0).reshape(out.shape)
    return small


def _shares(parts: int, size: int) -> NDArray[np.float64]:
    """Return how much each of ``size`` pixels counts in each of ``parts`` equal parts of a side, (parts, size)."""
    edges = np.arange(parts + 1) * (size / parts)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    shares: NDArray[np.float64] = np.maximum(overlap, 0) * (parts / size)
    return shares
