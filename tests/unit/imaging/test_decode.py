"""Decoding: every right file as its author meant it, and for every wrong one a sentence and nothing else."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest
from PIL import ImageOps

from image_files import image_shape, read_image
from lookalike.collections.columns import Entry
from lookalike.collections.tasks import read_task, to_task
from lookalike.errors import ImageError, LookalikeError, UsageError
from lookalike.imaging.decode import decode, from_thumbnail, header_shape, pictures
from lookalike.imaging.encode import save_image, to_png, to_thumbnail
from lookalike.imaging.formats import FORMATS, HEAD, format_of
from lookalike.imaging.limits import Limits
from lookalike.imaging.resize import fit_to, to_uint8

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # pytest undoes what `images` sets

RNG = np.random.default_rng(11)
GREY = RNG.integers(0, 256, (5, 7), np.uint8)
COLOUR = RNG.integers(0, 256, (5, 7, 3), np.uint8)
OUTCOMES = {"unsupported", "truncated", "damaged", "empty", "bomb", "out of memory", "unreadable", "gone"}
LIMITS = Limits()
LOSSLESS = {"BMP": {}, "PNG": {}, "PPM": {}, "TIFF": {}, "WEBP": {"lossless": True}}


@pytest.fixture
def heic():
    """Say that HEIC can be written and read here; elsewhere the test is skipped."""
    pillow_heif = pytest.importorskip("pillow_heif", reason="the extra heic isn't installed")
    pillow_heif.register_heif_opener()
    return pillow_heif


def write(path, picture, file_format="PNG", **options):
    path.write_bytes(encoded(picture, file_format, **options))
    return path


def encoded(picture, file_format="PNG", **options):
    picture = picture if isinstance(picture, PIL.Image.Image) else PIL.Image.fromarray(picture)
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()


def smooth(height=40, width=60):
    """A picture that lossy formats keep nearly as it is."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y * 255 // height, x * 255 // width, (x + y) * 255 // (height + width)], -1).astype(np.uint8)


def detailed(height, width, seed=0):
    """A picture with as much detail as a photo has."""
    coarse = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), np.uint8)
    picture = np.asarray(PIL.Image.fromarray(coarse).resize((width, height), PIL.Image.Resampling.BICUBIC))
    noise = np.random.default_rng(seed + 1).integers(-10, 11, (height, width, 1))
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def refused(path, outcome, limits=LIMITS):
    """Return the sentence that a file is refused with, checked from all sides."""
    with pytest.raises(ImageError) as caught:
        read_image(path, limits)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 300
    assert caught.value.outcome == outcome, message
    assert outcome in OUTCOMES
    if path.is_file() and path.stat().st_size:
        with pytest.raises(ImageError) as again:
            list(pictures(path.read_bytes(), str(path), [(4, 4)], limits=limits))
        assert (str(again.value), again.value.outcome) == (message, caught.value.outcome)
    return message


def read(path):
    """Read a file, and check that its header promised the same shape, and that each other way gives the same."""
    pixels = read_image(path)
    assert pixels.dtype == np.uint8
    assert image_shape(path) == pixels.shape
    data = path.read_bytes()
    assert format_of(data[:HEAD])
    assert header_shape(data, "here") == pixels.shape
    np.testing.assert_array_equal(decode(memoryview(data), "here"), pixels)
    shapes = [pixels.shape, (5, 4, 3), (3, 6)]
    [picture] = pictures(data, "here", shapes)
    assert (picture.height, picture.width) == pixels.shape[:2]
    for fitted, shape in zip(picture.fitted, shapes, strict=True):  # never scaled in decoding: the first is not smaller
        np.testing.assert_array_equal(fitted, fit_to(pixels, shape))
    return pixels


def outcome(path, limits=LIMITS):
    """Say what becomes of a file: image, or an outcome; anything else fails the test."""
    try:
        pixels = read_image(path, limits)
    except ImageError as e:
        refused(path, e.outcome, limits)
        return e.outcome
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 2 or pixels.shape[2:] == (3,)
    assert pixels.size
    assert image_shape(path) == pixels.shape
    [picture] = pictures(path.read_bytes(), str(path), [(6, 5), (7, 8, 3)])
    assert (picture.height, picture.width) == pixels.shape[:2]
    assert [array.shape for array in picture.fitted] == [(6, 5), (7, 8, 3)]
    assert max(from_thumbnail(picture.thumbnail).shape[:2]) == min(128, max(pixels.shape[:2]))
    return "image"


# What a file holds ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_formats_come_back_pixel_by_pixel(tmp_path, name):
    np.testing.assert_array_equal(read(write(tmp_path / "colour", COLOUR, name, **LOSSLESS[name])), COLOUR)
    if name != "WEBP":  # it has no grey
        np.testing.assert_array_equal(read(write(tmp_path / "grey", GREY, name)), GREY)


