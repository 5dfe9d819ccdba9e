"""A folder of good, odd, broken and hostile files, with what may become of each; every file a user's disk has, in small.

Pillow makes what it can; what no honest program would write is put together here from bytes, after each format's own
specification. One file a line in the functions that :func:`regular_files` names; one function for each way in which a
folder itself is odd.
"""

from __future__ import annotations

import io
import os
import random
import socket
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, features

from lookalike import open_collection

#: Limits that the zoo's outcomes are stated for: a run of it gives ``--seconds`` and ``--memory`` so.
SECONDS, MEMORY = 5, "1GB"

INDEXED = {"indexed"}
CUT = {"truncated"}
BROKEN = {"damaged", "truncated"}
NO_IMAGE = {"unsupported"}
REFUSED = {"damaged", "truncated", "unsupported"}

Files = Iterator[tuple[str, bytes, set[str]]]


def make_zoo(folder: Path) -> dict[str, set[str]]:
    """Fill a folder; return what may become of each file in it: id -> acceptable outcomes.

    Hidden files, empty folders and what lies in an index's folder are there too, and have no id: they are left out.
    """
    expected = {}
    for name, data, outcomes in regular_files():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        expected[name] = outcomes
    for add in (odd_names, links, not_files, no_permission, left_out):
        expected |= add(folder)
    return expected


# The files -------------------------------------------------------------------------------------------------------------


def regular_files() -> Files:
    """Yield each plain file: its name, its bytes, what may become of it."""
    for section in (good_files, odd_beside_the_picture, cut_short, damaged, bombs, no_images, named_and_paired):
        yield from section()


def good_files() -> Files:
    """Good files in every format that is read, and every way to store a pixel."""
    yield "formats/grey.png", saved(scene(1), "PNG"), INDEXED
    yield "formats/colour.jpg", saved(scene(2, 3), "JPEG"), INDEXED
    yield "formats/progressive.jpg", saved(scene(3, 3), "JPEG", progressive=True), INDEXED
    yield "formats/animation.gif", saved(scene(4), "GIF", **another(200)), INDEXED
    yield "formats/animation.png", saved(scene(5, 3), "PNG", **another(6, 3)), INDEXED
    yield "formats/pages.tif", saved(scene(7), "TIFF", **another(8)), INDEXED
    yield "formats/windows.bmp", saved(scene(9, 3), "BMP"), INDEXED
    yield "formats/plain.ppm", saved(scene(10, 3), "PPM"), INDEXED
    yield "formats/ascii.pgm", b"P2 # a comment\n3 2 9\n" + b"1 2 3 4 5 6", INDEXED
    yield "formats/web.webp", saved(scene(11, 3), "WEBP"), INDEXED
    if features.check("avif"):
        yield "formats/modern.avif", saved(scene(12, 3), "AVIF"), INDEXED
        yield "cut/cut.avif", cut(saved(scene(13, 3), "AVIF"), 50), BROKEN
    yield "formats/two-pictures.mpo.jpg", saved(scene(14, 3), "MPO", **another(15, 3)), INDEXED
    yield "modes/cmyk.jpg", saved(scene(16, 3).convert("CMYK"), "JPEG"), INDEXED
    yield "modes/cmyk.tif", saved(scene(17, 3).convert("CMYK"), "TIFF"), INDEXED
    yield "modes/lab.tif", saved(Image.fromarray(pixels(18, 3), "LAB"), "TIFF"), INDEXED
    yield "modes/16-bit.png", saved(Image.fromarray(pixels(19).astype(np.uint16) * 257), "PNG"), INDEXED
    yield "modes/16-bit.tif", saved(Image.fromarray(pixels(20).astype(np.uint16) * 257), "TIFF"), INDEXED
    yield "modes/float.tif", saved(Image.fromarray(pixels(21) / np.float32(255)), "TIFF"), INDEXED
    yield "modes/one-bit.png", saved(scene(22).convert("1"), "PNG"), INDEXED
    yield "modes/palette.png", saved(scene(23, 3).quantize(16), "PNG"), INDEXED
    yield "modes/palette-alpha.gif", saved(scene(24, 3).quantize(16), "GIF", transparency=0), INDEXED
    yield "modes/grey-alpha.png", saved(Image.merge("LA", (scene(25), scene(26))), "PNG"), INDEXED
    yield "modes/colour-alpha.webp", saved(Image.merge("RGBA", (*scene(27, 3).split(), scene(28))), "WEBP"), INDEXED
    yield "modes/interlaced.png", interlaced_png(pixels(29)), INDEXED
    yield "shapes/1x1.png", saved(Image.new("L", (1, 1), 77), "PNG"), INDEXED
    yield "shapes/20000x1.png", saved(Image.fromarray(noise(20_000, 1)), "PNG"), INDEXED
    yield "shapes/1x20000.png", saved(Image.fromarray(noise(1, 20_000)), "PNG"), INDEXED
    yield "shapes/top-down.bmp", bmp(4, -4, bytes(range(48))), INDEXED
    yield "black.png", saved(Image.new("L", (96, 64)), "PNG"), {"blank"}


