"""Rows that wait -> the state that readers see, in steps that a killed process can't leave half done."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version

import numpy as np

from lookalike.collections.collection import Collection
from lookalike.encoders.base import Encoder
from lookalike.errors import IndexStoreError
from lookalike.index.lock import interrupts_held
from lookalike.index.manifest import DATASET, FORMAT, Column, Manifest
from lookalike.index.schema import FACTS
from lookalike.index.store import Store, place_of
from lookalike.index.sync.encode import Encoded
from lookalike.index.sync.known import KnownRows

#: What a crash may cost, and what waits in memory for its commit.
COMMIT_SECONDS, COMMIT_BYTES = 5.0, 2**26


@dataclass(frozen=True)
class Target:
    """What an index is to be, once a run has ended.

    Attributes
    ----------
    images : Collection
        What it is of.
    columns : list of (Column, Encoder)
        The encoders that every picture goes through.
    default : str
        The column that answers from then on.
    only : bool
        Drop all other columns at the end; without it only those of an encoder of the same name.
    """

    images: Collection
    columns: list[tuple[Column, Encoder]]
    default: str
    only: bool = False


class Committer:
    """Writes rows, and makes them visible.

    Parameters
    ----------
    target : Target
        What is to be said of the index.
    store : Store
        Where rows are.
    manifest : Manifest or None
        What is there.
    known : KnownRows
        The same rows, counted; updated with each commit.
    away : callable
        Returns the folders of the collection that lie on a disk which isn't there.

    Attributes
    ----------
    manifest : Manifest or None
        Of the last commit.
    deletes : list of int
        Keys of rows that go with the next.
    """

    def __init__(
        self,
        target: Target,
        store: Store,
        manifest: Manifest | None,
        known: KnownRows,
        away: Callable[[Manifest | None], Sequence[str]],
    ) -> None:
        self.target = target
        self.store = store
        self.manifest = manifest
        self.known = known
        self.deletes: list[int] = []
        self.is_writing = False
        self.next_key = manifest.next_key if manifest else 0
        self._away = away
        ours = {column.column for column, _ in target.columns}
        held = () if manifest is None else manifest.columns
        # A complete encoder that isn't among those of this run can't be loaded any more.
        self._dropped = {c.column for c in held if c.complete and c.column not in ours}
        self._has_begun = manifest is None  # whether the state before is already put aside
        self._waiting: list[Encoded] = []
        self._providers: dict[str, str | None] = {}
        self._committed = time.monotonic()

    @property
    def columns(self) -> list[Column]:
        """Those of the store: the run's, and others that it leaves alone."""
        ours = {c.column: c for c, _ in self.target.columns}
        held = [] if self.manifest is None else [ours.pop(c.column, c) for c in self.manifest.columns]
        return [c for c in (*held, *ours.values()) if c.column not in self._dropped]

    @property
    def is_due(self) -> bool:
        """Whether so much time has passed that a crash would cost too much."""
        return time.monotonic() - self._committed > COMMIT_SECONDS

    def wait(self, rows: Encoded) -> None:
        """Put rows among those of the next commit, and commit if they take too much memory."""
        self._waiting.append(rows)
        self.deletes += rows.instead_of
        self.next_key += rows.table.num_rows
        if sum(waiting.table.nbytes for waiting in self._waiting) > COMMIT_BYTES:
            self.commit(complete=False)

    def commit(self, *, complete: bool) -> None:
        """Write what waits, and make it visible; Ctrl-C waits till that is done."""
        with interrupts_held():
            self.is_writing = True
            if self._waiting or self.deletes:
                self._write()
            elif not complete:
                self.is_writing = False
                return
            # An index that answers nothing isn't shown yet.
            if self.manifest is not None or self.known.outcomes["indexed"]:
                if not self._has_begun and self.manifest is not None:
                    if self.manifest.complete:
                        self.store.keep(self.manifest)
                    self._has_begun = True
                self.manifest = self.store.commit(self._stated(complete))
            self._committed = time.monotonic()
            self.is_writing = False

    def _write(self) -> None:
        import pyarrow as pa

        if self.store.columns:
            for name in self._dropped.intersection(self.store.columns):
                self.store.drop_column(name)
            for column in self.columns:
                self.store.add_column(column)
        if self.deletes:
            self.store.delete(self.deletes)
        if self._waiting:
            tables = [rows.table for rows in self._waiting]
            self.store.append(pa.concat_tables(tables).select(self.store.columns or tables[0].column_names))
        self.known.drop(self.deletes)
        for rows in self._waiting:
            self.known.add(rows.table.select(list(FACTS)), rows.states)
            self._providers |= rows.providers
        self._waiting, self.deletes = [], []

    def finish(self) -> Manifest:
        """Commit the rest, and let go of encoders that were replaced.

        Returns
        -------
        Manifest
            The index's.

        Raises
        ------
        IndexStoreError
            If nothing could be indexed.
        """
        self._refuse_nothing()
        before = self.manifest
        is_new = bool(self._waiting or self.deletes)
        if before is not None and not is_new and self._stated(complete=True) == before:
            return before
        if is_new:
            self._write()
        self._drop_replaced()
        self.commit(complete=True)
        assert self.manifest is not None
        return self.manifest

    def _refuse_nothing(self) -> None:
        """Refuse an index without a single picture."""
        outcomes = [name for rows in self._waiting for name in rows.table["outcome"].unique().to_pylist()]
        if "indexed" in outcomes or self.known.any_indexed(self.deletes):
            return
        reasons = (rows.table["reason"].drop_null() for rows in self._waiting)
        reason = next((column[0].as_py() for column in reasons if len(column)), "there is no image in it")
        images = self.target.images
        raise IndexStoreError(f"{images.name}: none of {len(images):,} images could be indexed; the first: {reason}")

    def _drop_replaced(self) -> None:
        answers = next(c for c in self.columns if c.column == self.target.default)
        for column in self.columns:
            is_replaced = self.target.only or column.title == answers.title
            if column.column != self.target.default and is_replaced:
                self._dropped.add(column.column)
        for name in self._dropped.intersection(self.store.columns):
            self.store.drop_column(name)

    def _stated(self, complete: bool) -> Manifest:
        """Return the manifest of the rows as they are now; the store adds what it alone knows."""
        from lookalike.version import __version__

        images, known, before = self.target.images, self.known, self.manifest
        ours = {c.column for c, _ in self.target.columns}
        columns = [
            replace(
                c,
                count=known.encoded[c.column],
                complete=c.complete or (complete and c.column in ours),
                provider=self._providers.get(c.column, c.provider),
            )
            for c in self.columns
        ]
        return Manifest(
            format=FORMAT,
            collection=images.name,
            source=images.source,
            reading=json.loads(json.dumps(asdict(images.options))),  # as it will be read
            columns=columns,
            default=self.target.default if complete or before is None else before.default,
            dataset_version=before.dataset_version if before else 0,
            files=before.files if before else {},
            rows=before.rows if before else 0,
            next_key=self.next_key,
            keys_crc32=before.keys_crc32 if before else 0,
            outcomes=_counted(known),
            complete=complete,
            written=before.written if before else "",
            versions={"lookalike": __version__, "pylance": version("pylance"), "numpy": np.__version__},
            dataset=before.dataset if before else DATASET,
            place=place_of(self.store.path, images),
            mounts=sorted({*images.mounts, *self._away(before)}),
            listed=images.listed,
        )


def _counted(known: KnownRows) -> dict[str, int]:
    """Count the files by outcome; of several with the same bytes, all but the first are duplicates."""
    outcomes = known.outcomes + Counter({"duplicate": known.extra})
    outcomes["indexed"] -= known.extra
    return {name: n for name, n in sorted(outcomes.items()) if n}