@pytest.mark.parametrize("name", ["AVIF", "JPEG", "GIF", "WEBP"])
def test_lossy_formats_come_back_nearly_so(tmp_path, name):
    written = smooth()
    error = read(write(tmp_path / "image", written, name)).astype(int) - written
    assert np.abs(error).mean() < 6


def test_heic_is_read(tmp_path, heic):
    for picture in (smooth(), smooth()[..., 0]):
        pixels = read(write(tmp_path / "image", picture, "HEIF"))
        assert pixels.shape == picture.shape
        assert np.abs(pixels.astype(int) - picture).mean() < 3


def test_heic_without_its_extra_says_what_to_type(tmp_path):
    """In a process of its own, to which the package is made unknown."""
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40))
    script = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from lookalike.imaging.decode import decode\n"
        "try: decode(open('photo.heic', 'rb').read(), 'photo.heic')\n"
        "except Exception as e: print(e.outcome, e)"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout.startswith("unsupported photo.heic: reading HEIC needs packages")
    assert "pip install 'lookalike[heic]'" in run.stdout


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
        assert "values from" in refused(path, "unsupported")
    write(path, np.array([[0, np.nan]], np.float32), "TIFF")
    assert "NaN" in refused(path, "unsupported")


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
    for name in ("GIF", "PNG", "WEBP", "TIFF", "AVIF"):
        path = write(tmp_path / "animation", frames[0], name, save_all=True, append_images=frames[1:])
        assert np.abs(read(path).astype(int) - [255, 0, 0]).max() < 6


def test_lab_becomes_rgb(tmp_path):
    """White, black and red (L* 54.3, a* 80.8, b* 69.9 under D50); a TIFF's a* and b* have a sign."""
    lab = np.array([[[255, 0, 0], [0, 0, 0], [138, 81, 70]]], np.uint8)
    pixels = read(write(tmp_path / "lab", PIL.Image.frombytes("LAB", (3, 1), lab.tobytes()), "TIFF"))
    assert np.abs(pixels.astype(int) - [[[255, 255, 255], [0, 0, 0], [255, 0, 0]]]).max() < 6


def test_sixteen_bit_grey_with_transparency_stays_grey(tmp_path):
    """Pillow has no mode for it and doesn't write it either: a PNG by hand, half white, half unseen."""
    rows = b"".join(b"\0" + struct.pack(">4H", 30000, 65535, 30000, 0) for _ in range(3))
    (tmp_path / "deep.png").write_bytes(png((2, 3, 16, 4), (b"IDAT", zlib.compress(rows))))
    assert read(tmp_path / "deep.png").tolist() == [[117, 255]] * 3
    rows = b"\0" + struct.pack(">3H", 0, 257, 5000)
    (tmp_path / "key.png").write_bytes(
        png((3, 1, 16, 0), (b"tRNS", struct.pack(">H", 5000)), (b"IDAT", zlib.compress(rows)))
    )
    assert read(tmp_path / "key.png").tolist() == [[0, 1, 255]]


def test_premultiplied_alpha_is_undone(tmp_path):
    """Pillow doesn't write it: its TIFF is told that its fourth sample is of the other kind."""
    pixels = np.array([[[51, 0, 0, 51], [0, 204, 0, 255]]], np.uint8)
    plain, premultiplied = (b"\x52\x01\x03\0\x01\0\0\0" + kind for kind in (b"\x02\0", b"\x01\0"))
    data = encoded(pixels, "TIFF")
    assert data.count(plain) == 1
    (tmp_path / "alpha.tif").write_bytes(data.replace(plain, premultiplied))
    assert read(tmp_path / "alpha.tif").tolist() == [[[255, 204, 204], [0, 204, 0]]]


