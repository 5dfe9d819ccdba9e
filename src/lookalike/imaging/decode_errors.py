"""An exception of a decoder -> an ImageError with a sentence and an outcome."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from lookalike.errors import ImageError, first_line
from lookalike.imaging.formats import UnreadKindError, name_of, pillow, pillow_limit
from lookalike.imaging.truncation import runs_out, unread_kind

if TYPE_CHECKING:
    from lookalike.imaging.limits import Limits

_CUT = re.compile(
    "truncat|not enough|unexpected end|end of (file|data|stream)|premature|incomplete|buffer is not large"
)
_UNREAD = re.compile(
    "(?i)unsupported|cannot handle|not (yet )?supported|unknown|unrecogni[sz]ed|no codec|not been built"
)


@contextmanager
def image_file(path: Path, limits: Limits) -> Iterator[BinaryIO]:
    """Open a file that is worth reading.

    Parameters
    ----------
    path : Path
        The file.
    limits : Limits
        Its bytes.

    Yields
    ------
    binary file
        Open for reading.

    Raises
    ------
    ImageError
        If it can't be opened or read, is no file, is empty or over the limit.
    """

    def unwaiting(name: str, flags: int) -> int:  # for a pipe without a writer
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    no_file = f"{path}: a folder or a device where an image file was expected"
    try:
        with open(path, "rb", opener=unwaiting) as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise ImageError(no_file, "unsupported")
            _check_bytes(facts.st_size, str(path), limits)
            yield file
    except FileNotFoundError as e:
        why = "a link that leads nowhere" if path.is_symlink() else f"can't be read: {e.strerror}"
        raise ImageError(f"{path}: {why}", "unreadable" if path.is_symlink() else "gone") from e
    except (OSError, ValueError) as e:  # ValueError: a name that no file can have
        if isinstance(e, IsADirectoryError) or getattr(e, "errno", 0) == errno.ENXIO:  # the latter for a socket
            raise ImageError(no_file, "unsupported") from e
        raise ImageError(f"{path}: can't be read: {getattr(e, 'strerror', None) or e}") from e


def _check_bytes(size: int, where: str, limits: Limits) -> None:
    if not size:
        raise ImageError(f"{where}: an empty file (0 bytes), not an image; copy it again", "empty")
    if size > limits.bytes:
        raise too_many_bytes(where, size, limits.bytes)


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
        _check_bytes(len(source), where, limits)
    pil = pillow()
    try:
        with pillow_limit(limits.pixels):
            yield
    except ImageError:
        raise
    except UnreadKindError as e:
        raise ImageError(f"{where}: its kind of {name_of(source)} is not read ({e}); convert it", "unsupported") from e
    except pil.DecompressionBombError as e:
        raise too_many_pixels(where, limits.pixels) from e
    except Exception as e:  # Pillow raises over ten kinds on damaged files (design.md, section 6)
        shown = first_line(e)
        said = f"{type(e).__name__}: {shown}"
        shown = shown if " " in shown else said  # of "KeyError: 269" a person couldn't read the second half alone
        if isinstance(e, MemoryError) or "out of memory" in said:
            raise ImageError(
                f"{where}: needs more memory than there is; allow more with --memory, or scale it down", "out of memory"
            ) from e
        if isinstance(e, EOFError) or _CUT.search(said.lower()) or runs_out(source):
            raise ImageError(
                f"{where}: truncated, the file ends before the picture does; copy it again", "truncated"
            ) from e
        if (kind := unread_kind(source)) or _UNREAD.search(said):
            shown = kind or shown
            raise ImageError(
                f"{where}: its kind of {name_of(source)} is not read ({shown}); convert it", "unsupported"
            ) from e
        raise ImageError(f"{where}: damaged ({shown}); copy it again", "damaged") from e
