"""Noise taken out by what the collection looks like."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from lookalike import build_index, open_index
from lookalike.encoders.registry import create
from lookalike.errors import EncoderError, UsageError
from lookalike.index.integrity import verify
from lookalike.search.engine import search
from lookalike.search.restore import restore_queries
from lookalike.transforms import wiener
from lookalike.transforms.noise import add_noise
from lookalike.transforms.restorer import LEVELS, Restorer, roughness


def stripes(number, side=24, seed=0):
    """Colour pictures of soft stripes, each turned and coloured by chance."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    turn, speed, start = (rng.uniform(0, top, (number, 1, 1)) for top in (math.pi, 12, 6))
    wave = np.sin(speed * (np.cos(turn) * x + np.sin(turn) * y) + start)[..., None]
    return (127 + 100 * wave * rng.uniform(-1, 1, (number, 1, 1, 3))).astype(np.uint8)


def error(images, clean):
    return float(np.mean((images.astype(float) - clean) ** 2))


@pytest.fixture(scope="module")
def restorer(digits):
    return Restorer(form="whole").fit(digits[0][:160])


# The model -------------------------------------------------------------------------------------------------------


def test_clipped_noise_worked_out_by_hand():
    mean, variance = wiener.moments(0.5)
    # Half of a normal variable: mean s / sqrt(2 pi), mean square s^2 / 2; far below 1.
    with_one_end = 0.5 / math.sqrt(2 * math.pi)
    above_one = sum(math.exp(-n * n / 2) * 0.001 * (0.5 * n - 1) for n in np.arange(2, 6, 0.001)) / math.sqrt(
        2 * math.pi
    )
    assert mean[0] == pytest.approx(with_one_end - above_one, abs=1e-4)
    mean, variance = wiener.moments(0.05)
    assert mean[128] == pytest.approx(128 / 255, abs=1e-6)
    assert variance[128] == pytest.approx(0.05**2, rel=1e-3)
    assert variance[0] == pytest.approx(0.05**2 * (0.5 - 1 / (2 * math.pi)), rel=1e-2)


def test_the_filter_is_that_of_least_squares_over_drawn_noise():
    clean = np.random.default_rng(0).integers(0, 256, (40, 4)).astype(np.uint8)
    clean[:, 1] = clean[:, 0]  # so that there is something to learn from a neighbour
    often = np.repeat(clean, 4000, axis=0)
    noisy = add_noise(often, 0.4, 1) / 255
    beside = np.column_stack([noisy, np.ones(len(noisy))])
    expected = np.linalg.lstsq(beside, often / 255, rcond=None)[0]
    off, matrix, on = wiener.affine(clean, 0.4)
    assert np.abs(matrix - expected[:4]).max() < 0.02
    assert np.abs(on - off @ matrix - expected[4]).max() < 0.02


def test_with_the_whole_collection_as_kin_it_is_the_filter_of_the_whole_collection(digits):
    images = digits[0][:150]
    whole = wiener.GlobalWiener.learn(images)
    seen = add_noise(images[:3], 0.5).reshape(3, -1) / np.float32(255)
    off, matrix, on = wiener.affine(images.reshape(len(images), -1), 0.5)
    expected = (seen - off) @ matrix + on
    assert np.abs(whole._by_kin(seen, seen, 0.5) - expected).max() < 1e-3


# The level -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(100, 120), (100, 120, 3)])
def test_roughness_of_a_flat_image_is_the_noise(shape):
    image = add_noise(np.full((1, *shape), 128, np.uint8), 0.1)[0]
    assert roughness(image) == pytest.approx(0.1, rel=0.05)


def test_the_level_is_found_although_noise_is_clipped(restorer, digits):
    for level in (0.1, 0.25, 0.5):
        found = restorer.levels(add_noise(digits[0][160:], level, 3))
        steps = [LEVELS.index(one) - LEVELS.index(level) for one in found]
        assert max(map(abs, steps)) <= 2
        assert abs(np.mean(steps)) < 0.5


def test_clean_images_are_left_as_they_are(restorer, digits):
    restored = restorer.restore(digits[0][160:])
    assert set(restored.levels) == {0.0}
    assert (restored.images == digits[0][160:]).all()
    assert restored.image(0).to_text() == "not noisier than the collection's own images, so left as it is"


# Restoring -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_noisy_digits_are_restored_and_found_again(restorer, digits):
    images, labels = digits[0][160:], np.array(digits[1])
    noisy = add_noise(images, 0.5, 1)
    before = noisy.copy()
    restored = restorer.restore(noisy)
    assert (noisy == before).all()
    assert error(restored.images, images) < error(noisy, images) / 4
    hog = create("hog").fit(images)
    table = hog.encode(digits[0][:160])

    def right(asked):
        return np.mean(labels[:160][np.argmax(hog.encode(asked) @ table.T, axis=1)] == labels[160:])

    assert right(restored.images) > right(noisy) + 0.15
    assert (restorer.restore(noisy).images == restored.images).all()
    again = Restorer(form="whole").fit(digits[0][:160]).restore(noisy[3:5]).images
    assert np.abs(again.astype(int) - restored.images[3:5]).max() <= 1  # alone as among others


