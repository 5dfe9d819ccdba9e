"""Images -> the ground they stand on: the median of the border, and whether it is plain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Most that a grey value of the border may differ from a plain ground, and least of the border that must be like it.
PLAIN_WITHIN, PLAIN_SHARE = 24, 0.8


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
