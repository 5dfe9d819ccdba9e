"""The rows that an index has, as columns: what a run compares a collection with, and counts after each commit.

A row is known here by its number: the rows of the store when the run began, ascending by key, then those that it added, in
the order of their commits. Keys ascend too, so that a row is found by its key in a sorted array.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from lookalike.index.schema import (
    ENCODED,
    FACTS,
    READ,
    UNSEEN,
    Facts,
    duplicates_in,
    facts_of,
    schema,
    sorted_indices,
)

#: Sorted pieces of the digests; more are merged.
_MAX_PIECES = 16
_SLOTS = 2**22
_DIGEST = 64  # hexadecimal digits of SHA-256

Rows = NDArray[np.int64]


class KnownRows:
    """The rows that the next commit would show, and what is counted of them.

    Parameters
    ----------
    encoders : sequence of str
        Columns of the encoders that every picture goes through in this run.
    counts_copies : bool
        Whether rows of the same bytes count as duplicates, as they do of files.
    retry : bool
        Whether files that failed before are to be read again, whatever name they have now.
    trusted : bool
        Whether what was stored may stand for what needn't be decoded.

    Attributes
    ----------
    key : ndarray of int64, shape (n,)
        Ascending.
    is_live : ndarray of bool, shape (n,)
        Whether the row is still there.
    is_done : ndarray of bool, shape (n,)
        Whether all encoders of this run have seen it, or it can't be read at all.
    was_read : ndarray of bool, shape (n,)
        Whether it is a picture's, whatever the encoders made of it.
    outcomes : Counter of str
        Of the live rows.
    encoded : Counter of str
        Column of an encoder -> live rows with a descriptor.
    extra : int
        Live pictures that another row holds as well.
    """

    def __init__(self, encoders: Sequence[str], *, counts_copies: bool, retry: bool, trusted: bool) -> None:
        self.outcomes: Counter[str] = Counter()
        self.encoded: Counter[str] = Counter()
        self.extra = 0
        self.key: Rows = np.empty(0, np.int64)
        self.is_live: NDArray[np.bool_] = np.empty(0, np.bool_)
        self.is_done: NDArray[np.bool_] = np.empty(0, np.bool_)
        self.was_read: NDArray[np.bool_] = np.empty(0, np.bool_)
        self._encoders, self._counts_copies, self._retry, self._trusted = encoders, counts_copies, retry, trusted
        self._names: list[str] = []  # of outcomes, by code
        self._outcome: NDArray[np.int16] = np.empty(0, np.int16)
        self._frame: NDArray[np.int32] = np.empty(0, np.int32)
        self._digest: NDArray[np.bytes_] = np.empty(0, f"S{_DIGEST}")
        self._may_stand_in: NDArray[np.bool_] = np.empty(0, np.bool_)
        self._states: dict[str, NDArray[np.int8]] = {}
        self._by_digest = _Digests()
        self._tables: list[Any] = []  # of facts
        self._starts = [0]

    def __len__(self) -> int:
        return len(self.key)

    # Rows come and go -------------------------------------------------------------------------------------------

    def add(self, facts: Any, states: dict[str, NDArray[np.int8]], *, sound: NDArray[np.bool_] | None = None) -> None:
        """Add rows.

        Parameters
        ----------
        facts : pyarrow.Table
            With the columns of ``FACTS``; keys ascend, and are greater than those before.
        states : dict of ndarray of int8, shape (m,)
            Column of an encoder -> ``UNSEEN``, ``SEEN`` or ``ENCODED``; one that isn't named has seen none.
        sound : ndarray of bool, shape (m,), optional
            Rows that are what was written; others count until they are deleted, and stand in for nothing.
        """
        start, count = len(self), facts.num_rows
        self._tables.append(facts.select(list(FACTS)).combine_chunks())
        self._starts.append(start + count)
        self.key = np.concatenate([self.key, facts["key"].to_numpy()])
        self.is_live = np.concatenate([self.is_live, np.ones(count, np.bool_)])
        outcome = self._codes_of(facts["outcome"])
        self._outcome = np.concatenate([self._outcome, outcome])
        self._frame = np.concatenate([self._frame, facts["frame"].to_numpy().astype(np.int32)])
        digest = _digests_of(facts["hash"])
        self._digest = np.concatenate([self._digest, digest])
        for name in {*self._states, *states}:
            before = self._states.get(name, np.zeros(start, np.int8))
            self._states[name] = np.concatenate([before, states.get(name, np.zeros(count, np.int8))])
        was_read = np.isin(outcome, [self._code_of(name) for name in READ])
        seen, nothing = np.ones(count, np.bool_), np.zeros(count, np.int8)
        for name in self._encoders:
            seen &= states.get(name, nothing) != UNSEEN
        done = ~was_read | seen
        self.was_read = np.concatenate([self.was_read, was_read])
        self.is_done = np.concatenate([self.is_done, done])
        stands_in = done & (digest != b"") & facts["size"].is_valid().to_numpy() & self._trusted
        if self._retry:
            stands_in &= was_read
        if sound is not None:
            stands_in &= sound
        self._may_stand_in = np.concatenate([self._may_stand_in, stands_in])
        rows = np.arange(start, start + count)
        has_digest = digest != b""
        fresh = _sorted(digest[has_digest], rows[has_digest])
        wanted = _distinct(fresh[0])
        extra = self._extra_among(wanted)
        self._by_digest.add(*fresh)
        self._count(rows, 1)
        self.extra += self._extra_among(wanted) - extra

    def drop(self, keys: Iterable[int]) -> None:
        """Take rows away by their keys."""
        rows = self.rows_of(keys)
        digests = self._digest[rows]
        wanted = _distinct(np.sort(digests[digests != b""]))
        before = self._extra_among(wanted)
        self.is_live[rows] = False
        self._count(rows, -1)
        self.extra += self._extra_among(wanted) - before

    def _count(self, rows: Rows, by: int) -> None:
        for name, n in self.outcomes_of(rows).items():
            self.outcomes[name] += by * n
        for name, states in self._states.items():
            self.encoded[name] += by * int((states[rows] == ENCODED).sum())

    def _extra_among(self, wanted: NDArray[np.bytes_]) -> int:
        """Count the live pictures with one of some digests, each given once, that another row holds as well."""
        if not self._counts_copies:
            return 0
        which, rows = self._by_digest.find(wanted)
        counted = self.is_live[rows] & (self._outcome[rows] == self._code_of("indexed"))
        pairs = (which[counted] << 32) | self._frame[rows[counted]]
        return len(pairs) - len(np.unique(pairs))

    def _code_of(self, name: str) -> int:
        if name not in self._names:
            self._names.append(name)
        return self._names.index(name)

    def _codes_of(self, outcomes: Any) -> NDArray[np.int16]:
        encoded = outcomes.combine_chunks().dictionary_encode()
        codes = np.array([self._code_of(name) for name in encoded.dictionary.to_pylist()], np.int16)
        return codes[encoded.indices.to_numpy()] if len(codes) else np.empty(0, np.int16)

    # What is asked of them --------------------------------------------------------------------------------------

    def rows_of(self, keys: Iterable[int]) -> Rows:
        """Return the rows of some keys, which must be there."""
        return np.searchsorted(self.key, np.asarray(list(keys) if not isinstance(keys, np.ndarray) else keys, np.int64))

    def facts(self, rows: Sequence[int] | Rows) -> list[Facts]:
        """Return what is known of some rows, in the order given."""
        return facts_of(self.take(FACTS, rows))

    def take(self, columns: Sequence[str], rows: Sequence[int] | Rows) -> Any:
        """Return columns of some rows as an Arrow table, in the order given."""
        import pyarrow as pa

        wanted = np.asarray(rows, np.int64)
        order = np.argsort(wanted, kind="stable")
        piece = np.searchsorted(self._starts, wanted[order], "right") - 1
        parts = [
            self._tables[n].select(list(columns)).take(wanted[order][piece == n] - self._starts[n])
            for n in np.unique(piece).tolist()
        ]
        if not parts:
            return schema(()).empty_table().select(list(columns))
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        table = pa.concat_tables(parts).combine_chunks()
        return table if np.array_equal(back, np.arange(len(back))) else table.take(back)

    def alike(self, digests: Sequence[str | None]) -> list[Rows]:
        """Return, for each digest of a file's bytes, the live rows that may stand in for it, in the order they came."""
        result = [np.empty(0, np.int64)] * len(digests)
        maybe = [i for i, digest in enumerate(digests) if digest and self._by_digest.may_hold(digest.encode())]
        if not maybe:
            return result
        which, rows = self._by_digest.find(np.array([(digests[i] or "").encode() for i in maybe], f"S{_DIGEST}"))
        fit = self.is_live[rows] & self._may_stand_in[rows]
        order = np.lexsort((rows[fit], which[fit]))
        which, rows = which[fit][order], rows[fit][order]
        edges = np.searchsorted(which, np.arange(len(maybe) + 1)).tolist()
        for i, start, stop in zip(maybe, edges[:-1], edges[1:], strict=True):
            result[i] = rows[start:stop]
        return result

    def sizes(self) -> Rows:
        """Return the sizes, ascending, of the files that rows may stand in for."""
        rows = np.flatnonzero(self._may_stand_in & self.is_live)
        return np.unique(self.take(["size"], rows)["size"].to_numpy())

    def duplicates(self, rows: Rows) -> NDArray[np.bool_]:
        """Tell which of some live rows hold the same bytes as one before them in the index's order.

        Parameters
        ----------
        rows : ndarray of int64, shape (m,)
            Numbers.

        Returns
        -------
        ndarray of bool, shape (m,)
            Of each set of equal files the first by position, or by id, isn't a duplicate.
        """
        if not self.extra:
            return np.zeros(len(rows), np.bool_)
        live = np.flatnonzero(self.is_live)
        table = self.take(["key", "id", "frame", "position", "hash", "outcome"], live)
        table = table.take(sorted_indices(table))
        return np.isin(self.key[rows], table["key"].to_numpy()[duplicates_in(table)])

    def any_indexed(self, but: Iterable[int]) -> bool:
        """Tell whether a picture would be left if the rows with some keys were dropped."""
        gone = self.rows_of(set(but))
        gone = gone[self.is_live[gone]]
        indexed = self._code_of("indexed")
        return self.outcomes["indexed"] > int((self._outcome[gone] == indexed).sum())

    def is_indexed(self, rows: Rows) -> NDArray[np.bool_]:
        """Tell which rows are of pictures that are found."""
        indexed: NDArray[np.bool_] = self._outcome[rows] == self._code_of("indexed")
        return indexed

    def frames(self, rows: Rows) -> NDArray[np.int32]:
        """Return which picture of its file each row is of."""
        return self._frame[rows]

    def outcome(self, row: int) -> str:
        """Return what became of one row."""
        return self._names[int(self._outcome[row])]

    def outcomes_of(self, rows: Rows) -> Counter[str]:
        """Count some rows by what became of them."""
        codes, many = np.unique(self._outcome[rows], return_counts=True)
        return Counter({self._names[code]: n for code, n in zip(codes.tolist(), many.tolist(), strict=True)})


