"""Files -> upright RGB or grey arrays, or a reason why not. The only file that decodes."""

from __future__ import annotations

import errno
import io
import os
import re
import stat
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import ImageError, UsageError, first_line, missing_extra, unknown_name
from lookalike.storage import replace_file

if TYPE_CHECKING:
    from PIL.Image import Image

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
#: No side of a stored thumbnail is longer.
THUMBNAIL_SIDE = 128

_WRITES = {
    ".bmp": "BMP",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
_HEAD = 32  # bytes that tell a format
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_END = b"\xff\xd9"
_SIGNATURES = {
    # "BM" alone opens many a text: the size of the header that follows is asked for too.
    "BMP": re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL),
    "GIF": re.compile(rb"GIF8[79]a"),
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(re.escape(_PNG_SIGNATURE)),
    "PPM": re.compile(rb"P[1-6f]\s+[\d#]"),
    "TIFF": re.compile(rb"II[*+]\0|MM\0[*+]|II\0[*]|MM[*]\0"),
    "WEBP": re.compile(rb"RIFF....WEBP", re.DOTALL),
}
_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"))
_MANY = ("AVIF", "GIF", "PNG", "TIFF", "WEBP")  # may hold several frames or pages

_ORIENTATION = 0x0112  # EXIF's tag
_ORIENTED = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")  # where Pillow looks for it
_GREY = ("1", "L", "LA", "La")
_FLOAT_SLACK = 1e-6  # how far rounding may take a float out of 0..1
_GAP = 3  # a JPEG is decoded at least so many times as large as what is asked for; see `pictures`
_THUMBNAIL_GAP = 2  # the same where nothing is computed from it
_PNG_THUMBNAIL = 64  # up to this side a thumbnail is kept without loss: blocks of 8 pixels would show
_SAME_COLOUR = 3  # levels by which a profile may differ from sRGB and be taken for it
_CUT = re.compile(
    "truncat|not enough|unexpected end|end of (file|data|stream)|premature|incomplete|buffer is not large"
)
_UNREAD = re.compile("(?i)unsupported|cannot handle|not (yet )?supported|unknown|unrecogni[sz]ed|no codec")

_T = TypeVar("_T")


@dataclass(frozen=True)
class Limits:
    """What one image may cost.

    Attributes
    ----------
    pixels : int
        Of one frame; more are refused before they are decoded: a bomb, or an image that needs a tool made for its size.
    bytes : int
        Of a file.
    frames : int
        Read from one file where each is wanted.
    seconds : float
        Of wall clock, for one file with all its frames. Held by :mod:`lookalike.leash`, not here.
    memory : int
        Bytes that decoding one file may take, over what the process needs idle. Held by :mod:`lookalike.leash`.
    """

    pixels: int = 100_000_000
    bytes: int = 256 * 2**20
    frames: int = 1_000
    seconds: float = 20.0
    memory: int = 2**30


_LIMITS = Limits()


class Picture(NamedTuple):
    """One decoded frame: what an index keeps of it.

    Attributes
    ----------
    width, height : int
        Of the upright picture, in the file's full size.
    fitted : list of ndarray of uint8
        One for each shape that was asked for, as :func:`fit_to` would give.
    thumbnail : bytes
        A PNG file where the picture is grey or small, else a JPEG file; empty if none was asked for.
    """

    width: int
    height: int
    fitted: list[NDArray[np.uint8]]
    thumbnail: bytes


# Reading --------------------------------------------------------------------------------------------------------------


def read_image(path: str | Path, limits: Limits = _LIMITS) -> NDArray[np.uint8]:
    """Read one image file, upright by its EXIF orientation.

    Parameters
    ----------
    path : str or Path
        An image file in one of ``FORMATS``, told by its content, not its name; of an animation, the first frame.
    limits : Limits
        Its pixels and bytes.

    Returns
    -------
    ndarray of uint8, shape (h, w) or (h, w, 3)
        Grey where the file is grey, else sRGB; transparent parts on white; 16 bits brought to 8.

    Raises
    ------
    ImageError
        If the file is missing, no image, cut short, damaged, or over a limit.
    """
    with _file(Path(path), limits) as file:
        data = file.read(limits.bytes + 1)
    return decode(data, str(path), limits)


