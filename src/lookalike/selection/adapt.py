"""An encoder and a collection -> the encoder with the post-processing that the self-test chooses, or unchanged.

The recipes are in :mod:`lookalike.selection.recipes`; no label is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.encoders.base import Encoder
from lookalike.encoders.postprocess import Projection
from lookalike.errors import unknown_name
from lookalike.selection.recipes import NAMES, RECIPES, UNCHANGED, Learner, Material, Recipe, learn, prepare_material
from lookalike.selection.scatter import solve
from lookalike.selection.selftest import SelfTest, beats, run_trial

__all__ = [
    "AIMS", "NAMES", "RECIPES", "UNCHANGED", "Adaptation", "Aim", "Learner", "Material", "Recipe",
    "adapt", "choose", "learn", "prepare_material", "solve",
]  # fmt: skip


@dataclass(frozen=True)
class Aim:
    """What is searched for, and the evidence for the figure that decides.

    Attributes
    ----------
    words : str
        What it is called in a sentence.
    figure : str
        The self-test's figure; the highest wins.
    keeps : str
        A figure that must not fall beyond chance against the unchanged encoder's; empty for none.
    score : str
        The labelled score that the figure stands for.
    collections : int
        How many collections with labels were measured (``benchmarks/verdict.py``).
    lowest, highest : float
        Spearman's rank correlation of figure and score over encoders and post-processings, on these collections.
    """

    words: str
    figure: str
    keeps: str
    score: str
    collections: int
    lowest: float
    highest: float


#: Aim -> what decides; see ``docs/adapt.md``.
AIMS = {
    "nearest": Aim("the nearest images", "self-retrieval MRR", "", "P@1", 9, 0.46, 0.87),
    "category": Aim("all images of the same category", "category precision@5%", "", "mAP", 6, 0.47, 0.96),
    "both": Aim(
        "the category, with the nearest images first",
        "category precision@5%",
        "self-retrieval MRR",
        "mAP",
        6,
        0.47,
        0.96,
    ),
}


@dataclass(frozen=True)
class Adaptation:
    """What ``adapt`` tried, and what it chose.

    Attributes
    ----------
    aim : str
        ``nearest``, ``category`` or ``both``; the words of an aim that was given as such.
    figure : str
        The self-test's figure that decided.
    chosen : str
        The recipe that was chosen.
    tested : dict of str to SelfTest
        Every recipe's self-test.
    """

    aim: str
    figure: str
    chosen: str
    tested: dict[str, SelfTest] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain numbers, lists and dictionaries."""
        tested = {name: test.to_json() for name, test in self.tested.items()}
        return {"aim": self.aim, "figure": self.figure, "chosen": self.chosen, "tested": tested}


def adapt(
    encoder: Encoder,
    images: NDArray[np.uint8],
    *,
    aim: str | Aim = "nearest",
    families: Mapping[str, float] | Iterable[str] | None = None,
    recipes: Sequence[Recipe] = RECIPES,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Encoder, Adaptation]:
    """Learn a post-processing from a collection, and use it only if it improves the self-test.

    Parameters
    ----------
    encoder : Encoder
        Fitted, with float descriptors; not changed.
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        The collection; of more than ``MAX_DATABASE`` a sample is taken.
    aim : str or Aim
        ``nearest`` for the nearest images, ``category`` for all images of the same category, ``both`` for the category among what
        doesn't find augmented copies less often beyond chance; or another.
    families : mapping of str to float, or iterable of str, optional
        Augmentations that descriptors should not change under; by default those that suit the images.
    recipes : sequence of Recipe
        What to try.
    seed : int
        The same seed gives the same result.
    progress : callable, optional
        Called with how many recipes were tried, and of how many.

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
    wanted = _aim(aim)
    material = prepare_material(encoder, images, families, seed=seed)
    learner = Learner(material, seed=seed)
    posts: dict[str, Projection | None] = {}
    tested: dict[str, SelfTest] = {}
    for done, recipe in enumerate(recipes):
        post = learner.learn(recipe)
        if post is not None or recipe == UNCHANGED:
            posts[str(recipe)], tested[str(recipe)] = post, run_trial(material.trial, post)
        if progress:
            progress(done + 1, len(recipes))
    chosen, figure = choose(tested, wanted)
    named = aim if isinstance(aim, str) else aim.words
    return encoder.with_post(posts[chosen]), Adaptation(named, figure, chosen, tested)


def choose(tested: Mapping[str, SelfTest], aim: str | Aim) -> tuple[str, str]:
    """Choose among self-tests of one encoder on one collection.

    Parameters
    ----------
    tested : mapping of str to SelfTest
        By name, the unchanged encoder first.
    aim : str or Aim
        A name in :data:`AIMS`, or another aim.

    Returns
    -------
    name : str
        The best by the aim's figure; the first unless the best is better beyond chance (paired bootstrap, 95 %).
    figure : str
        The figure's name.

    Raises
    ------
    UsageError
        If the aim isn't known.
    """
    wanted = _aim(aim)
    figure, keeps = wanted.figure, wanted.keeps
    unchanged = next(iter(tested))
    allowed = [n for n, test in tested.items() if not keeps or not beats(tested[unchanged], test, keeps)]
    best = max(allowed, key=lambda name: tested[name].figures[figure])
    return best if beats(tested[best], tested[unchanged], figure) else unchanged, figure


def _aim(aim: str | Aim) -> Aim:
    if isinstance(aim, Aim):
        return aim
    if aim not in AIMS:
        raise unknown_name("aim", aim, AIMS)
    return AIMS[aim]
