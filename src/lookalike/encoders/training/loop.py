"""A Keras network of plain layers, images -> the network trained to denoise them: fast, resumable, in a stated time."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lookalike.atomic import replace_file
from lookalike.errors import EncoderError, UsageError, first_line, missing_extra, unknown_name
from lookalike.progress import Progress

if TYPE_CHECKING:
    from types import ModuleType

#: optimizer -> (the class in keras.optimizers, default learning rate)
OPTIMIZERS = {"adam": ("Adam", 1e-3), "adadelta": ("Adadelta", 1.0)}
PRECISIONS = ("auto", "float32", "bfloat16")

_CHECKPOINT_FORMAT = 1
_TRIAL_STEPS = 8
_REPORT_SECONDS = 0.2


@dataclass(frozen=True)
class Plan:
    """How to train; the fields are explained at :class:`lookalike.encoders.autoencoder.Autoencoder`."""

    noise: float
    fixed_noise: bool
    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float | None
    validation: float
    precision: str
    minutes: float | None
    seed: int

    def data(self, images: NDArray[np.uint8]) -> Data:
        """Return what is learnt from, batch by batch; another kind of training has a plan with another."""
        return Data(images, self)

    def learner(self, network: Any, precision: str) -> Any:
        """Return the network ready to learn."""
        return _learner(network, self, precision)


@dataclass(frozen=True)
class Epoch:
    """What one epoch did; ``images`` is smaller than the collection where time or Ctrl-C ended it."""

    epoch: int
    loss: float
    validation_loss: float | None
    images: int
    seconds: float
    images_per_second: float


@dataclass(frozen=True)
class Result:
    """How a training went; the network itself holds the best epoch's weights."""

    history: list[Epoch]
    best_epoch: int
    stopped: str
    precision: str


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


