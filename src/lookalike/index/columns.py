"""A collection and an encoder's name -> the columns of an index that every image goes through, their encoders fitted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from lookalike.collections.collection import Collection
from lookalike.encoders.base import Encoder
from lookalike.encoders.neural import RETIRED
from lookalike.encoders.onnx.known_models import KNOWN, title_of
from lookalike.encoders.registry import create as create_encoder
from lookalike.encoders.serialize import load as load_encoder
from lookalike.errors import EncoderError
from lookalike.index.choice import Choice, adapted, best_encoder, fits, learning_sample, same_choice
from lookalike.index.learn_post import is_due, is_reduced_by_few
from lookalike.index.manifest import Column, DamagedIndexError, Manifest, UnreadableIndexError
from lookalike.index.schema import FACTS
from lookalike.selection.compare import encoder_named
from lookalike.selection.defaults import default_encoder, shown_to
from lookalike.selection.recipes import DEFAULT, Recipe

#: A column and its encoder.
Fitted: TypeAlias = tuple[Column, Encoder]


@dataclass
class _Wanted:
    """The encoder that is to answer.

    Attributes
    ----------
    encoder : Encoder
        Fitted or not.
    choice : Choice
        What post-processing a column must have to be it.
    learnt_from, post, aim, verdict
        As of a :class:`Column`.
    is_best : bool
        Whether ``encoder`` was picked among all.
    """

    encoder: Encoder
    choice: Choice
    learnt_from: int | None = None
    post: str | None = None
    aim: str | None = None
    verdict: str | None = None
    is_best: bool = False


def columns_of(
    images: Collection,
    encoder: str | Path | Encoder | None,
    manifest: Manifest | None,
    path: Path,
    choice: Choice,
    note: Callable[[str], None],
    *,
    rebuild: bool = False,
) -> tuple[list[Fitted], str]:
    """Return the encoders that every image goes through, and the name of the column that will answer.

    Parameters
    ----------
    images : Collection
        What is to be indexed.
    encoder : str, Path, Encoder or None
        As of :func:`lookalike.build_index`.
    manifest : Manifest or None
        What the index holds already.
    path : Path
        The index's folder.
    choice : Choice
        What post-processing is asked for.
    note : callable
        Called with sentences.
    rebuild : bool, default=False
        Leave out encoders that can't be loaded.

    Returns
    -------
    (list of (Column, Encoder), str)

    Raises
    ------
    EncoderError, IndexStoreError
        If an encoder isn't known, doesn't take these images, or can't be loaded.
    """
    loaded = {} if manifest is None else _loaded(manifest, path, rebuild)
    complete = [pair for pair in loaded.values() if pair[0].complete]
    shape = images.shape if manifest is None or images.entries is None or images.is_sized else None
    if encoder is None and manifest is not None:
        if _stays(images, manifest, loaded, choice, shape):
            if manifest.view.params.get("model") in RETIRED:
                note(
                    f"{path}: its encoder, {manifest.view.params['model']}, is that of an older lookalike; index again into "
                    "a new folder (-o) to get the present default"
                )
            return complete, manifest.default
        wanted = _as_before(manifest, loaded, choice, path)
    else:
        wanted = _asked_for(images, encoder, choice, note)
    for column, fitted in loaded.values():
        pending = wanted.is_best or wanted.learnt_from in (None, column.learnt_from)
        if pending and _is_same(column, wanted.encoder, shape) and fits(column, wanted.choice):
            return _with(complete, column, fitted, wanted if wanted.is_best else None)
    ready = _ready(wanted.encoder, images)
    if choice.adapt:
        ready, recipe, wanted.verdict = adapted(ready, images, choice, note)
        wanted.aim = None if wanted.verdict is None else choice.aim
        kept = None if rebuild else same_choice(loaded, ready, replace(choice, recipe=recipe))
        if kept is not None:  # chosen for another aim before, and the same came out
            return _with(complete, *kept, wanted)
        wanted.learnt_from, wanted.post = _learnt(recipe)
    taken = set(FACTS) | {c.column for c in manifest.columns} if manifest else set(FACTS)
    first = title_of(ready.name, ready.params)
    name = next(n for n in (first, *(f"{first}_{i}" for i in range(2, len(taken) + 3))) if n not in taken)
    column = Column(
        column=name,
        encoder=ready.name,
        params=ready.params,
        fingerprint=ready.fingerprint,
        distance=ready.distance,
        dimension=ready.dimension_,
        dtype=np.dtype(ready.dtype).name,
        post=wanted.post,
        shape=list(ready.shape_),
        resized=images.resized,
        complete=manifest is None,
        learnt_from=wanted.learnt_from,
        aim=wanted.aim,
        verdict=wanted.verdict,
    )
    return [*complete, (column, ready)], name


def _stays(
    images: Collection, manifest: Manifest, loaded: dict[str, Fitted], choice: Choice, shape: tuple[int, ...] | None
) -> bool:
    """Tell whether the index's own encoder goes on as it is: same size of images, same choice, and not due to be learnt again."""
    kept = loaded.get(manifest.default)
    if kept is None or (shape is not None and list(shape) != manifest.shape) or not fits(kept[0], choice):
        return False
    new = max(0, len(images) - sum(manifest.outcomes.values()))  # files that are known to be broken stay so
    return not (is_due(kept[0], kept[0].count + new) and is_reduced_by_few(*kept))


