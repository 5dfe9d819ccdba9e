"""What an image gets where nothing is named."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike import open_collection
from lookalike.imaging.encode import save_image
from lookalike.selection.defaults import MIN_TRIED, default_encoder, default_postprocessing, is_slanted


def named(images):
    return default_encoder(open_collection(images)).name


def test_the_encoder_suits_what_the_images_look_like(digits):
    grey = digits[0][:60]
    colour = grey[..., None] // np.array([1, 2, 3], np.uint8)
    rng = np.random.default_rng(0)
    large, tiny, tiny_colour = (
        rng.integers(0, 256, shape, np.uint8) for shape in [(4, 40, 9), (4, 16, 8), (4, 8, 8, 3)]
    )
    assert [named(images) for images in (grey, 255 - grey, tiny)] == ["hog"] * 3
    assert [named(images) for images in (colour, large, tiny_colour)] == ["neural"] * 3
    # What looks grey is grey, though it be stored in colour and tinted as JPEG and scanners do.
    tinted = np.repeat(grey[..., None], 3, axis=3)
    tinted[..., 0] = np.maximum(tinted[..., 0], 12)
    assert named(tinted) == "hog"
    assert named(np.repeat(large[..., None], 3, axis=3)) == "neural"


def shaded(side, number=60):
    """Balls under a lamp, each of another size, on black."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    radii = np.linspace(0.5, 0.8, number)[:, None, None]
    return np.uint8(np.where(np.hypot(y, x) < radii, 90 + 80 * (x + y), 0).clip(0, 255))


@pytest.mark.parametrize("made", [lambda a: a, lambda a: 255 - a, lambda a: np.repeat(a[..., None], 3, axis=3)])
def test_grey_pictures_of_things_are_no_glyphs(made):
    assert named(made(shaded(64))) == "neural"
    assert named(made(shaded(28))) == "hog"  # too small to show more than an outline
    assert named(made(np.uint8(shaded(64) > 0) * 255)) == "hog"  # silhouettes


def test_a_frame_makes_no_glyphs_of_photos():
    rng = np.random.default_rng(0)
    photos = np.kron(rng.integers(60, 200, (48, 12, 12)), np.ones((1, 5, 5))).astype(np.uint8)
    for frame in (0, 255):
        assert named(np.pad(photos, ((0, 0), (6, 6), (6, 6)), constant_values=frame)) == "neural"


def test_lettering_on_paper_is_told_by_its_lines():
    from PIL import Image, ImageDraw, ImageFont

    pages = []
    for n in range(40):
        page = Image.new("L", (160, 200), 235)
        ImageDraw.Draw(page).multiline_text(
            (12, 12), f"No. {n}\nthe quick brown\nfox {n * 7}", 30, ImageFont.load_default(20)
        )
        pages.append(np.asarray(page))
    assert named(np.stack(pages)) == "hog"


@pytest.mark.slow
def test_things_on_a_turntable_are_seen_by_the_network(shared):
    assert default_encoder(open_collection(shared("labelled") / "coil20")).name == "neural"


def test_handwriting_is_deskewed(digits):
    glyphs = digits[0][:300]
    assert is_slanted(glyphs)
    assert default_encoder(open_collection(glyphs)).params["deskew"] is True
    assert not is_slanted(glyphs[: MIN_TRIED - 1])  # too few to tell


def test_what_deskewing_does_not_help_stays_as_it_is():
    rng = np.random.default_rng(0)
    blocks = np.pad(np.kron(rng.integers(0, 256, (150, 5, 5)), np.ones((1, 4, 4))), ((0, 0), (4, 4), (4, 4)))
    assert not is_slanted(blocks.astype(np.uint8))
    assert not is_slanted(np.zeros((150, 28, 28), np.uint8))  # all are blank
    assert default_encoder(open_collection(blocks.astype(np.uint8))).params["deskew"] is False


@pytest.mark.slow
def test_outlines_of_fruit_are_not_deskewed(shared):
    outlines = open_collection(shared("labelled") / "fruit-shapes", size=64)
    encoder = default_encoder(outlines)
    assert (encoder.name, encoder.params["deskew"]) == ("hog", False)


def test_where_no_image_can_be_read_there_is_none(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert default_encoder(open_collection(tmp_path)) is None


@pytest.mark.slow
def test_a_collection_is_encoded_as_its_index_will_be(digits, tmp_path):
    glyphs = open_collection(digits[0][:200])
    encoder, name = default_postprocessing(default_encoder(glyphs), glyphs)
    assert (encoder.name, name, encoder.post_.name) == ("hog", "mutual neighbours", "mutual neighbours")
    few = open_collection(digits[0][:20])
    assert default_postprocessing(default_encoder(few), few) is None
    for n in range(3):
        (tmp_path / f"{n}.png").write_bytes(b"no image")
    assert default_postprocessing(encoder, open_collection(tmp_path)) is None
    save_image(digits[0][0], tmp_path / "3.png")
    assert default_postprocessing(encoder, open_collection(tmp_path)) is None


@pytest.mark.parametrize("value", [0, 255])
def test_blank_images_have_no_look_and_are_no_fault(value):
    blank = open_collection(np.full((100, 28, 28), value, np.uint8))
    assert default_postprocessing(default_encoder(blank), blank) is None
