"""What stands beside a picture, however broken, doesn't stop it: segments, chunks, blocks, boxes and tags."""

from __future__ import annotations

import io
import struct

import numpy as np
import PIL.Image
import pytest

import layouts
from layouts import Frame, gif, scene, tiff
from lookalike.errors import ImageError
from lookalike.imaging.decode import decode, header_shape

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)


def encoded(name, **options):
    file = io.BytesIO()
    PIL.Image.fromarray(PIXELS).save(file, name, **options)
    return file.getvalue()


def assert_same(data, wanted, what=None):
    pixels = decode(data, "here")
    assert header_shape(data, "here") == pixels.shape
    np.testing.assert_array_equal(pixels, wanted, err_msg=str(what))


BODIES = [
    b"", b"J", b"JFIF\0", b"JFIF\0\1", b"JFIF\0\1\1\0", b"JFXX\0", b"Exif\0\0", b"Exif\0\0II*\0",
    b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40,
    b"http://ns.adobe.com/xap/1.0/\0<bad", b"ICC_PROFILE\0", b"ICC_PROFILE\0\1", b"ICC_PROFILE\0\1\1garbage" * 9,
    b"ICC_PROFILE\0\5\2xx", b"ICC_PROFILE\0\0\0", b"MPF\0", b"MPF\0II*\0", b"MPF\0MM\0*\0\0\0\x08\0\3" + b"\xff" * 30,
    b"Photoshop 3.0\0", b"Photoshop 3.0\x008BIM", b"Photoshop 3.0\x008BIM\3\xed\0\0\xff\xff\xff\xff",
    b"Photoshop 3.0\x008BIM\3\xed\0\0\0\0\0\x10", b"Adobe", b"Adobe\0", b"FPXR\0", b"\xff\xd9", b"\xff" * 30,
    b"x" * 65533,
]  # fmt: skip


@pytest.mark.parametrize("progressive", [False, True])
def test_any_segment_of_a_jpeg_may_be_broken(progressive):
    data = encoded("JPEG", progressive=progressive)
    wanted = decode(data, "here")
    assert data[2:4] == b"\xff\xe0"
    for marker in (*range(0xE0, 0xF0), 0xFE):
        for body in BODIES:
            segment = bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body
            for place in (2, 20):  # before the one of JFIF, and behind it
                assert_same(data[:place] + segment + data[place:], wanted, (marker, body[:20], place))
            assert_same(data[:2] + segment + data[20:], wanted, (marker, body[:20]))
        for length in (0, 1):
            assert_same(
                data[:2] + bytes([0xFF, marker]) + struct.pack(">H", length) + data[2:], wanted, (marker, length)
            )


def test_a_jpeg_with_a_broken_segment_keeps_its_profile_its_turn_and_its_inks():
    exif = PIL.Image.Exif()
    exif[274] = 6
    file = io.BytesIO()
    inks = PIL.Image.fromarray(np.dstack([PIXELS, PIXELS[..., 0]]), "CMYK")
    inks.save(file, "JPEG", exif=exif)
    data = file.getvalue()
    wanted = decode(data, "here")
    assert wanted.shape == (32, 24, 3)
    assert_same(data[:2] + b"\xff\xe0\0\x07JFIF\0" + data[2:], wanted)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["WEBP", "PNG", "TIFF", "AVIF", "HEIF", "JPEG"])
def test_profile_exif_and_xmp_may_be_broken(name):
    if name == "HEIF":
        pytest.importorskip("pillow_heif", reason="the extra heic isn't installed").register_heif_opener()
    options = {"lossless": True} if name == "WEBP" else {}
    wanted = decode(encoded(name, **options), "here")
    broken = {
        "icc_profile": [b"x", b"garbage" * 30, bytes(128), b"\0\0\0\x80" + b"acsp" * 40],
        "exif": [b"x", b"II*\0", b"Exif\0\0", b"II*\0\x08\0\0\0\xff\xff" + b"\xff" * 90, b"\xff" * 100],
        "xmp": [b"<x", b"\xff" * 50, b'<x tiff:Orientation="9"/>'],
    }
    read = 0
    for key, values in broken.items():
        for value in values:
            try:
                data = encoded(name, **{key: value}, **options)
            except Exception:  # the encoder refuses to write such
                continue
            assert_same(data, wanted, (key, value[:20]))
            read += 1
    assert read > 3


