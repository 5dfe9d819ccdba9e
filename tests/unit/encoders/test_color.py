"""Colour histograms worked out by hand, and against colorsys, pixel by pixel."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest

from lookalike.encoders.color import SPACES, _hsv, _oklab, _shares
from lookalike.encoders.registry import create
from lookalike.errors import UsageError

RED, GREEN, BLUE, BLACK, WHITE, GREY = (
    (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0), (255, 255, 255), (132, 132, 132)
)  # fmt: skip


def plain(*colors, side=16):
    return np.stack([np.full((side, side, 3), color, np.uint8) for color in colors])


def encode(images, **params):
    return create("color", **params).fit(images).encode(images)


def alike(a, b, **params):
    first, second = encode(np.stack([a, b]), **params)
    return float(first @ second)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (28, 28), (1, 7, 3), (64, 64, 3), (33, 50, 3)])
def test_every_descriptor_has_length_1(space, shape):
    images = np.random.default_rng(0).integers(0, 256, (5, *shape), dtype=np.uint8)
    images[0], images[1] = 0, 255
    for grid in (1, 3, 4):
        descriptors = encode(images, space=space, grid=grid)
        assert descriptors.shape[1] == grid**2 * {"hsv": 101, "oklab": 192}[space]
        np.testing.assert_allclose(np.linalg.norm(descriptors, axis=1), 1, rtol=1e-6)
        cells = (descriptors.reshape(5, grid**2, -1) ** 2).sum(axis=2)
        np.testing.assert_allclose(cells, 1 / grid**2, rtol=1e-5)


def test_pure_colours_fill_one_bin_each():
    descriptors = encode(plain(RED, GREEN, BLUE, BLACK, WHITE), grid=1)
    assert np.count_nonzero(descriptors[[0, 3, 4]], axis=1).tolist() == [1, 1, 1]
    np.testing.assert_allclose(descriptors @ descriptors.T, np.eye(5), atol=1e-6)


def test_a_hue_between_two_bins_is_shared_out():
    # Of 8 hues round the circle, green (1/3) lies at 2.67: a third in bin 2, two thirds in bin 3.
    (green,) = encode(plain(GREEN), grid=1)
    np.testing.assert_allclose(np.sort(green[green > 0] ** 2), [1 / 3, 2 / 3], atol=1e-6)


def test_hue_goes_round():
    rose, red, orange = (255, 0, 33), RED, (255, 33, 0)
    np.testing.assert_allclose(alike(*plain(rose, red)), alike(*plain(red, orange)), atol=1e-6)
    assert alike(*plain(rose, red)) > 0.7


def test_a_little_colour_in_grey_or_black_makes_little_difference():
    for one, other in (((132, 132, 132), (140, 132, 132)), ((132, 140, 132), (132, 132, 140)), (BLACK, (0, 0, 16))):
        assert alike(*plain(one, other)) > 0.8  # Oklab is steep near black, and has no bin for it: 0.61 for the last


def test_a_small_step_of_any_colour_makes_a_small_difference():
    rng = np.random.default_rng(1)
    colors = rng.integers(0, 248, (200, 3), dtype=np.uint8)
    for space in SPACES:
        before, after = (encode(plain(*c, side=4), space=space) for c in (colors, colors + np.uint8(8)))
        # The darkest colours differ most: a step of 8 there changes the hue and saturation of what is hardly seen.
        assert np.quantile((before * after).sum(axis=1), 0.1) > 0.9


def test_a_grey_image_equals_the_same_in_colour():
    grey = np.random.default_rng(2).integers(0, 256, (4, 20, 31), dtype=np.uint8)
    for space in SPACES:
        np.testing.assert_array_equal(encode(grey, space=space), encode(np.stack([grey] * 3, axis=3), space=space))


def test_place_counts_with_a_grid_and_not_without():
    half = plain(RED)[0]
    half[:, 8:] = BLUE
    mirrored = half[:, ::-1]
    assert alike(half, mirrored, grid=1) == pytest.approx(1)
    assert alike(half, mirrored, grid=4) < 0.5
    moved = np.roll(half, 1, axis=1)
    moved[:, 0] = RED
    assert alike(half, moved, grid=4) > 0.95


def test_cells_have_soft_borders_by_hand():
    # Two cells over 8 strips: weights 1 at a cell's centre (1.5, 5.5), falling to 0 at the other's.
    image = np.zeros((1, 1, 8, 3), np.uint8)
    image[0, 0, 3] = 255
    weights = np.maximum(0, 1 - np.abs(np.arange(8) - 1.5) / 4)
    expected = weights[3] / weights.sum()
    cells = encode(image, grid=2).reshape(2, 2, -1) ** 2 * 4
    white = cells[0, 0] > 0
    white[0] = False  # black is the first bin
    assert cells[0, 0][white].sum() == pytest.approx(expected, rel=1e-5)


def test_the_colour_spaces_are_right():
    rgb = np.random.default_rng(3).random((500, 3))
    expected = [colorsys.rgb_to_hsv(*color) for color in rgb]
    np.testing.assert_allclose(_hsv(rgb), expected, atol=1e-12)
    # Ottosson's page gives white, and for XYZ of (0, 1, 0) other values; sRGB's primaries are widely published.
    np.testing.assert_allclose(_oklab(np.array([[1.0, 1, 1]])), [[1, 0, 0]], atol=1e-4)
    np.testing.assert_allclose(_oklab(np.array([[1.0, 0, 0]])), [[0.62796, 0.22486, 0.12585]], atol=1e-4)
    np.testing.assert_allclose(_oklab(np.array([[0.0, 0, 1]])), [[0.45201, -0.03246, -0.31153]], atol=1e-4)


@pytest.mark.parametrize("space", SPACES)
def test_every_colour_is_shared_out_whole_and_every_bin_is_reached(space):
    bins, shares, count = _shares(space)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert (shares >= 0).all()
    assert (np.bincount(bins.ravel(), shares.ravel(), minlength=count) > 0).all()
    assert len(np.bincount(bins.ravel())) == count


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"space": "hsb"}, r"unknown color space 'hsb' \(did you mean 'hsv'\?\); known: hsv, oklab"),
        ({"space": None}, "unknown color space 'None'"),
        ({"grid": 0}, "color: grid is 0; it must be a whole number of at least 1"),
        ({"grid": 2.0}, "color: grid is 2.0"),
        ({"grid": True}, "color: grid is True"),
    ],
)
def test_wrong_parameters_are_refused_in_a_sentence(params, message):
    with pytest.raises(UsageError, match=message):
        create("color", **params).fit(plain(RED))
