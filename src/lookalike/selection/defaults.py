"""A collection -> the encoder and post-processing that are used without ``--encoder``."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lookalike.collections.open import Collection
from lookalike.encoders.base import Encoder
from lookalike.encoders.registry import create
from lookalike.errors import CollectionError, UsageError
from lookalike.neighbors.linalg import unit_rows
from lookalike.neighbors.sampling import sample_rows
from lookalike.selection.adapt import AIMS, adapt
from lookalike.selection.compare import shown_to
from lookalike.selection.recipes import UNCHANGED, Recipe, centred
from lookalike.transforms.grounds import kind_of

#: Images that are looked at to see what kind they are.
LOOKED_AT = 48
#: Longest side, in pixels, of images that are too small to be photos of anything.
TINY = 16
#: Levels that channels of a grey picture may be apart, at this share of all pixels: JPEG and scanners tint a little.
GREY_WITHIN, GREY_SHARE = 16, 0.98

#: Images whose mean is taken off the codes of ``neural``; and the most that images may be alike, as the square of that mean's
#: length, or little but rounding is left.
CENTRED_BY, ALIKE = 200, 0.99
#: The post-processings of ``hog`` that are tried by default: those that harm least where the self-test errs
#: (``benchmarks/usual.py``). Its ``deskew`` isn't: copies are found better by it even where it harms.
GENTLE = (UNCHANGED, Recipe("centred"), Recipe("adapted", 0.1))
#: What decides: how surely images are found again, among those by which images of a kind see each other no less.
HARMLESS = replace(AIMS["nearest"], keeps=AIMS["category"].figure)
#: Fewest images for that; and most, and most pixels, which bounds the time to some seconds.
MIN_TRIED, MAX_TRIED, MAX_PIXELS = 100, 5000, 2.5e7


def default_encoder(images: Collection) -> str | None:
    """Return the name of the default encoder, from a few of the images.

    Figures on a plain ground without colour (digits, letters, drawings) are told apart by their lines: ``hog``; and
    grey images of a few pixels have nothing else. All others are nearer to what the network in the package was trained
    on. This is a rule of thumb.

    Parameters
    ----------
    images : Collection
        Any.

    Returns
    -------
    str
        ``"hog"`` or ``"neural"``; None where none of those looked at can be read.
    """
    try:
        sample = images.evenly(LOOKED_AT).array()
    except CollectionError:
        return None
    if sample.ndim == 4:  # most grey scans and exported glyphs are stored in colour
        apart = sample.max(axis=3) - sample.min(axis=3)
        if (apart <= GREY_WITHIN).mean() < GREY_SHARE:
            return "neural"
    return "hog" if max(sample.shape[1:3]) <= TINY or kind_of(sample) == "glyphs" else "neural"


def default_postprocessing(name: str, images: Collection) -> tuple[Encoder, str] | None:
    """Fit the default encoder with its default post-processing.

    Parameters
    ----------
    name : str
        What :func:`default_encoder` returned.
    images : Collection
        The same.

    Returns
    -------
    (Encoder, str) or None
        The encoder, fitted, and the name of its post-processing; None where there are too few images to tell.
    """
    encoder = create(name)
    shown = shown_to(encoder, images)
    most = CENTRED_BY
    if name == "hog":
        most = min(MAX_TRIED, max(MIN_TRIED, int(MAX_PIXELS / np.prod(shown.shape))))
    if len(shown) < MIN_TRIED:
        return None
    try:
        sample = shown.take(sample_rows(len(shown), most, 0)).array()
    except CollectionError:  # of those drawn none can be read
        return None
    if len(sample) < MIN_TRIED // 2:
        return None
    encoder.fit(sample)
    if name != "hog":
        return _less_the_mean(encoder, sample)
    try:
        adapted, adaptation = adapt(encoder, sample, aim=HARMLESS, recipes=GENTLE)
    except UsageError:  # nearly all are blank
        return None
    return adapted, adaptation.chosen


def _less_the_mean(encoder: Encoder, sample: NDArray[np.uint8]) -> tuple[Encoder, str] | None:
    """Take off the mean of the descriptors: what all these images have in common."""
    rows = encoder.encode(sample)
    rows = rows[rows.any(axis=1)]
    mean = unit_rows(rows).sum(axis=0) / max(1, len(rows))
    if not 0 < mean @ mean < ALIKE:
        return None
    return encoder.with_post(centred(mean, unit=True)), "centred"
