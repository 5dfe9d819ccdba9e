"""What is asked for of an encoder and its post-processing -> what the judge chooses, before an index is written."""

from __future__ import annotations

from collections.abc import Callable
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


def best_encoder(images: Collection, aim: str, note: Callable[[str], None]) -> tuple[Encoder, str, bool]:
    """Return what the verdict picks, its sentence, and whether that is the default, whose post-processing is learnt later."""
    note("trying encoders on a sample, which takes about a minute: lookalike compare shows what comes out")
    verdict = compare(images)
    row, picked = verdict.rows[verdict.picks[aim]], verdict.encoders[aim]
    note(verdict.sentence(aim))
    if verdict.picks[aim] == verdict.default or recipe_named(row.recipe) in (UNCHANGED, DEFAULT):
        plain = picked.with_post(None) if picked.learns else create_encoder(picked.name, **picked.params)
        return plain, verdict.sentence(aim), row.recipe != UNCHANGED.name
    # What the trial learnt from its few images is learnt again from more.
    ready = with_recipe(picked, learning_sample(shown_to(picked, images)), recipe_named(row.recipe))
    return ready, verdict.sentence(aim), False


@dataclass(frozen=True)
class Choice:
    """What post-processing is asked for: ``adapt`` as of the options, the recipe that it names, and the aim."""

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
    """Return an encoder with the post-processing that is asked for, or judged best, which, and why."""
    sample = learning_sample(shown_to(encoder, images))
    recipe, verdict = choice.recipe, None
    if recipe is None:
        note(f"judging post-processings of {encoder.name} by other views of some of these images")
        adaptation = judged(encoder, sample, aim=choice.aim)
        recipe, verdict = recipe_named(adaptation.chosen), adaptation.sentence()
        note(verdict)
    return encoder if recipe == DEFAULT else with_recipe(encoder, sample, recipe), recipe, verdict


def fits(column: Column, choice: Choice) -> bool:
    """Tell whether a column's post-processing is what is asked for."""
    if choice.adapt is None:
        return True
    if choice.recipe is not None:
        has = DEFAULT.name if column.learnt_from is not None else column.post or UNCHANGED.name
        return has == choice.recipe.name
    return column.aim == choice.aim if choice.adapt else column.post is None and column.learnt_from is None


def learning_sample(images: Collection) -> NDArray[np.uint8]:
    """Return the images that an encoder or a post-processing learns from."""
    most = max(1, min(_LEARN_FROM, _LEARN_BYTES // int(np.prod(images.shape))))
    return images.evenly(most).array()
