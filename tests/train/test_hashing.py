"""Binary codes: ITQ against its definition, the deep autoencoder on digits, and both through search by Hamming."""

from __future__ import annotations

import io
from importlib.util import find_spec

import numpy as np
import pytest

from lookalike.encoders.hashing import Hashing
from lookalike.encoders.itq import Itq, even_frame
from lookalike.encoders.postprocess import Projection
from lookalike.encoders.registry import create
from lookalike.encoders.serialize import load
from lookalike.errors import EncoderError, UsageError
from lookalike.imaging.resize import average_down
from lookalike.neighbors.exact import Database
from lookalike.transforms.augmentations import augment

needs_keras = pytest.mark.skipif(find_spec("keras") is None, reason="pip install 'lookalike[train]'")


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def share_of_pairs_in_order(floats, codes):
    """How often the nearer of two images by cosine is no farther by bits."""
    cosine, bits = Database(floats).distances(floats), Database(codes, "hamming").distances(codes)
    rng = np.random.default_rng(0)
    i, j, k = rng.integers(0, len(floats), (3, 20000))
    clear = (np.abs(cosine[i, j] - cosine[i, k]) > 0.1) & (i != j) & (i != k)
    return np.mean((cosine[i, j] < cosine[i, k]) == (bits[i, j] < bits[i, k]), where=clear)


# ITQ ------------------------------------------------------------------------------------------------------------------


def test_bits_are_the_signs_of_the_turned_and_centred_descriptors(digits):
    images, _ = digits
    encoder = create("itq", bits=12, base="pixels").fit(images)
    codes = encoder.encode(images)
    assert (codes.shape, codes.dtype, encoder.dimension_) == ((200, 2), np.uint8, 2)
    x = unit(create("pixels").fit(images).encode(images).astype(float))
    bits = (x - x.mean(axis=0)) @ encoder.projection_ > 0
    np.testing.assert_array_equal(np.unpackbits(codes, axis=1)[:, :12], bits)
    assert not np.unpackbits(codes, axis=1)[:, 12:].any()
    np.testing.assert_allclose(encoder.projection_.T @ encoder.projection_, np.eye(12), atol=1e-9)


def test_the_turn_loses_less_than_the_one_it_began_with(digits):
    images, _ = digits

    def lost(encoder):
        x = unit(encoder.base_.encode(images).astype(float)) - encoder.mean_
        left, _, right = np.linalg.svd(encoder.projection_, full_matrices=False)
        assert (left @ right).shape == encoder.projection_.shape
        turned = x @ encoder.projection_
        turned /= np.linalg.norm(turned, axis=1, keepdims=True)
        return float(((np.sign(turned) / np.sqrt(encoder.bits) - turned) ** 2).sum())

    assert lost(create("itq", bits=32).fit(images)) < 0.9 * lost(create("itq", bits=32, iterations=1).fit(images))


def test_more_bits_keep_more_of_the_order(digits):
    images, _ = digits
    floats = create("hog").fit(images).encode(images)
    floats = floats - unit(floats).mean(axis=0)
    kept = [share_of_pairs_in_order(floats, create("itq", bits=b).fit(images).encode(images)) for b in (4, 16, 128)]
    assert kept == sorted(kept)
    assert kept[-1] > 0.9


def test_descriptors_of_few_dimensions_make_codes_of_many_bits(digits):
    images = digits[0][:, :2, 12:14]  # four pixels, most of them black
    images = np.random.default_rng(0).integers(0, 256, images.shape, dtype=np.uint8)
    encoder = create("itq", base="pixels", bits=200).fit(images)
    codes = encoder.encode(images)
    assert codes.shape == (200, 25)
    floats = unit(create("pixels").fit(images).encode(images)) - encoder.mean_.astype(np.float32)
    assert share_of_pairs_in_order(floats, codes) > 0.85


def test_a_frame_spreads_its_directions_evenly():
    rng = np.random.default_rng(0)
    for rows, columns in ((1, 1), (3, 3), (3, 200), (35, 256)):
        frame = even_frame(rows, columns, rng)
        np.testing.assert_allclose(frame @ frame.T, np.eye(rows), atol=1e-12)


def test_itq_over_an_encoder_that_is_fitted_already(digits, tmp_path):
    images, _ = digits
    base = create("hog", cells=4).fit(images)
    encoder = create("itq", bits=64).fit_over(base, images)
    assert encoder.params["base"] == "hog"
    assert encoder.params["options"] == base.params
    assert encoder.base_ is base
    same = create("itq", bits=64, options={"cells": 4}).fit(images)
    np.testing.assert_array_equal(encoder.encode(images), same.encode(images))
    again = load(encoder.save(tmp_path))
    np.testing.assert_array_equal(again.encode(images), encoder.encode(images))
    assert again.fingerprint == encoder.fingerprint
    assert again._given is None


