"""The contract of an encoder, and the table of those that exist.

An encoder turns images into descriptors. It follows scikit-learn's habits: ``__init__`` only stores keyword arguments,
``fit`` learns from images without labels and returns ``self``, and what was learnt ends in ``_``. Nothing is downloaded,
trained or imported heavily by a constructor.

A new encoder is a new file with a subclass of :class:`Encoder`, plus one line in :data:`TABLE`; the shared test suite
(``tests/test_encoders.py``) runs over it at once. Another package adds one by an entry point of the group
:data:`ENTRY_POINTS`, ``name = "module:Class"``; see ``examples/an_encoder.py``.
"""

from __future__ import annotations

import copy
import hashlib
import importlib
import inspect
import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lookalike.atomic import replace_file
from lookalike.encoders.attribution import Contribution
from lookalike.encoders.onnx.runtime import OnnxModel
from lookalike.encoders.postprocess import FILE as POST_FILE
from lookalike.encoders.postprocess import Projection
from lookalike.errors import EncoderError, UsageError, first_line, missing_extra, unknown_name

if TYPE_CHECKING:
    from lookalike.encoders.training.loop import Plan, Progress, Result

#: name -> ("module:Class", the extra its ``fit`` needs or "")
TABLE: dict[str, tuple[str, str]] = {
    "autoencoder": ("lookalike.encoders.autoencoder:Autoencoder", "train"),
    "color": ("lookalike.encoders.color:Color", ""),
    "contrastive": ("lookalike.encoders.contrastive:Contrastive", "train"),
    "fusion": ("lookalike.encoders.fusion:Fusion", ""),
    "hashing": ("lookalike.encoders.hashing:Hashing", "train"),
    "hog": ("lookalike.encoders.hog:Hog", ""),
    "itq": ("lookalike.encoders.hashing:Itq", ""),
    "neural": ("lookalike.encoders.neural:Neural", ""),
    "pixels": ("lookalike.encoders.pixels:Pixels", ""),
    "sift": ("lookalike.encoders.local:Sift", "local"),
    "surf": ("lookalike.encoders.local:Surf", "local"),
}
#: The group in which other packages name their encoders.
ENTRY_POINTS = "lookalike.encoders"