def odd_beside_the_picture() -> Files:
    """Good pictures with something wrong beside the picture."""
    exif = b"Exif\0\0II*\0\x08\0\0\0"
    yield "beside/broken-exif.jpg", saved(scene(30, 3), "JPEG", exif=exif + b"\xff" * 20), INDEXED
    yield "beside/exif-in-a-circle.jpg", saved(scene(31, 3), "JPEG", exif=exif + b"\0\0\x08\0\0\0"), INDEXED
    yield "beside/broken-profile.jpg", saved(scene(32, 3), "JPEG", icc_profile=b"no profile" * 20), INDEXED
    yield "beside/cut-profile.png", saved(scene(33, 3), "PNG", icc_profile=srgb()[:200]), INDEXED
    yield "beside/grey-profile-of-colour.jpg", saved(scene(34), "JPEG", icc_profile=srgb()), INDEXED
    for seed, kind in enumerate(
        ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", *["AVIF"] * features.check("avif")), 70
    ):
        yield f"beside/garbage-at-the-end.{kind.lower()}", saved(scene(seed, 3), kind) + b"\0garbage" * 500, INDEXED
    yield "beside/bomb-in-frame-2.gif", gif(8, 8, [(8, 8), (65535, 65535)]), INDEXED
    yield "beside/100000-frames.gif", gif(8, 8, [(8, 8)] * 100_000, seed=1), INDEXED
    yield "beside/ifd-in-a-circle.tif", tiff(36, following="itself"), INDEXED
    yield "beside/two-ifds-in-a-circle.tif", tiff(37, following="another"), INDEXED
    yield "beside/4-gb-strip.tif", tiff(38, strip_bytes=0xFFFFFFFF), INDEXED | BROKEN
    yield "beside/1-gb-of-text.png", png(pixels(39), chunk(b"zTXt", b"Comment\0\0" + zlib_zeros(2**30))), INDEXED
    yield "beside/1-gb-of-profile.png", png(pixels(40), chunk(b"iCCP", b"profile\0\0" + zlib_zeros(2**30))), INDEXED
    yield "beside/wrong-checksum.png", png(pixels(41), chunk(b"tEXt", b"Comment\0x", sound=False)), INDEXED | BROKEN


def cut_short() -> Files:
    """Files that end before the picture does."""
    for kind, options in (("baseline", {}), ("progressive", {"progressive": True})):
        whole = saved(scene(42, 3), "JPEG", quality=95, **options)
        for percent in (10, 50, 99):
            yield f"cut/{kind}-{percent}.jpg", cut(whole, percent), CUT
    for ending, data in (
        ("png", saved(scene(43, 3), "PNG")),
        ("gif", saved(scene(44), "GIF")),
        ("webp", saved(scene(45, 3), "WEBP")),
        ("bmp", saved(scene(46, 3), "BMP")),
        ("ppm", saved(scene(47, 3), "PPM")),
        ("tif", saved(scene(48, 3), "TIFF", compression="tiff_lzw")),
    ):
        for percent in (10, 50, 90):
            yield f"cut/{percent}.{ending}", cut(data, percent), REFUSED if percent == 10 else BROKEN


