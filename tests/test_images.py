"""Decoding: every right file as its author meant it, and for every wrong one a sentence and nothing else."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
from PIL import ImageOps

from lookalike import images
from lookalike.errors import ImageError, LookalikeError, UsageError
from lookalike.images import FORMATS, fit_to, from_png, image_shape, read_image, save_image, to_png, to_uint8

RNG = np.random.default_rng(11)
GREY = RNG.integers(0, 256, (5, 7), np.uint8)
COLOUR = RNG.integers(0, 256, (5, 7, 3), np.uint8)
LOSSLESS = {"BMP": {}, "PNG": {}, "PPM": {}, "TIFF": {}, "WEBP": {"lossless": True}}


def write(path, picture, file_format="PNG", **options):
    picture = picture if isinstance(picture, PIL.Image.Image) else PIL.Image.fromarray(picture)
    picture.save(path, file_format, **options)
    return path


def smooth(height=40, width=60):
    """A picture that lossy formats keep nearly as it is."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y * 255 // height, x * 255 // width, (x + y) * 255 // (height + width)], -1).astype(np.uint8)


def refused(path):
    with pytest.raises(ImageError) as caught:
        read_image(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 300
    return message


def read(path):
    """Read a file, and check that its header promised the same shape."""
    pixels = read_image(path)
    assert pixels.dtype == np.uint8
    assert image_shape(path) == pixels.shape
    return pixels


def outcome(path):
    """Say whether a file gives an image or a sentence; anything else fails the test."""
    try:
        pixels = read_image(path)
    except ImageError:
        refused(path)
        return "sentence"
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 2 or pixels.shape[2:] == (3,)
    assert pixels.size
    assert image_shape(path) == pixels.shape
    return "image"


# What a file holds ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_formats_come_back_pixel_by_pixel(tmp_path, name):
    np.testing.assert_array_equal(read(write(tmp_path / "colour", COLOUR, name, **LOSSLESS[name])), COLOUR)
    if name != "WEBP":  # it has no grey
        np.testing.assert_array_equal(read(write(tmp_path / "grey", GREY, name)), GREY)


@pytest.mark.parametrize("name", ["JPEG", "GIF", "WEBP"])
def test_lossy_formats_come_back_nearly_so(tmp_path, name):
    written = smooth()
    error = read(write(tmp_path / "image", written, name)).astype(int) - written
    assert np.abs(error).mean() < 6


def test_the_content_tells_the_format_not_the_name(tmp_path):
    np.testing.assert_array_equal(read(write(tmp_path / "photo.jpg", COLOUR, "PNG")), COLOUR)


def test_a_grey_jpeg_stays_grey(tmp_path):
    pixels = read(write(tmp_path / "grey.jpg", smooth()[..., 0], "JPEG"))
    assert np.abs(pixels.astype(int) - smooth()[..., 0]).mean() < 3


def test_one_bit_a_pixel_becomes_black_and_white(tmp_path):
    bits = GREY > 127
    for name in ("PNG", "TIFF", "BMP", "PPM"):
        np.testing.assert_array_equal(read(write(tmp_path / "bits", bits, name)), bits * np.uint8(255))


def test_a_palette_becomes_its_colours(tmp_path):
    palette = PIL.Image.fromarray(GREY // 64).convert("L")
    picture = PIL.Image.frombytes("P", palette.size, palette.tobytes())
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 8, 7]], np.uint8)
    picture.putpalette(colours.tobytes())
    for name in ("PNG", "GIF", "BMP", "TIFF"):
        np.testing.assert_array_equal(read(write(tmp_path / "palette", picture, name)), colours[GREY // 64])


def test_cmyk_becomes_rgb(tmp_path):
    inks = np.zeros((3, 4, 4), np.uint8)
    inks[0], inks[1, :, 3], inks[2, :, 1] = (0, 0, 0, 0), 255, 255  # paper, black ink, magenta ink
    for name in ("TIFF", "JPEG"):
        pixels = read(write(tmp_path / "cmyk", PIL.Image.fromarray(inks, "CMYK"), name, quality=100))
        wanted = np.repeat(np.array([[255, 255, 255], [0, 0, 0], [255, 0, 255]]), 4, 0).reshape(3, 4, 3)
        assert np.abs(pixels.astype(int) - wanted).max() <= (0 if name == "TIFF" else 12)


def test_sixteen_bits_are_brought_to_eight(tmp_path):
    deep = np.array([[0, 128, 257, 32768, 65535]], np.uint16)
    for name in ("PNG", "TIFF", "PPM"):
        assert read(write(tmp_path / "deep", deep, name)).tolist() == [[0, 0, 1, 128, 255]]


def test_a_dark_sixteen_bit_picture_stays_dark(tmp_path):
    for name in ("PNG", "TIFF", "PPM"):
        assert read(write(tmp_path / "dark", np.full((2, 2), 200, np.uint16), name)).max() == 1


def test_32_bit_tiff_holds_8_bits_or_16_or_floats_or_is_refused(tmp_path):
    path = tmp_path / "deep.tif"
    assert read(write(path, np.array([[0, 200]], np.int32), "TIFF")).tolist() == [[0, 200]]
    assert read(write(path, np.array([[0, 25700]], np.int32), "TIFF")).tolist() == [[0, 100]]
    assert read(write(path, np.array([[0, 0.5, 1]], np.float32), "TIFF")).tolist() == [[0, 128, 255]]
    assert read(write(path, np.array([[0, 99, 255]], np.float32), "TIFF")).tolist() == [[0, 99, 255]]
    for wrong in (np.array([[-1, 3]], np.int32), np.array([[0, 70000]], np.int32), np.array([[0, -1]], np.float32)):
        write(path, wrong, "TIFF")
        assert "values from" in refused(path)
    write(path, np.array([[0, np.nan]], np.float32), "TIFF")
    assert "NaN" in refused(path)


@pytest.mark.parametrize("name", ["PNG", "TIFF", "WEBP"])
def test_transparent_parts_are_white(tmp_path, name):
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 3] = (0, 51, 255)  # black: unseen, a fifth, whole
    path = write(tmp_path / "alpha", pixels, name, **LOSSLESS[name])
    assert read(path).tolist() == [[[255] * 3, [204] * 3, [0] * 3]]


def test_grey_with_transparency_stays_grey(tmp_path):
    grey_alpha = PIL.Image.merge("LA", [PIL.Image.new("L", (2, 1), 100), PIL.Image.new("L", (2, 1), 0)])
    for name in ("PNG", "TIFF"):
        assert read(write(tmp_path / "alpha", grey_alpha, name)).tolist() == [[255, 255]]
    assert read(write(tmp_path / "key", np.array([[7, 8]], np.uint8), "PNG", transparency=7)).tolist() == [[255, 8]]


def test_a_transparent_palette_colour_is_white(tmp_path):
    picture = PIL.Image.new("P", (2, 1), 0)
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putpixel((1, 0), 1)
    for name in ("PNG", "GIF"):
        path = write(tmp_path / "palette", picture, name, transparency=0)
        assert read(path).tolist() == [[[255, 255, 255], [40, 50, 60]]]


def test_of_an_animation_the_first_frame_is_read(tmp_path):
    frames = [PIL.Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")]
    for name in ("GIF", "PNG", "WEBP", "TIFF"):
        path = write(tmp_path / "animation", frames[0], name, save_all=True, append_images=frames[1:])
        assert np.abs(read(path).astype(int) - [255, 0, 0]).max() < 6


# Orientation ----------------------------------------------------------------------------------------------------------

# How a camera that was turned stores the same scene, by the table of the EXIF standard (tag 274).
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: np.rot90(a, 2),
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


def oriented(path, pixels, orientation, name="PNG"):
    exif = PIL.Image.Exif()
    exif[274] = orientation
    return write(path, np.ascontiguousarray(pixels), name, exif=exif, **LOSSLESS.get(name, {"quality": 95}))


@pytest.mark.parametrize("name", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", STORED)
def test_all_eight_orientations_give_one_array(tmp_path, name, orientation):
    scene = smooth()
    path = oriented(tmp_path / "photo", STORED[orientation](scene), orientation, name)
    pixels = read(path)
    assert pixels.shape == scene.shape
    assert np.abs(pixels.astype(int) - scene).max() <= (0 if name != "JPEG" else 12)
    np.testing.assert_array_equal(pixels, np.asarray(ImageOps.exif_transpose(PIL.Image.open(path)).convert("RGB")))


@pytest.mark.parametrize("scene", ["Landscape", "Portrait"])
def test_real_photos_in_all_orientations_are_one_scene(shared, scene):
    folder = shared("exif-orientation")
    upright = fit_to(read(folder / f"{scene}_1.jpg"), (60, 60, 3)).astype(int)
    for orientation in range(9):
        other = fit_to(read(folder / f"{scene}_{orientation}.jpg"), (60, 60, 3))
        assert np.abs(other - upright).mean() < 4, orientation


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_leaves_the_picture_as_it_is(tmp_path, orientation):
    np.testing.assert_array_equal(read(oriented(tmp_path / "photo", COLOUR, orientation)), COLOUR)


def test_exif_that_cannot_be_read_does_not_spoil_the_picture(tmp_path):
    for exif in (b"Exif\0\0MM\0*\0\0", b"Exif\0\0rubbish", b"Exif\0\0II*\0\xff\xff\xff\x7f"):
        np.testing.assert_array_equal(read(write(tmp_path / "photo.png", COLOUR, "PNG", exif=exif)), COLOUR)


# What is refused ------------------------------------------------------------------------------------------------------


def test_what_is_no_image_file_is_refused(tmp_path):
    assert "No such file" in refused(tmp_path / "nowhere.png")
    assert "a folder" in refused(tmp_path)
    empty = tmp_path / "empty.png"
    empty.touch()
    assert "0 bytes" in refused(empty)
    text = tmp_path / "text.jpg"
    text.write_text("Dear Sir or Madam,\n")
    assert "BMP, GIF, JPEG, PNG" in refused(text)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_refused_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert "device" in refused(tmp_path / "pipe.png")


@pytest.mark.parametrize("name", ["BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP"])
def test_a_file_cut_short_is_refused_not_filled_with_grey(tmp_path, name):
    path = write(tmp_path / "cut", RNG.integers(0, 256, (40, 60, 3), np.uint8), name)
    whole = path.read_bytes()
    for share in (0.2, 0.5, 0.8, 0.95):
        path.write_bytes(whole[: int(share * len(whole))])
        refused(path)


def test_formats_that_nobody_asked_for_stay_closed(tmp_path):
    """EPS would start Ghostscript; the others are decoders that only an attacker would use."""
    for name in ("EPS", "TGA", "ICO", "PCX", "JPEG2000"):
        write(tmp_path / "photo.png", COLOUR, name)
        assert "not an image in a format that is read" in refused(tmp_path / "photo.png")


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = write(tmp_path / "large.png", np.zeros((50, 50), np.uint8))
    monkeypatch.setattr(images, "MAX_PIXELS", 2500)
    assert read(path).shape == (50, 50)
    monkeypatch.setattr(images, "MAX_PIXELS", 2499)
    assert "more than 2,499 pixels" in refused(path)
    with pytest.raises(ImageError, match="more than 2,499 pixels"):
        image_shape(path)


def test_a_header_beyond_every_limit_is_refused_as_a_bomb(tmp_path):
    path = write(tmp_path / "bomb.bmp", GREY, "BMP")
    data = bytearray(path.read_bytes())
    data[18:26] = (65535).to_bytes(4, "little") * 2
    path.write_bytes(data)
    assert "more than 100,000,000 pixels" in refused(path)


@pytest.mark.parametrize("name", FORMATS)
def test_damage_anywhere_gives_an_image_or_a_sentence(tmp_path, name, monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 1_000_000)
    rng = np.random.default_rng(5)
    path = write(tmp_path / "image", smooth(20, 24), name)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    outcomes = set()
    for _ in range(150):
        data = whole.copy()
        places = rng.integers(0, len(data), rng.integers(1, 8))
        data[places] = rng.integers(0, 256, len(places))
        path.write_bytes(data.tobytes()[: len(data) if rng.random() < 0.7 else rng.integers(1, len(data))])
        outcomes.add(outcome(path))
    assert outcomes == {"image", "sentence"}


@pytest.mark.parametrize("name", ["hostile", "near-duplicates"])
def test_every_hostile_file_gives_an_image_or_a_sentence(shared, name):
    paths = sorted(p for p in shared(name).rglob("*") if p.is_file())
    assert len(paths) > 20
    outcomes = {path.name: outcome(path) for path in paths}
    assert set(outcomes.values()) == {"image", "sentence"}
    if name == "near-duplicates":
        assert outcomes["ukbench09268_corrupt.jpg"] == "sentence"
        assert outcomes["ukbench09380.svg"] == "image"  # a JPEG under a wrong name
        assert outcomes["alpha_channel_image.png"] == "image"


# Arrays ---------------------------------------------------------------------------------------------------------------


def test_uint8_is_handed_on_as_it_is():
    assert to_uint8(GREY) is not None
    assert np.shares_memory(to_uint8(GREY), GREY)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([False, True]), [0, 255]),
        (np.array([0, 7, 255], np.int64), [0, 7, 255]),
        (np.array([0, 1], np.int8), [0, 1]),
        (np.array([0, 257, 65535], np.uint16), [0, 1, 255]),
        (np.array([0, 257, 65535], ">u2"), [0, 1, 255]),
        (np.array([0, 0.25, 1]), [0, 64, 255]),
        (np.array([0, 0.25, 1], np.float16), [0, 64, 255]),
        (np.array([0, 1.0000001]), [0, 255]),
        (np.array([-1e-9, 0.5]), [0, 128]),
        (np.array([0, 0.4, 254.6]), [0, 0, 255]),
        (np.array([0.0, 0.0]), [0, 0]),
        (np.array([], np.float32), []),
    ],
)
def test_other_types_are_brought_to_uint8(values, expected):
    before = values.copy()
    result = to_uint8(values)
    assert result.dtype == np.uint8
    assert result.tolist() == expected
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.array([[0, np.nan]]), r"NaN or infinity at \[0, 1\]"),
        (np.array([np.inf, 0]), r"NaN or infinity at \[0\]"),
        (np.array([-1, 3]), "values from -1 to 3"),
        (np.array([0, 256]), "values from 0 to 256"),
        (np.array([-0.2, 0.9]), "values from -0.2 to 0.9"),
        (np.array([0, 1.4]), "expected 0..1 or 0..255"),
        (np.array([0, 1e300]), "1e\\+300"),
        (np.array(["a"]), "pixels of type <U1"),
        (np.array([1j]), "pixels of type complex128"),
        (np.array([None]), "pixels of type object"),
    ],
)
def test_values_that_are_no_pixels_are_refused(values, why):
    with pytest.raises(ImageError, match=f"^here: .*{why}"):
        to_uint8(values, "here")