def png(header, *chunks):
    """A PNG of these chunks; its header is width, height, bits and type of colour."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0)), *chunks, (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_what_a_png_says_beside_its_picture_may_be_huge_or_broken(tmp_path, kind):
    """A thousand times larger unpacked than Pillow takes, or a wrong checksum; before the picture or behind it."""
    header, pixels = (7, 5, 8, 0), (b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in GREY)))
    start = {b"zTXt": b"Comment\0\0", b"iTXt": b"Comment\0\1\0\0\0", b"iCCP": b"name\0\0"}[kind]
    huge = (kind, start + zlib.compress(bytes(100_000_000)))
    broken = png(header, (kind, start + b"xyz"), pixels).replace(b"xyz", b"abc")
    for data in (png(header, huge, pixels), png(header, pixels, huge), broken):
        (tmp_path / "image.png").write_bytes(data)
        np.testing.assert_array_equal(read(tmp_path / "image.png"), GREY)


def test_a_png_with_a_huge_comment_is_turned_upright_all_the_same(tmp_path):
    path = oriented(tmp_path / "photo.png", COLOUR, 6)
    data = path.read_bytes()
    comment = png((1, 1, 8, 0), (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000))))[33:-12]
    path.write_bytes(data[:33] + comment + data[33:])
    np.testing.assert_array_equal(read(path), np.rot90(COLOUR, -1))


def test_bytes_after_the_end_are_nothing_to_us(tmp_path):
    for name in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "AVIF"):
        data = encoded(smooth(), name)
        (tmp_path / "image").write_bytes(data + b"\0 rubbish" * 1000)
        np.testing.assert_array_equal(read(tmp_path / "image"), decode(data, "here"))


def test_a_jpeg_with_further_pictures_behind_the_first_is_the_first(tmp_path):
    """As phones write them, with a map of brightness or the other eye's picture."""
    path = write(tmp_path / "photo.jpg", smooth(), "MPO", save_all=True, append_images=[PIL.Image.new("RGB", (60, 40))])
    assert np.abs(read(path).astype(int) - smooth()).max() < 12
    data = path.read_bytes()
    assert len(list(pictures(data, "here", [(4, 4)], each=True))) == 1
    end = data.index(b"\xff\xd9") + 2
    path.write_bytes(data[: end - 100] + b"\xff\xd9" + data[end:])
    refused(path, "truncated")


# Colours by their profile ---------------------------------------------------------------------------------------------

# Where a space's red, green and blue lie (CIE 1931 xy), all with white at D65.
SRGB_PRIMARIES = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
ADOBE_PRIMARIES = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
P3_PRIMARIES = ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06))
D65, D50 = np.array([0.95047, 1, 1.08883]), np.array([0.96422, 1, 0.82521])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def to_xyz(primaries):
    """The matrix from a space's linear RGB to XYZ under D65, by the definition of its primaries."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in primaries]).T
    return columns * np.linalg.solve(columns, D65)


def profile(primaries, gamma):
    """An ICC profile (ICC.1, version 2.1) of a display: three primaries, adapted to D50, and a gamma; grey without."""
    adapt = np.linalg.inv(BRADFORD) @ np.diag(BRADFORD @ D50 / (BRADFORD @ D65)) @ BRADFORD
    curve = b"curv" + struct.pack(">III", 0, 1, round(gamma * 256) << 16)[:10]
    tags = {
        b"wtpt": xyz(D50),
        b"desc": b"desc" + struct.pack(">II", 0, 5) + b"test\0" + bytes(78),
        b"cprt": b"text\0\0\0\0\0",
    }
    if primaries:
        colours = adapt @ to_xyz(primaries)
        tags |= {kind + b"XYZ": xyz(column) for kind, column in zip((b"r", b"g", b"b"), colours.T, strict=True)}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    else:
        tags |= {b"kTRC": curve}
    table, body = struct.pack(">I", len(tags)), b""
    for kind, data in tags.items():
        table += struct.pack(">4sII", kind, 132 + 12 * len(tags) + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    space = b"RGB " if primaries else b"GRAY"
    head = struct.pack(">I4sI4s4s4s", 132 + 12 * len(tags) + len(body), b"", 0x02100000, b"mntr", space, b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", *(round(v * 65536) for v in D50))
    return head.ljust(128, b"\0") + table + body


def xyz(values):
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values))


def in_srgb(values, primaries, gamma):
    """What a profile of ours means in sRGB, computed from the spaces' definitions."""
    linear = (np.asarray(values) / 255) ** gamma @ to_xyz(primaries).T @ np.linalg.inv(to_xyz(SRGB_PRIMARIES)).T
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize(("primaries", "gamma"), [(ADOBE_PRIMARIES, 2.2), (P3_PRIMARIES, 2.2), (SRGB_PRIMARIES, 1.8)])
@pytest.mark.parametrize("name", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_colours_are_brought_to_srgb_by_their_profile(tmp_path, name, primaries, gamma):
    colours = smooth(16, 16) if name == "JPEG" else COLOUR
    options = LOSSLESS.get(name, {"quality": 100, "subsampling": 0})
    path = write(tmp_path / "image", colours, name, icc_profile=profile(primaries, gamma), **options)
    error = np.abs(read(path) - in_srgb(colours, primaries, gamma))
    assert error.max() <= (2 if name != "JPEG" else 8)
    assert np.abs(in_srgb(colours, primaries, gamma) - colours).max() > 15  # it matters


def test_grey_has_profiles_too(tmp_path):
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for data in (
        encoded(ramp, icc_profile=profile(None, 1.8)),
        encoded(ramp * np.uint16(257), icc_profile=profile(None, 1.8)),
    ):
        (tmp_path / "grey.png").write_bytes(data)
        wanted = in_srgb(np.stack([ramp] * 3, -1), SRGB_PRIMARIES, 1.8)[..., 0]
        assert np.abs(read(tmp_path / "grey.png") - wanted).max() <= 2


def test_a_palette_and_what_is_partly_seen_have_profiles_too(tmp_path):
    icc, wanted = profile(P3_PRIMARIES, 2.2), in_srgb([200, 40, 20], P3_PRIMARIES, 2.2)
    picture = PIL.Image.new("RGB", (4, 3), (200, 40, 20))
    for other in (picture.quantize(2), picture.convert("RGBA")):
        assert np.abs(read(write(tmp_path / "image", other, icc_profile=icc)) - wanted).max() <= 2


def test_a_profile_that_is_srgb_or_of_another_kind_or_broken_changes_nothing(tmp_path):
    whole = profile(P3_PRIMARIES, 2.2)
    srgb = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
    for icc in (srgb, profile(None, 1.8), b"no profile", whole[:200], whole[:128] + bytes(len(whole) - 128)):
        np.testing.assert_array_equal(read(write(tmp_path / "image", COLOUR, icc_profile=icc)), COLOUR)
    np.testing.assert_array_equal(read(write(tmp_path / "image", GREY, icc_profile=whole)), GREY)


def test_inks_are_brought_to_srgb_by_their_profile(shared):
    """A photo of jpeg-decoder's tests, separated for American print; its PNG beside it ignores that."""
    folder = shared("hostile") / "jpeg-decoder" / "tests" / "reftest" / "images"
    pixels, plain = read(folder / "ycck.jpg").astype(int), read(folder / "ycck.png").astype(int)
    assert 8 < np.abs(pixels - plain).mean() < 20
    assert np.corrcoef(pixels.ravel(), plain.ravel())[0, 1] > 0.95
    assert pixels.max() > 245  # paper is white


# Frames and pages -----------------------------------------------------------------------------------------------------


def frames(name, colours=("red", "lime", "blue"), size=(20, 16), **options):
    first, *others = (PIL.Image.new("RGB", size, colour) for colour in colours)
    return encoded(first, name, save_all=True, append_images=others, **options)


def colours(data, **options):
    return [picture.fitted[0][0, 0].tolist() for picture in pictures(data, "here", [(1, 1, 3)], **options)]


@pytest.mark.parametrize("name", ["GIF", "PNG", "WEBP", "AVIF", "TIFF"])
def test_each_frame_or_page_is_read_if_asked_for(name):
    wanted = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]])
    data = frames(name)
    assert np.abs(np.array(colours(data)) - wanted[:1]).max() < 9
    assert np.abs(np.array(colours(data, each=True)) - wanted).max() < 9
    assert len(colours(data, each=True, limits=Limits(frames=3))) == 3
    with pytest.raises(
        ImageError, match="here: .*more than 2 frames, the limit; allow more with --max-frames"
    ) as caught:
        colours(data, each=True, limits=Limits(frames=2))
    assert caught.value.outcome == "bomb"
    assert len(colours(data, limits=Limits(frames=1))) == 1


