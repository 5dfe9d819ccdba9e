"""An encoder and a collection -> the encoder with the post-processing that the judge chooses, or that was asked for by name.

The recipes are in :mod:`lookalike.selection.recipes`; no label is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.collections.open import open_collection
from lookalike.cores import one_thread_of_blas
from lookalike.encoders.base import Encoder
from lookalike.neighbors.sampling import sample_rows
from lookalike.selection.candidates import Candidate, candidates_of, title_of
from lookalike.selection.defaults import default_encoder
from lookalike.selection.held_out import make_views
from lookalike.selection.judge import AIMS, Gain, aim_named, baseline, evidence, look_of, pick, predict
from lookalike.selection.recipes import (
    DEFAULT,
    RECIPES,
    UNCHANGED,
    Recipe,
    check_adaptable,
    descriptors_to_learn_from,
    learn,
)
from lookalike.selection.selftest import SelfTest

#: Images that post-processings are judged on, and those that are shown otherwise; what is chosen is learnt from more.
SAMPLE, QUERIES = 400, 80


@dataclass(frozen=True)
class Adaptation:
    """What ``adapt`` tried, and what it chose.

    Attributes
    ----------
    aim : str
        ``nearest``, ``category`` or ``both``.
    chosen : str
        The recipe that was chosen.
    default : str
        The recipe that the others were compared with.
    gains : dict of str to dict of str to Gain
        By recipe and score: what it is expected to gain over the default.
    tested : dict of str to SelfTest
        Every recipe's self-test.
    interrupted : bool
        Whether Ctrl-C was pressed before all were tried.
    """

    aim: str
    chosen: str
    default: str
    gains: dict[str, dict[str, Gain]]
    tested: dict[str, SelfTest] = field(repr=False)
    interrupted: bool = False

    def sentence(self) -> str:
        """Say what was chosen, why, and how far to trust it."""
        score = AIMS[self.aim].score
        if self.chosen == self.default:
            others = [(name, gain[score]) for name, gain in self.gains.items() if name != self.default]
            nearest = max(others, key=lambda pair: pair[1].mean, default=None)
            but = "" if nearest is None else f"; the likeliest to be, {nearest[0]}, has {score} {nearest[1]}"
            said = f"post-processing: {self.chosen}, the default. No other is surely better here{but}."
        else:
            said = f"post-processing: {self.chosen}. Expected against the default: {score} {self.gains[self.chosen][score]}."
        if self.interrupted:
            said = f"interrupted, so of the {len(self.gains)} tried: {said}"
        return f"{said} No label was read. {evidence(self.aim, 'adapt')}"

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain numbers, lists and dictionaries."""
        return {
            "aim": self.aim,
            "chosen": self.chosen,
            "default": self.default,
            "gains": {recipe: {s: g.to_json() for s, g in gain.items()} for recipe, gain in self.gains.items()},
            "interrupted": self.interrupted,
            "tested": {name: test.to_json() for name, test in self.tested.items()},
            "sentence": self.sentence(),
        }


def adapt(
    encoder: Encoder,
    images: NDArray[np.uint8],
    *,
    aim: str = "nearest",
    families: Mapping[str, float] | Iterable[str] | None = None,
    recipes: Sequence[Recipe] = RECIPES,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Encoder, Adaptation]:
    """Learn a post-processing from a collection: the default one, or one that is surely better.

    Parameters
    ----------
    encoder : Encoder
        Fitted, with float descriptors; not changed.
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        The collection. Post-processings are judged on a sample of ``SAMPLE``, and learnt from at most ``MAX_ROWS``.
    aim : str
        ``nearest`` for the nearest images, ``category`` for all images of the same category, ``both`` for the category among
        what isn't expected to lose the nearest.
    families : mapping of str to float, or iterable of str, optional
        Augmentations of the self-test; by default those that suit the images.
    recipes : sequence of Recipe
        What to try.
    seed : int
        The same seed gives the same result.
    progress : callable, optional
        Called with how many recipes were tried, and of how many. Interrupted once the default was tried, it chooses among
        what was.

    Returns
    -------
    encoder : Encoder
        The same with the chosen post-processing.
    adaptation : Adaptation
        What was tried and chosen.

    Raises
    ------
    UsageError
        If the aim or a family isn't known, there are too few images, or the encoder gives packed codes.
    """
    adaptation = judged(encoder, images, aim=aim, families=families, recipes=recipes, seed=seed, progress=progress)
    chosen = next(recipe for recipe in (*recipes, UNCHANGED) if recipe.name == adaptation.chosen)
    return with_recipe(encoder, images, chosen, seed=seed), adaptation


def judged(
    encoder: Encoder,
    images: NDArray[np.uint8],
    *,
    aim: str = "nearest",
    families: Mapping[str, float] | Iterable[str] | None = None,
    recipes: Sequence[Recipe] = RECIPES,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Adaptation:
    """Judge post-processings on a sample of a collection, and learn none from all of it.

    Parameters
    ----------
    encoder : Encoder
        Fitted, with float descriptors.
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        The collection.
    aim : str
        ``nearest``, ``category`` or ``both``.
    families : mapping of str to float, or iterable of str, optional
        Augmentations of the self-test.
    recipes : sequence of Recipe
        What to try.
    seed : int
        The same seed gives the same result.
    progress : callable, optional
        Called with how many recipes were tried, and of how many. Interrupted once the default was tried, it chooses among
        what was.

    Returns
    -------
    Adaptation

    Raises
    ------
    UsageError
        As of :func:`adapt`.
    """
    aim_named(aim)
    check_adaptable(encoder)
    tried: list[Candidate] = []
    interrupted = False
    with one_thread_of_blas(with_scipy=True):
        views = make_views(images[sample_rows(len(images), SAMPLE, seed)], families, queries=QUERIES, seed=seed)
        try:
            for candidate in candidates_of(encoder, views, recipes, seed=seed):
                tried.append(candidate)
                if progress:
                    progress(len(tried), len(recipes))
        except KeyboardInterrupt:
            if DEFAULT.name not in [candidate.recipe for candidate in tried]:  # there is nothing to compare with yet
                raise
            interrupted = True
        default = baseline(tried, title_of(encoder))
        usual = default_encoder(open_collection(images))
        gains = predict(tried, default, look_of("" if usual is None else usual.name, images.ndim == 4))
    return Adaptation(
        aim,
        tried[pick(gains, default, aim)].recipe,
        tried[default].recipe,
        {candidate.recipe: gain for candidate, gain in zip(tried, gains, strict=True)},
        {candidate.recipe: candidate.test for candidate in tried},
        interrupted,
    )


def with_recipe(encoder: Encoder, images: NDArray[np.uint8], recipe: Recipe, *, seed: int = 0) -> Encoder:
    """Learn a post-processing that was asked for by name, whatever the judge says.

    Parameters
    ----------
    encoder : Encoder
        Fitted, with float descriptors; not changed.
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        The collection.
    recipe : Recipe
        Which.
    seed : int
        Of the sample.

    Returns
    -------
    Encoder
        The same with the post-processing; as it is where there is too little to learn from.

    Raises
    ------
    UsageError
        If the encoder gives packed codes.
    """
    check_adaptable(encoder)
    plain = encoder.with_post(None)
    if recipe == UNCHANGED:
        return plain
    with one_thread_of_blas(with_scipy=True):
        rows = descriptors_to_learn_from(plain, images, seed)
        return plain.with_post(learn(rows, recipe, unit=plain.distance == "cosine", seed=seed))
