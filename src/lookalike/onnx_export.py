"""A Keras network of plain layers -> an ONNX graph that takes uint8 images.

Keras has an exporter of its own (``model.export(format="onnx")``), but it works on two of Keras' three backends, needs
tf2onnx on one of them, and keeps Keras' channels-last layout with the transposes that costs. This one knows the few
layers our networks are made of, works on every backend, and puts the scaling from uint8 into the graph, so that no
caller can forget it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from lookalike.errors import EncoderError

_OPSET = 17
_IR_VERSION = 8  # read by every ONNX Runtime since 1.13
_ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}


def export(layers: Iterable[Any], shape: tuple[int, ...], *, flatten: bool) -> bytes:
    """Write a chain of Keras layers as an ONNX model.

    Parameters
    ----------
    layers : iterable of keras.layers.Layer
        Built Conv2D, MaxPooling2D, UpSampling2D (nearest), Cropping2D and InputLayer, in order.
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
        If a layer is of another kind.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(name: str, value: np.ndarray[Any, Any]) -> str:
        constants.append(numpy_helper.from_array(value, name))
        return name

    def node(kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        name = out or f"{kind.lower()}_{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    x = node("Cast", "images", to=TensorProto.FLOAT)
    x = node("Mul", x, constant("one_255th", np.float32(1 / 255).reshape(())))
    if len(shape) == 2:
        x = node("Unsqueeze", x, constant("channel_axis", np.array([1], np.int64)))
    else:
        x = node("Transpose", x, perm=[0, 3, 1, 2])
    for layer in layers:
        kind = type(layer).__name__
        if kind == "Conv2D":
            kernel, bias = (np.asarray(w, np.float32) for w in layer.get_weights())
            weights = [
                constant(f"{layer.name}/kernel", np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))),
                constant(f"{layer.name}/bias", bias),
            ]
            same = layer.padding == "same"
            x = node("Conv", x, *weights, kernel_shape=list(layer.kernel_size), auto_pad="SAME_UPPER" if same else "VALID")
            activation = layer.activation.__name__
            if activation != "linear":
                x = node(_ACTIVATIONS[activation], x)
        elif kind == "MaxPooling2D":
            pad = "SAME_UPPER" if layer.padding == "same" else "VALID"
            x = node("MaxPool", x, kernel_shape=list(layer.pool_size), strides=list(layer.strides), auto_pad=pad)
        elif kind == "UpSampling2D" and layer.interpolation == "nearest":
            scales = constant(f"{layer.name}/scales", np.array([1, 1, *layer.size], np.float32))
            x = node("Resize", x, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
        elif kind == "Cropping2D":
            (top, bottom), (left, right) = layer.cropping
            ends = np.array([-bottom or np.iinfo(np.int64).max, -right or np.iinfo(np.int64).max], np.int64)
            x = node(
                "Slice",
                x,
                constant(f"{layer.name}/starts", np.array([top, left], np.int64)),
                constant(f"{layer.name}/ends", ends),
                constant(f"{layer.name}/axes", np.array([2, 3], np.int64)),
            )
        elif kind != "InputLayer":
            raise EncoderError(f"the layer {layer.name} ({kind}) can't be exported to ONNX; add it to lookalike/onnx_export.py")
    if flatten:
        node("Flatten", node("Transpose", x, perm=[0, 2, 3, 1]), out="descriptors", axis=1)
        output = helper.make_tensor_value_info("descriptors", TensorProto.FLOAT, ["n", None])
    else:
        if len(shape) == 2:
            node("Squeeze", x, "channel_axis", out="images_out")
        else:
            node("Transpose", x, out="images_out", perm=[0, 2, 3, 1])
        output = helper.make_tensor_value_info("images_out", TensorProto.FLOAT, ["n", *shape])
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", *shape])
    graph = helper.make_graph(nodes, "lookalike", [images], [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
