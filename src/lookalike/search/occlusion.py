"""Hide one place of an image after the other, and see how far its similarity falls: works for every encoder.

Source: M. Zeiler and R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.2. Theirs
is a grey square; here what hides has soft edges and the colour of the image's own border, so that it brings in less
that wasn't there. It is an experiment, not a sum: the falls don't add up to the similarity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lookalike.encoders.base import Encoder
from lookalike.neighbors.exact import Database
from lookalike.transforms.windows import hiding_windows

if TYPE_CHECKING:
    from typing import Any

#: Places a side.
GRID = 9


def falls(encoder: Encoder, image: NDArray[np.uint8], other: NDArray[Any], distance: str) -> NDArray[np.float64]:
    """Measure how far the similarity of two images falls where a place of one is hidden.

    Parameters
    ----------
    encoder : Encoder
        Fitted.
    image : ndarray of uint8, shape ``encoder.shape_``
        The image that is hidden in part.
    other : ndarray, shape (dimension_,)
        The descriptor of the other one.
    distance : str
        What the two are compared by.

    Returns
    -------
    ndarray of float64, shape (GRID, GRID)
        In units of similarity; below 0 where the two become more alike.
    """
    database = Database(other[None], distance)
    plain = similarities(encoder, image[None], database)[0]
    fallen: NDArray[np.float64] = plain - similarities(encoder, covered(image), database)
    return fallen.reshape(GRID, GRID)


def similarities(encoder: Encoder, images: NDArray[np.uint8], database: Database) -> NDArray[np.float64]:
    """Return how alike images are to the one of a database.

    Parameters
    ----------
    encoder : Encoder
        Fitted.
    images : ndarray of uint8, shape (n, *shape_)
        The images.
    database : Database
        Of one descriptor.

    Returns
    -------
    ndarray of float64, shape (n,)
        As :class:`lookalike.Match` says it; 0 for an image in which the encoder finds nothing.
    """
    descriptors = encoder.encode(images)
    alike = np.zeros(len(images))
    visible = descriptors.any(axis=1) | (not database.measure.directional)
    if visible.any():
        distances = database.distances(descriptors[visible])[:, 0].tolist()
        alike[visible] = [database.measure.similarity(distance, 8 * database.dimension) for distance in distances]
    return alike


def covered(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Hide each place of an image in turn.

    Parameters
    ----------
    image : ndarray of uint8, shape (h, w) or (h, w, 3)
        The image.

    Returns
    -------
    ndarray of uint8, shape (GRID * GRID, h, w) or (GRID * GRID, h, w, 3)
        Row by row.
    """
    height, width = image.shape[:2]
    down, across = hiding_windows(GRID, height), hiding_windows(GRID, width)
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    ground = np.median(border, axis=0).astype(np.float32)
    hidden = np.empty((GRID, GRID, *image.shape), np.uint8)
    for i in range(GRID):
        for j in range(GRID):
            window = down[i][:, None] * across[j]
            window = window if image.ndim == 2 else window[..., None]
            hidden[i, j] = (image + (ground - image) * window).round()
    return hidden.reshape(-1, *image.shape)


__all__ = ["GRID", "covered", "falls", "similarities"]
