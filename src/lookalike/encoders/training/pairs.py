"""Images -> pairs of augmented copies: two views of each image, from which a network learns invariance.

The augmentations are those of :mod:`lookalike.transforms.augmentations`. Two families are left out by default: noise, which the
training adds itself, and JPEG, which would take as long as all others together.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lookalike.transforms.augmentations import augment, families_for

#: Families that no pair is augmented by unless they are asked for.
LEFT_OUT = frozenset({"noise", "jpeg"})
#: Most images that are looked at to tell which families suit a collection.
LOOKED_AT = 1000


def families_to_learn(images: NDArray[np.uint8]) -> dict[str, float]:
    """Return the families that suit a training on a collection, with their amounts.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        The collection; up to ``LOOKED_AT`` images of it, evenly spaced, decide.

    Returns
    -------
    dict of str to float
        Family to greatest amount.

    Examples
    --------
    >>> list(families_to_learn(np.zeros((1, 8, 8), np.uint8)))
    ['turn', 'scale', 'shear', 'shift', 'elastic', 'contrast', 'blur']
    """
    suited = families_for(images[:: -(-len(images) // LOOKED_AT)])
    return {name: amount for name, amount in suited.items() if name not in LEFT_OUT}


def augmented_pairs(
    images: NDArray[np.uint8], families: Mapping[str, float], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return two augmented copies of every image, drawn apart from each other.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        The images; not changed.
    families : mapping of str to float
        Amounts by name.
    rng : Generator
        What the augmentations is drawn by.

    Returns
    -------
    (ndarray of uint8, ndarray of uint8)
        Each of the images' shape and in their order.

    Examples
    --------
    >>> pictures = np.arange(4, dtype=np.uint8).reshape(1, 2, 2)
    >>> one, other = augmented_pairs(pictures, {}, np.random.default_rng(0))
    >>> bool((one == pictures).all() and (other == pictures).all())
    True
    """
    first, second = (int(seed) for seed in rng.integers(2**32, size=2))
    return augment(images, families, seed=first), augment(images, families, seed=second)
