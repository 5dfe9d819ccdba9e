"""An index -> what is wrong with it; nothing, one hopes."""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from lookalike.collections.tasks import read_entry
from lookalike.encoders.serialize import load as load_encoder
from lookalike.errors import ImageError, LookalikeError
from lookalike.imaging.decode import from_thumbnail
from lookalike.index.artifacts import unsound_artifacts
from lookalike.index.checksums import facts_crc32, keys_crc32
from lookalike.index.dataset import open_dataset, reading
from lookalike.index.manifest import PREVIOUS, Column, read_manifest
from lookalike.index.reader import IndexReader
from lookalike.index.reopen import collection_now
from lookalike.index.schema import READ, Facts, descriptors_of, facts_of
from lookalike.neighbors.distances.base import LONGEST, SHORTEST

_SHOWN = 3  # ids named for one kind of problem


def verify(
    index: IndexReader, *, deep: bool = False, on_progress: Callable[[int, int], None] | None = None
) -> list[str]:
    """Check everything that can be checked about an index, from its manifest to its last byte.

    Ids and keys are unique, counts and outcomes agree, every row, descriptor and thumbnail is what was written, no
    descriptor is NaN, zero or of another length, and every encoder is the one that made its descriptors.

    Parameters
    ----------
    index : IndexReader
        To be checked.
    deep : bool
        Also read every file of the collection and compare its hash with the one stored.
    on_progress : callable, optional
        Called with (rows checked, rows in all).

    Returns
    -------
    list of str
        A sentence a problem; empty where there is none.
    """
    check = _Check(index)
    with check.going_on():
        check.rows(on_progress)
    with check.going_on():
        check.as_readers_do(index)
    for column in index.manifest.columns:
        check.encoder(column)
    check.before()
    check.problems += unsound_artifacts(index.path, index.manifest)
    if deep:
        check.files(index, on_progress)
    return check.problems