@pytest.mark.parametrize("name", ["GIF", "PNG", "WEBP", "AVIF", "TIFF"])
def test_an_animation_cut_anywhere_is_truncated_if_each_frame_is_asked_for(name):
    data = frames(name)
    for end in range(60, len(data) - 1, max(1, len(data) // 40)):
        with pytest.raises(ImageError) as caught:
            colours(data[:end], each=True)
        assert caught.value.outcome == "truncated", end


def test_an_animation_with_fewer_frames_than_it_says_is_truncated():
    data = frames("PNG")
    place = data.index(b"acTL")
    more = b"acTL" + struct.pack(">II", 5, 0)
    data = data[:place] + more + struct.pack(">I", zlib.crc32(more)) + data[place + 16 :]
    assert len(colours(data)) == 1
    with pytest.raises(ImageError) as caught:
        colours(data, each=True)
    assert caught.value.outcome == "truncated"


@pytest.mark.parametrize("name", ["GIF", "PNG"])
def test_frames_are_composed_as_they_are_shown(name):
    """The second frame changes one corner alone, and is stored so."""
    first = PIL.Image.new("RGB", (8, 8), "red")
    second = first.copy()
    second.paste("blue", (4, 4, 8, 8))
    data = encoded(first, name, save_all=True, append_images=[second])
    shown = [picture.fitted[0] for picture in pictures(data, "here", [(8, 8, 3)], each=True)]
    np.testing.assert_array_equal(shown[0], np.asarray(first))
    np.testing.assert_array_equal(shown[1], np.asarray(second))


def test_pages_may_differ_in_size_kind_and_orientation():
    exif = PIL.Image.Exif()
    exif[274] = 6
    pages = [PIL.Image.new("L", (4, 6), 9), PIL.Image.new("RGB", (10, 3), "red")]
    data = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:], exif=exif)
    sizes = [(picture.width, picture.height) for picture in pictures(data, "here", [(1, 1, 3)], each=True)]
    assert sizes == [(6, 4), (3, 10)]


