"""What an index knows of its images, as columns: filters and words look at all of them, and at no object of each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from lookalike.collections.columns import metadata_text
from lookalike.index.schema import SHOWN, Facts


class FactTable:
    """Facts of images, as columns.

    Parameters
    ----------
    table : pyarrow.Table
        With columns of :data:`lookalike.index.schema.SHOWN`; ``metadata`` is JSON.

    Examples
    --------
    >>> facts = FactTable.of([{"id": "a.png", "metadata": {"year": 1999}}, {"id": "b.png", "metadata": None}])
    >>> len(facts), facts.column("id").to_pylist(), facts.metadata_keys
    (2, ['a.png', 'b.png'], {'year'})
    """

    def __init__(self, table: Any) -> None:
        self._table = table.combine_chunks()

    @classmethod
    def of(cls, facts: FactTable | Iterable[Mapping[str, Any]]) -> FactTable:
        """Return facts as columns, whether they are so already or what :meth:`lookalike.Index.facts` returns."""
        import pyarrow as pa

        if isinstance(facts, FactTable):
            return facts
        rows = [dict(row) | {"metadata": metadata_text(row.get("metadata"))} for row in facts]
        names = dict.fromkeys(name for row in rows for name in row) or SHOWN
        return cls(pa.table({name: pa.array([row.get(name) for row in rows]) for name in names}))

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def column(self, name: str) -> Any:
        """Return a column of all images as an Arrow array; ``position`` is the row."""
        import pyarrow as pa

        if name == "position" and "position" not in self._table.column_names:
            return pa.array(np.arange(len(self)))
        column = self._table[name]
        return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()

    @cached_property
    def metadata(self) -> Any:
        """The metadata as a dictionary array: each JSON text once, and which of them each image has."""
        import pyarrow as pa

        column = self.column("metadata")
        return (
            column.dictionary_encode()
            if pa.types.is_string(column.type)
            else column.cast(pa.string()).dictionary_encode()
        )

    @cached_property
    def parsed(self) -> list[dict[str, Any]]:
        """The metadata texts of :attr:`metadata`'s dictionary, read."""
        return [json.loads(text) for text in self.metadata.dictionary.to_pylist()]

    @property
    def metadata_keys(self) -> set[str]:
        """All keys of the metadata of any image."""
        return {key for metadata in self.parsed for key in metadata}


def shown(facts: Facts, row: int) -> dict[str, Any]:
    """Return the facts of an image that each answer shows.

    Parameters
    ----------
    facts : Facts
        What is stored.
    row : int
        Its place among the indexed images.

    Returns
    -------
    dict
        The columns of :data:`lookalike.index.schema.SHOWN`; ``position`` is the row, and ``metadata`` a dict or None.
    """
    stored = facts._asdict()
    item = {name: stored[name] for name in SHOWN}
    return item | {"position": row, "metadata": None if facts.metadata is None else json.loads(facts.metadata)}
