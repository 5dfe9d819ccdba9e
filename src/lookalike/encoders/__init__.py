"""The contract of an encoder, and the table of those that exist.

An encoder turns images into descriptors. It follows scikit-learn's habits: ``__init__`` only stores keyword arguments,
``fit`` learns from images without labels and returns ``self``, and what was learnt ends in ``_``. Nothing is downloaded,
trained or imported heavily by a constructor.

A new encoder is a new file with a subclass of :class:`Encoder`, plus one line in :data:`TABLE`; the shared test suite
(``tests/test_encoders.py``) runs over it at once.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import EncoderError, UsageError, missing_extra, unknown_name
from lookalike.storage import replace_file

#: name -> ("module:Class", the extra its ``fit`` needs or "")
TABLE: dict[str, tuple[str, str]] = {
    "autoencoder": ("lookalike.encoders.autoencoder:Autoencoder", "train"),
    "hog": ("lookalike.encoders.hog:Hog", ""),
    "pixels": ("lookalike.encoders.pixels:Pixels", ""),
}

CARD = "encoder.json"
FORMAT = 1
_CARD_KEYS = {
    "encoder": str,
    "params": dict,
    "distance": str,
    "shape": list,
    "dimension": int,
    "files": dict,
    "fingerprint": str,
}


class Encoder:
    """Turns images into descriptors; the base of every encoder.

    A subclass gives ``name``, an ``__init__`` that only stores its keyword arguments under the same names, and
    ``_encode``, and where it learns ``_fit``, ``_get_weights`` and ``_set_weights``. Checks of shape and type, saving, loading and the
    fingerprint are here, once.

    Attributes
    ----------
    name : str
        The name in :data:`TABLE`.
    distance : str
        The distance its descriptors are compared by unless the caller says otherwise.
    dtype : type
        ``numpy.float32``, or ``numpy.uint8`` for packed codes, which go with the distance ``hamming``.
    shape_ : tuple of int
        Shape of one image as ``fit`` saw it: ``(height, width)`` or ``(height, width, 3)``.
    dimension_ : int
        Length of one descriptor.
    """

    name: ClassVar[str]
    distance: str = "cosine"
    dtype: ClassVar[type[np.generic]] = np.float32
    can_denoise: ClassVar[bool] = False
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
        self.shape_ = images.shape[1:]
        self.dimension_ = self._encode(images[:1]).shape[1]
        return self

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn images into descriptors.

        The same image gives the same descriptor whatever the batch it is in, up to 1e-5 of the descriptor's length.

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
            return np.empty((0, self.dimension_), np.float32)
        return self._encode(images)

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
                f"{_say_shape(images.shape[1:])}; resize them (--resize, or lookalike.raster.fit_to) or train for their size"
            )
        return images

    # What a subclass writes -------------------------------------------------------------------------------------

    def _fit(self, images: NDArray[np.uint8]) -> None:
        """Learn from a checked batch; nothing to do for an encoder that doesn't learn."""

    def _encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode a checked, non-empty batch."""
        raise NotImplementedError

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
            and in one step: file names carry their content's hash, so old and new never mix.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        EncoderError
            If the encoder isn't fitted, or the disk refuses.
        """
        card, contents = self._card()
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for file, content in contents.items():
                with replace_file(folder / file) as f:
                    f.write(content)
            with replace_file(folder / CARD) as f:
                f.write(json.dumps(card, indent=2).encode() + b"\n")
            for old in folder.glob("*-????????????.*"):
                if old.name not in contents:
                    old.unlink()
        except OSError as e:
            reason = e.strerror or e
            raise EncoderError(
                f"{folder}: the encoder can't be written: {reason}; free space or pick another folder"
            ) from e
        return folder

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits, equal only where name, parameters, image shape and weights are equal."""
        return str(self._card()[0]["fingerprint"])

    def _card(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        if not self.is_fitted:
            raise EncoderError(f"{self.name} has not been fitted, so there is nothing to save; call fit(images) first")
        card: dict[str, Any] = {
            "format": FORMAT,
            "encoder": self.name,
            "params": self.params,
            "distance": self.distance,
            "shape": list(self.shape_),
            "dimension": self.dimension_,
        }
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in self._get_weights().items()}
        # Descriptors come from these; a .keras file (it holds dates) and a history are for further training only.
        identity = card | {"files": {f: h for f, h in hashes.items() if f.endswith((".onnx", ".npz"))}}
        card["fingerprint"] = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        named = {name: f"{Path(name).stem}-{h[:12]}{Path(name).suffix}" for name, h in hashes.items()}
        card["files"] = {name: {"file": named[name], "sha256": h} for name, h in hashes.items()}
        return card, {named[name]: content for name, content in self._get_weights().items()}


def create(name: str, **params: Any) -> Encoder:
    """Make an encoder by its name, not yet fitted.

    Parameters
    ----------
    name : str
        A name in :data:`TABLE`.
    **params
        The encoder's own keyword arguments.

    Returns
    -------
    Encoder
        An unfitted encoder.

    Raises
    ------
    UsageError
        If the name or a parameter isn't known; the message lists the known ones.

    Examples
    --------
    >>> create("pixels")
    Pixels()
    """
    if name not in TABLE:
        raise unknown_name("encoder", name, TABLE)
    cls = _import(name)
    known = set(inspect.signature(cls).parameters)
    for p in params:
        if p not in known:
            raise unknown_name(f"{name} parameter", p, known)
    return cls(**params)


def describe(name: str) -> str:
    """Say in one line what an encoder is: the first line of its class's docstring, read without importing its extra.

    Parameters
    ----------
    name : str
        A name in :data:`TABLE`.

    Returns
    -------
    str
        One sentence.
    """
    return (inspect.getdoc(_import(name)) or "").splitlines()[0]


def load(folder: str | Path) -> Encoder:
    """Load an encoder from the folder ``save`` wrote.

    Parameters
    ----------
    folder : str or Path
        A folder with ``encoder.json``.

    Returns
    -------
    Encoder
        Fitted, ready to encode. Its files are checked against the hashes in ``encoder.json``.

    Raises
    ------
    EncoderError
        If it is no encoder folder, was made by a newer version, or a file was changed or cut short.
    """
    folder = Path(folder)
    card = read_card(folder)
    try:
        encoder = create(card["encoder"], **card["params"])
    except UsageError as e:
        raise EncoderError(f"{folder / CARD}: {e}; upgrade lookalike, or train again") from e
    contents = {}
    for name, entry in card["files"].items():
        path = folder / entry["file"]
        if not path.is_file():
            raise EncoderError(f"{path}: named in {CARD} but missing; copy the whole folder again, or train again")
        contents[name] = path.read_bytes()
        if hashlib.sha256(contents[name]).hexdigest() != entry["sha256"]:
            raise EncoderError(
                f"{path}: not the file that was saved (its SHA-256 differs); copy it again, or train again"
            )
    encoder.distance = card["distance"]
    encoder.shape_ = tuple(card["shape"])
    encoder.dimension_ = card["dimension"]
    encoder._set_weights(contents)
    if encoder.fingerprint != card["fingerprint"]:
        raise EncoderError(
            f"{folder / CARD}: edited since it was saved (its fingerprint differs); restore it from a copy, or train again"
        )
    return encoder


def read_card(folder: str | Path) -> dict[str, Any]:
    """Read ``encoder.json`` of a saved encoder.

    Parameters
    ----------
    folder : str or Path
        A folder that ``save`` wrote.

    Returns
    -------
    dict
        Keys ``format``, ``encoder``, ``params``, ``distance``, ``shape``, ``dimension``, ``files``, ``fingerprint``.

    Raises
    ------
    EncoderError
        If there is no such file, it isn't one of ours, or a newer version wrote it.
    """
    folder = Path(folder)
    path = folder / CARD
    if not path.is_file():
        what = "a file, not a folder" if folder.is_file() else "without " + CARD if folder.is_dir() else "not there"
        raise EncoderError(
            f"{folder}: {what}; an encoder is a folder that 'lookalike train' wrote, or one of: {', '.join(sorted(TABLE))}"
        )
    try:
        card: dict[str, Any] = json.loads(path.read_bytes())
        version = card["format"]
        if version > FORMAT:
            raise EncoderError(
                f"{path}: written in format {version}, this version reads up to {FORMAT}; upgrade lookalike"
            )
        for key, kind in _CARD_KEYS.items():
            if not isinstance(card[key], kind):
                raise TypeError(key)
        for name, entry in card["files"].items():
            if Path(entry["file"]).name != entry["file"] or not isinstance(entry["sha256"], str):
                raise ValueError(f"{name} is not a file beside it")
    except (ValueError, KeyError, TypeError) as e:
        raise EncoderError(
            f"{path}: not a description of an encoder ({type(e).__name__}: {e}); train again, or restore it from a copy"
        ) from e
    return card


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
        raise EncoderError(f"images must be uint8 (0..255), these are {images.dtype}; see lookalike.raster.to_uint8")
    if not (images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)) or 0 in images.shape[1:]:
        raise EncoderError(f"images must have shape (n, h, w) or (n, h, w, 3), these have {images.shape}")
    return np.ascontiguousarray(images)


def _say_shape(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]} {'colour' if len(shape) == 3 else 'grey'}"


def _import(name: str) -> type[Encoder]:
    target, extra = TABLE[name]
    module, cls = target.split(":")
    try:
        found: type[Encoder] = getattr(importlib.import_module(module), cls)
    except ModuleNotFoundError as e:
        if extra and not (e.name or "").startswith("lookalike"):
            raise missing_extra(f"the encoder '{name}'", extra) from e
        raise
    return found


__all__ = ["TABLE", "Encoder", "as_batch", "create", "describe", "load", "read_card"]
