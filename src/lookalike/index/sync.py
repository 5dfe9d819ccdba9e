"""A collection and its index -> the index made true, by work only for what is new, changed, renamed or gone."""

from __future__ import annotations

import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lookalike.collections.arrays import image_hash
from lookalike.collections.folder import Entry
from lookalike.collections.open import Collection
from lookalike.collections.tasks import Reading, from_answer, read_caption, to_task
from lookalike.encoders.base import Encoder
from lookalike.errors import ImageError, IndexStoreError
from lookalike.imaging.decode import Picture
from lookalike.imaging.encode import to_thumbnail
from lookalike.imaging.resize import fit_to
from lookalike.index.manifest import (
    DATASET,
    FORMAT,
    PREVIOUS,
    Column,
    DamagedIndexError,
    Manifest,
    facts_crc32,
    write_manifest,
)
from lookalike.index.schema import FACTS, READ, REFUSED, Facts, Row, descriptors_of, duplicate_keys, facts_of, to_table
from lookalike.index.store import Store, interrupts_held, sweep
from lookalike.neighbors.distances.base import LONGEST, SHORTEST

_BATCH_IMAGES, _BATCH_BYTES = 1024, 2**22  # encoded together, while others are read; whichever is reached first
_SHOW_SECONDS = 0.1
_CHUNK = 8192  # files that are looked at together
_AHEAD = 1024  # files under way: as many are read on while one hangs
_CLOCK_SECONDS = 2  # by which a disk's clock may go before ours
_COMMIT_SECONDS, _COMMIT_BYTES = 5.0, 2**26  # what a crash may cost, and what waits in memory for its commit


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


class _Known(NamedTuple):
    """A row that is in the index: its facts, and for each column whether it is unseen, refused or there."""

    facts: Facts
    checks: dict[str, int | None]


@dataclass
class _Item:
    """A file of the collection, and the rows that the index has of it."""

    entry: Entry
    position: int | None
    old: list[_Known]
    hash: str | None = None  # of an image in memory


@dataclass
class _Record:
    """A row to come: its facts but for the key, what is to be encoded, and the row whose descriptors it may take."""

    facts: Facts
    fitted: list[NDArray[np.uint8]] | None = None
    thumbnail: bytes | None = None
    like: int | None = None
    fresh: bool = False
    instead_of: list[int] = field(default_factory=list)


