"""An exception of a decoder -> an ImageError with a sentence and an outcome."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from lookalike.errors import ImageError, first_line
from lookalike.imaging.formats import HEAD, UnreadKindError, format_of, pillow, pillow_limit
from lookalike.imaging.truncation import runs_out, unread_kind

if TYPE_CHECKING:
    from lookalike.imaging.limits import Limits

_CUT = re.compile(
    "truncat|not enough|unexpected end|end of (file|data|stream)|premature|incomplete|buffer is not large"
)
_UNREAD = re.compile(
    "(?i)unsupported|cannot handle|not (yet )?supported|unknown|unrecogni[sz]ed|no codec|not been built"
)


def too_many_bytes(where: str, size: int, limit: int) -> ImageError:
    """Say that a file is over the limit.

    Parameters
    ----------
    where : str
        Its name.
    size, limit : int
        Its bytes, and those that are allowed.

    Returns
    -------
    ImageError
        With the option that allows more.
    """
    return ImageError(
        f"{where}: {size:,} bytes, more than {limit:,} bytes, the limit; allow more with --max-bytes, or scale it down",
        "bomb",
    )


def too_many_pixels(where: str, limit: int, size: tuple[int, int] | None = None) -> ImageError:
    """Say that an image is over the limit.

    Parameters
    ----------
    where : str
        Its name.
    limit : int
        Pixels that are allowed.
    size : (int, int), optional
        Its width and height, where they are known.

    Returns
    -------
    ImageError
        With the option that allows more.
    """
    size_text = f"{size[0]:,} x {size[1]:,} = {size[0] * size[1]:,} pixels, " if size else ""
    return ImageError(
        f"{where}: {size_text}more than {limit:,} pixels, the limit; allow more with --max-pixels, or scale it down",
        "bomb",
    )


@contextmanager
def reported(where: str, limits: Limits, source: bytes | BinaryIO) -> Iterator[None]:
    """Turn whatever goes wrong with an image in the block into an ImageError.

    Parameters
    ----------
    where : str
        The image's name in errors.
    limits : Limits
        Its pixels and bytes.
    source : bytes or seekable binary file
        The file, looked at again where Pillow doesn't say whether it is cut short.

    Raises
    ------
    ImageError
        If anything goes wrong; before the block if the file is empty or over the limit.
    """
    if isinstance(source, bytes):
        if not source:
            raise ImageError(f"{where}: an empty file (0 bytes), not an image; copy it again", "empty")
        if len(source) > limits.bytes:
            raise too_many_bytes(where, len(source), limits.bytes)
    pil = pillow()
    try:
        with pillow_limit(limits.pixels):
            yield
    except ImageError:
        raise
    except pil.DecompressionBombError as e:
        raise too_many_pixels(where, limits.pixels) from e
    except Exception as e:  # Pillow raises over ten kinds on damaged files (design.md, section 6)
        if not isinstance(source, bytes):
            source.seek(0)
            source = source.read()
        shown = first_line(e)
        message = f"{type(e).__name__}: {shown}"
        shown = shown if " " in shown else message  # of "KeyError: 269" a person couldn't read the second half alone
        kind = str(e) if isinstance(e, UnreadKindError) else None
        if isinstance(e, MemoryError) or "out of memory" in message:
            raise ImageError(
                f"{where}: needs more memory than there is; allow more with --memory, or scale it down", "out of memory"
            ) from e
        if not kind and (isinstance(e, EOFError) or _CUT.search(message.lower()) or runs_out(source)):
            raise ImageError(
                f"{where}: truncated, the file ends before the picture does; copy it again", "truncated"
            ) from e
        if (kind := kind or unread_kind(source)) or _UNREAD.search(message):
            name = format_of(source[:HEAD])
            raise ImageError(
                f"{where}: its kind of {name} is not read ({kind or shown}); convert it", "unsupported"
            ) from e
        raise ImageError(f"{where}: damaged ({shown}); copy it again", "damaged") from e
