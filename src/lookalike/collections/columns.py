"""The files of a collection as columns: what was listed of each, before anything is read.

A collection may hold millions of files, so none is a Python object for longer than somebody looks at it: :class:`Entries`
keeps Arrow columns, and makes an :class:`Entry` of a row when that is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows of a chunk while columns are gathered, and rows that are made entries together.
_CHUNK = 8192


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a collection, before it is read.

    Attributes
    ----------
    id : str
        Path relative to the collection, with ``/``; bytes that are no UTF-8 written as escapes. Unique in it.
    source : tuple of str
        What the reader opens: ``("file", path)``, ``("zip", archive, member)`` or ``("tar", archive, place)``.
    size, mtime_ns : int
        In bytes, and when it was last changed; of an archive's member the time is the archive's.
    label : str or None
        The folder it lies in, or what a list says.
    caption : (str, str) or None
        Where :func:`lookalike.collections.tasks.read_caption` finds the sidecar text, and a stamp that changes when the text
        does: ``size:mtime_ns``.
    metadata : dict or None
        A list's other columns; fit for JSON.
    outcome, reason : str or None
        What is known of it without reading: ``unsupported``, ``unreadable``, ``gone``, ``caption``.
    """

    id: str
    source: tuple[str, ...]
    size: int
    mtime_ns: int
    label: str | None = None
    caption: tuple[str, str] | None = None
    metadata: dict[str, Any] | None = None
    outcome: str | None = None
    reason: str | None = None


#: The columns of :class:`Entries`, and how an entry fills each. Paths are bytes, since names of files needn't be UTF-8.
_COLUMNS: dict[str, tuple[str, Callable[[Entry], Any]]] = {
    "id": ("large_string", lambda e: e.id),
    "kind": ("string", lambda e: e.source[0]),
    "path": ("large_binary", lambda e: _packed(e.source[1])),
    "member": ("large_binary", lambda e: _packed(e.source[2]) if len(e.source) > 2 else None),
    "size": ("int64", lambda e: e.size),
    "mtime_ns": ("int64", lambda e: e.mtime_ns),
    "label": ("large_string", lambda e: e.label),
    "caption": ("large_binary", lambda e: None if e.caption is None else _packed(e.caption[0])),
    "caption_stamp": ("string", lambda e: None if e.caption is None else e.caption[1]),
    "metadata": ("large_string", lambda e: metadata_text(e.metadata)),
    "outcome": ("string", lambda e: e.outcome),
    "reason": ("large_string", lambda e: e.reason),
}


class Entries(Sequence[Entry]):
    """Files in a fixed order, as columns; a sequence of :class:`Entry` to whoever looks at one.

    Parameters
    ----------
    table : pyarrow.Table
        With the columns of :func:`schema`.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @overload
    def __getitem__(self, at: int) -> Entry: ...
    @overload
    def __getitem__(self, at: slice) -> Entries: ...
    def __getitem__(self, at: int | slice) -> Entry | Entries:
        if isinstance(at, slice):
            return self.take(np.arange(len(self))[at])
        row = at + len(self) if at < 0 else at
        if not 0 <= row < len(self):
            raise IndexError(f"no entry {at} of {len(self):,}")
        return next(_rows_of(self.table.slice(row, 1)))

    def __iter__(self) -> Iterator[Entry]:
        for start in range(0, len(self), _CHUNK):
            yield from _rows_of(self.table.slice(start, _CHUNK))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Entries: {len(self):,} files>"

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one of the columns."""
        return self.table[name]

    def some(self, rows: Sequence[int] | NDArray[np.int64]) -> list[Entry]:
        """Return the entries of some rows, in the order given."""
        return list(_rows_of(self.table.take(np.asarray(rows, np.int64))))

    def take(self, rows: Sequence[int] | NDArray[np.int64] | NDArray[np.bool_]) -> Entries:
        """Return some rows as columns: by their numbers in the order given, or by a mask."""
        if isinstance(rows, np.ndarray) and rows.dtype == np.bool_:
            return self if rows.all() else Entries(self.table.filter(rows))
        return Entries(self.table.take(np.asarray(rows, np.int64)))

    def replace(self, name: str, values: list[Any]) -> Entries:
        """Return them with other values of one column."""
        form, place = self.table.schema.field(name), self.table.schema.get_field_index(name)
        return Entries(self.table.set_column(place, form, [_array(values, form.type)]))

    def sorted(self) -> Entries:
        """Return them in the order of their ids, by code point."""
        import pyarrow.compute as pc

        ids = self.table["id"]
        order = pc.sort_indices(ids).to_numpy()
        if np.array_equal(order, np.arange(len(order))):
            return self
        return Entries(self.table.take(order).combine_chunks())