def decode(data: bytes | memoryview, where: str, limits: Limits = _LIMITS) -> NDArray[np.uint8]:
    """Decode the bytes of one image file, as :func:`read_image` does.

    Parameters
    ----------
    data : bytes or memoryview
        The whole file.
    where : str
        Its name in errors.
    limits : Limits
        Its pixels and bytes.

    Returns
    -------
    ndarray of uint8, shape (h, w) or (h, w, 3)
        The first frame, upright, in full size.

    Raises
    ------
    ImageError
        If it is no image, cut short, damaged, or over a limit.
    """
    data = bytes(data)
    with _reported(where, limits, data):
        image, _ = _spared(io.BytesIO(data), lambda file: _loaded(file, where, limits))
        return np.asarray(_upright(_plain(image, where), _orientation(image)))


def image_shape(path: str | Path, limits: Limits = _LIMITS) -> tuple[int, ...]:
    """Tell from its header the shape that :func:`read_image` would return.

    Parameters
    ----------
    path : str or Path
        An image file.
    limits : Limits
        Its pixels and bytes.

    Returns
    -------
    tuple of int
        ``(height, width)`` or ``(height, width, 3)``.

    Raises
    ------
    ImageError
        If the header can't be read; the rest of the file isn't looked at.
    """
    with _file(Path(path), limits) as file:
        return header_shape(file, str(path), limits)


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
    with _reported(where, limits, file):
        image = _spared(file, lambda file: _opened(file, where, limits))
        size = image.size if _orientation(image) >= 5 else image.size[::-1]
        return size if _is_grey(image) else (*size, 3)


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
    A JPEG that is at least six times as large as every shape wanted, and four times as the thumbnail, is decoded at a
    half, a quarter or an eighth of its size, never below three times the shape: there the fitted arrays differ from
    those of the whole picture by less than one level of 255 on average and 16 at most, and their cosine distance is
    below 1e-4 (measured on real photos and noisy ones of 12 megapixels: 0.5, 8 and 3e-5). In every other case they are
    equal to ``fit_to(decode(data), shape)``. An eighth takes a third of the time.

    Examples
    --------
    >>> [picture] = pictures(to_png(np.zeros((30, 20), np.uint8)), "black.png", [(8, 8), (4, 4, 3)])
    >>> picture.width, picture.height, [array.shape for array in picture.fitted]
    (20, 30, [(8, 8), (4, 4, 3)])
    """
    data = bytes(data)
    with _reported(where, limits, data):
        image, full = _spared(io.BytesIO(data), lambda file: _loaded(file, where, limits, shapes, thumbnail))
        yield _picture(image, full, where, shapes, thumbnail)
        if each and image.format in _MANY:
            for frame in _further_frames(image, data, where, limits):
                yield _picture(frame, frame.size, where, shapes, thumbnail)


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
    return _format_of(head[:_HEAD]) is not None


def _format_of(head: bytes) -> str | None:
    for name, signature in _SIGNATURES.items():
        if signature.match(head):
            return name
    if head[4:8] != b"ftyp":
        return None
    # The main brand, then from the third place on those that the file is compatible with.
    length = min(int.from_bytes(head[:4], "big"), len(head) // 4 * 4)
    brands = {head[8:12], *(head[i : i + 4] for i in range(16, length, 4))}
    return "AVIF" if brands & _AVIF_BRANDS else "HEIC" if brands & _HEIC_BRANDS else None


# What went wrong ------------------------------------------------------------------------------------------------------


@contextmanager
def _file(path: Path, limits: Limits) -> Iterator[BinaryIO]:
    """Open a file that is worth reading."""

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
        raise ImageError(f"{where}: more than {limits.bytes:,} bytes, the limit; scale it down first", "bomb")


@contextmanager
def _reported(where: str, limits: Limits, source: bytes | BinaryIO) -> Iterator[None]:
    """Turn whatever goes wrong with an image in the block into an ImageError."""
    if isinstance(source, bytes):
        _check_bytes(len(source), where, limits)
    pil = _pillow()
    try:
        yield
    except ImageError:
        raise
    except pil.DecompressionBombError as e:
        raise ImageError(f"{where}: more than {limits.pixels:,} pixels, the limit; scale it down first", "bomb") from e
    except Exception as e:  # Pillow raises over ten kinds on damaged files (design.md, section 6)
        said = f"{type(e).__name__}: {first_line(e)}"
        if isinstance(e, MemoryError) or "out of memory" in said:
            raise ImageError(f"{where}: needs more memory than there is; scale it down first", "out of memory") from e
        if isinstance(e, EOFError) or _CUT.search(said.lower()) or _runs_out(source):
            raise ImageError(
                f"{where}: truncated, the file ends before the picture does; copy it again", "truncated"
            ) from e
        if _UNREAD.search(said):
            raise ImageError(
                f"{where}: its kind of {_name_of(source)} is not read ({said}); convert it", "unsupported"
            ) from e
        raise ImageError(f"{where}: damaged ({said}); copy it again", "damaged") from e


def _name_of(source: bytes | BinaryIO) -> str | None:
    if isinstance(source, bytes):
        return _format_of(source[:_HEAD])
    source.seek(0)
    return _format_of(source.read(_HEAD))


def _runs_out(source: bytes | BinaryIO) -> bool:
    """Tell whether a file that could not be read lacks its end, by what its format says of its length."""
    name = _name_of(source)
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
    return data.find(_JPEG_END, place) < 0


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


# Opening and loading --------------------------------------------------------------------------------------------------


@cache
def _pillow() -> Any:
    """Import what decodes, and silence it."""
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

    pil = _pillow()
    file.seek(0)
    head = file.read(_HEAD)
    name = _format_of(head)
    if name is None:
        raise ImageError(
            f"{where}: not an image in a format that is read ({', '.join(FORMATS)}), "
            "or its first bytes are damaged; convert it, or copy it again",
            "unsupported",
        )
    if name == "HEIC" and not _has_heic():
        raise ImageError(str(missing_extra(f"{where}: reading HEIC", "heic")), "unsupported")
    if pil.MAX_IMAGE_PIXELS and limits.pixels > 2 * pil.MAX_IMAGE_PIXELS:  # Pillow's own limit, twice which it refuses
        pil.MAX_IMAGE_PIXELS = limits.pixels
    file.seek(0)
    # What `PIL.Image.open` does too, but it swallows the reason of a failure, and looks for further pictures in a JPEG.
    factory = JpegImageFile if name == "JPEG" else pil.OPEN["HEIF" if name == "HEIC" else name][0]
    image: Image = factory(file, "")
    if name == "PNG" and head[25] == 4:  # grey with transparency, which Pillow makes RGBA of where it has 16 bits
        image.info["grey"] = True
    _check_pixels(image, where, limits)
    return image


def _check_pixels(image: Image, where: str, limits: Limits) -> None:
    if image.width * image.height > limits.pixels:
        raise ImageError(f"{where}: more than {limits.pixels:,} pixels, the limit; scale it down first", "bomb")


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
    wanted = _enough(full, _orientation(image), shapes, thumbnail) if shapes or thumbnail else full
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
        _check_jpeg_end(image, file.getvalue(), scan)
    elif image.format == "PNG" and _png_lacks_end(file.getvalue()):
        raise EOFError
    return image, full


def _spared(file: BinaryIO, work: Callable[[Any], _T]) -> _T:
    """Do some work on a file, and on its picture alone where what it says beside that may be what stops Pillow."""
    try:
        return work(file)
    except ImageError:
        raise
    except Exception:
        file.seek(0)
        data = file.read()
        name = _format_of(data[:_HEAD])
        if name == "PNG":
            return work(io.BytesIO(_without_comments(data)))
        if name == "AVIF":
            return work(io.BytesIO(data.replace(b"Exif", b"none")))  # the kind of an item; what isn't known is skipped
        raise


def _enough(
    size: tuple[int, int], orientation: int, shapes: Sequence[tuple[int, ...]], thumbnail: int | None
) -> tuple[int, int]:
    """Return the width and height, as stored, that all that is wanted can be made of."""
    height, width = (_GAP * max((shape[side] for shape in shapes), default=0) for side in (0, 1))
    if orientation >= 5:
        height, width = width, height
    share = _THUMBNAIL_GAP * (thumbnail or 0) / max(size)
    return max(width, round(share * size[0]), 1), max(height, round(share * size[1]), 1)


def _check_jpeg_end(image: Image, data: bytes, scan: int) -> None:
    """Refuse a picture that libjpeg filled with grey, since it warns of it only, and Pillow hides the warning."""
    if data.rfind(_JPEG_END, scan) < 0:
        raise EOFError
    width, height = image.size
    last = image.getpixel((width - 1, height - 1))
    if not {127, 128}.issuperset(last if isinstance(last, tuple) else (last,)):
        return
    block = max(1, 4 // image.decoderconfig[0])  # type: ignore[attr-defined]
    corner = image.crop((max(width - block, 0), max(height - block, 0), width, height))
    if any(high > 128 or low < 127 for low, high in np.atleast_2d(corner.getextrema()).tolist()):
        return
    # The corner is mid-grey, which is what missing data decode to, but may be meant so. Further bytes before the end
    # fill what is missing, and are skipped where nothing is.
    end = data.find(_JPEG_END, scan)
    if _jpeg_pixels(data) != _jpeg_pixels(data[:end] + bytes(range(1, 129)) + data[end:]):
        raise EOFError


def _jpeg_pixels(data: bytes) -> bytes:
    from PIL.JpegImagePlugin import JpegImageFile

    image = JpegImageFile(io.BytesIO(data))
    image.draft(None, (2048, 2048))  # to save memory; small ones stay as they are
    return image.tobytes()


def _png_lacks_end(data: bytes) -> bool:
    return data[-8:-4] != b"IEND" and _png_runs_out(data)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's kind, its beginning, and its end, which is beyond the data where they are cut."""
    place, kind = len(_PNG_SIGNATURE), b""
    while place + 8 <= len(data) and kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, place)
        yield kind, place, place + 12 + length
        place += 12 + length