class Sync:
    """One run. Used under the writer's lock.

    Parameters
    ----------
    images : Collection
        What the index is to be true to.
    store : Store
        The rows there are.
    manifest : Manifest or None
        What is known of them.
    columns : list of (Column, Encoder)
        The encoders that every picture goes through; one that is new is complete when the run ends.
    default : str
        The column that answers from then on.
    only : bool
        Drop all other columns at the end; without it only those of an encoder of the same name.
    retry : bool
        Try again what failed before.
    rebuild : bool
        Trust nothing that was stored.
    drop_unseen : bool
        Drop what can't be seen now, too.
    workers : int or None
        Processes that decode.
    on_progress : callable or None
        Called with (files done, files in all).
    """

    def __init__(
        self,
        images: Collection,
        store: Store,
        manifest: Manifest | None,
        columns: list[tuple[Column, Encoder]],
        default: str,
        *,
        only: bool = False,
        retry: bool = False,
        rebuild: bool = False,
        drop_unseen: bool = False,
        workers: int | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.images = images
        self.store = store
        self.manifest = manifest
        self.columns = columns
        self.default = default
        self.only = only
        self.retry = retry
        self.rebuild = rebuild
        self.drop_unseen = drop_unseen
        self.workers = workers
        self.counts: Counter[str] = Counter()
        self._on_progress = on_progress
        self._shapes = list(dict.fromkeys(tuple(c.shape) for c, _ in columns))
        self._live: dict[int, _Known] = {}  # the rows that a commit would show, by key
        self._outcomes: Counter[str] = Counter()  # of those rows
        self._encoded: Counter[str] = Counter()  # column -> rows with a descriptor
        self._copies: Counter[tuple[str, int]] = Counter()  # (hash, frame) -> rows of pictures
        self._extra = 0  # pictures that another row holds as well
        self._left: dict[str, list[_Known]] = {}  # the rows of files that haven't been met in this run, by file
        self._renamed: set[str] = set()
        self._fresh: set[int] = set()  # keys of what was encoded, not kept
        self._by_hash: defaultdict[str, list[int]] = defaultdict(list)
        self._sizes: set[int] = set()  # of what was known when the run began
        self._next_key = manifest.next_key if manifest else 0
        ours = {column.column for column, _ in columns}
        held = () if manifest is None else manifest.columns
        # A complete encoder that isn't among those of this run can't be loaded any more.
        self._dropped = {c.column for c in held if c.complete and c.column not in ours}
        self._begun = manifest is None  # whether the state before is already put aside
        self._records: list[_Record] = []
        self._record_bytes = 0
        self._tables: list[Any] = []
        self._waiting: list[_Known] = []
        self._deletes: list[int] = []
        self._writing = False
        self._committed = self._shown = time.monotonic()
        self._done = self._total = 0

    @property
    def _all_columns(self) -> list[Column]:
        """Those of the dataset: the run's, and others that it leaves alone."""
        ours = {c.column: c for c, _ in self.columns}
        held = [] if self.manifest is None else [ours.pop(c.column, c) for c in self.manifest.columns]
        return [c for c in (*held, *ours.values()) if c.column not in self._dropped]

    def run(self) -> Manifest:
        """Do the work, and return the manifest at its end.

        Raises
        ------
        IndexStoreError
            If nothing could be indexed, or the index is damaged.
        """
        self._load()
        todo = self._plan()
        try:
            again: list[_Item] = []
            for item, reading in zip(todo, self._read(todo), strict=True):
                if not self._take(item, reading):
                    again.append(item)
            # A picture that took the place of another while its descriptors were to be copied from there.
            for item, reading in zip(again, self._read(again, trust=False), strict=True):
                self._take(item, reading)
            self._remove()
        except KeyboardInterrupt:
            if not self._writing:  # what is half written is left to the sweep
                self._encode()
                self._commit(complete=False)
            raise
        self._encode()
        return self._end()

    # What there is, and what is to be done -----------------------------------------------------------------------

    def _load(self) -> None:
        """Read the facts of all rows. A row that isn't what was written is put away, and its file read anew."""
        if self.manifest is None:
            return
        names = [c.column for c in self._all_columns if c.column in self.store.columns]
        table = self.store.read([*FACTS, "facts_crc32", *(f"{name}_crc32" for name in names)])
        checks = [table[f"{name}_crc32"].to_pylist() for name in names]
        for facts, check, *seen in zip(facts_of(table), table["facts_crc32"].to_pylist(), *checks, strict=True):
            known = _Known(facts, dict(zip(names, seen, strict=True)))
            self._show(known)
            if check != facts_crc32(facts):
                self._deletes.append(facts.key)
                continue
            self._left.setdefault(facts.file, []).append(known)
            if self._remember(known):
                self._sizes.add(facts.size or 0)
        for rows in self._left.values():
            rows.sort(key=lambda known: known.facts.frame)

    def _show(self, known: _Known) -> None:
        self._live[known.facts.key] = known
        self._tally(known, 1)

    def _hide(self, key: int) -> Facts:
        known = self._live.pop(key)
        self._tally(known, -1)
        return known.facts

    def _tally(self, known: _Known, by: int) -> None:
        """Count a row in or out, so that a commit costs the same however many rows there are."""
        facts = known.facts
        self._outcomes[facts.outcome] += by
        for name, check in known.checks.items():
            if check not in (None, REFUSED):
                self._encoded[name] += by
        if facts.outcome == "indexed" and facts.hash and self.images.entries is not None:
            copies = self._copies[facts.hash, facts.frame] + by
            self._copies[facts.hash, facts.frame] = copies
            self._extra += by if copies > (by > 0) else 0
            if not copies:
                del self._copies[facts.hash, facts.frame]

    def _remember(self, known: _Known) -> bool:
        """Note which row holds some bytes, if a file with the same needn't be decoded; tell whether that is so."""
        facts = known.facts
        if facts.hash is None or facts.size is None or self.rebuild or not self._is_done(known):
            return False
        if self.retry and facts.outcome not in READ:
            return False
        self._by_hash[facts.hash].append(facts.key)
        return True

    def _is_done(self, known: _Known) -> bool:
        """Whether all encoders of this run have seen it, or it can't be read at all."""
        return known.facts.outcome not in READ or all(known.checks.get(c.column) is not None for c, _ in self.columns)

    def _plan(self) -> list[_Item]:
        """Settle what is unchanged, and return what must be read."""
        todo = []
        items = list(self._items())
        self._total = len(items)
        for item in items:
            entry, old = item.entry, item.old
            current = bool(old) and not self.rebuild and self._is_current(item)
            if self._was_seen(item) and (entry.outcome == "unreadable" or _has_no_folder(entry)):
                self._keep_unseen()
            elif entry.outcome is not None:
                self._fail(item, entry.outcome, "list", entry.reason)
            elif current and all(self._is_done(known) for known in old) and not self._is_to_be_retried(old):
                self._keep(item)
            else:
                todo.append(item)
        return todo

    def _items(self) -> Iterator[_Item]:
        images, left = self.images, self._left
        if images.entries is not None:
            for position, entry in enumerate(images.entries):
                yield _Item(entry, position if images.ordered else None, left.pop(entry.id, []))
            return
        for position, identity in enumerate(images.ids):
            label = None if images.labels is None else str(images.labels[position])
            pixels = None if images.array_ is None else images.array_[position]
            size = 0 if pixels is None else pixels.nbytes
            entry = Entry(identity, ("memory", str(position)), size, 0, label=label)
            yield _Item(entry, position, left.pop(identity, []), None if pixels is None else image_hash(pixels))

    def _is_current(self, item: _Item) -> bool:
        facts = item.old[0].facts
        if item.hash is not None:
            return facts.hash == item.hash
        if item.entry.source[0] == "memory":  # of a reader of the caller's own, nobody knows before it is asked
            return False
        # Known to be bad are bytes. Of a file that gave none, or that was told by its place, nothing is known.
        if item.entry.outcome is None and facts.outcome not in READ and (facts.hash is None or facts.stage == "list"):
            return False
        return (facts.size, facts.mtime_ns) == (item.entry.size, item.entry.mtime_ns)

    def _is_to_be_retried(self, old: list[_Known]) -> bool:
        return self.retry and old[0].facts.outcome not in READ

    def _was_seen(self, item: _Item) -> bool:
        """Tell whether an item that can't be read now is known, and to stay so."""
        return not self.drop_unseen and any(known.facts.outcome in READ for known in item.old)

    def _keep_unseen(self) -> None:
        self.counts["unseen"] += 1
        self._progress()

    def _keep(self, item: _Item) -> None:
        """Leave an item's rows as they are, or write them again where only what is said about the file has changed."""
        entry, facts = item.entry, item.old[0].facts
        stated = (entry.label, _stamp(entry), _metadata(entry), item.position)
        self._count("unchanged", facts)
        if stated != (facts.label, facts.caption_stamp, facts.metadata, facts.position):
            self._put([self._copy(item, known) for known in item.old], item)
        else:
            self._progress()

    def _count(self, bucket: str, facts: Facts) -> None:
        if facts.outcome != "caption":
            self.counts[bucket if facts.outcome == "indexed" else "failed"] += 1

    # Reading -----------------------------------------------------------------------------------------------------

    def _read(self, items: list[_Item], *, trust: bool = True) -> Iterator[Reading]:
        """Read what must be read, in order; files in processes that can be killed."""
        if not items:
            return
        if self.images.entries is None:
            for item in items:
                yield self._read_here(item)
            return
        with self.images.sandbox(self.workers) as sandbox:
            for start in range(0, len(items), _CHUNK):
                chunk = items[start : start + _CHUNK]
                # What may be known under another name is hashed first: who compares is here, where all hashes are.
                maybe = [i for i, item in enumerate(chunk) if trust and item.entry.size in self._sizes]
                found = dict(zip(maybe, self._ask(sandbox, [chunk[i] for i in maybe], hash_only=True), strict=True))
                known = {i: r for i, r in found.items() if r.hashed and (r.hash or "") in self._by_hash}
                rest = self._ask(sandbox, [item for i, item in enumerate(chunk) if i not in known])
                for i in range(len(chunk)):
                    yield known[i] if i in known else next(rest)

    def _ask(self, sandbox: Any, items: list[_Item], *, hash_only: bool = False) -> Iterator[Reading]:
        """Read files in order; the ones to come are read on while the caller works."""
        options, whole = self.images.options, self.images.whole
        tasks = (
            to_task(
                item.entry,
                f"{whole}/{item.entry.id}",
                self._shapes,
                each=options.each,
                hash_only=hash_only,
                limits=options.limits,
            )
            for item in items
        )
        for answer in sandbox.map(tasks, ahead=_AHEAD):
            yield from_answer(answer, self._shapes)

    def _read_here(self, item: _Item) -> Reading:
        """Take an image that is an array already, or comes from a reader of the caller's own."""
        position = item.position or 0
        try:
            image = self.images.read(position)
        except ImageError as e:
            return Reading(outcome=e.outcome, stage="read", reason=str(e))
        picture = Picture(
            image.shape[1],
            image.shape[0],
            [fit_to(image, shape) for shape in self._shapes],
            to_thumbnail(fit_to(image, self.images.shape)),
        )
        return Reading(
            hash=item.hash or image_hash(image), size=item.entry.size, mtime_ns=item.entry.mtime_ns, pictures=[picture]
        )

    def _take(self, item: _Item, reading: Reading) -> bool:
        """Make records of what was read; False where it must be read again, since what it is like has gone."""
        found = (reading.size or item.entry.size, reading.mtime_ns or item.entry.mtime_ns)
        if found != (item.entry.size, item.entry.mtime_ns):  # it changed after it was listed
            item.entry = replace(item.entry, size=found[0], mtime_ns=found[1])
        entry = item.entry
        keys = self._by_hash.get(reading.hash or "", ()) if reading.outcome is None else ()
        if reading.hashed and not keys:
            return False
        if keys:
            like = [self._live[key] for key in keys]
            like = [known for known in like if known.facts.file == like[0].facts.file]
            was = self._name_before(item, like)
            self._put([self._copy(item, known) for known in sorted(like, key=lambda k: k.facts.frame)], item)
            self._count("unchanged" if was == entry.id else "renamed" if was else "duplicates", like[0].facts)
            return True
        if reading.outcome in ("unreadable", "gone") and reading.hash is None and self._was_seen(item):
            self._keep_unseen()
            return True
        if reading.outcome is not None or not reading.pictures:
            outcome, reason = reading.outcome or "crashed", reading.reason or "its decoder answered nothing"
            self._fail(item, outcome, reading.stage, reason, reading.hash)
            return True
        before = {known.facts.frame: known for known in item.old if known.facts.hash == reading.hash}
        records = []
        for frame, picture in enumerate(reading.pictures):
            facts = self._facts(item, frame)._replace(hash=reading.hash, width=picture.width, height=picture.height)
            like_key = before[frame].facts.key if frame in before and not self.rebuild else None
            records.append(_Record(facts, picture.fitted, picture.thumbnail or None, like_key, fresh=True))
        self._put(records, item)
        return True

    def _name_before(self, item: _Item, like: list[_Known]) -> str | None:
        """Tell under which name a file's bytes were known: its own, one that has gone, or None for one that is there."""
        facts = like[0].facts
        if any(known.facts.hash == facts.hash for known in item.old):
            return item.entry.id
        for key in self._by_hash[facts.hash or ""]:
            name = self._live[key].facts.file
            if name in self._left:
                self._renamed.add(name)
                return name
        return None

    # Records -----------------------------------------------------------------------------------------------------

    def _facts(self, item: _Item, frame: int = 0) -> Facts:
        entry = item.entry
        stamp, caption = _stamp(entry), None
        if stamp is not None:
            same = [k.facts.caption for k in item.old if k.facts.caption_stamp == stamp]
            try:
                caption = same[0] if same else read_caption(entry)
            except ImageError:  # the one before stays, with its stamp, so that the next run looks again
                before = item.old[0].facts if item.old else None
                caption, stamp = (None, None) if before is None else (before.caption, before.caption_stamp)
        return Facts(
            key=-1,
            id=f"{entry.id}#{frame}" if frame else entry.id,
            frame=frame,
            position=item.position,
            label=entry.label,
            caption=caption,
            caption_stamp=stamp,
            metadata=_metadata(entry),
            size=entry.size,
            mtime_ns=entry.mtime_ns,
        )

    def _fail(
        self, item: _Item, outcome: str, stage: str | None, reason: str | None, digest: str | None = None
    ) -> None:
        """Put down why a file can't be used, unless that is what is there already."""
        facts = self._facts(item)._replace(outcome=outcome, stage=stage, reason=reason, hash=digest)
        if not self.rebuild and len(item.old) == 1 and item.old[0].facts._replace(key=facts.key) == facts:
            self._keep(item)
        else:
            self._count("failed", facts)
            self._put([_Record(facts)], item)

    def _copy(self, item: _Item, known: _Known) -> _Record:
        """Make the record of a picture whose bytes the index knows under this name or another."""
        was = known.facts
        reason = was.reason and was.reason.replace(was.file, item.entry.id, 1)
        facts = self._facts(item, was.frame)._replace(
            hash=was.hash, width=was.width, height=was.height, outcome=was.outcome, stage=was.stage, reason=reason
        )
        return _Record(facts, like=was.key)

    def _put(self, records: list[_Record], item: _Item) -> None:
        records[0].instead_of = [known.facts.key for known in item.old]
        self._records += records
        self._record_bytes += sum(image.nbytes for r in records for image in r.fitted or ())
        if len(self._records) >= _BATCH_IMAGES or self._record_bytes >= _BATCH_BYTES:
            self._encode()
        if time.monotonic() - self._committed > _COMMIT_SECONDS:
            self._encode()
            self._commit(complete=False)
        self._progress()

    def _progress(self) -> None:
        self._done += 1
        now = time.monotonic()
        if self._on_progress is not None and (now - self._shown > _SHOW_SECONDS or self._done == self._total):
            self._shown = now
            self._on_progress(self._done, self._total)

    # Encoding and writing ----------------------------------------------------------------------------------------

    def _encode(self) -> None:
        """Turn the records into rows that wait for their commit."""
        records, self._records, self._record_bytes = self._records, [], 0
        if not records:
            return
        rows = self._begin_rows(records)
        for column, encoder in self.columns:
            wanted = [i for i, row in enumerate(rows) if column.column not in row.descriptors and records[i].fitted]
            if not wanted:
                continue
            at = self._shapes.index(tuple(column.shape))
            images = np.stack([fitted[at] for i in wanted if (fitted := records[i].fitted)])
            descriptors = np.ascontiguousarray(encoder.encode(images), column.dtype)
            lengths = np.sqrt(np.einsum("ij,ij->i", descriptors, descriptors, dtype=np.float64))
            for i, descriptor, length in zip(wanted, descriptors, lengths.tolist(), strict=True):
                usable = column.dtype == "uint8" or SHORTEST <= length <= LONGEST  # NaN is neither
                rows[i].descriptors[column.column] = descriptor if usable else None
                if not usable and rows[i].facts.outcome == "indexed":
                    outcome, what = _what_is_wrong(length)
                    reason = f"{rows[i].facts.id}: {what}"
                    rows[i].facts = rows[i].facts._replace(outcome=outcome, stage="encode", reason=reason)
        for row in rows:  # one encoder with a descriptor is enough to be found
            if row.facts.stage == "encode" and any(d is not None for d in row.descriptors.values()):
                row.facts = row.facts._replace(outcome="indexed", stage=None, reason=None)
        self._wait(rows, records)

    def _begin_rows(self, records: list[_Record]) -> list[Row]:
        """Give each record its key, and what it takes from a row that is there."""
        copied = self._fetch([r.like for r in records if r.like is not None])
        rows = []
        for record in records:
            row = Row(record.facts._replace(key=self._next_key), record.thumbnail, {})
            if record.like is not None:
                thumbnail, row.descriptors = copied[record.like]
                row.thumbnail = row.thumbnail or thumbnail
            if record.fresh:
                self._fresh.add(self._next_key)
            rows.append(row)
            self._next_key += 1
        return rows

    def _fetch(self, keys: list[int]) -> dict[int, tuple[bytes | None, dict[str, NDArray[Any] | None]]]:
        """Read thumbnails and descriptors of rows in the store."""
        if not keys:
            return {}
        names = [c.column for c in self._all_columns if c.column in self.store.columns]
        stored = [part for name in names for part in (name, f"{name}_crc32")]
        table = self.store.read(["key", "thumbnail", *stored], sorted(set(keys)))
        found = dict(
            zip(table["key"].to_pylist(), ((p, dict[str, Any]()) for p in table["thumbnail"].to_pylist()), strict=True)
        )
        for name in names:
            try:
                matrix, there = descriptors_of(table, name)
            except ValueError as e:
                raise DamagedIndexError(self.store.path, str(e)) from e
            held = iter(matrix)
            for key, has, check in zip(
                table["key"].to_pylist(), there.tolist(), table[f"{name}_crc32"].to_pylist(), strict=True
            ):
                if has or check == REFUSED:
                    found[key][1][name] = next(held) if has else None
        return {key: (thumbnail, dict(held)) for key, (thumbnail, held) in found.items()}

    def _wait(self, rows: list[Row], records: list[_Record]) -> None:
        self._tables.append(to_table(rows, self._all_columns))
        self._deletes += [key for record in records for key in record.instead_of]
        for row in rows:
            # Only whether there is a check matters from here on, not its value.
            seen: dict[str, int | None] = {name: REFUSED if d is None else 0 for name, d in row.descriptors.items()}
            self._waiting.append(_Known(row.facts, seen))
        if sum(table.nbytes for table in self._tables) > _COMMIT_BYTES:
            self._commit(complete=False)

    def _commit(self, *, complete: bool) -> None:
        """Write what waits, and make it visible; Ctrl-C waits till that is done."""
        with interrupts_held():
            self._write_and_show(complete)

    def _write_and_show(self, complete: bool) -> None:
        self._writing = True
        if self._tables or self._deletes:
            self._write()
        elif not complete:
            self._writing = False
            return
        # An index that answers nothing isn't shown yet.
        if self.manifest is not None or self._outcomes["indexed"]:
            if not self._begun and self.manifest is not None:
                if self.manifest.complete:
                    write_manifest(self.store.path, self.manifest, PREVIOUS)
                self._begun = True
            self.manifest = self.store.commit(self._stated(complete))
        self._committed = time.monotonic()
        self._writing = False

    def _write(self) -> None:
        import pyarrow as pa

        if self.store.columns:
            for name in self._dropped.intersection(self.store.columns):
                self.store.drop_column(name)
            for column in self._all_columns:
                self.store.add_column(column)
        if self._deletes:
            self.store.delete(self._deletes)
        if self._tables:
            self.store.append(pa.concat_tables(self._tables).select(self.store.columns or self._tables[0].column_names))
        self.store.merge_fragments()
        for key in self._deletes:
            gone = self._hide(key)
            if key in (alike := self._by_hash.get(gone.hash or "", [])):
                alike.remove(key)
        for known in self._waiting:
            self._show(known)
            self._remember(known)
        self._tables, self._deletes, self._waiting = [], [], []

    def _remove(self) -> None:
        """Take away the rows of files that are no longer there; not of folders that couldn't be looked into."""
        unseen = () if self.drop_unseen else self._unseen_folders()
        for name, rows in self._left.items():
            if name.startswith(unseen) and name not in self._renamed:
                self.counts["unseen"] += rows[0].facts.outcome != "caption"
                continue
            self._deletes += [known.facts.key for known in rows]
            if name not in self._renamed and rows[0].facts.outcome not in ("caption", "unreadable", "gone"):
                self.counts["removed"] += 1

    def _unseen_folders(self) -> tuple[str, ...]:
        """Return how the names of files begin of which nothing can be told now.

        An empty folder that hasn't changed since the index was written wasn't emptied since: what it held lies on a disk
        that was mounted there.
        """
        images = self.images
        folders = {*images.unlisted, *(name.removesuffix("/") for name in self._away())}
        if self.manifest is not None:
            listed = self.manifest.listed - _CLOCK_SECONDS
            folders |= {name for name, changed in images.empty.items() if changed / 1e9 < listed}
        return tuple(f"{name}/" if name else "" for name in folders)

    def _away(self) -> list[str]:
        """Return the folders that lay on a disk of their own when they were last seen, and don't now, or are empty.

        What else lies in a mount point without its disk is new, and says nothing of what is on the disk. A disk that goes
        takes no link away: if that is gone, a person removed it.
        """
        images = self.images
        if self.manifest is None or self.drop_unseen or not os.path.isdir(images.source):
            return []
        away = []
        for name in self.manifest.mounts:
            folder = name.removesuffix("/")
            if not name and self.manifest.source != images.source:
                continue  # the whole collection lies elsewhere now
            is_away = name not in images.mounts or folder in images.empty
            if is_away and (name == folder or os.path.lexists(Path(images.source, folder))):
                away.append(name)
        return away

    # The end -----------------------------------------------------------------------------------------------------

    def _end(self) -> Manifest:
        """Commit the rest, let go of encoders that were replaced, and tidy."""
        gone = set(self._deletes)
        kept = (known for key, known in self._live.items() if key not in gone)
        if not any(known.facts.outcome == "indexed" for known in (*kept, *self._waiting)):
            reason = next((k.facts.reason for k in self._waiting if k.facts.reason), "there is no image in it")
            raise IndexStoreError(
                f"{self.images.name}: none of {len(self.images):,} images could be indexed; the first: {reason}"
            )
        before = self.manifest
        nothing_new = not (self._tables or self._deletes)
        if before is not None and nothing_new and self._stated(complete=True) == before:
            sweep(self.store.path)  # of what a killed run may have left
            return before
        if not nothing_new:
            self._write()
        self._drop_replaced()
        self._commit(complete=True)
        assert self.manifest is not None
        sweep(self.store.path)
        return self.manifest

    def _drop_replaced(self) -> None:
        answers = next(c for c in self._all_columns if c.column == self.default)
        for column in self._all_columns:
            replaced = self.only or column.encoder == answers.encoder
            if column.column != self.default and replaced:
                self._dropped.add(column.column)
        for name in self._dropped.intersection(self.store.columns):
            self.store.drop_column(name)

    def _stated(self, complete: bool) -> Manifest:
        """Return the manifest of the rows as they are now; the store adds what it alone knows."""
        from lookalike.version import __version__

        ours = {c.column for c, _ in self.columns}
        columns = [
            replace(c, count=self._encoded[c.column], complete=c.complete or (complete and c.column in ours))
            for c in self._all_columns
        ]
        before = self.manifest
        return Manifest(
            format=FORMAT,
            collection=self.images.name,
            source=self.images.source,
            reading=json.loads(json.dumps(asdict(self.images.options))),  # as it will be read
            columns=columns,
            default=self.default if complete or before is None else before.default,
            dataset_version=before.dataset_version if before else 0,
            files=before.files if before else {},
            rows=before.rows if before else 0,
            next_key=self._next_key,
            keys_crc32=before.keys_crc32 if before else 0,
            outcomes=self._counted(),
            complete=complete,
            written=before.written if before else "",
            versions={"lookalike": __version__, "pylance": version("pylance"), "numpy": np.__version__},
            graphs={name: g for name, g in before.graphs.items() if any(c.column == name for c in columns)}
            if before
            else {},
            dataset=before.dataset if before else DATASET,
            place=place_of(self.store.path, self.images),
            mounts=sorted({*self.images.mounts, *self._away()}),
            listed=self.images.listed,
        )

    def _counted(self) -> dict[str, int]:
        """Count the files by outcome; of several with the same bytes, all but the first are duplicates."""
        found = self._outcomes + Counter({"duplicate": self._extra})
        found["indexed"] -= self._extra
        return {name: n for name, n in sorted(found.items()) if n}

    def summary(self, seconds: float) -> Summary:
        """Say what the run did, once it has ended."""
        assert self.manifest is not None
        fresh = [
            key for key in self._fresh if key in self._live and self._live[key].facts.frame == 0
            and self._live[key].facts.outcome == "indexed"
        ]  # fmt: skip
        extra = duplicate_keys(k.facts for k in self._live.values()) if self.images.entries is not None else set()
        again = len(extra.intersection(fresh))
        blank = sum(1 for k in self._fresh if k in self._live and self._live[k].facts.outcome != "indexed")
        view = self.manifest.column(self.manifest.default)
        return Summary(
            indexed=len(fresh) - again,
            unchanged=self.counts["unchanged"],
            renamed=self.counts["renamed"],
            duplicates=self.counts["duplicates"] + again,
            failed=self.counts["failed"] + blank,
            removed=self.counts["removed"],
            unseen=self.counts["unseen"],
            seconds=round(seconds, 3),
            images_per_second=round(self._total / seconds, 1),
            outcomes=self.manifest.outcomes,
            encoder=view.encoder,
            dimension=view.dimension,
            path=str(self.store.path),
        )


def place_of(path: Path, images: Collection) -> str:
    """Say where in its collection an index lies.

    Parameters
    ----------
    path : Path
        The index's folder.
    images : Collection
        Any.

    Returns
    -------
    str
        Relative to the collection's folder, with ``/``; empty where it lies elsewhere.
    """
    whole, folder = path.resolve(), Path(images.source)
    if images.entries is None or not whole.is_relative_to(folder):
        return ""
    return whole.relative_to(folder).as_posix()


def _has_no_folder(entry: Entry) -> bool:
    """Tell a listed file that isn't there because its whole folder isn't, as of a disk that was taken out."""
    return entry.outcome == "gone" and not os.path.isdir(os.path.dirname(entry.source[1]))


def _stamp(entry: Entry) -> str | None:
    return None if entry.caption is None else entry.caption[1]


def _metadata(entry: Entry) -> str | None:
    return None if entry.metadata is None else json.dumps(entry.metadata, ensure_ascii=False, sort_keys=True)


def _what_is_wrong(length: float) -> tuple[str, str]:
    if length < SHORTEST:
        return "blank", "its descriptor is all zeros, as of a blank image, so nothing is like it"
    return "no descriptor", "its descriptor holds NaN, infinity or values too large to compare"
