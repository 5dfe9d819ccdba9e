"""What was read of some files -> rows of the store, their descriptors made together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.encoders.base import Encoder
from lookalike.index.manifest import Column, DamagedIndexError
from lookalike.index.schema import ENCODED, REFUSED, SEEN, Described, Facts, descriptors_of, to_table
from lookalike.index.store import Store
from lookalike.index.sync.records import Record
from lookalike.neighbors.distances.base import LONGEST, SHORTEST


@dataclass(frozen=True)
class Encoded:
    """Rows that wait for their commit.

    Attributes
    ----------
    table : pyarrow.Table
        With the columns of the store.
    states : dict of ndarray of int8, shape (n,)
        Column of an encoder -> ``UNSEEN``, ``SEEN`` or ``ENCODED``.
    fresh : ndarray of int64
        Keys of the pictures that were read in this run.
    instead_of : list of int
        Keys of the rows that go.
    providers : dict of str to (str or None)
        Column of an encoder that was run -> what computed it.
    """

    table: Any
    states: dict[str, NDArray[np.int8]]
    fresh: NDArray[np.int64]
    instead_of: list[int]
    providers: dict[str, str | None]


class Encoding:
    """Turns records into rows, by the encoders of a run.

    Parameters
    ----------
    columns : sequence of (Column, Encoder)
        Those of the run.
    store : Store
        Where copies are taken from.
    is_encoded : bool
        Whether records hold descriptors already, one a column, as bytes: those of an executor that encodes.
    """

    def __init__(self, columns: Sequence[tuple[Column, Encoder]], store: Store, *, is_encoded: bool = False) -> None:
        self.columns = columns
        self.store = store
        self.is_encoded = is_encoded
        self.shapes = list(dict.fromkeys(tuple(column.shape) for column, _ in columns))

    def rows(self, records: Sequence[Record], first_key: int, held: Sequence[Column]) -> Encoded:
        """Make rows.

        Parameters
        ----------
        records : sequence of Record
            At least one.
        first_key : int
            Of the first row; the others get those that follow.
        held : sequence of Column
            All columns of the store, once it is written: those of the run among them.

        Returns
        -------
        Encoded
            A row a record, in their order.

        Raises
        ------
        DamagedIndexError
            If what is to be copied isn't what was written.
        """
        facts = [record.facts._replace(key=key) for key, record in enumerate(records, first_key)]
        described = {c.column: Described.nothing(len(records), c) for c in held}
        thumbnails = [record.thumbnail for record in records]
        self._copy(records, thumbnails, described)
        providers = {
            column.column: encoder.provider
            for column, encoder in self.columns
            if self._encode(records, facts, column, encoder, described[column.column])
        }
        # One encoder with a descriptor is enough for a picture to be found.
        is_found = np.zeros(len(records), np.bool_)
        for item in described.values():
            is_found |= item.states == ENCODED
        for i in np.flatnonzero(is_found).tolist():
            if facts[i].stage == "encode":
                facts[i] = facts[i]._replace(outcome="indexed", stage=None, reason=None)
        return Encoded(
            table=to_table(facts, thumbnails, described, held),
            states={name: item.states for name, item in described.items()},
            fresh=np.array([f.key for f, record in zip(facts, records, strict=True) if record.is_fresh], np.int64),
            instead_of=[key for record in records for key in record.instead_of],
            providers=providers,
        )

    def _copy(self, records: Sequence[Record], thumbnails: list[bytes | None], described: dict[str, Described]) -> None:
        """Take what rows of the store hold of the same bytes."""
        copies = [i for i, record in enumerate(records) if record.like is not None]
        if not copies:
            return
        names = [name for name in described if name in self.store.columns]
        stored = [part for name in names for part in (name, f"{name}_crc32")]
        wanted = np.array([records[i].like for i in copies], np.int64)
        table = self.store.read(["key", "thumbnail", *stored], np.unique(wanted).tolist())
        order = np.argsort(table["key"].to_numpy())
        places = order[np.searchsorted(table["key"].to_numpy(), wanted, sorter=order)]
        for i, place in zip(copies, places.tolist(), strict=True):
            thumbnails[i] = thumbnails[i] or table["thumbnail"][place].as_py()
        for name in names:
            try:
                matrix, there = descriptors_of(table, name)
            except ValueError as e:
                raise DamagedIndexError(self.store.path, str(e)) from e
            refused = np.asarray(table[f"{name}_crc32"].fill_null(0).to_numpy() == REFUSED)
            rank = np.cumsum(there) - 1
            into, at = described[name], np.array(copies)
            into.states[at[refused[places]]] = SEEN
            has = there[places]
            into.states[at[has]] = ENCODED
            into.matrix[at[has]] = matrix[rank[places[has]]]

    def _encode(
        self, records: Sequence[Record], facts: list[Facts], column: Column, encoder: Encoder, into: Described
    ) -> bool:
        """Make the descriptors that are missing, and say of what an encoder can't describe why not; False if none were."""
        fitted = {i: record.fitted for i, record in enumerate(records) if record.fitted}
        wanted = [i for i in fitted if not into.states[i]]
        if not wanted:
            return False
        descriptors = self._descriptors([fitted[i] for i in wanted], column, encoder)
        lengths = np.sqrt(np.einsum("ij,ij->i", descriptors, descriptors, dtype=np.float64))
        usable = np.ones(len(descriptors), np.bool_)
        if column.dtype != "uint8":
            usable = (lengths >= SHORTEST) & (lengths <= LONGEST)  # NaN is neither
        rows = np.array(wanted)
        into.matrix[rows[usable]] = descriptors[usable]
        into.states[rows] = np.where(usable, ENCODED, SEEN)
        for i, length in zip(rows[~usable].tolist(), lengths[~usable].tolist(), strict=True):
            if facts[i].outcome == "indexed":
                outcome, what = _what_is_wrong(length)
                facts[i] = facts[i]._replace(outcome=outcome, stage="encode", reason=f"{facts[i].id}: {what}")
        return True

    def _descriptors(self, fitted: list[list[NDArray[np.uint8]]], column: Column, encoder: Encoder) -> NDArray[Any]:
        if not self.is_encoded:
            at = self.shapes.index(tuple(column.shape))
            return np.ascontiguousarray(encoder.encode(np.stack([images[at] for images in fitted])), column.dtype)
        at = [c.column for c, _ in self.columns].index(column.column)
        return np.frombuffer(b"".join(rows[at].tobytes() for rows in fitted), column.dtype).reshape(
            len(fitted), column.dimension
        )


def _what_is_wrong(length: float) -> tuple[str, str]:
    if length < SHORTEST:
        return "blank", "its descriptor is all zeros, as of a blank image, so nothing is like it"
    return "no descriptor", "its descriptor holds NaN, infinity or values too large to compare"
