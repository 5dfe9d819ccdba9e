"""A picture's facts and descriptors <-> the rows of an index's dataset. What each column means: docs/storage.md."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, NamedTuple, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from lookalike.index.checksums import descriptor_crc32, facts_crc32
from lookalike.index.manifest import Column

#: Outcomes of a picture that was read, whatever its encoders made of it; all others are of files that weren't.
READ = ("indexed", "blank", "no descriptor")
#: Outcomes of files that are used; all others are left out.
USED = ("indexed", "duplicate", "caption")
#: In the place of a descriptor's check: an encoder has seen the picture and has no descriptor for it.
REFUSED = -1
_AT_ONCE = 2**14  # rows that are checked together
_FEW_BESIDE = 64  # rows whose values are checked one by one: a page's. Arrow's calls would cost more than they


#: Where a column can be shown: with each match of a search, beside a file's outcome (``files``), with all that is known of
#: one image (``why``, ``Index.facts``), in what the REST service says of an image, and in an export.
DOORS = ("matches", "files", "details", "service", "export")
_OF_ONE_IMAGE = ("details", "service", "export")


class About(NamedTuple):
    """What is said of a column beside its name and its Python type.

    Attributes
    ----------
    text : str
        What it holds, in a sentence.
    doors : tuple of str
        Those of :data:`DOORS` that show it.
    is_filtered : bool
        Whether filters know it by its name, if ``Index.facts`` shows it.
    kind : str
        Its Arrow type, if that doesn't follow from the Python type.
    """

    text: str
    doors: tuple[str, ...] = DOORS
    is_filtered: bool = True
    kind: str = ""


class Facts(NamedTuple):
    """What an index knows of one picture, or of a file that couldn't be used: the schema of its rows, one fact a column.

    A column more is a line here, and one where it is filled (:mod:`lookalike.index.sync.records`): its type in the store,
    its check, every door that shows it and what filters know follow from this class.
    """

    key: Annotated[int, About("The row's number; never used again.", doors=())]
    id: Annotated[
        str,
        About(
            "Path relative to the collection, or position; `path#2` for a further frame.", ("matches", *_OF_ONE_IMAGE)
        ),
    ]
    frame: Annotated[
        int, About("Which frame of an animation or page of a TIFF; 0 is the first.", ("details",), kind="int32")
    ] = 0
    position: Annotated[int | None, About("Place in an array or a list.", ("details",))] = None
    label: Annotated[str | None, About("What the collection says the image shows.", ("matches", *_OF_ONE_IMAGE))] = None
    caption: Annotated[str | None, About("The text of `NAME.txt` beside the file.", ("matches", *_OF_ONE_IMAGE))] = None
    caption_stamp: Annotated[str | None, About("Size and time of the caption's file.", doors=())] = None
    metadata: Annotated[str | None, About("A list's other columns.", _OF_ONE_IMAGE, is_filtered=False)] = None
    hash: Annotated[
        str | None,
        About(
            "SHA-256 of the file's bytes, as `sha256sum` prints it; of an image of an array, of its shape and pixels.",
            ("matches", *_OF_ONE_IMAGE),
            is_filtered=False,
        ),
    ] = None
    size: Annotated[int | None, About("Of the file, in bytes.", _OF_ONE_IMAGE)] = None
    mtime_ns: Annotated[
        int | None,
        About(
            "When the file was changed, in nanoseconds since 1970; while it and the size stay, the file isn't read again.",
            ("details",),
            is_filtered=False,
        ),
    ] = None
    width: Annotated[
        int | None, About("Of the upright image, in pixels.", ("matches", *_OF_ONE_IMAGE), kind="int32")
    ] = None
    height: Annotated[
        int | None, About("Of the upright image, in pixels.", ("matches", *_OF_ONE_IMAGE), kind="int32")
    ] = None
    outcome: Annotated[str, About("What became of the file.", ("files",))] = "indexed"
    stage: Annotated[str | None, About("Where it failed: `list`, `read`, `decode` or `encode`.", ("files",))] = None
    reason: Annotated[str | None, About("Why it failed, in a sentence.", ("files",))] = None

    @property
    def file(self) -> str:
        """Id of the file it is in: all frames of an animation are in one."""
        return self.id.removesuffix(f"#{self.frame}") if self.frame else self.id

    @property
    def is_read(self) -> bool:
        """Whether it is a picture's, whatever its encoders made of it."""
        return self.outcome in READ


class FactColumn(NamedTuple):
    """A column of the rows: its name, its type in Python (None included where it may be null) and in Arrow, and the rest."""

    name: str
    type: Any
    kind: str
    about: About


def _column_of(name: str, hint: Any) -> FactColumn:
    (about,) = hint.__metadata__
    is_number = int in (hint.__origin__, *get_args(hint.__origin__))
    return FactColumn(name, hint.__origin__, about.kind or ("int64" if is_number else "string"), about)


#: The one list of columns.
FACT_COLUMNS = tuple(_column_of(*item) for item in get_type_hints(Facts, include_extras=True).items())
#: Columns whose values ``facts_crc32`` covers, in this order.
FACTS = Facts._fields


def columns_in(door: str) -> tuple[FactColumn, ...]:
    """Return the columns that a door shows.

    Parameters
    ----------
    door : str
        One of :data:`DOORS`.

    Returns
    -------
    tuple of FactColumn
    """
    return tuple(column for column in FACT_COLUMNS if door in column.about.doors)


#: Those that :meth:`lookalike.Index.facts` shows, and of them those that filters know by their name.
SHOWN = tuple(column.name for column in columns_in("details"))
FILTERED = {column.name: column.kind for column in columns_in("details") if column.about.is_filtered}
#: Those of a match beside its id and its label, and those of a file beside its path, which is the id.
OF_MATCH = tuple(column.name for column in columns_in("matches") if column.name not in ("id", "label"))
OF_FILE = tuple(column.name for column in columns_in("files"))
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

    fields = [pa.field(column.name, getattr(pa, column.kind)()) for column in FACT_COLUMNS]
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
