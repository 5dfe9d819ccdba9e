"""Models from strangers: none reads a file beside itself, wherever it names one, by whatever door it comes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from lookalike import build_index, load_encoder, open_index
from lookalike.encoders.neural import PAIR, SHIPPED, Neural
from lookalike.encoders.onnx.model_check import MAX_DEPTH, check_model
from lookalike.encoders.onnx.runtime import OnnxModel
from lookalike.encoders.onnx.settings import Settings
from lookalike.errors import EncoderError, LookalikeError
from paths import ROOT

onnx = pytest.importorskip("onnx", reason="the models are built with onnx; pip install 'lookalike[train]'")
helper, TensorProto = onnx.helper, onnx.TensorProto


def outside(name="w", path="../secret.bin"):
    """A tensor whose values lie in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[3])
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", path
    return tensor


def model(nodes=(), **graph):
    sides = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 3]) for n in ("in", "out")]
    made = helper.make_graph([helper.make_node("Identity", ["in"], ["out"]), *nodes], "g", *[[side] for side in sides])
    for name, values in graph.items():
        getattr(made, name).extend(values)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def subgraph(tensor):
    made = helper.make_graph([], "inner", [], [])
    made.initializer.append(tensor)
    return made


def sparse(values=None, indices=None):
    made = onnx.SparseTensorProto(dims=[9])
    made.values.CopyFrom(values or TensorProto(name="v", data_type=1, dims=[1], float_data=[1]))
    made.indices.CopyFrom(indices or TensorProto(name="i", data_type=7, dims=[1], int64_data=[1]))
    return made


def node_with(**attributes):
    return helper.make_node("Constant", [], ["c"], **attributes)


def attribute(name, **fields):
    made = onnx.AttributeProto(name=name)
    for field, value in fields.items():
        (getattr(made, field).CopyFrom if not isinstance(value, list) else getattr(made, field).extend)(value)
    return made


def node_of(made):
    node = helper.make_node("Constant", [], ["c"])
    node.attribute.append(made)
    return node


def in_training():
    made = model()
    made.training_info.add().algorithm.CopyFrom(subgraph(outside()))
    return made


def in_initialization():
    made = model()
    made.training_info.add().initialization.CopyFrom(subgraph(outside()))
    return made


def in_function(by_default=False):
    made = model()
    function = made.functions.add(name="f", domain="d")
    held = attribute("value", t=outside())
    (function.attribute_proto.append(held) if by_default else function.node.append(node_of(held)))
    return made


def deep(levels):
    graph = subgraph(outside())
    for _ in range(levels):
        outer = helper.make_graph([node_of(attribute("body", g=graph))], "outer", [], [])
        graph = outer
    return model([node_of(attribute("body", g=graph))])


PLACES = {
    "weights": lambda: model(initializer=[outside()]),
    "sparse weights": lambda: model(sparse_initializer=[sparse(values=outside())]),
    "places of sparse weights": lambda: model(sparse_initializer=[sparse(indices=outside())]),
    "attribute": lambda: model([node_with(value=outside())]),
    "list of an attribute": lambda: model([node_of(attribute("values", tensors=[outside()]))]),
    "sparse attribute": lambda: model([node_of(attribute("sparse", sparse_tensor=sparse(values=outside())))]),
    "sparse list": lambda: model([node_of(attribute("sparse", sparse_tensors=[sparse(indices=outside())]))]),
    "graph within": lambda: model([node_of(attribute("then_branch", g=subgraph(outside())))]),
    "list of graphs": lambda: model([node_of(attribute("branches", graphs=[subgraph(outside())]))]),
    "deep": lambda: deep(15),
    "function": in_function,
    "function's default": lambda: in_function(by_default=True),
    "training": in_training,
    "training's begin": in_initialization,
}


def swapped(content):
    """Write the entry's two fields the other way round, as the guard of bytes didn't expect it."""
    location = b"\x0a\x08location\x12\x0d../secret.bin"
    assert location in content
    return content.replace(location, b"\x12\x0d../secret.bin\x0a\x08location")


@pytest.mark.parametrize("place", PLACES)
def test_a_tensor_in_another_file_is_found_wherever_it_stands(place):
    content = PLACES[place]().SerializeToString()
    for written in (content, swapped(content)):
        onnx.load_from_string(written)
        with pytest.raises(EncoderError, match=r"^mine\.onnx: keeps weights in a file of its own; put all into one"):
            OnnxModel(written, name="mine.onnx")


def test_either_of_the_two_signs_is_enough():
    without_path, without_kind = outside(), outside()
    del without_path.external_data[:]
    without_kind.ClearField("data_location")
    for tensor in (without_path, without_kind):
        with pytest.raises(EncoderError, match="keeps weights in a file of its own"):
            check_model(model(initializer=[tensor]).SerializeToString(), "m")


def test_a_second_graph_behind_the_file_is_read_too():
    """Of two messages written one behind the other a reader makes one."""
    behind = onnx.ModelProto()
    behind.graph.initializer.append(outside())
    with pytest.raises(EncoderError, match="keeps weights in a file of its own"):
        check_model(model().SerializeToString() + behind.SerializeToString(), "m")


def test_long_ways_of_writing_a_number_hide_nothing():
    tensor = outside()
    content = model(initializer=[tensor]).SerializeToString()
    short, long = bytes([13 << 3 | 2]), bytes([0x80 | 13 << 3 | 2, 0x80, 0x00])
    body = tensor.SerializeToString()
    at = body.index(short + bytes([len(tensor.external_data[0].SerializeToString())]))
    hidden = body[:at] + long + body[at + 1 :]
    graph = onnx.GraphProto(name="g").SerializeToString() + b"\x2a" + bytes([len(hidden)]) + hidden
    with pytest.raises(EncoderError, match="keeps weights in a file of its own"):
        check_model(content[:0] + b"\x3a" + bytes([len(graph)]) + graph, "m")


