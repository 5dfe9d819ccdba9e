"""Descriptors of the shipped networks -> how likely each of ImageNet's 1,000 classes is, without the images.

The networks' last layer is linear, and so is the post-processing: what the classifier would say of an image follows from its
stored descriptor, but for the length of the pooled maps, which a descriptor doesn't keep (``LENGTHS`` stands for it), and for the
directions that the post-processing has left out. So an index knows the classes of its photos though nobody asked when it was made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array
from lookalike.encoders.base import Encoder
from lookalike.encoders.neural import Neural
from lookalike.encoders.onnx.model_check import fields

CLASSES = 1000
#: Length of the pooled maps, by how many networks are joined: what fits the networks' own answers best on 1,000 photos (Corel-1k,
#: without its labels).
LENGTHS = {1: (16.5,), 2: (14.3, 16.5)}
#: The layer's parts in the graph, and what of ``onnx.proto`` leads to them.
_WEIGHTS, _SCALE, _BIAS = "classes/int8", "classes/scale", "classes/bias"
_MODEL_GRAPH, _GRAPH_INITIALIZER, _TENSOR_NAME, _TENSOR_DATA = 7, 5, 8, 9
#: Rows that are worked on together.
_AT_ONCE = 4096


class ClassHead:
    """The classifiers of an encoder's networks, ready for its descriptors.

    Parameters
    ----------
    maps : sequence of (ndarray of float32 of shape (d, 1000), ndarray of float32 of shape (1000,))
        Of each network: what descriptors are multiplied by, and what is added.
    """

    def __init__(self, maps: list[tuple[Float32Array, Float32Array]]) -> None:
        self._maps = maps

    @property
    def networks(self) -> int:
        """How many networks there are."""
        return len(self._maps)

    @classmethod
    def of(cls, encoder: Encoder) -> Self | None:
        """Return that of an encoder; None where its networks aren't those shipped, or its descriptors can't be led back.

        Parameters
        ----------
        encoder : Encoder
            Fitted.
        """
        post = encoder.post_
        if not isinstance(encoder, Neural) or (post is not None and post.waves is not None):
            return None
        files = sorted(encoder.to_files().items())  # model-HASH.onnx comes before model_2-HASH.onnx
        layers = [_layer(content) for name, content in files if name.endswith(".onnx")]
        lengths = LENGTHS.get(len(layers))
        if lengths is None or None in layers:
            return None
        maps = []
        begin = 0
        for layer, length in zip(layers, lengths, strict=True):
            assert layer is not None
            weights, bias = layer
            own = slice(begin, begin + len(weights))
            begin = own.stop
            if post is None:
                whole = np.zeros((encoder.dimension_, CLASSES), np.float32)
                whole[own] = length * weights
                maps.append((whole, bias))
                continue
            # Descriptors of each network have length 1, and all of them together are brought to it where the projection says so.
            scale = length * (len(layers) ** 0.5 if post.unit else 1.0)
            added = np.asarray(bias + scale * (post.mean[own] @ weights), np.float32)
            if post.matrix.shape[1]:
                back = np.asarray(np.linalg.pinv(post.matrix.astype(np.float64))[:, own], np.float32)
                maps.append((np.asarray(scale * (back @ weights), np.float32), added))
            else:
                whole = np.zeros((encoder.dimension_, CLASSES), np.float32)
                whole[own] = scale * weights
                maps.append((whole, added))
        return cls(maps) if begin == (encoder.dimension_ if post is None else post.takes) else None

    def shares(self, descriptors: NDArray[np.float32]) -> Iterator[Float32Array]:
        """Say how likely each class is, some thousands of rows at a time.

        Parameters
        ----------
        descriptors : ndarray of float32, shape (n, d)
            As the encoder gives them.

        Yields
        ------
        ndarray of float32, shape (m, 1000)
            The mean of the networks' answers; each row adds up to 1.
        """
        for start in range(0, len(descriptors), _AT_ONCE):
            rows = descriptors[start : start + _AT_ONCE]
            total = np.zeros((len(rows), CLASSES), np.float32)
            for weights, bias in self._maps:
                values = rows @ weights + bias
                np.exp(values - values.max(axis=1, keepdims=True), out=values)
                total += values / values.sum(axis=1, keepdims=True)
            yield total / np.float32(len(self._maps))


def _layer(model: bytes) -> tuple[Float32Array, Float32Array] | None:
    """Return the weights, (1280, 1000), and the bias of a shipped network's classifier; None in any other model."""
    found: dict[str, bytes] = {}
    for number, _, graph in fields(memoryview(model)):
        if number != _MODEL_GRAPH or not isinstance(graph, memoryview):
            continue
        for inner, _, tensor in fields(graph):
            if inner == _GRAPH_INITIALIZER and isinstance(tensor, memoryview):
                parts = {n: bytes(v) for n, _, v in fields(tensor) if n >= _TENSOR_NAME and isinstance(v, memoryview)}
                name = parts.get(_TENSOR_NAME, b"").decode(errors="replace")
                if name in (_WEIGHTS, _SCALE, _BIAS):
                    found[name] = parts.get(_TENSOR_DATA, b"")
    if len(found) < 3:
        return None
    scale, bias = (np.frombuffer(found[name], np.float32) for name in (_SCALE, _BIAS))
    weights = np.frombuffer(found[_WEIGHTS], np.int8).reshape(CLASSES, -1) * scale[:, None]
    return np.ascontiguousarray(weights.T, np.float32), bias
