"""A network with a trunk, a code and a decoder -> the same, trained to give two views of one picture like codes.

Two losses of agreement, both without labels:

``simclr``
    Among all views of a batch each must find its other half, by cosine over a temperature (T. Chen et al., "A Simple
    Framework for Contrastive Learning of Visual Representations", ICML 2020).
``vicreg``
    Codes of the two views agree, each value of a code varies over the batch, and no two values vary together
    (A. Bardes et al., "VICReg: Variance-Invariance-Covariance Regularization", ICLR 2022).

To it is added the denoising loss of :mod:`lookalike.encoders.training.loop`: the first view is noisy, and the decoder gives it back
clean. What is kept is a mean of the weights over the last steps (B. Polyak and A. Juditsky, 1992), which is what a
falling learning rate would come to, for a training that may end or go on at any time.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array
from lookalike.encoders.training import loop
from lookalike.encoders.training.data import TrainingData, scaled, with_noise
from lookalike.encoders.training.forward import forward
from lookalike.encoders.training.keras_backend import import_keras
from lookalike.encoders.training.pairs import augmented_pairs

LOSSES = ("simclr", "vicreg")
#: Weights of agreement, variance and covariance in VICReg's loss, as in its paper.
VICREG_WEIGHTS = (25.0, 25.0, 1.0)
#: Fewest images held out: with fewer, a view finds its other half by chance.
MIN_HELD_OUT = 16
#: Share of the average that a step's weights make up, once there were enough steps.
MIN_SHARE = 0.002


@dataclass(frozen=True)
class Plan(loop.Plan):
    """How to train; the fields are explained at :class:`lookalike.encoders.contrastive.Contrastive`."""

    loss: str
    temperature: float
    denoising: float
    families: dict[str, float]

    def data(self, images: NDArray[np.uint8]) -> Data:
        """Return pairs of views of the images."""
        return Data(images, self)

    def learner(self, network: Any, precision: str) -> Any:
        """Return the network ready to learn from them."""
        return _learner(network, self, precision)


class Data(TrainingData):
    """Pairs of views, batch by batch: the first half of a batch noisy first views, then second views as they are."""

    whole_batches = True

    def __init__(self, images: NDArray[np.uint8], plan: Plan) -> None:
        super().__init__(images, plan)
        self._families = plan.families

    def _how_many_to_hold_out(self) -> int:
        wanted = super()._how_many_to_hold_out()
        return wanted if wanted >= MIN_HELD_OUT else 0

    def validate(self, learner: Any) -> float | None:
        """Return the loss of the averaged weights."""
        with learner.averaged():
            return super().validate(learner)

    def _batch(self, chosen: NDArray[np.int64], rng: np.random.Generator) -> tuple[Float32Array, Float32Array]:
        """Return views of shape (2 b, h, w, channels), and the first of them without noise, (b, h, w, channels)."""
        first, second = (scaled(views) for views in augmented_pairs(self._images[chosen], self._families, rng))
        return np.concatenate([with_noise(first, self._plan.noise, rng, up_to=True), second]), first


def _learner(network: Any, plan: Plan, precision: str) -> Any:
    """Wrap the network for training: the same variables, computed by :func:`lookalike.encoders.training.forward.forward`."""
    keras = import_keras()
    ops = keras.ops

    class Learner(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def call(self, x: Any) -> Any:
            maps = ops.relu(forward(network.get_layer("trunk"), x, precision))
            projected = ops.reshape(maps, (-1, int(np.prod(maps.shape[1:]))))
            for name in ("encoder", "projector"):
                for layer in network.get_layer(name).layers:
                    if isinstance(layer, keras.layers.Conv2D):
                        # It covers all of its input, so it is a product of matrices.
                        kernel = ops.reshape(layer.kernel, (-1, layer.filters))
                        projected = layer.activation(ops.matmul(projected, kernel) + layer.bias)
            first = maps[: ops.shape(x)[0] // 2]
            if not plan.denoising:
                return projected, first
            return projected, forward(network.get_layer("decoder"), first, precision)

        def compute_loss(self, x: Any, y: Any, y_pred: Any, *_: Any, **__: Any) -> Any:  # noqa: ARG002
            projected, logits = y_pred
            agreement = simclr_loss(projected, plan.temperature) if plan.loss == "simclr" else vicreg_loss(projected)
            if not plan.denoising:
                return agreement
            # Binary cross-entropy, as the autoencoder's, in the form that no logit overflows.
            wrong = ops.relu(logits) - logits * y + ops.log1p(ops.exp(-ops.abs(logits)))
            return agreement + plan.denoising * ops.mean(wrong)

        def train_on_batch(self, x: Any, y: Any) -> Any:
            loss = super().train_on_batch(x, y)
            steps = int(ops.convert_to_numpy(self.optimizer.iterations))
            share = max(MIN_SHARE, 1 / (1 + steps / 10))
            for mean, weight in zip(self.average, network.get_weights(), strict=True):
                np.add(mean, share * (weight - mean), out=mean)
            return loss

        def averaged(self) -> Any:
            return _Averaged(network, self.average)

    network.get_layer("decoder").trainable = plan.denoising > 0
    optimizer = loop.make_optimizer(plan)
    learner = Learner()
    learner.compile(optimizer)
    optimizer.build(network.trainable_variables)
    learner.average = _Weights(copy.deepcopy(network.get_weights()))
    return learner


class _Weights(tuple[Float32Array, ...]):
    """Arrays that Keras is not to take for a layer's own."""