def _without_comments(data: bytes) -> bytes:
    """Return a PNG's chunks that make its picture: what else it says may be huge, or wrong, and Pillow stops at that."""
    kept = (b"IHDR", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"IDAT", b"IEND", b"eXIf")
    return _PNG_SIGNATURE + b"".join(data[start:end] for kind, start, end in _png_chunks(data) if kind in kept)


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
            raise ImageError(f"{where}: more than {limits.frames:,} frames, the limit; read the first alone", "bomb")
        _check_pixels(image, where, limits)
        image.load()
        yield image
        frame += 1


# Loaded -> upright grey or sRGB ---------------------------------------------------------------------------------------


def _picture(
    image: Image, full: tuple[int, int], where: str, shapes: Sequence[tuple[int, ...]], thumbnail: int | None
) -> Picture:
    orientation = _orientation(image)
    picture = _upright(_plain(image, where), orientation)
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
        [_fit(picture, shape, box) for shape in shapes],
        b"" if not thumbnail else _thumbnail(picture, (width, height), thumbnail, box),
    )


def _orientation(image: Image) -> int:
    """Return EXIF's orientation, 1 to 8; a block that can't be read doesn't spoil the picture."""
    import PIL.Image

    if image.format == "TIFF" or not any(key in image.info for key in _ORIENTED):  # Pillow turns a TIFF itself
        return 1
    try:
        value = PIL.Image.Image.getexif(image).get(_ORIENTATION)  # a PNG's own would decode all of it first
    except Exception:  # as many kinds as a damaged picture has
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(picture: Image, orientation: int) -> Image:
    """Set upright what EXIF says is stored otherwise: 2 mirrored, 3 upside down, 6 and 8 on its side, ..."""
    if orientation == 1:
        return picture
    turn = _pillow().Transpose
    return picture.transpose(
        {
            2: turn.FLIP_LEFT_RIGHT,
            3: turn.ROTATE_180,
            4: turn.FLIP_TOP_BOTTOM,
            5: turn.TRANSPOSE,
            6: turn.ROTATE_270,
            7: turn.TRANSVERSE,
            8: turn.ROTATE_90,
        }[orientation]
    )


