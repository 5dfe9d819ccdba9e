"""A picture's facts and descriptors <-> the rows of an index's dataset. What each column means: docs/storage.md."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from lookalike.index.manifest import Column, descriptor_crc32, facts_crc32

#: Outcomes of a picture that was read, whatever its encoders made of it; all others are of files that weren't.
READ = ("indexed", "blank", "no descriptor")
#: In the place of a descriptor's check: an encoder has seen the picture and has no descriptor for it.
REFUSED = -1
_AT_ONCE = 2**14  # rows that are checked together
_FEW_CHECKED = 64  # rows whose values are checked one by one: a page's. Arrow's calls would cost more than they


#: How a column is stored, where that doesn't follow from its Python type; whether answers show it, and filters know it.
_Int32 = Annotated[int, "int32"]
_Hidden, _NotFiltered = "hidden", "not filtered"


class Facts(NamedTuple):
    """What an index knows of one picture, or of a file that couldn't be used: the schema of its rows, one fact a column.

    A column more is a line here, and one where it is filled (:mod:`lookalike.index.sync.records`): its type in the store,
    its check, what answers show and what filters know follow from this class.
    """

    key: Annotated[int, _Hidden]
    id: str
    frame: _Int32 = 0
    position: int | None = None
    label: str | None = None
    caption: str | None = None
    caption_stamp: Annotated[str | None, _Hidden] = None
    metadata: Annotated[str | None, _NotFiltered] = None
    hash: Annotated[str | None, _NotFiltered] = None
    size: int | None = None
    mtime_ns: Annotated[int | None, _NotFiltered] = None
    width: _Int32 | None = None
    height: _Int32 | None = None
    outcome: Annotated[str, _Hidden] = "indexed"
    stage: Annotated[str | None, _Hidden] = None
    reason: Annotated[str | None, _Hidden] = None

    @property
    def file(self) -> str:
        """Id of the file it is in: all frames of an animation are in one."""
        return self.id.removesuffix(f"#{self.frame}") if self.frame else self.id

    @property
    def is_read(self) -> bool:
        """Whether it is a picture's, whatever its encoders made of it."""
        return self.outcome in READ


class _Field(NamedTuple):
    kind: str
    marks: frozenset[str]


def _field_of(hint: Any) -> _Field:
    """Read a column's type in Arrow, and what is marked, from the type of a fact."""
    marks: set[str] = set()
    kind = "string"
    parts = [hint]
    while parts:
        part = parts.pop()
        if get_origin(part) is Annotated:
            marks.update(part.__metadata__)
            parts.append(part.__origin__)
        elif get_origin(part) is not None:
            parts += get_args(part)
        elif part is int:
            kind = "int64"
    return _Field("int32" if "int32" in marks else kind, frozenset(marks))


