"""ONNX models small enough to say what must come out of them."""

from __future__ import annotations

import json

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the small models are built with onnx; pip install 'lookalike[train]'")


def node(kind, inputs, outputs, **attributes):
    return onnx.helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def model(nodes, inputs, outputs, **constants):
    """Serialise a graph; inputs and outputs are name -> (type, shape)."""
    sides = [
        [onnx.helper.make_tensor_value_info(n, getattr(onnx.TensorProto, t), s) for n, (t, s) in side.items()]
        for side in (inputs, outputs)
    ]
    held = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = onnx.helper.make_graph(nodes, "small", *sides, held)
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def mean_colour(shape=("n", 3, 8, 8), kind="FLOAT", name="pixels"):
    """Give the mean of each channel of what the network gets: simple enough to say what must come out."""
    axes = [1, 2] if shape[3] in (1, 3) else [2, 3]
    nodes = [
        node("Cast", name, "wide", to=onnx.TensorProto.FLOAT),
        node("ReduceMean", "wide", "colour", axes=axes, keepdims=0),
    ]
    return model(nodes, {name: (kind, list(shape))}, {"colour": ("FLOAT", ["n", None])})


def write(folder, content, config=None, **files):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(content)
    if config is not None:
        (folder / "preprocessor_config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    for name, data in files.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    return str(folder / "model.onnx")


WORDS = {"[UNK]": 0, "red": 1, "green": 2, "blue": 3, "[PAD]": 4}


MEANINGS = np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])


PLAIN = {"do_normalize": False}


def tokenizer_json():
    tokenizers = pytest.importorskip("tokenizers", reason="pip install 'lookalike[hub]'")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(WORDS, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return made.to_str().encode()


def text_model(length="t", mask=True, kind="INT64", width=3):
    """Give the mean of the words' meanings; with a mask, a text is as long as it is."""
    inputs = {"input_ids": (kind, ["n", length])} | ({"attention_mask": (kind, ["n", length])} if mask else {})
    nodes = [
        node("Gather", "meanings input_ids", "words"),
        node("ReduceMean", "words", "text_embeds", axes=[1], keepdims=0),
    ]
    return model(
        nodes, inputs, {"text_embeds": ("FLOAT", ["n", width])}, meanings=MEANINGS[:, [0, 1, 2] * (width // 3)]
    )
