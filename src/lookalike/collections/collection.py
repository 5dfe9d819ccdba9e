"""Images in a fixed order, all brought to one shape, with ids and perhaps labels; read when they are wanted."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lookalike.collections.arrays import image_hash
from lookalike.collections.columns import Entries
from lookalike.collections.entries import Files, ReadOptions
from lookalike.collections.ids import as_text
from lookalike.errors import CollectionError, ImageError
from lookalike.imaging.resize import fit_to
from lookalike.imaging.sandbox.api import Sandbox

#: What tells a collection in memory from one of files.
ARRAY = "array"


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


class Collection:
    """Images to search or to learn from, in a fixed order, all brought to one shape.

    :func:`open_collection` makes them. Images that come from elsewhere are given by a function that reads one.

    Parameters
    ----------
    name : str
        What it is called in messages and in an index's manifest: ``mnist:train``, ``photos``, ``mnist:test[0:100]``.
    ids : sequence of str
        One an image: its path relative to the collection, or its position.
    shape : tuple of int
        Shape of every image: ``(h, w)`` or ``(h, w, 3)``.
    labels : ndarray of str, shape (n,), optional
        For scoring only; nothing learns from them.
    resized : bool
        Whether query images of another size may be brought to ``shape`` unasked: where sizes differ anyway, as in a
        folder, and where a size was asked for.
    read : callable
        Position -> uint8 image as it is stored, of any shape; raises ImageError.
    array_ : ndarray of uint8, shape (n, h, w) or (n, h, w, 3), optional
        The images, where they were an array to begin with.
    fitted : callable, optional
        Position and shape -> uint8 image of that shape, as an index fits it; by default what ``read`` gives is fitted.

    Attributes
    ----------
    name, resized, array_
        As given.
    whole : str
        The name without what was selected of it: ``mnist:test``.
    source : str
        What it is, wherever one stands and whatever is selected: a resolved path, a built-in name, or ``array``.
    kind : str
        ``files``, each read when it is wanted, or ``array``.
    ordered : bool
        Whether an image's place means something, as in an array and a list; a folder is in the order of its names.
    entries : Entries or None
        All files, those that are no images too; None where there are none.
    unlisted : dict of str to str
        Folders that could not be listed, and why.
    empty : dict of str to int
        Folders in which nothing lies, and when they were last changed, in nanoseconds since 1970.
    mounts : list of str
        Folders that lie on another disk than the folder around them.
    listed : float
        When that was looked at, in seconds since 1970.
    options : ReadOptions
        How files are read.
    is_sized : bool
        Whether a size was asked for.
    """

    def __init__(
        self,
        name: str,
        ids: Sequence[str],
        shape: tuple[int, ...],
        labels: NDArray[np.str_] | None = None,
        resized: bool = False,
        *,
        read: Callable[[int], NDArray[np.uint8]],
        array_: NDArray[np.uint8] | None = None,
        fitted: Callable[[int, tuple[int, ...]], NDArray[np.uint8]] | None = None,
    ) -> None:
        self.name = self.whole = name
        self.source = ARRAY
        self.resized = resized
        self.is_sized = False
        self.ordered = True
        self.array_ = array_
        self.unlisted: dict[str, str] = {}
        self.empty: dict[str, int] = {}
        self.mounts: list[str] = []
        self.listed = time.time()
        self.options = ReadOptions()
        self._files: Files | None = None
        # Of files these three are found out when they are asked for: it may mean to look into many.
        self._ids: Callable[[], Sequence[str]] = lambda: ids
        self._shape: Callable[[], tuple[int, ...]] = lambda: shape
        self._labels: Callable[[], NDArray[np.str_] | None] = lambda: labels
        self._read = read
        self._fitted = fitted or (lambda i, wanted: fit_to(read(i), wanted))

    def __repr__(self) -> str:
        return f"<Collection {self.name!r} of kind {self.kind}>"

    def __len__(self) -> int:
        return len(self.ids) if self._files is None else len(self._files)

    @property
    def kind(self) -> str:
        """``files`` or ``array``."""
        return ARRAY if self._files is None else "files"

    def sandbox(self, workers: int | None = None) -> Sandbox:
        """Return what reads the files of the collection; closed when it isn't needed any more.

        Parameters
        ----------
        workers : int, optional
            Processes; by default one a core.

        Returns
        -------
        Sandbox
            Workers that measured the images read them too.

        Raises
        ------
        CollectionError
            If the images are no files.
        """
        if self._files is None:
            raise CollectionError(f"{self.name}: its images are no files, so there is nothing to be read")
        sandbox = self._files.sandbox
        if workers != sandbox.workers:
            sandbox.close()
            sandbox.workers = workers
        return sandbox

    @property
    def entries(self) -> Entries | None:
        """All files, in the order of the collection; None where it is of no files."""
        return None if self._files is None else self._files.entries

    @property
    def ids(self) -> Sequence[str]:
        """One an image: its path relative to the collection, or its position."""
        return self._ids()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of every image: ``(h, w)`` or ``(h, w, 3)``; of files, headers are read to choose it."""
        return self._shape()

    @property
    def labels(self) -> NDArray[np.str_] | None:
        """One an image, or None; for scoring only."""
        return self._labels()

    def read(self, position: int) -> NDArray[np.uint8]:
        """Read one image in this process, as it is stored.

        Parameters
        ----------
        position : int
            Which.

        Returns
        -------
        ndarray of uint8, shape (h, w) or (h, w, 3)
            Of any size.

        Raises
        ------
        ImageError
            If it can't be read.
        """
        return self._read(position)

    def read_same(self, position: int, digest: str) -> NDArray[np.uint8] | None:
        """Read one image as it is stored, if it is the very one that an index has seen.

        Parameters
        ----------
        position : int
            Which.
        digest : str
            The index's ``hash`` of it.

        Returns
        -------
        ndarray of uint8, shape (h, w) or (h, w, 3), or None
            None where it has changed since.

        Raises
        ------
        ImageError
            If it can't be read.
        """
        if self._files is not None:
            return self._files.read_same(position, digest)
        image = self.read(position)
        return image if image_hash(image) == digest else None

    def fitted(self, position: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Read one image in this process and bring it to a shape exactly as an index does.

        Parameters
        ----------
        position : int
            Which.
        shape : tuple of int
            ``(h, w)`` or ``(h, w, 3)``.

        Returns
        -------
        ndarray of uint8, shape ``shape``
            The image.

        Raises
        ------
        ImageError
            If it can't be read.
        """
        return self._fitted(position, shape)

    def batches(self, size: int = 1024) -> Iterator[Batch]:
        """Read the images in order, ``size`` at a time; files in processes that can be killed.

        Parameters
        ----------
        size : int
            Images a batch, at most; images that fail are reported in their batch and leave no gap in it.

        Yields
        ------
        Batch
            ``positions`` (int64), ``images`` (uint8) and ``failures``.
        """
        if self.array_ is not None:
            for start in range(0, len(self), size):
                images = self.array_[start : start + size]
                yield Batch(np.arange(start, start + len(images)), images, [])
            return
        results = self._each()
        for start in range(0, len(self), size):
            good, pixels, failures = [], [], []
            for position in range(start, min(start + size, len(self))):
                result = next(results)
                if isinstance(result, Failure):
                    failures.append(result)
                else:
                    good.append(position)
                    pixels.append(result)
            stacked = np.stack(pixels) if pixels else np.empty((0, *self.shape), np.uint8)
            yield Batch(np.array(good, np.int64), stacked, failures)

    def _each(self) -> Iterator[NDArray[np.uint8] | Failure]:
        if self._files is None:
            for position in range(len(self)):
                try:
                    yield self.fitted(position, self.shape)
                except ImageError as e:
                    yield Failure(position, "read", as_text(str(e)))
            return
        for position, reading in enumerate(self._files.readings(self.shape)):
            if reading.outcome is None:
                yield reading.pictures[0].fitted[0]
            else:
                yield Failure(position, reading.stage or "read", as_text(reading.reason or reading.outcome))

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
        picked = [int(p) for p in positions]
        part, whole = copy.copy(self), self
        ids = [self.ids[p] for p in picked]
        part._ids = lambda: ids
        part._shape = lambda: whole.shape
        part._labels = cache(lambda: None if whole.labels is None else whole.labels[picked])
        part._read = lambda i: whole.read(picked[i])
        part._fitted = lambda i, shape: whole.fitted(picked[i], shape)
        part._files = None if self._files is None else self._files.take(picked)
        part.array_ = None if self.array_ is None else self.array_[picked]
        return part

    def evenly(self, most: int) -> Collection:
        """Return at most so many of the images, evenly spaced, from the first on.

        Parameters
        ----------
        most : int
            1 or more.

        Returns
        -------
        Collection
            This one if it holds no more.
        """
        step = -(-len(self) // most)
        return self.take(range(0, len(self), step)) if step > 1 else self


def collection_of(files: Files) -> Collection:
    """Return the images among some files; which they are, their shape and their labels are found out when needed.

    Parameters
    ----------
    files : Files
        At least one of them an image.

    Returns
    -------
    Collection
    """
    collection = Collection(files.name, (), (), resized=True, read=files.read, fitted=files.fitted)
    collection._files, collection.options = files, files.options
    collection._ids, collection._shape = lambda: files.ids, lambda: files.shape
    collection._labels = lambda: files.labels
    return collection


def with_labels(collection: Collection, labels: NDArray[np.str_]) -> Collection:
    """Return the same images with other labels.

    Parameters
    ----------
    collection : Collection
        Any.
    labels : ndarray of str, shape (n,)
        One an image.

    Returns
    -------
    Collection
    """
    labelled = copy.copy(collection)
    labelled._labels = lambda: labels
    return labelled


def with_size(collection: Collection, height: int, width: int) -> Collection:
    """Return the same images brought to a size.

    Parameters
    ----------
    collection : Collection
        Any.
    height, width : int
        In pixels.

    Returns
    -------
    Collection
    """
    sized = copy.copy(collection)
    sized.resized = sized.is_sized = True
    sized._shape = cache(lambda: (height, width, *collection.shape[2:]))
    if collection.array_ is not None and sized.shape != collection.shape:
        sized.array_ = np.stack([collection.fitted(i, sized.shape) for i in range(len(collection))])
    return sized