def _is_grey(image: Image) -> bool:
    return image.mode in _GREY or image.mode[0] in "FI" or "grey" in image.info


def _plain(image: Image, where: str) -> Image:
    """Bring a loaded image to mode L or RGB, in sRGB, on white."""
    pil = _pillow()
    profile = image.info.get("icc_profile") or b""
    if image.mode in ("CMYK", "LAB"):
        transform = _to_srgb(profile if image.mode == "CMYK" else b"", image.mode)
        return transform.apply(image) if transform else image.convert("RGB")
    plain = image
    kind = "L" if _is_grey(image) else "RGB"
    if image.mode[0] in "FI":  # grey in 16 or 32 bits
        values = np.asarray(image)
        # Mode I holds integers of any depth. A PPM's run to 65,535; otherwise what fits into 8 bits is taken as it is.
        deep = image.mode == "I" and values.min() >= 0 and (image.format == "PPM" or 255 < values.max() <= 65535)
        grey = to_uint8(values.astype(np.uint16) if deep else values, where)
        if isinstance(clear := image.info.get("transparency"), int):
            grey = np.where(values == clear, np.uint8(255), grey)
        plain = pil.fromarray(grey)
    elif image.has_transparency_data:
        if image.mode in ("La", "RGBa"):  # premultiplied, which converts to its plain form only
            image = image.convert(image.mode.upper())
        if image.mode != "RGBA":
            image = image.convert("RGBA")
        plain = pil.new("RGB", image.size, "white")
        plain.paste(image, mask=image)
    if plain.mode != kind:
        plain = plain.convert(kind)
    transform = _to_srgb(profile, kind) if profile else None
    if transform is None:
        return plain
    return plain.point(transform) if kind == "L" else transform.apply(plain)