def train(
    network: Any,
    images: NDArray[np.uint8],
    plan: Plan,
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Result:
    """Train a network to give back clean images from noisy ones.

    Parameters
    ----------
    network : keras.Sequential
        Of the layers :func:`forward` knows; ends in a sigmoid. Its weights become those of the best epoch.
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        Clean images; n of at least 2.
    plan : Plan
        How.
    checkpoint, resume, on_progress
        See :meth:`lookalike.encoders.autoencoder.Autoencoder.train`.

    Returns
    -------
    Result
        With one :class:`Epoch` for each.

    Raises
    ------
    EncoderError
        If there are too few images, the checkpoint is of another training, or the loss became NaN.
    UsageError
        If the optimizer or the precision isn't known.
    """
    started = time.monotonic()
    if plan.precision not in PRECISIONS:
        raise unknown_name("precision", plan.precision, PRECISIONS)
    if plan.optimizer not in OPTIMIZERS:
        raise unknown_name("optimizer", plan.optimizer, OPTIMIZERS)
    if checkpoint is not None:
        check_checkpoint(checkpoint)
    data = plan.data(images)
    precision, why = _choose_precision(network, data, plan)
    learner = plan.learner(network, precision)
    state = _State(network, learner, _signature(network, images, plan), checkpoint)
    if resume and checkpoint is not None and checkpoint.is_file():
        state.load()
    stopped = "done"
    seconds = 0.0 if plan.minutes is None else plan.minutes * 60
    try:
        for number in range(len(state.history) + 1, plan.epochs + 1):
            ended = _run_epoch(number, state, data, plan, started + seconds if seconds else None, on_progress)
            if not ended:
                stopped = "time"
                break
    except KeyboardInterrupt:
        stopped = "interrupted"
        if not state.history:
            # Not one epoch is whole: what was learnt until now is the best there is.
            state.record(Epoch(1, float("nan"), data.validate(learner), 0, time.monotonic() - started, 0.0))
    state.restore_best()
    return Result(state.history, state.best_epoch, stopped, f"{precision} ({why})")


def forward(network: Any, x: Any, dtype: str = "float32") -> Any:
    """Compute a network's output before its last activation, equal to its layers one by one, but faster on a CPU.

    Two things are done differently. A convolution of an image that was just doubled by nearest-neighbour upsampling is
    one transposed convolution of the small image with the kernel's taps summed in twos: 16 products where there were
    36, and the large image is never made. And bias and activation come after a max pooling instead of before it: all
    rise with their input, so the order doesn't matter, and there is a quarter of the work.

    Parameters
    ----------
    network : keras.Sequential
        Of Conv2D (3 x 3 and unstrided after an upsampling), Dense, MaxPooling2D, UpSampling2D (2, nearest), Cropping2D,
        Flatten and Reshape layers.
    x : tensor, shape (n, h, w, channels)
        In 0..1.
    dtype : {"float32", "bfloat16"}
        Type to compute in.

    Returns
    -------
    tensor of float32, shape (n, h, w, channels)
        Logits: the sigmoid of them is the network's output.
    """
    from keras import layers, ops
    from keras.backend import backend

    x = ops.cast(x, dtype)
    remaining = [layer for layer in network.layers if not isinstance(layer, layers.InputLayer)]
    while remaining:
        layer = remaining.pop(0)
        upsampled = (
            isinstance(layer, layers.UpSampling2D) and bool(remaining) and isinstance(remaining[0], layers.Conv2D)
        )
        if upsampled:
            layer = remaining.pop(0)
        if isinstance(layer, layers.Dense):
            y = ops.add(ops.matmul(x, ops.cast(layer.kernel, dtype)), ops.cast(layer.bias, dtype))
            x = layer.activation(y) if remaining else y
            continue
        if not isinstance(layer, layers.Conv2D):
            x = layer.call(x)
            continue
        kernel = ops.cast(layer.kernel, dtype)
        if upsampled and backend() == "jax":  # XLA's transposed convolutions are slower than what they save
            y = ops.conv(ops.repeat(ops.repeat(x, 2, 1), 2, 2), kernel, strides=1, padding=layer.padding)
        elif upsampled:
            y = ops.conv_transpose(x, _summed_taps(kernel), strides=2, padding="same")
            if layer.padding == "valid":
                y = y[:, 1:-1, 1:-1]
        else:
            y = ops.conv(x, kernel, strides=layer.strides, padding=layer.padding)
        if remaining and isinstance(remaining[0], layers.MaxPooling2D):
            pool = remaining.pop(0)
            y = ops.max_pool(y, pool.pool_size, pool.strides, pool.padding)
        y = ops.add(y, ops.cast(layer.bias, dtype))
        x = layer.activation(y) if remaining else y
    return ops.cast(x, "float32")


def _summed_taps(kernel: Any) -> Any:
    """Return the 4 x 4 kernel of a transposed convolution that equals upsampling by 2, then ``kernel`` (3 x 3)."""
    from keras import ops

    # Row t of the large kernel meets the rows of the small one that fall on the same low-resolution pixel.
    rows = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], np.float32)
    mix = np.einsum("ak,bl->abkl", rows, rows).reshape(16, 9)
    inputs, outputs = kernel.shape[2:]
    summed = ops.matmul(ops.cast(mix, kernel.dtype), ops.reshape(kernel, (9, inputs * outputs)))
    return ops.transpose(ops.reshape(summed, (4, 4, inputs, outputs)), (0, 1, 3, 2))


