"""Pixels and image files -> the body of an answer, or a ``data:`` URL in its JSON."""

from __future__ import annotations

import io
import zlib
from base64 import b64encode

import numpy as np
from fastapi import Request
from fastapi.responses import Response
from numpy.typing import NDArray

from lookalike.imaging.decode import from_thumbnail
from lookalike.imaging.encode import to_png, to_thumbnail
from lookalike.imaging.formats import pillow

#: Of an answer that stays true, as its address names the content.
FOR_GOOD = "max-age=31536000, immutable"


def media_type(file: bytes) -> str:
    """Return the media type of a thumbnail.

    Parameters
    ----------
    file : bytes
        A PNG, a WebP or a JPEG.

    Returns
    -------
    str
    """
    if file.startswith(b"\x89PNG"):
        return "image/png"
    return "image/webp" if file.startswith(b"RIFF") else "image/jpeg"


def longest_side(file: bytes) -> int:
    """Return the longest side of a stored thumbnail, in pixels.

    Parameters
    ----------
    file : bytes
        A PNG, a WebP or a JPEG.

    Returns
    -------
    int
    """
    longest: int = max(pillow().open(io.BytesIO(file)).size)
    return longest


def smaller(file: bytes, side: int) -> tuple[bytes, int]:
    """Return a stored thumbnail with no side over a bound, and the longest side of what is stored.

    Parameters
    ----------
    file : bytes
        A PNG, a WebP or a JPEG.
    side : int
        The bound.

    Returns
    -------
    (bytes, int)
    """
    longest = longest_side(file)
    return (file if longest <= side else to_thumbnail(from_thumbnail(file, side), side)), longest


def data_url(file: bytes) -> str:
    """Return a thumbnail as a ``data:`` URL.

    Parameters
    ----------
    file : bytes
        A PNG, a WebP or a JPEG.

    Returns
    -------
    str
    """
    return f"data:{media_type(file)};base64,{b64encode(file).decode()}"


def png_url(pixels: NDArray[np.uint8]) -> str:
    """Return an image as the ``data:`` URL of a PNG.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (h, w) or (h, w, 3)
        The image.

    Returns
    -------
    str
    """
    return data_url(to_png(pixels))


def picture_response(request: Request, file: bytes, *, for_good: bool = False) -> Response:
    """Return an image file as an answer that a browser caches for five minutes, or 304 where it has it already.

    Parameters
    ----------
    request : Request
        Its ``If-None-Match`` counts.
    file : bytes
        A PNG, a WebP or a JPEG.
    for_good : bool
        Whether the address names the content, so that the answer stays true for ever.

    Returns
    -------
    Response
    """
    tag = f'"{zlib.crc32(file):08x}"'
    headers = {"etag": tag, "cache-control": f"private, {FOR_GOOD if for_good else 'max-age=300'}"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(file, media_type=media_type(file), headers=headers)