class _Check:
    def __init__(self, index: IndexReader) -> None:
        self.path = index.path
        self.manifest = index.manifest
        self.problems: list[str] = []
        self.facts: list[Facts] = []

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Note what can't be read, and go on."""
        try:
            with reading(self.path):
                yield
        except LookalikeError as e:
            self.problems.append(str(e))

    def say(self, what: str, ids: list[str]) -> None:
        """Note one kind of problem, with the first ids that have it."""
        if ids:
            more = f" and {len(ids) - _SHOWN:,} more" if len(ids) > _SHOWN else ""
            self.problems.append(f"{what}: {', '.join(ids[:_SHOWN])}{more}")

    def rows(self, on_progress: Callable[[int, int], None] | None) -> None:
        """Read all rows, batch by batch, so that memory stays bounded."""
        manifest, counts = self.manifest, Counter[str]()
        dataset = open_dataset(self.path, manifest)
        columns = manifest.columns
        for batch in dataset.to_batches(batch_size=1024):
            facts = facts_of(batch)
            checks = batch["facts_crc32"].to_pylist()
            self.say(
                "what is said of an image isn't what was written",
                [f.id for f, check in zip(facts, checks, strict=True) if facts_crc32(f) != check],
            )
            self._thumbnails(facts, batch)
            for column in columns:
                counts[column.column] += self._descriptors(facts, batch, column)
            self.facts += facts
            if on_progress is not None:
                on_progress(len(self.facts), manifest.rows)
        keys = np.array([f.key for f in self.facts], np.int64)
        if (len(keys), keys_crc32(keys)) != (manifest.rows, manifest.keys_crc32):
            self.problems.append(f"{len(keys):,} rows, not the {manifest.rows:,} that were written")
        self.say("two rows of one id", [i for i, n in Counter(f.id for f in self.facts).items() if n > 1])
        self.say(
            "an image without the hash of its bytes",
            [f.id for f in self.facts if f.outcome in READ and len(f.hash or "") != 64],
        )
        for column in columns:
            if counts[column.column] != column.count:
                self.problems.append(
                    f"{counts[column.column]:,} descriptors of {column.encoder}, not the {column.count:,} of the manifest"
                )
        outcomes = Counter("indexed" if f.outcome == "duplicate" else f.outcome for f in self.facts)
        stated = Counter(manifest.outcomes)
        stated["indexed"] += stated.pop("duplicate", 0)
        if outcomes != stated:
            self.problems.append("the manifest's outcomes aren't those of the rows")

    def as_readers_do(self, index: IndexReader) -> None:
        """Read what a search reads, in the way it does: what can be read whole may yet not be read in part."""
        ids = index.ids
        index.files()
        if len(ids) != len(set(ids)) or len(ids) != len(index):
            self.problems.append(f"{len(set(ids)):,} ids of {len(index):,} images")
        dataset = open_dataset(self.path, self.manifest)
        for column in self.manifest.columns:
            for batch in dataset.to_batches(["key", column.column, f"{column.column}_crc32"], batch_size=1024):
                descriptors_of(batch, column.column)

    def _thumbnails(self, facts: list[Facts], batch: Any) -> None:
        bad = []
        pictures = zip(facts, batch["thumbnail"].to_pylist(), batch["thumbnail_crc32"].to_pylist(), strict=True)
        for fact, picture, check in pictures:
            if (picture is None) != (fact.outcome not in READ) or (
                picture is not None and zlib.crc32(picture) != check
            ):
                bad.append(fact.id)
                continue
            if picture is not None:
                try:
                    from_thumbnail(picture)
                except Exception:  # any that a decoder raises
                    bad.append(fact.id)
        self.say("a thumbnail isn't what was written", bad)

    def _descriptors(self, facts: list[Facts], batch: Any, column: Column) -> int:
        """Check one encoder's descriptors of a batch, and return how many there are."""
        try:
            matrix, there = descriptors_of(batch, column.column)
        except ValueError as e:
            self.problems.append(f"{column.encoder}: {e} (near {facts[0].id})")
            return 0
        lengths = np.linalg.norm(matrix.astype(np.float64), axis=1)
        usable = (lengths >= SHORTEST) & (lengths <= LONGEST) | (column.dtype == "uint8")
        ids = [f.id for f, has in zip(facts, there.tolist(), strict=True) if has]
        self.say(
            f"{column.encoder}: a descriptor of zeros, NaN or infinity",
            [ids[i] for i in np.flatnonzero(~usable).tolist()],
        )
        if matrix.shape[1] != column.dimension:
            self.problems.append(f"{column.encoder}: descriptors of {matrix.shape[1]} values, not {column.dimension}")
        unseen = batch[f"{column.column}_crc32"].is_null().to_numpy(zero_copy_only=False)
        if column.complete:
            self.say(
                f"{column.encoder}: complete, but it hasn't seen an image",
                [f.id for f, u in zip(facts, unseen.tolist(), strict=True) if u and f.outcome in READ],
            )
        self.say(
            f"{column.encoder}: a descriptor of a file that couldn't be read",
            [f.id for f, has in zip(facts, there.tolist(), strict=True) if has and f.outcome != "indexed"],
        )
        return int(there.sum())

    def encoder(self, column: Column) -> None:
        """Load an encoder, which checks each of its files."""
        try:
            fingerprint = load_encoder(self.path / column.encoder_folder).fingerprint
        except LookalikeError as e:
            self.problems.append(f"the encoder {column.encoder}: {e}")
            return
        if fingerprint != column.fingerprint:
            self.problems.append(f"the encoder {column.encoder}: its folder holds another than made the descriptors")

    def before(self) -> None:
        """Check that the state before the last run can be gone back to."""
        if (self.path / PREVIOUS).exists():
            try:
                open_dataset(self.path, read_manifest(self.path, PREVIOUS))
            except LookalikeError as e:
                self.problems.append(f"{PREVIOUS}, for rollback: {e}")

    def files(self, index: IndexReader, on_progress: Callable[[int, int], None] | None) -> None:
        """Compare the files as they are now with what was indexed."""
        images = collection_now(index)
        entries = {} if images is None or images.entries is None else {e.id: e for e in images.entries}
        ids: dict[str, list[str]] = {"gone": [], "changed": [], "silent": [], "unreadable": []}
        of_files = [f for f in self.facts if f.hash and f.mtime_ns and not f.frame]
        for done, facts in enumerate(of_files, 1):
            entry = entries.get(facts.id)
            if entry is None or entry.outcome == "gone" or images is None:
                ids["gone"].append(facts.id)
            else:
                try:
                    data = read_entry(entry, facts.id, images.options.limits)
                    if hashlib.sha256(data).hexdigest() != facts.hash:
                        same = (entry.size, entry.mtime_ns) == (facts.size, facts.mtime_ns)
                        ids["silent" if same else "changed"].append(facts.id)
                except ImageError as e:
                    ids["gone" if e.outcome == "gone" else "unreadable"].append(facts.id)
            if on_progress is not None:
                on_progress(done, len(of_files))
        where = "" if images is not None else f" ({self.manifest.source} can't be opened)"
        self.say(
            f"a file isn't where it was indexed{where}; index again, by its folder's new name if it was moved",
            ids["gone"],
        )
        self.say("a file has changed since it was indexed; index again", ids["changed"])
        self.say(
            "a file holds other bytes than were indexed, though its size and time are the same, so that only index --rebuild "
            "reads it again",
            ids["silent"],
        )
        self.say("a file can't be read now", ids["unreadable"])
