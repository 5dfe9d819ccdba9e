"""A folder, an archive, a list, an IDX file, an array, one image or a name -> images with ids, and labels if known."""

from __future__ import annotations

import copy
import operator
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar
from urllib.parse import unquote_to_bytes, urlsplit

import numpy as np
from numpy.typing import NDArray

from lookalike.collections import archive, file_list, idx
from lookalike.collections.arrays import as_batch, as_labels, image_hash, read_numpy
from lookalike.collections.builtin import mnist_files
from lookalike.collections.columns import Entries
from lookalike.collections.entries import DEFAULT_SIDE, Files, ReadOptions, fitted
from lookalike.collections.folder import as_text, chosen, file_entry, scan
from lookalike.collections.in_memory import content_of, from_base64, pixels_of
from lookalike.collections.tasks import read_entry
from lookalike.errors import CollectionError, ImageError, UsageError, unknown_name
from lookalike.imaging.decode import decode
from lookalike.imaging.formats import SUFFIXES
from lookalike.imaging.limits import Limits
from lookalike.imaging.resize import fit_to
from lookalike.imaging.sandbox.api import Sandbox

__all__ = ["DEFAULT_SIDE", "Batch", "Collection", "Failure", "ReadOptions", "open_collection"]

_BUILT_IN = re.compile(r"mnist(:(?P<part>[^\[\]]*))?")
_SELECTION = re.compile(r"(?P<source>.+)\[(?P<first>\d*)(?P<colon>:?)(?P<last>\d*)\]", re.DOTALL)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://|file:/", re.IGNORECASE)
#: Longest side that images may be brought to: more is a slip, and would fill the memory.
MAX_SIDE = 16_384
_LIMITS = Limits()
_ARRAY = "array"

_T = TypeVar("_T")
#: What :func:`open_collection` opens; beside these a Pillow image, bytes, an open file, and arrays of other libraries.
Source: TypeAlias = "str | Path | NDArray[np.generic] | Collection | Any"
_Labels: TypeAlias = NDArray[np.str_] | None


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
    ) -> None:
        self.name = self.whole = name
        self.source = _ARRAY
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
        self._ids: Callable[[], Sequence[str]] = _given(ids)
        self._shape: Callable[[], tuple[int, ...]] = _given(shape)
        self._labels: Callable[[], _Labels] = _given(labels)
        self._read = read
        self._fitted: Callable[[int, tuple[int, ...]], NDArray[np.uint8]] = lambda i, wanted: fit_to(read(i), wanted)

    def __repr__(self) -> str:
        return f"<Collection {self.name!r} of kind {self.kind}>"

    def __len__(self) -> int:
        return len(self.ids) if self._files is None else len(self._files)

    @property
    def kind(self) -> str:
        """``files`` or ``array``."""
        return _ARRAY if self._files is None else "files"

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
            good, found, failures = [], [], []
            for position in range(start, min(start + size, len(self))):
                result = next(results)
                if isinstance(result, Failure):
                    failures.append(result)
                else:
                    good.append(position)
                    found.append(result)
            stacked = np.stack(found) if found else np.empty((0, *self.shape), np.uint8)
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
        some, whole = copy.copy(self), self
        some._ids = _given([self.ids[p] for p in picked])
        some._shape = lambda: whole.shape
        some._labels = cache(lambda: None if whole.labels is None else whole.labels[picked])
        some._read = lambda i: whole.read(picked[i])
        some._fitted = lambda i, shape: whole.fitted(picked[i], shape)
        some._files = None if self._files is None else self._files.take(picked)
        some.array_ = None if self.array_ is None else self.array_[picked]
        return some

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


def _given(value: _T) -> Callable[[], _T]:
    return lambda: value


