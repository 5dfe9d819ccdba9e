"""Keras as it is installed: its import, what the CPU computes in hardware, and networks as ``.keras`` files."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookalike.errors import UsageError, missing_extra

if TYPE_CHECKING:
    from types import ModuleType


def import_keras() -> ModuleType:
    """Import Keras with the user's backend (``KERAS_BACKEND``), else with one that is installed.

    Returns
    -------
    module
        ``keras``.

    Raises
    ------
    UsageError
        If Keras or its backend isn't installed.
    """
    from importlib.util import find_spec

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up lines are not for our users
    # oneDNN's convolutions are 2.3 times as fast here, and TensorFlow leaves them off on CPUs without VNNI (AMD Zen 2, 3).
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if "KERAS_BACKEND" not in os.environ and find_spec("tensorflow") is None:
        for backend in ("jax", "torch"):
            if find_spec(backend) is not None:
                os.environ["KERAS_BACKEND"] = backend
                break
    try:
        with _hushed():
            return importlib.import_module("keras")
    except ImportError as e:
        raise missing_extra("training", "train") from e
    except ValueError as e:  # Keras' word for a backend it doesn't know
        raise UsageError(
            f"KERAS_BACKEND is '{os.environ.get('KERAS_BACKEND')}': {e}; use tensorflow, jax or torch"
        ) from e


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep TensorFlow's C++ log off standard error while it is imported; it has no switch for its first lines."""
    if "keras" in sys.modules:
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def cpu_has_bfloat16() -> bool:
    """Tell whether the CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX on Linux); False where unknown."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def to_keras_file(network: Any) -> bytes:
    """Return a network as the content of a ``.keras`` file.

    Parameters
    ----------
    network : keras.Model
        Of standard layers only.

    Returns
    -------
    bytes
        What :func:`from_keras_file` takes.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        network.save(path)
        return path.read_bytes()


def from_keras_file(content: bytes) -> Any:
    """Return the network of a ``.keras`` file, to look at or to train on.

    Parameters
    ----------
    content : bytes
        What :func:`to_keras_file` returned.

    Returns
    -------
    keras.Model

    Raises
    ------
    UsageError
        If Keras isn't installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        path.write_bytes(content)
        return import_keras().models.load_model(path)
