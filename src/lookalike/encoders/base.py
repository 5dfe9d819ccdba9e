"""Images -> descriptors: the contract of an encoder.

An encoder turns images into descriptors. It follows scikit-learn's habits: ``__init__`` only stores keyword arguments,
``fit`` learns from images without labels and returns ``self``, and what was learnt ends in ``_``. Nothing is downloaded,
trained or imported heavily by a constructor.

A new encoder is a new file with a subclass of :class:`Encoder`, and one line in :mod:`lookalike.encoders.registry`; the shared
test suite (``tests/unit/encoders/test_base.py``) runs over it at once. See ``examples/an_encoder.py``.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lookalike.encoders.attribution import Contribution
from lookalike.encoders.postprocess import Projection
from lookalike.encoders.serialize import CARD, FORMAT, write_files
from lookalike.errors import EncoderError, UsageError

# Files that no descriptor comes from: they serve further training, and a .keras file holds dates.
_FOR_TRAINING = frozenset({"model.keras", "history.json"})


class Encoder:
    """Turns images into descriptors; the base of every encoder.

    A subclass gives ``name``, an ``__init__`` that only stores its keyword arguments under the same names, and
    ``_encode``, and where it learns ``_fit``, ``_get_weights`` and ``_set_weights`` (``learns`` is False where it has
    weights that come from elsewhere). Checks of shape and type, saving, loading and the
    fingerprint are here, once.

    Attributes
    ----------
    name : str
        The name in :data:`TABLE`.
    distance : str
        The distance its descriptors are compared by unless the caller says otherwise.
    dtype : type
        ``numpy.float32``, or ``numpy.uint8`` for packed codes, which go with the distance ``hamming``.
    preferred_shape : tuple of int or None
        Shape that images of files are scaled to unless a size is given; every other shape works too.
    shape_ : tuple of int
        Shape of one image as ``fit`` saw it: ``(height, width)`` or ``(height, width, 3)``.
    dimension_ : int
        Length of one descriptor, after the post-processing.
    post_ : Projection or None
        The post-processing that ``encode`` ends with; part of the card, the files and the fingerprint.
    """

    name: ClassVar[str]
    distance: str = "cosine"
    dtype: ClassVar[type[np.generic]] = np.float32
    preferred_shape: ClassVar[tuple[int, ...] | None] = None
    can_denoise: ClassVar[bool] = False
    post_: Projection | None = None
    # Parameter -> its name on the card that it was loaded from; older cards lack those that came later.
    _carded: Mapping[str, str] | None = None
    shape_: tuple[int, ...]
    dimension_: int

    @property
    def params(self) -> dict[str, Any]:
        """The constructor's arguments as this encoder holds them."""
        return {p: getattr(self, p) for p in inspect.signature(type(self)).parameters}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.params.items())})"

    @property
    def is_fitted(self) -> bool:
        """Whether ``fit`` or ``load`` has run."""
        return hasattr(self, "dimension_")

    @property
    def learns(self) -> bool:
        """Whether ``fit`` learns from the images; otherwise it only reads their shape, and black images are enough."""
        return type(self)._get_weights is not Encoder._get_weights

    @property
    def provider(self) -> str | None:
        """What computes its networks, such as ``cpu`` or ``coreml+cpu``; None without any. No part of its identity."""
        return "+".join(sorted(self._providers())) or None

    def fit(self, images: NDArray[np.uint8]) -> Self:
        """Learn from images, without labels.

        Parameters
        ----------
        images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
            The collection, or a sample of it.

        Returns
        -------
        Encoder
            Itself.

        Raises
        ------
        EncoderError
            If the images aren't such an array, or there are none.
        """
        images = as_batch(images)
        if not len(images):
            raise EncoderError(f"{self.name}: there is no image to learn from")
        self._fit(images)
        self.post_ = self._carded = None
        self.shape_ = images.shape[1:]
        self.dimension_ = self._encode(images[:1]).shape[1]
        return self

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn images into descriptors.

        An image gives the same descriptor in every batch, up to 1e-5 of the descriptor's length.

        Parameters
        ----------
        images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
            Images of the size the encoder was fitted on.

        Returns
        -------
        ndarray of float32, shape (n, dimension_)
            One row an image; not normalised.

        Raises
        ------
        EncoderError
            If it isn't fitted, or the images are of another size or type.
        """
        images = self.check_images(images)
        if not len(images):
            return np.empty((0, self.dimension_), self.dtype)
        descriptors = self._encode(images)
        return descriptors if self.post_ is None else self.post_.apply(descriptors)

    def with_post(self, post: Projection | None) -> Self:
        """Return this encoder with another post-processing, or with none; what it learnt is shared, not copied.

        Parameters
        ----------
        post : Projection or None
            Takes this encoder's own descriptors; those that leave it are compared by cosine.

        Returns
        -------
        Encoder
            Another encoder; this one stays as it is.

        Raises
        ------
        EncoderError
            If it isn't fitted, gives packed codes, or its descriptors are of another length.
        """
        if not self.is_fitted:
            raise EncoderError(f"{self.name} has not been fitted; call fit(images) first, or load a trained one")
        takes = self.dimension_ if self.post_ is None else self.post_.takes
        if post is not None and np.dtype(self.dtype) != np.float32:
            raise EncoderError(f"{self.name} gives packed codes, which can't be post-processed; adapt its base encoder")
        if post is not None and post.takes != takes:
            raise EncoderError(
                f"the post-processing {post.name!r} takes {post.takes:,} values, {self.name} gives {takes:,}; "
                "learn it from this encoder's descriptors"
            )
        other = copy.copy(self)
        other.post_ = post
        other.dimension_ = takes if post is None else post.dimension
        other.distance = type(self).distance if post is None else "cosine"
        return other

    def check_images(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the images as a batch of the fitted size, or say what is wrong with them.

        Parameters
        ----------
        images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
            The images to check.

        Returns
        -------
        ndarray of uint8
            The same images, contiguous.

        Raises
        ------
        EncoderError
            If the encoder isn't fitted, or the images are of another size or type.
        """
        if not self.is_fitted:
            raise EncoderError(f"{self.name} has not been fitted; call fit(images) first, or load a trained one")
        images = as_batch(images)
        if images.shape[1:] != self.shape_:
            raise EncoderError(
                f"this {self.name} encoder takes images of {_say_shape(self.shape_)}, these are "
                f"{_say_shape(images.shape[1:])}; resize them (--resize, or lookalike.imaging.resize.fit_to) or train for their size"
            )
        return images

    def contributions(
        self, image: NDArray[np.uint8], weights: NDArray[np.floating], offset: NDArray[np.floating] | None = None
    ) -> list[Contribution] | None:
        """Say what each place of an image adds to the product ``(encode(image) - offset) @ weights``.

        Parameters
        ----------
        image : ndarray of uint8, shape ``shape_``
            One image.
        weights : ndarray of float, shape (dimension_,)
            What the descriptor is multiplied by, such as another descriptor.
        offset : ndarray of float, shape (dimension_,), optional
            Taken from the descriptor first.

        Returns
        -------
        list of Contribution or None
            One an encoder that this one is made of. Their totals add up to the product. None where the descriptor isn't a
            sum: packed codes, and the kernel form of a post-processing.

        Raises
        ------
        EncoderError
            If it isn't fitted, or the image is of another size or type.
        """
        (image,) = self.check_images(np.asarray(image)[None])
        if np.dtype(self.dtype) != np.float32:
            return None
        wide: NDArray[np.float64] = np.asarray(weights, np.float64)
        less: NDArray[np.float64] = np.zeros_like(wide) if offset is None else np.asarray(offset, np.float64)
        raw = self._encode(image[None])[0].astype(np.float64)
        if self.post_ is None:
            return self._contributions(image, raw, 1.0, less, wide)
        if self.post_.waves is not None or not raw.any():
            return None
        inner = np.asarray(self.post_.matrix, np.float64) @ wide if self.post_.matrix.shape[1] else wide
        scale = 1 / float(np.linalg.norm(raw)) if self.post_.unit else 1.0
        parts = self._contributions(image, raw, scale, np.asarray(self.post_.mean, np.float64), inner)
        rest = float(less @ wide) / sum(part.values.size for part in parts)
        return [replace(part, values=part.values - rest) for part in parts]

    # What a subclass writes -------------------------------------------------------------------------------------

    def _fit(self, images: NDArray[np.uint8]) -> None:
        """Learn from a checked batch; nothing to do for an encoder that doesn't learn."""

    def _encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode a checked, non-empty batch."""
        raise NotImplementedError

    def _contributions(
        self,
        image: NDArray[np.uint8],  # noqa: ARG002  (a subclass that knows places looks at it)
        raw: NDArray[np.float64],
        scale: float,
        offset: NDArray[np.float64],
        weights: NDArray[np.float64],
    ) -> list[Contribution]:
        """Split ``(scale * raw - offset) @ weights`` by places, ``raw`` being the image's descriptor before the post-processing."""
        return [Contribution(self.name, np.array([[(scale * raw - offset) @ weights]]), placed=False)]

    def _providers(self) -> set[str]:
        """Return what computes the networks that descriptors come from; they are opened to know."""
        return set()

    def _get_weights(self) -> dict[str, bytes]:
        """Return what was learnt as files, name -> content; nothing for an encoder that doesn't learn."""
        return {}

    def _set_weights(self, files: dict[str, bytes]) -> None:
        """Take back what ``_get_weights`` returned."""

    # Saving and loading -----------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> Path:
        """Write the encoder to a folder: ``encoder.json`` and the files it names, no pickle.

        Parameters
        ----------
        folder : str or Path
            Made if it does not exist. An encoder that was there stays whole until ``encoder.json`` is replaced, last
            and in one step: file names carry their content's hash, so old and new never mix. What the one before didn't
            name is left alone.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        EncoderError
            If the encoder isn't fitted, the folder holds other things and no encoder, or the disk refuses.
        """
        return write_files(folder, self.to_files())

    def to_files(self) -> dict[str, bytes]:
        """Return the files that ``save`` writes, for an encoder that is kept within another.

        Returns
        -------
        dict of str to bytes
            File name -> content, ``encoder.json`` last; :func:`from_files` takes them back.

        Raises
        ------
        EncoderError
            If the encoder isn't fitted.
        """
        card, contents = self._card()
        return contents | {CARD: json.dumps(card, indent=2).encode() + b"\n"}

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits, equal only where name, parameters, image shape and weights are equal."""
        return str(self._card()[0]["fingerprint"])

    def _card(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        if not self.is_fitted:
            raise EncoderError(f"{self.name} has not been fitted, so there is nothing to save; call fit(images) first")
        on_card = {p: p for p in self.params} if self._carded is None else self._carded
        card: dict[str, Any] = {
            "format": FORMAT,
            "encoder": self.name,
            "params": {on_card[p]: value for p, value in self.params.items() if p in on_card},
            "distance": self.distance,
            "shape": list(self.shape_),
            "dimension": self.dimension_,
        }
        contents = self._get_weights()
        if self.post_ is not None:
            contents = contents | self.post_.to_files()
            card["post"] = self.post_.to_json()
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        identity = card | {"files": {f: h for f, h in hashes.items() if f not in _FOR_TRAINING}}
        card["fingerprint"] = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        named = {name: f"{Path(name).stem}-{h[:12]}{Path(name).suffix}" for name, h in hashes.items()}
        card["files"] = {name: {"file": named[name], "sha256": h} for name, h in hashes.items()}
        return card, {named[name]: content for name, content in contents.items()}


def as_batch(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Check that ``images`` is a batch of uint8 images.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        What the caller gave.

    Returns
    -------
    ndarray of uint8
        The same, contiguous.

    Raises
    ------
    EncoderError
        If shape or type are others.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise EncoderError(
            f"images must be uint8 (0..255), these are {images.dtype}; see lookalike.imaging.resize.to_uint8"
        )
    if not (images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)) or 0 in images.shape[1:]:
        raise EncoderError(f"images must have shape (n, h, w) or (n, h, w, 3), these have {images.shape}")
    return np.ascontiguousarray(images)


def _say_shape(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]} {'colour' if len(shape) == 3 else 'grey'}"


def check_whole(encoder: str, name: str, value: object, least: int, most: int) -> None:
    """Refuse what is no whole number within bounds.

    Parameters
    ----------
    encoder : str
        Whose parameter it is.
    name : str
        The parameter.
    value : object
        What was given.
    least, most : int
        The bounds, both allowed.

    Raises
    ------
    UsageError
        If it isn't.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise UsageError(f"{encoder}: {name} is {value!r}; it must be a whole number from {least:,} to {most:,}")