def damaged() -> Files:
    """Files that no decoder should swallow."""
    yield "damaged/flipped-bit.png", flipped(saved(scene(49), "PNG")), BROKEN
    yield "damaged/flipped-bit.webp", flipped(saved(scene(51, 3), "WEBP", lossless=True)), INDEXED | BROKEN
    yield "damaged/no-palette.png", png(pixels(50), colour_type=3), INDEXED | BROKEN | {"blank"}
    yield "damaged/no-pixels.png", png_of(8, 8, b""), BROKEN
    yield "damaged/noise-for-pixels.png", png_of(8, 8, b"noise" * 20), BROKEN
    yield "damaged/width-0.png", png_of(0, 8, zlib.compress(b"")), REFUSED
    yield "damaged/negative-width.bmp", bmp(-4, 4, bytes(48)), REFUSED | {"bomb"}
    yield "damaged/lowest-height.bmp", bmp(4, -(2**31), bytes(48)), REFUSED | {"bomb"}
    yield "damaged/lzw.tif", tiff(51, compression=5), BROKEN
    yield "damaged/2-billion-strips.tif", tiff(52, strips=2**31 - 1), BROKEN | {"bomb", "out of memory"}
    yield "damaged/maximum-0.pgm", b"P5 4 4 0\n" + bytes(16), REFUSED
    yield "damaged/endless-number.pgm", b"P5 " + b"4" * 10_000, REFUSED | {"bomb"}
    yield "damaged/noise-within.jpg", saved(scene(53, 3), "JPEG")[:700] + noise(1, 5000).tobytes(), INDEXED | BROKEN
    yield "damaged/only-a-header.avif", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", REFUSED
    yield "damaged/only-a-header.heic", b"\0\0\0\x18ftypheic\0\0\0\0heicmif1", REFUSED
    yield "damaged/only-a-header.webp", b"RIFF\xff\xff\xff\xffWEBPVP8L\xff\xff\xff\xff/", REFUSED


def bombs() -> Files:
    """Small files that ask for much."""
    yield "bombs/dimensions.png", png_of(60_000, 60_000, zlib.compress(b"")), {"bomb"}
    yield "bombs/dimensions.jpg", jpeg_header(65_500, 65_500), {"bomb"}
    yield "bombs/dimensions.gif", gif(65_535, 65_535, [(65_535, 65_535)]), {"bomb"}
    yield "bombs/dimensions.bmp", bmp(60_000, 60_000, b""), {"bomb"}
    yield "bombs/dimensions.ppm", b"P6 999999999 999999999 255\n", {"bomb", "damaged", "unsupported"}
    yield "bombs/dimensions.tif", tiff(54, size=60_000), {"bomb"}
    yield "bombs/pixels.png", png_of(64, 64, zlib_zeros(2**30)), {"blank", "damaged", "bomb"}
    # Nothing but transparency: 400 MB once decoded, a thousandth of that on disk.
    within = png_of(9_990, 9_990, zlib_zeros(9_990 * (1 + 4 * 9_990)), colour_type=6)
    yield "bombs/within-the-limit.png", within, {"indexed", "out of memory", "timed out"}
    yield "bombs/scans.jpg", jpeg_of_scans(4_000, 40_000), {"timed out", "damaged", "bomb"}


def no_images() -> Files:
    """What isn't read at all."""
    yield "others/empty.jpg", b"", {"empty"}
    yield "others/nothing.txt", b"", {"empty"}
    yield "others/text.jpg", b"This is no picture.\n" * 50, NO_IMAGE
    yield "others/zeros.png", bytes(5000), NO_IMAGE
    yield "others/ones.jpg", b"\xff" * 5000, NO_IMAGE
    yield "others/one-byte.jpg", b"\xff", NO_IMAGE
    yield "others/two-bytes.jpg", b"\xff\xd8", REFUSED
    yield "others/zip.png", zipped(), NO_IMAGE
    yield "others/zip.zip", zipped(), NO_IMAGE
    yield "others/drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg"><circle r="4"/></svg>', NO_IMAGE
    yield "others/script.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", NO_IMAGE
    yield "others/icon.ico", saved(scene(55, 3), "ICO"), NO_IMAGE
    yield "others/README", b"About these pictures.\n", NO_IMAGE


