"""A picture's facts and descriptors <-> the rows of an index's dataset. What each column means: docs/storage.md."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lookalike.index.manifest import Column, descriptor_crc32, facts_crc32
from lookalike.index.store import descriptor_fields

#: Outcomes of a picture that was read, whatever its encoders made of it; all others are of files that weren't.
READ = ("indexed", "blank", "no descriptor")
#: In the place of a descriptor's check: an encoder has seen the picture and has no descriptor for it.
REFUSED = -1


class Facts(NamedTuple):
    """What an index knows of one picture, or of a file that couldn't be used."""

    key: int
    id: str
    frame: int = 0
    position: int | None = None
    label: str | None = None
    caption: str | None = None
    caption_stamp: str | None = None
    metadata: str | None = None
    hash: str | None = None
    size: int | None = None
    mtime_ns: int | None = None
    width: int | None = None
    height: int | None = None
    outcome: str = "indexed"
    stage: str | None = None
    reason: str | None = None

    @property
    def file(self) -> str:
        """Id of the file it is in: all frames of an animation are in one."""
        return self.id.removesuffix(f"#{self.frame}") if self.frame else self.id


#: Columns whose values ``facts_crc32`` covers, in this order.
FACTS = Facts._fields


@dataclass
class Row:
    """One row: facts, thumbnail, and for each column a descriptor, None (seen, no descriptor), or nothing (not seen)."""

    facts: Facts
    thumbnail: bytes | None
    descriptors: dict[str, NDArray[Any] | None]


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

    numbers = {"key": pa.int64(), "frame": pa.int32(), "position": pa.int64(), "size": pa.int64()}
    numbers |= {"mtime_ns": pa.int64(), "width": pa.int32(), "height": pa.int32()}
    fields = [pa.field(name, numbers.get(name, pa.string())) for name in FACTS]
    fields += [pa.field("facts_crc32", pa.uint32())]
    fields += [pa.field("thumbnail", pa.binary()), pa.field("thumbnail_crc32", pa.uint32())]
    for column in columns:
        fields += descriptor_fields(column)
    return pa.schema(fields)


def to_table(rows: Sequence[Row], columns: Sequence[Column]) -> Any:
    """Bring rows to the form they are stored in, with their checks.

    Parameters
    ----------
    rows : sequence of Row
        At least one.
    columns : sequence of Column
        The encoders of the dataset; a row needn't hold a descriptor of each.

    Returns
    -------
    pyarrow.Table
        In the dataset's schema.
    """
    import pyarrow as pa

    form = schema(columns)
    facts = dict(zip(FACTS, zip(*(row.facts for row in rows), strict=True), strict=True))
    arrays = {name: pa.array(values, form.field(name).type) for name, values in facts.items()}
    arrays["facts_crc32"] = pa.array([facts_crc32(row.facts) for row in rows], pa.uint32())
    pictures = [row.thumbnail for row in rows]
    arrays["thumbnail"] = pa.array(pictures, pa.binary())
    arrays["thumbnail_crc32"] = pa.array([None if p is None else zlib.crc32(p) for p in pictures], pa.uint32())
    keys = np.array(facts["key"], np.int64)
    for column in columns:
        name, matrix = column.column, np.zeros((len(rows), column.dimension), column.dtype)
        checks: list[int | None] = [None] * len(rows)
        there = []
        for i, row in enumerate(rows):
            if name in row.descriptors:
                descriptor = row.descriptors[name]
                if descriptor is None:
                    checks[i] = REFUSED
                else:
                    matrix[i] = descriptor
                    there.append(i)
        for i, check in zip(there, descriptor_crc32(matrix[there], keys[there].tolist()), strict=True):
            checks[i] = check
        absent = np.ones(len(rows), np.bool_)
        absent[there] = False
        arrays[name] = pa.FixedSizeListArray.from_arrays(
            pa.array(matrix.reshape(-1)), column.dimension, mask=pa.array(absent) if absent.any() else None
        )
        arrays[f"{name}_crc32"] = pa.array(checks, pa.int64())
    return pa.table([arrays[f.name] for f in form], schema=form)


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


def duplicate_keys(facts: Iterable[Facts]) -> set[int]:
    """Tell which rows hold the same bytes as one before them.

    Parameters
    ----------
    facts : iterable of Facts
        Of all rows.

    Returns
    -------
    set of int
        Their keys; of each set of equal files the first by position, or by id, isn't among them.
    """
    first: dict[tuple[str, int], Facts] = {}
    found = set()
    for one in sorted((f for f in facts if f.outcome == "indexed" and f.hash), key=_in_order):
        if first.setdefault((one.hash or "", one.frame), one) is not one:
            found.add(one.key)
    return found


def _in_order(facts: Facts) -> tuple[int, str, int]:
    return (-1 if facts.position is None else facts.position, facts.file, facts.frame)


def sorted_indices(table: Any) -> Any:
    """Return the order of an index's rows: by position where the collection gives one, else by file and frame.

    Parameters
    ----------
    table : pyarrow.Table
        With the columns ``key``, ``id``, ``frame`` and ``position``.

    Returns
    -------
    pyarrow.Array
        For ``table.take``.
    """
    import pyarrow.compute as pc

    if pc.any(pc.greater(table["frame"], 0)).as_py():
        facts = [Facts(**row) for row in table.select(["key", "id", "frame", "position"]).to_pylist()]
        return np.array(sorted(range(len(facts)), key=lambda i: _in_order(facts[i])), np.int64)
    return pc.sort_indices(table, [("position", "ascending"), ("id", "ascending")])
