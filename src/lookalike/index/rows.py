"""The rows of an index, open for reading: what is stored of each image, and each file, checked to be what was written."""

from __future__ import annotations

import os
import re
import zlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lookalike.collections.ids import as_text
from lookalike.collections.ids import id_of as as_id
from lookalike.errors import IndexStoreError, UsageError
from lookalike.imaging.decode import from_thumbnail
from lookalike.index.checksums import keys_crc32
from lookalike.index.dataset import open_dataset, reading
from lookalike.index.fact_table import FactTable, shown
from lookalike.index.manifest import DamagedIndexError, Manifest, read_manifest
from lookalike.index.schema import (
    FACTS,
    OF_FILE,
    REFUSED,
    SHOWN,
    USED,
    Facts,
    duplicates_in,
    facts_checks,
    facts_of,
    sorted_indices,
)

#: Rows that are looked up one by one; more are read with all others.
FEW = 4096
_LONGEST = 128  # of a side of a stored picture as an array: restorers and charts need no more


class RowReader:
    """The rows of one version of an index.

    Parameters
    ----------
    path : Path
        The index's folder.
    manifest : Manifest
        What it was made of, looked at through one of its encoders: the images are those that have its descriptor.
    """

    #: The process in which Lance was first used. Its threads aren't in one forked from that: it waits for ever there, or crashes.
    _lance_runs_in: ClassVar[int | None] = None

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    def __len__(self) -> int:
        return self.manifest.count

    @cached_property
    def ids(self) -> list[str]:
        """One an indexed image, in the order of the descriptors."""
        return list(self._ids.to_pylist())

    def ids_of(self, rows: Sequence[int] | NDArray[np.int64]) -> list[str]:
        """Return the ids of some indexed images, and make no text of any other."""
        return list(self._ids.take(np.asarray(rows, np.int64)).to_pylist())

    @cached_property
    def _ids(self) -> Any:
        return self._table["id"].take(self._rows).combine_chunks()

    @cached_property
    def _by_id(self) -> NDArray[np.int64]:
        """The rows in the order of their ids, in which one is found in a few steps."""
        import pyarrow.compute as pc

        order: NDArray[np.int64] = pc.sort_indices(self._ids).to_numpy().astype(np.int64)
        return order

    def row_of(self, identity: str) -> int | None:
        """Return the row of an indexed image.

        Parameters
        ----------
        identity : str
            Its id, in whatever form of accents.

        Returns
        -------
        int or None
            None where no image has that id; of several the first.
        """
        ids, order = self._ids, self._by_id
        for name in dict.fromkeys((identity, as_id(identity))):
            place = bisect_left(order, name, key=lambda row: ids[int(row)].as_py())
            if place < len(order) and ids[int(order[place])].as_py() == name:
                return int(order[place])
        return None

    @cached_property
    def labels(self) -> NDArray[np.str_] | None:
        """One an indexed image, empty where an image has none; None if no image has one."""
        labels = self.fact_table.column("label")
        if not any(labels.unique().to_pylist()):
            return None
        return np.array([label or "" for label in labels.to_pylist()], np.str_)

    @cached_property
    def marks(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The key and the descriptor's check of each indexed image: a descriptor that changes changes these."""
        checks = self._table[f"{self.manifest.view.column}_crc32"].to_numpy()[self._rows]
        return self.keys, checks.astype(np.int64)

    def facts(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return what is stored of some indexed images.

        Parameters
        ----------
        rows : sequence of int
            Rows of ``descriptors``.

        Returns
        -------
        list of dict
            Keys: the columns of :data:`lookalike.index.schema.SHOWN`; ``position`` is the row, and ``metadata`` a dict or None.
        """
        return [shown(facts, row) for row, facts in zip(rows, self._facts(rows), strict=True)]

    @cached_property
    def fact_table(self) -> FactTable:
        """What :meth:`facts` returns of all indexed images, as columns; each checked to say what was written."""
        columns = self._everything.select([name for name in SHOWN if name != "position"])
        return FactTable(columns if len(self._rows) == columns.num_rows else columns.take(self._rows))

    def thumbnails(self, rows: Sequence[int]) -> list[NDArray[np.uint8]]:
        """Return the stored pictures of some indexed images, scaled so that no side is over 128 pixels.

        Parameters
        ----------
        rows : sequence of int
            Rows of ``descriptors``.

        Returns
        -------
        list of ndarray of uint8
            Of shape (h, w) or (h, w, 3).
        """
        with self._reading():
            return [from_thumbnail(data, _LONGEST) for data in self.thumbnail_bytes(rows)]

    def thumbnail_bytes(self, rows: Sequence[int]) -> list[bytes]:
        """Return the stored pictures of some indexed images as the files they are kept as.

        Parameters
        ----------
        rows : sequence of int
            Rows of ``descriptors``.

        Returns
        -------
        list of bytes
            A PNG, WebP or JPEG each, up to 384 pixels a side; 128 in an index made by an older version.
        """
        keys = self._keys_of(rows)
        table = self._read(["key", "thumbnail", "thumbnail_crc32"], keys)
        with self._reading():
            thumbnails = dict(zip(table["key"].to_pylist(), table["thumbnail"].to_pylist(), strict=True))
            if table["thumbnail_crc32"].to_pylist() != [
                None if p is None else zlib.crc32(p) for p in thumbnails.values()
            ]:
                raise self._damage("a thumbnail isn't what was written")
            return [thumbnails[key] for key in keys]

    def files(self, rows: Sequence[int] | NDArray[np.int64] | None = None) -> list[dict[str, Any]]:
        """Return every file of the collection, in its order, and what became of it.

        Parameters
        ----------
        rows : sequence of int, optional
            Only these, by their places in that order; a list of all takes half a kilobyte a file.

        Returns
        -------
        list of dict
            Keys ``path`` (the id), ``outcome``, ``stage`` and ``reason`` (None if it was indexed), and every other column
            that :data:`lookalike.index.schema.OF_FILE` names. Outcomes: docs/reading.md.
        """
        wanted = np.arange(self.manifest.rows) if rows is None else np.asarray(rows, np.int64)
        columns = [self._everything[name].take(wanted).to_pylist() for name in ("id", *OF_FILE)]
        listed = [dict(zip(("path", *OF_FILE), values, strict=True)) for values in zip(*columns, strict=True)]
        became, first = self.outcomes
        for row, outcome, like in zip(listed, became.take(wanted).to_pylist(), first[wanted].tolist(), strict=True):
            name = row["path"]
            if like >= 0:
                why = f"{name}: same bytes as {self._everything['id'][like].as_py()}"
                row |= {"outcome": outcome, "stage": "index", "reason": why}
            elif outcome != row["outcome"]:
                why = f"{name}: {self.manifest.encoder} has no descriptor for it"
                row |= {"outcome": outcome, "stage": "encode", "reason": why}
        return listed

    @cached_property
    def outcomes(self) -> tuple[Any, NDArray[np.int64]]:
        """What became of each file as :meth:`files` says it, as an Arrow array, and of a duplicate the place of the first; else -1."""
        import pyarrow as pa
        import pyarrow.compute as pc

        stored = self._everything
        first = np.full(stored.num_rows, -1, np.int64)
        outcome = stored["outcome"].combine_chunks()
        indexed = np.asarray(pc.equal(outcome, "indexed"), np.bool_)
        if self.manifest.outcomes.get("duplicate"):
            again = np.flatnonzero(duplicates_in(stored))
            there = np.flatnonzero(indexed)
            codes = pc.dictionary_encode(stored["hash"], "encode").combine_chunks().indices.to_numpy()
            known, at = np.unique(codes[there], return_index=True)
            first[again] = there[at[np.searchsorted(known, codes[again])]]
        checks = self._table[f"{self.manifest.view.column}_crc32"].fill_null(REFUSED).to_numpy()
        outcome = pc.if_else(pa.array(indexed & (checks == REFUSED)), "blank", outcome)
        return pc.if_else(pa.array(first >= 0), "duplicate", outcome), first

    def rows_with(self, outcome: str | None) -> NDArray[np.int64]:
        """Return the places, in the order of :meth:`files`, of files by what became of them.

        Parameters
        ----------
        outcome : str or None
            Only these; ``left out`` for all that have no descriptor, and None for all.

        Returns
        -------
        ndarray of int64
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        if outcome is None:
            return np.arange(self.manifest.rows)
        became, _ = self.outcomes
        is_it = pc.invert(pc.is_in(became, pa.array(USED))) if outcome == "left out" else pc.equal(became, outcome)
        return np.flatnonzero(is_it)

    def failures(self) -> list[dict[str, Any]]:
        """Return the files that have no descriptor.

        Returns
        -------
        list of dict
            As :meth:`files`.
        """
        return self.files(self.rows_with("left out")) if self.manifest.failed else []

    def why(self, file: str | Path) -> dict[str, Any]:
        """Say what became of one file; :func:`lookalike.index.reopen.changed_since` tells whether it has changed since.

        Parameters
        ----------
        file : str or Path
            A path relative to the collection, or any path that leads into it.

        Returns
        -------
        dict
            As of :meth:`files`, with what is known of it: the columns of :meth:`facts` but ``id`` and ``position``, and
            ``encoders`` (those that have a descriptor).

        Raises
        ------
        UsageError
            If the index doesn't know it; the message says what may be the reason.
        """
        names = [as_id(str(file)), *self._names_of(file)]
        ids = self._everything["id"]
        number = next((place for name in names if (place := ids.index(name).as_py()) >= 0), -1)
        if number < 0:
            raise UsageError(f"{file}: {self.path} doesn't know it: {self._why_unknown(names[-1])}")
        (facts,) = facts_of(self._everything.slice(number, 1))
        (row,) = self.files([number])
        held = {c.column for c in self.manifest.columns}
        (has,) = self._read([f"{c}_crc32" for c in held], [facts.key]).to_pylist()
        known = shown(facts, number)
        del known["id"], known["position"]
        return row | known | {"encoders": sorted(c for c in held if (has[f"{c}_crc32"] or REFUSED) != REFUSED)}

    def _names_of(self, file: str | Path) -> list[str]:
        """Return the ids that a path may stand for: a link by its own name before the file that it leads to."""
        text, page = as_text(str(file)), ""
        if frame := re.fullmatch(r"(.*)(#\d+)", text, re.DOTALL):
            text, page = frame.groups()
        path, source = Path(text), Path(self.manifest.source)
        roots = [source, self.path.resolve().parent, *([source.parent] if source.is_file() else [])]
        names = []
        for whole in (path.parent.resolve() / path.name, path.resolve()):
            names += [whole.relative_to(root).as_posix() for root in roots if whole.is_relative_to(root)]
            names.append(whole.as_posix())
        plain = os.path.normpath(text).replace(os.sep, "/")
        names += [plain.removeprefix(f"{Path(self.manifest.collection).as_posix()}/"), plain]
        return [as_id(name) + page for name in dict.fromkeys(names)]

    def _why_unknown(self, name: str) -> str:
        if any(part.startswith(".") for part in name.split("/")) and not self.manifest.reading.get("hidden"):
            return "its name or folder is hidden (index with --hidden to take such files)"
        if self.manifest.reading.get("include") or self.manifest.reading.get("exclude"):
            return "--include or --exclude may leave it out, or it is newer than the last run; index again"
        if (Path(self.manifest.source) / name).exists():
            return f"it is newer than the last run; index again: lookalike index {self.manifest.collection}"
        return f"no such file in {self.manifest.collection}; lookalike files lists all it knows"

    @property
    def _dataset(self) -> Any:
        """The rows of one version: what is written meanwhile doesn't show in it."""
        if RowReader._lance_runs_in not in (None, os.getpid()):
            raise IndexStoreError(
                f"{self.path}: Lance, which reads it, doesn't run in a process that was forked after it was used; start "
                "the process by multiprocessing.get_context('spawn'), or open the index only there"
            )
        RowReader._lance_runs_in = os.getpid()
        return self._opened

    @cached_property
    def _opened(self) -> Any:
        return open_dataset(self.path, self.manifest)

    @cached_property
    def _table(self) -> Any:
        """What the rows' order takes, sorted by it, and the encoder's checks: of exactly the rows that were written."""
        table = self._read(["key", "id", "frame", "position", f"{self.manifest.view.column}_crc32"])
        keys = table["key"].to_numpy()
        if (len(keys), keys_crc32(keys)) != (self.manifest.rows, self.manifest.keys_crc32):
            raise self._damage("its rows aren't those that were written")
        with self._reading():
            return table.take(sorted_indices(table))

    @cached_property
    def _rows(self) -> NDArray[np.int64]:
        """The rows of the table that have a descriptor: row ``i`` of the descriptors is row ``_rows[i]`` there."""
        there = self._table[f"{self.manifest.view.column}_crc32"].fill_null(REFUSED).to_numpy() != REFUSED
        rows = np.flatnonzero(there)
        if len(rows) != len(self):
            raise self._damage(f"{len(rows):,} images have a descriptor, not {len(self):,}")
        return rows

    @cached_property
    def keys(self) -> NDArray[np.int64]:
        """The key of each indexed image's row in the dataset, in the order of the descriptors."""
        keys: NDArray[np.int64] = self._table["key"].to_numpy()[self._rows]
        return keys

    def _keys_of(self, rows: Sequence[int]) -> list[int]:
        """Return the keys of some rows."""
        return [int(key) for key in self.keys[list(rows)]]

    @cached_property
    def _everything(self) -> Any:
        """The facts of all rows of the table, as columns in its order, each row checked to say what was written."""
        table = self._checked(self._read([*FACTS, "facts_crc32"]))
        order = np.argsort(table["key"].to_numpy())
        wanted = self._table["key"].to_numpy()
        places = order[np.searchsorted(table["key"].to_numpy(), wanted, sorter=order)]
        return table.combine_chunks().take(places)

    def _facts(self, rows: Sequence[int]) -> list[Facts]:
        """Return the facts of some indexed images, each checked to say what was written."""
        if len(rows) >= FEW:
            return facts_of(self._everything.take(self._rows[list(rows)]))
        keys = self._keys_of(rows)
        by_key = {facts.key: facts for facts in facts_of(self._checked(self._read([*FACTS, "facts_crc32"], keys)))}
        return [by_key[key] for key in keys]

    def _checked(self, table: Any) -> Any:
        wrong = np.flatnonzero(facts_checks(table) != table["facts_crc32"].to_numpy())
        if len(wrong):
            identity = table["id"][int(wrong[0])].as_py()
            raise self._damage(f"what it says about the image {identity!r} isn't what was written")
        return table

    def _read(self, columns: Sequence[str], keys: Sequence[int] | None = None) -> Any:
        condition = None if keys is None else f"key IN ({','.join(map(str, sorted(set(keys))))})" if keys else "false"
        with self._reading():
            return self._dataset.to_table(list(columns), filter=condition, batch_size=max(1, self.manifest.rows))

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            with reading(self.path):
                yield
        except DamagedIndexError as e:
            raise self._as_it_is(e) from e

    def _as_it_is(self, damage: DamagedIndexError) -> IndexStoreError:
        """Tell damage from what another run has replaced since this was opened."""
        newest, mine = read_manifest(self.path), self.manifest
        if (newest.dataset_version, newest.written) == (mine.dataset_version, mine.written):
            return damage
        return IndexStoreError(f"{self.path}: the index was written since it was opened; open it again")

    def _damage(self, reason: str) -> IndexStoreError:
        return self._as_it_is(DamagedIndexError(self.path, reason))
