"""Arrays of pixels brought to other types and sizes, and written: as PNG, as thumbnails, to files."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lookalike.atomic import new_file
from lookalike.errors import ImageError, UsageError, unknown_name
from lookalike.imaging.formats import PNG_SIGNATURE, pillow

if TYPE_CHECKING:
    from PIL.Image import Image

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
_FLOAT_SLACK = 1e-6  # how far rounding may take a float out of 0..1
_PNG_THUMBNAIL = 64  # up to this side a thumbnail is kept without loss: blocks of 8 pixels would show


# Types and sizes ------------------------------------------------------------------------------------------------------


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
    return fit_picture(pillow().fromarray(image), shape)


def fit_picture(
    picture: Image, shape: tuple[int, ...], box: tuple[float, float, float, float] | None = None
) -> NDArray[np.uint8]:
    """Do :func:`fit_to`'s work on a picture, or a part of it.

    Parameters
    ----------
    picture : PIL.Image.Image
        In mode L or RGB.
    shape : tuple of int
        As of :func:`fit_to`.
    box : tuple of float, optional
        Left, top, right and bottom of the part; all of it if None.

    Returns
    -------
    ndarray of uint8, shape ``shape``
        The part of the picture.
    """
    kind = "RGB" if len(shape) == 3 else "L"
    if picture.mode != kind:
        picture = picture.convert(kind)
    size = (shape[1], shape[0])
    if box is not None or picture.size != size:
        picture = picture.resize(size, pillow().Resampling.BICUBIC, box, reducing_gap=3.0)
    return np.asarray(picture)


def average_down(images: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """Average images down until no side is longer than so many pixels; smaller ones stay as they are.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        The images.
    longest : int
        The longest that a side may be.

    Returns
    -------
    ndarray of uint8, shape (n, min(h, longest), min(w, longest)) or with 3 channels
        Means over equal shares of the sides, rounded.

    Examples
    --------
    >>> average_down(np.arange(64, dtype=np.uint8).reshape(1, 1, 64), 32)[0, 0, :3]
    array([0, 2, 4], dtype=uint8)
    """
    height, width = images.shape[1:3]
    if max(height, width) <= longest:
        return images
    rows, columns = (_shares(min(size, longest), size) for size in (height, width))
    small = np.empty((len(images), len(rows), len(columns), *images.shape[3:]), np.uint8)
    for image, out in zip(images, small, strict=True):
        channels = image.reshape(height, width, -1).transpose(2, 0, 1)
        means = rows @ channels.astype(np.float64) @ columns.T
        out[:] = means.round().transpose(1, 2, 0).reshape(out.shape)
    return small


def _shares(parts: int, size: int) -> NDArray[np.float64]:
    """Return how much each of ``size`` pixels counts in each of ``parts`` equal parts of a side, (parts, size)."""
    edges = np.arange(parts + 1) * (size / parts)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    shares: NDArray[np.float64] = np.maximum(overlap, 0) * (parts / size)
    return shares


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
    return PNG_SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def to_thumbnail(image: NDArray[np.uint8], longest: int = THUMBNAIL_SIDE) -> bytes:
    """Encode one image for showing, as :func:`lookalike.imaging.decode.pictures` does.

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
    return encode_thumbnail(pillow().fromarray(image), (image.shape[1], image.shape[0]), longest)


def encode_thumbnail(
    picture: Image,
    size: tuple[int, int],
    longest: int,
    box: tuple[float, float, float, float] | None = None,
) -> bytes:
    """Do :func:`to_thumbnail`'s work on a picture, or a part of it.

    Parameters
    ----------
    picture : PIL.Image.Image
        In mode L or RGB; it may have been scaled down already.
    size : tuple of int
        Its full width and height.
    longest : int
        No side of the thumbnail is longer.
    box : tuple of float, optional
        Left, top, right and bottom of the part; all of it if None.

    Returns
    -------
    bytes
        A PNG or JPEG file.
    """
    pil = pillow()
    share = min(1, longest / max(size))
    width, height = (max(1, round(side * share)) for side in size)
    if box is not None or picture.size != (width, height):
        picture = picture.resize((width, height), pil.Resampling.BICUBIC, box, reducing_gap=1.0)
    if picture.mode == "L" or max(width, height) <= _PNG_THUMBNAIL:
        return to_png(np.asarray(picture))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()


def save_image(image: NDArray[np.uint8], path: str | Path, *, overwrite: bool = False) -> None:
    """Write one image to a file, whole or not at all.

    Parameters
    ----------
    image : ndarray of uint8, shape (h, w) or (h, w, 3)
        The image.
    path : str or Path
        Its ending picks the format: ``.png``, ``.jpg``, ``.bmp``, ``.tif`` or ``.webp``.
    overwrite : bool
        Whether a file that lies there may be replaced.

    Raises
    ------
    UsageError
        If the ending isn't known, or the file exists and may not be replaced.
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
        with new_file(path, overwrite=overwrite) as f:
            PIL.Image.fromarray(image).save(f, _WRITES[ending])
    except (OSError, ValueError) as e:  # Pillow says ValueError where a format can't hold so large an image
        raise ImageError(f"{path}: can't be written: {getattr(e, 'strerror', None) or e}") from e
