"""What a file's first bytes tell: formats that are read, formats that are known though they aren't, and archives."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import PIL.Image
import pytest

import lookalike
from lookalike.cli.main import run
from lookalike.collections.entries import Files, ReadOptions
from lookalike.collections.folder import scan
from lookalike.collections.open import open_collection
from lookalike.collections.tasks import from_answer, read_task, to_task
from lookalike.errors import ImageError
from lookalike.imaging.decode import decode, header_shape
from lookalike.imaging.encode import to_png
from lookalike.imaging.formats import HEAD, LONG_HEAD, format_of, unread_format
from lookalike.imaging.limits import Limits
from lookalike.imaging.sandbox.api import Answer
from lookalike.search.example import Example
from lookalike.search.request import Query
from lookalike.server.uploads import LIMITS, Decoder, raised

PIXELS = np.random.default_rng(4).integers(0, 256, (9, 7, 3), np.uint8)


def saved(name, **options):
    file = io.BytesIO()
    PIL.Image.fromarray(PIXELS).save(file, name, **options)
    return file.getvalue()


def zipped(**files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def tarred(mode="w"):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        data = saved("PNG")
        info = tarfile.TarInfo("a.png")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def boxes(brand, *others):
    body = brand + b"\0\0\0\1" + b"".join(others)
    return struct.pack(">I4s", len(body) + 8, b"ftyp") + body + bytes(40)


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9"/>'
KNOWN = {
    "JPEG XL image": [b"\xff\x0a" + bytes(30), b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(30)],
    "Photoshop document": [b"8BPS\0\1" + bytes(30), b"8BPS\0\2" + bytes(30)],
    "JPEG 2000": [saved("JPEG2000"), b"\xff\x4f\xff\x51" + bytes(30)],
    "JPEG XR": [b"II\xbc\1" + bytes(30)],
    "OpenEXR": [b"v/1\x01" + bytes(30)],
    "Radiance HDR": [b"#?RADIANCE\n", b"#?RGBE\n"],
    "QOI": [saved("QOI")],
    "DDS": [saved("DDS")],
    "FITS": [b"SIMPLE  =                    T / "],
    "PCX": [saved("PCX")],
    "GIMP": [b"gimp xcf file\0", b"gimp xcf v011\0"],
    "icon (ICO)": [saved("ICO")],
    "cursor": [b"\0\0\2\0\1\0\x20\x20\0\0" + bytes(30)],
    "icon (ICNS)": [b"icns\0\0\1\0"],
    "SGI": [saved("SGI")],
    "Targa": [saved("TGA"), saved("TGA", compression="tga_rle")],
    "X11": [b"/* XPM */\nstatic char", b"#define im_width 16\n"],
    "PAM": [b"P7\nWIDTH 4\nHEIGHT 4\n"],
    "colour PFM": [b"PF\n4 4\n-1.0\n"],
    "MNG": [b"\x8aMNG\r\n\x1a\n", b"\x8bJNG\r\n\x1a\n"],
    "BMP": [b"BM" + bytes(12) + b"\x10\0\0\0" + bytes(30)],
    "metafile": [b"\xd7\xcd\xc6\x9a" + bytes(20), b"\1\0\0\0" + bytes(36) + b" EMF"],
    "DICOM": [bytes(128) + b"DICM" + bytes(10)],
    "NIfTI": [bytes(344) + b"n+1\0"],
    "HDF5": [b"\x89HDF\r\n\x1a\n"],
    "NumPy": [b"\x93NUMPY\1\0"],
    "DjVu": [b"AT&TFORM\0\0\0\0DJVU"],
    "PDF": [b"%PDF-1.4\n", b"\n \xef\xbb\xbf%PDF-1.4\n"],
    "PostScript": [b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\xc5\xd0\xd3\xc6" + bytes(20)],
    "drawing (SVG)": [
        SVG, b"\xef\xbb\xbf" + SVG, b'<?xml version="1.0"?>\n<!-- by hand -->' + SVG, b"<!-- " + b"x" * 2000 + b" -->" + SVG,
        b'<?xml version="1.0"?><!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "x">' + SVG, b"  \n" + SVG,
        SVG.decode().encode("utf-16"), b'<ns:svg xmlns:ns="x"></ns:svg>',
    ],
    "drawing (SVG, compressed)": [gzip.compress(SVG)],
    "archive (zip)": [zipped(**{"a.png": b"x"}), b"PK\5\6" + bytes(18)],
    "kept as a zip": [zipped(mimetype=b"image/openraster"), zipped(**{"[Content_Types].xml": b"<x/>"})],
    "archive (RAR)": [b"Rar!\x1a\7\0", b"Rar!\x1a\7\1\0"],
    "archive (7z)": [b"7z\xbc\xaf\x27\x1c\0\4"],
    "archive (tar)": [tarred()],
    "archive (tar, compressed)": [tarred("w:gz")],
    "compressed file (bzip2)": [tarred("w:bz2"), bz2.compress(b"x")],
    "compressed file (xz)": [tarred("w:xz"), lzma.compress(b"x")],
    "compressed file (gzip)": [gzip.compress(b"text")],
    "raw photo (Canon CR2)": [b"II*\0\x10\0\0\0CR\2\0" + bytes(30)],
    "raw photo (Canon CR3)": [boxes(b"crx ", b"crx ", b"isom")],
    "raw photo (Fujifilm RAF)": [b"FUJIFILMCCD-RAW 0201"],
    "raw photo (Panasonic": [b"IIU\0\x18\0\0\0"],
    "raw photo (Olympus": [b"IIRO\x08\0\0\0", b"MMOR\0\0\0\x08", b"IIRS\x08\0\0\0"],
    "raw photo (Minolta": [b"\0MRM\0\0\0\0"],
    "raw photo (Sigma": [b"FOVb\0\0\0\0"],
    "raw photo (Phase One": [b"II*\0\x10\0\0\0IIIITwaR", b"MM\0*\0\0\0\x10MMMMRawT"],
    "raw photo (Canon CRW)": [b"II\x1a\0\0\0HEAPCCDR"],
    "another codec": [boxes(b"avci", b"avci"), boxes(b"vvic", b"vvic")],
    "video (MP4": [boxes(b"isom", b"mp42"), boxes(b"qt  "), boxes(b"3gp5"), b"\0\0\0\x08wide\0\0\1\0mdat"],
    "video (AVI)": [b"RIFF\0\0\0\0AVI LIST"],
    "video (Matroska": [b"\x1a\x45\xdf\xa3" + bytes(20)],
    "video (MPEG)": [b"\0\0\1\xba" + bytes(20), b"\0\0\1\xb3" + bytes(20), (b"G" + bytes(187)) * 3],
    "video (WMV": [b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"FLV\1\5", b"OggS" + bytes(24) + b"\x80theora"],
    "sound": [boxes(b"M4A ", b"isom"), b"ID3\3\0", b"RIFF\0\0\0\0WAVEfmt ", b"fLaC\0"],
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_a_format_that_is_not_read_is_named_by_content(name):
    for data in KNOWN[name]:
        assert format_of(data) is None
        assert not format_of(data[:HEAD])
        found = unread_format(data[:LONG_HEAD])
        assert found is not None
        assert name in found[0]
        for work in (decode, header_shape):
            with pytest.raises(ImageError) as caught:
                work(data, "photos/a")
            assert caught.value.outcome == "unsupported"
            assert str(caught.value).startswith(f"photos/a: {found[0]}, which is not read; ")


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\0", bytes(5000), b"\xff" * 5000, b"Dear Sir or Madam,\n", b"name,price\na,3\n", b"<html><svg></svg></html>",
        b"<?xml version='1.0'?><rss/>", b"SIMPLE words", b"P6 was a processor", b"BM is how this begins", b"#define X 1\n",
        np.random.default_rng(1).integers(0, 256, 9000, np.uint8).tobytes(), b"MMOST of it", b"IIII was a king", b"Going " * 200,
    ],
)  # fmt: skip
def test_what_is_none_of_them_is_not_named(data):
    assert unread_format(data[:LONG_HEAD]) is None


def outcomes(folder):
    for entry in scan(folder).entries:
        facts = {}
        for found, _ in read_task(to_task(entry, f"photos/{entry.id}", [(4, 4)])):
            facts |= found
        yield entry.id, from_answer(Answer(facts, []))


def test_in_a_folder_each_is_told_whatever_its_name(tmp_path):
    """Also where the name isn't an image's; only of what nobody knows it is enough to say that it is no image."""
    (tmp_path / "a.psd").write_bytes(KNOWN["Photoshop document"][0])
    (tmp_path / "b.cbz").write_bytes(KNOWN["archive (zip)"][0])
    (tmp_path / "c").write_bytes(KNOWN["PDF"][0])
    (tmp_path / "d.jpg").write_bytes(KNOWN["JPEG XL image"][0])
    (tmp_path / "e.txt").write_bytes(b"Dear Sir or Madam")
    (tmp_path / "f.jpg").write_bytes(b"Dear Sir or Madam")
    told = dict(outcomes(tmp_path))
    assert {reading.outcome for reading in told.values()} == {"unsupported"}
    assert "a Photoshop document" in told["a.psd"].reason
    assert "an archive (zip)" in told["b.cbz"].reason
    assert "a PDF document" in told["c"].reason
    assert "a JPEG XL image" in told["d.jpg"].reason
    assert told["e.txt"].reason == "photos/e.txt: not an image"
    assert "not an image in a format that is read (AVIF, BMP" in told["f.jpg"].reason
    assert Files("photos", scan(tmp_path).entries, ReadOptions()).ids == ["d.jpg", "f.jpg"]


@pytest.mark.parametrize("name", ["a.cbz", "a.tbz2", "a.txz", "a.tgz", "a", "a.zip.part", "a.jpg"])
def test_an_archive_is_opened_by_its_content_whatever_its_name(tmp_path, name):
    for data in (zipped(**{"a.png": saved("PNG")}), tarred(), tarred("w:gz"), tarred("w:bz2"), tarred("w:xz")):
        (tmp_path / name).write_bytes(data)
        collection = open_collection(tmp_path / name)
        assert collection.ids == ["a.png"]
        np.testing.assert_array_equal(collection.read(0), PIXELS)


def test_what_holds_an_archive_or_is_kept_as_one_is_told_by_what_it_is(tmp_path):
    np.savez(tmp_path / "a.npz", images=PIXELS[None])
    assert open_collection(tmp_path / "a.npz").shape == PIXELS.shape
    (tmp_path / "b.bin").write_bytes(saved("PNG") + zipped(**{"a.png": b"x"}))
    assert open_collection(tmp_path / "b.bin").ids == ["b.bin"]


# Kinds of formats that are read ---------------------------------------------------------------------------------------


def png(bits, colour, interlaced=0):
    header = struct.pack(">IIBBBBB", 4, 4, bits, colour, 0, 0, interlaced)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(400))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def heic(codec):
    pytest.importorskip("pillow_heif", reason="the extra heic isn't installed").register_heif_opener()
    return saved("HEIF").replace(b"hvc1", codec)


def jpeg(kind):
    return saved("JPEG").replace(b"\xff\xc0", b"\xff" + kind, 1)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: jpeg(b"\xc5"), "hierarchical"),
        (lambda: jpeg(b"\xcf"), "hierarchical and lossless"),
        (lambda: jpeg(b"\xf7"), "JPEG-LS"),
        (lambda: heic(b"vvc1"), "its codec is VVC"),
        (lambda: heic(b"unci"), "its codec is uncompressed"),
        (lambda: saved("AVIF").replace(b"av01", b"j2k1"), "its codec is JPEG 2000"),
        (lambda: png(3, 0), "3 bits of colour type 0"),
        (lambda: png(16, 3), "16 bits of colour type 3"),
        (lambda: png(8, 5), "8 bits of colour type 5"),
        (lambda: png(8, 0, 2), "interlace method 2"),
        (lambda: png(8, 2)[:8] + b"\0\0\0\4CgBI\x50\0\x20\2\x2b\xd5\xb3\x7f" + png(8, 2)[8:], "Apple's own form"),
    ],
)
def test_a_kind_that_no_decoder_knows_is_unsupported_not_damaged(make, why):
    with pytest.raises(ImageError) as caught:
        decode(make(), "here")
    assert caught.value.outcome == "unsupported"
    assert "its kind of" in str(caught.value)
    assert why in str(caught.value)


def test_a_header_that_was_hit_is_damaged_not_unsupported():
    """Its checksum says that nobody has written it so."""
    data = bytearray(png(8, 2))
    data[24] = 3
    with pytest.raises(ImageError) as caught:
        decode(bytes(data), "here")
    assert caught.value.outcome == "damaged"
    with pytest.raises(ImageError) as caught:
        decode(jpeg(b"\xc2"), "here")
    assert caught.value.outcome == "damaged"


# Limits ---------------------------------------------------------------------------------------------------------------


def test_a_refusal_for_size_says_what_it_was_the_limit_and_the_option(tmp_path):
    (tmp_path / "a.png").write_bytes(saved("PNG"))
    entry = scan(tmp_path).entries[0]
    size = (tmp_path / "a.png").stat().st_size
    for limits, words in (
        (Limits(pixels=62), "7 x 9 = 63 pixels, more than 62 pixels, the limit; allow more with --max-pixels"),
        (Limits(bytes=99), f"{size} bytes, more than 99 bytes, the limit; allow more with --max-bytes"),
    ):
        facts = {}
        for found, _ in read_task(to_task(entry, "photos/a.png", [(4, 4)], limits=limits)):
            facts |= found
        assert facts["outcome"] == "bomb"
        assert words in facts["reason"]
        with pytest.raises(ImageError, match="--max-") as caught:
            open_collection(tmp_path / "a.png", limits=limits)
        assert words in str(caught.value)
    archive = tmp_path / "b.zip"
    archive.write_bytes(zipped(**{"a.png": saved("PNG")}))
    with pytest.raises(ImageError, match="more than 99 bytes, the limit; allow more with --max-bytes"):
        open_collection(archive, limits=Limits(bytes=99)).read(0)


def test_a_query_is_read_by_the_limits_of_the_index_in_every_door(tmp_path, capsys):
    """What an index holds may be asked for, and what it may not hold may not."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(4):
        (folder / f"{i}.png").write_bytes(to_png(np.roll(PIXELS, i, 0)))
    (tmp_path / "large.png").write_bytes(to_png(np.zeros((8, 8, 3), np.uint8) + np.uint8(9)))
    images = open_collection(folder, limits=Limits(pixels=63))
    index = lookalike.build_index(images, "pixels", tmp_path / "index")
    assert index.limits == Limits(pixels=63)
    words = "8 x 8 = 64 pixels, more than 63 pixels, the limit; allow more with --max-pixels"
    large = tmp_path / "large.png"
    for ask in (
        lambda: index.search(large),
        lambda: index.ask(Query(images=(Example(path=str(large)),))),
        lambda: index.ask(Query(images=(Example(data=large.read_bytes()),))),
        lambda: index.ask(Query(images=(Example(data=large.read_bytes(), crop=(0, 0, 4, 4)),))),
        lambda: index.ask(Query(images=(Example(path=str(large), crop=(0, 0, 4, 4)),))),
    ):
        with pytest.raises(ImageError, match=words):
            ask()
    for several in ([], ["-k", "2"], ["--where", "width > 1"]):
        assert run(["search", str(large), "-i", str(tmp_path / "index"), *several]) == 1
        assert words in capsys.readouterr().err
    assert run(["search", str(folder / "0.png"), "-i", str(tmp_path / "index")]) == 0


def test_the_server_takes_pictures_as_large_as_its_index_does():
    assert raised(LIMITS, Limits(pixels=300_000_000)).pixels == 300_000_000
    assert raised(LIMITS, Limits(pixels=5, bytes=5)) == LIMITS
    decoder = Decoder(Limits(pixels=10), workers=1)
    try:
        with pytest.raises(ImageError, match="more than 10 pixels"):
            decoder.decode(saved("PNG"))
        assert decoder.decode(saved("PNG"), limits=Limits(pixels=63)).width == 7
    finally:
        decoder.close()


def test_pillow_s_own_limit_is_raised_for_a_while_and_set_back_by_the_last(monkeypatch):
    import PIL.Image

    from lookalike.imaging.formats import pillow_limit

    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 1000)
    with pillow_limit(2000):
        assert PIL.Image.MAX_IMAGE_PIXELS == 1000  # Pillow refuses more than twice its limit
    with pillow_limit(5000):
        with pillow_limit(9000):
            assert PIL.Image.MAX_IMAGE_PIXELS == 9000
        assert PIL.Image.MAX_IMAGE_PIXELS == 5000
    assert PIL.Image.MAX_IMAGE_PIXELS == 1000