def gif(width, height, sizes):
    """A GIF whose frames claim these sizes and hold four pixels."""
    image = b"\x02\x02\x4c\x01\0"
    blocks = b"".join(b",\0\0\0\0" + struct.pack("<HH", *size) + b"\0" + image for size in sizes)
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0\0\0\0\xff\xff\xff" + blocks + b";"


def test_of_the_first_frame_alone_nothing_behind_it_is_looked_at():
    """A bomb in the second frame; a hundred thousand frames; rubbish."""
    one = colours(gif(1, 1, [(1, 1)]))
    for data in (
        gif(1, 1, [(1, 1), (65535, 65535)]),
        gif(1, 1, [(1, 1)] * 100_000),
        gif(1, 1, [(1, 1)])[:-1] + b",rubbish",
    ):
        assert colours(data) == one
    with pytest.raises(ImageError, match="more than 100,000,000 pixels") as caught:
        colours(gif(1, 1, [(1, 1), (65535, 65535)]), each=True)
    assert caught.value.outcome == "bomb"
    with pytest.raises(ImageError, match="more than 999 pixels"):
        colours(gif(1, 1, [(1, 1), (100, 10)]), each=True, limits=Limits(pixels=999))
    with pytest.raises(ImageError, match="more than 1,000 frames"):
        colours(gif(1, 1, [(1, 1)] * 100_000), each=True)


# To the sizes that are wanted -----------------------------------------------------------------------------------------


def distance(a, b):
    """Mean and largest difference, and cosine distance."""
    a, b = a.astype(float), b.astype(float)
    return np.abs(a - b).mean(), np.abs(a - b).max(), 1 - (a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b)


@pytest.mark.slow
@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
@pytest.mark.parametrize("size", [(1100, 1533), (1601, 1207), (777, 2040)])
def test_a_large_jpeg_is_scaled_while_it_is_decoded_within_the_tolerance(size, orientation):
    exif = PIL.Image.Exif()
    exif[274] = orientation
    data = encoded(detailed(*size), "JPEG", quality=90, exif=exif)
    whole = decode(data, "here")
    for shape in ((64, 64, 3), (48, 96), (100, 30, 3), (224, 224, 3)):
        [picture] = pictures(data, "here", [shape])
        assert (picture.height, picture.width) == whole.shape[:2]
        mean, largest, cosine = distance(picture.fitted[0], fit_to(whole, shape))
        assert mean < 1
        assert largest < 16
        assert cosine < 1e-4


@pytest.mark.slow
def test_real_photos_scaled_while_they_are_decoded_are_within_the_tolerance(shared):
    paths = [*sorted(shared("exif-orientation").glob("*.jpg")), *sorted(shared("museum-2022").rglob("*.jpg"))[::40]]
    scaled = 0
    for path in paths:
        data = path.read_bytes()
        whole = decode(data, str(path))
        [picture] = pictures(data, str(path), [(64, 64, 3), (24, 24)])
        for fitted in picture.fitted:
            mean, largest, cosine = distance(fitted, fit_to(whole, fitted.shape))
            assert mean < 1, path
            assert largest < 16, path
            assert cosine < 1e-4, path
            scaled += largest > 0
    assert scaled > 20


def test_what_is_not_scaled_while_it_is_decoded_is_equal():
    """A JPEG with one size that needs it all, and the other formats."""
    picture = detailed(600, 801)
    for name in ("JPEG", "PNG", "WEBP", "BMP", "TIFF"):
        data = encoded(picture, name)
        shapes = [(64, 64, 3), (32, 48), *([(300, 300, 3)] if name == "JPEG" else [])]
        [result] = pictures(data, "here", shapes)
        for fitted in result.fitted:
            np.testing.assert_array_equal(fitted, fit_to(decode(data, "here"), fitted.shape))


def test_no_shapes_and_no_thumbnail_are_no_work_left_undone():
    data = encoded(smooth(), "JPEG")
    [picture] = pictures(data, "here", [], thumbnail=None)
    assert picture == (60, 40, [], b"")
    with pytest.raises(ImageError):
        list(pictures(data[:-200], "here", [], thumbnail=None))