class _Digests:
    """Digests -> rows, in a few sorted pieces, so that adding some costs little however many there are."""

    def __init__(self) -> None:
        self._pieces: list[tuple[NDArray[np.bytes_], Rows]] = []
        self._slots = bytearray(_SLOTS)  # whether some digest falls there: most that are looked for are none of these

    def add(self, digests: NDArray[np.bytes_], rows: Rows) -> None:
        """Add rows by their digests, which ascend."""
        if not len(digests):
            return
        for digest in digests.tolist():
            self._slots[crc32(digest) & (_SLOTS - 1)] = 1
        self._pieces.append((digests, rows))
        if len(self._pieces) > _MAX_PIECES:  # all but the largest, which is rewritten as rarely as it doubles
            self._pieces.sort(key=lambda piece: -len(piece[0]))
            first = 1 if sum(len(p[0]) for p in self._pieces[1:]) < len(self._pieces[0][0]) else 0
            merged = _sorted(
                np.concatenate([p[0] for p in self._pieces[first:]]),
                np.concatenate([p[1] for p in self._pieces[first:]]),
            )
            self._pieces[first:] = [merged]

    def may_hold(self, digest: bytes) -> bool:
        """Tell at once of most digests that they aren't here."""
        return bool(self._slots[crc32(digest) & (_SLOTS - 1)])

    def find(self, wanted: NDArray[np.bytes_]) -> tuple[Rows, Rows]:
        """Return pairs (place in ``wanted``, row) of all rows with these digests."""
        places, rows = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for digests, owners in self._pieces:
            start = np.searchsorted(digests, wanted, "left")
            many = np.searchsorted(digests, wanted, "right") - start
            place = np.repeat(np.arange(len(wanted)), many)
            offset = np.arange(len(place)) - np.repeat(np.cumsum(many) - many, many)
            places.append(place)
            rows.append(owners[start[place] + offset])
        return np.concatenate(places), np.concatenate(rows)


def _distinct(digests: NDArray[np.bytes_]) -> NDArray[np.bytes_]:
    """Return each of some ascending digests once."""
    is_first = np.ones(len(digests), np.bool_)
    is_first[1:] = digests[1:] != digests[:-1]
    return digests[is_first]


def _sorted(digests: NDArray[np.bytes_], rows: Rows) -> tuple[NDArray[np.bytes_], Rows]:
    order = np.argsort(digests, kind="stable")
    return digests[order], rows[order]


def _digests_of(column: Any) -> NDArray[np.bytes_]:
    """Return a column of hashes in hexadecimal as bytes, empty where there is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = pc.fill_null(column, "")
    texts = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    padded = pc.utf8_rpad(texts, _DIGEST, "\0")
    data = padded.buffers()[2]
    if (
        len(texts)
        and data is not None
        and data.size >= _DIGEST * len(texts) == pc.sum(pc.binary_length(padded)).as_py()
    ):
        digests: NDArray[np.bytes_] = np.frombuffer(data, f"S{_DIGEST}", len(texts))
        return digests
    return np.array([text.encode() for text in texts.to_pylist()], f"S{_DIGEST}")
