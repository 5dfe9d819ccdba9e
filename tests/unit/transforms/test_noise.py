"""Noise, what is left of it, and how that is measured."""

import json
import math

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from lookalike.errors import EncoderError, UsageError
from lookalike.search.restore import denoise
from lookalike.transforms.noise import add_noise, quality
from quadrants import Quadrants, pictures


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("shape", [(3, 20, 30), (3, 20, 30, 3)])
def test_noise_is_seeded_and_leaves_the_original_alone(shape):
    images = noise(shape)
    before = images.copy()
    first, again, other = add_noise(images, 0.5, 1), add_noise(images, 0.5, 1), add_noise(images, 0.5, 2)
    assert (images == before).all()
    assert first.dtype == np.uint8
    assert first.shape == shape
    assert (first == again).all()
    assert (first != other).mean() > 0.5
    assert (add_noise(images, 0.0) == images).all()


@pytest.mark.parametrize("deviation", [0.02, 0.1])
def test_noise_has_the_deviation_that_was_asked_for(deviation):
    images = np.full((10, 100, 100), 128, np.uint8)
    error = add_noise(images, deviation).astype(float) - 128
    assert error.mean() == pytest.approx(0, abs=0.3)
    # Rounding to whole numbers adds a variance of 1/12.
    assert error.std() == pytest.approx(math.hypot(255 * deviation, 12**-0.5), rel=0.01)


def test_strong_noise_is_clipped_and_does_not_wrap_around():
    black, white = np.zeros((1, 200, 200), np.uint8), np.full((1, 200, 200), 255, np.uint8)
    assert (add_noise(black, 0.5) == 0).mean() == pytest.approx(0.5, abs=0.01)
    assert (add_noise(white, 0.5) == 255).mean() == pytest.approx(0.5, abs=0.01)


def test_mse_and_psnr_worked_out_by_hand():
    clean = np.zeros((2, 8, 8), np.uint8)
    images = clean.copy()
    images[0] = 51  # a fifth: 0.04 in the first image, 0 in the second
    found = quality(images, clean)
    assert found.mse == pytest.approx(0.02)
    assert found.psnr == pytest.approx(10 * math.log10(1 / 0.02))
    assert quality(clean, images).mse == found.mse


@pytest.mark.parametrize(
    ("shape", "window"), [((4, 28, 28), 7), ((3, 20, 31, 3), 7), ((2, 3, 9), 3), ((2, 4, 9), 3), ((2, 9, 6), 5)]
)
def test_ssim_is_scikit_images(shape, window):
    clean = noise(shape)
    images = add_noise(clean, 0.1)
    expected = np.mean(
        [
            structural_similarity(a, b, win_size=window, channel_axis=2 if len(shape) == 4 else None)
            for a, b in zip(images, clean, strict=True)
        ]
    )
    assert quality(images, clean).ssim == pytest.approx(expected, abs=1e-12)
    assert quality(images, clean).mse == pytest.approx((((images / 255.0) - clean / 255.0) ** 2).mean(), rel=1e-5)


def test_identical_images_have_no_finite_psnr():
    images = noise((2, 9, 9))
    found = quality(images, images)
    assert (found.mse, found.psnr, found.ssim) == (0, math.inf, pytest.approx(1))
    assert json.loads(json.dumps(found.to_json())) == {"mse": 0, "psnr": None, "ssim": pytest.approx(1)}


def test_what_cannot_be_compared():
    with pytest.raises(EncoderError, match=r"clean images have shape \(2, 8, 8\), these \(3, 8, 8\)"):
        quality(noise((3, 8, 8)), noise((2, 8, 8)))
    with pytest.raises(EncoderError, match=r"\(0, 8, 8\)"):
        quality(noise((0, 8, 8)), noise((0, 8, 8)))
    with pytest.raises(EncoderError, match="at least 3 pixels, these are 9 x 2"):
        quality(noise((1, 2, 9)), noise((1, 2, 9)))


def test_an_encoder_without_a_decoder_is_refused():
    encoder = Quadrants().fit(pictures((1, 2, 3, 4)))
    with pytest.raises(
        UsageError, match="the encoder 'quadrants' can't denoise; use an autoencoder that 'lookalike tr"
    ):
        denoise(encoder, pictures((1, 2, 3, 4)))


def test_a_decoder_is_given_the_images():
    class Halves(Quadrants):
        def decode(self, images):
            return images // 2

    images = pictures((1, 2, 30, 41))
    assert denoise(Halves().fit(images), images).tolist() == [[[0, 1], [15, 20]]]