def test_thumbnails_keep_the_aspect_of_the_upright_picture():
    exif = PIL.Image.Exif()
    exif[274] = 6
    data = encoded(smooth(600, 800), "JPEG", exif=exif)
    [picture] = pictures(data, "here", [])
    thumbnail = from_thumbnail(picture.thumbnail)
    assert thumbnail.shape == (384, 288, 3)
    assert from_thumbnail(picture.thumbnail, 128).shape == (128, 96, 3)
    assert picture.thumbnail.startswith(b"RIFF")
    assert distance(thumbnail, fit_to(decode(data, "here"), thumbnail.shape))[0] < 2
    [picture] = pictures(encoded(smooth(30, 3000)), "here", [], thumbnail=100)
    assert from_thumbnail(picture.thumbnail).shape == (1, 100, 3)


def test_a_thumbnail_of_a_grey_or_small_picture_is_exact():
    for pixels in (detailed(128, 100)[..., 0], smooth(64, 30), np.zeros((1, 1), np.uint8)):
        [picture] = pictures(encoded(pixels), "here", [])
        assert picture.thumbnail.startswith(b"\x89PNG")
        np.testing.assert_array_equal(from_thumbnail(picture.thumbnail), pixels)


def test_an_array_has_the_same_thumbnail_as_its_file():
    for pixels in (detailed(300, 400), detailed(300, 400)[..., 1], smooth(20, 30)):
        [picture] = pictures(encoded(pixels), "here", [])
        assert picture.thumbnail == to_thumbnail(pixels)


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


@pytest.mark.parametrize("name", ["PNG", "TIFF", "WEBP", "JPEG", "AVIF"])
@pytest.mark.parametrize("orientation", STORED)
def test_all_eight_orientations_give_one_array(tmp_path, name, orientation):
    scene = smooth()
    path = oriented(tmp_path / "photo", STORED[orientation](scene), orientation, name)
    pixels = read(path)
    assert pixels.shape == scene.shape
    assert np.abs(pixels.astype(int) - scene).max() <= (12 if name in ("JPEG", "AVIF") else 0)
    np.testing.assert_array_equal(pixels, np.asarray(ImageOps.exif_transpose(PIL.Image.open(path)).convert("RGB")))


@pytest.mark.parametrize("orientation", STORED)
def test_heic_is_turned_once_though_exif_and_the_format_both_say_how(tmp_path, heic, orientation):
    exif = PIL.Image.Exif()
    exif[274] = orientation
    file = heic.from_pillow(PIL.Image.fromarray(np.ascontiguousarray(STORED[orientation](smooth(48, 64)))))
    file.info["exif"] = exif.tobytes()
    file.save(tmp_path / "photo.heic", quality=90)
    pixels = read(tmp_path / "photo.heic")
    assert pixels.shape == (48, 64, 3)
    assert np.abs(pixels.astype(int) - smooth(48, 64)).max() <= 12


@pytest.mark.slow
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


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "AVIF", "HEIC"])
def test_exif_that_cannot_be_read_does_not_spoil_the_picture(tmp_path, name, request):
    if name == "HEIC":
        request.getfixturevalue("heic")
    file_format = "HEIF" if name == "HEIC" else name
    good = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x28\x01\x03\0\x01\0\0\0\x01\0\0\0\0\0\0\0"
    data = encoded(smooth(), file_format, exif=good)
    place = data.index(good[6:])
    wanted = decode(data, "here")
    for exif in (b"rubb", b"MM\0*", b"II*\0\xff\xff\xff\x7f", b"II*\0\x08\0\0\0\xff\xff"):
        broken = data[:place] + exif + data[place + len(exif) :]
        if name == "PNG":  # its checksum too
            broken = encoded(smooth(), name, exif=broken[place : place + len(good) - 6])
        (tmp_path / "photo").write_bytes(broken)
        np.testing.assert_array_equal(read(tmp_path / "photo"), wanted)


# What is refused ------------------------------------------------------------------------------------------------------


