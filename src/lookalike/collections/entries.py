"""Entries -> images: which of them are images, the shape that all are brought to, and their pixels, read in the sandbox."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lookalike.collections.columns import Entries, Entry
from lookalike.collections.tasks import Reading, from_answer, read_entry, read_head, to_task
from lookalike.errors import ImageError
from lookalike.imaging.decode import decode, pictures
from lookalike.imaging.formats import HEAD, SUFFIXES, format_of
from lookalike.imaging.limits import Limits
from lookalike.imaging.sandbox.api import Sandbox

#: The side that images are brought to where they don't share one, and none is asked for.
DEFAULT_SIDE = 64
_LARGEST_SHARED_SIDE = 128
_LOOKED_AT = 256  # files whose headers are read to choose one shape for all


@dataclass(frozen=True)
class ReadOptions:
    """What is taken of a collection of files, and what reading one may cost.

    Attributes
    ----------
    include, exclude : tuple of str
        Glob patterns, as :func:`lookalike.collections.folder.scan` takes them.
    hidden : bool
        Take files and folders whose name begins with a dot, too.
    each : bool
        Index every frame of an animation and every page of a TIFF, not the first only.
    path_column, label_column : str or None
        Of a list: the columns that hold the paths and the labels, where they are called otherwise than usual.
    links : bool
        Follow links out of the collection.
    limits : Limits
        For one file.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    hidden: bool = False
    each: bool = False
    path_column: str | None = None
    label_column: str | None = None
    links: bool = True
    limits: Limits = Limits()  # noqa: RUF009  # it is frozen


class Files:
    """The images among the files of a collection.

    Parameters
    ----------
    name : str
        What the collection is called in reasons.
    entries : Entries
        All its files.
    options : ReadOptions
        How they are read.
    """

    def __init__(self, name: str, entries: Entries, options: ReadOptions) -> None:
        self.name = name
        self.entries = entries
        self.options = options

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.members)

    @cached_property
    def members(self) -> Entries:
        """The entries that are images by their ending or, where that isn't known, by their first bytes."""
        named, listed = _are_named_as_images(self.entries), _may_be_read(self.entries)
        is_image = named & listed
        rest = np.flatnonzero(~named & listed)
        is_image[rest] = [_looks_like_image(entry) for entry in self.entries.take(rest)]
        return self.entries.take(is_image)

    @property
    def hold_images(self) -> bool:
        """Whether any is one; no more is looked into than that takes."""
        named, listed = _are_named_as_images(self.entries), _may_be_read(self.entries)
        return bool((named & listed).any()) or any(map(_looks_like_image, self.entries.take(listed)))

    @cached_property
    def ids(self) -> list[str]:
        """Of the images."""
        return list(self.members.column("id").to_pylist())

    @cached_property
    def labels(self) -> NDArray[np.str_] | None:
        """Of the images, empty where one has none; None where all that have one have the same."""
        column = self.members.column("label")
        if len({label for label in column.unique().to_pylist() if label}) < 2:
            return None
        return np.array([label or "" for label in column.to_pylist()])

    @cached_property
    def sandbox(self) -> Sandbox:
        """What reads these files; its workers start when they are first needed, and stay until it is closed."""
        limits = self.options.limits
        return Sandbox(seconds=limits.seconds, memory=limits.memory)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The size that the images share if it is small, else a square; in colour if any is."""
        step = max(1, -(-len(self.members) // _LOOKED_AT))
        looked_at = [entry for entry in self.members[::step] if entry.outcome is None]
        limits = self.options.limits
        tasks = (to_task(entry, self._where(entry), limits=limits, measure=True) for entry in looked_at)
        measured = {from_answer(answer).shape for answer in self.sandbox.map(tasks)}  # who measures will read
        shapes = [shape for shape in measured if shape is not None]  # a damaged file says so when it is read
        sizes = {shape[:2] for shape in shapes}
        size = sizes.pop() if len(sizes) == 1 else (DEFAULT_SIDE, DEFAULT_SIDE)
        if max(size) > _LARGEST_SHARED_SIDE:
            size = (DEFAULT_SIDE, DEFAULT_SIDE)
        return (*size, 3) if any(len(shape) == 3 for shape in shapes) else size

    def take(self, positions: Sequence[int]) -> Files:
        """Return some of the images.

        Parameters
        ----------
        positions : sequence of int
            Which of ``members``.

        Returns
        -------
        Files
            In the order given.
        """
        part = type(self)(self.name, self.members.take(positions), self.options)
        part.members = part.entries  # what has been looked into is not looked into again: it may be gone by now
        return part

    def read(self, position: int) -> NDArray[np.uint8]:
        """Decode one image at its full size, in this process.

        Parameters
        ----------
        position : int
            Which of ``members``.

        Returns
        -------
        ndarray of uint8, shape (h, w) or (h, w, 3)
            Its first frame.

        Raises
        ------
        ImageError
            If it can't be read.
        """
        return decode(*self._data(position), self.options.limits)

    def read_same(self, position: int, digest: str) -> NDArray[np.uint8] | None:
        """Do the same, but only of the very file that a hash was made of.

        Parameters
        ----------
        position : int
            Which of ``members``.
        digest : str
            SHA-256 of the file, in hexadecimal.

        Returns
        -------
        ndarray of uint8, shape (h, w) or (h, w, 3), or None
            None where it is another file by now.

        Raises
        ------
        ImageError
            If it can't be read.
        """
        data, where = self._data(position)
        return decode(data, where, self.options.limits) if hashlib.sha256(data).hexdigest() == digest else None

    def fitted(self, position: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Decode one image in this process and bring it to a shape exactly as an index does.

        Parameters
        ----------
        position : int
            Which of ``members``.
        shape : tuple of int
            ``(h, w)`` or ``(h, w, 3)``.

        Returns
        -------
        ndarray of uint8, shape ``shape``
            Its first frame.

        Raises
        ------
        ImageError
            If it can't be read.
        """
        return fitted(*self._data(position), shape, self.options.limits)

    def readings(self, shape: tuple[int, ...]) -> Iterator[Reading]:
        """Read all images, in processes that can be killed.

        Parameters
        ----------
        shape : tuple of int
            What their first frames are brought to.

        Yields
        ------
        Reading
            One an image, in order.
        """
        limits = self.options.limits
        readable = (entry for entry in self.members if entry.outcome is None)
        tasks = (to_task(entry, self._where(entry), [shape], limits=limits) for entry in readable)
        with self.sandbox as sandbox:
            answers = sandbox.map(tasks)
            for entry in self.members:
                if entry.outcome is not None:
                    yield Reading(outcome=entry.outcome, stage="list", reason=entry.reason)
                else:
                    yield from_answer(next(answers), [shape])

    def _where(self, entry: Entry) -> str:
        return f"{self.name}/{entry.id}"

    def _data(self, position: int) -> tuple[bytes, str]:
        entry = self.members[position]
        where = self._where(entry)
        return read_entry(entry, where, self.options.limits), where


