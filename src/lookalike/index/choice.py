"""What is asked for of an encoder and its post-processing -> what the judge chooses, before an index is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lookalike.collections.collection import Collection
from lookalike.encoders.base import Encoder
from lookalike.encoders.registry import create as create_encoder
from lookalike.index.manifest import Column, Manifest
from lookalike.selection.adapt import judged, with_recipe
from lookalike.selection.compare import compare
from lookalike.selection.defaults import shown_to
from lookalike.selection.judge import aim_named
from lookalike.selection.recipes import DEFAULT, UNCHANGED, Recipe, recipe_named

if TYPE_CHECKING:
    from lookalike.index.build import IndexOptions

_LEARN_FROM, _LEARN_BYTES = 60_000, 2**28  # an encoder that learns is fitted on no more images, evenly spread


def best_encoder(images: Collection, aim: str, note: Callable[[str], None]) -> tuple[Encoder, Recipe, str]:
    """Return what the verdict picks.

    Parameters
    ----------
    images : Collection
        What is to be indexed.
    aim : str
        ``nearest``, ``category`` or ``both``.
    note : callable
        Called with sentences.

    Returns
    -------
    encoder : Encoder
        With its post-processing, but for the default one, which the index learns from its own descriptors.
    recipe : Recipe
        Its post-processing.
    verdict : str
        Why, in a sentence.
    """
    note("trying encoders on a sample, which takes about a minute: lookalike compare shows what comes out")
    verdict = compare(images)
    place, picked, said = verdict.picks[aim], verdict.encoders[aim], verdict.sentence(aim)
    note(said)
    recipe = recipe_named(verdict.rows[place].recipe)
    # What the trial learnt from its few images is learnt again from more.
    if place == verdict.default and recipe != UNCHANGED:  # of few images the trial learns less than the default
        recipe = DEFAULT
    if recipe in (UNCHANGED, DEFAULT):
        plain = picked.with_post(None) if picked.learns else create_encoder(picked.name, **picked.params)
        return plain, recipe, said
    return with_recipe(picked, learning_sample(shown_to(picked, images)), recipe), recipe, said


@dataclass(frozen=True)
class Choice:
    """What post-processing is asked for.

    Attributes
    ----------
    adapt : bool or None
        As of the options.
    recipe : Recipe or None
        What it names.
    aim : str
        What is chosen for.
    """

    adapt: bool | None
    recipe: Recipe | None
    aim: str

    @classmethod
    def of(
        cls,
        options: IndexOptions,
        manifest: Manifest | None,
        encoder: str | Path | Encoder | None,
        note: Callable[[str], None],
    ) -> Choice:
        """Read it from a run's options, and from what the index was chosen for before."""
        aim = options.aim or "nearest"
        aim_named(aim)
        if isinstance(options.adapt, str):
            if options.aim is not None:
                note("--aim changes nothing here: a post-processing that is asked for by name isn't chosen")
            return cls(adapt=True, recipe=recipe_named(options.adapt), aim=aim)
        adapt = options.adapt
        if options.aim is not None and not adapt and str(encoder) != "best":
            if adapt is None and manifest is not None and manifest.view.aim not in (None, aim):
                adapt = True  # what was chosen for another aim is chosen again
            else:
                note("--aim changes nothing here: it is what --adapt and --encoder best choose by")
        return cls(adapt, None, aim)


def adapted(
    encoder: Encoder, images: Collection, choice: Choice, note: Callable[[str], None]
) -> tuple[Encoder, Recipe, str | None]:
    """Return an encoder with the post-processing that is asked for, or judged best.

    Parameters
    ----------
    encoder : Encoder
        Fitted.
    images : Collection
        What is to be indexed.
    choice : Choice
        What is asked for.
    note : callable
        Called with sentences.

    Returns
    -------
    encoder : Encoder
        With its post-processing, but for the default one, which the index learns from its own descriptors.
    recipe : Recipe
        Its post-processing.
    verdict : str or None
        Why, in a sentence; None for a recipe by name.
    """
    sample = learning_sample(shown_to(encoder, images))
    recipe, verdict = choice.recipe, None
    if recipe is None:
        note(f"judging post-processings of {encoder.name} by other views of some of these images")
        adaptation = judged(encoder, sample, aim=choice.aim)
        recipe, verdict = recipe_named(adaptation.chosen), adaptation.sentence()
        note(verdict)
    if recipe == DEFAULT:
        return encoder, recipe, verdict
    ready = with_recipe(encoder, sample, recipe)
    if ready.post_ is None and recipe != UNCHANGED:
        note(f"post-processing: {recipe} can't be learnt from these {len(sample):,} images; there is none")
        recipe = UNCHANGED
    return ready, recipe, verdict


def fits(column: Column, choice: Choice) -> bool:
    """Tell whether a column's post-processing is what is asked for.

    Parameters
    ----------
    column : Column
        Of an index.
    choice : Choice
        What is asked for.

    Returns
    -------
    bool
    """
    if choice.adapt is None:
        return True
    if choice.recipe is not None:
        has = DEFAULT.name if column.learnt_from is not None else column.post or UNCHANGED.name
        return has == choice.recipe.name
    return column.aim == choice.aim if choice.adapt else column.post is None and column.learnt_from is None


def same_choice(
    loaded: Mapping[str, tuple[Column, Encoder]], encoder: Encoder, choice: Choice
) -> tuple[Column, Encoder] | None:
    """Return the column that holds what was chosen, if one does.

    Parameters
    ----------
    loaded : mapping of str to (Column, Encoder)
        The index's columns by name.
    encoder : Encoder
        Fitted; with its post-processing or without.
    choice : Choice
        With the recipe that was chosen.

    Returns
    -------
    (Column, Encoder) or None
    """
    plain = encoder.with_post(None).fingerprint
    for column, fitted in loaded.values():
        if fits(column, choice) and fitted.with_post(None).fingerprint == plain:
            return column, fitted
    return None


def learning_sample(images: Collection) -> NDArray[np.uint8]:
    """Return the images that an encoder or a post-processing learns from.

    Parameters
    ----------
    images : Collection
        At the encoder's size.

    Returns
    -------
    ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
    """
    most = max(1, min(_LEARN_FROM, _LEARN_BYTES // int(np.prod(images.shape))))
    return images.evenly(most).array()
