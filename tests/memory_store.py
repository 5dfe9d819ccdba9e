"""Rows of an index in memory: a second implementation of the store, for tests of what works on any."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.index.checksums import keys_crc32
from lookalike.index.manifest import Column, Manifest
from lookalike.index.schema import descriptor_fields, replaced_descriptors


class MemoryStore:
    """An Arrow table; see :class:`lookalike.index.store.Store`.

    Attributes
    ----------
    committed : dict of int to (pyarrow.Table, Manifest)
        What was made visible, by its version.
    kept : Manifest or None
        The state that the last run began from.
    """

    def __init__(self) -> None:
        self.path = Path("memory")
        self.keys: NDArray[np.int64] = np.empty(0, np.int64)
        self.committed: dict[int, tuple[Any, Manifest]] = {}
        self.kept: Manifest | None = None
        self._table: Any = None

    @property
    def columns(self) -> list[str]:
        """Names of the rows' columns; none of an empty store."""
        return [] if self._table is None else list(self._table.column_names)

    def read(self, columns: Sequence[str], keys: Sequence[int] | None = None) -> Any:
        """Return columns of all rows, or of those with these keys."""
        table = self._table if keys is None else self._table.filter(np.isin(self.keys, np.asarray(keys, np.int64)))
        return table.select(list(columns))

    def append(self, rows: Any) -> None:
        """Add rows."""
        import pyarrow as pa

        self._replace(rows if self._table is None else pa.concat_tables([self._table, rows.select(self.columns)]))

    def delete(self, keys: Iterable[int]) -> None:
        """Take rows away by their keys."""
        self._replace(self._table.filter(~np.isin(self.keys, np.array(sorted(keys), np.int64))))

    def add_column(self, column: Column) -> None:
        """Add the empty columns of another encoder."""
        import pyarrow as pa

        for field in descriptor_fields(column):
            if field.name not in self.columns:
                self._table = self._table.append_column(field, pa.nulls(len(self.keys), field.type))

    def drop_column(self, column: str) -> None:
        """Take the columns of an encoder away."""
        self._table = self._table.drop_columns([column, f"{column}_crc32"])

    def replace_column(self, old: Column, new: Column, make: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        """Put other descriptors in place of an encoder's."""
        made = replaced_descriptors(self._table.combine_chunks().to_batches()[0], old, new, make)
        self.drop_column(old.column)
        for field in made.schema:
            self._table = self._table.append_column(field, made[field.name])

    def commit(self, manifest: Manifest) -> Manifest:
        """Make what was written what readers see."""
        version = len(self.committed) + 1
        manifest = replace(
            manifest,
            dataset_version=version,
            files={},
            rows=len(self.keys),
            keys_crc32=keys_crc32(self.keys),
            written=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self.committed[version] = (self._table, manifest)
        return manifest

    def keep(self, manifest: Manifest) -> None:
        """Put aside the state that a run begins from."""
        self.kept = manifest

    def sweep(self) -> None:
        """Drop nothing."""

    def _replace(self, table: Any) -> None:
        self._table = table
        self.keys = table["key"].to_numpy()
