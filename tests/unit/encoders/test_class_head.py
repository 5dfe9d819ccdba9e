"""Stored descriptors -> classes: the networks' own last layer, led back through the post-processing."""

from dataclasses import replace

import numpy as np
import pytest

from lookalike import create_encoder, load_encoder
from lookalike.encoders.class_head import CLASSES, ClassHead
from lookalike.encoders.neural import SHIPPED
from lookalike.encoders.postprocess import Projection

onnx = pytest.importorskip("onnx", reason="reads the weights a second way")


@pytest.fixture(scope="module", params=["pair", "fast"])
def encoder(request):
    return create_encoder("neural", model=request.param).fit(np.zeros((1, 64, 64, 3), np.uint8))


@pytest.fixture(scope="module")
def rows(encoder):
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), np.uint8).repeat(16, 1).repeat(16, 2)
    return encoder.encode(images)


def shares(encoder, rows):
    return np.concatenate(list(ClassHead.of(encoder).shares(rows)))


def by_onnx(encoder, rows):
    """The same, with the weights as the package onnx reads them."""
    models = [onnx.load(file) for file in SHIPPED[encoder.model]]
    lengths = (14.3, 16.5)[-len(models) :]
    answers = []
    for model, own, length in zip(models, np.split(rows, len(models), axis=1), lengths, strict=True):
        held = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
        weights = held["classes/int8"].astype(np.float64) * held["classes/scale"]
        values = np.exp(length * own.astype(np.float64) @ weights.T + held["classes/bias"])
        answers.append(values / values.sum(axis=1, keepdims=True))
    return np.mean(answers, axis=0)


def test_each_row_is_the_mean_of_what_the_networks_say(encoder, rows):
    found = shares(encoder, rows)
    assert found.shape == (6, CLASSES)
    assert np.allclose(found.sum(axis=1), 1, atol=1e-5)
    assert np.abs(found - by_onnx(encoder, rows)).max() < 1e-4


def test_a_saved_encoder_has_the_same_head(encoder, rows, tmp_path):
    again = load_encoder(encoder.save(tmp_path / "encoder"))
    assert (shares(again, rows) == shares(encoder, rows)).all()


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("kept", [0, 1])
def test_a_post_processing_that_keeps_all_changes_nothing(encoder, rows, unit, kept):
    width = rows.shape[1]
    turned = np.linalg.qr(np.random.default_rng(1).normal(size=(width, width)))[0] if kept else np.empty((width, 0))
    mean = rows.mean(axis=0) / (np.linalg.norm(rows[0]) if unit else 1)
    post = Projection("turned", mean.astype(np.float32), turned.astype(np.float32), unit=unit)
    assert np.abs(shares(encoder.with_post(post), post.apply(rows)) - shares(encoder, rows)).max() < 1e-3


def test_of_what_is_no_shipped_network_nothing_is_said(encoder):
    assert ClassHead.of(create_encoder("pixels").fit(np.zeros((1, 8, 8), np.uint8))) is None
    width = encoder.dimension_
    flat = Projection("flat", np.zeros(width, np.float32), np.ones((width, 2), np.float32))
    waves = {"waves": np.ones((2, 3)), "phases": np.ones(3), "last_mean": np.ones(3), "last": np.ones((3, 2))}
    kernel = replace(flat, **{name: array.astype(np.float32) for name, array in waves.items()})
    assert ClassHead.of(encoder.with_post(kernel)) is None
