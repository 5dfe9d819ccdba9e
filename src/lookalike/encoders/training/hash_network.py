"""Descriptors of images and of their augmented copies -> a deep network of binary codes.

An autoencoder, d - 1,024 - 512 - bits - 512 - 1,024 - d, of fully connected layers with a binary middle, after
A. Krizhevsky and G. Hinton, "Using Very Deep Autoencoders for Content-Based Image Retrieval", ESANN 2011. What they
trained layer by layer as restricted Boltzmann machines, rectified units, Glorot's weights and Adam train at once. Two
terms are added up:

*Drawing*: the bits of an augmented copy must give back the descriptor of the image. Bits are rounded in the forward pass,
and in the backward pass have the gradient of a hyperbolic tangent (the straight-through estimator).

*Agreement*: the tangents of two copies of an image must agree, bit by bit over a batch, and no two bits may say the
same (J. Zbontar et al., "Barlow Twins", ICML 2021). Where neighbours are asked for, half of the second copies are those
of a near neighbour: bits then say what kind an image is of, rather than which image it is.

Each value is brought to mean 0 and deviation 1 over the batch before it is rounded, so that its bit is set for about
half of the images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array
from lookalike.encoders.training import loop
from lookalike.encoders.training.data import TrainingData
from lookalike.encoders.training.keras_backend import import_keras
from lookalike.neighbors.exact import Database
from lookalike.neighbors.others import others_than

#: Units of the two hidden layers on either side of the code.
HIDDEN = (1024, 512)
#: Weight of bits that say the same, each against each.
REPETITION = 0.02
#: Share of second copies that are a neighbour's, where there are neighbours.
NEIGHBOURLY = 0.5
#: Layers up to the code.
LAYERS = 3
#: Descriptors that go through the network at a time: always as many, so that a code's rounding doesn't hang on others.
_BLOCK = 64


@dataclass(frozen=True)
class Plan(loop.Plan):
    """How to train; the fields are explained at :class:`lookalike.encoders.hashing.Hashing`."""

    drawing: float
    agreement: float
    neighbours: int

    def data(self, images: NDArray[Any]) -> Data:
        """Return pairs of copies, batch by batch."""
        return Data(images, self)

    def learner(self, network: Any, precision: str) -> Any:  # noqa: ARG002
        """Return the compiled network; it computes in float32 for every ``precision``."""
        return _learner(network, self)


class Data(TrainingData):
    """Pairs of augmented copies' descriptors, and those of their images, the same for the same seed and epoch.

    Parameters
    ----------
    table : ndarray of float32, shape (n, 1 + copies, d)
        For each image its own descriptor, then those of its augmented copies.
    plan : Plan
        How.
    """

    whole_batches = True  # over a short batch at the end, bits would hardly vary
    min_held_out = 2

    def __init__(self, table: NDArray[Any], plan: Plan) -> None:
        super().__init__(table, plan)
        self._neighbours = _nearest(table[:, 0], plan.neighbours) if plan.neighbours else None

    def _batch(self, chosen: NDArray[np.int64], rng: np.random.Generator) -> tuple[Float32Array, Float32Array]:
        """Return pairs, shape (b, 2, d), and what both are to give back, (b, d)."""
        table: NDArray[Any] = self._images
        one, other = rng.integers(1, table.shape[1], (2, len(chosen)))
        second = chosen
        if self._neighbours is not None:
            near = self._neighbours[chosen, rng.integers(self._neighbours.shape[1], size=len(chosen))]
            second = np.where(rng.random(len(chosen)) < NEIGHBOURLY, near, chosen)
        return np.stack([table[chosen, one], table[second, other]], axis=1), table[chosen, 0]


def _nearest(descriptors: Float32Array, count: int) -> NDArray[np.int64]:
    """Return the rows of each image's nearest others, shape (n, min(count, n - 1))."""
    count = min(count, len(descriptors) - 1)
    rows, _ = Database(descriptors, "euclidean").nearest(descriptors, count + 1)
    near = np.asarray(rows, np.int64)
    return near[others_than(np.arange(len(near)), near)].reshape(len(near), count)


def build(length: int, bits: int, seed: int) -> Any:
    """Build the untrained network.

    Parameters
    ----------
    length : int
        Of a descriptor.
    bits : int
        Of a code.
    seed : int
        Of the initial weights (Glorot uniform).

    Returns
    -------
    keras.Sequential
        Six dense layers; the third, without an activation, is the code before it is rounded.
    """
    keras = import_keras()
    seeds = iter(np.random.SeedSequence(seed).generate_state(6).tolist())

    def layer(units: int, activation: str | None = "relu") -> Any:
        start = keras.initializers.GlorotUniform(seed=int(next(seeds)))
        return keras.layers.Dense(units, activation=activation, kernel_initializer=start)

    first, second = HIDDEN
    layers = [layer(first), layer(second), layer(bits, None), layer(second), layer(first), layer(length, None)]
    return keras.Sequential([keras.Input((length,)), *layers], name=f"hashing_{bits}")


