"""A picture's facts and descriptors <-> the rows of an index's dataset. What each column means: docs/storage.md."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, NamedTuple, get_type_hints

import numpy as np
from numpy.typing import NDArray

from lookalike.index.checksums import descriptor_crc32, facts_crc32
from lookalike.index.manifest import Column

#: Outcomes of a picture that was read, whatever its encoders made of it; all others are of files that weren't.
READ = ("indexed", "blank", "no descriptor")
#: In the place of a descriptor's check: an encoder has seen the picture and has no descriptor for it.
REFUSED = -1
_AT_ONCE = 2**14  # rows that are checked together
_FEW_BESIDE = 64  # rows whose values are checked one by one: a page's. Arrow's calls would cost more than they


class Stored(NamedTuple):
    """How a column of the rows is stored, and who sees it.

    Attributes
    ----------
    kind : str
        Its type in Arrow.
    is_shown : bool
        Whether answers show it.
    is_filtered : bool
        Whether filters know it by its name, too.
    """

    kind: str
    is_shown: bool = True
    is_filtered: bool = True


class Facts(NamedTuple):
    """What an index knows of one picture, or of a file that couldn't be used: the schema of its rows, one fact a column.

    A column more is a line here, its meaning below, and a line where it is filled (:mod:`lookalike.index.sync.records`):
    its type in the store, its check, what answers show, what filters know and docs/storage.md follow from this class.

    Attributes
    ----------
    key
        the row's number; never used again
    id
        path relative to the collection, or position; `path#2` for a further frame
    frame
        which picture of its file; 0 is the first
    position
        place in an array or a list; null in a folder, which is in the order of its ids
    label
        the folder that the file lies in, or what a list's column says
    caption
        the text of `NAME.txt` beside the file
    caption_stamp
        size and time of that text file
    metadata
        a list's other columns, as JSON
    hash
        SHA-256 of the file's bytes, as `sha256sum` prints it; for an image of an array, of shape and pixels
    size
        of the file, in bytes
    mtime_ns
        when the file was last changed, in nanoseconds since 1970. While this and `size` stay the same, the file isn't read
        again
    width
        of the image, upright, before it was resized, in pixels
    height
        the same
    outcome
        `indexed`, or what became of the file: [reading.md](reading.md)
    stage
        where it failed: `list`, `read`, `decode` or `encode`
    reason
        why, as a sentence
    """

    key: Annotated[int, Stored("int64", is_shown=False)]
    id: Annotated[str, Stored("string")]
    frame: Annotated[int, Stored("int32")] = 0
    position: Annotated[int | None, Stored("int64")] = None
    label: Annotated[str | None, Stored("string")] = None
    caption: Annotated[str | None, Stored("string")] = None
    caption_stamp: Annotated[str | None, Stored("string", is_shown=False)] = None
    metadata: Annotated[str | None, Stored("string", is_filtered=False)] = None
    hash: Annotated[str | None, Stored("string", is_filtered=False)] = None
    size: Annotated[int | None, Stored("int64")] = None
    mtime_ns: Annotated[int | None, Stored("int64", is_filtered=False)] = None
    width: Annotated[int | None, Stored("int32")] = None
    height: Annotated[int | None, Stored("int32")] = None
    outcome: Annotated[str, Stored("string", is_shown=False)] = "indexed"
    stage: Annotated[str | None, Stored("string", is_shown=False)] = None
    reason: Annotated[str | None, Stored("string", is_shown=False)] = None

    @property
    def file(self) -> str:
        """Id of the file it is in: all frames of an animation are in one."""
        return self.id.removesuffix(f"#{self.frame}") if self.frame else self.id

    @property
    def is_read(self) -> bool:
        """Whether it is a picture's, whatever its encoders made of it."""
        return self.outcome in READ


_STORED: dict[str, Stored] = {
    name: hint.__metadata__[0] for name, hint in get_type_hints(Facts, include_extras=True).items()
}
_BESIDE = {"facts_crc32": "uint32", "thumbnail": "binary", "thumbnail_crc32": "uint32"}
#: Columns whose values ``facts_crc32`` covers, in this order.
FACTS = Facts._fields
#: Facts that are shown with every answer; and of them, those that filters know by their name.
SHOWN = tuple(name for name, stored in _STORED.items() if stored.is_shown)
FILTERED = {name: _STORED[name].kind for name in SHOWN if _STORED[name].is_filtered}
#: Of a row and an encoder: not encoded yet, seen and without a descriptor, or with one.
UNSEEN, SEEN, ENCODED = 0, 1, 2


