"""HOG against a slow one written from its definition, its symmetries, deskewing, and whether it is worth having."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, sobel

from lookalike import open_collection
from lookalike.encoders import hog
from lookalike.encoders.hog import Hog, deskew_glyphs
from lookalike.encoders.registry import create
from lookalike.errors import UsageError
from lookalike.transforms.windows import bilinear_windows

SHAPES = [(28, 28), (20, 31), (9, 5), (3, 40), (1, 6), (1, 1)]


def encode(images: NDArray[np.uint8], **params: object) -> NDArray[np.float32]:
    return create("hog", **params).fit(images).encode(images)


@pytest.fixture(scope="module")
def train_digits() -> tuple[NDArray[np.uint8], NDArray[np.str_]]:
    part = open_collection("mnist").take(np.arange(4000))
    return part.array(), part.labels


def slow_histogram(image: NDArray[np.uint8], cells: int, bins: int) -> NDArray[np.float64]:
    """Angles by arctan2, a loop over pixels, cells by distance to their centres; before sum and root are taken."""
    channels = image[..., None].astype(float) if image.ndim == 2 else image.astype(float)
    height, width = channels.shape[:2]
    right, down = (np.stack([sobel(c, axis, mode="nearest") for c in np.moveaxis(channels, 2, 0)]) for axis in (1, 0))
    out = np.zeros((bins, cells, cells))
    step = 2 * np.pi / bins
    for y in range(height):
        for x in range(width):
            sizes = np.hypot(right[:, y, x], down[:, y, x])
            best = sizes.argmax()
            angle = np.arctan2(down[best, y, x], right[best, y, x]) % (2 * np.pi)
            b = int(angle // step) % bins
            beyond = angle - b * step
            size = sizes[best] / np.sin(step)
            shares = {b: size * np.sin(step - beyond), (b + 1) % bins: size * np.sin(beyond)}
            for i in range(cells):
                for j in range(cells):
                    weight = 1.0
                    for at, cell, side in ((y, i, height), (x, j, width)):
                        away = abs(at - ((cell + 0.5) * side / cells - 0.5)) / max(side / cells, 1)
                        weight *= max(0.0, 1 - away)
                    for where, share in shares.items():
                        out[where, i, j] += weight * share
    return out


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
@pytest.mark.parametrize("bins", [4, 5, 8, 9])
def test_equals_the_definition(bins: int, colour: bool) -> None:
    rng = np.random.default_rng(bins)
    for height, width in SHAPES[1:]:
        for cells in (1, 3, 4):
            images = rng.integers(0, 256, (2, height, width, 3)[: 4 if colour else 3], dtype=np.uint8)
            expected = np.stack([slow_histogram(image, cells, bins).ravel() for image in images])
            expected /= np.maximum(expected.sum(axis=1, keepdims=True), 1e-12)
            np.testing.assert_allclose(encode(images, cells=cells, bins=bins) ** 2, expected, atol=1e-6)


def test_the_length_is_one_or_zero() -> None:
    rng = np.random.default_rng(0)
    for height, width in SHAPES:
        images = rng.integers(0, 256, (20, height, width), dtype=np.uint8)
        images[::4] = images[::4, :1, :1]
        lengths = np.linalg.norm(encode(images), axis=1)
        edges = (images != images[:, :1, :1]).any(axis=(1, 2))
        np.testing.assert_allclose(lengths, edges, atol=1e-6)


@pytest.mark.parametrize("bins", [4, 8, 12])
def test_a_quarter_turn_turns_the_cells_and_the_directions(bins: int) -> None:
    images = np.random.default_rng(1).integers(0, 256, (5, 20, 20, 3), dtype=np.uint8)
    upright = encode(images, cells=5, bins=bins).reshape(5, bins, 5, 5)
    turned = encode(np.rot90(images, axes=(1, 2)).copy(), cells=5, bins=bins).reshape(5, bins, 5, 5)
    # rot90 turns counterclockwise; with y down, angles fall by a quarter circle.
    np.testing.assert_allclose(turned, np.rot90(np.roll(upright, -bins // 4, axis=1), axes=(2, 3)), atol=1e-4)


def test_directions_are_signed() -> None:
    images = np.zeros((1, 12, 12), np.uint8)
    images[:, :, 6:] = 200
    histogram = encode(images, cells=1, bins=8)
    np.testing.assert_allclose(histogram, [[1, 0, 0, 0, 0, 0, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(encode(255 - images, cells=1, bins=8), np.roll(histogram, 4), atol=1e-6)


def test_neither_brightness_nor_contrast_matters() -> None:
    images = np.random.default_rng(2).integers(0, 60, (6, 17, 23), dtype=np.uint8)
    np.testing.assert_allclose(encode(images * 3 + 40), encode(images), atol=1e-4)


def test_colour_takes_the_channel_with_the_strongest_edges() -> None:
    rng = np.random.default_rng(3)
    grey = rng.integers(0, 256, (4, 16, 21), dtype=np.uint8)
    np.testing.assert_allclose(encode(np.repeat(grey[..., None], 3, axis=3)), encode(grey), atol=1e-6)
    for channel in range(3):
        images = np.full((4, 16, 21, 3), 77, np.uint8)
        images[..., channel] = grey
        np.testing.assert_allclose(encode(images), encode(grey), atol=1e-6)
    left, right = np.zeros((2, 1, 12, 24), np.uint8)
    left[:, :, 6:12], right[:, :, 15:18] = 90, 200
    both = np.stack([left, right, right * 0], axis=3)
    np.testing.assert_allclose(encode(both), encode(np.maximum(left, right)), atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 7, 28, 31, 500])
@pytest.mark.parametrize("cells", [1, 2, 7, 10])
def test_windows_share_out_every_pixel_between_the_outer_centres(cells: int, size: int) -> None:
    windows = bilinear_windows(cells, size)
    assert windows.shape == (cells, size)
    assert (windows >= 0).all()
    assert (windows.sum(axis=1) > 0).all()
    np.testing.assert_allclose(windows, windows[::-1, ::-1], atol=1e-6)
    if size >= cells:
        first = 0.5 * size / cells - 0.5
        between = slice(int(np.ceil(first)), int(np.floor(size - 1 - first)) + 1)
        np.testing.assert_allclose(windows[:, between].sum(axis=0), 1, atol=1e-6)


@pytest.mark.parametrize("deskew", [False, True])
def test_neither_blocks_nor_threads_matter(train_digits, monkeypatch, deskew: bool) -> None:
    images = train_digits[0][:200]
    whole = encode(images, deskew=deskew)
    for pixels, threads in ((1, 1), (28 * 28 * 3, 3), (2**20, 1)):
        monkeypatch.setattr(hog, "BLOCK_PIXELS", pixels)
        monkeypatch.setattr(hog, "MAX_THREADS", threads)
        monkeypatch.setattr(hog, "usable_cores", lambda: 3)
        np.testing.assert_array_equal(encode(images, deskew=deskew), whole)


@pytest.mark.parametrize(
    "params",
    [{"cells": 0}, {"cells": 2.0}, {"cells": True}, {"bins": 3}, {"bins": "8"}, {"deskew": 1}, {"deskew": "no"}],
)
def test_parameters_out_of_range_are_refused_by_fit(params: dict[str, object]) -> None:
    (name,) = params
    with pytest.raises(UsageError, match=f"^hog: {name} is .*; it must be "):
        create("hog", **params).fit(np.zeros((1, 8, 8), np.uint8))


# Deskewing ------------------------------------------------------------------------------------------------------------


def moments(ink: NDArray[np.floating]) -> tuple[float, float, float, float]:
    """Centre (y, x), mixed second moment, vertical second moment with the pixel's own."""
    ink = ink.astype(float)
    y, x = np.mgrid[: ink.shape[0], : ink.shape[1]]
    cy, cx = (ink * y).sum() / ink.sum(), (ink * x).sum() / ink.sum()
    dy, dx = y - cy, x - cx
    return cy, cx, (ink * dy * dx).sum() / ink.sum(), (ink * dy * dy).sum() / ink.sum() + 1 / 12


