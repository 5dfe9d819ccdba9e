"""An encoder and views of a collection -> candidates: the encoder with each post-processing, and their label-free figures."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Int64Array
from lookalike.encoders.base import Encoder
from lookalike.encoders.fusion import Fusion
from lookalike.encoders.postprocess import Projection
from lookalike.neighbors.sampling import sample_rows
from lookalike.selection.held_out import Views
from lookalike.selection.neighbourhood import nearest_others, neighbourhood_figures
from lookalike.selection.recipes import RECIPES, UNCHANGED, Recipe, learn
from lookalike.selection.selftest import SelfTest, Trial, nonzero, run_trial, trial_of

#: Images whose neighbours are looked at, at most.
MAX_GRAPH = 2000


@dataclass(frozen=True, eq=False)
class Candidate:
    """One encoder with one post-processing.

    Attributes
    ----------
    encoder : str
        The encoder, with the parameters that aren't its defaults.
    recipe : str
        The post-processing.
    test : SelfTest
        Its figures by other views of images.
    graph : dict of str to float
        Those of its neighbours (:func:`lookalike.selection.neighbourhood.neighbourhood_figures`).
    near : ndarray of int64, shape (n, k)
        The neighbours of each image, or of each of a sample, by their places in it; a row of -1 for one that is blank to
        the encoder.
    post : Projection or None
        What was learnt.
    seconds : float
        To learn it.
    """

    encoder: str
    recipe: str
    test: SelfTest
    graph: dict[str, float]
    near: Int64Array
    post: Projection | None = field(repr=False)
    seconds: float = 0.0

    @property
    def figures(self) -> dict[str, float]:
        """All figures without labels."""
        return self.test.figures | self.graph


class SharedEncoding:
    """Encodes images once, whoever asks: a member of a fusion that is also an encoder of its own costs nothing more."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int], tuple[NDArray[np.uint8], NDArray[Any]]] = {}

    def __call__(self, encoder: Encoder, images: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the descriptors of images."""
        if isinstance(encoder, Fusion):
            return encoder.join([self(member, images) for member in encoder.members_])
        if encoder.learns:  # two of one name may have learnt otherwise
            return encoder.encode(images)
        key = (repr(encoder), id(images))
        if key not in self._kept:  # kept with its images, so that their identity stays theirs
            self._kept[key] = (images, encoder.encode(images))
        return self._kept[key][1]


def candidates_of(
    encoder: Encoder,
    views: Views,
    recipes: Sequence[Recipe] = RECIPES,
    *,
    encode: SharedEncoding | None = None,
    seed: int = 0,
) -> Iterator[Candidate]:
    """Yield an encoder with each post-processing that can be learnt; the encoder as it is comes first.

    Parameters
    ----------
    encoder : Encoder
        Fitted; its own post-processing is left aside.
    views : Views
        Of the size that it takes.
    recipes : sequence of Recipe
        What is tried; packed codes are tried as they are.
    encode : SharedEncoding, optional
        What encodes.
    seed : int
        Of samples.

    Yields
    ------
    Candidate

    Raises
    ------
    UsageError
        If too few images aren't blank to the encoder.
    """
    trial = trial_of(encoder, views, encode or SharedEncoding())
    yield from tried_on(trial, title_of(encoder), len(views.images), recipes, seed=seed)


def tried_on(
    trial: Trial, title: str, images: int, recipes: Sequence[Recipe] = RECIPES, *, seed: int = 0
) -> Iterator[Candidate]:
    """Yield what :func:`candidates_of` does, of descriptors that are there already.

    Parameters
    ----------
    trial : Trial
        The descriptors.
    title : str
        Of the encoder.
    images : int
        How many were to be encoded, blank ones included.
    recipes : sequence of Recipe
        What is tried.
    seed : int
        Of samples.

    Yields
    ------
    Candidate
    """
    graph = _Graph(trial, images, seed)
    packed = trial.database.dtype != np.float32
    for recipe in (UNCHANGED, *(r for r in recipes if r != UNCHANGED and not packed)):
        begun = time.perf_counter()
        post = None if packed else learn(trial.database, recipe, unit=trial.distance == "cosine", seed=seed)
        seconds = time.perf_counter() - begun
        if post is not None or recipe == UNCHANGED:
            test = run_trial(trial, post)
            figures, near = graph.of(post)
            yield Candidate(title, recipe.name, test, figures, near, post, seconds)


class _Graph:
    """The nearest neighbours among the images of a trial, or among a sample that is the same for all encoders."""

    def __init__(self, trial: Trial, images: int, seed: int) -> None:
        sample = sample_rows(images, MAX_GRAPH, seed)
        places = np.arange(images) if trial.places is None else trial.places
        drawn = np.isin(places, sample)
        self.rows = trial.database[drawn]
        self.places = np.searchsorted(sample, places[drawn])
        self.size, self.distance, self.seed = len(sample), trial.distance, seed

    def of(self, post: Projection | None) -> tuple[dict[str, float], Int64Array]:
        """Return the figures of the graph under a post-processing, and the graph."""
        table, distance = (self.rows, self.distance) if post is None else (nonzero(post.apply(self.rows)), "cosine")
        near = nearest_others(table, distance, self.seed)
        placed = np.full((self.size, near.shape[1]), -1, np.int64)
        placed[self.places] = self.places[near]
        return neighbourhood_figures(near), placed


def title_of(encoder: Encoder) -> str:
    """Return an encoder's name, with the parameters that aren't its defaults.

    Parameters
    ----------
    encoder : Encoder
        Any.

    Returns
    -------
    str

    Examples
    --------
    >>> from lookalike.encoders.registry import create
    >>> title_of(create("hog", deskew=True)), title_of(create("neural+color"))
    ('hog (deskew=True)', 'neural+color')
    """
    if isinstance(encoder, Fusion) and encoder.weights is None and encoder.options is None:
        return encoder.members
    defaults = type(encoder)().params
    changed = [f"{k}={v}" for k, v in encoder.params.items() if v != defaults[k]]
    return f"{encoder.name} ({', '.join(changed)})" if changed else encoder.name
