"""Arrays and NumPy files -> a batch of uint8 images, and labels as text."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import CollectionError, first_line
from lookalike.imaging.resize import to_uint8

_BOMB_BYTES, _BOMB_RATIO = 1 << 30, 100  # images hardly shrink, so what inflates that much holds none


def read_numpy(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.str_] | None]:
    """Read a NumPy file; what it holds of Python objects is never loaded.

    Parameters
    ----------
    path : Path
        An ``.npy`` file; or an ``.npz`` file with the images under ``images`` or ``x`` and, if there are any, the labels
        under ``labels`` or ``y``.

    Returns
    -------
    (ndarray of uint8, ndarray of str or None)
        As :func:`as_images` and :func:`as_labels` return them.

    Raises
    ------
    CollectionError
        If it can't be read, holds no images, or images and labels disagree in number.
    """
    images: NDArray[np.generic] | None
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            images, labels = loaded, None
        else:
            with loaded:
                _refuse_bomb(Path(path), loaded)
                images, labels = _array_named(loaded, "images", "x"), _array_named(loaded, "labels", "y")
                if images is None:
                    held = ", ".join(loaded.files) or "nothing"
                    raise CollectionError(f"{path}: holds {held}; expected an array named images or x")
    except CollectionError:
        raise
    except (Exception, MemoryError) as e:  # a damaged header or zip raises many kinds
        reason = first_line(e)
        if "pickled" in reason:  # what NumPy takes any file for that begins as none of its own
            reason = "it doesn't begin as one; save it again"
        elif "object" in reason.lower():
            reason = "it holds Python objects, which are never loaded; save it as numbers"
        raise CollectionError(f"{path}: not a NumPy file that can be read: {reason}") from e
    pixels = as_images(images, str(path))
    return pixels, None if labels is None else as_labels(labels, len(pixels), str(path))


def _refuse_bomb(path: Path, arrays: np.lib.npyio.NpzFile) -> None:
    """Refuse arrays that inflate far beyond what images do; a zip says so before anything is inflated."""
    inflated = sum(info.file_size for info in arrays.zip.infolist()) if arrays.zip is not None else 0
    if inflated > max(_BOMB_BYTES, _BOMB_RATIO * path.stat().st_size):
        raise CollectionError(
            f"{path}: {inflated:,} bytes of arrays in a file of {path.stat().st_size:,}, more than {_BOMB_RATIO} times as "
            "many, as no images need; save them uncompressed if that is meant"
        )


def _array_named(arrays: np.lib.npyio.NpzFile, *names: str) -> NDArray[np.generic] | None:
    return next((arrays[name] for name in names if name in arrays.files), None)


def as_images(array: NDArray[np.generic], name: str) -> NDArray[np.uint8]:
    """Bring an array of one or several images to a batch.

    Parameters
    ----------
    array : ndarray
        What :func:`as_batch` takes; or one image, (h, w), (h, w, 1) or (h, w, 3). With a last dimension of 2 or 4 the
        last channel is opacity, and images are laid on white.
    name : str
        Named in the error.

    Returns
    -------
    ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        The input itself where it is that already.

    Raises
    ------
    CollectionError
        If it is of another shape, empty, looks like images written as rows, or its values are out of range.
    """
    if array.ndim == 2 and array.size:
        _refuse_flattened(array, name)
    if array.ndim == 3 and array.shape[0] in (3, 4) and min(array.shape[1:]) >= _MIN_SIDE:
        _refuse_channels_first(array, name)
    one_image = array.ndim == 2 or (array.ndim == 3 and _may_be_channels(array.shape))
    return as_batch(array[None] if one_image else array, name)


def as_batch(array: NDArray[np.generic], name: str) -> NDArray[np.uint8]:
    """Bring an array of several images to a batch.

    Parameters
    ----------
    array : ndarray, shape (n, h, w), (n, h, w, 1) or (n, h, w, 3), with opacity (n, h, w, 2) or (n, h, w, 4)
        Of the values that :func:`lookalike.imaging.resize.to_uint8` takes.
    name : str
        Named in the error.

    Returns
    -------
    ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        The input itself where it is that already.

    Raises
    ------
    CollectionError
        If it is of another shape, empty, or its values are out of range.
    """
    if array.size == 0 or array.ndim not in (3, 4) or (array.ndim == 4 and not _may_be_channels(array.shape[1:])):
        raise CollectionError(f"{name}: an array of shape {array.shape}, {_what_to_do(array.shape)}")
    if array.ndim == 3:
        return to_uint8(array, name)
    if array.shape[3] in (1, 3):
        return to_uint8(array[..., 0] if array.shape[3] == 1 else array, name)
    pixels = to_uint8(array, name)
    opacity = pixels[..., -1:].astype(np.uint16)
    laid = (pixels[..., :-1] * opacity + 255 * (255 - opacity) + 127) // 255
    return laid[..., 0].astype(np.uint8) if laid.shape[3] == 1 else laid.astype(np.uint8)


#: Grey, grey with opacity, colour, colour with opacity.
_CHANNELS = (1, 2, 3, 4)
#: Rows compared, at most, to tell a picture from pictures written as rows; and the side of the smallest such picture.
_COMPARED, _MIN_SIDE = 64, 8
#: Correlation of each two channels from which on three pictures may be one.
_ALIKE = 0.6


def _may_be_channels(shape: tuple[int, ...]) -> bool:
    """Tell whether the last dimension of one image's shape may be its channels: hardly any picture is that narrow."""
    return shape[2] in (1, 3) or (shape[2] in _CHANNELS and min(shape[:2]) >= _MIN_SIDE)