@lru_cache(maxsize=16)
def _to_srgb(profile: bytes, mode: str) -> Any:
    """Make what brings an image from a profile's colours to sRGB.

    Returns
    -------
    ImageCmsTransform, list of int or None
        For grey a table of its 256 levels; None where nothing needs to be done, or the profile is of no use.
    """
    from PIL import ImageCms

    pil = _pillow()
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile)) if profile else None
        if source is None and mode == "CMYK":
            return None
        wanted = {"L": "GRAY", "RGB": "RGB ", "CMYK": "CMYK", "LAB": "Lab "}[mode]
        if source is not None and source.profile.xcolor_space != wanted:
            return None
        transform = ImageCms.buildTransform(
            source or ImageCms.createProfile("LAB"),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if mode in ("CMYK", "LAB"):
            return transform
        levels = np.arange(256) if mode == "L" else np.arange(0, 256, 15)
        colours = levels[None] if mode == "L" else np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
        colours = colours.astype(np.uint8)
        result = np.asarray(transform.apply(pil.fromarray(colours)))
    except Exception:  # a damaged profile doesn't spoil the picture; littleCMS and Pillow say so in several kinds
        return None
    before = colours if mode == "RGB" else colours[..., None]
    if np.abs(result.astype(int) - before).max() <= _SAME_COLOUR:
        return None
    return result[0, :, 1].tolist() if mode == "L" else transform


# Arrays ---------------------------------------------------------------------------------------------------------------


def to_uint8(images: NDArray[np.generic], where: str = "images") -> NDArray[np.uint8]:
    """Bring an array of pixels to 0..255 in uint8.

    Parameters
    ----------
    images : ndarray
        Booleans; uint16 in 0..65535; other integers in 0..255; or floats, all in 0..1 or all in 0..255.
    where : str
        Named in the error.

    Returns
    -------
    ndarray of uint8, same shape
        The input itself where it is uint8 already.

    Raises
    ------
    ImageError
        If values are NaN, infinite, or out of range. Floats whose largest is between 1 and 2 are out of both ranges.

    Examples
    --------
    >>> to_uint8(np.array([0.0, 0.5, 1.0])).tolist()
    [0, 128, 255]
    """
    if images.dtype == np.uint8:
        return images.view(np.ndarray).astype(np.uint8, copy=False)
    if images.dtype == np.bool_:
        return images.astype(np.uint8) * np.uint8(255)
    if images.dtype.kind == "u" and images.dtype.itemsize == 2:
        scaled = images.astype(np.float32)
        scaled /= 257
        return np.rint(scaled, out=scaled).astype(np.uint8)
    if images.dtype.kind not in "iuf":
        raise ImageError(f"{where}: pixels of type {images.dtype}, expected integers or floats", "unsupported")
    if not images.size:
        return images.astype(np.uint8)
    finite = np.isfinite(images)
    if not finite.all():
        first = ", ".join(map(str, np.argwhere(~finite)[0]))
        raise ImageError(f"{where}: NaN or infinity at [{first}]; replace such values first", "unsupported")
    low, high = float(images.min()), float(images.max())
    unit = images.dtype.kind == "f" and high <= 1 + _FLOAT_SLACK
    if low < -_FLOAT_SLACK or high > 255 or (images.dtype.kind == "f" and not unit and high < 2):
        raise ImageError(
            f"{where}: values from {low:g} to {high:g}, expected 0..1 or 0..255; scale them first", "unsupported"
        )
    return (images.astype(np.float32).clip(0, 1 if unit else 255) * (255 if unit else 1)).round().astype(np.uint8)


def fit_to(image: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Bring one image to a size and to grey or colour.

    Parameters
    ----------
    image : ndarray of uint8, shape (h, w) or (h, w, 3)
        The image.
    shape : tuple of int
        ``(height, width)`` for grey, ``(height, width, 3)`` for colour. The aspect ratio is not kept.

    Returns
    -------
    ndarray of uint8, shape ``shape``
        The image itself where it fits already. Grey is ITU-R 601 luma; scaling is Pillow's anti-aliased bicubic.
    """
    if image.shape == tuple(shape):
        return image
    return _fit(_pillow().fromarray(image), shape)


def _fit(
    picture: Image, shape: tuple[int, ...], box: tuple[float, float, float, float] | None = None
) -> NDArray[np.uint8]:
    """Do :func:`fit_to`'s work on a part of a picture."""
    kind = "RGB" if len(shape) == 3 else "L"
    if picture.mode != kind:
        picture = picture.convert(kind)
    size = (shape[1], shape[0])
    if box is not None or picture.size != size:
        picture = picture.resize(size, _pillow().Resampling.BICUBIC, box, reducing_gap=3.0)
    return np.asarray(picture)


# Thumbnails and files -------------------------------------------------------------------------------------------------


def to_png(image: NDArray[np.uint8], longest: int | None = None) -> bytes:
    """Encode one image as PNG.

    Parameters
    ----------
    image : ndarray of uint8, shape (h, w) or (h, w, 3)
        The image.
    longest : int, optional
        Scale down so that no side is longer than this.

    Returns
    -------
    bytes
        A PNG file, written by hand after the W3C's recommendation (unfiltered rows, one IDAT): for thumbnails of a few
        hundred bytes it takes a fifth of Pillow's time (0.27 ms each, measured on 10,000 digits).
    """
    if longest is not None and max(image.shape[:2]) > longest:
        import PIL.Image

        picture = PIL.Image.fromarray(image)
        picture.thumbnail((longest, longest))
        image = np.asarray(picture)
    height, width = image.shape[:2]
    rows = np.zeros((height, 1 + image[0].size), np.uint8)  # each row begins with its filter, 0 for none
    rows[:, 1:] = image.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if image.ndim == 3 else 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.data, 1)), (b"IEND", b""))
    return _PNG_SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def to_thumbnail(image: NDArray[np.uint8], longest: int = THUMBNAIL_SIDE) -> bytes:
    """Encode one image for showing, as :func:`pictures` does.

    Parameters
    ----------
    image : ndarray of uint8, shape (h, w) or (h, w, 3)
        The image.
    longest : int
        Scale down so that no side is longer than this.

    Returns
    -------
    bytes
        A PNG file where the image is grey or small, else a JPEG file.
    """
    return _thumbnail(_pillow().fromarray(image), (image.shape[1], image.shape[0]), longest)