class _Averaged:
    """While it is entered, the network computes by averaged weights."""

    def __init__(self, network: Any, average: list[Float32Array]) -> None:
        self._network, self._average = network, average

    def __enter__(self) -> None:
        self._kept = self._network.get_weights()
        self._network.set_weights(self._average)

    def __exit__(self, *_: object) -> None:
        self._network.set_weights(self._kept)


def simclr_loss(projected: Any, temperature: float) -> Any:
    """Return how hard it is for each view to find its other half among all: normalised temperature cross-entropy.

    Parameters
    ----------
    projected : tensor of float32, shape (2 b, d)
        First views, then second views in the same order.
    temperature : float
        What cosines are divided by; a small one weighs the most similar pictures most.

    Returns
    -------
    tensor of float32, scalar
        At least 0; the logarithm of 2 b - 1 by guessing.
    """
    from keras import ops

    unit = projected / ops.sqrt(ops.sum(ops.square(projected), axis=1, keepdims=True) + 1e-12)
    likeness = ops.matmul(unit, ops.transpose(unit)) / temperature
    number = ops.shape(projected)[0]
    place = ops.arange(number)
    itself = ops.cast(ops.equal(place[:, None], place[None, :]), "float32")
    likeness = likeness - 1e9 * itself
    half = number // 2
    other = ops.sum(unit[:half] * unit[half:], axis=1) / temperature
    return ops.mean(ops.logsumexp(likeness, axis=1)) - ops.mean(other)


def vicreg_loss(projected: Any) -> Any:
    """Return the weighed sum of disagreement, lack of variance and covariance.

    Parameters
    ----------
    projected : tensor of float32, shape (2 b, d)
        First views, then second views in the same order.

    Returns
    -------
    tensor of float32, scalar
        At least 0.
    """
    from keras import ops

    half = ops.shape(projected)[0] // 2
    agree, vary, apart = VICREG_WEIGHTS
    loss = agree * ops.mean(ops.square(projected[:half] - projected[half:]))
    size = projected.shape[1]
    others = 1 - np.eye(size, dtype=np.float32)
    for views in (projected[:half], projected[half:]):
        centred = views - ops.mean(views, axis=0)
        freedom = ops.cast(ops.maximum(half - 1, 1), "float32")
        covariance = ops.matmul(ops.transpose(centred), centred) / freedom
        deviation = ops.sqrt(ops.sum(ops.square(centred), axis=0) / freedom + 1e-4)
        loss += vary / 2 * ops.mean(ops.relu(1 - deviation))
        loss += apart * ops.sum(ops.square(covariance) * others) / size
    return loss