_FIELDS = {name: _field_of(hint) for name, hint in get_type_hints(Facts, include_extras=True).items()}
#: Columns whose values ``facts_crc32`` covers, in this order.
FACTS = Facts._fields
#: Those that are shown with every answer; and of them, those that filters know by their name.
SHOWN = tuple(name for name, field in _FIELDS.items() if _Hidden not in field.marks)
FILTERED = {name: _FIELDS[name].kind for name in SHOWN if _NotFiltered not in _FIELDS[name].marks}
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

    fields = [pa.field(name, getattr(pa, field.kind)()) for name, field in _FIELDS.items()]
    fields += [pa.field("facts_crc32", pa.uint32())]
    fields += [pa.field("thumbnail", pa.binary()), pa.field("thumbnail_crc32", pa.uint32())]
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
        found = described.get(name) or Described.nothing(len(facts), column)
        there = found.states == ENCODED
        checks = np.full(len(facts), REFUSED, np.int64)
        checks[there] = descriptor_crc32(np.ascontiguousarray(found.matrix[there]), keys[there].tolist())
        arrays[name] = pa.FixedSizeListArray.from_arrays(
            pa.array(found.matrix.reshape(-1)), column.dimension, mask=None if there.all() else pa.array(~there)
        )
        arrays[f"{name}_crc32"] = pa.array(checks, mask=found.states == UNSEEN)
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
    if table.num_rows <= _FEW_CHECKED:
        return np.array([facts_crc32(facts) for facts in facts_of(table)], np.uint32)
    import pyarrow as pa
    import pyarrow.compute as pc

    found = np.empty(table.num_rows, np.uint32)
    for start in range(0, table.num_rows, _AT_ONCE):
        part = table.slice(start, _AT_ONCE)
        texts = [pc.fill_null(pc.cast(part[name], pa.large_string()), "\1") for name in FACTS]
        joined = pc.binary_join_element_wise(*texts, pa.scalar("\0", pa.large_string()))
        joined = joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined
        edges = np.frombuffer(joined.buffers()[1], np.int64)[joined.offset : joined.offset + len(joined) + 1].tolist()
        data = memoryview(joined.buffers()[2])
        found[start : start + len(joined)] = [zlib.crc32(data[a:b]) for a, b in pairwise(edges)]
    return found


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
    some = zip(ids.filter(later).to_pylist(), table["frame"].filter(later).to_pylist(), strict=True)
    files = [identity.removesuffix(f"#{frame}") for identity, frame in some]
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
    found = table[column].combine_chunks()
    width = found.type.list_size
    matrix = np.ascontiguousarray(found.flatten().to_numpy(zero_copy_only=False)).reshape(-1, width)
    if len(matrix) != int(there.sum()):
        raise ValueError("a descriptor is missing")
    if descriptor_crc32(matrix, table["key"].to_numpy()[there].tolist()) != checks[there].tolist():
        raise ValueError("a descriptor isn't what was written")
    return matrix, there


def replaced_descriptors(rows: Any, old: Column, new: Column, make: Callable[[NDArray[Any]], NDArray[Any]]) -> Any:
    """Make the two columns of an encoder from those of another.

    Parameters
    ----------
    rows : pyarrow.RecordBatch or Table
        With the columns ``key``, and the old descriptor and its check.
    old, new : Column
        What is there, and what is to be.
    make : callable
        Descriptors, shape (n, d), -> those in their place, shape (n, p).

    Returns
    -------
    pyarrow.RecordBatch
        As :func:`descriptor_fields` of the new says; rows without a descriptor stay without.

    Raises
    ------
    ValueError
        If a descriptor isn't what was written.
    """
    import pyarrow as pa

    matrix, there = descriptors_of(rows, old.column)
    whole = np.zeros((rows.num_rows, new.dimension), new.dtype)
    if there.any():
        whole[there] = make(matrix)
    was = rows[f"{old.column}_crc32"]
    checks = was.fill_null(0).to_numpy().copy()
    checks[there] = descriptor_crc32(np.ascontiguousarray(whole[there]), rows["key"].to_numpy()[there].tolist())
    return pa.record_batch(
        [
            pa.FixedSizeListArray.from_arrays(
                pa.array(whole.reshape(-1)), new.dimension, mask=None if there.all() else pa.array(~there)
            ),
            pa.array(checks, pa.int64(), mask=np.asarray(was.is_null())),
        ],
        schema=descriptor_fields(new),
    )


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
    import pyarrow as pa
    import pyarrow.compute as pc

    hashes = table["hash"]
    counted = pc.and_(pc.equal(table["outcome"], "indexed"), pc.fill_null(pc.not_equal(hashes, ""), False))
    rows = np.flatnonzero(
        counted.to_numpy(zero_copy_only=False) if isinstance(counted, pa.Array) else counted.to_numpy()
    )
    found = np.zeros(table.num_rows, np.bool_)
    if len(rows):
        codes = hashes.take(rows).combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
        pairs = codes << 32 | table["frame"].take(rows).to_numpy()
        found[rows] = True
        found[rows[np.unique(pairs, return_index=True)[1]]] = False
    return found


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
