"""A folder, an archive, a list, an IDX file, an array, one image or a name -> images with ids, and labels if known."""

from __future__ import annotations

import operator
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes, urlsplit

import numpy as np
from numpy.typing import NDArray

from lookalike.collections import archive, file_list, idx
from lookalike.collections.arrays import as_batch, as_labels, read_numpy
from lookalike.collections.builtin import mnist_files
from lookalike.collections.collection import ARRAY, Collection, collection_of, with_labels, with_size
from lookalike.collections.columns import Entries
from lookalike.collections.entries import Files, ReadOptions, fitted
from lookalike.collections.folder import file_entry, scan
from lookalike.collections.ids import as_text
from lookalike.collections.in_memory import content_of, from_base64, pixels_of
from lookalike.collections.objects import ObjectFiles, list_objects
from lookalike.collections.patterns import chosen
from lookalike.collections.tasks import read_entry
from lookalike.errors import CollectionError, UsageError, unknown_name
from lookalike.imaging.decode import decode
from lookalike.imaging.formats import SUFFIXES
from lookalike.imaging.limits import Limits
from lookalike.object_store import open_objects

__all__ = ["Collection", "open_collection"]

_BUILT_IN = re.compile(r"mnist(:(?P<part>[^\[\]]*))?")
_SELECTION = re.compile(r"(?P<source>.+)\[(?P<first>\d*)(?P<colon>:?)(?P<last>\d*)\]", re.DOTALL)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://|file:/", re.IGNORECASE)
#: Longest side that images may be brought to: more is a slip, and would fill the memory.
MAX_SIDE = 16_384
_LIMITS = Limits()

#: What :func:`open_collection` opens; beside these a Pillow image, bytes, an open file, and arrays of other libraries.
Source: TypeAlias = "str | Path | NDArray[np.generic] | Collection | Any"


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
    elif (pixels := pixels_of(source, ARRAY, limits)) is not None:
        collection = _from_array(ARRAY, pixels, None)
    elif (content := content_of(source, limits)) is not None:
        collection = _from_content(content, options)
    else:
        raise UsageError(
            f"images are given by name, path, array, Pillow image, bytes or open file, not as {type(source).__name__}; "
            "of several open each, or join them: np.stack"
        )
    if labels is not None:
        collection = with_labels(collection, as_labels(np.asarray(labels), len(collection), collection.name))
    return collection if size is None else with_size(collection, *_sides(size))


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
    selected = collection.take(range(first, last))
    selected.name = f"{collection.name}[{selection['first']}{selection['colon']}{selection['last']}]"
    return selected


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
    listing = scan(folder, include=options.include, exclude=options.exclude, hidden=options.hidden, links=options.links)
    collection = _from_entries(folder, listing.entries, options, unlisted=listing.unlisted)
    collection.empty, collection.mounts, collection.listed = listing.empty, listing.mounts, begun
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
    collection = collection_of(files)
    collection.source, collection.ordered = str(path.resolve()), ordered
    collection.unlisted = unlisted or {}
    return collection


def open_bucket(address: str, size: int | tuple[int, int] | None, options: ReadOptions) -> Collection:
    """Open the images below an address as a collection to be indexed; a query is never fetched from anywhere.

    Parameters
    ----------
    address : str
        ``s3://bucket/prefix``.
    size : int or (int, int) or None
        As of :func:`open_collection`.
    options : ReadOptions
        What is taken.

    Returns
    -------
    Collection
        Nothing but the list is read yet.

    Raises
    ------
    CollectionError, UsageError
        If it can't be listed, or holds no image.
    """
    objects, begun = open_objects(address), time.time()
    entries = chosen(list_objects(objects, hidden=options.hidden), options.include, options.exclude)
    files = ObjectFiles(str(objects), entries, options)
    if not files.hold_images:
        raise CollectionError(
            f"{objects}: no images below this address{_why_none(options, None)}; looked for {', '.join(sorted(SUFFIXES))}"
        )
    collection = collection_of(files)
    collection.source, collection.ordered, collection.listed = str(objects), False, begun
    return collection if size is None else with_size(collection, *_sides(size))


def _why_none(options: ReadOptions, unlisted: dict[str, str] | None) -> str:
    if unlisted:
        return f", as far as it can be listed ({next(iter(unlisted))}: {next(iter(unlisted.values()))})"
    return " that the patterns leave" if options.include or options.exclude else ""


def _from_image(path: Path, options: ReadOptions) -> Collection:
    name = as_text(str(path))
    data = read_entry(file_entry(path.name, str(path.absolute()), name), name, options.limits)
    collection = _from_content(data, options, name, as_text(path.name))
    collection.source = str(path.resolve())
    return collection


def _from_content(data: bytes, options: ReadOptions, name: str = "an image", identity: str = "0") -> Collection:
    image = decode(data, name, options.limits)
    collection = Collection(
        name,
        [identity],
        image.shape,
        resized=True,
        read=lambda _: image,
        array_=image[None],
        fitted=lambda _, shape: fitted(data, name, shape, options.limits),
    )
    collection.options = options
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
    texts = None if labels is None else as_labels(idx.read_idx(labels, (1,)), len(pixels), f"{images} and {labels}")
    collection = _from_array(name, pixels, texts)
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
