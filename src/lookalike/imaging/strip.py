"""An image file -> the same picture alone, without what stands beside it and may be what a decoder stops at."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from lookalike.imaging.formats import HEAD, PNG_SIGNATURE, format_of
from lookalike.imaging.png import png_chunks
from lookalike.imaging.tiff_tags import with_picture_alone
from lookalike.imaging.truncation import SCAN, gif_blocks, gif_start, jpeg_segments, webp_chunks

_OF_A_PNG = (b"IHDR", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"IDAT", b"IEND", b"eXIf")
# Of a JPEG: tables, frame, scans; what a segment of Adobe's says of the colours is a part of the picture.
_COMMENT, _APPLICATION = 0xFE, range(0xE0, 0xF0)


def bare(data: bytes) -> Iterator[bytes]:
    """Return a file's picture without what stands beside it: first with what turns and colours it, then without.

    Parameters
    ----------
    data : bytes
        An image file, in one of ``FORMATS``.

    Yields
    ------
    bytes
        The same picture as a file that says less; nothing where its format offers no way.

    Raises
    ------
    Exception
        Of any kind, where the file's parts can't be separated.
    """
    name = format_of(data[:HEAD])
    if name == "PNG":
        chunks = list(png_chunks(data))
        for kept in (_OF_A_PNG, _OF_A_PNG[:-1]):
            yield PNG_SIGNATURE + b"".join(data[start:end] for kind, start, end in chunks if kind in kept)
    elif name in ("AVIF", "HEIC"):  # by the kinds of items: what isn't known is skipped
        yield data.replace(b"Exif", b"none")
        yield data.replace(b"Exif", b"none").replace(b"colrprof", b"noneprof").replace(b"mime", b"none")
    elif name == "JPEG":
        yield _jpeg(data, profile=True)
        yield _jpeg(data, profile=False)
    elif name == "WEBP":
        yield _webp(data)
    elif name == "GIF":
        yield _gif(data)
    elif name == "TIFF":
        yield with_picture_alone(data)


def _jpeg(data: bytes, *, profile: bool) -> bytes:
    """Return a JPEG without comments and segments of applications but Adobe's, EXIF and the profile."""
    return data[:2] + b"".join(
        data[start:end]
        for kind, start, end in jpeg_segments(data)
        if kind == SCAN or _is_of_the_picture(kind, data[start + 4 : end], profile)
    )


def _is_of_the_picture(kind: int, body: bytes, profile: bool) -> bool:
    if kind == 0xEE:
        return body.startswith(b"Adobe") and len(body) >= 12
    if kind == 0xE1:
        return profile and body.startswith(b"Exif\0\0")
    if kind == 0xE2:
        return profile and body.startswith(b"ICC_PROFILE\0") and len(body) > 14
    return kind != _COMMENT and kind not in _APPLICATION


def _gif(data: bytes) -> bytes:
    """Return a GIF without comments and extensions, but for what says of a frame how it is shown."""
    kept = [
        data[start:end]
        for kind, start, end in gif_blocks(data)
        if kind in (b",", b";") or (kind == b"!\xf9" and data[start + 2] == 4)
    ]
    return data[: gif_start(data)] + b"".join(kept)


def _webp(data: bytes) -> bytes:
    """Return a WebP without profile, EXIF and XMP, and without the flags that announce them."""
    out = b""
    for kind, start, end in webp_chunks(data):
        chunk = data[start : end + (end - start) % 2]
        if kind == b"VP8X":
            chunk = chunk[:8] + bytes([chunk[8] & 0b00010010]) + chunk[9:]
        if kind in (b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"):
            out += chunk
    return b"RIFF" + struct.pack("<I", 4 + len(out)) + b"WEBP" + out