@pytest.mark.parametrize(
    "content",
    [
        b"\x3a\x05abc",
        b"\x0b\x0c",
        b"\xff" * 12,
        b"\x00\x00",
        b"abcdORTM and more",
        b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ],
    ids=["cut", "group", "endless number", "number 0", "ORT's own", "longest"],
)
def test_what_cannot_be_followed_is_refused(content):
    with pytest.raises(EncoderError, match=r"^m\.onnx: ONNX Runtime can't load the model \("):
        OnnxModel(content, name="m.onnx")


def test_too_deep_and_too_many_are_refused():
    with pytest.raises(ValueError, match="too many parts"):
        check_model(deep(MAX_DEPTH // 3 + 3).SerializeToString(), "m")


def test_sound_models_are_taken():
    for file in SHIPPED[PAIR]:
        check_model(file.read_bytes(), file.name)
    check_model(model([node_with(value=TensorProto(data_type=1, dims=[1], float_data=[1]))],
                      sparse_initializer=[sparse()]).SerializeToString(), "m")  # fmt: skip


# Every door -----------------------------------------------------------------------------------------------------------


def with_file(folder: Path, name: str, content: bytes):
    """Put another file into a saved encoder, its card edited so that every hash agrees."""
    from lookalike.encoders.base import FORMAT  # noqa: F401  (the card's format is ours)

    card = json.loads((folder / "encoder.json").read_text())
    digest = hashlib.sha256(content).hexdigest()
    file = f"{Path(name).stem}-{digest[:12]}{Path(name).suffix}"
    (folder / file).write_bytes(content)
    card["files"][name] = {"file": file, "sha256": digest}
    identity = {key: card[key] for key in ("format", "encoder", "params", "distance", "shape", "dimension")}
    if "post" in card:
        identity["post"] = card["post"]
    identity["files"] = {
        n: entry["sha256"] for n, entry in card["files"].items() if n not in ("model.keras", "history.json")
    }
    card["fingerprint"] = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    (folder / "encoder.json").write_text(json.dumps(card))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.bin").write_bytes(np.ones(3, np.float32).tobytes())
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    images = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), np.uint8)
    return Neural().fit(images).save(tmp_path / "encoder")


@pytest.mark.parametrize("name", ["model.onnx", "text.onnx"])
def test_a_saved_encoder_of_a_stranger_is_refused(name, folder):
    content = PLACES["weights"]().SerializeToString()
    if name == "text.onnx":
        with_file(folder, "tokenizer.json", b"{}")
    with_file(folder, name, content)
    with pytest.raises(EncoderError, match=rf"{name}: keeps weights in a file of its own"):
        load_encoder(folder)


def test_an_index_of_a_stranger_is_refused(folder, tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), np.uint8)
    index = build_index(images, "neural", tmp_path / "index")
    with_file(index.path / index.manifest.view.encoder_folder, "model.onnx", PLACES["attribute"]().SerializeToString())
    with pytest.raises(LookalikeError, match=r"model\.onnx: keeps weights in a file of its own"):
        open_index(index.path).search(images[0], 1)


def test_a_model_given_by_path_is_refused(folder, tmp_path):
    (tmp_path / "m.onnx").write_bytes(swapped(PLACES["graph within"]().SerializeToString()))
    for named in (tmp_path / "m.onnx", str(tmp_path / "m.onnx")):
        with pytest.raises(EncoderError, match=r"m\.onnx: keeps weights in a file of its own"):
            build_index(np.zeros((2, 8, 8, 3), np.uint8), Neural(model=named), tmp_path / "never")


def test_every_model_is_opened_at_one_place():
    source = ROOT / "src" / "lookalike"
    found = [
        p.name
        for p in source.rglob("*.py")
        for line in p.read_text().splitlines()
        if "InferenceSession(" in line and "`" not in line
    ]
    assert found == ["runtime.py"]


WELL = {"input": "x", "type": "float32", "layout": "NCHW", "channels": 3, "size": [8, 8], "resize": [8, 8], "resample": 3,
        "rescale": 0.1, "mean": [0, 0, 0], "std": [1, 1, 1], "output": "y", "pooling": "none"}  # fmt: skip


@pytest.mark.parametrize(
    "changed",
    [
        {"size": [10**6, 10**6]}, {"size": [8]}, {"size": "88"}, {"size": [8.0, 8]}, {"size": [True, 8]}, {"resize": 10**7}, {"resize": "8"},
        {"resize": [8, 8, 8]}, {"resample": 9}, {"channels": 4}, {"channels": None}, {"mean": [0]}, {"mean": "abc"},
        {"std": [1, 0, 1]}, {"std": [1, float("nan"), 1]}, {"rescale": "x"}, {"rescale": 10**400}, {"type": "float64"}, {"type": ["float32"]},
        {"layout": "CHWN"}, {"pooling": "max"}, {"input": 5}, {"output": None}, {"more": 1}, {"size": {}},
    ],
    ids=str,
)  # fmt: skip
def test_settings_of_a_stranger_are_checked(changed):
    assert Settings.from_json(json.dumps(WELL).encode()).size == (8, 8)
    with pytest.raises(EncoderError, match=r"^settings\.json: not the settings of a model"):
        Settings.from_json(json.dumps(WELL | changed).encode())


@pytest.mark.parametrize("content", [b"", b"[]", b"7", b"{}", b"\xff", b"[" * 100_000])
def test_settings_that_are_none_are_refused(content):
    with pytest.raises(EncoderError, match=r"^settings\.json: not the settings of a model"):
        Settings.from_json(content)