@dataclass
class Described:
    """Descriptors of some rows by one encoder.

    Attributes
    ----------
    matrix : ndarray of float32 or uint8, shape (n, d)
        What it is of a row without one counts for nothing.
    states : ndarray of int8, shape (n,)
        ``UNSEEN``, ``SEEN`` or ``ENCODED``.
    """

    matrix: NDArray[Any]
    states: NDArray[np.int8]

    @classmethod
    def nothing(cls, count: int, column: Column) -> Described:
        """Return that of rows which the encoder hasn't seen."""
        return cls(np.zeros((count, column.dimension), column.dtype), np.zeros(count, np.int8))


def schema(columns: Sequence[Column]) -> Any:
    """Return the dataset's Arrow schema.

    Parameters
    ----------
    columns : sequence of Column
        The encoders.

    Returns
    -------
    pyarrow.Schema
        Facts, thumbnail, and two columns an encoder.
    """
    import pyarrow as pa

    kinds = {name: stored.kind for name, stored in _STORED.items()} | _BESIDE
    fields = [pa.field(name, getattr(pa, kind)()) for name, kind in kinds.items()]
    for column in columns:
        fields += descriptor_fields(column)
    return pa.schema(fields)


def descriptor_fields(column: Column) -> Any:
    """Return the Arrow schema of an encoder's two columns.

    Parameters
    ----------
    column : Column
        The encoder.

    Returns
    -------
    pyarrow.Schema
        The descriptor (null where there is none), and its check (null: not encoded yet; -1: no descriptor).
    """
    import pyarrow as pa

    value = pa.from_numpy_dtype(np.dtype(column.dtype))
    name = column.column
    return pa.schema([pa.field(name, pa.list_(value, column.dimension)), pa.field(f"{name}_crc32", pa.int64())])


def to_table(
    facts: Sequence[Facts],
    thumbnails: Sequence[bytes | None],
    described: Mapping[str, Described],
    columns: Sequence[Column],
) -> Any:
    """Bring rows to the form they are stored in, with their checks.

    Parameters
    ----------
    facts : sequence of Facts, length n
        At least one.
    thumbnails : sequence of bytes or None, length n
        Of the pictures.
    described : mapping
        Column of an encoder -> the descriptors of the rows; one that isn't named has seen none.
    columns : sequence of Column
        The encoders of the dataset.

    Returns
    -------
    pyarrow.Table
        In the dataset's schema.
    """
    import pyarrow as pa

    form = schema(columns)
    values = dict(zip(FACTS, zip(*facts, strict=True), strict=True))
    arrays = {name: pa.array(values[name], form.field(name).type) for name in FACTS}
    arrays["facts_crc32"] = pa.array(facts_checks(pa.table(arrays)))
    arrays["thumbnail"] = pa.array(thumbnails, pa.binary())
    arrays["thumbnail_crc32"] = pa.array([None if p is None else zlib.crc32(p) for p in thumbnails], pa.uint32())
    keys = np.array(values["key"], np.int64)
    for column in columns:
        name = column.column
        encoded = described.get(name) or Described.nothing(len(facts), column)
        has_descriptor = encoded.states == ENCODED
        checks = np.full(len(facts), REFUSED, np.int64)
        checks[has_descriptor] = descriptor_crc32(
            np.ascontiguousarray(encoded.matrix[has_descriptor]), keys[has_descriptor].tolist()
        )
        arrays[name] = pa.FixedSizeListArray.from_arrays(
            pa.array(encoded.matrix.reshape(-1)),
            column.dimension,
            mask=None if has_descriptor.all() else pa.array(~has_descriptor),
        )
        arrays[f"{name}_crc32"] = pa.array(checks, mask=encoded.states == UNSEEN)
    return pa.table([arrays[f.name] for f in form], schema=form)


def facts_checks(table: Any) -> NDArray[np.uint32]:
    """Return the check of each row's facts, as :func:`lookalike.index.manifest.facts_crc32` makes that of one.

    Parameters
    ----------
    table : pyarrow.Table or RecordBatch
        With the columns of ``FACTS``.

    Returns
    -------
    ndarray of uint32, shape (n,)
    """
    if table.num_rows <= _FEW_BESIDE:
        return np.array([facts_crc32(facts) for facts in facts_of(table)], np.uint32)
    import pyarrow as pa
    import pyarrow.compute as pc

    checks = np.empty(table.num_rows, np.uint32)
    for start in range(0, table.num_rows, _AT_ONCE):
        part = table.slice(start, _AT_ONCE)
        texts = [pc.fill_null(pc.cast(part[name], pa.large_string()), "\1") for name in FACTS]
        joined = pc.binary_join_element_wise(*texts, pa.scalar("\0", pa.large_string()))
        joined = joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined
        edges = np.frombuffer(joined.buffers()[1], np.int64)[joined.offset : joined.offset + len(joined) + 1].tolist()
        data = memoryview(joined.buffers()[2])
        checks[start : start + len(joined)] = [zlib.crc32(data[a:b]) for a, b in pairwise(edges)]
    return checks


