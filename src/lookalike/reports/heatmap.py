"""Numbers by place + the image they are of -> a picture of where they are large.

The image stands underneath in grey, so that all colour means heat: the scale is matplotlib's "inferno" (S. van der Walt
and N. Smith, 2015, CC0), whose lightness rises evenly, and what is cold is clear.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lookalike.imaging.formats import pillow
from lookalike.imaging.resize import fit_to

#: "inferno" at nine even steps, red, green, blue.
SCALE = np.array([
    [0, 0, 4], [27, 12, 65], [74, 12, 107], [120, 28, 109], [165, 44, 96], [207, 68, 70], [237, 105, 37], [251, 155, 6],
    [252, 255, 164],
])  # fmt: skip
#: The sides of a picture: the longer is at most MOST, and where the image is smaller than LEAST it is enlarged.
MIN_SIDE, MAX_SIDE = 224, 512
#: How much of the heat's colour covers the image where it is hottest.
COVER = 0.8
#: Lightness of the grey image underneath, of 255.
DIMMED = 30, 215


def overlay(image: NDArray[np.uint8], values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Draw heat over an image.

    Parameters
    ----------
    image : ndarray of uint8, shape (h, w) or (h, w, 3)
        Of any size.
    values : ndarray of float, shape (rows, columns)
        By place, over the whole image. What is 0 or less stays clear, the largest is hottest.

    Returns
    -------
    ndarray of uint8, shape (h', w', 3)
        Of the same proportions; its longer side is between 224 and 512 pixels.
    """
    height, width = _size(image)
    if max(image.shape[:2]) < MIN_SIDE:  # small images are seen pixel by pixel
        enlarged = max(height, width) // max(image.shape[:2])
        grey = fit_to(image, image.shape[:2]).repeat(enlarged, 0).repeat(enlarged, 1)
    else:
        grey = fit_to(image, (height, width))
    height, width = grey.shape
    heat = smooth(values, height, width)
    low, high = DIMMED
    under = low + grey[..., None].astype(np.float64) / 255 * (high - low)
    steps = heat * (len(SCALE) - 1)
    colour = np.stack([np.interp(steps, np.arange(len(SCALE)), SCALE[:, c]) for c in range(3)], axis=2)
    alpha = COVER * heat[..., None]
    drawn: NDArray[np.uint8] = (under * (1 - alpha) + colour * alpha).round().clip(0, 255).astype(np.uint8)
    return drawn


def smooth(values: NDArray[np.floating], height: int, width: int) -> NDArray[np.float64]:
    """Bring values by place to a size, smoothly, and to 0..1.

    Parameters
    ----------
    values : ndarray of float, shape (rows, columns)
        By place.
    height, width : int
        The size.

    Returns
    -------
    ndarray of float64, shape (height, width)
        Values below 0 are 0; the largest is 1, unless all are 0.
    """
    pil = pillow()
    hot = np.maximum(np.asarray(values, np.float32), 0)
    if hot.max() > 0:
        hot = hot / hot.max()
    picture = pil.fromarray(hot).resize((width, height), pil.Resampling.BICUBIC)
    heat = np.asarray(picture, np.float64).clip(0, None)
    most = float(heat.max())
    scaled: NDArray[np.float64] = heat / most if most > 0 else heat
    return scaled


def _size(image: NDArray[np.uint8]) -> tuple[int, int]:
    longer = max(image.shape[:2])
    scale = min(1.0, MAX_SIDE / longer) if longer >= MIN_SIDE else -(-MIN_SIDE // longer)
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    return height, width


__all__ = ["overlay", "smooth"]