def test_deskewing_is_a_bilinear_map_by_the_moments(train_digits) -> None:
    wide = np.zeros((30, 20, 37), np.uint8)
    wide[:, 3:17, 5:33] = train_digits[0][:30, 7:21]
    for images in (train_digits[0][:100], wide):
        upright = deskew_glyphs(images)
        height, width = images.shape[1:]
        y, x = np.mgrid[:height, :width] - np.array([(height - 1) / 2, (width - 1) / 2]).reshape(2, 1, 1)
        for image, got in zip(images, upright, strict=True):
            cy, cx, mixed, vertical = moments(image)
            # Padded, since scipy's "constant" doesn't interpolate between the last pixel and what lies outside.
            where = [y + cy + 50, x + cx + mixed / vertical * y + 50]
            expected = map_coordinates(np.pad(image, 50).astype(float), where, order=1)
            np.testing.assert_allclose(got, expected, atol=1e-2)


def test_deskewed_digits_are_centred_and_upright(train_digits) -> None:
    images = train_digits[0][:500]
    slants = []
    for before, after in zip(images, deskew_glyphs(images), strict=True):
        cy, cx, mixed, vertical = moments(after)
        np.testing.assert_allclose((cy, cx), 13.5, atol=0.25)  # some lose a corner beyond the border
        slants.append((abs(moments(before)[2]) / moments(before)[3], abs(mixed) / vertical))
    before, after = np.mean(slants, axis=0)
    assert before > 0.2
    assert after < 0.02


