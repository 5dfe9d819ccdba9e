"""Rows as tests write them down, one an object, and the table that they are stored as."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lookalike.collections.columns import Entries, EntriesBuilder, Entry
from lookalike.index.schema import ENCODED, SEEN, Described, Facts
from lookalike.index.schema import to_table as columns_to_table


@dataclass
class Row:
    """One row: facts, thumbnail, and for each column a descriptor, None (seen, no descriptor), or nothing (not seen)."""

    facts: Facts
    thumbnail: bytes | None
    descriptors: dict[str, Any] = field(default_factory=dict)


def to_table(rows, columns):
    """Bring rows to the form they are stored in."""
    described = {}
    for column in columns:
        name = column.column
        one = described[name] = Described.nothing(len(rows), column)
        for i, row in enumerate(rows):
            if name in row.descriptors:
                one.states[i] = SEEN if row.descriptors[name] is None else ENCODED
                one.matrix[i] = np.zeros(column.dimension) if row.descriptors[name] is None else row.descriptors[name]
    return columns_to_table([row.facts for row in rows], [row.thumbnail for row in rows], described, columns)


def entries_of(entries: Iterable[Entry]) -> Entries:
    """Return files of a collection as columns."""
    builder = EntriesBuilder()
    for entry in entries:
        builder.add(entry)
    return builder.finish()
