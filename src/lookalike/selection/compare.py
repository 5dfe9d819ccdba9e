"""A collection and encoders by name -> images at the size each wants, and the verdict between them, without a label."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lookalike.collections.open import Collection, open_collection
from lookalike.encoders.base import Encoder
from lookalike.encoders.registry import create as create_encoder
from lookalike.encoders.registry import is_encoder_name
from lookalike.encoders.serialize import load as load_encoder
from lookalike.errors import UsageError
from lookalike.neighbors.sampling import sample_rows
from lookalike.selection.adapt import SAMPLE
from lookalike.selection.candidates import title_of
from lookalike.selection.defaults import default_encoder, shown_to
from lookalike.selection.robustness import Point, robustness
from lookalike.selection.verdict import Verdict
from lookalike.selection.verdict import compare as compare_images

#: Encoders tried by default: none that must be trained or installed first.
TRIED = ("pixels", "hog", "hog:deskew=true", "color", "neural", "neural+color")


def encoder_named(name: str | Path) -> Encoder:
    """Make or load an encoder as a person names it.

    Parameters
    ----------
    name : str or Path
        A name (``hog``, ``siglip2``, ``neural+color``), with parameters after a colon (``hog:deskew=true,cells=9``); an image model
        (``model.onnx``, ``hf:owner/name``); or the folder of a trained encoder.

    Returns
    -------
    Encoder
        Fitted only if it was loaded.

    Raises
    ------
    EncoderError
        If it is a folder and can't be loaded.
    UsageError
        If the name or a parameter isn't known.

    Examples
    --------
    >>> encoder_named("hog:deskew=true")
    Hog(cells=7, bins=8, deskew=True)
    """
    text = str(name)
    if text.startswith("hf:") or text.endswith(".onnx"):
        return create_encoder("neural", model=text)
    head, _, tail = text.partition(":")
    if is_encoder_name(head):
        return create_encoder(head, **dict(_parameter(part, text) for part in tail.split(",") if part))
    return load_encoder(name)


def _parameter(part: str, text: str) -> tuple[str, object]:
    key, equals, value = part.partition("=")
    if not equals:
        raise UsageError(f"{text}: after the colon come parameters such as deskew=true, with a comma between two")
    if value.lower() in ("true", "false"):
        return key, value.lower() == "true"
    if len(value) > 18 and re.fullmatch(r"[+-]?[\d.]+", value):
        raise UsageError(f"{text[:40]}...: {key} is a number of {len(value)} digits; give a smaller one")
    for kind in (int, float):
        try:
            return key, kind(value)
        except ValueError:
            continue
    return key, value


def compare(
    collection: str | Path | NDArray[np.generic] | Collection,
    names: Sequence[str] = TRIED,
    *,
    families: Mapping[str, float] | Iterable[str] | None = None,
    sample: int = SAMPLE,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Verdict:
    """Try encoders, plain and post-processed, on a sample of a collection; no label is read.

    Parameters
    ----------
    collection : str, Path, ndarray or Collection
        What :func:`lookalike.open_collection` takes.
    names : sequence of str
        What :func:`encoder_named` takes.
    families : mapping of str to float, or iterable of str, optional
        The augmentations of the self-test; by default what suits the images.
    sample : int
        Most images to try on.
    seed : int
        The same seed gives the same verdict.
    on_progress : callable, optional
        Called with (rows done, rows at most).

    Returns
    -------
    Verdict
        A row for each encoder and post-processing, and a pick for each aim.

    Raises
    ------
    CollectionError
        If the images can't be read.
    UsageError
        If an encoder or a family isn't known, or there are too few images.
    """
    opened = open_collection(collection)
    tried = [encoder_named(name) for name in names]
    for encoder in tried:
        _ = encoder.preferred_shape  # opens its model: one that isn't there is reported before the others have worked
    default = default_encoder(opened)
    if default is not None and title_of(default) not in map(title_of, tried):
        tried.append(default)
    return compare_images(
        _Sample(opened, sample, seed),
        tried,
        default=None if default is None else title_of(default),
        families=families,
        sample=sample,
        seed=seed,
        progress=on_progress,
    )


def augmentation_curves(
    collection: str | Path | NDArray[np.generic] | Collection,
    encoders: Mapping[str, Encoder],
    families: Iterable[str] | None = None,
    *,
    sample: int = SAMPLE,
    queries: int = 100,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, dict[str, list[Point]]]:
    """Augment images more and more, and measure for each encoder how often they still find their originals.

    Parameters
    ----------
    collection : str, Path, ndarray or Collection
        What :func:`lookalike.open_collection` takes; where it has labels, LRAP@10 is told as well.
    encoders : mapping of str to Encoder
        By title; those that aren't fitted are fitted on the sample.
    families : iterable of str, optional
        Augmentation families; by default all that can change such images.
    sample, queries : int
        Images to find, and of them those that are augmented, at most.
    seed : int
        Of the sample and the augmentations.
    on_progress : callable, optional
        Called with (encoders done, encoders in all).

    Returns
    -------
    dict of str to dict of str to list of Point
        For each encoder and augmentation family, the unchanged images first.

    Raises
    ------
    UsageError
        If a family isn't known, or there are too few images.
    """
    at_its_size = _Sample(open_collection(collection), sample, seed)
    curves = {}
    for done, (title, encoder) in enumerate(encoders.items(), 1):
        images = at_its_size(encoder)
        fitted = encoder if encoder.is_fitted else encoder.fit(images)
        labels = at_its_size.labels
        if labels is not None and (len(labels) != len(images) or "" in labels):  # not one for each
            labels = None
        curves[title] = robustness(fitted, images, families, labels=labels, queries=queries, seed=seed)
        if on_progress is not None:
            on_progress(done, len(encoders))
    return curves


class _Sample:
    """Some images of a collection, read once for each size that an encoder wants."""

    def __init__(self, images: Collection, most: int, seed: int) -> None:
        self.images = images.take(sample_rows(len(images), most, seed))
        self.labels = self.images.labels
        self._read: dict[tuple[int, ...], NDArray[np.uint8]] = {}

    def __call__(self, encoder: Encoder) -> NDArray[np.uint8]:
        shown = shown_to(encoder, self.images)
        if shown.shape not in self._read:
            self._read[shown.shape] = shown.array()
        return self._read[shown.shape]
