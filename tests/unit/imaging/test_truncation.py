"""A file that ends before its picture does is truncated, in every format and wherever it was cut; a whole one is read."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest

import layouts
from layouts import Frame, scene, tiff
from lookalike.errors import ImageError
from lookalike.imaging.decode import decode, pictures
from lookalike.imaging.formats import HEAD

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

Y, X = np.mgrid[:48, :64]
NOISE = np.random.default_rng(2).integers(-20, 20, (48, 64, 3))
COLOUR = np.clip(np.stack([Y * 5, X * 4, X + Y], -1) + NOISE, 0, 255).astype(np.uint8)
GREY = COLOUR[..., 0].copy()
MORE = {
    "save_all": True,
    "append_images": [PIL.Image.fromarray(COLOUR[::-1].copy()), PIL.Image.fromarray(255 - COLOUR)],
}


def encoded(name, pixels=COLOUR, **options):
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, name, **options)
    return file.getvalue()


def heif(**options):
    pytest.importorskip("pillow_heif", reason="the extra heic isn't installed").register_heif_opener()
    return encoded("HEIF", **options)


def bmp_in_runs():
    return next(case.data for case in layouts.bmps() if "rle" in case.name)


FILES = {
    "JPEG": lambda: encoded("JPEG"),
    "progressive JPEG": lambda: encoded("JPEG", progressive=True),
    "grey JPEG": lambda: encoded("JPEG", GREY),
    "PNG": lambda: encoded("PNG"),
    "GIF": lambda: encoded("GIF"),
    "WEBP": lambda: encoded("WEBP"),
    "lossless WEBP": lambda: encoded("WEBP", lossless=True),
    "AVIF": lambda: encoded("AVIF"),
    "HEIC": heif,
    "BMP": lambda: encoded("BMP"),
    "BMP in runs": bmp_in_runs,
    "PPM": lambda: encoded("PPM"),
    "PBM": lambda: encoded("PPM", GREY > 99),
    "plain PGM": lambda: b"P2 64 48 255\n" + " ".join(map(str, GREY.ravel())).encode() + b"\n",
    "TIFF": lambda: encoded("TIFF"),
    "LZW TIFF": lambda: encoded("TIFF", compression="tiff_lzw"),
    "JPEG TIFF": lambda: encoded("TIFF", compression="jpeg"),
    "fax TIFF": lambda: encoded("TIFF", NOISE[..., 0] > 0, compression="group4"),
    "TIFF in planes": lambda: tiff(scene(3, 16), 2, 16, planes=True, compression=8),
    "BigTIFF": lambda: tiff(scene(3), 2, big=True, order=">"),
    "tiled TIFF": lambda: tiff(scene(1, 12), 1, 12, tile=(16, 16)),
    "APNG": lambda: encoded("PNG", **MORE),
    "animated WEBP": lambda: encoded("WEBP", **MORE),
    "animated AVIF": lambda: encoded("AVIF", **MORE),
    "several HEIC": lambda: heif(**MORE),
}
# Whose first frame is a picture even where what lies behind it is missing.
IN_TURN = {"animated GIF": lambda: encoded("GIF", **MORE), "pages": lambda: encoded("TIFF", **MORE)}


def outcome(data, **options):
    try:
        list(pictures(data, "here", [(8, 8, 3)], **options))
    except ImageError as e:
        return e.outcome
    return "image"


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_anywhere_is_truncated(name):
    data = FILES[name]()
    assert outcome(data) == outcome(data, each=True) == "image"
    for percent in range(1, 100):
        for end in {max(HEAD, len(data) * percent // 100 + more) for more in (0, 1)}:  # fewer tell no format
            assert outcome(data[:end]) == "truncated", (percent, end)
            assert outcome(data[:end], each=True) == "truncated", (percent, end)


@pytest.mark.parametrize("name", IN_TURN)
def test_what_holds_frames_in_turn_is_truncated_where_one_that_is_wanted_is_cut(name):
    data = IN_TURN[name]()
    assert outcome(data, each=True) == "image"
    for percent in range(1, 100):
        end = len(data) * percent // 100
        assert outcome(data[:end], each=True) == "truncated", percent
        assert outcome(data[:end]) == (
            "truncated" if percent < 30 else "image" if percent > 50 else outcome(data[:end])
        )


@pytest.mark.parametrize("name", ["AVIF", "HEIC", "lossless WEBP", "WEBP", "PNG", "GIF", "JPEG"])
def test_a_file_whose_end_was_never_written_is_not_read(name):
    """As after a crash, or of a download that began with its full length: zeros in place of the rest."""
    data = FILES[name]()
    for percent in range(10, 90, 10):
        end = len(data) * percent // 100
        assert outcome(data[:end] + bytes(len(data) - end)) in ("truncated", "damaged"), percent


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1), (16, 16), (640, 480), (2000, 3000), (3000, 30)])
def test_pictures_of_one_colour_are_whole_though_they_may_end_in_zeros(size):
    for colour in ("black", "white", "grey", "red"):
        for name, options in (("WEBP", {}), ("WEBP", {"lossless": True}), ("WEBP", {"quality": 100}), ("AVIF", {})):
            file = io.BytesIO()
            PIL.Image.new("RGB", size, colour).save(file, name, **options)
            assert decode(file.getvalue(), "here").shape == (*size[::-1], 3)


def test_what_stands_beside_the_picture_may_end_in_zeros():
    """As cameras fill EXIF up."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\0\0" + bytes(4000)
    for name, options in (("WEBP", {"lossless": True}), ("WEBP", {}), ("AVIF", {})):
        assert outcome(encoded(name, exif=exif, **options)) == "image"
        assert outcome(encoded(name, exif=exif, **options), each=True) == "image"
    assert outcome(heif(exif=exif)) == "image"


def test_what_lies_behind_the_end_is_not_asked_for():
    """Boxes as phones append them, with a video that is cut; rubbish."""
    for name in ("AVIF", "HEIC"):
        data = FILES[name]()
        for tail in (b"\0\0\x10\0mpvd" + bytes(90), b"\xff" * 50, b"\0\0\0\0", b"\0 rubbish" * 9):
            assert outcome(data + tail) == "image"


@pytest.mark.slow
def test_half_of_a_phone_s_photo_is_truncated(shared):
    """In tiles, of which the decoder shows the missing ones in green."""
    path = shared("near-duplicates").parents[1] / "cases" / "files" / "cut50.heic"
    if not path.is_file():
        pytest.skip(f"{path} isn't there")
    pytest.importorskip("pillow_heif", reason="the extra heic isn't installed")
    data = path.read_bytes()
    for end in (len(data), len(data) * 3 // 4, len(data) // 2, len(data) // 10, 5000, 100, 30):
        assert outcome(data[:end]) == "truncated"


def test_the_first_frame_of_a_gif_is_whole_or_truncated():
    """Its codes may end early though the file goes on."""
    data = layouts.gif([Frame(scene(1)[..., 0].astype(int))], np.arange(768).reshape(256, 3) % 256)
    start = 13 + 768 + 8 + 11
    for end in range(start + 20, len(data) - 300, 40):
        length = (end - start) % 256  # the sub-block that the end falls into is stated as long as what is left of it
        cut = bytearray(data[:end])
        cut[start + (end - start) // 256 * 256] = max(length - 1, 1)
        assert outcome(bytes(cut) + b"\0;") in ("truncated", "damaged")
