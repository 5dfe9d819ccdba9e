"""Rows of an index in a Lance dataset on a disk, which nobody sees before the commit."""

from __future__ import annotations

import ctypes
import logging
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.atomic import claim, claimed
from lookalike.errors import IndexStoreError, first_line
from lookalike.index.checksums import keys_crc32
from lookalike.index.dataset import end_of, import_lance, lance_path, open_dataset, reading
from lookalike.index.lock import CANT
from lookalike.index.manifest import (
    DATASET,
    MANIFEST,
    PREVIOUS,
    REBUILDING,
    Column,
    DamagedIndexError,
    Manifest,
    read_manifest,
    write_manifest,
)
from lookalike.index.schema import descriptor_fields, replaced_descriptors
from lookalike.index.sweep import all_manifests, forget_unnamed_versions, sweep

# Each run adds a fragment or more; many small ones make reading slow, and merging them rewrites their rows.
_MANY_FRAGMENTS = 32
_ROWS_A_FRAGMENT = 8192
_ROWS_TOGETHER = 1024  # that a merging holds in memory, on one thread
_CACHE_BYTES = 2**22  # of Lance's notes on files: those of a thousand versions are of no use


_log = logging.getLogger("lookalike.index")


class LanceStore:
    """The Lance dataset of an index, to be changed under the writer's lock.

    Rows that are added or deleted are seen by nobody until :meth:`commit` has put the manifest that names them in
    place. A process killed before leaves versions that no manifest names; the next writer drops them.

    Parameters
    ----------
    path : Path
        The index's folder.
    manifest : Manifest, optional
        What is there; None begins an empty dataset, beside whatever lies there.
    aside : bool
        Leave the manifest that is there in place until a complete one is committed, and keep the steps in
        ``rebuilding.json``.
    """

    def __init__(self, path: Path, manifest: Manifest | None, *, aside: bool = False) -> None:
        self.path = path
        self.keys = np.empty(0, np.int64)
        self._aside = aside
        self._merges: list[int] = []  # versions that a merging made and that older ones still lie beside
        self._session = import_lance().Session(metadata_cache_size_bytes=_CACHE_BYTES, index_cache_size_bytes=0)
        self._dataset: Any = None
        self._known_ends = dict(manifest.files) if manifest else {}
        self._name = _free_name(path) if manifest is None else manifest.dataset
        self._on_disk = set(self._known_ends)
        if manifest is None:
            return
        forget_unnamed_versions(path, manifest)
        self._dataset = self._opened(manifest)
        with reading(path):
            if self._dataset.latest_version != manifest.dataset_version:  # after a rollback
                self._dataset.restore()
        self.keys = self.read(["key"])["key"].to_numpy()
        if (len(self.keys), keys_crc32(self.keys)) != (manifest.rows, manifest.keys_crc32):
            raise DamagedIndexError(path, "its rows aren't those that were written")

    def _opened(self, manifest: Manifest) -> Any:
        """Open it as readers do, then once more as one whose commits need no hard links."""
        open_dataset(self.path, manifest)
        with reading(self.path, manifest):
            return import_lance().dataset(
                self._uri, version=manifest.dataset_version, commit_lock=_one_commit, session=self._session
            )

    @property
    def _uri(self) -> str:
        return lance_path(self.path, self._name)

    @property
    def columns(self) -> list[str]:
        """Names of the dataset's columns; none of an empty one."""
        return [] if self._dataset is None else list(self._dataset.schema.names)

    def read(self, columns: Sequence[str], keys: Sequence[int] | None = None) -> Any:
        """Return columns of all rows, or of those with these keys, as an Arrow table in no order of note."""
        condition = None if keys is None else f"key IN ({','.join(map(str, keys))})"
        with reading(self.path):
            return self._dataset.to_table(list(columns), filter=condition, batch_size=_ROWS_A_FRAGMENT)

    def append(self, rows: Any) -> None:
        """Add rows, an Arrow table with all columns."""
        into, mode = self._dataset, "append"
        if into is None:
            claim(self.path, self._name)
            into, mode = self._uri, "create"
        self._dataset = import_lance().write_dataset(
            rows, into, mode=mode, commit_lock=_one_commit, session=self._session
        )
        self.keys = np.concatenate([self.keys, rows["key"].to_numpy()])

    def delete(self, keys: Iterable[int]) -> None:
        """Take rows away by their keys."""
        gone = np.array(sorted(keys), np.int64)
        for start in range(0, len(gone), _ROWS_A_FRAGMENT):
            chunk = gone[start : start + _ROWS_A_FRAGMENT].tolist()
            self._dataset.delete(f"key IN ({','.join(map(str, chunk))})")
        self.keys = np.setdiff1d(self.keys, gone)

    def add_column(self, column: Column) -> None:
        """Add the empty columns of another encoder; none where they are there already."""
        if column.column not in self.columns:
            self._dataset.add_columns(descriptor_fields(column))

    def drop_column(self, column: str) -> None:
        """Take the columns of an encoder away; the space comes free when no version kept names them."""
        self._dataset.drop_columns([column, f"{column}_crc32"])

    def replace_column(self, old: Column, new: Column, make: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        """Put other descriptors in place of an encoder's: beside them first, so that Lance never rewrites a file."""
        aside = replace(new, column=f"{new.column}_new")
        damage: list[ValueError] = []

        def replaced(batch: Any) -> Any:
            try:
                return replaced_descriptors(batch, old, aside, make)
            except ValueError as e:  # Lance makes an error of its own of it
                damage.append(e)
                raise

        batches = import_lance().batch_udf(output_schema=descriptor_fields(aside))(replaced)
        try:
            self._dataset.add_columns(batches, ["key", old.column, f"{old.column}_crc32"], batch_size=_ROWS_TOGETHER)
        except (OSError, ValueError) as e:
            if damage:
                raise DamagedIndexError(self.path, str(damage[0])) from e
            raise
        self.drop_column(old.column)
        self._dataset.alter_columns(
            {"path": aside.column, "name": new.column},
            {"path": f"{aside.column}_crc32", "name": f"{new.column}_crc32"},
        )

    def keep(self, manifest: Manifest) -> None:
        """Keep the state that a run begins from, for a rollback."""
        write_manifest(self.path, manifest, PREVIOUS)

    def sweep(self) -> None:
        """Drop what no manifest names."""
        sweep(self.path)

    def _merge_fragments(self) -> None:
        """Make few fragments of many, so that a commit and a read cost the same after a thousand of them."""
        small = sum(1 for f in self._dataset.get_fragments() if f.count_rows() < _ROWS_A_FRAGMENT // 2)
        if small > _MANY_FRAGMENTS:
            self._dataset.optimize.compact_files(
                target_rows_per_fragment=_ROWS_A_FRAGMENT, num_threads=1, batch_size=_ROWS_TOGETHER
            )
            self._merges.append(self._dataset.version)

    def commit(self, manifest: Manifest) -> Manifest:
        """Make what was written the index that readers see, whole, and safe from a power cut.

        Parameters
        ----------
        manifest : Manifest
            What is to be said of it; the version, the rows, their check and the time are filled in here.

        Returns
        -------
        Manifest
            As written.
        """
        self._merge_fragments()
        ends = self._ends()
        root = self.path / self._name
        fresh = [root / name for name in ends if name not in self._on_disk]
        for file in fresh:
            _fsync(file)
        encoders = {self.path / column.encoder_folder for column in manifest.columns}
        for folder in {*(file.parent for file in fresh), root, *encoders}:
            _fsync(folder)
        self._on_disk = set(ends)
        manifest = replace(
            manifest,
            dataset=self._name,
            dataset_version=self._dataset.version,
            files=ends,
            rows=len(self.keys),
            keys_crc32=keys_crc32(self.keys),
            written=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self._check_written(manifest)
        shown = not self._aside or manifest.complete
        write_manifest(self.path, manifest, MANIFEST if shown else REBUILDING)
        if shown and self._aside:
            self._aside = False
            (self.path / REBUILDING).unlink(missing_ok=True)
            self._drop_damaged_previous()
        _fsync(self.path)
        self._drop_merged()
        give_memory_back()
        return manifest

    def _drop_damaged_previous(self) -> None:
        """Let go of the state before once it is made anew: to one that is damaged as well nobody can go back."""
        if PREVIOUS not in claimed(self.path) or not os.path.lexists(self.path / PREVIOUS):
            return
        try:
            open_dataset(self.path, read_manifest(self.path, PREVIOUS))
        except DamagedIndexError:
            (self.path / PREVIOUS).unlink()
        except IndexStoreError as e:  # it can't be read now
            _log.info("%s: %s", self.path, first_line(e))

    def _drop_merged(self) -> None:
        """Drop the steps before the last merging but one: who reads has had as many commits to open a newer one."""
        if len(self._merges) < 2:
            return
        kept = {p.dataset_version for p in all_manifests(self.path) if p.dataset == self._name}
        old = [v["version"] for v in self._dataset.versions() if v["version"] < self._merges[-2]]
        old = [version for version in old if version not in kept]
        if old:
            self._dataset.cleanup_old_versions(versions=old)
        del self._merges[:-1]

    def _ends(self) -> dict[str, list[int]]:
        """Say of each file of the dataset's version what a reader checks before it lets Lance open it."""
        version, root = self._dataset.version, self.path / self._name
        tracked = self._dataset.tracked_files(min_version=version).read_all().to_pylist()
        names = sorted(
            f["path"] for f in tracked if f["version"] == version and not f["path"].startswith("_transactions")
        )
        for name in names:
            if name not in self._known_ends:  # files are never changed once they are written
                self._known_ends[name] = end_of(root / name)
        self._known_ends = {name: self._known_ends[name] for name in names}
        return dict(self._known_ends)

    def _check_written(self, manifest: Manifest) -> None:
        """Read back the end of every file and all deletions: Lance 14 drops the error of the last write to a file."""
        try:
            with reading(self.path):
                fresh = import_lance().dataset(
                    self._uri,
                    version=manifest.dataset_version,
                    metadata_cache_size_bytes=_CACHE_BYTES,
                    index_cache_size_bytes=0,
                )
                keys = fresh.to_table(["key"])["key"].to_numpy()
        except DamagedIndexError as e:
            raise OSError(f"what was written can't be read back ({first_line(e.__cause__ or e)})") from e
        if keys_crc32(keys) != manifest.keys_crc32:
            raise OSError("what was written isn't what is read back")


def give_memory_back() -> None:
    """Return to the system what Lance's and Arrow's many threads have let go, and their allocators keep for each of them.

    Of 300,000 small images that is most of a gigabyte, for as long as the process lives. It costs some milliseconds.
    """
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # a C library that has no such call, as musl
            ctypes.CDLL(None).malloc_trim(0)


def _one_commit(_version: int) -> Any:
    """Guard a commit of Lance's: nobody else writes, so a plain rename will do, which every file system has."""
    return nullcontext()


def _free_name(path: Path) -> str:
    """Name a dataset where none lies."""
    return DATASET if not os.path.lexists(path / DATASET) else f"images-{secrets.token_hex(4)}.lance"


def _fsync(path: Path) -> None:
    """Make sure a file or a folder is on the disk; a system that can't do it for folders says so by an error."""
    try:
        file = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, PermissionError):  # Windows opens no folders
        return
    try:
        os.fsync(file)
    except OSError as e:
        if e.errno not in CANT or not stat.S_ISDIR(os.fstat(file).st_mode):
            raise
    finally:
        os.close(file)