def open_collection(
    source: Source,
    *,
    size: int | tuple[int, int] | None = None,
    labels: Sequence[object] | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    hidden: bool = False,
    each: bool = False,
    path_column: str | None = None,
    label_column: str | None = None,
    links: bool = True,
    limits: Limits = _LIMITS,
) -> Collection:
    """Open images of any kind as a collection.

    Parameters
    ----------
    source : str, Path, ndarray, PIL.Image.Image, bytes, file object or Collection
        A built-in name (``mnist``, ``mnist:test``), an IDX file (raw or ``.gz``; labels beside it by MNIST's naming go
        along), an ``.npy`` or ``.npz`` file (``images`` or ``x``, and ``labels`` or ``y``), a folder of images
        (searched with its subfolders, which become labels), a ``.zip`` or ``.tar`` archive (``.tar.gz``, ``.tgz``,
        ``.tar.bz2``, ``.tar.xz``) read in place, a list of paths (``.txt``, ``.csv``, ``.parquet``), one image file, or
        an array (n, h, w) or (n, h, w, 3); of one image, (h, w) or (h, w, 3). With 2 or 4 channels the last is opacity, and
        the image is laid on white. A Pillow image, the bytes of an image file, a file open for reading, a ``file://`` or a
        ``data:`` address is one image. A name may end in ``[7]`` or ``[10:20]``. A folder named as a built-in collection is reached by ``./mnist``.
    size : int or (int, int), optional
        Bring every image to this side, or (height, width). Without it an array's images keep their size, and files are
        brought to the size they share (up to 128 pixels), else to 64 x 64.
    labels : sequence, optional
        One an image, in place of those found.
    include, exclude : sequence of str
        Glob patterns of files to take, and of files and folders to leave out: one with a ``/`` is matched against the
        path relative to the collection, one without against the name. This and what follows is for what is made of
        files.
    hidden : bool
        Take files and folders whose name begins with a dot, too.
    each : bool
        For an index: every frame of an animation and every page of a TIFF, not the first only.
    path_column, label_column : str, optional
        Of a table that lists images: the columns of the paths and the labels, where they have no usual name.
    links : bool
        Follow links that lead out of a folder. A text behind one is never taken as a caption.
    limits : Limits
        What reading one file may cost.

    Returns
    -------
    Collection
        Nothing is decoded yet where it is of files.

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
    options = ReadOptions(tuple(include), tuple(exclude), hidden, each, path_column, label_column, links, limits)
    if isinstance(source, Collection):
        collection = source
    elif isinstance(source, str | os.PathLike):
        collection = _open_named(str(source), options)
    elif (pixels := pixels_of(source, _ARRAY, limits)) is not None:
        collection = _from_array(_ARRAY, pixels, None)
    elif (content := content_of(source, limits)) is not None:
        collection = _from_content(content, options)
    else:
        raise UsageError(
            f"images are given by name, path, array, Pillow image, bytes or open file, not as {type(source).__name__}; "
            "of several open each, or join them: np.stack"
        )
    if labels is not None:
        given = as_labels(np.asarray(labels), len(collection), collection.name)
        collection = copy.copy(collection)
        collection._labels = _given(given)
    return collection if size is None else _resize(collection, size)


def is_built_in(source: str) -> bool:
    """Tell a built-in collection's name, or what an index of one was made of, from a path.

    Parameters
    ----------
    source : str
        As of :func:`open_collection`.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_built_in("mnist:train"), is_built_in("./mnist")
    (True, False)
    """
    return _BUILT_IN.fullmatch(source) is not None


def _open_named(source: str, options: ReadOptions) -> Collection:
    if built_in := _BUILT_IN.fullmatch(source):
        part = built_in["part"] or "train"
        return _from_idx(f"mnist:{part}", *mnist_files(part))
    if source[:5].lower() == "data:":
        return _from_content(from_base64(source), options)
    path = Path(source)
    try:
        if source and path.exists():
            return _open_path(path, options)
    except OSError as e:
        raise CollectionError(f"{source[:200]}: can't be read: {e.strerror or e}") from e
    if selection := _SELECTION.fullmatch(source):
        return _select(_open_named(selection["source"], options), source, selection)
    if address := _ADDRESS.match(source):
        if address[0].lower().startswith("file:"):
            return _open_named(_path_of(source), options)
        raise CollectionError(f"{source[:200]}: nothing is fetched from the network; download it, and give the file")
    if re.fullmatch(r"\w*(:\w+)?", source):
        hint = unknown_name("collection", source, ["mnist", "mnist:train", "mnist:test"])
        raise UsageError(f"{hint}; and there is no file or folder of that name here")
    raise CollectionError(
        f"{source}: no such file or folder; give a folder, an archive, a list, an image, an IDX or .npy file, or 'mnist'"
    )


def _select(collection: Collection, source: str, selection: re.Match[str]) -> Collection:
    n = len(collection)
    first = int(selection["first"] or 0)
    last = int(selection["last"] or n) if selection["colon"] else first + 1
    if not (selection["first"] or selection["colon"]):
        raise UsageError(f"{source}: a number is missing between the brackets; write [7] or [10:20]")
    if not first < last <= n:
        raise UsageError(f"{source}: {collection.name} holds {n:,} images, 0 to {n - 1:,}; pick among those")
    some = collection.take(range(first, last))
    some.name = f"{collection.name}[{selection['first']}{selection['colon']}{selection['last']}]"
    return some


def _open_path(path: Path, options: ReadOptions) -> Collection:
    if path.is_dir():
        return _from_folder(path, options)
    if not path.is_file():
        raise CollectionError(f"{path}: neither a file nor a folder; copy its content to a file first")
    if archive.is_archive(path):
        return _from_entries(path, archive.list_archive(path, hidden=options.hidden), options)
    if file_list.is_list(path):
        listed = file_list.read_list(path, options.path_column, options.label_column)
        return _from_entries(path, listed, options, ordered=True)
    if path.suffix.lower() in (".npy", ".npz"):
        return _from_numpy(path)
    if idx.is_idx(path):
        return _from_idx(str(path), path, idx.labels_beside(path))
    return _from_image(path, options)


def _from_folder(folder: Path, options: ReadOptions) -> Collection:
    begun = time.time()
    found = scan(folder, include=options.include, exclude=options.exclude, hidden=options.hidden, links=options.links)
    collection = _from_entries(folder, found.entries, options, unlisted=found.unlisted)
    collection.empty, collection.mounts, collection.listed = found.empty, found.mounts, begun
    return collection


def _from_entries(
    path: Path,
    entries: Entries,
    options: ReadOptions,
    *,
    unlisted: dict[str, str] | None = None,
    ordered: bool = False,
) -> Collection:
    name = as_text(str(path))
    files = Files(name, entries if path.is_dir() else chosen(entries, options.include, options.exclude), options)
    if not files.hold_images:
        what = "folder" if path.is_dir() else "list" if ordered else "archive"
        raise CollectionError(
            f"{name}: no images in this {what}{_why_none(options, unlisted)}; looked for {', '.join(sorted(SUFFIXES))}"
        )
    collection = Collection(name, (), (), resized=True, read=files.read)
    collection._files = files
    collection._fitted = files.fitted
    collection._ids, collection._shape, collection._labels = _of(files)
    collection.source, collection.options, collection.ordered = str(path.resolve()), options, ordered
    collection.unlisted = unlisted or {}
    return collection


def _of(files: Files) -> tuple[Callable[[], Sequence[str]], Callable[[], tuple[int, ...]], Callable[[], _Labels]]:
    return lambda: files.ids, lambda: files.shape, lambda: files.labels


def _why_none(options: ReadOptions, unlisted: dict[str, str] | None) -> str:
    if unlisted:
        return f", as far as it can be listed ({next(iter(unlisted))}: {next(iter(unlisted.values()))})"
    return " that the patterns leave" if options.include or options.exclude else ""


def _from_image(path: Path, options: ReadOptions) -> Collection:
    name = as_text(str(path))
    data = read_entry(file_entry(path.name, str(path.absolute()), name), name, options.limits)
    collection = _from_content(data, options, name)
    collection.source = str(path.resolve())
    collection._ids = _given([as_text(path.name)])
    return collection


def _from_content(data: bytes, options: ReadOptions, name: str = "an image") -> Collection:
    image = decode(data, name, options.limits)
    collection = _from_array(name, image[None], None)
    collection.resized, collection.options = True, options
    collection._fitted = lambda _, shape: fitted(data, name, shape, options.limits)
    return collection


def _path_of(address: str) -> str:
    """Return the path of a ``file:`` address, which must be one of this machine."""
    parts = urlsplit(address)
    if parts.netloc not in ("", "localhost"):
        raise CollectionError(f"{address[:200]}: names another machine, {parts.netloc}; nothing is fetched from there")
    return os.fsdecode(unquote_to_bytes(parts.path + (f"?{parts.query}" if parts.query else "")))


def _from_array(name: str, images: NDArray[np.uint8], labels: NDArray[np.str_] | None) -> Collection:
    ids = [str(i) for i in range(len(images))]
    return Collection(name, ids, images.shape[1:], labels, read=lambda i: images[i], array_=images)


def _from_idx(name: str, images: Path, labels: Path | None) -> Collection:
    pixels = as_batch(idx.read_idx(images, (3, 4)), str(images))
    found = None if labels is None else as_labels(idx.read_idx(labels, (1,)), len(pixels), f"{images} and {labels}")
    collection = _from_array(name, pixels, found)
    collection.source = name if is_built_in(name) else str(images.resolve())
    return collection


def _from_numpy(path: Path) -> Collection:
    collection = _from_array(str(path), *read_numpy(path))
    collection.source = str(path.resolve())
    return collection


def _sides(size: Any) -> tuple[int, int]:
    """Read a side, or height and width, whatever kind of whole number they are."""
    try:
        if isinstance(size, tuple | list | np.ndarray) and np.ndim(size):
            height, width = (operator.index(side) for side in size)
        else:
            height = width = operator.index(size)
    except (TypeError, ValueError):
        raise UsageError(
            "a size is a side in pixels, or (height, width), in whole numbers; give 64, or (60, 80)"
        ) from None
    if not 1 <= min(height, width) <= max(height, width) <= MAX_SIDE:
        shown = f"{width} x {height}" if abs(width) + abs(height) < 10**9 else "very many"
        raise UsageError(f"a size of {shown} pixels; it must be at least 1 x 1, and each side at most {MAX_SIDE:,}")
    return height, width


def _resize(collection: Collection, size: Any) -> Collection:
    height, width = _sides(size)
    resized = copy.copy(collection)
    resized.resized = resized.is_sized = True
    resized._shape = cache(lambda: (height, width, *collection.shape[2:]))
    if collection.array_ is not None and resized.shape != collection.shape:
        resized.array_ = np.stack([collection.fitted(i, resized.shape) for i in range(len(collection))])
    return resized
