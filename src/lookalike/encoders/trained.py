"""The base of encoders that are trained with Keras: progress, interruption, resuming."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lookalike.encoders.base import Encoder
from lookalike.encoders.onnx.runtime import OnnxModel
from lookalike.errors import EncoderError, UsageError
from lookalike.progress import Progress

if TYPE_CHECKING:
    from lookalike.encoders.training.loop import Plan, Result


class TrainedEncoder(Encoder):
    """An encoder whose ``fit`` takes minutes: with progress, interruption and resuming.

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
        from lookalike.encoders.training.keras_backend import from_keras_file

        return from_keras_file(self._files["model.keras"])

    def _keep(self, network: Any, result: Result, halves: dict[str, bytes], **more: Any) -> None:
        """Take a trained network as the files it is saved as: its ONNX halves, and how the training went."""
        from lookalike.encoders.training.keras_backend import to_keras_file

        history = {
            "history": [asdict(e) for e in result.history],
            "precision": result.precision,
            "best_epoch": result.best_epoch,
            **more,
        }
        files = {"model.keras": to_keras_file(network), **halves}
        self._set_weights(files | {"history.json": json.dumps(history, indent=1).encode()})

    def _providers(self) -> set[str]:
        return {self._encoder_model.provider}

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
