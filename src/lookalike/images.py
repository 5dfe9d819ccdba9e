"""Files -> upright RGB or grey arrays, or a reason why not. The only file that decodes."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import ImageError, UsageError, first_line, unknown_name
from lookalike.storage import replace_file

if TYPE_CHECKING:
    from PIL.Image import Image

#: The formats that are opened, and the endings their files bear. What Pillow knows beyond them stays closed: a decoder
#: that nobody needs is one more to attack, and for EPS it would start another program.
FORMATS = {
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG": (".jpeg", ".jpg"),
    "PNG": (".png",),
    "PPM": (".pbm", ".pgm", ".pnm", ".ppm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
#: Endings that a folder is searched for.
SUFFIXES = frozenset(ending for endings in FORMATS.values() for ending in endings)
#: A larger image is refused before it is decoded: it is a bomb, or needs a tool made for its size.
MAX_PIXELS = 100_000_000

_WRITES = {ending: name for name, endings in FORMATS.items() if name not in ("GIF", "PPM") for ending in endings}
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ORIENTATION = 0x0112  # EXIF's tag
_GREY = ("1", "L", "LA", "La")
_FLOAT_SLACK = 1e-6  # how far rounding may take a float out of 0..1


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """Read one image file, upright by its EXIF orientation.

    Parameters
    ----------
    path : str or Path
        An image file in one of ``FORMATS``, told by its content, not its name; of an animation, the first frame.

    Returns
    -------
    ndarray of uint8, shape (h, w) or (h, w, 3)
        Grey where the file is grey, else RGB; transparent parts on white; 16 bits brought to 8.

    Raises
    ------
    ImageError
        If the file is missing, no image, cut short, or over ``MAX_PIXELS``.
    """
    with _opened(Path(path)) as image:
        image.load()
        return _turn(_to_array(image, str(path)), _orientation(image))


def image_shape(path: str | Path) -> tuple[int, ...]:
    """Tell from its header the shape that :func:`read_image` would return.

    Parameters
    ----------
    path : str or Path
        An image file.

    Returns
    -------
    tuple of int
        ``(height, width)`` or ``(height, width, 3)``.

    Raises
    ------
    ImageError
        If the header can't be read; the rest of the file isn't looked at.
    """
    with _opened(Path(path)) as image:
        on_its_side = _orientation(image) >= 5 and image.format != "TIFF"  # Pillow turns a TIFF itself
        size = image.size if on_its_side else image.size[::-1]
        return size if image.mode in _GREY or image.mode[0] in "FI" else (*size, 3)


@contextmanager
def _opened(path: Path) -> Iterator[Image]:
    """Open an image whose header is sound; whatever goes wrong with it, then or in the block, becomes an ImageError."""
    import PIL.Image

    try:
        if path.exists() and not path.is_file():
            raise ImageError(f"{path}: a folder or a device where an image file was expected")
        file = path.open("rb")
    except OSError as e:
        raise ImageError(f"{path}: can't be read: {e.strerror or e}") from e
    with file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of much that spoils nothing, and the limit is checked here
        try:
            if not file.peek(1):
                raise ImageError(f"{path}: an empty file (0 bytes), not an image; copy it again")
            with PIL.Image.open(file, formats=list(FORMATS)) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise PIL.Image.DecompressionBombError
                if not image.width * image.height:
                    raise ImageError(f"{path}: an image without pixels ({image.width} x {image.height}); leave it out")
                yield image
        except ImageError:
            raise
        except PIL.UnidentifiedImageError as e:
            raise ImageError(
                f"{path}: not an image in a format that is read ({', '.join(FORMATS)}), "
                "or its first bytes are damaged; convert it, or copy it again"
            ) from e
        except PIL.Image.DecompressionBombError as e:
            raise ImageError(f"{path}: more than {MAX_PIXELS:,} pixels, the limit; scale it down first") from e
        except (Exception, MemoryError) as e:  # Pillow raises over ten kinds on damaged files (design.md, section 6)
            raise ImageError(
                f"{path}: damaged or cut short ({type(e).__name__}: {first_line(e)}); copy it again"
            ) from e


def _orientation(image: Image) -> int:
    """Return EXIF's orientation, 1 to 8; a block that can't be read doesn't spoil the picture."""
    import PIL.Image

    try:
        value = PIL.Image.Image.getexif(image).get(_ORIENTATION)  # a PNG's own would decode all of it first
    except Exception:  # as many kinds as a damaged picture has
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _turn(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Set upright what EXIF says is stored otherwise: 2 mirrored, 3 upside down, 6 and 8 on its side, ..."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _to_array(image: Image, where: str) -> NDArray[np.uint8]:
    import PIL.Image

    if image.mode[0] in "FI":  # grey in 16 or 32 bits
        values = np.asarray(image)
        # Mode I holds integers of any depth. A PPM's run to 65,535; otherwise what fits into 8 bits is taken as it is.
        deep = image.mode == "I" and values.min() >= 0 and (image.format == "PPM" or 255 < values.max() <= 65535)
        return to_uint8(values.astype(np.uint16) if deep else values, where)
    kind = "L" if image.mode in _GREY else "RGB"
    if image.has_transparency_data:
        if image.mode in ("La", "RGBa"):  # premultiplied, which converts to its plain form only
            image = image.convert(image.mode.upper())
        flat = PIL.Image.new("RGBA", image.size, "white")
        flat.alpha_composite(image.convert("RGBA"))
        image = flat
    return np.asarray(image if image.mode == kind else image.convert(kind))


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
        return (images.astype(np.float32) / 257).round().astype(np.uint8)
    if images.dtype.kind not in "iuf":
        raise ImageError(f"{where}: pixels of type {images.dtype}, expected integers or floats")
    if not images.size:
        return images.astype(np.uint8)
    finite = np.isfinite(images)
    if not finite.all():
        first = ", ".join(map(str, np.argwhere(~finite)[0]))
        raise ImageError(f"{where}: NaN or infinity at [{first}]; replace such values first")
    low, high = float(images.min()), float(images.max())
    unit = images.dtype.kind == "f" and high <= 1 + _FLOAT_SLACK
    if low < -_FLOAT_SLACK or high > 255 or (images.dtype.kind == "f" and not unit and high < 2):
        raise ImageError(f"{where}: values from {low:g} to {high:g}, expected 0..1 or 0..255; scale them first")
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
    import PIL.Image

    picture = PIL.Image.fromarray(image).convert("RGB" if len(shape) == 3 else "L")
    if (picture.height, picture.width) != tuple(shape[:2]):
        picture = picture.resize((shape[1], shape[0]), PIL.Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.asarray(picture)


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


def from_png(data: bytes) -> NDArray[np.uint8]:
    """Decode what :func:`to_png` wrote.

    Parameters
    ----------
    data : bytes
        A PNG file.

    Returns
    -------
    ndarray of uint8, shape (h, w) or (h, w, 3)
        The image.
    """
    import PIL.Image

    return _to_array(PIL.Image.open(io.BytesIO(data), formats=["PNG"]), "PNG")


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