def _learner(network: Any, plan: Plan, precision: str) -> Any:
    """Wrap the network for training: the same variables, computed by :func:`forward`."""
    keras = import_keras()

    class Learner(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def call(self, x: Any) -> Any:
            return forward(self.network, x, precision)

    cls, rate = OPTIMIZERS[plan.optimizer]
    optimizer = getattr(keras.optimizers, cls)(rate if plan.learning_rate is None else plan.learning_rate)
    learner = Learner()
    learner.compile(optimizer, keras.losses.BinaryCrossentropy(from_logits=True))
    optimizer.build(network.trainable_variables)
    return learner


#: Images held out that go through the network at a time.
_VALIDATED = 500


class Data:
    """Clean images and their noisy copies, batch by batch, the same for the same seed and epoch.

    A subclass says in ``_batch`` what some images become, and goes through them as here.

    Attributes
    ----------
    count : int
        How many images an epoch learns from.
    """

    #: Whether images of a batch are told from each other, so that a short batch at the end would be too easy.
    whole_batches: ClassVar[bool] = False
    #: Fewest images held out that a loss is worth computing of.
    fewest_held_out: ClassVar[int] = 1

    def __init__(self, images: NDArray[np.uint8], plan: Plan) -> None:
        if len(images) < 2:
            raise EncoderError(f"training needs at least 2 images, there is {len(images)}; give more")
        self._images, self._plan = images, plan
        order = np.random.default_rng(plan.seed).permutation(len(images))
        held_out = self._how_many_to_hold_out()
        self._held_out, self._train = np.sort(order[:held_out]), np.sort(order[held_out:])
        self.batch_size = min(plan.batch_size, len(self._train))
        self.count = len(self._train)
        if self.whole_batches and self.count > self.batch_size:
            self.count -= self.count % self.batch_size
        self._noisy_once = self._draw_once() if plan.fixed_noise else None

    def _how_many_to_hold_out(self) -> int:
        return min(int(np.ceil(len(self._images) * self._plan.validation)), 10_000)

    def epoch(self, number: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Yield what goes into the network, and what it is to give back."""
        rng = np.random.default_rng([self._plan.seed, number])
        order = rng.permutation(self._train)[: self.count]
        for start in range(0, self.count, self.batch_size):
            chosen = order[start : start + self.batch_size]
            if self._noisy_once is None:
                yield self._batch(chosen, rng)
            else:
                yield scaled(self._noisy_once[chosen]), scaled(self._images[chosen])

    def validate(self, learner: Any) -> float | None:
        """Return the loss on the images held out, whose noise or augmentations are the same each time."""
        count = len(self._held_out)
        if count < self.fewest_held_out:
            return None
        rng, total = np.random.default_rng([self._plan.seed, 0]), 0.0
        if self.whole_batches:
            parts = np.array_split(self._held_out, -(-count // self.batch_size))
        else:
            parts = [self._held_out[start : start + _VALIDATED] for start in range(0, count, _VALIDATED)]
        for chosen in parts:
            total += float(learner.test_on_batch(*self._batch(chosen, rng))) * len(chosen)
        return total / count

    def _batch(
        self, chosen: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return what goes into the network of some images, and what it is to give back."""
        clean = scaled(self._images[chosen])
        return with_noise(clean, self._plan.noise, rng), clean

    def _draw_once(self) -> NDArray[np.uint8]:
        """Return a noisy copy of every image, in uint8: no more memory than the images take."""
        rng = np.random.default_rng([self._plan.seed, 0])
        noisy = np.empty_like(self._images)
        for start in range(0, len(noisy), 1024):
            block = scaled(self._images[start : start + 1024])
            noisy[start : start + 1024] = (
                (with_noise(block, self._plan.noise, rng) * 255).round().reshape(-1, *noisy.shape[1:])
            )
        return noisy


def with_noise(
    clean: NDArray[np.float32], deviation: float, rng: np.random.Generator, *, up_to: bool = False
) -> NDArray[np.float32]:
    """Return images with Gaussian noise, clipped to 0..1.

    Parameters
    ----------
    clean : ndarray of float32, shape (n, h, w, channels)
        In 0..1.
    deviation : float
        Standard deviation of the noise.
    rng : numpy.random.Generator
        Draws it.
    up_to : bool
        Give each image noise of a deviation of its own, drawn evenly from 0 to that.

    Returns
    -------
    ndarray of float32, same shape
        A new array.
    """
    noise = rng.standard_normal(clean.shape, np.float32)
    noise *= rng.uniform(0, deviation, (len(clean), 1, 1, 1)).astype(np.float32) if up_to else np.float32(deviation)
    noise += clean
    return np.clip(noise, 0, 1, out=noise)


def scaled(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return images as a network takes them.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        The images.

    Returns
    -------
    ndarray of float32, shape (n, h, w, 1) or (n, h, w, 3)
        In 0..1.
    """
    pixels = images.astype(np.float32)
    pixels /= np.float32(255)
    return pixels[..., None] if pixels.ndim == 3 else pixels


def _run_epoch(
    number: int,
    state: _State,
    data: Data,
    plan: Plan,
    deadline: float | None,
    on_progress: Callable[[Progress], None] | None,
) -> bool:
    """Train one epoch and record it; tell whether it ended before the deadline."""
    learner, begun, told = state.learner, time.monotonic(), 0.0
    before = state.history[-1].validation_loss if state.history else None
    done, total, out_of_time = 0, 0.0, False
    for noisy, clean in data.epoch(number):
        loss = float(learner.train_on_batch(noisy, clean))
        if not np.isfinite(loss):
            raise EncoderError(
                f"training: the loss became {loss} in epoch {number} with {plan.optimizer}; use a smaller --learning-rate"
            )
        done, total = done + len(clean), total + loss * len(clean)
        now = time.monotonic()
        if on_progress is not None and now - told > _REPORT_SECONDS:
            told = now
            rate = done / (now - begun)
            left = ((plan.epochs - number + 1) * data.count - done) / rate
            left = left if deadline is None else min(left, max(0.0, deadline - now))
            on_progress(Progress(number, plan.epochs, done, data.count, total / done, before, rate, left))
        out_of_time = deadline is not None and now >= deadline and done < data.count
        if out_of_time:
            break
    seconds = time.monotonic() - begun
    state.record(
        Epoch(number, total / done, data.validate(learner), done, seconds, done / seconds), whole=not out_of_time
    )
    if on_progress is not None:
        last = state.history[-1]
        on_progress(
            Progress(number, plan.epochs, done, data.count, last.loss, last.validation_loss, done / seconds, 0.0, True)
        )
    return not out_of_time and (deadline is None or time.monotonic() < deadline or number == plan.epochs)


def check_checkpoint(path: Path) -> None:
    """Refuse a file in a checkpoint's place that no training of ours wrote.

    Parameters
    ----------
    path : Path
        Where a checkpoint is to be; it needn't exist.

    Raises
    ------
    EncoderError
        If something else lies there, or it can't be read.
    """
    if not os.path.lexists(path):
        return
    try:
        if path.is_symlink() or not path.is_file():
            raise ValueError("no plain file")
        with np.load(path, allow_pickle=False) as arrays:
            json.loads(str(arrays["facts"]))["signature"]
    except OSError as e:
        raise EncoderError(f"{path}: can't be read: {e.strerror or e}; nothing was changed") from e
    except Exception as e:  # a file of any kind raises any kind
        raise EncoderError(
            f"{path}: not a checkpoint of lookalike's, or a damaged one ({first_line(e)}); move it away, or take another "
            "folder"
        ) from e


class _State:
    """What a training knows at the end of an epoch, in memory and in its checkpoint file."""

    def __init__(self, network: Any, learner: Any, signature: str, checkpoint: Path | None) -> None:
        self.network, self.learner = network, learner
        self._signature, self._checkpoint = signature, checkpoint
        self.history: list[Epoch] = []
        self.best_epoch = 0
        self._best_loss = np.inf
        self._best: list[NDArray[np.float32]] = []

    def record(self, epoch: Epoch, whole: bool = True) -> None:
        self.history.append(epoch)
        loss = epoch.loss if epoch.validation_loss is None else epoch.validation_loss
        if loss < self._best_loss or not self._best:
            weights = [w.copy() for w in self._average()] or self.network.get_weights()
            self.best_epoch, self._best_loss, self._best = epoch.epoch, loss, weights
        if whole and self._checkpoint is not None:
            self._save(self._checkpoint)

    def _average(self) -> list[NDArray[np.float32]]:
        """Return the mean of the weights over the last steps, of a learner that keeps one."""
        average: list[NDArray[np.float32]] = getattr(self.learner, "average", [])
        return average

    def restore_best(self) -> None:
        self.network.set_weights(self._best)

    def _save(self, path: Path) -> None:
        facts = {
            "format": _CHECKPOINT_FORMAT,
            "signature": self._signature,
            "history": [asdict(e) for e in self.history],
            "best_epoch": self.best_epoch,
            "best_loss": self._best_loss,
        }
        arrays = {f"weight_{i}": w for i, w in enumerate(self.network.get_weights())}
        arrays |= {f"best_{i}": w for i, w in enumerate(self._best)}
        arrays |= {f"average_{i}": w for i, w in enumerate(self._average())}
        arrays |= {f"optimizer_{i}": np.asarray(v) for i, v in enumerate(self._optimizer_values())}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replace_file(path) as f:
                np.savez(f, facts=np.array(json.dumps(facts)), **arrays)
        except OSError as e:
            raise EncoderError(
                f"{path}: the checkpoint can't be written: {e.strerror or e}; free space, then go on with --resume"
            ) from e

    def load(self) -> None:
        path = self._checkpoint
        assert path is not None
        try:
            with np.load(path, allow_pickle=False) as arrays:
                facts = json.loads(str(arrays["facts"]))
                if facts["format"] != _CHECKPOINT_FORMAT or facts["signature"] != self._signature:
                    raise EncoderError(
                        f"{path}: a checkpoint of another training (other images, preset, noise, optimizer or seed); "
                        "repeat the options it was started with, or begin anew with --restart"
                    )
                weights = self.network.get_weights()
                self.network.set_weights([arrays[f"weight_{i}"] for i in range(len(weights))])
                self._best = [arrays[f"best_{i}"] for i in range(len(weights))]
                for i, weight in enumerate(self._average()):
                    weight[...] = arrays[f"average_{i}"]
                for i, variable in enumerate(self.learner.optimizer.variables):
                    variable.assign(arrays[f"optimizer_{i}"])
        except EncoderError:
            raise
        except Exception as e:  # a damaged zip raises many kinds
            raise EncoderError(
                f"{path}: not a checkpoint that can be read ({first_line(e)}); begin anew with --restart"
            ) from e
        self.history = [Epoch(**e) for e in facts["history"]]
        self.best_epoch, self._best_loss = facts["best_epoch"], facts["best_loss"]

    def _optimizer_values(self) -> list[Any]:
        from keras import ops

        return [ops.convert_to_numpy(v) for v in self.learner.optimizer.variables]


def _signature(network: Any, images: NDArray[np.uint8], plan: Plan) -> str:
    """Return a hash of all that makes two trainings the same, but for how long they last."""
    ours = {k: v for k, v in asdict(plan).items() if k not in ("epochs", "minutes", "precision")}
    digest = hashlib.sha256(json.dumps([network.name, list(images.shape), ours]).encode())
    digest.update(np.ascontiguousarray(images).data)
    return digest.hexdigest()


def _choose_precision(network: Any, data: Data, plan: Plan) -> tuple[str, str]:
    if plan.precision != "auto":
        return plan.precision, "as asked"
    if not cpu_has_bfloat16():
        return "float32", "this CPU has no bfloat16 arithmetic"
    weights, rates = network.get_weights(), {}
    for precision in ("float32", "bfloat16"):
        learner = plan.learner(network, precision)
        noisy, clean = next(data.epoch(1))
        learner.train_on_batch(noisy, clean)  # traces and compiles
        begun = time.perf_counter()
        for _ in range(_TRIAL_STEPS):
            learner.train_on_batch(noisy, clean)
        rates[precision] = _TRIAL_STEPS * len(clean) / (time.perf_counter() - begun)
    network.set_weights(weights)
    best = max(rates, key=lambda p: rates[p])
    said = ", ".join(f"{p} {r:,.0f}" for p, r in rates.items())
    return best, f"images a second in a short trial: {said}"


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


__all__ = [
    "OPTIMIZERS",
    "Data",
    "Epoch",
    "Plan",
    "Progress",
    "Result",
    "cpu_has_bfloat16",
    "forward",
    "from_keras_file",
    "import_keras",
    "scaled",
    "to_keras_file",
    "train",
]
