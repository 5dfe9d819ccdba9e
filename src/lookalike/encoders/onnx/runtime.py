"""ONNX models run over batches of images, on all cores or on a graphics processor."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lookalike.cores import usable_cores
from lookalike.encoders.onnx.model_check import check_model
from lookalike.errors import EncoderError, UsageError, first_line, unknown_name
from lookalike.process import import_environment

_log = logging.getLogger(__name__)

# Measured (benchmarks/encoding.py): activations of 64 small images stay in the cache, and one thread a block of 64
# beats ONNX Runtime's own threads inside one operator.
_BLOCK = 64

#: The environment variable that names the provider, here and in child processes; without it that is ``auto``.
VARIABLE = "LOOKALIKE_PROVIDER"
AUTO, CPU = "auto", "cpu"


class _Provider(NamedTuple):
    name: str  # ONNX Runtime's own
    options: dict[str, str]
    takes_8_bits: bool
    fix: str  # what brings it


#: What ONNX Runtime can compute with, beside the processor; ``auto`` takes the first that is there.
PROVIDERS = {
    # In full single precision, and by a convolution that no race of time chooses: one image gives one descriptor. It has
    # QuantizeLinear and DequantizeLinear and no convolution in 8 bits, so such a network stays on it and runs in float.
    "cuda": _Provider(
        "CUDAExecutionProvider",
        {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"},
        True,
        "pip uninstall onnxruntime, then pip install 'onnxruntime-gpu[cuda,cudnn]'",
    ),
    # It has neither of the two: a network in 8 bits would go back to the processor before and after each convolution.
    "coreml": _Provider("CoreMLExecutionProvider", {}, False, "on macOS, pip install onnxruntime brings it"),
}
#: Those that ``auto`` found to be without their libraries, in this process.
_UNUSABLE: set[str] = set()


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
                self._session, self._provider = self._open()
            return self._session

    @property
    def provider(self) -> str:
        """What computes it: ``cpu``, ``cuda`` or ``coreml``; the model is opened to know."""
        self.session  # noqa: B018
        return self._provider

    def _open(self) -> tuple[Any, str]:
        """Open the model by the provider that was asked for, or by the first that works."""
        onnxruntime = onnx_runtime()
        asked = os.environ.get(VARIABLE) or AUTO
        _check_provider(asked)
        there = onnxruntime.get_available_providers()
        is_float = b"DequantizeLinear" not in self.model
        usable = [
            name
            for name, provider in PROVIDERS.items()
            if provider.name in there and name not in _UNUSABLE and (is_float or provider.takes_8_bits)
        ]
        for name in usable if asked == AUTO else {asked} - {CPU}:
            provider = PROVIDERS[name]
            try:
                session = self._session_of(onnxruntime, (provider.name, provider.options))
                if provider.name in session.get_providers():
                    return session, name
                _UNUSABLE.add(name)  # it was left out, and would be of every other model
                reason = f"its libraries or its device are missing; {provider.fix}"
            except Exception as e:  # its exceptions share no base of their own
                reason = first_line(e)
            if asked == name:
                raise UsageError(f"provider {name}: ONNX Runtime can't open the model by it ({reason}); or use {AUTO}")
            _log.warning("provider %s: it can't be used (%s); %s=%s leaves it out", name, reason, VARIABLE, CPU)
        try:
            return self._session_of(onnxruntime), CPU
        except Exception as e:
            raise EncoderError(f"ONNX Runtime can't load the model ({first_line(e)}); {self._fix}") from e

    def _session_of(self, onnxruntime: Any, *others: tuple[str, dict[str, str]]) -> Any:
        """Open the model by the processor, and by others as far as they can."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4  # what goes wrong comes back as an exception
        options.add_session_config_entry("session.load_model_format", "ONNX")  # and not its own, by its begin
        if others and hasattr(onnxruntime, "preload_dlls"):  # from 1.21 on: CUDA's, where pip has put them
            with contextlib.redirect_stdout(sys.stderr):  # it prints what it misses
                onnxruntime.preload_dlls()
        # Its own fallback would print to standard output, and change the provider in the middle of a run.
        return onnxruntime.InferenceSession(self.model, options, [*others, "CPUExecutionProvider"], enable_fallback=0)


def use_provider(name: str) -> None:
    """Choose what computes the networks of this process and its children, in place of ``LOOKALIKE_PROVIDER``.

    A provider is no part of an encoder: an index that one made is searched by any other. Descriptors differ by rounding.

    Parameters
    ----------
    name : {"auto", "cpu", "cuda", "coreml"}
        ``auto`` takes CUDA where it is, else CoreML, else the processor; networks in 8 bits, such as those shipped, not
        to CoreML. Networks that are open already stay where they are.

    Raises
    ------
    UsageError
        If there is no such provider, or this ONNX Runtime doesn't have it.
    """
    _check_provider(name)
    os.environ[VARIABLE] = name


def _check_provider(name: str) -> None:
    if name in (AUTO, CPU):
        return
    if name not in PROVIDERS:
        raise unknown_name("provider", name, [AUTO, CPU, *PROVIDERS])
    there = onnx_runtime().get_available_providers()
    if PROVIDERS[name].name not in there:
        has = [CPU, *(ours for ours, provider in PROVIDERS.items() if provider.name in there)]
        raise UsageError(
            f"provider {name}: the installed ONNX Runtime has {', '.join(has)}; {PROVIDERS[name].fix}; or use {AUTO}"
        )


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