def test_where_the_glyph_stands_doesnt_matter() -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        images = np.zeros((1, 30, 40), np.uint8)
        images[:, 10:18, 14:22] = rng.integers(0, 256, (8, 8))
        moved = np.roll(images, rng.integers(-4, 5, 2), axis=(1, 2))
        np.testing.assert_allclose(deskew_glyphs(moved), deskew_glyphs(images), atol=1e-3)


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
def test_ink_may_be_dark_or_bright(train_digits, colour: bool) -> None:
    images = train_digits[0][:50]
    if colour:
        images = np.stack([images, images // 2, images // 3], axis=3)
    bright = encode(images, deskew=True)
    np.testing.assert_array_equal(encode(255 - images, deskew=True), bright)
    assert not np.allclose(encode(255 - images), encode(images), atol=0.1)


def test_the_ground_need_not_be_black_or_white(train_digits) -> None:
    ink = train_digits[0][:50] // 2
    on_black = encode(ink, deskew=True)
    np.testing.assert_allclose(encode(ink + 100, deskew=True), on_black, atol=1e-6)
    np.testing.assert_allclose(encode(230 - ink, deskew=True), on_black, atol=1e-6)


@pytest.mark.parametrize("grey", [0, 1, 127, 128, 255])
def test_without_ink_there_is_nothing(grey: int) -> None:
    for shape in ((2, 28, 28), (2, 5, 9, 3), (1, 1, 1)):
        images = np.full(shape, grey, np.uint8)
        assert not deskew_glyphs(images).any()
        assert not encode(images, deskew=True).any()


def test_a_glyph_of_one_colour_keeps_its_colour() -> None:
    images = np.zeros((1, 9, 9, 3), np.uint8)
    images[0, 2:7, 3, 1] = 180
    upright = deskew_glyphs(images)
    assert not upright[..., [0, 2]].any()
    np.testing.assert_allclose(upright[0, 2:7, 4, 1], 180)


def test_thin_strokes_stay_whole() -> None:
    level = np.zeros((21, 21), np.uint8)
    level[4, 3:18] = 255
    step = level.copy()
    step[4, 10:], step[5, 10:18] = 0, 255  # nearly level: its moments alone ask for a shear of 7 pixels a row
    dot = np.zeros((21, 21), np.uint8)
    dot[2, 19] = 255
    corner = np.zeros((21, 21), np.uint8)
    corner[:2, :2] = 255
    images = np.stack([level, level.T, step, step.T, dot, corner])
    upright = deskew_glyphs(images)
    np.testing.assert_allclose(upright.sum(axis=(1, 2)), images.sum(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_array_equal(upright[0], np.roll(level, 6, axis=0))
    np.testing.assert_array_equal(upright[4], np.roll(dot, (8, -9), axis=(0, 1)))
    for image in upright:
        np.testing.assert_allclose(moments(image)[:2], 10, atol=1e-4)


def test_a_level_stroke_is_sheared_no_further_than_two_pixels_a_row() -> None:
    images = np.zeros((2, 21, 41), np.uint8)
    images[0, 10, 8:20], images[0, 11, 20:33] = 200, 200
    images[1] = images[0, :, ::-1]
    _, _, mixed, vertical = moments(images[0])
    assert mixed / vertical > 9
    for image, got, shear in zip(images, deskew_glyphs(images), (2, -2), strict=True):
        cy, cx, _, _ = moments(image)
        y, x = np.mgrid[:21, :41] - np.array([10, 20]).reshape(2, 1, 1)
        where = [y + cy + 50, x + cx + shear * y + 50]
        np.testing.assert_allclose(got, map_coordinates(np.pad(image, 50).astype(float), where, order=1), atol=1e-2)


def test_colour_is_deskewed_as_grey_is(train_digits) -> None:
    grey = train_digits[0][:100]
    in_colour = deskew_glyphs(np.repeat(grey[..., None], 3, axis=3))
    np.testing.assert_array_equal(in_colour, np.repeat(deskew_glyphs(grey)[..., None], 3, axis=3))


def test_the_ground_is_that_of_all_four_sides() -> None:
    hook = np.zeros((1, 24, 9), np.uint8)
    hook[:, [0, -1]] = hook[:, :11, -1] = 200  # 28 of the border's 62 pixels; 28 of 40 without the dark side
    for turns in range(4):
        image = np.rot90(hook, turns, axes=(1, 2))
        # Moved to the centre it loses some; were the ground the bright part, there would be six times the ink.
        assert 0.5 < deskew_glyphs(image).sum() / hook.sum(dtype=float) < 1.01
        np.testing.assert_array_equal(deskew_glyphs(255 - image), deskew_glyphs(image))


# Worth ----------------------------------------------------------------------------------------------------------------


def first_hits_and_mean_average_precision(descriptors, labels) -> tuple[float, float]:
    queries, database = descriptors[:300], descriptors[300:]
    order = np.argsort(-(queries @ database.T), axis=1, kind="stable")
    relevant = labels[300:][order] == labels[:300, None]
    precision = relevant.cumsum(axis=1) / np.arange(1, len(database) + 1)
    return relevant[:, 0].mean(), ((precision * relevant).sum(axis=1) / relevant.sum(axis=1)).mean()


@pytest.mark.slow
def test_it_finds_digits_better_than_pixels_do(train_digits) -> None:
    images, labels = train_digits
    pixels = create("pixels").fit(images).encode(images)
    pixels /= np.linalg.norm(pixels, axis=1, keepdims=True)
    described = (pixels, encode(images), encode(images, deskew=True))
    results = [first_hits_and_mean_average_precision(descriptors, labels) for descriptors in described]
    (pixels_first, pixels_map), (first, mean), (upright_first, upright_map) = results
    assert pixels_first + 0.02 < first
    assert min(first, upright_first) > 0.96
    assert pixels_map + 0.1 < mean
    assert mean + 0.1 < upright_map


def test_a_slanted_digit_is_nearer_after_deskewing(train_digits) -> None:
    images = np.pad(train_digits[0][:200], ((0, 0), (4, 4), (8, 8)))
    slanted = images.copy()
    for row in range(36):
        slanted[:, row] = np.roll(images[:, row], round(0.4 * (row - 17.5)), axis=1)

    def similarity(**params: object) -> float:
        encoder = Hog(**params).fit(images)
        return float((encoder.encode(images) * encoder.encode(slanted)).sum(axis=1).mean())

    assert similarity(deskew=True) > 0.99
    assert similarity() < 0.95