def named_and_paired() -> Files:
    """Told by content, not by name; captions; equal bytes; equal names."""
    yield "names/png-named.jpg", saved(scene(56), "PNG"), INDEXED
    yield "names/no-ending", saved(scene(57), "PNG"), INDEXED
    yield "names/UPPER.JPG", saved(scene(58), "JPEG"), INDEXED
    yield "captions/a.png", saved(scene(59), "PNG"), INDEXED
    yield "captions/a.txt", "Ein Bild über nichts.\n".encode(), {"caption"}
    yield "captions/b.png", saved(scene(60), "PNG"), INDEXED
    yield "captions/b.png.txt", b"not UTF-8: \xff\n", {"caption"}
    yield "captions/of-nothing.txt", b"beside no picture\n", NO_IMAGE
    yield "twins/a.png", saved(scene(61), "PNG"), INDEXED
    yield "twins/b.png", saved(scene(61), "PNG"), {"duplicate"}
    yield "one/same-name.png", saved(scene(62), "PNG"), INDEXED
    yield "two/same-name.png", saved(scene(63), "PNG"), INDEXED
    yield "folder-named.jpg/inside.png", saved(scene(64), "PNG"), INDEXED
    yield "/".join(["deep"] * 60) + "/down.png", saved(scene(65), "PNG"), INDEXED


# What a folder holds beside plain files --------------------------------------------------------------------------------


def odd_names(folder: Path) -> dict[str, set[str]]:
    """Names that break what is written without care; each file holds a picture of its own."""
    names: dict[str | bytes, str] = {
        "odd/two\nlines.png": "odd/two\nlines.png",
        "odd/ blanks .png ": "odd/ blanks .png ",
        "odd/-o.png": "odd/-o.png",
        "odd/quo'te\"s and \\n.png": "odd/quo'te\"s and \\n.png",
        "odd/%41*[a]?.png": "odd/%41*[a]?.png",
        "odd/e\u0301 (NFD).png": "odd/\u00e9 (NFD).png",
        "odd/\u00e9 (NFC).png": "odd/\u00e9 (NFC).png",
        "odd/\u5199\u771f \U0001f600.png": "odd/\u5199\u771f \U0001f600.png",
        f"odd/{'n' * 251}.png": f"odd/{'n' * 251}.png",
        b"odd/latin-\xe9.png": "odd/latin-\\udce9.png",
        b"odd/\xff\xfe/\xff.png": "odd/\\udcff\\udcfe/\\udcff.png",
        "odd/twice-\\udce9.png": "odd/twice-\\udce9.png",
        b"odd/twice-\xe9.png": "odd/twice-\\udce9.png~",  # its name, made readable, is the one before
    }
    for seed, name in enumerate(names, 100):
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(saved(scene(seed), "PNG"))
    return dict.fromkeys(names.values(), INDEXED)


def links(folder: Path) -> dict[str, set[str]]:
    """Links to a file, to nothing, to themselves, and to a folder above."""
    (folder / "links").mkdir()
    (folder / "links" / "another.png").write_bytes(saved(scene(120), "PNG"))
    for name, target in {
        "links/to-another.png": "another.png",
        "links/to-nothing.png": "nothing.png",
        "links/to-itself.png": "to-itself.png",
        "links/to-the-top": "..",
        "links/to-here.png": ".",
    }.items():
        (folder / name).symlink_to(target)
    return {
        "links/another.png": INDEXED,
        "links/to-another.png": {"duplicate"},
        "links/to-nothing.png": {"unreadable"},
        "links/to-itself.png": {"unreadable"},
        "links/to-the-top": {"unreadable"},
        "links/to-here.png": {"unreadable"},
    }


def not_files(folder: Path) -> dict[str, set[str]]:
    """Build a pipe that nobody writes to, a socket, and a link to a device that never ends."""
    (folder / "devices").mkdir()
    os.mkfifo(folder / "devices" / "pipe.jpg")
    here = os.open(folder / "devices", os.O_RDONLY)  # a socket's path may have 108 bytes only
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(f"/proc/self/fd/{here}/socket.png")
    finally:
        os.close(here)
    (folder / "devices" / "zeros.png").symlink_to("/dev/zero")
    return dict.fromkeys(("devices/pipe.jpg", "devices/socket.png", "devices/zeros.png"), NO_IMAGE)