def test_fit_to_leaves_what_fits_and_the_original_alone():
    assert fit_to(COLOUR, (5, 7, 3)) is COLOUR
    before = COLOUR.copy()
    for shape in ((5, 7), (9, 4, 3), (2, 2), (1, 1, 3)):
        assert fit_to(COLOUR, shape).shape == shape
    np.testing.assert_array_equal(COLOUR, before)


def test_fit_to_turns_grey_to_colour_and_colour_to_luma():
    np.testing.assert_array_equal(fit_to(GREY, (5, 7, 3)), np.stack([GREY] * 3, -1))
    luma = COLOUR @ np.array([0.299, 0.587, 0.114])
    assert np.abs(fit_to(COLOUR, (5, 7)) - luma).max() <= 0.51
    np.testing.assert_array_equal(fit_to(np.full((9, 9), 77, np.uint8), (4, 5)), np.full((4, 5), 77))


def test_fit_to_keeps_the_mean_when_it_scales_down():
    picture = RNG.integers(0, 256, (64, 64), np.uint8)
    assert abs(fit_to(picture, (8, 8)).mean() - picture.mean()) < 2


# Thumbnails and files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (28, 28), (3, 200), (1, 1, 3), (17, 5, 3), (200, 3, 3)])
def test_a_png_of_ours_is_one_to_pillow_and_comes_back(shape):
    pixels = RNG.integers(0, 256, shape, np.uint8)
    png = to_png(pixels)
    picture = PIL.Image.open(io.BytesIO(png))
    picture.verify()
    assert picture.mode == ("L" if len(shape) == 2 else "RGB")
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(io.BytesIO(png))), pixels)
    np.testing.assert_array_equal(from_png(png), pixels)


