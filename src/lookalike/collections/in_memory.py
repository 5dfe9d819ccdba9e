"""What a program or a page hands over as an image -> pixels, or the bytes of a file: arrays, Pillow images, files, base64."""

from __future__ import annotations

import base64
import binascii
import sys
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from lookalike.collections.arrays import as_images
from lookalike.errors import CollectionError, ImageError, UsageError, first_line
from lookalike.imaging.color import orientation_of, set_upright, to_plain
from lookalike.imaging.limits import Limits

#: What standard input is called on a command line.
STANDARD_INPUT = "-"
_LIMITS = Limits()


def pixels_of(value: object, where: str, limits: Limits = _LIMITS) -> NDArray[np.uint8] | None:
    """Return the pixels of what has them: an array of any library, or a Pillow image.

    Parameters
    ----------
    value : object
        Anything. A Pillow image is set upright, brought to sRGB and laid on white as a file is.
    where : str
        Its name in errors.
    limits : Limits
        Its pixels.

    Returns
    -------
    ndarray of uint8, shape (n, h, w) or (n, h, w, 3), or None
        None where it is no array and no Pillow image.

    Raises
    ------
    CollectionError
        If it can't be read, holds no image, or may be read in two ways.
    """
    pil = sys.modules.get("PIL.Image")  # who has such an image has imported it
    if pil is not None and isinstance(value, pil.Image):
        if value.width * value.height > limits.pixels:
            raise ImageError(f"{where}: more than {limits.pixels:,} pixels, the limit; scale it down first", "bomb")
        try:
            value.load()
            if not value.width * value.height:
                raise CollectionError(
                    f"{where}: a Pillow image of {value.width} x {value.height} pixels, which shows nothing"
                )
            return np.asarray(set_upright(to_plain(value, where), orientation_of(value)))[None]
        except CollectionError:
            raise
        except Exception as e:  # as many kinds as Pillow has formats
            raise ImageError(f"{where}: a Pillow image that can't be read ({first_line(e)}); open it again") from e
    if isinstance(value, np.ndarray):
        return as_images(value, where)
    if hasattr(value, "__array__"):
        try:
            array = np.asarray(value)
        except Exception as e:  # of any library: on a graphics card, with gradients, not loaded yet
            raise CollectionError(f"{where}: gives no array ({first_line(e)}); give a NumPy array of it") from e
        return as_images(array, where)
    return None


def content_of(value: object, limits: Limits = _LIMITS) -> bytes | None:
    """Return the content of a file that is in memory or open.

    Parameters
    ----------
    value : object
        Anything.
    limits : Limits
        Its bytes.

    Returns
    -------
    bytes or None
        None where it is neither bytes of any kind nor an open file.

    Raises
    ------
    CollectionError
        If the file can't be read, is open as text, or is over the limit.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            content: Any = bytes(value)
        except ValueError as e:  # a view that was released
            raise CollectionError(f"bytes that can't be read ({first_line(e)}); give them as bytes") from e
    elif callable(getattr(value, "read", None)):
        try:
            content = value.read(limits.bytes + 1)  # type: ignore[attr-defined]
        except Exception as e:  # closed, open for writing, cut short, of any library
            raise CollectionError(f"an open file can't be read ({first_line(e)}); open it again with mode 'rb'") from e
    else:
        return None
    if not isinstance(content, bytes | bytearray):
        raise CollectionError("a file that is open as text holds no image; open it with mode 'rb'")
    if len(content) > limits.bytes:
        raise ImageError(f"a file of over {limits.bytes:,} bytes, the limit; save it smaller", "bomb")
    return bytes(content)


def from_base64(text: str) -> bytes:
    r"""Read base64 as people and programs write it: in lines, with the signs that addresses use, as a ``data:`` address.

    Parameters
    ----------
    text : str
        Base64 (RFC 4648), padded or not; or ``data:image/png;base64,...``.

    Returns
    -------
    bytes
        What it says.

    Raises
    ------
    UsageError
        If it is something else.

    Examples
    --------
    >>> from_base64("data:image/png;base64,iVBO\r\nRw0K"), from_base64("_-8")
    (b'\x89PNG\r\n', b'\xff\xef')
    """
    plain = text.strip()
    if plain[:5].lower() == "data:":
        head, _, plain = plain.partition(",")
        plain = unquote(plain) if head.lower().replace(" ", "").endswith(";base64") else "?"
    plain = "".join(plain.split()).translate({ord("-"): "+", ord("_"): "/"}).rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (ValueError, binascii.Error) as e:
        begins = f'"{text[:57]}..."' if len(text) > 60 else f'"{text}"'
        raise UsageError(f"data must be a file's bytes in base64; got {begins}") from e


def read_standard_input(limit: int = _LIMITS.bytes) -> bytes:
    """Read standard input to its end, or to a limit.

    Parameters
    ----------
    limit : int
        Most bytes.

    Returns
    -------
    bytes
        What was there.

    Raises
    ------
    UsageError
        If there is no standard input, it is a terminal, or there is more.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("- is standard input, and nothing is handed over there; write: lookalike search - < photo.jpg")
    data = sys.stdin.buffer.read(limit + 1)
    if len(data) > limit:
        raise UsageError(f"standard input gives over {limit:,} bytes, the limit; save it in a file")
    return data


__all__ = ["STANDARD_INPUT", "content_of", "from_base64", "pixels_of", "read_standard_input"]
