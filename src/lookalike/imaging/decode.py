"""Bytes of an image file -> upright RGB or grey arrays, or an :class:`ImageError`. No other module decodes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import ImageError, missing_extra
from lookalike.imaging.color import is_grey, orientation_of, set_upright, to_plain
from lookalike.imaging.decode_errors import reported, too_many_pixels
from lookalike.imaging.encode import THUMBNAIL_SIDE, encode_thumbnail
from lookalike.imaging.formats import (
    FORMATS,
    HEAD,
    LONG_HEAD,
    NO_IMAGE,
    UnreadKindError,
    format_of,
    pillow,
    unread_format,
)
from lookalike.imaging.limits import Limits
from lookalike.imaging.png import note_transparency, note_what_is_seen, refuse_unread_kinds
from lookalike.imaging.resize import fit_picture
from lookalike.imaging.strip import bare
from lookalike.imaging.tiff_tags import with_picture_alone
from lookalike.imaging.truncation import check_jpeg_end, lacks_end, runs_out

if TYPE_CHECKING:
    from PIL.Image import Image

_MANY = ("AVIF", "GIF", "PNG", "TIFF", "WEBP")  # may hold several frames or pages
_GAP = 3  # a JPEG is decoded at least so many times as large as what is asked for; see `pictures`
_THUMBNAIL_GAP = 1.5  # the same where nothing is computed from it

_T = TypeVar("_T")


_LIMITS = Limits()


class Picture(NamedTuple):
    """One decoded frame: what an index keeps of it.

    Attributes
    ----------
    width, height : int
        Of the upright picture, in the file's full size.
    fitted : list of ndarray of uint8
        One for each shape that was asked for, as :func:`~lookalike.imaging.resize.fit_to` would give.
    thumbnail : bytes
        A PNG file where the picture is grey or small, else a JPEG file; empty if none was asked for.
    """

    width: int
    height: int
    fitted: list[NDArray[np.uint8]]
    thumbnail: bytes


def decode(data: bytes | memoryview, where: str, limits: Limits = _LIMITS) -> NDArray[np.uint8]:
    """Decode the bytes of one image file, upright by its EXIF orientation.

    Parameters
    ----------
    data : bytes or memoryview
        A whole file in one of ``FORMATS``, recognised by its content, not its name.
    where : str
        Its name in errors.
    limits : Limits
        Its pixels and bytes.

    Returns
    -------
    ndarray of uint8, shape (h, w) or (h, w, 3)
        The first frame in full size: grey where the file is grey, else sRGB; transparent parts on white; 16 bits brought
        to 8.

    Raises
    ------
    ImageError
        If it is no image, cut short, damaged, or over a limit.
    """
    data = bytes(data)
    with reported(where, limits, data):
        image, _ = _spared(io.BytesIO(data), lambda file: _loaded(file, where, limits))
        return np.asarray(set_upright(to_plain(image, where), orientation_of(image)))


def header_shape(source: bytes | memoryview | BinaryIO, where: str, limits: Limits = _LIMITS) -> tuple[int, ...]:
    """Tell from its header the shape that :func:`decode` would return.

    Parameters
    ----------
    source : bytes, memoryview or seekable binary file
        The file, or at least its beginning where the format begins with its header.
    where : str
        Its name in errors.
    limits : Limits
        Its pixels and bytes.

    Returns
    -------
    tuple of int
        ``(height, width)`` or ``(height, width, 3)``.

    Raises
    ------
    ImageError
        If the header can't be read.
    """
    file = io.BytesIO(source) if isinstance(source, (bytes, memoryview)) else source
    with reported(where, limits, file):
        image = _spared(file, lambda file: _opened(file, where, limits))
        size = image.size if orientation_of(image) >= 5 else image.size[::-1]
        return size if is_grey(image) else (*size, 3)


def pictures(
    data: bytes | memoryview,
    where: str,
    shapes: Sequence[tuple[int, ...]],
    *,
    limits: Limits = _LIMITS,
    each: bool = False,
    thumbnail: int | None = THUMBNAIL_SIDE,
) -> Iterator[Picture]:
    """Decode one image file to all the sizes that are wanted of it.

    Parameters
    ----------
    data : bytes or memoryview
        The whole file.
    where : str
        Its name in errors.
    shapes : sequence of tuple of int
        ``(height, width)`` for grey, ``(height, width, 3)`` for colour.
    limits : Limits
        Its pixels, bytes and frames.
    each : bool
        Whether to read every frame of an animation (GIF, APNG, WebP, AVIF), composed as it is shown, and every page of
        a TIFF, instead of the first.
    thumbnail : int, optional
        No side of the thumbnail is longer; it is never larger than the picture. None makes none.

    Yields
    ------
    Picture
        The first frame, or each in turn.

    Raises
    ------
    ImageError
        If it is no image, cut short, damaged, or over a limit; with ``each``, the frames before have been yielded.

    Notes
    -----
    A JPEG that is at least six times as large as every shape wanted, and three times as the thumbnail, is decoded at a
    half, a quarter or an eighth of its size, never below three times the shape: there the fitted arrays differ from
    those of the whole picture by less than one level of 255 on average and 16 at most, and their cosine distance is
    below 1e-4 (measured on real photos and noisy ones of 12 megapixels: 0.5, 8 and 3e-5). In every other case they are
    equal to ``fit_to(decode(data), shape)``. An eighth takes a third of the time.

    Examples
    --------
    >>> from lookalike.imaging.encode import to_png
    >>> [picture] = pictures(to_png(np.zeros((30, 20), np.uint8)), "black.png", [(8, 8), (4, 4, 3)])
    >>> picture.width, picture.height, [array.shape for array in picture.fitted]
    (20, 30, [(8, 8), (4, 4, 3)])
    """
    data = bytes(data)
    with reported(where, limits, data):
        image, full = _spared(io.BytesIO(data), lambda file: _loaded(file, where, limits, shapes, thumbnail))
        yield _picture(image, full, where, shapes, thumbnail)
        if each and image.format in _MANY:
            for frame in _further_frames(image, data, where, limits):
                yield _picture(frame, frame.size, where, shapes, thumbnail)


def from_thumbnail(data: bytes, longest: int | None = None) -> NDArray[np.uint8]:
    """Decode what :func:`pictures`, or :mod:`lookalike.imaging.resize`, wrote.

    Parameters
    ----------
    data : bytes
        A PNG, WebP or JPEG file.
    longest : int, optional
        Scale down so that no side is longer than this.

    Returns
    -------
    ndarray of uint8, shape (h, w) or (h, w, 3)
        The image.
    """
    picture = pillow().open(io.BytesIO(data), formats=["JPEG", "PNG", "WEBP"])
    if longest is not None and max(picture.size) > longest:
        picture.thumbnail((longest, longest))
    return np.asarray(picture)


# Opening and loading --------------------------------------------------------------------------------------------------


@cache
def _has_heic() -> bool:
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener(thumbnails=False)
    return True


def _opened(file: BinaryIO, where: str, limits: Limits) -> Image:
    """Open an image whose header is sound and within the limits; its pixels are still to be loaded."""
    from PIL.JpegImagePlugin import JpegImageFile

    pil = pillow()
    file.seek(0)
    head = file.read(HEAD)
    name = format_of(head)
    if name is None:
        known = unread_format(head + file.read(LONG_HEAD - len(head)))
        what = (
            f"{known[0]}, which is not read; {known[1]}"
            if known
            else f"{NO_IMAGE} ({', '.join(FORMATS)}), or its first bytes are damaged; convert it, or copy it again"
        )
        raise ImageError(f"{where}: {what}", "unsupported")
    if name == "HEIC" and not _has_heic():
        raise ImageError(str(missing_extra(f"{where}: reading HEIC", "heic")), "unsupported")
    file.seek(0)
    # What `PIL.Image.open` does too, but it swallows the reason of a failure, and looks for further pictures in a JPEG.
    if name == "PNG" and len(head) == HEAD:
        refuse_unread_kinds(head)
    if name == "TIFF":
        image = _opened_tiff(file, where, head)
    elif name == "GIF":
        from lookalike.imaging.gif import Gif

        image = Gif(file, "")
    else:
        factory = JpegImageFile if name == "JPEG" else pil.OPEN["HEIF" if name == "HEIC" else name][0]
        image = factory(file, "")
    if name == "PNG":
        note_transparency(image, head)
    _check_pixels(image, where, limits)
    return image


def _opened_tiff(file: BinaryIO, where: str, head: bytes) -> Image:
    from lookalike.imaging.tiff import Tiff

    if head[:4] == b"MM\0+":  # BigTIFF in the order of bytes that Pillow doesn't know
        file.seek(0)
        file = io.BytesIO(with_picture_alone(file.read()))
    return Tiff(file, where)


def _check_pixels(image: Image, where: str, limits: Limits) -> None:
    if image.width * image.height > limits.pixels:
        raise too_many_pixels(where, limits.pixels, image.size)


def _loaded(
    file: io.BytesIO,
    where: str,
    limits: Limits,
    shapes: Sequence[tuple[int, ...]] = (),
    thumbnail: int | None = None,
) -> tuple[Image, tuple[int, int]]:
    """Load the first frame, a JPEG's scaled where less is enough; return it, and its size in the file."""
    image = _opened(file, where, limits)
    scan = file.tell()
    full = image.size
    wanted = _enough(full, orientation_of(image), shapes, thumbnail) if shapes or thumbnail else full
    scaled = image.draft(None, wanted) if image.format == "JPEG" else None
    try:
        image.load()
    except Exception:
        if scaled is None or image.size == full:
            raise
        return _loaded(file, where, limits)  # a kind of JPEG that can't be scaled, if it isn't damaged
    if scaled is None and image.size != full:
        raise ValueError("another size than its header says")
    if image.format == "JPEG":
        check_jpeg_end(image, file.getvalue(), scan)
    elif lacks_end(file.getvalue(), image.format):
        raise EOFError
    if image.format == "PNG":
        note_what_is_seen(image, file.getvalue())
    return image, full