def fitted(data: bytes, where: str, shape: tuple[int, ...], limits: Limits) -> NDArray[np.uint8]:
    """Decode a file's first frame and bring it to a shape exactly as an index does.

    Parameters
    ----------
    data : bytes
        The file.
    where : str
        What it is called in errors.
    shape : tuple of int
        ``(h, w)`` or ``(h, w, 3)``.
    limits : Limits
        Of which those of pixels count here.

    Returns
    -------
    ndarray of uint8, shape ``shape``
        The image.

    Raises
    ------
    ImageError
        If it can't be decoded.
    """
    for picture in pictures(data, where, [shape], limits=limits, thumbnail=None):
        return picture.fitted[0]
    raise ImageError(f"{where}: holds no picture; leave it out", "damaged")


def _are_named_as_images(entries: Entries) -> NDArray[np.bool_]:
    import pyarrow.compute as pc

    endings = "|".join(re.escape(suffix.removeprefix(".")) for suffix in sorted(SUFFIXES))
    named = pc.match_substring_regex(entries.column("id"), rf"[^./][^/]*\.({endings})$", ignore_case=True)
    return np.asarray(named.to_numpy(), np.bool_)


def _may_be_read(entries: Entries) -> NDArray[np.bool_]:
    """Tell the files that aren't known to be none of an image."""
    import pyarrow as pa
    import pyarrow.compute as pc

    known = pc.is_in(entries.column("outcome"), value_set=pa.array(["caption", "unsupported"]))
    return np.asarray(pc.invert(known).to_numpy(), np.bool_)


def _looks_like_image(entry: Entry) -> bool:
    """Tell a file that isn't named as an image by its first bytes."""
    try:
        return entry.outcome is None and format_of(read_head(entry, HEAD)) is not None
    except (ImageError, OSError):
        return False