def no_permission(folder: Path) -> dict[str, set[str]]:
    """Build a file that its owner may not read; root may."""
    path = folder / "locked.png"
    path.write_bytes(saved(scene(121), "PNG"))
    path.chmod(0)
    return {path.name: INDEXED if os.access(path, os.R_OK) else {"unreadable"}}


def left_out(folder: Path) -> dict[str, set[str]]:
    """Build what is no part of a collection: it has no outcome at all."""
    for name in (".hidden.png", ".hidden/a.png", "other.lookalike/a.png", "nothing-in-it/nothing-in-it/.keep"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(saved(scene(122), "PNG"))
    return {}


# Pictures --------------------------------------------------------------------------------------------------------------


def pixels(seed: int, channels: int = 1) -> np.ndarray:
    """Make 64 x 96 pixels, smooth with a little noise: another picture for each seed."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 9, 3), np.uint8)).resize((96, 64), Image.Resampling.BICUBIC)
    rough = np.clip(np.asarray(coarse).astype(np.int16) + rng.integers(-8, 9, (64, 96, 3)), 1, 255).astype(np.uint8)
    return rough if channels == 3 else np.ascontiguousarray(rough[..., 0])


def scene(seed: int, channels: int = 1) -> Image.Image:
    return Image.fromarray(pixels(seed, channels))


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(1, 256, (height, width), np.uint8)


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def another(seed: int, channels: int = 1) -> dict[str, object]:
    """Return the options that save a second picture in the same file."""
    return {"save_all": True, "append_images": [scene(seed, channels)]}


def cut(data: bytes, percent: int) -> bytes:
    return data[: len(data) * percent // 100]


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 16]) + data[middle + 1 :]


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.png", saved(scene(130), "PNG"))
    return file.getvalue()


# Formats, byte by byte -------------------------------------------------------------------------------------------------

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes, *, sound: bool = True) -> bytes:
    """Build a chunk of a PNG; its checksum is wrong where it isn't to be sound."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ (not sound))


def rows(values: np.ndarray) -> bytes:
    """Return rows as a PNG has them: each begins with its filter, 0 for none."""
    return b"".join(b"\0" + row.tobytes() for row in values)


def png_of(width: int, height: int, data: bytes, *extra: bytes, colour_type: int = 0, interlace: int = 0) -> bytes:
    """Build a PNG of 8 bits a channel from compressed rows, with further chunks before them."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, interlace))
    return PNG_SIGNATURE + header + b"".join(extra) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def png(values: np.ndarray, *extra: bytes, **options: int) -> bytes:
    """Build a PNG of grey pixels, with further chunks."""
    return png_of(values.shape[1], values.shape[0], zlib.compress(rows(values)), *extra, **options)


def interlaced_png(values: np.ndarray) -> bytes:
    """Build a PNG in Adam7's seven passes, which Pillow reads and doesn't write."""
    passes = ((0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1))
    data = b"".join(rows(values[top::down, left::right]) for top, down, left, right in passes)
    return png_of(values.shape[1], values.shape[0], zlib.compress(data), interlace=1)


def zlib_zeros(n: int) -> bytes:
    """Compress n zeros without having them: after a full flush the same block can follow itself."""
    size = 2**20
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(size)) + packer.flush(zlib.Z_FULL_FLUSH)
    last = zlib.compressobj(9, wbits=-15)
    checksum = (n % 65521) << 16 | 1  # Adler-32 of zeros
    return (
        b"\x78\xda" + block * (n // size) + last.compress(bytes(n % size)) + last.flush() + struct.pack(">I", checksum)
    )


def gif(width: int, height: int, frames: list[tuple[int, int]], seed: int = 0) -> bytes:
    """Build a GIF whose frames claim these sizes and hold 8 x 8 pixels, uncompressed: 9-bit codes, reset every 64."""
    values = [256, *random.Random(seed).choices(range(1, 256), k=64), 257]
    bits = sum(value << (9 * i) for i, value in enumerate(values))
    codes = bits.to_bytes((9 * len(values) + 7) // 8, "little")
    image = b"\x08" + bytes([len(codes)]) + codes + b"\0"
    palette = bytes(value for grey in range(256) for value in (grey, grey, grey))
    blocks = b"".join(b",\0\0\0\0" + struct.pack("<HH", *size) + b"\0" + image for size in frames)
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\xf7\0\0" + palette + blocks + b";"


def bmp(width: int, height: int, data: bytes) -> bytes:
    """Build a BMP of 24 bits a pixel; a negative height means that rows run downwards."""
    return (
        b"BM"
        + struct.pack("<IHHI", 54 + len(data), 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(data), 2835, 2835, 0, 0)
        + data
    )


def tiff(
    seed: int,
    *,
    size: int = 64,
    compression: int = 1,
    strips: int = 1,
    strip_bytes: int = 64 * 64,
    following: str = "nothing",
) -> bytes:
    """Build a TIFF of 64 x 64 grey pixels in one strip, whose header may say otherwise."""
    data = pixels(seed)[:, :64].tobytes()
    first = 8 + len(data)
    entries = [
        (256, 4, 1, size),  # width
        (257, 4, 1, size),  # height
        (258, 3, 1, 8),  # bits a sample
        (259, 3, 1, compression),
        (262, 3, 1, 1),  # 0 is black
        (273, 4, strips, 8),  # where the strip begins
        (277, 3, 1, 1),  # samples a pixel
        (278, 4, 1, size),  # rows a strip
        (279, 4, strips, strip_bytes),
    ]
    length = 2 + 12 * len(entries) + 4

    def directory(after: int) -> bytes:
        return (
            struct.pack("<H", len(entries))
            + b"".join(struct.pack("<HHII", *e) for e in entries)
            + struct.pack("<I", after)
        )

    if following == "another":
        directories = directory(first + length) + directory(first)
    else:
        directories = directory(first if following == "itself" else 0)
    return b"II*\0" + struct.pack("<I", first) + data + directories


def jpeg_header(width: int, height: int) -> bytes:
    """Build a grey JPEG up to where its pixels would begin."""
    return saved(Image.new("L", (8, 8)), "JPEG").replace(
        b"\xff\xc0\x00\x0b\x08\x00\x08\x00\x08", b"\xff\xc0\x00\x0b\x08" + struct.pack(">HH", height, width)
    )


def jpeg_of_scans(side: int, scans: int) -> bytes:
    """Build a progressive JPEG whose every scan walks over all blocks once more and changes nothing.

    It is small, well-formed, and slow for as long as one likes: libjpeg takes any number of scans.
    """

    def segment(marker: int, data: bytes) -> bytes:
        return b"\xff" + bytes([marker]) + struct.pack(">H", 2 + len(data)) + data

    one_code = bytes([1] + [0] * 15)  # a Huffman table of one code, the bit 0
    blocks = (side // 8) ** 2
    bits = ""
    while blocks >= 2**14:  # one code and 14 bits: so many blocks, 2**14 and more, have nothing but zeros
        run = min(blocks, 2**15 - 1)
        bits += f"0{run - 2**14:014b}"
        blocks -= run
    bits += "1" * (-len(bits) % 8)
    zeros = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    scan = segment(0xDA, b"\x01\x01\x00\x01\x3f\x00") + zeros  # coefficients 1 to 63
    return (
        b"\xff\xd8"
        + segment(0xDB, b"\0" + bytes([1] * 64))
        + segment(0xC2, b"\x08" + struct.pack(">HH", side, side) + b"\x01\x01\x11\x00")
        + segment(0xC4, b"\x00" + one_code + b"\x00")  # of the first coefficient: no change
        + segment(0xC4, b"\x10" + one_code + b"\xe0")  # of the others: a run of zero blocks
        + segment(0xDA, b"\x01\x01\x00\x00\x00\x00")
        + bytes((side // 8) ** 2 // 8 + 1)
        + scan * scans
        + b"\xff\xd9"
    )


OPTIONS = ("-e", "pixels", "--size", 24, "--seconds", SECONDS, "--memory", MEMORY)


TOO_LARGE = "bombs/within-the-limit.png"  # to be decoded in this process


def paths_of(folder):
    """Find the file of each id: an id is a name made readable, so the way back goes through the collection."""
    return {entry.id: entry.source[1] for entry in open_collection(folder, size=24).entries}
