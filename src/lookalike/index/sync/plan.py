"""A collection's files + the rows that an index has -> what is to be done, by joins of columns.

What hasn't changed is settled here, and costs no Python object; what is left are row numbers, which are made items a chunk
at a time, when their turn comes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.collections.columns import Entries, Entry
from lookalike.index.schema import READ, Facts, files_of
from lookalike.index.sync.known import KnownRows, Rows

Mask = NDArray[np.bool_]


@dataclass
class Item:
    """A file of the collection, and the rows that the index has of it.

    Attributes
    ----------
    entry : Entry
        The file.
    position : int or None
        Its place, where the collection's order means something.
    old : list of Facts
        What the index knows of it, by frame.
    hash : str or None
        Of an image in memory.
    """

    entry: Entry
    position: int | None
    old: list[Facts] = field(default_factory=list)
    hash: str | None = None


@dataclass(frozen=True)
class Rules:
    """How a run decides.

    Attributes
    ----------
    retry : bool
        Try again what failed before.
    rebuild : bool
        Trust nothing that was stored.
    drop_unseen : bool
        Drop what can't be seen now, too.
    """

    retry: bool = False
    rebuild: bool = False
    drop_unseen: bool = False


class KnownFiles:
    """The files that an index knew when a run began, each with its rows; and which of them were met since.

    Parameters
    ----------
    known : KnownRows
        The index's rows.
    sound : ndarray of bool, shape (n,)
        Rows that are what was written.

    Attributes
    ----------
    names : pyarrow.Array
        Of the files.
    is_met : ndarray of bool
        Of each, whether the collection still holds it.
    is_renamed : ndarray of bool
        Of each, whether its bytes were met under another name.
    """

    def __init__(self, known: KnownRows, sound: Mask) -> None:
        encoded = files_of(known.take(["id", "frame"], np.arange(len(known)))).dictionary_encode()
        self.names = encoded.dictionary
        self._file_of: Rows = encoded.indices.to_numpy().astype(np.int64)
        self._file_of[~sound] = -1
        order = np.lexsort((known.take(["frame"], np.arange(len(known)))["frame"].to_numpy(), self._file_of))
        self._rows: Rows = order[int((~sound).sum()) :]
        self._edges: Rows = np.searchsorted(self._file_of[self._rows], np.arange(len(self.names) + 1))
        self.is_met: Mask = np.zeros(len(self.names), np.bool_)
        self.is_met[np.diff(self._edges) == 0] = True  # of which no row is sound
        self.is_renamed: Mask = np.zeros(len(self.names), np.bool_)

    def numbers(self, ids: Any) -> Rows:
        """Return the number of each file by its id, -1 where it isn't known."""
        import pyarrow.compute as pc

        files: Rows = pc.fill_null(pc.index_in(ids, value_set=self.names), -1).to_numpy().astype(np.int64)
        there = files >= 0
        there[there] = np.diff(self._edges)[files[there]] > 0
        return np.where(there, files, -1)

    def rows(self, file: int) -> Rows:
        """Return the rows of a file, by frame; none of number -1."""
        return self._rows[self._edges[file] : self._edges[file + 1]] if file >= 0 else np.empty(0, np.int64)

    def first_rows(self, files: Rows) -> Rows:
        """Return the row of the first frame of each file, -1 where the number is."""
        rows = np.full(len(files), -1, np.int64)
        there = files >= 0
        rows[there] = self._rows[self._edges[files[there]]]
        return rows

    def any_of(self, files: Rows, mask: Mask) -> Mask:
        """Tell of each file whether one of its rows is in a mask; never of number -1."""
        return np.asarray(self._count(files, mask) > 0, np.bool_)

    def all_of(self, files: Rows, mask: Mask) -> Mask:
        """Tell of each file whether all its rows are in a mask; never of number -1."""
        return np.asarray((files >= 0) & (self._count(files, ~mask) == 0), np.bool_)

    def many_of(self, files: Rows) -> Rows:
        """Return how many rows each file has."""
        return self._count(files, np.ones(len(self._file_of), np.bool_))

    def _count(self, files: Rows, mask: Mask) -> Rows:
        total = np.concatenate([[0], np.cumsum(mask[self._rows])])
        by_file = np.append(total[self._edges[1:]] - total[self._edges[:-1]], 0)  # the last of number -1
        return by_file[files]

    def left(self, row: int) -> int | None:
        """Return the number of a row's file, if that wasn't met; None of a row that came in this run, too."""
        file = int(self._file_of[row]) if row < len(self._file_of) else -1
        return None if file < 0 or self.is_met[file] else file

    def left_files(self) -> Iterator[tuple[str, int]]:
        """Return names and numbers of the files that weren't met."""
        rows = np.flatnonzero(~self.is_met)
        return zip(self.names.take(rows).to_pylist(), rows.tolist(), strict=True)


@dataclass(frozen=True)
class Plan:
    """What is to be done with the files of a collection, by their numbers in it, ascending.

    Attributes
    ----------
    kept : ndarray of int64
        Rows, one a file, of those that stay as they are.
    unseen : int
        Files that can't be seen now, and stay.
    restated : ndarray of int64
        Files whose picture is the same, and of which something else is said.
    failed : ndarray of int64
        Files that can't be used, as is known without reading them.
    todo : ndarray of int64
        Files that must be read.
    files : ndarray of int64
        Of every file of the collection, its number among the known ones.
    """

    kept: Rows
    unseen: int
    restated: Rows
    failed: Rows
    todo: Rows
    files: Rows


