"""A collection and encoders by name -> images at the size each wants, and the verdict between them, without a label."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lookalike import encoders
from lookalike.collection import Collection, open_collection
from lookalike.encoders import Encoder
from lookalike.errors import UsageError
from lookalike.selftest import sample_rows
from lookalike.verdict import SAMPLE, Verdict
from lookalike.verdict import compare as compare_images

#: What is tried where nobody says otherwise: nothing that must be trained or installed first.
TRIED = ("pixels", "hog", "hog:deskew=true", "color", "neural", "neural+color")


def encoder_named(name: str | Path) -> Encoder:
    """Make or load an encoder as a person names it.

    Parameters
    ----------
    name : str or Path
        A name (``hog``, ``neural+color``), with parameters after a colon (``hog:deskew=true,cells=9``); an image model
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
        return encoders.create("neural", model=text)
    head, _, tail = text.partition(":")
    if encoders.is_encoder_name(head):
        return encoders.create(head, **dict(_parameter(part, text) for part in tail.split(",") if part))
    return encoders.load(name)


def _parameter(part: str, text: str) -> tuple[str, object]:
    key, equals, value = part.partition("=")
    if not equals:
        raise UsageError(f"{text}: after the colon come parameters such as deskew=true, with a comma between two")
    if value.lower() in ("true", "false"):
        return key, value.lower() == "true"
    for kind in (int, float):
        try:
            return key, kind(value)
        except ValueError:
            continue
    return key, value


def shown_to(encoder: Encoder, images: Collection) -> Collection:
    """Return a collection at the size that an encoder wants, where nobody asked for one and sizes differ anyway.

    Parameters
    ----------
    encoder : Encoder
        Fitted or not.
    images : Collection
        Any.

    Returns
    -------
    Collection
        The same images.
    """
    if images.entries is None or images.is_sized:
        return images
    wanted = encoder.shape_ if encoder.is_fitted else encoder.preferred_shape
    return images if wanted is None else open_collection(images, size=(wanted[0], wanted[1]))


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
        The damage of the self-test; by default what suits the images.
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
    images = open_collection(collection)
    some = images.take(sample_rows(len(images), sample, seed))
    read: dict[tuple[int, ...], NDArray[np.uint8]] = {}

    def at_its_size(encoder: Encoder) -> NDArray[np.uint8]:
        shown = shown_to(encoder, some)
        if shown.shape not in read:
            read[shown.shape] = shown.array()
        return read[shown.shape]

    tried = [encoder_named(name) for name in names]
    return compare_images(at_its_size, tried, families=families, sample=sample, seed=seed, progress=on_progress)
