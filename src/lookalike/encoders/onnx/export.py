"""A Keras network of plain layers -> an ONNX graph that takes uint8 images.

Keras has an exporter of its own (``model.export(format="onnx")``), but it works on two of Keras' three backends, needs
tf2onnx on one of them, and keeps Keras' channels-last layout with the transposes that costs. This one knows the few
layers our networks are made of, works on every backend, and puts the scaling from uint8 into the graph, so that no
caller can forget it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import EncoderError

_OPSET = 17
_IR_VERSION = 8  # read by every ONNX Runtime since 1.13
_ACTIVATIONS = {"linear": None, "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}
#: Layers that give one row an image rather than maps.
_ROWS = frozenset({"Dense", "Flatten"})
_TO_THE_END = np.iinfo(np.int64).max


def export(layers: Iterable[Any], shape: tuple[int, ...], *, flatten: bool) -> bytes:
    """Write a chain of Keras layers as an ONNX model.

    Parameters
    ----------
    layers : iterable of keras.layers.Layer
        Built Conv2D, MaxPooling2D, UpSampling2D (nearest), Cropping2D, Flatten, Dense, Reshape (to height, width,
        channels) and InputLayer, channels last, in order.
    shape : tuple of int
        Shape of one image: ``(h, w)`` or ``(h, w, 3)``.
    flatten : bool
        Whether the output is one row an image, in Keras' order (height, width, channel), or an image again.

    Returns
    -------
    bytes
        A model with the input ``images`` (uint8, (n, *shape)) and the output ``descriptors`` (float32, (n, d)) or
        ``images_out`` (float32 in 0..1, (n, *shape)).

    Raises
    ------
    EncoderError
        If a layer or its activation is of another kind.
    """
    from onnx import TensorProto, checker, helper

    graph = _Graph()
    x = graph.node("Cast", "images", to=TensorProto.FLOAT)
    x = graph.node("Mul", x, graph.constant("one_255th", np.array(1 / 255, np.float32)))
    grey = len(shape) == 2
    channel_axis = graph.constant("channel_axis", np.array([1], np.int64)) if grey else ""
    x = graph.node("Unsqueeze", x, channel_axis) if grey else graph.node("Transpose", x, perm=[0, 3, 1, 2])
    kind = ""
    for layer in layers:
        kind = type(layer).__name__
        if kind not in _LAYERS:
            raise EncoderError(f"the layer {layer.name} ({kind}) can't be exported to ONNX; add it to {__name__}")
        x = _LAYERS[kind](graph, x, layer)
    if flatten:
        rows = x if kind in _ROWS else graph.node("Transpose", x, perm=[0, 2, 3, 1])
        graph.node("Flatten", rows, out="descriptors", axis=1)
        output = helper.make_tensor_value_info("descriptors", TensorProto.FLOAT, ["n", None])
    else:
        if grey:
            graph.node("Squeeze", x, channel_axis, out="images_out")
        else:
            graph.node("Transpose", x, out="images_out", perm=[0, 2, 3, 1])
        output = helper.make_tensor_value_info("images_out", TensorProto.FLOAT, ["n", *shape])
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", *shape])
    built = helper.make_graph(graph.nodes, "lookalike", [images], [output], graph.constants)
    model = helper.make_model(built, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    checker.check_model(model)
    return bytes(model.SerializeToString())


class _Graph:
    """The nodes and constants written so far; both methods return the name to refer to the new one by."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, value: NDArray[Any]) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def node(self, kind: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        from onnx import helper

        name = out or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name


# One function a kind of layer: (graph, name of its input, layer) -> name of its output. Inside the graph the channels
# come first, so Keras' (height, width, in, out) kernels become (out, in, height, width).


def _activate(graph: _Graph, x: str, layer: Any) -> str:
    operator = _ACTIVATIONS[layer.activation.__name__]
    return graph.node(operator, x) if operator else x


def _dense(graph: _Graph, x: str, layer: Any) -> str:
    if layer.activation.__name__ not in _ACTIVATIONS:
        raise EncoderError(
            f"the layer {layer.name} can't be exported to ONNX: its activation is {layer.activation.__name__} (known: "
            f"{', '.join(_ACTIVATIONS)})"
        )
    kernel, bias = (np.asarray(w, np.float32) for w in layer.get_weights())
    x = graph.node("MatMul", x, graph.constant(f"{layer.name}/kernel", kernel))
    return _activate(graph, graph.node("Add", x, graph.constant(f"{layer.name}/bias", bias)), layer)


def _flatten(graph: _Graph, x: str, layer: Any) -> str:  # noqa: ARG001
    return graph.node("Flatten", graph.node("Transpose", x, perm=[0, 2, 3, 1]), axis=1)


def _to_maps(graph: _Graph, x: str, layer: Any) -> str:
    shape = graph.constant(f"{layer.name}/shape", np.array([-1, *layer.target_shape], np.int64))
    return graph.node("Transpose", graph.node("Reshape", x, shape), perm=[0, 3, 1, 2])


def _conv(graph: _Graph, x: str, layer: Any) -> str:
    activation = layer.activation.__name__
    if activation not in _ACTIVATIONS or layer.groups != 1 or tuple(layer.dilation_rate) != (1, 1):
        raise EncoderError(
            f"the layer {layer.name} can't be exported to ONNX: its activation is {activation} (known: "
            f"{', '.join(_ACTIVATIONS)}), its groups {layer.groups} and its dilation {layer.dilation_rate} (known: 1)"
        )
    kernel, *bias = (np.asarray(w, np.float32) for w in layer.get_weights())
    weights = [graph.constant(f"{layer.name}/kernel", np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)))]
    weights += [graph.constant(f"{layer.name}/bias", b) for b in bias]
    return _activate(graph, graph.node("Conv", x, *weights, **_window(layer, layer.kernel_size)), layer)


def _pool(graph: _Graph, x: str, layer: Any) -> str:
    return graph.node("MaxPool", x, **_window(layer, layer.pool_size))


def _upsample(graph: _Graph, x: str, layer: Any) -> str:
    if layer.interpolation != "nearest":
        raise EncoderError(f"the layer {layer.name}: {layer.interpolation} can't be exported to ONNX; use nearest")
    scales = graph.constant(f"{layer.name}/scales", np.array([1, 1, *layer.size], np.float32))
    rounding: dict[str, Any] = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return graph.node("Resize", x, "", scales, mode="nearest", **rounding)


def _crop(graph: _Graph, x: str, layer: Any) -> str:
    (top, bottom), (left, right) = layer.cropping
    starts = graph.constant(f"{layer.name}/starts", np.array([top, left], np.int64))
    ends = np.array([-bottom or _TO_THE_END, -right or _TO_THE_END], np.int64)
    axes = graph.constant(f"{layer.name}/axes", np.array([2, 3], np.int64))
    return graph.node("Slice", x, starts, graph.constant(f"{layer.name}/ends", ends), axes)


def _nothing(graph: _Graph, x: str, layer: Any) -> str:  # noqa: ARG001
    return x


def _window(layer: Any, size: tuple[int, int]) -> dict[str, Any]:
    padding = {"same": "SAME_UPPER", "valid": "VALID"}[layer.padding]
    return {"kernel_shape": list(size), "strides": list(layer.strides), "auto_pad": padding}


_LAYERS: dict[str, Callable[[_Graph, str, Any], str]] = {
    "Conv2D": _conv,
    "Cropping2D": _crop,
    "Dense": _dense,
    "Flatten": _flatten,
    "InputLayer": _nothing,
    "MaxPooling2D": _pool,
    "Reshape": _to_maps,
    "UpSampling2D": _upsample,
}
