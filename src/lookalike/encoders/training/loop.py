"""A Keras network of plain layers, images -> the network trained to denoise them: fast, resumable, in a stated time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.encoders.training.checkpoint import Epoch, TrainingState, check_checkpoint, training_signature
from lookalike.encoders.training.data import TrainingData
from lookalike.encoders.training.forward import forward
from lookalike.encoders.training.keras_backend import cpu_has_bfloat16, import_keras
from lookalike.errors import EncoderError, unknown_name
from lookalike.progress import Progress

#: optimizer -> (the class in keras.optimizers, default learning rate)
OPTIMIZERS = {"adam": ("Adam", 1e-3), "adadelta": ("Adadelta", 1.0)}
PRECISIONS = ("auto", "float32", "bfloat16")

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

    def data(self, images: NDArray[np.uint8]) -> TrainingData:
        """Return what is learnt from, batch by batch; another kind of training has a plan with another."""
        return TrainingData(images, self)

    def learner(self, network: Any, precision: str) -> Any:
        """Return the network ready to learn."""
        return _learner(network, self, precision)


@dataclass(frozen=True)
class Result:
    """How a training went; the network itself holds the best epoch's weights."""

    history: list[Epoch]
    best_epoch: int
    stopped: str
    precision: str


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
    state = TrainingState(network, learner, training_signature(network, images, plan), checkpoint)
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


def make_optimizer(plan: Plan) -> Any:
    """Make the optimizer that a plan names, with its learning rate or the optimizer's default one.

    Parameters
    ----------
    plan : Plan
        Its ``optimizer`` is in :data:`OPTIMIZERS`.

    Returns
    -------
    keras.optimizers.Optimizer
    """
    name, rate = OPTIMIZERS[plan.optimizer]
    return getattr(import_keras().optimizers, name)(rate if plan.learning_rate is None else plan.learning_rate)


def _learner(network: Any, plan: Plan, precision: str) -> Any:
    """Wrap the network for training: the same variables, computed by :func:`forward`."""
    keras = import_keras()

    class Learner(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def call(self, x: Any) -> Any:
            return forward(self.network, x, precision)

    optimizer = make_optimizer(plan)
    learner = Learner()
    learner.compile(optimizer, keras.losses.BinaryCrossentropy(from_logits=True))
    optimizer.build(network.trainable_variables)
    return learner


def _run_epoch(
    number: int,
    state: TrainingState,
    data: TrainingData,
    plan: Plan,
    deadline: float | None,
    on_progress: Callable[[Progress], None] | None,
) -> bool:
    """Train one epoch and record it; tell whether it ended before the deadline."""
    learner, begun, reported = state.learner, time.monotonic(), 0.0
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
        if on_progress is not None and now - reported > _REPORT_SECONDS:
            reported = now
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


def _choose_precision(network: Any, data: TrainingData, plan: Plan) -> tuple[str, str]:
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
    trial_rates = ", ".join(f"{p} {r:,.0f}" for p, r in rates.items())
    return best, f"images a second in a short trial: {trial_rates}"


__all__ = [
    "OPTIMIZERS",
    "Plan",
    "Progress",
    "Result",
    "train",
]