def _what_to_do(shape: tuple[int, ...]) -> str:
    if 0 in shape:
        return "which holds no images"
    hint = ""
    if len(shape) == 4 and shape[1] in _CHANNELS:
        hint = "; its channels seem to come first: give array.transpose(0, 2, 3, 1)"
    if len(shape) == 1:
        hint = "; its pixels stand in one row: give array.reshape(height, width)"
    return f"expected (n, h, w), (n, h, w, 1) or (n, h, w, 3){hint}"


def _refuse_flattened(array: NDArray[np.generic], name: str) -> None:
    """Refuse a table that holds a picture a row, as scikit-learn has them, rather than take it for one wide picture.

    Rows of one picture are like the next. In a row that is a picture of ``side`` pixels it is values ``side`` apart that
    are alike. Where the rows are not clearly more alike, nobody can tell, and it is asked.
    """
    rows, width = array.shape
    sample = np.unique(np.linspace(0, max(0, rows - 2), _COMPARED).astype(int))
    for channels in (1, 3):
        side = math.isqrt(width // channels)
        if side < _MIN_SIDE or channels * side * side != width or rows == width or array.dtype.kind not in "biuf":
            continue
        table = array[sample].astype(np.float64)
        along = float(np.abs(table[:, side:] - table[:, :-side]).mean())
        down = float(np.abs(table - array[sample + 1]).mean()) if rows > 1 else along
        if down > 0.9 * along and (down > 0 or rows == 1):
            shape = f"{side}, {side}" if channels == 1 else f"{side}, {side}, 3"
            raise CollectionError(
                f"{name}: an array of shape {array.shape} may be {rows:,} images written as rows, or one image; give "
                f"array.reshape(-1, {shape}), or array[None] for one image"
            )


def _refuse_channels_first(array: NDArray[np.generic], name: str) -> None:
    """Refuse three pictures that are as alike as the channels of one, rather than take one picture for three."""
    if array.dtype.kind not in "biuf":
        return
    planes = array[:3].reshape(3, -1).astype(np.float64)
    planes -= planes.mean(axis=1, keepdims=True)
    lengths = np.sqrt((planes * planes).sum(axis=1))
    if not lengths.all() or any(np.array_equal(planes[i], planes[i - 1]) for i in range(3)):
        return
    alike = (planes @ planes.T) / np.outer(lengths, lengths)
    if alike.min() > _ALIKE:
        raise CollectionError(
            f"{name}: an array of shape {array.shape} may be one image whose channels come first, or {len(array)} grey "
            "images; give array.transpose(1, 2, 0), or array[..., None] for grey ones"
        )


def image_hash(image: NDArray[np.uint8]) -> str:
    """Return the hash of an image that is no file.

    Parameters
    ----------
    image : ndarray of uint8, shape (h, w) or (h, w, 3)
        The image.

    Returns
    -------
    str
        SHA-256 of its shape and its pixels, in hexadecimal.
    """
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def as_labels(labels: NDArray[np.generic], n: int, name: str) -> NDArray[np.str_]:
    """Bring labels of any type to text.

    Parameters
    ----------
    labels : ndarray, shape (n,)
        Numbers, text, or bytes, which are taken as UTF-8.
    n : int
        How many images there are.
    name : str
        Named in the error.

    Returns
    -------
    ndarray of str, shape (n,)
        One an image.

    Raises
    ------
    CollectionError
        If there are more or fewer.
    """
    if labels.shape != (n,):
        actual = f"{len(labels):,} labels" if labels.ndim == 1 else f"labels of shape {labels.shape}"
        raise CollectionError(f"{name}: {n:,} images but {actual}; give one label an image")
    if labels.dtype.kind == "S":
        labels = np.strings.decode(labels.astype(np.bytes_), "utf-8", "backslashreplace")
    return labels.astype(np.str_)
