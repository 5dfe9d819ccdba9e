"""Pixels and image files -> the body of an answer, or a ``data:`` URL in its JSON."""

from __future__ import annotations

import zlib
from base64 import b64encode

import numpy as np
from fastapi import Request
from fastapi.responses import Response
from numpy.typing import NDArray

from lookalike.imaging.encode import to_png


def media_type(file: bytes) -> str:
    """Return the media type of a thumbnail.

    Parameters
    ----------
    file : bytes
        A PNG or a JPEG.

    Returns
    -------
    str
    """
    return "image/png" if file.startswith(b"\x89PNG") else "image/jpeg"


def data_url(file: bytes) -> str:
    """Return a thumbnail as a ``data:`` URL.

    Parameters
    ----------
    file : bytes
        A PNG or a JPEG.

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


def picture_response(request: Request, file: bytes) -> Response:
    """Return an image file as an answer that a browser caches for five minutes, or 304 where it has it already.

    Parameters
    ----------
    request : Request
        Its ``If-None-Match`` counts.
    file : bytes
        A PNG or a JPEG.

    Returns
    -------
    Response
    """
    tag = f'"{zlib.crc32(file):08x}"'
    headers = {"etag": tag, "cache-control": "private, max-age=300"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(file, media_type=media_type(file), headers=headers)