def test_a_png_is_written_of_a_view_too():
    pixels = RNG.integers(0, 256, (20, 30, 3), np.uint8)
    for view in (pixels[::-1], pixels[:, ::2], pixels.swapaxes(0, 1), pixels[..., 1]):
        np.testing.assert_array_equal(from_png(to_png(view)), view)


def test_a_thumbnail_is_no_longer_than_asked_and_keeps_its_aspect():
    assert from_png(to_png(smooth(100, 200), 50)).shape == (25, 50, 3)
    assert from_png(to_png(smooth(200, 100)[..., 0], 50)).shape == (50, 25)
    np.testing.assert_array_equal(from_png(to_png(GREY, 7)), GREY)


@pytest.mark.parametrize("ending", [".png", ".PNG", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg", ".webp"])
def test_saved_images_come_back(tmp_path, ending):
    for picture in (smooth(), smooth()[..., 0]):
        path = tmp_path / f"image{ending}"
        save_image(picture, str(path))
        back = fit_to(read_image(path), picture.shape)
        lossless = ending.lower() in (".png", ".bmp", ".tif", ".tiff")
        assert np.abs(back.astype(int) - picture).mean() <= (0 if lossless else 6)
        assert [p.name for p in tmp_path.iterdir()] == [path.name]
        path.unlink()


def test_an_unknown_ending_is_refused_with_those_known(tmp_path):
    with pytest.raises(UsageError, match="did you mean '.png'"):
        save_image(GREY, tmp_path / "image.pngg")
    with pytest.raises(UsageError, match="give it an ending, one of: .bmp, .jpeg"):
        save_image(GREY, tmp_path / "image")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_refuses_leaves_the_old_image(tmp_path):
    """A process that may write no more than 1,000 bytes to a file, which is as good as a full disk."""
    path = tmp_path / "image.png"
    save_image(GREY, path)
    old = path.read_bytes()
    script = (
        "import resource, sys; import numpy as np; from lookalike.images import save_image\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "save_image(np.random.default_rng(0).integers(0, 256, (90, 90), np.uint8), sys.argv[1])"
    )
    run = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
    assert f"ImageError: {path}: can't be written: File too large" in run.stderr
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["image.png"]


def test_a_missing_folder_and_an_image_too_large_for_its_format_are_said(tmp_path):
    with pytest.raises(LookalikeError, match="can't be written: No such file"):
        save_image(GREY, tmp_path / "nowhere" / "image.png")
    with pytest.raises(ImageError, match="can't be written"):
        save_image(np.zeros((1, 70000), np.uint8), tmp_path / "wide.webp")
    assert not list(tmp_path.iterdir())
