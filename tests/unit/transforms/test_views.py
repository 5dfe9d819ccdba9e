"""Views of images: scenes that are worked out by hand, and halves."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike.transforms.homography import four_point_homographies
from lookalike.transforms.views import halves, scene


def photos(shape=(40, 60, 3), n=4):
    """Noise all over, bright, on no plain ground."""
    return np.random.default_rng(0).integers(150, 256, (n, *shape), np.uint8)


@pytest.mark.parametrize("shape", [(40, 60, 3), (40, 60), (1, 1), (3, 2, 3)], ids=str)
def test_views_keep_the_shape_and_the_given_images(shape):
    images = photos(shape)
    before = images.copy()
    for view in (scene(images), *halves(images)):
        assert (view.shape, view.dtype) == (images.shape, np.uint8)
    np.testing.assert_array_equal(images, before)
    assert scene(images[:0]).shape == halves(images[:0])[0].shape == (0, *shape)


def test_a_picture_gets_smaller_by_what_it_keeps(monkeypatch):
    monkeypatch.setattr("lookalike.transforms.views.KEPT", (0.5, 0.5))
    monkeypatch.setattr("lookalike.transforms.views.ASKEW", 0)
    monkeypatch.setattr("lookalike.transforms.views.WALL", (60, 60))
    monkeypatch.setattr("lookalike.transforms.views.TINT", 0)
    images = photos()
    for made in scene(images):
        seen = (made != 60).any(axis=-1)
        assert seen.sum() == pytest.approx(20 * 30, abs=51)  # a row and a column more where it lies between pixels
        assert seen[0].sum() == 0 or seen[-1].sum() == 0


def test_a_plain_ground_goes_on_around_the_picture():
    glyph = np.full((2, 30, 30), 240, np.uint8)
    glyph[:, 10:20, 14:16] = 0
    for made in scene(glyph):
        assert (made[[0, -1]] == 240).all()
        assert (made < 128).any()


def test_the_seed_alone_decides():
    images = photos()
    np.testing.assert_array_equal(scene(images, seed=3), scene(images, seed=3))
    assert (scene(images, seed=3) != scene(images, seed=4)).any()
    assert (scene(images[:1].repeat(2, axis=0))[0] != scene(images[:1].repeat(2, axis=0))[1]).any()


def test_a_homography_sends_corners_to_corners():
    corners = np.array([[0, 0], [0, 1], [1, 1], [1, 0]]) - 0.5
    start = corners + np.random.default_rng(0).uniform(-0.1, 0.1, (3, 4, 2))
    for one, found in zip(start, four_point_homographies(start, corners), strict=True):
        sent = np.c_[one, np.ones(4)] @ found.T
        np.testing.assert_allclose(sent[:, :2] / sent[:, 2:], corners, atol=1e-12)


def test_halves_show_one_side_each():
    image = np.zeros((1, 4, 10, 3), np.uint8)
    image[:, :, 5:] = [10, 20, 30]
    left, right = halves(image)
    assert not left.any()
    assert (right == [10, 20, 30]).all()
    ramp = np.array([[[0, 100, 7, 7]]], np.uint8)
    # Two columns over four: read at -.25, .25, .75 and 1.25, of which the first and the last are beyond the middle of a column.
    assert halves(ramp)[0].tolist() == [[[0, 25, 75, 100]]]