def test_what_is_no_image_file_is_refused(tmp_path):
    empty = tmp_path / "empty.png"
    empty.touch()
    assert "0 bytes" in refused(empty, "empty")
    for source in (b"", memoryview(b"")):
        with pytest.raises(ImageError, match="here: an empty file") as caught:
            decode(source, "here")
        assert caught.value.outcome == "empty"
    text = tmp_path / "text.jpg"
    text.write_text("Dear Sir or Madam,\n")
    assert "BMP, GIF, HEIC, JPEG, PNG" in refused(text, "unsupported")


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no list of open files on this system")
def test_no_file_stays_open(tmp_path):
    write(tmp_path / "good.png", GREY)
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "text.png").write_bytes(b"Dear Sir")
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        for path in (tmp_path, *tmp_path.iterdir(), tmp_path / "gone.png"):
            entry = Entry(path.name, ("file", str(path)), 0, 0)
            for measure in (False, True):
                list(read_task(to_task(entry, path.name, [(4, 4)], measure=measure)))
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("name", ["AVIF", "BMP", "GIF", "HEIC", "JPEG", "PNG", "PPM", "TIFF", "WEBP", "progressive"])
def test_a_file_cut_short_is_refused_not_filled_with_grey(tmp_path, name, request):
    options = {"progressive": True} if name == "progressive" else {}
    if name == "HEIC":
        request.getfixturevalue("heic")
    pixels = RNG.integers(0, 256, (40, 60, 3), np.uint8)
    whole = encoded(pixels, {"HEIC": "HEIF", "progressive": "JPEG"}.get(name, name), **options)
    for share in (0.1, 0.2, 0.5, 0.8, 0.95, 0.99):
        (tmp_path / "cut").write_bytes(whole[: int(share * len(whole))])
        refused(tmp_path / "cut", "truncated")


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_whose_end_was_lost_and_replaced_is_truncated(tmp_path, mode, progressive):
    """By zeros, as after a crash, or by an end mark, as programs do that repair it: libjpeg fills up with grey."""
    picture = PIL.Image.fromarray(detailed(200, 300)).convert(mode)
    whole = encoded(picture, "JPEG", quality=90, progressive=progressive)
    exif = b"Exif\0\0" + encoded(smooth(), "JPEG")  # a preview, whose end isn't the picture's
    for data in (whole, encoded(picture, "JPEG", quality=90, progressive=progressive, exif=exif)):
        for share in (0.5, 0.7, 0.9, 0.99):
            end = int(share * len(data))
            (tmp_path / "cut.jpg").write_bytes(data[:end] + bytes(len(data) - end))
            refused(tmp_path / "cut.jpg", "truncated")
            if not progressive:  # there what was lost is detail
                (tmp_path / "cut.jpg").write_bytes(data[:end] + b"\xff\xd9")
                refused(tmp_path / "cut.jpg", "truncated")


def test_a_jpeg_that_is_grey_where_it_ends_is_a_picture(tmp_path):
    for mode in ("L", "RGB", "CMYK"):
        for size in ((64, 64), (5, 3), (1, 1), (600, 400)):
            for options in ({}, {"progressive": True}, {"restart_marker_rows": 1}):
                picture = PIL.Image.new("RGB", size, (128, 128, 128)).convert(mode)
                pixels = read(write(tmp_path / "grey.jpg", picture, "JPEG", **options))
                assert np.abs(pixels.astype(int) - 128).max() <= 1


def test_formats_that_nobody_asked_for_stay_closed(tmp_path):
    """EPS would start Ghostscript; the others are decoders that only an attacker would use."""
    for name in ("EPS", "TGA", "ICO", "PCX", "JPEG2000"):
        path = write(tmp_path / "photo.png", COLOUR, name)
        assert "which is not read; " in refused(path, "unsupported")
        assert not format_of(path.read_bytes()[:HEAD])


def test_a_kind_of_a_format_that_is_not_read_is_told_from_damage(tmp_path, shared):
    path = write(tmp_path / "deep.jpg", smooth(), "JPEG")
    path.write_bytes(path.read_bytes().replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"))
    assert "its kind of JPEG is not read (cannot handle 12-bit layers)" in refused(path, "unsupported")
    refused(shared("hostile") / "image-rs" / "images" / "bmp" / "images" / "pal2.bmp", "unsupported")


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\xff\xd8\xff\xe0\0\x10JFIF", True),
        (b"\xff\xd8", False),
        (b"BM is how this text begins, and no bitmap", False),
        (b"P6 32 32 255\n", True),
        (b"P6 was a processor", False),
        (b"II*\0\x08\0\0\0", True),
        (b"MM\0+\0\x08\0\0", True),
        (b"RIFF\x10\0\0\0WAVE", False),
        (b"RIFF\x10\0\0\0WEBPVP8 ", True),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", True),
        (b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41", False),
        (b"%PDF-1.7", False),
        (b"", False),
    ],
)
def test_what_looks_like_an_image(head, expected):
    assert (format_of(head) is not None) is expected


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path):
    path = write(tmp_path / "large.png", np.zeros((50, 50), np.uint8))
    assert read_image(path, Limits(pixels=2500)).shape == (50, 50)
    assert "more than 2,499 pixels" in refused(path, "bomb", Limits(pixels=2499))
    with pytest.raises(ImageError, match="more than 2,499 pixels"):
        image_shape(path, Limits(pixels=2499))


def test_a_file_of_too_many_bytes_is_refused_before_it_is_read(tmp_path):
    path = write(tmp_path / "large.png", GREY)
    size = path.stat().st_size
    assert read_image(path, Limits(bytes=size)).shape == GREY.shape
    assert f"more than {size - 1:,} bytes" in refused(path, "bomb", Limits(bytes=size - 1))