def _thumbnail(
    picture: Image,
    size: tuple[int, int],
    longest: int,
    box: tuple[float, float, float, float] | None = None,
) -> bytes:
    """Encode a picture whose full size is ``size``."""
    pil = _pillow()
    share = min(1, longest / max(size))
    width, height = (max(1, round(side * share)) for side in size)
    if box is not None or picture.size != (width, height):
        picture = picture.resize((width, height), pil.Resampling.BICUBIC, box, reducing_gap=1.0)
    if picture.mode == "L" or max(width, height) <= _PNG_THUMBNAIL:
        return to_png(np.asarray(picture))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()


def from_thumbnail(data: bytes) -> NDArray[np.uint8]:
    """Decode what :func:`to_thumbnail`, :func:`to_png` or :func:`pictures` wrote.

    Parameters
    ----------
    data : bytes
        A PNG or JPEG file.

    Returns
    -------
    ndarray of uint8, shape (h, w) or (h, w, 3)
        The image.
    """
    return np.asarray(_pillow().open(io.BytesIO(data), formats=["JPEG", "PNG"]))


def save_image(image: NDArray[np.uint8], path: str | Path) -> None:
    """Write one image to a file, whole or not at all.

    Parameters
    ----------
    image : ndarray of uint8, shape (h, w) or (h, w, 3)
        The image.
    path : str or Path
        Its ending picks the format: ``.png``, ``.jpg``, ``.bmp``, ``.tif`` or ``.webp``.

    Raises
    ------
    UsageError
        If the ending isn't known.
    ImageError
        If the disk refuses.
    """
    import PIL.Image

    path = Path(path)
    ending = path.suffix.lower()
    if not ending:
        raise UsageError(f"{path}: give it an ending, one of: {', '.join(sorted(_WRITES))}")
    if ending not in _WRITES:
        raise unknown_name("image ending", ending, _WRITES)
    try:
        with replace_file(path) as f:
            PIL.Image.fromarray(image).save(f, _WRITES[ending])
    except (OSError, ValueError) as e:  # Pillow says ValueError where a format can't hold so large an image
        raise ImageError(f"{path}: can't be written: {getattr(e, 'strerror', None) or e}") from e
