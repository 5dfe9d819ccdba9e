"""The first bytes of a file -> its format: those that are read, and those that are only named in errors."""

from __future__ import annotations

import re
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

#: The formats that are opened, and the endings their files bear. What Pillow knows beyond them stays closed: a decoder
#: that nobody needs is one more to attack, and for EPS it would start another program.
FORMATS = {
    "AVIF": (".avif", ".avifs"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "HEIC": (".heic", ".heif", ".hif"),
    "JPEG": (".jfif", ".jpe", ".jpeg", ".jpg"),
    "PNG": (".apng", ".png"),
    "PPM": (".pbm", ".pfm", ".pgm", ".pnm", ".ppm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
#: Endings that a folder is searched for.
SUFFIXES = frozenset(ending for endings in FORMATS.values() for ending in endings)
#: How many bytes at its beginning tell a file's format.
HEAD = 33
#: What a PNG file begins with.
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: What a JPEG file ends with.
JPEG_END = b"\xff\xd9"
#: How many bytes at its beginning name a format that isn't read: a drawing may begin with a long comment.
LONG_HEAD = 4096

_SIGNATURES = {
    # "BM" alone opens many a text: the size of the header that follows is asked for too.
    "BMP": re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL),
    "GIF": re.compile(rb"GIF8[79]a"),
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(re.escape(PNG_SIGNATURE)),
    "PPM": re.compile(rb"P[1-6f]\s+[\d#]"),
    # (Canon's and Phase One's raw photos begin so too)
    "TIFF": re.compile(rb"(?!II\*\0....(?:CR|IIII)|MM\0\*....MMMM)(?:II[*+]\0|MM\0[*+]|II\0[*]|MM[*]\0)", re.DOTALL),
    "WEBP": re.compile(rb"RIFF....WEBP", re.DOTALL),
}
_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"))

_CONVERT = "convert it to PNG, JPEG or TIFF"
_EXPORT = "export its pages or pictures as PNG, JPEG or TIFF"
_UNPACK = "unpack it, or index it by its own name, which works for zip and tar"
_FRAMES = "take single pictures out of it first, say by: ffmpeg -i FILE -vf fps=1 frames/%05d.png"
_RAW = "export it as JPEG, PNG or TIFF; what it shows depends on the program that develops it"
#: What is said of a raw photo of some kind.
RAW_PHOTO = f"a camera's raw photo ({{}}), which is not read; {_RAW}"
#: What is said of a file of which nothing is known.
NO_IMAGE = "not an image in a format that is read"
# What is known though it isn't read: what it is, what to do, how it begins.
_UNREAD = (
    ("a JPEG XL image", _CONVERT, rb"\xff\x0a|\x00\x00\x00\x0cJXL \r\n\x87\n"),
    ("a Photoshop document (PSD, PSB)", _CONVERT, rb"8BPS\x00[\x01\x02]"),
    ("a JPEG 2000 image", _CONVERT, rb"\x00\x00\x00\x0cjP(?:  |\x1a\x1a)\r\n\x87\n|\xff\x4f\xff\x51"),
    ("a JPEG XR image", _CONVERT, rb"II\xbc[\x00\x01]"),
    ("an OpenEXR image", _CONVERT, rb"v/1\x01"),
    ("a Radiance HDR image", _CONVERT, rb"#\?(?:RADIANCE|RGBE)"),
    ("a QOI image", _CONVERT, rb"qoif"),
    ("a DirectDraw texture (DDS)", _CONVERT, rb"DDS \x7c\x00\x00\x00"),
    ("a texture (KTX, ASTC, VTF, BLP)", _CONVERT, rb"\xabKTX [12][01]\xbb|\x13\xab\xa1\x5c|VTF\x00|BLP[12]"),
    ("a FITS image", _CONVERT, rb"SIMPLE  =\s+T"),
    ("a PCX image", _CONVERT, rb"\x0a[\x00\x02-\x05]\x01[\x01\x02\x04\x08]"),
    ("a GIMP image (XCF)", _CONVERT, rb"gimp xcf "),
    ("a picture of Paint Shop Pro, Clip Studio or Affinity", _CONVERT, rb"Paint Shop Pro Im|CSFCHUNK|\x00\xffKA"),
    ("an icon (ICO)", _CONVERT, rb"\x00\x00\x01\x00[^\x00]\x00...\x00"),
    ("a cursor (CUR)", _CONVERT, rb"\x00\x00\x02\x00[^\x00]\x00...\x00"),
    ("an icon (ICNS)", _CONVERT, rb"icns"),
    ("a farbfeld image", _CONVERT, rb"farbfeld"),
    ("a BPG image", _CONVERT, rb"BPG\xfb"),
    ("a FLIF image", _CONVERT, rb"FLIF[1-z]"),
    ("an MNG or JNG image", _CONVERT, rb"[\x8a\x8b][MJ]NG\r\n\x1a\n"),
    ("an SGI image", _CONVERT, rb"\x01\xda[\x00\x01][\x01\x02]"),
    ("a Sun raster image", _CONVERT, rb"\x59\xa6\x6a\x95"),
    ("a Microsoft Paint image (MSP)", _CONVERT, rb"DanM|LinS"),
    ("an X11 image (XBM, XPM)", _CONVERT, rb"/\* XPM \*/|#define\s+\w+_width\s+\d"),
    ("an Amiga image (IFF)", _CONVERT, rb"FORM....(?:ILBM|PBM |ACBM|DEEP|RGB8)"),
    ("a PAM image", _CONVERT, rb"P7\s+(?:#|WIDTH|HEIGHT|DEPTH|MAXVAL|TUPLTYPE)"),
    ("a colour PFM image", _CONVERT, rb"PF\s+\d"),
    ("a Cineon or DPX image", _CONVERT, rb"\x80\x2a\x5f\xd7|SDPX|XPDS"),
    ("a bitmap of OS/2 or of an unusual kind (BMP)", _CONVERT, rb"BA.{4}|BM.{12}[\x10-\x7c]\x00\x00\x00"),
    ("a Windows metafile", _CONVERT, rb"\xd7\xcd\xc6\x9a|\x01\x00\x00\x00.{36} EMF"),
    ("a DICOM image", "export it as PNG, with the window that shows what is meant", rb".{128}DICM"),
    ("a NIfTI volume", "export its slices as PNG", rb".{344}n[+i]1\x00"),
    ("scientific data (HDF5, NetCDF)", _EXPORT, rb"\x89HDF\r\n\x1a\n|CDF[\x01\x02\x05]"),
    ("arrays of NumPy", "name the file itself where an image or a folder is named", rb"\x93NUMPY"),
    ("a DjVu document", _EXPORT, rb"AT&TFORM....DJV"),
    ("a PDF document (or Illustrator's)", _EXPORT, rb"[\s\xef\xbb\xbf]*%PDF-"),
    ("a PostScript document (EPS, PS, AI)", _EXPORT, rb"[\s\x04]*%!PS|\xc5\xd0\xd3\xc6"),
    ("an Office document or thumbnail store", _EXPORT, rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    ("a picture or document kept as a zip", _EXPORT, rb"PK\x03\x04.{26}(?:mimetype|\[Content_Types\])"),
    ("an archive (zip)", _UNPACK, rb"PK(?:\x03\x04|\x05\x06|\x07\x08)"),
    ("an archive (tar)", _UNPACK, rb".{257}ustar"),
    ("an archive (RAR)", "unpack it", rb"Rar!\x1a\x07"),
    ("an archive (7z)", "unpack it", rb"7z\xbc\xaf\x27\x1c"),
    ("an archive (LHA, CAB, ar, cpio)", "unpack it", rb"..-l[hz][0-7dsx]-|MSCF\x00|!<arch>|07070[1-7]"),
    ("an archive, or another compressed file (bzip2)", _UNPACK, rb"BZh[1-9]1AY&SY"),
    ("an archive, or another compressed file (xz)", _UNPACK, rb"\xfd7zXZ\x00"),
    ("an archive, or another compressed file (Zstandard, LZ4, lzip)", "unpack it", rb"\x28\xb5\x2f\xfd|\x04\x22\x4d\x18|LZIP\x01"),
    ("a compressed file (gzip)", _UNPACK, rb"\x1f\x8b\x08"),
    ("a camera's raw photo (Canon CR2)", _RAW, rb"II\*\x00....CR"),
    ("a camera's raw photo (Canon CR3)", _RAW, rb"....ftypcrx "),
    ("a camera's raw photo (Canon CRW)", _RAW, rb"II.{4}HEAP(?:CCDR|JPGM)"),
    ("a camera's raw photo (Fujifilm RAF)", _RAW, rb"FUJIFILMCCD-RAW"),
    ("a camera's raw photo (Panasonic, Leica RW2)", _RAW, rb"IIU\x00"),
    ("a camera's raw photo (Olympus ORF)", _RAW, rb"IIR[OS]|MMOR"),
    ("a camera's raw photo (Minolta MRW)", _RAW, rb"\x00MRM"),
    ("a camera's raw photo (Sigma X3F)", _RAW, rb"FOVb"),
    ("a camera's raw photo (Phase One IIQ)", _RAW, rb"IIIIT[ws]aR|MMMMRaw|II\*\x00....IIII|MM\x00\*....MMMM"),
    ("a HEIF image with another codec than HEVC and AV1", _CONVERT, rb"....ftyp(?:avc[is]|vvi[cs]|ev[bm][iw]|j2k[is]|jpeg|jpgs|unif|mia[fn])"),
    ("a sound file (M4A, Ogg, MP3, WAV, FLAC)", "leave it out", rb"....ftypM4[ABP] |OggS.{24}(?:\x01vorbis|Opus)|ID3[\x02-\x04]|RIFF....WAVE|fLaC"),
    ("a video (MP4, MOV, 3GP)", _FRAMES, rb"....ftyp|....(?:moov|mdat|wide)....[a-z]{4}|....moov"),
    ("a video (AVI)", _FRAMES, rb"RIFF....AVI "),
    ("a video (Matroska, WebM)", _FRAMES, rb"\x1a\x45\xdf\xa3"),
    ("a video (MPEG)", _FRAMES, rb"\x00\x00\x01[\xba\xb3]|G.{187}G.{187}G|.{4}G.{191}G.{191}G"),
    ("a video (WMV, ASF, FLV, Ogg)", _FRAMES, rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11|FLV\x01|OggS"),
    # Nothing marks these; all that their first 18 bytes must be is asked for.
    ("a Targa image (TGA)", _CONVERT, rb".\x00[\x02\x03\x0a\x0b]\x00{5}.{4}(?!\x00\x00)..(?!\x00\x00)..[\x08\x0f\x10\x18\x20][\x00-\x3f]|"
                                      rb".\x01[\x01\x09]...[^\x00]?.[\x0f\x10\x18\x20].{4}(?!\x00\x00)..(?!\x00\x00)..\x08[\x00-\x3f]"),

)  # fmt: skip
_DRAWING = re.compile(rb"\s*<(?:\?xml|!--|!DOCTYPE\s+svg|(?:\w+:)?svg\b)", re.IGNORECASE)
_DRAWN = re.compile(rb"<(?:\w+:)?svg[\s/>]")
_PACKED_TAR = re.compile(rb".{257}ustar", re.DOTALL)


class UnreadKindError(Exception):
    """A file of a format that is read is of a kind that isn't; the words say which."""


@cache
def pillow() -> Any:
    """Import Pillow with what reads ``FORMATS``.

    Returns
    -------
    module
        ``PIL.Image``.
    """
    import PIL.AvifImagePlugin
    import PIL.BmpImagePlugin
    import PIL.GifImagePlugin
    import PIL.Image
    import PIL.JpegImagePlugin
    import PIL.PngImagePlugin
    import PIL.PpmImagePlugin
    import PIL.TiffImagePlugin
    import PIL.WebPImagePlugin

    return PIL.Image


_limit_lock = threading.Lock()
_raised: list[int] = []
_own_limit: int | None = None


@contextmanager
def pillow_limit(pixels: int) -> Iterator[None]:
    """Let Pillow decode images of a number of pixels; the last of several users at a time sets its limit back.

    Parameters
    ----------
    pixels : int
        How many. Pillow's own limit, twice which it refuses, is touched only where this is more.

    Yields
    ------
    None
    """
    global _own_limit  # noqa: PLW0603
    pil = pillow()
    with _limit_lock:
        limit = _own_limit if _raised else pil.MAX_IMAGE_PIXELS
        if raises := limit is not None and pixels > 2 * limit:
            _own_limit = limit
            _raised.append(pixels)
            pil.MAX_IMAGE_PIXELS = max(_raised)
    try:
        yield
    finally:
        if raises:
            with _limit_lock:
                _raised.remove(pixels)
                pil.MAX_IMAGE_PIXELS = max(_raised) if _raised else _own_limit


def format_of(head: bytes) -> str | None:
    """Name the format whose signature a file bears.

    Parameters
    ----------
    head : bytes
        Its first ``HEAD`` bytes, or more.

    Returns
    -------
    str or None
        One of ``FORMATS``; None if it bears none of their signatures. The file may still be damaged.

    Examples
    --------
    >>> format_of(b"GIF89a"), format_of(b"%PDF-1.7")
    ('GIF', None)
    """
    for name, signature in _SIGNATURES.items():
        if signature.match(head):
            return name
    if head[4:8] != b"ftyp":
        return None
    # The main brand, then from the third place on those that the file is compatible with.
    length = min(int.from_bytes(head[:4], "big"), len(head) // 4 * 4)
    brands = {head[8:12], *(head[i : i + 4] for i in range(16, length, 4))}
    return "AVIF" if brands & _AVIF_BRANDS else "HEIC" if brands & _HEIC_BRANDS else None


def unread_format(head: bytes) -> tuple[str, str] | None:
    """Name a format that is known, though files in it aren't read.

    Parameters
    ----------
    head : bytes
        A file's first ``LONG_HEAD`` bytes, where :func:`format_of` names no format.

    Returns
    -------
    tuple of str or None
        What it is, in words, and what can be done with it; None where nothing is known of such a beginning.

    Examples
    --------
    >>> unread_format(b"qoif")[0]
    'a QOI image'
    """
    if head[:2] == b"\x1f\x8b":
        within = _begin_of_gzip(head)
        if _is_drawing(within):
            return "a drawing (SVG, compressed)", _CONVERT
        if _PACKED_TAR.match(within):
            return "an archive (tar, compressed)", _UNPACK
    if _is_drawing(head):
        return "a drawing (SVG)", _CONVERT
    return next(((words, advice) for words, advice, beginning in _UNREAD if re.match(beginning, head, re.DOTALL)), None)


def _begin_of_gzip(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(31).decompress(head, LONG_HEAD)
    except zlib.error:
        return b""


def _is_drawing(head: bytes) -> bool:
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        head = head.decode("utf-16", "replace").encode("utf-8", "replace")
    head = head.removeprefix(b"\xef\xbb\xbf")
    return bool(_DRAWING.match(head) and _DRAWN.search(head))