def test_the_base_may_be_a_fusion(digits, tmp_path):
    images, _ = digits
    encoder = create("itq", base="pixels+hog", bits=32, options={"weights": [1, 3]}).fit(images)
    assert load(encoder.save(tmp_path)).encode(images).shape == (200, 4)
    assert create("itq", base="color").preferred_shape == create("color").preferred_shape


def test_the_same_digit_comes_first_more_often_than_chance(digits):
    images, labels = digits
    codes = create("itq", options={"deskew": True}).fit(images).encode(images)
    positions, _ = Database(codes, "hamming").nearest(codes, 2)
    second = positions[np.arange(200), (positions[:, 0] == np.arange(200)).astype(int)]
    assert np.mean([labels[i] == labels[j] for i, j in enumerate(second)]) > 0.75


def test_a_saved_itq_that_lost_a_part_is_refused(digits):
    encoder = create("itq").fit(digits[0])
    files = encoder._get_weights()
    for lost in ("bits.npz", "base-encoder.json"):
        with pytest.raises(EncoderError, match="the saved itq over hog lacks a part; train it again"):
            Itq()._set_weights({name: f for name, f in files.items() if name != lost})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"bits": 0}, "itq: bits is 0; it must be a whole number from 1 to 65,528"),
        ({"bits": 8.0}, "itq: bits is 8.0; it must be a whole number"),
        ({"iterations": True}, "itq: iterations is True"),
        ({"base": "itq"}, "itq: base is 'itq', which gives bits already; name an encoder of float descriptors"),
        ({"base": "hogg"}, r"unknown encoder 'hogg' \(did you mean 'hog'\?\)"),
        ({"options": {"cell": 3}}, "unknown hog parameter 'cell'"),
        ({"options": 3}, "itq: options is 3; it must hold parameters of hog"),
    ],
)
def test_wrong_parameters_of_itq_are_refused_in_a_sentence(digits, params, message):
    with pytest.raises(UsageError, match=message):
        create("itq", **params).fit(digits[0])


def test_images_that_all_look_the_same_teach_no_bits():
    for n in (1, 5):
        same = np.repeat(np.arange(64, dtype=np.uint8).reshape(1, 8, 8), n, axis=0)
        with pytest.raises(EncoderError, match=rf"the {n} images given look all the same to hog; .* two or more"):
            create("itq").fit(same)


# The deep autoencoder -------------------------------------------------------------------------------------------------


def area_means(image, height, width):
    """Average by cutting each pixel into as many parts as the small image needs."""
    fine = image.astype(float).repeat(height, axis=0).repeat(width, axis=1)
    return fine.reshape(height, image.shape[0], width, image.shape[1], *image.shape[2:]).mean(axis=(1, 3))


@pytest.mark.parametrize("shape", [(40, 40), (64, 33), (20, 100), (45, 64, 3), (1, 70)])
def test_large_images_are_averaged_down(shape):
    images = np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8)
    small = average_down(images, 32)
    assert small.shape == (2, *(min(side, 32) for side in shape[:2]), *shape[2:])
    for image, found in zip(images, small, strict=True):
        np.testing.assert_allclose(found, area_means(image, *small.shape[1:3]), atol=0.5 + 1e-9)


def test_small_images_stay_as_they_are():
    images = np.zeros((2, 32, 31), np.uint8)
    assert average_down(images, 32) is images


@pytest.fixture(scope="module")
def deep(digits):
    if find_spec("keras") is None:
        pytest.skip("pip install 'lookalike[train]'")
    options = {"deskew": True}
    return create("hashing", bits=64, options=options, epochs=15, batch_size=32, validation=0.1).fit(digits[0])


def second_nearest(codes):
    positions, _ = Database(codes, "hamming").nearest(codes, 2)
    return positions[np.arange(len(codes)), (positions[:, 0] == np.arange(len(codes))).astype(int)]


def share_right(codes, labels):
    return np.mean([labels[i] == labels[j] for i, j in enumerate(second_nearest(codes))])