CARD = "encoder.json"
#: The state of a training, in the folder that its encoder will be saved to.
CHECKPOINT = "checkpoint.npz"
FORMAT = 1
#: What a killed ``save`` may leave: the temporary file of one of its own.
_PART = re.compile(r"\.(encoder\.json|checkpoint\.npz|.+-[0-9a-f]{12}\.\w+)\.[0-9a-f]{8}\.part")
# Files that no descriptor comes from: they serve further training, and a .keras file holds dates.
_FOR_TRAINING = frozenset({"model.keras", "history.json"})
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
        What images of files are brought to where nobody asks for a size; any other works all the same.
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
    # Names of the parameters on the card that it was loaded from: older cards lack those that came later.
    _carded: frozenset[str] | None = None
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
        """Whether ``fit`` learns from the images; if not, it takes note of their shape alone, and black ones will do."""
        return type(self)._get_weights is not Encoder._get_weights

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
        files = self.to_files()
        folder = Path(folder)
        try:
            before = check_folder(folder, files)
            folder.mkdir(parents=True, exist_ok=True)
            for file, content in files.items():  # the card comes last
                if file == CARD or not _holds(folder / file, content):
                    with replace_file(folder / file) as f:
                        f.write(content)
            for old in before - set(files):
                (folder / old).unlink(missing_ok=True)
        except OSError as e:
            reason = e.strerror or e
            raise EncoderError(
                f"{folder}: the encoder can't be written: {reason}; free space or pick another folder"
            ) from e
        return folder

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
        card: dict[str, Any] = {
            "format": FORMAT,
            "encoder": self.name,
            "params": {p: v for p, v in self.params.items() if self._carded is None or p in self._carded},
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


class TrainedEncoder(Encoder):
    """An encoder whose ``fit`` takes minutes: it can be watched, interrupted and gone on with.

    Attributes
    ----------
    stopped_ : str
        Why the training ended: ``done``, ``time`` or ``interrupted``.
    history_ : list of dict
        One an epoch: ``epoch``, ``loss``, ``validation_loss``, ``seconds``, ``images_per_second``.
    best_epoch_ : int
        The epoch whose weights were kept.
    precision_ : str
        What it ran in, and why.
    """

    stopped_: str
    history_: list[dict[str, Any]]
    best_epoch_: int
    precision_: str = "float32"
    _train_options: tuple[Path | None, bool, Callable[[Progress], None] | None] = (None, False, None)

    def train(
        self,
        images: NDArray[np.uint8],
        *,
        checkpoint: Path | None = None,
        resume: bool = False,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Self:
        """Fit, with a checkpoint each epoch and news of the progress.

        Parameters
        ----------
        images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
            Images to learn from; n of at least 2.
        checkpoint : Path, optional
            File that holds the state after each epoch, replaced in one step.
        resume : bool
            Go on from ``checkpoint``, if it exists.
        on_progress : callable, optional
            Called a few times a second.

        Returns
        -------
        TrainedEncoder
            Itself. After Ctrl-C it holds the best model so far, and ``stopped_`` is ``"interrupted"``.

        Raises
        ------
        UsageError
            If a parameter is out of range, or the ``train`` extra isn't installed.
        EncoderError
            If there are too few images, the checkpoint isn't of this training, or the loss became NaN.
        """
        self._train_options = (checkpoint, resume, on_progress)
        try:
            return self.fit(images)
        finally:
            self._train_options = (None, False, None)

    def check_params(self) -> None:
        """Refuse parameters out of range, as ``fit`` does.

        Raises
        ------
        UsageError
            If one is; the message names it and what it must be.
        """

    def _train(self, network: Any, data: NDArray[Any], plan: Plan) -> Result:
        """Train a network as :meth:`train` was asked to; what came of it."""
        from lookalike.encoders.training import loop

        checkpoint, resume, on_progress = self._train_options
        result = loop.train(network, data, plan, checkpoint=checkpoint, resume=resume, on_progress=on_progress)
        self.stopped_ = result.stopped
        return result

    def _require(self, *rules: tuple[str, bool, str]) -> None:
        """Refuse the first parameter that breaks a rule: its name, whether it is as it must be, and what that is."""
        for name, ok, expected in rules:
            if not ok:
                raise UsageError(f"{self.name}: {name} is {getattr(self, name)}; it must be {expected}")


class DenoisingEncoder(TrainedEncoder):
    """A trained encoder that is kept as its Keras network, and runs on ONNX Runtime: one half encodes, both denoise."""

    can_denoise = True
    #: What it is called where a file of it is missing.
    saved_as: ClassVar[str]
    _files: dict[str, bytes]
    _encoder_model: OnnxModel
    _denoiser_model: OnnxModel | None

    def _encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._encoder_model.run(images)

    def decode(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Remove noise: run images through the encoder and the decoder.

        Parameters
        ----------
        images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
            Noisy images of the size the encoder was fitted on.

        Returns
        -------
        ndarray of uint8, same shape
            The denoised images.

        Raises
        ------
        EncoderError
            If it isn't fitted, was trained without a decoder, or the images are of another size or type.
        """
        images = self.check_images(images)
        if self._denoiser_model is None:
            raise EncoderError(
                f"{self.name}: trained with denoising=0, so it has no decoder; train it with denoising=1"
            )
        return (self._denoiser_model.run(images) * 255).round().astype(np.uint8) if len(images) else images

    def keras_model(self) -> Any:
        """Return the trained network as Keras' own model, to look at or to train on.

        Returns
        -------
        keras.Model
            Channels last; input in 0..1 of shape (n, h, w, 1) or (n, h, w, 3). What it gives: ``build`` of the encoder's
            module.

        Raises
        ------
        UsageError
            If Keras isn't installed.
        """
        from lookalike.encoders.training import loop

        return loop.from_keras_file(self._files["model.keras"])

    def _keep(self, network: Any, result: Result, halves: dict[str, bytes], **more: Any) -> None:
        """Take a trained network as the files it is saved as: its ONNX halves, and how the training went."""
        from lookalike.encoders.training import loop

        history = {
            "history": [asdict(e) for e in result.history],
            "precision": result.precision,
            "best_epoch": result.best_epoch,
            **more,
        }
        files = {"model.keras": loop.to_keras_file(network), **halves}
        self._set_weights(files | {"history.json": json.dumps(history, indent=1).encode()})

    def _get_weights(self) -> dict[str, bytes]:
        return self._files

    def _set_weights(self, files: dict[str, bytes]) -> None:
        try:
            self._read(files)
        except KeyError as e:
            raise EncoderError(f"the saved {self.saved_as} lacks {e}; train it again") from e
        self._files = files

    def _read(self, files: dict[str, bytes]) -> dict[str, Any]:
        """Take what is in the files, and return how the training went."""
        record: dict[str, Any] = json.loads(files["history.json"])
        self.history_ = record["history"]
        self.precision_, self.best_epoch_ = record["precision"], record["best_epoch"]
        self._encoder_model = OnnxModel(files["encoder.onnx"], name="encoder.onnx")
        self._denoiser_model = self._read_denoiser(files)
        return record

    def _read_denoiser(self, files: dict[str, bytes]) -> OnnxModel | None:
        return OnnxModel(files["denoiser.onnx"], name="denoiser.onnx")


def create(name: str, **params: Any) -> Encoder:
    """Make an encoder by its name, not yet fitted.

    Parameters
    ----------
    name : str
        A name in :data:`TABLE`, one that another package brings, or several joined by ``+``, as in ``"hog+color"``.
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
    if "+" in name:
        return create("fusion", members=name, **params)
    cls = _import(name)
    known = set(inspect.signature(cls).parameters)
    for p in params:
        if p not in known:
            raise unknown_name(f"{name} parameter", p, known)
    return cls(**{p: value.item() if isinstance(value, np.generic) else value for p, value in params.items()})


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
    names = [entry["file"] for entry in read_card(folder)["files"].values()]
    files = {name: (folder / name).read_bytes() for name in [CARD, *names] if (folder / name).is_file()}
    return from_files(files, folder)


def from_files(files: Mapping[str, bytes], folder: Path) -> Encoder:
    """Make an encoder of the files that ``to_files`` returned.

    Parameters
    ----------
    files : mapping of str to bytes
        File name -> content, ``encoder.json`` among them.
    folder : Path
        Where they come from, as the errors say it.

    Returns
    -------
    Encoder
        Fitted, ready to encode.

    Raises
    ------
    EncoderError
        If they are no encoder's, were made by a newer version, or one was changed or cut short.
    """
    card = _parse_card(files[CARD], folder / CARD)
    try:
        encoder = create(card["encoder"], **card["params"])
    except UsageError as e:
        raise EncoderError(f"{folder / CARD}: {e}; upgrade lookalike, or train again") from e
    contents = {}
    for name, entry in card["files"].items():
        path = folder / entry["file"]
        if entry["file"] not in files:
            raise EncoderError(f"{path}: named in {CARD} but missing; copy the whole folder again, or train again")
        contents[name] = files[entry["file"]]
        if hashlib.sha256(contents[name]).hexdigest() != entry["sha256"]:
            raise EncoderError(
                f"{path}: not the file that was saved (its SHA-256 differs); copy it again, or train again"
            )
    encoder.distance = card["distance"]
    encoder.shape_ = tuple(card["shape"])
    encoder.dimension_ = card["dimension"]
    if "post" in card:
        try:
            encoder.post_ = Projection.from_files(card["post"], contents)
        except EncoderError as e:
            raise EncoderError(f"{folder / CARD}: {e}") from e
        contents.pop(POST_FILE)
    encoder._set_weights(contents)
    encoder._carded = frozenset(card["params"])
    if encoder.fingerprint != card["fingerprint"]:
        raise EncoderError(
            f"{folder / CARD}: edited since it was saved (its fingerprint differs); restore it from a copy, or train again"
        )
    return encoder


def check_folder(folder: str | Path, files: Mapping[str, bytes] | None = None) -> set[str]:
    """Refuse a folder in which an encoder can't be saved without harm.

    Parameters
    ----------
    folder : str or Path
        Where it is to be; it needn't exist.
    files : mapping of str to bytes, optional
        What is to be written there, where that is known.

    Returns
    -------
    set of str
        The files of the encoder that is there, which a new one takes the place of, but for the card.

    Raises
    ------
    EncoderError
        If it is no folder, or holds other things and no encoder: only ``encoder.json`` of ours, a checkpoint of a training
        and what a killed ``save`` left may lie in it.
    OSError
        If it can't be looked into.
    """
    folder = Path(folder)
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        raise EncoderError(f"{there}: a file; an encoder is a folder, so pick another name")
    if there != folder:
        return set()
    names = {child.name for child in folder.iterdir()}
    if CARD in names and not (folder / CARD).is_symlink():
        with suppress(EncoderError):
            card = _parse_card((folder / CARD).read_bytes(), folder / CARD)
            held = {entry["file"] for entry in card["files"].values()}
            _refuse_strangers(folder, names & set(files or ()) - held - {CARD}, files or {})
            return {name for name in held if (folder / name).is_file() and not (folder / name).is_symlink()}
    left = {name for name in names if name == CHECKPOINT or _PART.fullmatch(name)}
    _refuse_strangers(folder, names - left, files or {})
    return set()


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content


def _refuse_strangers(folder: Path, names: set[str], files: Mapping[str, bytes]) -> None:
    """Refuse files that lie there and aren't what is to be written anyway, to the byte: that a killed ``save`` left."""
    for name in sorted(names):
        path = folder / name
        same = name in files and name != CARD and path.is_file() and not path.is_symlink()
        if not same or path.read_bytes() != files[name]:
            raise EncoderError(
                f"{folder}: a folder that holds other things ({name}) and no encoder of lookalike's; pick an empty or a "
                "new one"
            )


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
    if not folder.exists() and folder.name == str(folder):
        hint = unknown_name("encoder", str(folder), TABLE | installed_encoders())
        raise UsageError(f"{hint}; and there is no folder of that name here")
    if not path.is_file():
        what = "a file, not a folder" if folder.is_file() else "without " + CARD if folder.is_dir() else "not there"
        raise EncoderError(
            f"{folder}: {what}; an encoder is a folder that 'lookalike train' wrote, or one of: {', '.join(sorted(TABLE))}"
        )
    return _parse_card(path.read_bytes(), path)


def installed_encoders() -> dict[str, EntryPoint]:
    """Return the encoders that other installed packages bring, by the entry points of :data:`ENTRY_POINTS`.

    Returns
    -------
    dict of str to EntryPoint
        Name -> where it is; none of them is imported. A name of ours stays ours.
    """
    return {e.name: e for e in entry_points(group=ENTRY_POINTS) if e.name not in TABLE}


def is_encoder_name(name: str) -> bool:
    """Tell whether ``create`` would take a name: one of ours, of another package, or several joined by ``+``.

    Parameters
    ----------
    name : str
        What may be a name, or a folder.

    Returns
    -------
    bool
        Installed packages are only looked through for names that aren't ours.
    """
    parts = name.split("+")
    return all(part in TABLE for part in parts) or all(part in TABLE or part in installed_encoders() for part in parts)


def _parse_card(content: bytes, path: Path) -> dict[str, Any]:
    try:
        card: dict[str, Any] = json.loads(content)
        version = card["format"]
        if version > FORMAT:
            raise EncoderError(
                f"{path}: written in format {version}, this version reads up to {FORMAT}; upgrade lookalike"
            )
        for key, kind in _CARD_KEYS.items():
            if not isinstance(card[key], kind):
                raise TypeError(key)
        if not isinstance(card.get("post", {}), dict):
            raise TypeError("post")
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
        raise EncoderError(
            f"images must be uint8 (0..255), these are {images.dtype}; see lookalike.imaging.resize.to_uint8"
        )
    if not (images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)) or 0 in images.shape[1:]:
        raise EncoderError(f"images must have shape (n, h, w) or (n, h, w, 3), these have {images.shape}")
    return np.ascontiguousarray(images)


def _say_shape(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]} {'colour' if len(shape) == 3 else 'grey'}"


def _import(name: str) -> type[Encoder]:
    if name not in TABLE:
        return _import_installed(name)
    target, extra = TABLE[name]
    module, cls = target.split(":")
    try:
        found: type[Encoder] = getattr(importlib.import_module(module), cls)
    except ModuleNotFoundError as e:
        if extra and not (e.name or "").startswith("lookalike"):
            raise missing_extra(f"the encoder '{name}'", extra) from e
        raise
    return found


def _import_installed(name: str) -> type[Encoder]:
    installed = installed_encoders()
    if name not in installed:
        raise unknown_name("encoder", name, TABLE | installed)
    entry = installed[name]
    where = f"the encoder '{name}' ({entry.value}, of the package {entry.dist.name if entry.dist else 'unknown'})"
    try:
        found = entry.load()
    except Exception as e:  # whatever a stranger's module raises when it is imported
        raise EncoderError(f"{where} can't be imported ({first_line(e)}); install what it needs, or remove it") from e
    if not (isinstance(found, type) and issubclass(found, Encoder) and getattr(found, "name", None) == name):
        raise EncoderError(
            f"{where} is not a subclass of lookalike.encoders.base.Encoder with that name; ask its author"
        )
    return found


__all__ = [
    "ENTRY_POINTS",
    "TABLE",
    "Encoder",
    "TrainedEncoder",
    "as_batch",
    "create",
    "describe",
    "from_files",
    "installed_encoders",
    "is_encoder_name",
    "load",
    "read_card",
]
