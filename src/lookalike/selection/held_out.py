"""Images of a collection -> some held out, and shown otherwise: what a self-test asks with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Int64Array
from lookalike.errors import UsageError
from lookalike.imaging.resize import fit_to
from lookalike.neighbors.sampling import draw_rows, sample_rows
from lookalike.transforms.augmentations import augment, check_families, families_for
from lookalike.transforms.views import halves, scene

#: Fewest images that can be tested: with fewer, each would nearly always be found.
MIN_IMAGES = 8
#: Most images that the copies are compared with, and most held-out images.
MAX_DATABASE, MAX_QUERIES = 20_000, 300
#: The names of copies: augmented by all families at once, in a scene, and halves.
ALL, SCENE, LEFT, RIGHT = "all", "scene", "left", "right"
#: Families that are tried together, too: they change where things are, their tones, or how finely they are drawn.
GROUPS = {
    "moved": ("turn", "scale", "shear", "shift", "elastic", "crop", "mirror"),
    "toned": ("contrast", "colour", "grey"),
    "coarse": ("blur", "noise", "jpeg", "erase"),
}
#: Longest side of the images that views are made of; they are enlarged again to what the encoder sees.
VIEWED = 160


@dataclass(frozen=True, eq=False)
class Views:
    """Images of a collection, and other views of some: made once for all encoders that take images of one size.

    Attributes
    ----------
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        The collection, or a sample of it.
    originals : ndarray of int64, shape (q,)
        Places of the held-out images.
    shown_as : dict of str to ndarray of uint8, shape (q, ...)
        Their views: augmented by all families at once under ``"all"``, in a scene under ``"scene"``, halves under ``"left"``
        and ``"right"``, and augmented by each of ``GROUPS`` alone.
    families : dict of str to float
        The augmentations, with their amounts.
    seed : int
        Of all that was drawn.
    """

    images: NDArray[np.uint8]
    originals: Int64Array
    shown_as: dict[str, NDArray[np.uint8]]
    families: dict[str, float]
    seed: int


def make_views(
    images: NDArray[np.uint8],
    families: Mapping[str, float] | Iterable[str] | None = None,
    *,
    queries: int = MAX_QUERIES,
    seed: int = 0,
) -> Views:
    """Hold some images of a collection out, and show them otherwise.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        The collection; of more than ``MAX_DATABASE`` a sample is taken.
    families : mapping of str to float, or iterable of str, optional
        The augmentations; by default what suits the images.
    queries : int
        How many images are held out, at most a quarter of the collection.
    seed : int
        Of the sample and the augmentations.

    Returns
    -------
    Views

    Raises
    ------
    UsageError
        If there are too few images, or a family isn't known.
    """
    images = images[sample_rows(len(images), MAX_DATABASE, seed)]
    named = families_for(images) if families is None else check_families(families, images)
    if len(images) < MIN_IMAGES:
        raise too_few(len(images))
    originals = draw_rows(np.random.default_rng([seed, 1]), len(images), max(1, min(queries, len(images) // 4)))
    shape = images.shape[1:]
    shown = images[originals]
    if max(shape[:2]) > VIEWED:
        shrunk = VIEWED / max(shape[:2])
        small = (max(1, round(shape[0] * shrunk)), max(1, round(shape[1] * shrunk)), *shape[2:])
        shown = np.stack([fit_to(image, small) for image in shown])
    left, right = halves(shown)
    shown_as = {
        ALL: augment(shown, named, seed=seed + 1000),
        SCENE: augment(scene(shown, seed=seed), {f: a / 2 for f, a in named.items()}, seed=seed + 1000),
        LEFT: left,
        RIGHT: right,
    }
    for group, members in GROUPS.items():
        some = {name: amount for name, amount in named.items() if name in members}
        if some:
            shown_as[group] = augment(shown, some, seed=seed + 1000)
    if shown.shape[1:] != shape:
        shown_as = {name: np.stack([fit_to(image, shape) for image in view]) for name, view in shown_as.items()}
    return Views(images, originals, shown_as, named, seed)


def too_few(number: int, encoder: str = "") -> UsageError:
    """Return the error that says that a collection is too small.

    Parameters
    ----------
    number : int
        Of images.
    encoder : str
        To which others are blank, if some are.

    Returns
    -------
    UsageError
    """
    blank = f" that aren't blank to {encoder}" if encoder else ""
    return UsageError(
        f"a self-test needs at least {MIN_IMAGES} images{blank}, here are {number}; give more images, or choose the "
        "encoder yourself"
    )
