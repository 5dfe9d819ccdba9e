"""A collection and its index -> the index updated, by work only for what is new, changed, renamed or gone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.collections.arrays import image_hash
from lookalike.collections.columns import Entries, EntriesBuilder
from lookalike.collections.tasks import Reading
from lookalike.index.manifest import Manifest
from lookalike.index.schema import ENCODED, FACTS, REFUSED, SEEN, UNSEEN, Facts, facts_checks
from lookalike.index.store import Store
from lookalike.index.sync.commit import Committer, Target
from lookalike.index.sync.encode import Encoding
from lookalike.index.sync.executor import Executor
from lookalike.index.sync.known import KnownRows, Rows
from lookalike.index.sync.plan import Item, KnownFiles, Plan, Rules, make_plan
from lookalike.index.sync.read import CHUNK, Like, Reader
from lookalike.index.sync.records import Record, copies_of, facts_of_item, records_of
from lookalike.index.sync.unseen import folders_away, unseen_folders

_BATCH_IMAGES, _BATCH_BYTES = 1024, 2**22  # encoded together, while others are read; whichever is reached first
_SHOW_SECONDS = 0.1
_COUNTED = ("indexed", "unchanged", "renamed", "duplicates", "failed", "removed", "unseen")


@dataclass(frozen=True)
class Summary:
    """What a run did, as ``lookalike index --json`` prints it: each file is counted once, captions apart.

    Attributes
    ----------
    indexed : int
        Pictures that were encoded: new files, and changed ones.
    unchanged : int
        Kept as they were.
    renamed : int
        Found under another name with the same bytes; their descriptors were kept.
    duplicates : int
        New files with the same bytes as another in the collection; they are found under both names.
    failed : int
        Files without a descriptor, now or from before; ``lookalike files --broken`` lists them.
    removed : int
        Files that are no longer there.
    unseen : int
        Files that can't be seen now, and were kept: on a disk that isn't there, behind a broken link, in a closed folder.
    seconds : float
        Wall clock of the whole run.
    images_per_second : float
        All that was looked at by that time.
    outcomes : dict
        Of all files in the index, outcome -> number.
    encoder, dimension, path
        What answers now, and where.
    """

    indexed: int
    unchanged: int
    renamed: int
    duplicates: int
    failed: int
    removed: int
    unseen: int
    seconds: float
    images_per_second: float
    outcomes: dict[str, int]
    encoder: str
    dimension: int
    path: str


class Sync:
    """One run. Used under the writer's lock.

    Parameters
    ----------
    target : Target
        What the index is to be.
    store : Store
        The rows there are.
    manifest : Manifest or None
        What is known of them.
    rules : Rules
        What is trusted, and what is dropped.
    executor : Executor, optional
        What reads files; by default processes that can be killed.
    workers : int, optional
        How many of them.
    on_progress : callable, optional
        Called with (files done, files in all).
    """

    def __init__(
        self,
        target: Target,
        store: Store,
        manifest: Manifest | None,
        rules: Rules,
        *,
        executor: Executor | None = None,
        workers: int | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.images = target.images
        self.store = store
        self.rules = rules
        self.workers = workers
        self.counts: Counter[str] = Counter()
        self._executor = executor
        self._on_progress = on_progress
        self._known = KnownRows(
            [column.column for column, _ in target.columns],
            counts_copies=self.images.entries is not None,
            retry=rules.retry,
            trusted=not rules.rebuild,
        )
        self._committer = Committer(target, store, manifest, self._known, self._away)
        self._encoding = Encoding(target.columns, store, is_encoded=getattr(executor, "encodes", False))
        self._records: list[Record] = []
        self._record_bytes = 0
        self._fresh: list[NDArray[np.int64]] = []  # keys of what was encoded, not kept
        self._shown = time.monotonic()
        self._done = self._total = 0

    def run(self) -> Manifest:
        """Do the work, and return the manifest at its end.

        Raises
        ------
        IndexStoreError
            If nothing could be indexed, or the index is damaged.
        """
        self._files = KnownFiles(self._known, self._load())
        self._entries, self._hashes = self._listed()
        self._total = len(self._entries)
        plan = make_plan(
            self._entries, self._known, self._files, self.rules, ordered=self._is_ordered, hashes=self._hashes
        )
        try:
            self._settle(plan)
            with self._reading() as executor:
                reader = Reader(self.images, self._encoding.shapes, self._known, executor)
                again = self._read(reader, plan, plan.todo, trust=True)
                # A picture that took the place of another while its descriptors were to be copied from there.
                self._read(reader, plan, again, trust=False)
            self._remove()
        except KeyboardInterrupt:
            if not self._committer.is_writing:  # what is half written is left to the sweep
                self._encode()
                self._committer.commit(complete=False)
            raise
        self._encode()
        manifest = self._committer.finish()
        self._note_fresh()
        # What a run knows of all files and rows isn't needed any more.
        del self._known, self._files, self._entries, self._hashes, self._committer, self._encoding
        self.store.sweep()
        return manifest

    # What there is -----------------------------------------------------------------------------------------------

    def _load(self) -> NDArray[np.bool_]:
        """Read the facts of all rows, and tell which are what was written; of others the file is read anew."""
        if self._committer.manifest is None:
            return np.empty(0, np.bool_)
        names = [c.column for c in self._committer.columns if c.column in self.store.columns]
        table = self.store.read([*FACTS, "facts_crc32", *(f"{name}_crc32" for name in names)])
        table = table.take(np.argsort(table["key"].to_numpy()))
        sound: NDArray[np.bool_] = facts_checks(table) == table["facts_crc32"].to_numpy()
        states = {name: _states_of(table[f"{name}_crc32"]) for name in names}
        self._known.add(table.select(list(FACTS)), states, sound=sound)
        self._committer.deletes += self._known.key[~sound].tolist()
        return sound

    def _listed(self) -> tuple[Entries, list[str] | None]:
        """Return the collection's files; of images in memory, what stands for them, and their hashes."""
        images = self.images
        if images.entries is not None:
            return images.entries, None
        builder, count = EntriesBuilder(), len(images)
        labels = None if images.labels is None else [str(label) for label in images.labels]
        size = 0 if images.array_ is None or not count else images.array_[0].nbytes
        places = [str(position) for position in range(count)]
        builder.extend(count, id=list(images.ids), kind="memory", path=places, size=size, mtime_ns=0, label=labels)
        hashes = None if images.array_ is None else [image_hash(pixels) for pixels in images.array_]
        return builder.finish(), hashes

    @property
    def _is_ordered(self) -> bool:
        return self.images.ordered or self.images.entries is None

    def _away(self, manifest: Manifest | None) -> list[str]:
        return [] if self.rules.drop_unseen else folders_away(self.images, manifest)

    def _items(self, rows: Rows, plan: Plan) -> list[Item]:
        """Make items of some files: a chunk of them, for these are objects."""
        olds = [self._files.rows(file) for file in plan.files[rows].tolist()]
        edges = np.cumsum([0, *map(len, olds)])
        facts = self._known.facts(np.concatenate([np.empty(0, np.int64), *olds]))
        return [
            Item(
                entry,
                row if self._is_ordered else None,
                facts[start:stop],
                None if self._hashes is None else self._hashes[row],
            )
            for entry, row, start, stop in zip(
                self._entries.some(rows), rows.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True
            )
        ]

    def _in_chunks(self, rows: Rows, plan: Plan) -> Iterator[list[Item]]:
        for start in range(0, len(rows), CHUNK):
            yield self._items(rows[start : start + CHUNK], plan)

    # What is to be done ------------------------------------------------------------------------------------------

    def _settle(self, plan: Plan) -> None:
        """Do what needs no reading."""
        outcomes = self._known.outcomes_of(plan.kept)
        self.counts["unchanged"] += outcomes.pop("indexed", 0)
        self.counts["failed"] += sum(n for name, n in outcomes.items() if name != "caption")
        self.counts["unseen"] += plan.unseen
        self._progress(len(plan.kept) + plan.unseen)
        for items in self._in_chunks(plan.restated, plan):
            for item in items:
                self._count("unchanged", item.old[0])
                self._put(copies_of(item, item.old), item)
        for items in self._in_chunks(plan.failed, plan):
            for item in items:
                self._fail(item, item.entry.outcome or "", "list", item.entry.reason)

    def _reading(self) -> AbstractContextManager[Executor | None]:
        if self.images.entries is None:
            return nullcontext()
        return nullcontext(self._executor) if self._executor is not None else self.images.sandbox(self.workers)

    def _read(self, reader: Reader, plan: Plan, rows: Rows, *, trust: bool) -> Rows:
        """Read files, and put down what they are; return those that must be read again, since what they are like has gone."""
        again = []
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            items = self._items(chunk, plan)
            for row, item, (reading, like) in zip(chunk.tolist(), items, reader.read(items, trust=trust), strict=True):
                if not self._take(item, reading, like):
                    again.append(row)
        return np.array(again, np.int64)

    def _take(self, item: Item, reading: Reading, like: list[Like]) -> bool:
        """Make records of what was read; False where it must be read again, since what it is like has gone."""
        stamp = (reading.size or item.entry.size, reading.mtime_ns or item.entry.mtime_ns)
        if stamp != (item.entry.size, item.entry.mtime_ns):  # it changed after it was listed
            item.entry = replace(item.entry, size=stamp[0], mtime_ns=stamp[1])
        like = [match for match in like if self._known.is_live[match.row]]
        if reading.hashed and not like:
            return False
        if like:
            self._take_copy(item, like)
        elif reading.outcome in ("unreadable", "gone") and reading.hash is None and self._was_seen(item):
            self.counts["unseen"] += 1
            self._progress()
        elif reading.outcome is not None or not reading.pictures:
            outcome, reason = reading.outcome or "crashed", reading.reason or "its decoder answered nothing"
            self._fail(item, outcome, reading.stage, reason, reading.hash)
        else:
            self._put(records_of(item, reading, may_copy=not self.rules.rebuild), item)
        return True

    def _take_copy(self, item: Item, like: list[Like]) -> None:
        """Put down a file whose bytes are known, under this name or another."""
        first = like[0].facts
        was = self._name_before(item, like)
        same = sorted((match.facts for match in like if match.facts.file == first.file), key=lambda facts: facts.frame)
        self._put(copies_of(item, same), item)
        self._count("unchanged" if was == item.entry.id else "renamed" if was else "duplicates", first)

    def _name_before(self, item: Item, like: list[Like]) -> str | None:
        """Tell under which name a file's bytes were known: its own, one that has gone, or None for one that is there."""
        if any(facts.hash == like[0].facts.hash for facts in item.old):
            return item.entry.id
        for match in like:
            file = self._files.left(match.row)
            if file is not None:
                self._files.is_renamed[file] = True
                return match.facts.file
        return None

    def _was_seen(self, item: Item) -> bool:
        """Tell whether an item that can't be read now is known, and to stay so."""
        return not self.rules.drop_unseen and any(facts.is_read for facts in item.old)

    def _fail(self, item: Item, outcome: str, stage: str | None, reason: str | None, digest: str | None = None) -> None:
        """Put down why a file can't be used, unless that is what is there already."""
        facts = facts_of_item(item)._replace(outcome=outcome, stage=stage, reason=reason, hash=digest)
        if not self.rules.rebuild and len(item.old) == 1 and item.old[0]._replace(key=facts.key) == facts:
            self._count("unchanged", item.old[0])
            self._progress()
        else:
            self._count("failed", facts)
            self._put([Record(facts)], item)

    def _count(self, bucket: str, facts: Facts) -> None:
        if facts.outcome != "caption":
            self.counts[bucket if facts.outcome == "indexed" else "failed"] += 1

    def _remove(self) -> None:
        """Take away the rows of files that are no longer there; not of folders that couldn't be looked into."""
        manifest = self._committer.manifest
        unseen = () if self.rules.drop_unseen else unseen_folders(self.images, manifest)
        for name, file in self._files.left_files():
            rows, is_renamed = self._files.rows(file), bool(self._files.is_renamed[file])
            outcome = self._known.outcome(int(rows[0]))
            if name.startswith(unseen) and not is_renamed:
                self.counts["unseen"] += outcome != "caption"
                continue
            self._committer.deletes += self._known.key[rows].tolist()
            if not is_renamed and outcome not in ("caption", "unreadable", "gone"):
                self.counts["removed"] += 1

    # Records -----------------------------------------------------------------------------------------------------

    def _put(self, records: list[Record], item: Item) -> None:
        records[0].instead_of = [facts.key for facts in item.old]
        self._records += records
        self._record_bytes += sum(record.nbytes for record in records)
        if len(self._records) >= _BATCH_IMAGES or self._record_bytes >= _BATCH_BYTES:
            self._encode()
        if self._committer.is_due:
            self._encode()
            self._committer.commit(complete=False)
        self._progress()

    def _encode(self) -> None:
        """Turn the records into rows that wait for their commit."""
        records, self._records, self._record_bytes = self._records, [], 0
        if records:
            rows = self._encoding.rows(records, self._committer.next_key, self._committer.columns)
            self._fresh.append(rows.fresh)
            self._committer.wait(rows)

    def _progress(self, files: int = 1) -> None:
        self._done += files
        now = time.monotonic()
        if self._on_progress is not None and (now - self._shown > _SHOW_SECONDS or self._done == self._total):
            self._shown = now
            self._on_progress(self._done, self._total)

    def _note_fresh(self) -> None:
        """Count the pictures that were encoded by what came of them."""
        known = self._known
        rows = known.rows_of(np.concatenate([np.empty(0, np.int64), *self._fresh]))
        rows = rows[known.is_live[rows]]
        indexed = known.is_indexed(rows)
        first = rows[indexed & (known.frames(rows) == 0)]
        again = int(known.duplicates(first).sum())
        self.counts["indexed"] += len(first) - again
        self.counts["duplicates"] += again
        self.counts["failed"] += int((~indexed).sum())

    def summary(self, seconds: float, manifest: Manifest) -> Summary:
        """Say what the run did, once it has ended with a manifest."""
        view = manifest.column(manifest.default)
        counts: dict[str, Any] = {name: self.counts[name] for name in _COUNTED}
        return Summary(
            **counts,
            seconds=round(seconds, 3),
            images_per_second=round(self._total / seconds, 1),
            outcomes=manifest.outcomes,
            encoder=view.encoder,
            dimension=view.dimension,
            path=str(self.store.path),
        )


def _states_of(checks: object) -> NDArray[np.int8]:
    """Return what an encoder has made of each row, by the check beside its descriptor."""
    import pyarrow.compute as pc

    states = np.where(pc.fill_null(checks, 0).to_numpy() == REFUSED, SEEN, ENCODED).astype(np.int8)
    states[np.asarray(pc.is_null(checks).to_numpy(), np.bool_)] = UNSEEN
    return states