def test_bits_tell_digits_apart_better_than_those_of_plain_drawing(deep, digits):
    images, labels = digits
    article = create(
        "hashing", bits=64, base="pixels", agreement=0, neighbours=0, epochs=15, batch_size=32, validation=0.1
    )
    plain = share_right(article.fit(images).encode(images), labels)
    assert plain > 0.4  # by chance a tenth
    assert share_right(deep.encode(images), labels) > max(0.75, plain)


def test_bits_are_balanced_and_say_different_things(deep, digits):
    bits = np.unpackbits(deep.encode(digits[0]), axis=1).astype(float)
    assert 0.2 < bits.mean(axis=0).min() <= bits.mean(axis=0).max() < 0.8
    shared = np.corrcoef(bits.T) - np.eye(64)
    assert np.abs(shared).mean() < 0.25


def test_augmented_copies_keep_most_of_their_bits(deep, digits):
    images, _ = digits
    codes, copies = deep.encode(images), deep.encode(augment(images, seed=99))
    changed = np.unpackbits(codes ^ copies, axis=1).mean()
    others = np.unpackbits(codes ^ np.roll(codes, 1, axis=0), axis=1).mean()
    assert changed < 0.5 * others


@needs_keras
@pytest.mark.parametrize("shape", [(28, 28), (9, 14), (40, 36, 3)])
def test_codes_are_those_of_the_trained_network(shape, monkeypatch):
    from lookalike.encoders.training import hash_network as bits

    images = np.random.default_rng(1).integers(0, 256, (70, *shape), dtype=np.uint8)
    built = []
    build = bits.build
    monkeypatch.setattr(bits, "build", lambda *args: built.append(build(*args)) or built[-1])
    encoder = create("hashing", base="pixels", bits=28, epochs=1).fit(images)
    (network,) = built
    small = average_down(images, 32)
    seen = unit(small.reshape(70, -1).astype(float))
    seen -= seen.mean(axis=0)
    seen /= np.sqrt(np.square(seen).mean())
    x = seen
    for i in range(3):
        kernel, bias = network.get_weights()[2 * i : 2 * i + 2]
        x = x @ kernel + bias
        x = np.maximum(x, 0) if i < 2 else x - x.mean(axis=0)
    codes = encoder.encode(images)
    assert codes.shape == (70, 4)
    assert np.mean(np.unpackbits(codes, axis=1)[:, :28] == (x > 0)) > 0.995
    assert not np.unpackbits(codes, axis=1)[:, 28:].any()


@needs_keras
def test_the_losses_are_those_written_down():
    import keras

    from lookalike.encoders.training import hash_network as bits

    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 50, 3))

    def standard(x):
        return (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-3)

    shared = standard(one).T @ standard(other) / 50
    expected = np.mean((1 - np.diag(shared)) ** 2)
    expected += bits.REPETITION * (np.sum(shared**2) - np.sum(np.diag(shared) ** 2)) / 3
    found = bits.disagreement(keras.ops.convert_to_tensor(np.concatenate([one, other]).astype(np.float32)))
    assert float(found) == pytest.approx(expected, rel=1e-4)
    same = np.tile(rng.normal(size=(1000, 1)), (2, 4))
    for codes, lost in ((np.tile(rng.normal(size=(1000, 4)), (2, 1)), 0), (same, 3 * bits.REPETITION)):
        found = bits.disagreement(keras.ops.convert_to_tensor(codes.astype(np.float32)))
        assert float(found) == pytest.approx(lost, abs=1e-3)


@needs_keras
def test_pairs_are_of_one_image_or_of_near_ones():
    from lookalike.encoders.training import hash_network as bits

    # Images 0, 1, 2 and 3, 4, 5 are near each other; a copy is its image plus a hundredth a copy.
    own = np.array([0, 1, 2, 100, 101, 102], np.float32)
    table = (own[:, None] + np.array([0, 0.01, 0.02, 0.03], np.float32))[..., None]
    for neighbours in (0, 2):
        plan = bits.Plan(
            noise=0, fixed_noise=False, epochs=1, batch_size=6, optimizer="adam", learning_rate=None, validation=0,
            precision="float32", minutes=None, seed=0, drawing=1, agreement=1, neighbours=neighbours,
        )  # fmt: skip
        data = plan.data(table)
        pairs, originals = (np.concatenate(a) for a in zip(*(next(data.epoch(e)) for e in range(50)), strict=True))
        first, second = pairs[:, 0, 0], pairs[:, 1, 0]
        assert set(originals[:, 0]) == set(own)
        np.testing.assert_array_equal(first.astype(int), originals[:, 0])
        assert set(np.rint(first % 1 * 100)) == {1, 2, 3}
        apart = np.abs(second.astype(int) - first.astype(int))
        assert set(apart) == ({0, 1, 2} if neighbours else {0})
        assert 0.35 < np.mean(apart > 0) < 0.65 or not neighbours