@pytest.mark.parametrize("name", ["GIF", "PNG", "TIFF", "WEBP"])
def test_more_pixels_than_pillow_would_take_are_read_if_the_limit_says_so(tmp_path, monkeypatch, name):
    path = write(tmp_path / "large", np.zeros((50, 50), np.uint8), name)
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 1000)
    assert "more than 1,999 pixels" in refused(path, "bomb", Limits(pixels=1999))
    assert read_image(path, Limits(pixels=2500)).shape[:2] == (50, 50)


@pytest.mark.parametrize("name", ["BMP", "GIF", "PPM", "PNG", "JPEG"])
def test_a_header_beyond_every_limit_is_refused_as_a_bomb(tmp_path, name):
    path = write(tmp_path / "bomb", GREY, name)
    data = bytearray(path.read_bytes())
    if name == "PPM":
        data[:6] = b"P5 60000 60000 "
    elif name == "PNG":
        data = bytearray(png((60000, 60000, 8, 0), (b"IDAT", b"")))
    elif name == "JPEG":
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = b"\xff\xdc" * 2
    else:
        place, size = {"BMP": (18, 4), "GIF": (6, 2)}[name]
        data[place : place + 2 * size] = (65535).to_bytes(size, "little") * 2
    path.write_bytes(data)
    assert "more than 100,000,000 pixels" in refused(path, "bomb")


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_damage_anywhere_gives_an_image_or_a_sentence(tmp_path, name, request):
    if name == "HEIC":
        request.getfixturevalue("heic")
    rng = np.random.default_rng(5)
    whole = np.frombuffer(encoded(smooth(20, 24), "HEIF" if name == "HEIC" else name), np.uint8)
    path, limits = tmp_path / "image", Limits(pixels=1_000_000)
    outcomes = set()
    for _ in range(150):
        data = whole.copy()
        places = rng.integers(0, len(data), rng.integers(1, 8))
        data[places] = rng.integers(0, 256, len(places))
        data = data[: len(data) if rng.random() < 0.7 else rng.integers(1, len(data))].tobytes()
        path.write_bytes(data)
        outcomes.add(outcome(path, limits))
    assert {"image", "truncated"} <= outcomes


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hostile", "near-duplicates", "exif-orientation"])
def test_every_hostile_file_gives_an_image_or_an_outcome(shared, name):
    paths = sorted(p for p in shared(name).rglob("*") if p.is_file())
    assert len(paths) > 17
    outcomes = {path.name: outcome(path) for path in paths}
    if name == "hostile":
        assert set(outcomes.values()) == {"image", "unsupported", "truncated", "damaged", "bomb", "empty"}
    elif name == "near-duplicates":
        assert outcomes["ukbench09268_corrupt.jpg"] == "unsupported"
        assert outcomes["ukbench09380.svg"] == "image"  # a JPEG under a wrong name
        assert outcomes["alpha_channel_image.png"] == "image"
    else:
        assert set(outcomes.values()) == {"image"}


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
    np.testing.assert_array_equal(from_thumbnail(png), pixels)


def test_a_png_is_written_of_a_view_too():
    pixels = RNG.integers(0, 256, (20, 30, 3), np.uint8)
    for view in (pixels[::-1], pixels[:, ::2], pixels.swapaxes(0, 1), pixels[..., 1]):
        np.testing.assert_array_equal(from_thumbnail(to_png(view)), view)


def test_a_thumbnail_is_no_longer_than_asked_and_keeps_its_aspect():
    assert from_thumbnail(to_png(smooth(100, 200), 50)).shape == (25, 50, 3)
    assert from_thumbnail(to_png(smooth(200, 100)[..., 0], 50)).shape == (50, 25)
    np.testing.assert_array_equal(from_thumbnail(to_png(GREY, 7)), GREY)


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
        "import resource, sys; import numpy as np; from lookalike.imaging.encode import save_image\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "save_image(np.random.default_rng(0).integers(0, 256, (90, 90), np.uint8), sys.argv[1], overwrite=True)"
    )
    run = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
    assert f"ImageError: {path}: can't be written: File too large" in run.stderr
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["image.png"]


def test_a_missing_folder_and_an_image_too_large_for_its_format_are_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LookalikeError, match="can't be written: (Not a directory|File exists)"):
        save_image(GREY, tmp_path / "file" / "image.png")
    (tmp_path / "file").unlink()
    with pytest.raises(ImageError, match="can't be written"):
        save_image(np.zeros((1, 70000), np.uint8), tmp_path / "wide.webp")
    assert not list(tmp_path.iterdir())
