"""Descriptors of a collection -> projections of them, learnt without labels, by a handful of recipes with names.

What was tried and dropped, since it was worse than ``mutual neighbours`` on average over labelled collections, and much
worse on some: what augmented copies say of the directions to overlook (linear discriminants), with nearest neighbours or
without, and the same on random Fourier features (``docs/adapt.md``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array
from lookalike.encoders.base import Encoder
from lookalike.encoders.postprocess import Projection
from lookalike.errors import UsageError, unknown_name
from lookalike.neighbors.linalg import unit_rows
from lookalike.neighbors.sampling import sample_rows
from lookalike.selection.neighbour_metric import MAX_ROWS, NAME, NEIGHBOURS, centred, neighbour_metric
from lookalike.selection.scatter import leading_directions

#: Components of the recipe ``pca``.
PCA_DIMENSION = 64


@dataclass(frozen=True)
class Recipe:
    """How a projection is learnt.

    Attributes
    ----------
    name : str
        What it is asked for by.
    neighbours, rounds : int
        Of the metric of mutual neighbours (:func:`neighbour_metric`); 0 for what doesn't look at neighbours.
    """

    name: str
    neighbours: int = 0
    rounds: int = 1

    def __str__(self) -> str:
        return self.name


UNCHANGED = Recipe("unchanged")
#: The default post-processing, and what the others are compared with.
DEFAULT = Recipe(NAME, NEIGHBOURS)
#: What ``adapt`` and ``compare`` try.
RECIPES = (
    UNCHANGED,
    Recipe("centred"),
    Recipe("pca"),
    DEFAULT,
    Recipe(f"{NAME} twice", NEIGHBOURS, 2),
    Recipe(f"wide {NAME} twice", 15, 2),
)
NAMES = {recipe.name: recipe for recipe in RECIPES}


def recipe_named(name: str) -> Recipe:
    """Return a recipe by its name, with hyphens for spaces or without.

    Parameters
    ----------
    name : str
        Such as ``mutual-neighbours``.

    Returns
    -------
    Recipe

    Raises
    ------
    UsageError
        If the name isn't known.
    """
    if name.replace("-", " ") not in NAMES:
        raise unknown_name("recipe", name, [known.replace(" ", "-") for known in NAMES])
    return NAMES[name.replace("-", " ")]


def learn(rows: Float32Array, recipe: Recipe, *, unit: bool = True, seed: int = 0) -> Projection | None:
    """Learn a projection by one recipe.

    Parameters
    ----------
    rows : ndarray of float32, shape (n, d)
        Descriptors of the collection, none of zeros; of more than ``MAX_ROWS`` a sample is looked at.
    recipe : Recipe
        How; ``unchanged`` gives None.
    unit : bool
        Whether descriptors are brought to length 1 first: where they are compared by cosine.
    seed : int
        Of the sample.

    Returns
    -------
    Projection or None
        None, too, where there is too little to learn from: fewer than two images, or neighbours without structure.
    """
    if recipe == UNCHANGED or len(rows) < 2:
        return None
    if recipe.neighbours:
        learnt = neighbour_metric(rows, unit=unit, seed=seed, neighbours=recipe.neighbours, rounds=recipe.rounds)
        return None if learnt is None or learnt.name != NAME else learnt
    rows = rows[sample_rows(len(rows), MAX_ROWS, seed)]
    scaled = np.asarray(unit_rows(rows) if unit else rows, np.float32)
    mean = scaled.mean(axis=0)
    if recipe.name == "centred":
        return centred(mean, unit)
    basis = leading_directions(scaled - mean, PCA_DIMENSION)
    return Projection("pca", mean, basis, unit, params={"dimension": basis.shape[1]}) if basis.shape[1] else None


def check_adaptable(encoder: Encoder) -> None:
    """Refuse an encoder whose descriptors can't be post-processed.

    Parameters
    ----------
    encoder : Encoder
        Any.

    Raises
    ------
    UsageError
        If the encoder gives packed codes.
    """
    if np.dtype(encoder.dtype) != np.float32:
        raise UsageError(f"{encoder.name} gives packed codes, which can't be adapted; adapt its base encoder instead")


def descriptors_to_learn_from(encoder: Encoder, images: NDArray[np.uint8], seed: int = 0) -> Float32Array:
    """Encode what recipes learn from: a sample of a collection without images that are blank to the encoder.

    Parameters
    ----------
    encoder : Encoder
        Fitted, with float descriptors; its post-processing is left aside.
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        The collection.
    seed : int
        Of the sample.

    Returns
    -------
    ndarray of float32, shape (m, d)
    """
    rows = encoder.with_post(None).encode(images[sample_rows(len(images), MAX_ROWS, seed)])
    return np.asarray(rows[rows.any(axis=1)], np.float32)