def make_plan(
    entries: Entries,
    known: KnownRows,
    files: KnownFiles,
    rules: Rules,
    *,
    ordered: bool,
    hashes: list[str] | None = None,
) -> Plan:
    """Compare a collection with what an index has of it.

    Parameters
    ----------
    entries : Entries
        The collection's files.
    known : KnownRows
        The index's rows.
    files : KnownFiles
        The same by file; those that the collection holds are marked as met.
    rules : Rules
        How to decide.
    ordered : bool
        Whether a file's place in the collection means something.
    hashes : list of str, optional
        Of images in memory.

    Returns
    -------
    Plan
        Each file of the collection is in one part of it.
    """
    number = files.numbers(entries.column("id"))
    first_met = np.unique(number, return_index=True)[1]
    is_again = np.ones(len(number), np.bool_)
    is_again[first_met] = False
    number[is_again] = -1  # ids that a caller gives needn't be unique
    files.is_met[number[number >= 0]] = True
    is_old = number >= 0
    first = files.first_rows(number)
    before = known.take(_COMPARED, first[is_old])
    outcome = entries.column("outcome")
    listed = np.asarray(outcome.is_valid(), np.bool_)
    was_seen = np.zeros(len(entries), np.bool_)
    if not rules.drop_unseen:
        was_seen = files.any_of(number, known.was_read)
    unseen = was_seen & (_equal_to(outcome, "unreadable") | _have_no_folder(entries, was_seen))
    said = _same(_stated(entries, ordered).filter(is_old), before.select(list(_STATED)), _STATED)
    if rules.rebuild:
        kept = restated = failed_before = np.zeros(len(entries), np.bool_)
    else:
        current = ~listed & files.all_of(number, known.is_done)
        current[is_old] &= _is_current(entries, is_old, before, hashes)
        if rules.retry:
            current[is_old] &= known.was_read[first[is_old]]
        kept, restated, failed_before = current.copy(), current.copy(), listed & (files.many_of(number) == 1)
        kept[is_old] &= said
        restated[is_old] &= ~said
        failed_before[is_old] &= said & _failed_alike(entries, is_old, before)
    failed = listed & ~unseen & ~failed_before
    settled = (kept | failed_before) & ~unseen
    return Plan(
        kept=first[settled],
        unseen=int(unseen.sum()),
        restated=np.flatnonzero(restated),
        failed=np.flatnonzero(failed),
        todo=np.flatnonzero(~(listed | kept | restated)),
        files=number,
    )


#: What is said of a file, whatever is in it.
_STATED = ("label", "caption_stamp", "metadata", "position")
_COMPARED = (*_STATED, "hash", "size", "mtime_ns", "width", "height", "outcome", "stage", "reason", "caption")


def _stated(entries: Entries, ordered: bool) -> Any:
    import pyarrow as pa

    places = np.arange(len(entries))
    position = pa.array(places, pa.int64()) if ordered else pa.nulls(len(entries), pa.int64())
    table = entries.table.select(list(_STATED[:-1]))
    return table.append_column("position", position)


def _is_current(entries: Entries, is_old: Mask, before: Any, hashes: list[str] | None) -> Mask:
    """Tell of the files that are known whether they are what was indexed, by size and time, or by hash."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if hashes is not None:
        return _same(pa.table({"hash": pa.array(hashes, pa.string())}).filter(is_old), before, ("hash",))
    listed = entries.table.filter(is_old)
    same = _same(listed, before, ("size", "mtime_ns")) & ~_equal_to(listed["kind"], "memory")
    # Only bytes are known to be bad. Of a file that gave none, or failed when it was listed, nothing is known.
    was_read = np.asarray(pc.is_in(before["outcome"], value_set=pa.array(READ)), np.bool_)
    has_no_hash = np.asarray(before["hash"].is_null(), np.bool_)
    unknown = ~was_read & (has_no_hash | _equal_to(before["stage"], "list"))
    return same & ~unknown


def _failed_alike(entries: Entries, is_old: Mask, before: Any) -> Mask:
    """Tell of the files that are known whether they couldn't be used for the very same reason."""
    listed = entries.table.filter(is_old)
    nothing = [
        np.asarray(before[name].is_null(), np.bool_) for name in ("hash", "width", "height", "caption", "caption_stamp")
    ]
    alike = _same(listed, before, ("size", "mtime_ns", "outcome", "reason")) & _equal_to(before["stage"], "list")
    return np.asarray(np.logical_and.reduce([alike, *nothing]), np.bool_)


def _have_no_folder(entries: Entries, among: Mask) -> Mask:
    """Tell listed files that aren't there because their whole folder isn't, as of a disk that was taken out."""
    is_away = np.zeros(len(entries), np.bool_)
    is_there = cache(os.path.isdir)
    rows = np.flatnonzero(among & _equal_to(entries.column("outcome"), "gone"))
    for start in range(0, len(rows), _AT_ONCE):
        chunk = rows[start : start + _AT_ONCE]
        is_away[chunk] = [not is_there(os.path.dirname(entry.source[1])) for entry in entries.some(chunk)]
    return is_away


_AT_ONCE = 8192


def _same(left: Any, right: Any, columns: tuple[str, ...]) -> Mask:
    """Compare two tables row by row; what is unknown in both is the same."""
    import pyarrow.compute as pc

    same = np.ones(left.num_rows, np.bool_)
    for name in columns:
        a, b = left[name].combine_chunks(), right[name].combine_chunks()
        equal = pc.fill_null(pc.equal(a.cast(b.type), b), False)
        same &= np.asarray(pc.or_(equal, pc.and_(a.is_null(), b.is_null())), np.bool_)
    return same


def _equal_to(column: Any, value: str) -> Mask:
    import pyarrow.compute as pc

    return np.asarray(pc.fill_null(pc.equal(column, value), False), np.bool_)
