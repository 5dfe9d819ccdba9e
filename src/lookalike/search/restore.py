"""Noisy query images + an index -> the same without noise, by what its images look like or by a trained autoencoder.

What the images look like is learnt once and kept in the index (:func:`lookalike.index.artifacts.Artifact.cached`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.encoders.base import Encoder
from lookalike.encoders.serialize import load as load_encoder
from lookalike.errors import UsageError
from lookalike.imaging.resize import fit_to
from lookalike.index.artifacts import RESTORER
from lookalike.neighbors.sampling import draw_rows
from lookalike.transforms.restorer import RestoredImages, Restorer
from lookalike.transforms.wiener import LEARNT_FORM, MAX_WHOLE, PATCH

if TYPE_CHECKING:
    from lookalike.index.reader import IndexReader

Images = NDArray[np.uint8]

#: The collection's own way to denoise, as it is asked for.
AUTO = "auto"
#: Most images of an index that are learnt from: whole ones, and for patches.
MAX_IMAGES, MAX_PATCHED = 60_000, 1000


def restore_queries(index: IndexReader, images: Images, by: str | Path) -> RestoredImages:
    """Take the noise out of query images.

    Parameters
    ----------
    index : IndexReader
        What will be asked; its encoder needs to know nothing of noise.
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        As the index's encoder takes them.
    by : str or Path
        ``"auto"``: by what the index's images look like, learnt at the first call from its thumbnails and kept in the
        index. Or the folder of a trained autoencoder.

    Returns
    -------
    RestoredImages
        In the same order. An autoencoder doesn't estimate the noise; it denoises every image.

    Raises
    ------
    UsageError
        If the encoder can't denoise, or the index holds too few images to learn from.
    EncoderError
        If the folder holds no encoder, or one for images of another size.
    """
    if str(by) != AUTO:
        encoder = load_encoder(by)
        shaped = images
        if encoder.is_fitted and len(encoder.shape_) != images.ndim - 1:  # grey to colour, or back
            shaped = np.stack([fit_to(image, (*image.shape[:2], *encoder.shape_[2:])) for image in images])
        cleaned = [fit_to(image, images.shape[1:]) for image in denoise(encoder, shaped)]
        return RestoredImages(np.stack(cleaned), (None,) * len(images), f"the {encoder.name} {by}")
    shape = images.shape[1:]
    return index.cached(f"restorer {shape}", lambda: _restorer_of(index, shape)).restore(images)


def _restorer_of(index: IndexReader, shape: tuple[int, ...]) -> Restorer:
    terms = {"shape": list(shape), "images": [MAX_IMAGES, MAX_PATCHED], "form": LEARNT_FORM}
    learnt = RESTORER.cached(index.path, index.manifest, terms, lambda: _learnt_from(index, shape).to_arrays())
    return Restorer.from_arrays(*learnt)


def _learnt_from(index: IndexReader, shape: tuple[int, ...]) -> Restorer:
    def pictures(most: int) -> list[Images]:
        rows = draw_rows(np.random.default_rng(0), len(index), most)
        return [fit_to(image, (*image.shape[:2], *shape[2:])) for image in index.thumbnails(rows.tolist())]

    images = pictures(MAX_PATCHED)
    if len(index) > len(images) and all(image.shape == shape for image in images) and images[0].size <= MAX_WHOLE:
        images = pictures(MAX_IMAGES)
    alike = [image for image in images if image.shape == shape]
    if len(alike) < len(images):  # whole images must be as the query is
        return Restorer(form="patches").fit([image for image in images if min(image.shape[:2]) >= PATCH])
    return Restorer().fit(np.stack(images))


__all__ = ["AUTO", "restore_queries"]


def denoise(encoder: Encoder, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Remove noise with an encoder that can.

    Parameters
    ----------
    encoder : Encoder
        A trained autoencoder.
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        Noisy images.

    Returns
    -------
    ndarray of uint8, same shape
        The denoised ones.

    Raises
    ------
    UsageError
        If the encoder has no decoder.
    EncoderError
        If the images are of another size.
    """
    decode: Any = getattr(encoder, "decode", None)
    if decode is None:
        raise UsageError(f"the encoder '{encoder.name}' can't denoise; use an autoencoder that 'lookalike train' made")
    cleaned: NDArray[np.uint8] = decode(images)
    return cleaned