def test_chunks_of_a_webp_may_be_broken_or_missing():
    plain = encoded("WEBP", lossless=True)
    wanted = decode(plain, "here")

    def chunk(kind, body):
        return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)

    for flags, before, behind in (
        (0x20, [(b"ICCP", b"xx")], []),
        (0x20, [], []),
        (0x08, [], [(b"EXIF", b"\xff" * 30)]),
        (0x08, [], [(b"EXIF", b"")]),
        (0x04, [], [(b"XMP ", b"\xff\xfe")]),
        (0, [(b"JUNK", b"abc")], [(b"XXXX", b"1")]),
        (0x2C, [(b"ICCP", b"z" * 1000)], [(b"EXIF", b"II*\0\xff\xff\xff\xff"), (b"XMP ", b"<")]),
    ):
        size = (31).to_bytes(3, "little") + (23).to_bytes(3, "little")
        body = b"WEBP" + chunk(b"VP8X", bytes([flags, 0, 0, 0]) + size)
        body += b"".join(chunk(*c) for c in before) + plain[12:] + b"".join(chunk(*c) for c in behind)
        assert_same(b"RIFF" + struct.pack("<I", len(body)) + body, wanted, flags)


@pytest.mark.parametrize("block", [
    b"!\xfe\0", b"!\xfe\x03abc\0", b"!\xff\x0bNETSCAPE2.0\0", b"!\xff\x0bNETSCAPE2.0\x01\x01\0", b"!\xff\0", b"!\xf9\0",
    b"!\xff\x0bICCRGBG1012\x05xxxxx\0", b"!\xf9\x01\x05\0", b"!\x01\x0c" + b"x" * 12 + b"\0", b"!\xce\x02ab\0", b"\0",
])  # fmt: skip
def test_extensions_of_a_gif_may_be_broken(block):
    colours = np.random.default_rng(1).integers(0, 256, (16, 3))
    data = gif([Frame(scene(1, 4)[..., 0].astype(int))], colours)
    assert_same(data[:61] + block + data[61:], decode(data, "here"))


@pytest.mark.parametrize(
    "tag", [269, 270, 271, 282, 296, 305, 306, 315, 700, 33432, 33723, 34377, 34665, 34675, 34853, 50341]
)
def test_tags_of_a_tiff_may_be_of_a_wrong_type_or_lead_nowhere(tag):
    values = scene(3)
    for letter, given in (
        ("B", (1, 2, 3, 255)),
        ("H", (65535,)),
        ("I", (0xFFFFFFFF,)),
        ("I", (0xFFFFFFF0, 8)),
        ("B", ()),
    ):
        for compression in (1, 8):
            data = tiff(values, 2, compression=compression, more={tag: (letter, given)})
            assert_same(data, values, (tag, letter, given))
            entry = data.index(struct.pack("<HHI", tag, layouts.TYPES[letter], len(given)), len(data) - 600)
            outside = data[: entry + 4] + struct.pack("<II", 1000, 0x7FFFFF00) + data[entry + 12 :]
            assert_same(outside, values, (tag, letter, "outside"))


def test_what_is_cut_or_damaged_is_not_made_whole_by_leaving_things_out():
    data = encoded("JPEG")
    broken = data[:2] + b"\xff\xe0\0\x07JFIF\0" + data[2:]
    with pytest.raises(ImageError) as caught:
        decode(broken[:-300], "here")
    assert caught.value.outcome == "truncated"
    values = tiff(scene(3), 2, compression=8)
    with pytest.raises(ImageError) as caught:
        decode(values[:40] + b"\xff" * 9 + values[49:], "here")
    assert caught.value.outcome == "damaged"