def _learner(network: Any, plan: Plan) -> Any:
    keras = import_keras()
    ops = keras.ops

    class Learner(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def call(self, x: Any) -> Any:
            half = ops.shape(x)[0]
            x = ops.concatenate([x[:, 0], x[:, 1]])
            for layer in network.layers[:LAYERS]:
                x = layer(x)
            x = standard(x)
            soft = ops.tanh(x)
            hard = soft + ops.stop_gradient(ops.where(x > 0, 1.0, -1.0) - soft)
            for layer in network.layers[LAYERS:]:
                hard = layer(hard)
            # A second copy may be a neighbour's, which can't tell what this image looks like: only first copies are drawn.
            return soft, hard[:half]

        def compute_loss(
            self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
        ) -> Any:
            del x, sample_weight, training
            soft, drawn = y_pred
            wrong = ops.mean(ops.square(drawn - y)) / (ops.mean(ops.square(y)) + 1e-12)
            return plan.drawing * wrong + plan.agreement * disagreement(soft)

    optimizer = loop.make_optimizer(plan)
    learner = Learner()
    learner.compile(optimizer)
    optimizer.build(network.trainable_variables)
    return learner


def read_layers(network: Any, descriptors: Float32Array) -> list[tuple[Float32Array, Float32Array]]:
    """Return a trained network's layers up to the code.

    In training a bit's threshold is the batch's mean; from now on it is the collection's, and a part of the last bias.

    Parameters
    ----------
    network : keras.Sequential
        As :func:`build` makes it, trained.
    descriptors : ndarray of float32, shape (n, d)
        A sample of the collection's.

    Returns
    -------
    list of (ndarray of float32, ndarray of float32)
        Kernel, (inputs, units), and bias, (units,), of each layer, first to last.
    """
    weights = network.get_weights()
    layers = [(weights[2 * i], weights[2 * i + 1]) for i in range(LAYERS)]
    kernel, bias = layers[-1]
    layers[-1] = kernel, bias - values(layers, descriptors).mean(axis=0)
    return layers


def values(layers: list[tuple[Float32Array, Float32Array]], descriptors: NDArray[Any]) -> Float32Array:
    """Return what is above 0 where a bit is set; needs no Keras.

    Parameters
    ----------
    layers : list of (ndarray of float32, ndarray of float32)
        Kernel and bias of each; all but the last are rectified.
    descriptors : ndarray of float, shape (n, d)
        One row an image.

    Returns
    -------
    ndarray of float32, shape (n, bits)
        The values of a descriptor don't depend on the others.
    """
    found = np.empty((len(descriptors), layers[-1][1].size), np.float32)
    block = np.zeros((_BLOCK, descriptors.shape[1]), np.float32)
    for start in range(0, len(descriptors), _BLOCK):
        part = descriptors[start : start + _BLOCK]
        block[: len(part)] = part
        x = block
        for i, (kernel, bias) in enumerate(layers):
            x = x @ kernel + bias
            if i < len(layers) - 1:
                np.maximum(x, 0, out=x)
        found[start : start + _BLOCK] = x[: len(part)]
    return found


def standard(x: Any) -> Any:
    """Bring each column to mean 0 and deviation 1 over the rows, or near to 0 where it doesn't vary.

    Parameters
    ----------
    x : tensor of float32, shape (n, bits)
        One row an image.

    Returns
    -------
    tensor of float32, shape (n, bits)
    """
    from keras import ops

    return (x - ops.mean(x, axis=0)) / (ops.std(x, axis=0) + 1e-3)


def disagreement(soft: Any) -> Any:
    """Return how far two copies' bits are from agreeing, plus how much different bits say the same.

    Parameters
    ----------
    soft : tensor of float32, shape (2 n, bits)
        Tangents of the first copies, then of the second, in the same order.

    Returns
    -------
    tensor of float32, scalar
        0 where both copies' bits agree and no two bits are correlated.
    """
    from keras import ops

    half = ops.shape(soft)[0] // 2
    first, second = standard(soft[:half]), standard(soft[half:])
    shared = ops.matmul(ops.transpose(first), second) / ops.cast(half, "float32")
    own = ops.diagonal(shared)
    others = ops.sum(ops.square(shared)) - ops.sum(ops.square(own))
    return ops.mean(ops.square(1 - own)) + REPETITION * others / soft.shape[1]
