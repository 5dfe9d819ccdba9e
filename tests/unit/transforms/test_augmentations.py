"""Augmented copies: what each family does, that it is the seed's, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike.errors import UsageError
from lookalike.transforms.augmentations import FAMILIES, augment, families_for
from lookalike.transforms.grounds import kind_of, plain_grounds


def photos(n=6, shape=(24, 32, 3)):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (n, -(-shape[0] // 4), -(-shape[1] // 4), *shape[2:]), dtype=np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)[:, : shape[0], : shape[1]]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("shape", [(24, 32, 3), (24, 32), (1, 1), (5, 9, 3)], ids=str)
def test_each_family_changes_any_image_and_leaves_the_given_one_alone(name, shape):
    images = photos(shape=shape)
    before = images.copy()
    copies = augment(images, {name: FAMILIES[name].curve[-1]}, exact=True)
    np.testing.assert_array_equal(images, before)
    assert copies.dtype == np.uint8
    assert copies.shape == images.shape
    needs_colour = name in ("colour", "grey") and len(shape) == 2
    assert needs_colour or 1 in shape or (copies != images).any()
    np.testing.assert_array_equal(augment(images, {name: 0}), images)


def test_without_a_family_nothing_changes():
    np.testing.assert_array_equal(augment(photos(), {}), photos())
    assert augment(photos()[:0]).shape == (0, 24, 32, 3)


def test_the_seed_alone_decides_not_the_block(monkeypatch):
    images = photos(9)
    whole = augment(images, seed=3)
    np.testing.assert_array_equal(augment(images, seed=3), whole)
    assert (augment(images, seed=4) != whole).any()
    monkeypatch.setattr("lookalike.transforms.augmentations.BLOCK_VALUES", images[0].size * 2)
    np.testing.assert_array_equal(augment(images, seed=3), whole)


def test_images_are_augmented_differently():
    one = photos(1)
    copies = augment(one.repeat(5, axis=0))
    assert len(np.unique(copies.reshape(5, -1), axis=0)) == 5


def test_switching_a_family_off_leaves_the_draws_of_others():
    images = photos(3, (24, 32))
    both = augment(images, {"mirror": 0.5, "shift": 0.1})
    flipped = (augment(images, {"mirror": 0.5}) != images).any(axis=(1, 2))
    shifted = augment(images, {"shift": 0.1})
    assert flipped.any()
    for i in range(3):
        np.testing.assert_array_equal(shifted[i, :, ::-1] if flipped[i] else shifted[i], both[i])


# What each family does, worked out by hand ----------------------------------------------------------------------------


def test_a_turn_by_90_degrees_is_a_quarter_turn():
    image = np.arange(25, dtype=np.uint8).reshape(1, 5, 5) * 10
    turned = augment(image, {"turn": 90}, exact=True)[0]
    assert any((turned == np.rot90(image[0], k)).all() for k in (1, 3))
    np.testing.assert_array_equal(augment(image, {"turn": 180}, exact=True)[0], image[0, ::-1, ::-1])


def test_a_shift_moves_by_its_share_of_the_side():
    image = np.zeros((1, 10, 10), np.uint8)
    image[0, 5, 5] = 200
    moved = np.argwhere(augment(image, {"shift": 0.2}, exact=True)[0] == 200)
    assert np.abs(moved - 5).tolist() == [[2, 2]]


def test_a_plain_ground_goes_on_beyond_the_border_and_a_photo_is_mirrored():
    plain = np.full((1, 20, 20), 90, np.uint8)
    plain[0, 8:12, 8:12] = 250
    turned = augment(plain, {"turn": 45}, exact=True)[0]
    assert (turned[[0, 0, -1, -1], [0, -1, 0, -1]] == 90).all()
    rows = np.arange(20, dtype=np.uint8)[None, :, None].repeat(20, axis=2) * 12
    moved = augment(rows, {"shift": 0.2}, exact=True)[0, :, 0] // 12
    down, up = [*range(4, 20), 19, 18, 17, 16], [3, 2, 1, 0, *range(16)]
    assert moved.tolist() in (down, up)


def test_a_crop_shows_a_part_at_full_size():
    ramp = np.arange(100, dtype=np.uint8)[None, None].repeat(100, axis=1)
    cropped = augment(ramp, {"crop": 0.5}, exact=True)[0].astype(int)
    assert np.diff(cropped[0]).max() == 1
    assert abs(np.ptp(cropped) - 50) <= 1


def test_tone_colour_and_noise_are_as_strong_as_said():
    grey = np.full((40, 32, 32), 128, np.uint8)
    noisy = augment(grey, {"noise": 0.1}, exact=True).astype(float)
    assert noisy.std() == pytest.approx(25.5, rel=0.05)
    one = augment(photos(), {"grey": 1}, exact=True)
    assert (one[..., 0] == one[..., 1]).all()
    assert (one[..., 1] == one[..., 2]).all()
    toned = augment(np.full((1, 4, 4), 64, np.uint8), {"contrast": np.log(2)}, exact=True)
    assert toned[0, 0, 0] in (round(255 * (64 / 255) ** 2), round(255 * (64 / 255) ** 0.5))


def test_blur_keeps_the_mean_and_erasing_covers_its_share():
    spot = np.zeros((1, 21, 21), np.uint8)
    spot[0, 10, 10] = 255
    blurred = augment(spot, {"blur": 0.1}, exact=True).astype(int)
    assert blurred.max() < 30
    assert blurred.sum() == pytest.approx(255, rel=0.15)
    np.testing.assert_array_equal(blurred[0], blurred[0].T)
    erased = augment(photos(1, (20, 20)), {"erase": 0.5}, exact=True)
    assert max(np.bincount(erased.ravel())) >= 100


def test_jpeg_loses_more_at_a_lower_quality():
    lost = [np.abs(augment(photos(), {"jpeg": a}, exact=True).astype(int) - photos()).mean() for a in (5, 50, 95)]
    assert lost[0] < lost[1] < lost[2]


# What suits which images ----------------------------------------------------------------------------------------------


def test_digits_are_told_from_photos(digits):
    assert kind_of(digits[0]) == kind_of(255 - digits[0]) == "glyphs"
    assert kind_of(photos()) == "photos"
    plain, ground = plain_grounds(255 - digits[0][:9])
    assert plain.all()
    assert (ground == 255).all()


def test_the_families_suit_the_images(digits):
    assert {"turn", "shear", "elastic"} <= set(families_for(digits[0]))
    assert not {"crop", "jpeg", "colour", "mirror"} & set(families_for(digits[0]))
    assert {"crop", "jpeg", "colour", "erase"} <= set(families_for(photos()))
    assert "colour" not in families_for(photos(shape=(24, 32)))


def test_what_cant_be_done_is_refused_in_words():
    with pytest.raises(UsageError, match=r"unknown augmentation family 'twist'.*known: .*turn"):
        augment(photos(), ["twist"])
    with pytest.raises(
        UsageError, match=r"augmentation crop=2: the amount is a number from 0 to 0.95 \(share of the side"
    ):
        augment(photos(), {"crop": 2})
    for amount in (-1, "much", None, float("nan")):
        with pytest.raises(UsageError, match=r"the amount is a number from 0 \(degrees"):
            augment(photos(), {"turn": amount})