def _spared(file: BinaryIO, work: Callable[[Any], _T]) -> _T:
    """Do some work on a file, and on its picture alone where what it says beside that may be what stops Pillow."""
    try:
        return work(file)
    except (ImageError, UnreadKindError):
        raise
    except Exception:
        file.seek(0)
        data = file.read()
        if not runs_out(data):
            with suppress(Exception):  # of bare itself: the file's parts can't be separated
                for alone in bare(data):
                    with suppress(Exception):
                        return work(io.BytesIO(alone))
        raise


def _enough(
    size: tuple[int, int], orientation: int, shapes: Sequence[tuple[int, ...]], thumbnail: int | None
) -> tuple[int, int]:
    """Return the width and height, as stored, that all that is wanted can be made of.

    For an array that is the same whether a thumbnail is wanted beside it or not: a query is compared with what was indexed.
    """
    longest = max(thumbnail or 0, THUMBNAIL_SIDE if shapes else 0)
    height, width = (_GAP * max((shape[side] for shape in shapes), default=0) for side in (0, 1))
    if orientation >= 5:
        height, width = width, height
    share = _THUMBNAIL_GAP * longest / max(size)
    return max(width, round(share * size[0]), 1), max(height, round(share * size[1]), 1)


def _further_frames(image: Image, data: bytes, where: str, limits: Limits) -> Iterator[Image]:
    """Yield an animation, or the pages of a file, from the second on."""
    # A GIF and a TIFF would be walked to their end to count.
    known: int | None = None if image.format in ("GIF", "TIFF") else image.n_frames  # type: ignore[attr-defined]
    frame = 1
    while known is None or frame < known:
        if known is None or known <= limits.frames:
            try:
                image.seek(frame)
            except EOFError:
                end = image.fp.tell() if image.format == "GIF" else 0  # type: ignore[attr-defined]
                if known or (end and data[end - 1 : end] != b";"):
                    raise
                return
        if max(frame + 1, known or 0) > limits.frames:
            held = f"{known:,} frames, " if known else ""
            raise ImageError(
                f"{where}: {held}more than {limits.frames:,} frames, the limit; allow more with --max-frames, "
                "or read the first alone",
                "bomb",
            )
        _check_pixels(image, where, limits)
        image.load()
        image.info.pop("seen", None)  # of the first
        yield image
        frame += 1


def _picture(
    image: Image, full: tuple[int, int], where: str, shapes: Sequence[tuple[int, ...]], thumbnail: int | None
) -> Picture:
    orientation = orientation_of(image)
    picture = set_upright(to_plain(image, where), orientation)
    width, height = full if orientation < 5 else full[::-1]
    box = None
    if image.size != full:  # scaled while it was decoded, by a divisor that leaves a part of a pixel at the far edges
        scale = image.decoderconfig[0]  # type: ignore[attr-defined]
        left = picture.width - width / scale if orientation in (2, 3, 6, 7) else 0
        top = picture.height - height / scale if orientation in (3, 4, 7, 8) else 0
        box = (left, top, left + width / scale, top + height / scale)
    return Picture(
        width,
        height,
        [fit_picture(picture, shape, box) for shape in shapes],
        b"" if not thumbnail else encode_thumbnail(picture, (width, height), thumbnail, box),
    )