def files_of(table: Any) -> Any:
    """Return the id of the file that each row's picture is in: all frames of an animation are in one.

    Parameters
    ----------
    table : pyarrow.Table
        With the columns ``id`` and ``frame``.

    Returns
    -------
    pyarrow.Array of large_string
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    ids = table["id"].combine_chunks().cast(pa.large_string())
    later = pc.greater(table["frame"].combine_chunks(), 0)
    if not pc.any(later).as_py():
        return ids
    frames = zip(ids.filter(later).to_pylist(), table["frame"].filter(later).to_pylist(), strict=True)
    files = [identity.removesuffix(f"#{frame}") for identity, frame in frames]
    return pc.replace_with_mask(ids, later, pa.array(files, pa.large_string()))


def facts_of(table: Any) -> list[Facts]:
    """Take the facts out of a table with the columns of ``FACTS``.

    Parameters
    ----------
    table : pyarrow.Table or RecordBatch
        Read from the dataset.

    Returns
    -------
    list of Facts
        One a row, unchecked.
    """
    return [Facts(*values) for values in zip(*(table[name].to_pylist() for name in FACTS), strict=True)]


def descriptors_of(table: Any, column: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Take the descriptors of one encoder out of a table, and check them.

    Parameters
    ----------
    table : pyarrow.Table or RecordBatch
        With the columns ``key``, ``column`` and its check.
    column : str
        The encoder's.

    Returns
    -------
    (ndarray of float32 or uint8, shape (m, d), ndarray of bool, shape (n,))
        The descriptors there are, and which of the table's rows have one.

    Raises
    ------
    ValueError
        If one isn't what was written.
    """
    import pyarrow as pa

    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    checks = table[f"{column}_crc32"].fill_null(REFUSED).to_numpy()
    there = checks != REFUSED
    lists = table[column].combine_chunks()
    width = lists.type.list_size
    matrix = np.ascontiguousarray(lists.flatten().to_numpy(zero_copy_only=False)).reshape(-1, width)
    if len(matrix) != int(there.sum()):
        raise ValueError("a descriptor is missing")
    if descriptor_crc32(matrix, table["key"].to_numpy()[there].tolist()) != checks[there].tolist():
        raise ValueError("a descriptor isn't what was written")
    return matrix, there


def duplicates_in(table: Any) -> NDArray[np.bool_]:
    """Tell which rows hold the same bytes as one before them.

    Parameters
    ----------
    table : pyarrow.Table
        With the columns ``hash``, ``frame`` and ``outcome``, in the order of :func:`sorted_indices`.

    Returns
    -------
    ndarray of bool, shape (n,)
        Of each set of equal files all but the first.
    """
    import pyarrow.compute as pc

    hashes = table["hash"]
    counted = pc.and_(pc.equal(table["outcome"], "indexed"), pc.fill_null(pc.not_equal(hashes, ""), False))
    rows = np.flatnonzero(counted)
    duplicates = np.zeros(table.num_rows, np.bool_)
    if len(rows):
        codes = hashes.take(rows).combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
        pairs = codes << 32 | table["frame"].take(rows).to_numpy()
        duplicates[rows] = True
        duplicates[rows[np.unique(pairs, return_index=True)[1]]] = False
    return duplicates


def sorted_indices(table: Any) -> Any:
    """Return the order of an index's rows: by position where the collection gives one, else by file and frame.

    Parameters
    ----------
    table : pyarrow.Table
        With the columns ``id``, ``frame`` and ``position``.

    Returns
    -------
    pyarrow.Array
        For ``table.take``.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    by = {"position": pc.fill_null(table["position"], -1), "file": files_of(table), "frame": table["frame"]}
    if table["position"].null_count == table.num_rows:
        del by["position"]
    if not pc.any(pc.greater(table["frame"], 0)).as_py():
        del by["frame"]
    return pc.sort_indices(pa.table(by), [(name, "ascending") for name in by])
