"""A folder, an IDX file, an array, one image or a name -> a stream of (id, image, label or None)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lookalike import idx
from lookalike.datasets import mnist_files
from lookalike.errors import CollectionError, ImageError, UsageError, first_line, unknown_name
from lookalike.images import SUFFIXES, fit_to, image_shape, read_image, to_uint8

#: The side that images of a folder are brought to where they don't share one, and none is asked for.
DEFAULT_SIDE = 64
_LARGEST_SHARED_SIDE = 128
_LOOKED_AT = 256  # files of a folder whose headers are read to choose one shape for all
_BUILT_IN = re.compile(r"mnist(:(?P<part>[^\[\]]*))?")
_SELECTION = re.compile(r"(?P<source>.+)\[(?P<first>\d*)(?P<colon>:?)(?P<last>\d*)\]", re.DOTALL)


class Failure(NamedTuple):
    """An image that could not be used: its position, the stage it failed at, and why."""

    position: int
    stage: str
    reason: str


class Batch(NamedTuple):
    """Some images of a collection, all of one shape, with their positions; and those that failed."""

    positions: NDArray[np.int64]
    images: NDArray[np.uint8]
    failures: list[Failure]


@dataclass(frozen=True, eq=False)
class Collection:
    """Images to search or to learn from, in a fixed order, all brought to one shape.

    Attributes
    ----------
    name : str
        What it is called in messages and in an index's passport: ``mnist:train``, ``photos``.
    ids : sequence of str
        Path relative to the collection, or position.
    shape : tuple of int
        Shape of every image: ``(h, w)`` or ``(h, w, 3)``.
    labels : ndarray of str, shape (n,), or None
        For scoring only; nothing learns from them.
    resized : bool
        Whether query images of another size may be brought to ``shape`` unasked: in a folder, where sizes differ
        anyway, and where a size was asked for.
    read : callable
        Position -> uint8 image as it is stored, of any shape; raises ImageError.
    array_ : ndarray of uint8, shape (n, h, w) or (n, h, w, 3), or None
        The images, where they were an array to begin with.
    """

    name: str
    ids: Sequence[str]
    shape: tuple[int, ...]
    labels: NDArray[np.str_] | None = None
    resized: bool = False
    read: Callable[[int], NDArray[np.uint8]] = field(repr=False, kw_only=True)
    array_: NDArray[np.uint8] | None = field(default=None, repr=False, kw_only=True)

    def __len__(self) -> int:
        return len(self.ids)

    def batches(self, size: int = 1024) -> Iterator[Batch]:
        """Read the images in order, ``size`` at a time.

        Parameters
        ----------
        size : int
            Images a batch, at most; images that fail are reported in their batch and leave no gap in it.

        Yields
        ------
        Batch
            ``positions`` (int64), ``images`` (uint8) and ``failures``.
        """
        for start in range(0, len(self), size):
            positions = np.arange(start, min(start + size, len(self)))
            if self.array_ is not None:
                yield Batch(positions, self.array_[start : start + size], [])
                continue
            good, images, failures = [], [], []
            for position in positions.tolist():
                try:
                    images.append(fit_to(self.read(position), self.shape))
                    good.append(position)
                except ImageError as e:
                    failures.append(Failure(position, "read", _as_text(str(e))))
            stacked = np.stack(images) if images else np.empty((0, *self.shape), np.uint8)
            yield Batch(np.array(good, np.int64), stacked, failures)

    def array(self) -> NDArray[np.uint8]:
        """Read all images that can be read.

        Returns
        -------
        ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
            Without those that failed.

        Raises
        ------
        CollectionError
            If none can be read.
        """
        if self.array_ is not None:
            return self.array_
        batches = list(self.batches())
        if not any(len(b.images) for b in batches):
            first = next((f.reason for b in batches for f in b.failures), "there is none")
            raise CollectionError(f"{self.name}: none of its {len(self):,} images can be read; the first: {first}")
        return np.concatenate([b.images for b in batches])

    def take(self, positions: Sequence[int] | NDArray[np.int64]) -> Collection:
        """Return some of the images, in the order given, as a collection; ids and labels go along.

        Parameters
        ----------
        positions : sequence of int
            Which images.

        Returns
        -------
        Collection
            A view where the images are read lazily.
        """
        chosen = [int(p) for p in positions]
        read = self.read
        return replace(
            self,
            ids=[self.ids[p] for p in chosen],
            labels=None if self.labels is None else self.labels[chosen],
            read=lambda i: read(chosen[i]),
            array_=None if self.array_ is None else self.array_[chosen],
        )


def open_collection(
    source: str | Path | NDArray[np.generic] | Collection,
    *,
    size: int | tuple[int, int] | None = None,
    labels: Sequence[object] | None = None,
) -> Collection:
    """Open images of any kind as a collection.

    Parameters
    ----------
    source : str, Path, ndarray or Collection
        A built-in name (``mnist``, ``mnist:test``), an IDX file (raw or ``.gz``; labels beside it by MNIST's naming go
        along), an ``.npy`` or ``.npz`` file (``images`` or ``x``, and ``labels`` or ``y``), a folder of images
        (searched with its subfolders, which become labels), one image file, or an array (n, h, w) or (n, h, w, 3); of
        one image, (h, w) or (h, w, 3). A name may end in ``[7]`` or ``[10:20]``. A folder named as a built-in
        collection is reached by ``./mnist``.
    size : int or (int, int), optional
        Bring every image to this side, or (height, width). Without it an array's images keep their size, and a
        folder's are brought to the size they share (up to 128 pixels), else to 64 x 64.
    labels : sequence, optional
        One an image, in place of those found.

    Returns
    -------
    Collection
        Nothing is decoded yet where it is a folder.

    Raises
    ------
    CollectionError
        If it can't be read, holds no image, or images and labels disagree in number.
    UsageError
        If the name, the selection or the size is wrong.

    Examples
    --------
    >>> digits = open_collection("mnist:test[0:100]")
    >>> len(digits), digits.shape, str(digits.labels[7])
    (100, (28, 28), '9')
    """
    if isinstance(source, Collection):
        collection = source
    elif isinstance(source, np.ndarray):
        collection = _from_array("array", _as_images(source, "array"), None)
    else:
        collection = _open_named(str(source))
    if labels is not None:
        collection = replace(collection, labels=_as_labels(np.asarray(labels), len(collection), collection.name))
    return collection if size is None else _resize(collection, size)


def _open_named(source: str) -> Collection:
    if built_in := _BUILT_IN.fullmatch(source):
        part = built_in["part"] or "train"
        return _from_idx(f"mnist:{part}", *mnist_files(part))
    path = Path(source)
    try:
        if source and path.exists():
            return _open_path(path)
    except OSError as e:
        raise CollectionError(f"{source}: can't be read: {e.strerror or e}") from e
    if selection := _SELECTION.fullmatch(source):
        return _select(_open_named(selection["source"]), source, selection)
    if re.fullmatch(r"\w*(:\w+)?", source):
        hint = unknown_name("collection", source, ["mnist", "mnist:train", "mnist:test"])
        raise UsageError(f"{hint}; and there is no file or folder of that name here")
    raise CollectionError(f"{source}: no such file or folder; give a folder, an image, an IDX or .npy file, or 'mnist'")


def _select(collection: Collection, source: str, selection: re.Match[str]) -> Collection:
    n = len(collection)
    first = int(selection["first"] or 0)
    last = int(selection["last"] or n) if selection["colon"] else first + 1
    if not (selection["first"] or selection["colon"]):
        raise UsageError(f"{source}: a number is missing between the brackets; write [7] or [10:20]")
    if not first < last <= n:
        raise UsageError(f"{source}: {collection.name} holds {n:,} images, 0 to {n - 1:,}; pick among those")
    return collection.take(range(first, last))


def _open_path(path: Path) -> Collection:
    if path.is_dir():
        return _from_folder(path)
    if not path.is_file():
        raise CollectionError(f"{path}: neither a file nor a folder; copy its content to a file first")
    if path.suffix.lower() in (".npy", ".npz"):
        return _from_numpy(path)
    if idx.is_idx(path):
        return _from_idx(str(path), path, idx.labels_beside(path))
    image = read_image(path)
    return replace(_from_array(str(path), image[None], None), ids=[_as_text(path.name)], resized=True)


def _from_array(name: str, images: NDArray[np.uint8], labels: NDArray[np.str_] | None) -> Collection:
    ids = [str(i) for i in range(len(images))]
    return Collection(name, ids, images.shape[1:], labels, read=lambda i: images[i], array_=images)


def _from_idx(name: str, images: Path, labels: Path | None) -> Collection:
    pixels = _as_batch(idx.read_idx(images, (3, 4)), str(images))
    found = None if labels is None else _as_labels(idx.read_idx(labels, (1,)), len(pixels), f"{images} and {labels}")
    return _from_array(name, pixels, found)


def _from_numpy(path: Path) -> Collection:
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
    pixels = _as_images(images, str(path))
    return _from_array(str(path), pixels, None if labels is None else _as_labels(labels, len(pixels), str(path)))


def _array_named(arrays: np.lib.npyio.NpzFile, *names: str) -> NDArray[np.generic] | None:
    return next((arrays[name] for name in names if name in arrays.files), None)


def _from_folder(folder: Path) -> Collection:
    paths = sorted(p for p in folder.rglob("*") if _is_candidate(p, folder))
    if not paths:
        raise CollectionError(f"{folder}: no images in this folder; looked for {', '.join(sorted(SUFFIXES))}")
    parents = [_as_text(p.parent.relative_to(folder).as_posix()) for p in paths]
    labels = np.array(parents) if len(set(parents)) > 1 and "." not in parents else None
    ids = [_as_text(p.relative_to(folder).as_posix()) for p in paths]
    return Collection(str(folder), ids, _shared_shape(paths), labels, True, read=lambda i: read_image(paths[i]))


def _is_candidate(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not hidden and path.suffix.lower() in SUFFIXES and path.is_file()


def _shared_shape(paths: list[Path]) -> tuple[int, ...]:
    shapes: set[tuple[int, ...]] = set()
    for path in paths[:: -(-len(paths) // _LOOKED_AT)]:
        try:
            shapes.add(image_shape(path))
        except ImageError:  # a damaged file says so when it is read
            continue
    sizes = {shape[:2] for shape in shapes}
    size = sizes.pop() if len(sizes) == 1 else (DEFAULT_SIDE, DEFAULT_SIDE)
    if max(size) > _LARGEST_SHARED_SIDE:
        size = (DEFAULT_SIDE, DEFAULT_SIDE)
    return (*size, 3) if any(len(shape) == 3 for shape in shapes) else size


def _resize(collection: Collection, size: int | tuple[int, int]) -> Collection:
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise UsageError(f"a size of {width} x {height} pixels; it must be at least 1 x 1")
    shape = (height, width, *collection.shape[2:])
    images = collection.array_
    if images is not None and shape != collection.shape:
        images = np.stack([fit_to(collection.read(i), shape) for i in range(len(images))])
    return replace(collection, shape=shape, resized=True, array_=images)


def _as_images(array: NDArray[np.generic], name: str) -> NDArray[np.uint8]:
    one_image = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3))
    return _as_batch(array[None] if one_image else array, name)


def _as_batch(array: NDArray[np.generic], name: str) -> NDArray[np.uint8]:
    images = array[..., 0] if array.ndim == 4 and array.shape[3] == 1 else array
    if not (images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)) or images.size == 0:
        what = "which holds no images" if images.size == 0 else "expected (n, h, w), (n, h, w, 1) or (n, h, w, 3)"
        raise CollectionError(f"{name}: an array of shape {array.shape}, {what}")
    return to_uint8(images, name)


def _as_labels(labels: NDArray[np.generic], n: int, name: str) -> NDArray[np.str_]:
    if labels.shape != (n,):
        found = f"{len(labels):,} labels" if labels.ndim == 1 else f"labels of shape {labels.shape}"
        raise CollectionError(f"{name}: {n:,} images but {found}; give one label an image")
    if labels.dtype.kind == "S":
        labels = np.strings.decode(labels.astype(np.bytes_), "utf-8", "backslashreplace")
    return labels.astype(np.str_)


def _as_text(name: str) -> str:
    """Write bytes of a file name that are no UTF-8 as escapes, which every file and terminal takes."""
    return name.encode("utf-8", "backslashreplace").decode()