def test_pictures_are_restored_by_their_patches():
    images, others = stripes(30), stripes(5, side=40, seed=1)
    by_patches = Restorer(form="patches").fit(list(images[:15]) + [image[:, :20] for image in images[15:]])
    noisy = add_noise(others, 0.2, 1)
    restored = by_patches.restore(noisy)
    assert set(restored.levels) <= {0.15, 0.2, 0.25}
    assert error(restored.images, others) < error(noisy, others) / 5
    known = by_patches.restore(noisy, 0.2)
    assert set(known.levels) == {0.2}
    assert "patches" in known.image(0).to_json()["by"]


@pytest.mark.slow
def test_the_form_is_chosen_by_held_out_images():
    assert Restorer().fit(stripes(40, side=16)).form_ == "patches"
    # Sums of a few patterns without any local order: only whole images tell what belongs together.
    rng = np.random.default_rng(0)
    sums = rng.dirichlet([0.3] * 4, 200) @ rng.integers(0, 256, (4, 256))
    assert Restorer().fit(sums.reshape(200, 16, 16).astype(np.uint8)).form_ == "whole"


def test_what_cannot_be_restored(restorer, digits):
    with pytest.raises(UsageError, match="needs at least 8 images, here are 3"):
        Restorer().fit(digits[0][:3])
    with pytest.raises(UsageError, match="unknown form 'half'; known: whole, patches"):
        Restorer(form="half").fit(digits[0])
    with pytest.raises(UsageError, match="images of one size"):
        Restorer(form="whole").fit([*digits[0][:9], digits[0][9, :20]])
    with pytest.raises(UsageError, match="the level of noise is -1"):
        restorer.restore(digits[0][:1], -1)
    with pytest.raises(EncoderError, match=r"shape \(9, 9\) can't be denoised by a collection of shape \(28, 28\)"):
        restorer.restore(np.zeros((1, 9, 9), np.uint8))
    with pytest.raises(EncoderError, match="sides of at least 8 pixels, and colour"):
        Restorer(form="patches").fit(stripes(9)).restore(digits[0][:1])


# A search --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_index_is_asked_by_noisy_images(digits, tmp_path):
    index = build_index(digits[0], "hog", tmp_path / "digits.lookalike")
    noisy = add_noise(digits[0][:40], 0.5, 1)
    plain, clean = search(index, noisy, 1), search(index, noisy, 1, denoise="auto")
    itself = [str(i) for i in range(40)]

    def found(results):
        return sum(r.matches[0].id == own for r, own in zip(results, itself, strict=True))

    assert found(clean) > found(plain) + 5
    assert plain[0].denoised is None
    assert "denoised" not in plain[0].to_json()
    stated = json.loads(json.dumps(clean[0].to_json()))["denoised"]
    assert stated["noise"] in (0.4, 0.5, 0.6)
    assert clean[0].denoised.images.shape == (1, 28, 28)
    assert index.search(noisy[0], 1, denoise="auto")[0] == clean[0].matches[0]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["whole", "patches"])
def test_what_clean_images_look_like_is_learnt_once_and_kept_in_the_index(form, tmp_path, monkeypatch):
    images = stripes(40, side=64)
    if form == "whole":
        rng = np.random.default_rng(0)
        images = (rng.dirichlet([0.3] * 4, 200) @ rng.integers(0, 256, (4, 256))).reshape(200, 16, 16).astype(np.uint8)
    index = build_index(images, "pixels", tmp_path / "i.lookalike")
    noisy = add_noise(images[:3], 0.4, 1)
    first = restore_queries(index, noisy, "auto")
    assert first.by == restore_queries(index, noisy[:1], "auto").by
    assert ("neighbours" in first.by) == (form == "whole")
    monkeypatch.setattr(Restorer, "fit", pytest.fail)  # learnt again
    again = restore_queries(open_index(index.path), noisy, "auto")
    assert (again.images == first.images).all()
    assert (again.levels, again.by) == (first.levels, first.by)
    assert verify(open_index(index.path)) == []


def test_what_cannot_denoise_is_refused(digits, tmp_path):
    index = build_index(digits[0][:20], "pixels", tmp_path / "i.lookalike")
    create("hog").fit(digits[0]).save(tmp_path / "hog")
    with pytest.raises(UsageError, match="the encoder 'hog' can't denoise; use an autoencoder"):
        restore_queries(index, digits[0][:1], tmp_path / "hog")
    with pytest.raises(EncoderError, match="nowhere"):
        restore_queries(index, digits[0][:1], tmp_path / "nowhere")
    few = build_index(digits[0][:4], "pixels", tmp_path / "few.lookalike")
    with pytest.raises(UsageError, match="needs at least 8 images, here are 4"):
        few.search(digits[0][0], 1, denoise="auto")
