"""A collection -> the encoder that is used without ``--encoder``, and its post-processing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lookalike.collections.open import Collection, open_collection
from lookalike.encoders.base import Encoder
from lookalike.encoders.registry import create
from lookalike.errors import CollectionError
from lookalike.neighbors.linalg import unit_rows
from lookalike.neighbors.sampling import sample_rows
from lookalike.selection.neighbour_metric import MAX_ROWS, NEIGHBOURS, neighbour_metric
from lookalike.selection.scatter import nearest_by_cosine
from lookalike.transforms.grounds import is_shaded, kind_of

#: Images that are looked at to see what they are.
LOOKED_AT = 48
#: Longest side, in pixels, of images that are too small to be photos of anything; and of figures in half-tones that are
#: too small for a network to see more in them than their outline.
TINY, SMALL = 16, 28
#: Levels that channels of a grey picture may be apart, at this share of all pixels: JPEG and scanners tint a little.
GREY_WITHIN, GREY_SHARE = 16, 0.98

#: Glyphs that are looked at to see whether they are slanted, and fewest; most pixels, which bounds the time.
TRIED, MIN_TRIED, MAX_PIXELS = 600, 60, 2.5e7
#: By how much the mean cosine of the nearest must grow when glyphs are deskewed. It grows by 3.6 to 9 % on digits, where
#: deskewing helps, and by 2 % at most on drawings, outlines and objects (``benchmarks/eyes.py``, labels in sight).
DESKEW_GAIN = 1.027


def shown_to(encoder: Encoder, images: Collection) -> Collection:
    """Return a collection at the size that an encoder prefers, unless the collection has a size already.

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


def default_encoder(images: Collection) -> Encoder | None:
    """Return the default encoder, from a few of the images.

    Figures on a plain ground without colour or half-tones (digits, letters, drawings) are told apart by their lines:
    ``hog``; and grey images of a few pixels have nothing else. Slanted ones are deskewed first, where that brings
    neighbours nearer together. All others are nearer to what the networks in the package were trained on. This is a
    rule of thumb.

    Parameters
    ----------
    images : Collection
        Any.

    Returns
    -------
    Encoder or None
        ``hog`` or ``neural``, not fitted; None where none of those looked at can be read.
    """
    try:
        sample = images.evenly(LOOKED_AT).array()
    except CollectionError:
        return None
    if sample.ndim == 4:  # most grey scans and exported glyphs are stored in colour
        apart = sample.max(axis=3) - sample.min(axis=3)
        if (apart <= GREY_WITHIN).mean() < GREY_SHARE:
            return create("neural")
        sample = sample.mean(axis=3).astype(np.uint8)
    side = max(sample.shape[1:3])
    if side > TINY and (kind_of(sample) != "glyphs" or (side > SMALL and is_shaded(sample))):
        return create("neural")
    plain = create("hog")
    shown = shown_to(plain, images)
    most = min(TRIED, max(MIN_TRIED, int(MAX_PIXELS / np.prod(shown.shape))))
    try:
        glyphs = shown.take(sample_rows(len(shown), most, 0)).array()
    except CollectionError:
        return plain
    return create("hog", deskew=True) if is_slanted(glyphs) else plain


def is_slanted(glyphs: NDArray[np.uint8]) -> bool:
    """Tell whether deskewing glyphs brings the nearest of them nearer together.

    Parameters
    ----------
    glyphs : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        A sample; of fewer than ``MIN_TRIED`` it can't be told.

    Returns
    -------
    bool
    """
    if len(glyphs) < MIN_TRIED:
        return False
    cosines = []
    for deskew in (False, True):
        rows = create("hog", deskew=deskew).fit(glyphs[:1]).encode(glyphs)
        rows = unit_rows(rows[rows.any(axis=1)])
        if len(rows) < MIN_TRIED:
            return False
        cosines.append(float(nearest_by_cosine(unit_rows(rows - rows.mean(axis=0)), NEIGHBOURS)[1].mean()))
    return cosines[1] > DESKEW_GAIN * cosines[0]


def default_postprocessing(encoder: Encoder, images: Collection) -> tuple[Encoder, str] | None:
    """Fit an encoder with the default post-processing, as an index learns it from its own descriptors.

    Parameters
    ----------
    encoder : Encoder
        What :func:`default_encoder` returned.
    images : Collection
        The same.

    Returns
    -------
    (Encoder, str) or None
        The encoder, fitted, and the name of its post-processing; None where there are too few images to tell.
    """
    shown = shown_to(encoder, images)
    try:
        sample = shown.take(sample_rows(len(shown), MAX_ROWS, 0)).array()
    except CollectionError:  # of those drawn none can be read
        return None
    rows = encoder.fit(sample).encode(sample)
    learnt = neighbour_metric(rows[rows.any(axis=1)], unit=encoder.distance == "cosine")
    return None if learnt is None else (encoder.with_post(learnt), learnt.name)