@needs_keras
def test_training_learns_goes_on_and_is_told_of(digits, tmp_path):
    images, _ = digits
    told = []
    params = {"bits": 32, "batch_size": 32, "validation": 0.1}
    encoder = create("hashing", epochs=4, **params)
    encoder.train(images, checkpoint=tmp_path / "state.npz", on_progress=told.append)
    assert encoder.stopped_ == "done"
    assert told[-1].epoch_ended
    losses = [epoch["loss"] for epoch in encoder.history_]
    assert len(losses) == 4
    assert losses[-1] < 0.9 * losses[0]
    codes = encoder.encode(images)
    further = create("hashing", epochs=5, **params)
    further.train(images, checkpoint=tmp_path / "state.npz", resume=True)
    assert [epoch["loss"] for epoch in further.history_][:4] == losses
    assert len(further.history_) == 5
    again = load(encoder.save(tmp_path / "saved"))
    np.testing.assert_array_equal(again.encode(images), codes)
    assert again.history_ == encoder.history_
    assert again.fingerprint == encoder.fingerprint


@needs_keras
def test_hashing_over_an_encoder_that_is_fitted_already(digits, tmp_path):
    images, _ = digits
    base = create("hog").fit(images)
    mean = base.encode(images).mean(axis=0)
    post = Projection("some", mean, np.random.default_rng(0).normal(size=(392, 20)).astype(np.float32))
    encoder = create("hashing", bits=16, epochs=2, batch_size=32).fit_over(base.with_post(post), images)
    assert encoder.base_.dimension_ == 20
    assert encoder.encode(images).shape == (200, 2)
    again = load(encoder.save(tmp_path))
    np.testing.assert_array_equal(again.encode(images), encoder.encode(images))


@needs_keras
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"bits": 0}, "hashing: bits is 0; it must be a whole number from 1 to 65,528"),
        ({"epochs": 0}, "hashing: epochs is 0"),
        ({"batch_size": 1}, "hashing: batch_size is 1; it must be a whole number from 2"),
        ({"neighbours": -1}, "hashing: neighbours is -1"),
        ({"drawing": -1}, "hashing: drawing is -1; it must be at least 0"),
        ({"drawing": 0, "agreement": 0}, "hashing: agreement is 0; it must be more than 0 where drawing is 0"),
        ({"families": {"trun": 3}}, r"unknown augmentation family 'trun' \(did you mean 'turn'\?\)"),
        ({"validation": 0.9}, "hashing: validation is 0.9; it must be 0 to 0.5"),
        ({"minutes": 0}, "hashing: minutes is 0; it must be more than 0"),
        ({"learning_rate": 0}, "hashing: learning_rate is 0; it must be more than 0"),
        ({"base": "itq"}, "hashing: base is 'itq', which gives bits already; name an encoder of float descriptors"),
        ({"options": 3}, "hashing: options is 3; it must hold parameters of hog"),
    ],
)
def test_wrong_parameters_of_hashing_are_refused_in_a_sentence(digits, params, message):
    with pytest.raises(UsageError, match=message):
        create("hashing", **params).fit(digits[0])


@needs_keras
def test_too_few_or_equal_images_are_refused(digits):
    with pytest.raises(EncoderError, match="training needs at least 2 images, there is 1; give more"):
        create("hashing").fit(digits[0][:1])
    with pytest.raises(EncoderError, match="hashing: the 5 images given look all the same to pixels; bits are learnt"):
        create("hashing", base="pixels").fit(np.full((5, 8, 8), 7, np.uint8))


def test_a_saved_hashing_encoder_that_lost_a_part_is_refused(digits):
    base = create("hog").fit(digits[0])
    files = {f"base-{name}": content for name, content in base.to_files().items()}
    file = io.BytesIO()
    np.savez(file, kernel_0=np.zeros((4, 2)))
    whole = files | {"history.json": b"{}", "layers.npz": file.getvalue()}
    with pytest.raises(EncoderError, match="the saved hashing encoder lacks .*bias_0.*; train it again"):
        Hashing()._set_weights(whole)
    for lost in ("layers.npz", "history.json", "base-encoder.json"):
        with pytest.raises(EncoderError, match="the saved hashing over hog lacks a part; train it again"):
            Hashing()._set_weights({name: f for name, f in whole.items() if name != lost})