class EntriesBuilder:
    """Gathers files into columns, a chunk at a time."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
        self._batches: list[pa.RecordBatch] = []

    def add(self, entry: Entry) -> None:
        """Add one file."""
        for name, (_, fill) in _COLUMNS.items():
            self._waiting[name].append(fill(entry))
        if len(self._waiting["id"]) >= _CHUNK:
            self._flush()

    def extend(self, n: int, **columns: Any) -> None:
        """Add ``n`` files by their columns: lists, or one value for all; a column that isn't named is unknown of them.

        Parameters
        ----------
        n : int
            How many.
        columns : list, str or None
            ``path``, ``member`` and ``caption`` are text here, of which any name of a file is made.
        """
        for name, waiting in self._waiting.items():
            values = columns.get(name)
            waiting.extend(values if isinstance(values, list) else [values] * n)
        if len(self._waiting["id"]) >= _CHUNK:
            self._flush()

    def finish(self) -> Entries:
        """Return all that were added, in the order in which they were."""
        import pyarrow as pa

        self._flush()
        return Entries(pa.Table.from_batches(self._batches, schema()).combine_chunks())

    def _flush(self) -> None:
        import pyarrow as pa

        form = schema()
        arrays = [_array(values, form.field(name).type) for name, values in self._waiting.items()]
        self._batches.append(pa.record_batch(arrays, schema=form))
        self._waiting = {name: [] for name in _COLUMNS}


def schema() -> pa.Schema:
    """Return the columns of :class:`Entries` and their types."""
    import pyarrow as pa

    return pa.schema([pa.field(name, getattr(pa, kind)()) for name, (kind, _) in _COLUMNS.items()])


def metadata_text(metadata: dict[str, Any] | None) -> str | None:
    """Bring metadata to the form in which an index holds it.

    Parameters
    ----------
    metadata : dict or None
        Fit for JSON.

    Returns
    -------
    str or None
        JSON, its keys in order.

    Examples
    --------
    >>> metadata_text({"b": 1, "a": None})
    '{"a": null, "b": 1}'
    """
    return None if metadata is None else json.dumps(metadata, ensure_ascii=False, sort_keys=True)


def _array(values: list[Any], kind: Any) -> Any:
    import pyarrow as pa

    if kind != pa.large_binary():
        return pa.array(values, kind)
    try:
        return pa.array(values, pa.large_string()).cast(kind)
    except (UnicodeEncodeError, pa.ArrowException):  # names that are no UTF-8, or bytes already
        return pa.array([_packed(v) if isinstance(v, str) else v for v in values], kind)


def _packed(name: str) -> bytes:
    """Return the name of a file as bytes, lone halves of characters too, by which Python holds what is no UTF-8."""
    return name.encode("utf-8", "surrogatepass")


def _unpacked(name: bytes) -> str:
    return name.decode("utf-8", "surrogatepass")


def _rows_of(table: pa.Table) -> Iterator[Entry]:
    columns = [table[name].to_pylist() for name in _COLUMNS]
    for identity, kind, path, member, size, changed, label, caption, stamp, metadata, outcome, reason in zip(
        *columns, strict=True
    ):
        place = _unpacked(path)
        yield Entry(
            identity,
            (kind, place) if member is None else (kind, place, _unpacked(member)),
            size,
            changed,
            label,
            None if caption is None else (_unpacked(caption), stamp),
            None if metadata is None else json.loads(metadata),
            outcome,
            reason,
        )
