"""Images -> the ground they stand on: the median of the border, and whether it is plain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Most that a grey value of the border may differ from a plain ground, and least of the border that must be like it.
PLAIN_WITHIN, PLAIN_SHARE = 24, 0.8
#: A figure is filled where at least so much of it lies away from its edge; and in half-tones where of that at least so much
#: is neither near the ground nor near the figure's strongest tone. Of digits, drawings and outlines at most .26 lies away
#: from the edge, or at most .15 is of half-tones; of objects and framed photos it is at least .67 and .29.
FILLED, HALF_TONES = 0.45, 0.2


def border_and_median(images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the pixels of each image's border, and their median.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, channels)
        The images.

    Returns
    -------
    border : ndarray of uint8, shape (n, pixels) or (n, pixels, channels)
        In no order of note.
    median : ndarray of uint8, shape (n,) or (n, channels)
        The upper one of two; one a channel.
    """
    border = np.concatenate([images[:, 0], images[:, -1], images[:, 1:-1, 0], images[:, 1:-1, -1]], axis=1)
    middle = border.shape[1] // 2
    return border, np.partition(border, middle, axis=1)[:, middle]


def plain_grounds(images: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """Tell which images stand on a plain ground, and the ground.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        The images.

    Returns
    -------
    plain : ndarray of bool, shape (n,)
        Whether at least ``PLAIN_SHARE`` of the border is within ``PLAIN_WITHIN`` grey values of its median.
    ground : ndarray of uint8, shape (n, channels)
        The border's median.

    Examples
    --------
    >>> plain, ground = plain_grounds(np.full((1, 4, 4), 200, np.uint8))
    >>> plain.tolist(), ground.tolist()
    ([True], [[200]])
    """
    border, ground = border_and_median(images[..., None] if images.ndim == 3 else images)
    away = np.abs(border.astype(np.int16) - ground[:, None]).max(axis=2)
    return (away <= PLAIN_WITHIN).mean(axis=1) >= PLAIN_SHARE, ground


def kind_of(images: NDArray[np.uint8]) -> str:
    """Tell whether a collection is of glyphs (figures on a plain ground) or photos.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        The collection, or a sample of it.

    Returns
    -------
    str
        ``"glyphs"`` if more than half of the images stand on a plain ground, else ``"photos"``.

    Examples
    --------
    >>> kind_of(np.random.default_rng(0).integers(0, 256, (9, 8, 8), np.uint8))
    'photos'
    """
    plain, _ = plain_grounds(images)
    return "glyphs" if 2 * plain.sum() > len(plain) else "photos"


def is_shaded(images: NDArray[np.uint8]) -> bool:
    """Tell whether figures on a plain ground are filled with half-tones, as pictures of things are and glyphs are not.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, h, w)
        Grey; the collection, or a sample of it.

    Returns
    -------
    bool
        By the medians over the images; blank ones don't count.

    Examples
    --------
    >>> ball = np.hypot(*np.mgrid[-10:11, -10:11])
    >>> is_shaded(np.uint8(np.maximum(0, 250 - 25 * ball))[None]), is_shaded(np.uint8(250 * (ball < 9))[None])
    (True, False)
    """
    from scipy.ndimage import minimum_filter

    _, ground = border_and_median(images)
    shares = []
    for image, level in zip(images, ground.tolist(), strict=True):
        ink = np.abs(image.astype(np.int16) - level)
        figure = ink > PLAIN_WITHIN
        if not figure.any():
            continue
        inside = ink[minimum_filter(figure, size=3)]
        strongest = np.percentile(ink[figure], 95)
        between = (inside > 0.2 * strongest) & (inside < 0.8 * strongest)
        shares.append((len(inside) / figure.sum(), between.mean() if len(inside) else 0.0))
    if not shares:
        return False
    filled, half_tones = np.median(shares, axis=0)
    return bool(filled >= FILLED and half_tones >= HALF_TONES)
