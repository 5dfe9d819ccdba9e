"""Arrays and NumPy files -> a batch of uint8 images, and labels as text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import CollectionError, first_line
from lookalike.raster import to_uint8


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


def _array_named(arrays: np.lib.npyio.NpzFile, *names: str) -> NDArray[np.generic] | None:
    return next((arrays[name] for name in names if name in arrays.files), None)


def as_images(array: NDArray[np.generic], name: str) -> NDArray[np.uint8]:
    """Bring an array of one or several images to a batch.

    Parameters
    ----------
    array : ndarray
        What :func:`as_batch` takes; or one image, (h, w), (h, w, 1) or (h, w, 3).
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
    one_image = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3))
    return as_batch(array[None] if one_image else array, name)


def as_batch(array: NDArray[np.generic], name: str) -> NDArray[np.uint8]:
    """Bring an array of several images to a batch.

    Parameters
    ----------
    array : ndarray, shape (n, h, w), (n, h, w, 1) or (n, h, w, 3)
        Of the values that :func:`lookalike.raster.to_uint8` takes.
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
    images = array[..., 0] if array.ndim == 4 and array.shape[3] == 1 else array
    if not (images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)) or images.size == 0:
        what = "which holds no images" if images.size == 0 else "expected (n, h, w), (n, h, w, 1) or (n, h, w, 3)"
        raise CollectionError(f"{name}: an array of shape {array.shape}, {what}")
    return to_uint8(images, name)


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
        found = f"{len(labels):,} labels" if labels.ndim == 1 else f"labels of shape {labels.shape}"
        raise CollectionError(f"{name}: {n:,} images but {found}; give one label an image")
    if labels.dtype.kind == "S":
        labels = np.strings.decode(labels.astype(np.bytes_), "utf-8", "backslashreplace")
    return labels.astype(np.str_)
