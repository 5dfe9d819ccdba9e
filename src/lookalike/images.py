"""Files -> upright RGB or grey arrays, or a reason why not. The only file that decodes."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import ImageError, UsageError, unknown_name
from lookalike.storage import replace_file

#: Endings that a folder is searched for.
SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
#: A larger image is refused before it is decoded: it is a bomb, or needs a tool made for its size.
MAX_PIXELS = 100_000_000

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_WRITES = {".bmp": "BMP", ".jpeg": "JPEG", ".jpg": "JPEG", ".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP"}


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """Read one image file, upright by its EXIF orientation.

    Parameters
    ----------
    path : str or Path
        An image file of any format Pillow reads; of an animation, its first frame.

    Returns
    -------
    ndarray of uint8, shape (h, w) or (h, w, 3)
        Grey where the file is grey, else RGB; transparent parts on white.

    Raises
    ------
    ImageError
        If the file is missing, no image, cut short, or over ``MAX_PIXELS``.
    """
    from PIL import Image, ImageOps

    path = Path(path)
    if path.is_dir():
        raise ImageError(f"{path}: a folder where an image file was expected")
    try:
        data = path.read_bytes()
    except OSError as e:
        raise ImageError(f"{path}: can't be read: {e.strerror or e}") from e
    if not data:
        raise ImageError(f"{path}: an empty file (0 bytes), not an image; copy it again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own bomb warning; the limit is checked here
            image = Image.open(io.BytesIO(data))
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(
                    f"{path}: {image.width} x {image.height} pixels, over the limit of {MAX_PIXELS:,}; scale it down first"
                )
            image.load()
            return _to_array(ImageOps.exif_transpose(image))
    except ImageError:
        raise
    except Image.UnidentifiedImageError as e:
        raise ImageError(f"{path}: not an image in a known format ({len(data):,} bytes); see lookalike.images.SUFFIXES") from e
    except MemoryError:
        raise
    except Exception as e:  # Pillow raises over ten kinds on damaged files (design.md, section 6)
        raise ImageError(f"{path}: damaged or cut short ({type(e).__name__}: {e}); copy it again") from e


def _to_array(image: object) -> NDArray[np.uint8]:
    from PIL import Image

    assert isinstance(image, Image.Image)
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        # 16-bit grey comes as I;16 or as I: both run to 65,535; what fits into 8 bits is taken as it is.
        deep = image.mode.startswith("I;16") or values.max(initial=0) > 255
        return (np.clip(values, 0, 65535) / 257 if deep else np.clip(values, 0, 255)).round().astype(np.uint8)
    if image.mode == "1":
        image = image.convert("L")
    if image.has_transparency_data:
        grey = image.mode in ("LA", "La")
        flat = Image.new("RGBA", image.size, "white")
        flat.alpha_composite(image.convert("RGBA"))
        image = flat.convert("L" if grey else "RGB")
    if image.mode != "L":
        image = image.convert("RGB")
    return np.asarray(image)


def to_uint8(images: NDArray[np.generic], where: str = "images") -> NDArray[np.uint8]:
    """Bring an array of pixels to 0..255 in uint8.

    Parameters
    ----------
    images : ndarray
        Booleans; integers in 0..255 (or uint16 in 0..65535); or floats, all in 0..1 or all in 0..255.
    where : str
        Named in the error.

    Returns
    -------
    ndarray of uint8, same shape
        The input itself where it is uint8 already.

    Raises
    ------
    ImageError
        If values are NaN, infinite, or out of range.

    Examples
    --------
    >>> to_uint8(np.array([0.0, 0.5, 1.0])).tolist()
    [0, 128, 255]
    """
    if images.dtype == np.uint8:
        return images.view(np.ndarray).astype(np.uint8, copy=False)
    if images.dtype == np.bool_:
        return images.astype(np.uint8) * np.uint8(255)
    if images.dtype == np.uint16:
        return (images.astype(np.float32) / 257).round().astype(np.uint8)
    if images.dtype.kind not in "iuf":
        raise ImageError(f"{where}: pixels of type {images.dtype}, expected integers or floats")
    if not images.size:
        return images.astype(np.uint8)
    values = images.astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        first = np.argwhere(~np.isfinite(values))[0]
        raise ImageError(f"{where}: NaN or infinity at {tuple(int(i) for i in first)}; replace such values before indexing")
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 255:
        raise ImageError(f"{where}: values from {low:g} to {high:g}, expected 0..1 or 0..255; scale them first")
    scale = 255 if high <= 1 and images.dtype.kind == "f" else 1
    return (values * scale).round().astype(np.uint8)


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
    from PIL import Image

    if image.shape == tuple(shape):
        return image
    picture = Image.fromarray(image).convert("RGB" if len(shape) == 3 else "L")
    if (picture.height, picture.width) != tuple(shape[:2]):
        picture = picture.resize((shape[1], shape[0]), Image.Resampling.BICUBIC, reducing_gap=3.0)
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
        from PIL import Image

        picture = Image.fromarray(image)
        picture.thumbnail((longest, longest))
        image = np.asarray(picture)
    height, width = image.shape[:2]
    rows = np.zeros((height, 1 + image[0].size), np.uint8)  # each row begins with its filter, 0 for none
    rows[:, 1:] = image.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if image.ndim == 3 else 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
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
    from PIL import Image

    return _to_array(Image.open(io.BytesIO(data)))


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
    from PIL import Image

    path = Path(path)
    if path.suffix.lower() not in _WRITES:
        raise unknown_name("image ending", path.suffix, _WRITES) if path.suffix else UsageError(
            f"{path}: give it an ending, one of: {', '.join(sorted(_WRITES))}"
        )
    try:
        with replace_file(path) as f:
            Image.fromarray(image).save(f, _WRITES[path.suffix.lower()])
    except OSError as e:
        raise ImageError(f"{path}: can't be written: {e.strerror or e}") from e