def _as_before(manifest: Manifest, loaded: dict[str, Fitted], choice: Choice, path: Path) -> _Wanted:
    """Return the index's own encoder, to be made again."""
    encoder = create_encoder(manifest.encoder, **manifest.view.params)
    if encoder.learns:
        raise EncoderError(
            f"{path}: the encoder {manifest.encoder} must be given, since it takes other images now or can't be loaded "
            "any more: --encoder FOLDER"
        )
    wanted = _Wanted(encoder, choice)
    if choice.adapt is None and manifest.default in loaded:
        kept = loaded[manifest.default][0]
        wanted.learnt_from = None if kept.learnt_from is None else 0
        wanted.aim, wanted.verdict = kept.aim, kept.verdict
    return wanted


def _asked_for(
    images: Collection, encoder: str | Path | Encoder | None, choice: Choice, note: Callable[[str], None]
) -> _Wanted:
    """Return the encoder that is named, else the default one."""
    if encoder is None:
        return _Wanted(_default(images, note), choice, learnt_from=0 if choice.adapt is None else None)
    if str(encoder) != "best":
        return _Wanted(encoder if isinstance(encoder, Encoder) else encoder_named(encoder), choice)
    picked, recipe, verdict = best_encoder(images, choice.aim, note)
    learnt_from, post = _learnt(recipe)
    return _Wanted(picked, Choice(True, recipe, choice.aim), learnt_from, post, choice.aim, verdict, is_best=True)


def _with(
    complete: Sequence[Fitted], column: Column, fitted: Encoder, wanted: _Wanted | None
) -> tuple[list[Fitted], str]:
    """Return the columns where one that is there will answer; with ``wanted``, it says what it was chosen for this time."""
    others = [pair for pair in complete if pair[0] != column]
    if wanted is not None:
        column = replace(column, aim=wanted.aim, verdict=wanted.verdict)
    return [*others, (column, fitted)], column.column


def _learnt(recipe: Recipe) -> tuple[int | None, str | None]:
    """Return what a column says of a post-processing: the default is learnt from the index itself, and again when it has doubled."""
    return (0, None) if recipe == DEFAULT else (None, recipe.name)


def _loaded(manifest: Manifest, path: Path, rebuild: bool) -> dict[str, tuple[Column, Encoder]]:
    """Load the encoders of an index by their columns; one that can't be is left out of an index that is made anew."""
    encoders = {}
    for column in manifest.columns:
        try:
            encoders[column.column] = (column, load_encoder(path / column.encoder_folder))
        except EncoderError as e:
            if not rebuild:
                raise DamagedIndexError(path, f"its encoder can't be loaded: {e}") from e
        except OSError as e:
            raise UnreadableIndexError(path, f"its encoder can't be read: {e.strerror or e}") from e
    return encoders


def _default(images: Collection, note: Callable[[str], None]) -> Encoder:
    """Return the encoder for somebody who names none."""
    encoder = default_encoder(images)
    if encoder is None:  # no image can be read: that is what is to be said, later
        return create_encoder("hog")
    named = ", ".join([encoder.name, *(f"{k}={v}".lower() for k, v in encoder.params.items() if v is True)])
    note(f"encoder: {named}, which suits what these images look like; --encoder best measures others")
    if encoder.name == "neural":
        note(f"well-known models can be fetched by name: -e {', '.join(KNOWN)} (see: lookalike encoders)")
    return encoder


def _is_same(column: Column, encoder: Encoder, shape: tuple[int, ...] | None) -> bool:
    """Tell whether a column is what an encoder makes; one that isn't fitted yet counts by its name and parameters."""
    if encoder.is_fitted:
        return column.fingerprint == encoder.fingerprint
    alike = (column.encoder, column.params) == (encoder.name, encoder.params)
    return alike and (shape is None or list(shape) == column.shape)


def _ready(encoder: Encoder, images: Collection) -> Encoder:
    shown = shown_to(encoder, images)
    if not encoder.is_fitted:
        encoder.fit(learning_sample(shown) if encoder.learns else np.zeros((1, *shown.shape), np.uint8))
    encoder.check_images(np.empty((0, *shown.shape), np.uint8))
    return encoder
