"""Images -> other views of them: in a scene (smaller, elsewhere, seen from a side, on a plain wall), and as halves.

A photo is asked for otherwise than by slightly augmented copies: it hangs on a wall, is a part of a page, was taken from
further away; and what is of its kind shows other places of a like thing. Encoders that compare the same places of two
images find slightly augmented copies all too well, and are found out here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lookalike.transforms.grounds import plain_grounds
from lookalike.transforms.homography import four_point_homographies

#: Least and greatest share of the side that the picture keeps.
KEPT = (0.45, 0.85)
#: Most that a corner moves, as a share of the picture's side.
ASKEW = 0.1
#: Darkest and lightest grey of the wall, and most that a channel differs from it.
WALL, TINT = (60, 220), 12


def scene(images: NDArray[np.uint8], *, seed: int = 0) -> NDArray[np.uint8]:
    """Hang every image in a scene of its own.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        The images; not changed.
    seed : int
        The same seed gives the same scenes.

    Returns
    -------
    ndarray of uint8, same shape
        What is seen around the picture is a grey wall of its own tone, slightly tinted where there is colour; an image
        on a plain ground goes on in that ground.

    Examples
    --------
    >>> images = np.full((1, 9, 9), 255, np.uint8)
    >>> images[0, 1:8, 1:8] = 0
    >>> int((scene(images) < 128).sum()) < 49
    True
    """
    from scipy.ndimage import map_coordinates

    rng = np.random.default_rng([seed, 77])
    number, height, width = images.shape[:3]
    walls = rng.uniform(*WALL, (number, 1)) + rng.uniform(-TINT, TINT, (number, 3))
    kept = rng.uniform(*KEPT, (number, 1, 1))
    corners = np.array([[0, 0], [0, 1], [1, 1], [1, 0]]) - 0.5
    placed = corners + rng.uniform(-ASKEW, ASKEW, (number, 4, 2))
    placed = placed * kept + rng.uniform(-0.5, 0.5, (number, 1, 2)) * (1 - kept)
    plain, ground = plain_grounds(images)
    maps = four_point_homographies(placed, corners)
    at = np.moveaxis(np.mgrid[:height, :width].astype(np.float64), 0, -1) + 0.5
    at = np.concatenate([at / [height, width] - 0.5, np.ones((height, width, 1))], axis=-1)
    scenes = np.empty_like(images)
    for i in range(number):
        seen = at @ maps[i].T
        seen = (seen[..., :2] / seen[..., 2:] + 0.5) * [height, width] - 0.5
        around = ground[i] if plain[i] else walls[i] if images.ndim == 4 else walls[i, :1]
        for channel, tone in enumerate(around):
            place = (i, ..., channel) if images.ndim == 4 else (i,)
            read = map_coordinates(
                images[place].astype(np.float32), np.moveaxis(seen, -1, 0), order=1, mode="grid-constant", cval=tone
            )
            scenes[place] = np.clip(np.rint(read), 0, 255)
    return scenes


def halves(images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the left and the right half of every image, each stretched to the whole width.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        The images; not changed.

    Returns
    -------
    left, right : ndarray of uint8, same shape
        The two show no place in common, but for the middle column of an odd width.

    Examples
    --------
    >>> [half.tolist() for half in halves(np.array([[[0, 0, 8, 8]]], np.uint8))]
    [[[[0, 0, 0, 0]]], [[[8, 8, 8, 8]]]]
    """
    width = images.shape[2]
    half = (width + 1) // 2
    at = np.clip((np.arange(width) + 0.5) * (half / width) - 0.5, 0, half - 1)
    first = at.astype(np.intp)
    second = np.minimum(first + 1, half - 1)
    share = (at - first).astype(np.float32).reshape(-1, *(1,) * (images.ndim - 3))

    def stretched(part: NDArray[np.uint8]) -> NDArray[np.uint8]:
        wide = np.empty_like(images)
        for i, image in enumerate(part):
            columns = image.astype(np.float32)
            wide[i] = np.rint(columns[:, first] * (1 - share) + columns[:, second] * share)
        return wide

    return stretched(images[:, :, :half]), stretched(images[:, :, width - half :])
