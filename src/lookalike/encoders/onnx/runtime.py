"""ONNX models run over batches of images, on all cores."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.cores import usable_cores
from lookalike.encoders.onnx.model_check import check_model
from lookalike.errors import EncoderError, first_line
from lookalike.process import import_environment

# Measured (benchmarks/encoding.py): activations of 64 small images stay in the cache, and one thread a block of 64
# beats ONNX Runtime's own threads inside one operator.
_BLOCK = 64


class OnnxModel:
    """An ONNX model, loaded when it is first used; :meth:`run` is for one input of images and one output.

    Parameters
    ----------
    model : bytes
        The serialised model.
    fix : str
        What to do where ONNX Runtime refuses it, as the error's end says.
    name : str
        What it is called in errors.

    Raises
    ------
    EncoderError
        If it keeps anything in another file. Every model of ours and of others is opened here, and from its bytes.
    """

    def __init__(self, model: bytes, fix: str = "save the encoder again", name: str = "the ONNX model") -> None:
        try:
            check_model(model, name)
        except ValueError as e:
            raise EncoderError(f"{name}: ONNX Runtime can't load the model ({e}); {fix}") from e
        self.model = model
        self._fix = fix
        self._session: Any = None
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the session behind, which belongs to this process: a copy opens its own."""
        return self.__dict__ | {"_session": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the model over images, block by block.

        Parameters
        ----------
        images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3), n > 0
            What the model's input takes.

        Returns
        -------
        ndarray of float32, shape (n, ...)
            The model's output; that of an image doesn't depend on the rest of the batch.

        Raises
        ------
        EncoderError
            If ONNX Runtime refuses the model, or the model these images.
        """
        session = self.session
        name = session.get_inputs()[0].name

        def one(start: int) -> NDArray[np.float32]:
            try:
                out: NDArray[np.float32] = session.run(None, {name: images[start : start + _BLOCK]})[0]
            except Exception as e:  # its exceptions share no base of their own
                raise EncoderError(
                    f"the ONNX model can't take images of shape {images.shape[1:]} ({first_line(e)})"
                ) from e
            return out

        first = one(0)
        if len(images) <= _BLOCK:
            return first
        result = np.empty((len(images), *first.shape[1:]), np.float32)
        result[:_BLOCK] = first

        def fill(start: int) -> None:
            result[start : start + _BLOCK] = one(start)

        with ThreadPoolExecutor(usable_cores()) as pool:
            list(pool.map(fill, range(_BLOCK, len(images), _BLOCK)))
        return result

    @property
    def session(self) -> Any:
        """The open ``onnxruntime.InferenceSession``, one thread a run; several may run at once."""
        with self._lock:
            if self._session is None:
                onnxruntime = onnx_runtime()
                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = 1
                options.log_severity_level = 4  # what goes wrong comes back as an exception
                options.add_session_config_entry("session.load_model_format", "ONNX")  # and not its own, by its begin
                try:
                    self._session = onnxruntime.InferenceSession(self.model, options, ["CPUExecutionProvider"])
                except Exception as e:
                    raise EncoderError(f"ONNX Runtime can't load the model ({first_line(e)}); {self._fix}") from e
            return self._session


def onnx_runtime() -> Any:
    """Import ONNX Runtime without its telemetry, unless the user has asked for that: nothing leaves the machine.

    From 1.32 on it leaves a device's number in the home folder as soon as it is imported, and looks its maker's collector
    up. It reads ``ORT_DISABLE_TELEMETRY`` once, while it is imported, so that is the moment to set it.

    Returns
    -------
    module
        ``onnxruntime``; no other line of ours imports it.
    """
    already = "onnxruntime" in sys.modules
    with import_environment(ORT_DISABLE_TELEMETRY="1"):
        import onnxruntime

    if (
        already and os.environ.get("ORT_DISABLE_TELEMETRY", "1") == "1"
    ):  # imported by the user's own program: what we run isn't reported all the same
        onnxruntime.disable_telemetry_events()
    return onnxruntime
