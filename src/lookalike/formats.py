"""Which formats are read, and what a file's bytes tell without decoding: its format, and whether it lacks its end."""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, BinaryIO, Literal

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
HEAD = 32
#: What a PNG file begins with.
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: What a JPEG file ends with.
JPEG_END = b"\xff\xd9"

_SIGNATURES = {
    # "BM" alone opens many a text: the size of the header that follows is asked for too.
    "BMP": re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL),
    "GIF": re.compile(rb"GIF8[79]a"),
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(re.escape(PNG_SIGNATURE)),
    "PPM": re.compile(rb"P[1-6f]\s+[\d#]"),
    "TIFF": re.compile(rb"II[*+]\0|MM\0[*+]|II\0[*]|MM[*]\0"),
    "WEBP": re.compile(rb"RIFF....WEBP", re.DOTALL),
}
_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"))


@cache
def pillow() -> Any:
    """Import Pillow with what reads ``FORMATS``, and silence it.

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

    # Pillow warns of much that spoils nothing. Set once: to set and restore it around each image is not thread-safe.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    return PIL.Image


def looks_like_image(head: bytes) -> bool:
    """Tell by a file's beginning whether it is in one of ``FORMATS``.

    Parameters
    ----------
    head : bytes
        Its first 32 bytes, or more.

    Returns
    -------
    bool
        Whether it bears a format's signature; it may still be damaged.

    Examples
    --------
    >>> looks_like_image(b"GIF89a"), looks_like_image(b"%PDF-1.7")
    (True, False)
    """
    return format_of(head[:HEAD]) is not None


def format_of(head: bytes) -> str | None:
    """Name the format whose signature a file bears.

    Parameters
    ----------
    head : bytes
        Its first ``HEAD`` bytes.

    Returns
    -------
    str or None
        One of ``FORMATS``; None if it bears none of their signatures.
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


def name_of(source: bytes | BinaryIO) -> str | None:
    """Name a file's format.

    Parameters
    ----------
    source : bytes or seekable binary file
        The file.

    Returns
    -------
    str or None
        As :func:`format_of` gives it.
    """
    if isinstance(source, bytes):
        return format_of(source[:HEAD])
    source.seek(0)
    return format_of(source.read(HEAD))


# Files that lack their end --------------------------------------------------------------------------------------------


def runs_out(source: bytes | BinaryIO) -> bool:
    """Tell whether a file that could not be read lacks its end, by what its format says of its length.

    Parameters
    ----------
    source : bytes or seekable binary file
        The file.

    Returns
    -------
    bool
        False also where its format says nothing of it.
    """
    name = name_of(source)
    if not isinstance(source, bytes):
        source.seek(0)
        source = source.read()
    try:
        return name in _ENDS and _ENDS[name](source)
    except Exception:  # numbers in it lead out of it
        return True


def _jpeg_runs_out(data: bytes) -> bool:
    place = 2
    while data[place + 1] != 0xDA:  # the start of the scan; every segment before it tells its length
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big") if data[place] == 0xFF else 1
    return data.find(JPEG_END, place) < 0


def _png_runs_out(data: bytes) -> bool:
    *_, (kind, _, end) = _png_chunks(data)
    return kind != b"IEND" or end > len(data)


def _boxes_run_out(data: bytes) -> bool:
    place = 0
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        if length == 1:
            length = int.from_bytes(data[place + 8 : place + 16], "big")
        if length == 0:  # up to the end
            return False
        place += max(length, 8)
    return place > len(data)


def _tiff_runs_out(data: bytes) -> bool:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    file = io.BytesIO(data)
    large = 43 in data[2:4]
    directory = ImageFileDirectory_v2(file.read(16 if large else 8))
    order: Literal["little", "big"] = "little" if data[:1] == b"I" else "big"
    count, entry = (8, 20) if large else (2, 12)
    seen: set[int] = set()
    while directory.next and directory.next not in seen:
        place = directory.next
        seen.add(place)
        if place + count + entry * int.from_bytes(data[place : place + count], order) + count > len(data):
            return True
        file.seek(place)
        directory.load(file)
        starts: Any = directory.get(273) or directory.get(324)  # of strips, or of tiles
        lengths: Any = directory.get(279) or directory.get(325)
        if any(start + length > len(data) for start, length in zip(starts, lengths, strict=True)):
            return True
    return False


# For a PPM Pillow says so itself.
_ENDS: dict[str | None, Callable[[bytes], bool]] = {
    "AVIF": _boxes_run_out,
    "BMP": lambda data: int.from_bytes(data[2:6], "little") > len(data),
    "GIF": lambda data: not data.rstrip(b"\0").endswith(b";"),
    "HEIC": _boxes_run_out,
    "JPEG": _jpeg_runs_out,
    "PNG": _png_runs_out,
    "TIFF": _tiff_runs_out,
    "WEBP": lambda data: int.from_bytes(data[4:8], "little") + 8 > len(data),
}


# Chunks of a PNG ------------------------------------------------------------------------------------------------------


def png_lacks_end(data: bytes) -> bool:
    """Tell whether a PNG that was decoded all the same has been cut short.

    Parameters
    ----------
    data : bytes
        The file.

    Returns
    -------
    bool
        Whether its last chunk is missing, or incomplete.
    """
    return data[-8:-4] != b"IEND" and _png_runs_out(data)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's kind, its beginning, and its end, which is beyond the data where they are cut."""
    place, kind = len(PNG_SIGNATURE), b""
    while place + 8 <= len(data) and kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, place)
        yield kind, place, place + 12 + length
        place += 12 + length


def without_comments(data: bytes) -> bytes:
    """Return a PNG with the chunks that make its picture alone.

    What else it says may be huge, or wrong, and Pillow stops at that.

    Parameters
    ----------
    data : bytes
        The file.

    Returns
    -------
    bytes
        The same picture as a file that says nothing else.
    """
    kept = (b"IHDR", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"IDAT", b"IEND", b"eXIf")
    return PNG_SIGNATURE + b"".join(data[start:end] for kind, start, end in _png_chunks(data) if kind in kept)
