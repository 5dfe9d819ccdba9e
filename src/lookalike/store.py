"""The folder of an index as its one writer sees it: a lock, rows that nobody sees before the commit, and tidying."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from lookalike.errors import IndexStoreError
from lookalike.passport import (
    DATASET,
    PASSPORT,
    PREVIOUS,
    Column,
    DamagedIndexError,
    Passport,
    end_of,
    first_line,
    import_lance,
    keys_crc32,
    open_dataset,
    read_passport,
    reading,
    write_passport,
)
from lookalike.underway import LOCK, RunNotes
from lookalike.vectors import ENDING, sealed_names

#: How a folder of keypoints begins, in which they are filed by the hash of the picture's bytes.
KEYPOINTS = "keypoints-"
_LATEST = 2**64 - 1  # a manifest's name is this less its version, so that the newest is listed first
# Each run adds a fragment or more; many small ones make reading slow, and merging them rewrites their rows.
_MANY_FRAGMENTS = 32
_ROWS_A_FRAGMENT = 8192


class Store:
    """The Lance dataset of an index, to be changed under the writer's lock.

    Rows that are added or deleted are seen by nobody until :meth:`commit` has put the passport that names them in
    place. A process killed before leaves versions that no passport names; the next writer drops them.

    Parameters
    ----------
    path : Path
        The index's folder.
    passport : Passport, optional
        What is there; None begins an empty dataset.
    """

    def __init__(self, path: Path, passport: Passport | None) -> None:
        self.path = path
        self.keys = np.empty(0, np.int64)
        self._dataset: Any = None
        self._known_ends = dict(passport.files) if passport else {}
        self._on_disk = set(self._files())
        if passport is None:
            shutil.rmtree(self._uri, ignore_errors=True)
            self._on_disk = set()
            return
        _forget_unnamed_versions(path, passport)
        self._dataset = open_dataset(path, passport)
        with reading(path):
            if self._dataset.latest_version != passport.dataset_version:  # after a rollback
                self._dataset.restore()
        self.keys = self.read(["key"])["key"].to_numpy()
        if (len(self.keys), keys_crc32(self.keys)) != (passport.rows, passport.keys_crc32):
            raise DamagedIndexError(path, "its rows aren't those that were written")

    @property
    def _uri(self) -> str:
        return str(self.path / DATASET)

    @property
    def columns(self) -> list[str]:
        """Names of the dataset's columns; none of an empty one."""
        return [] if self._dataset is None else list(self._dataset.schema.names)

    def read(self, columns: Sequence[str], keys: Sequence[int] | None = None) -> Any:
        """Return columns of all rows, or of those with these keys, as an Arrow table in no order of note."""
        some = None if keys is None else f"key IN ({','.join(map(str, keys))})"
        with reading(self.path):
            return self._dataset.to_table(list(columns), filter=some, batch_size=_ROWS_A_FRAGMENT)

    def append(self, rows: Any) -> None:
        """Add rows, an Arrow table with all columns."""
        if self._dataset is None:
            self._dataset = import_lance().write_dataset(rows, self._uri, mode="create")
        else:
            self._dataset = import_lance().write_dataset(rows, self._dataset, mode="append")
        self.keys = np.concatenate([self.keys, rows["key"].to_numpy()])

    def delete(self, keys: Iterable[int]) -> None:
        """Take rows away by their keys."""
        gone = np.array(sorted(keys), np.int64)
        for start in range(0, len(gone), _ROWS_A_FRAGMENT):
            some = gone[start : start + _ROWS_A_FRAGMENT].tolist()
            self._dataset.delete(f"key IN ({','.join(map(str, some))})")
        self.keys = np.setdiff1d(self.keys, gone)

    def add_column(self, column: Column) -> None:
        """Add the empty columns of another encoder; none where they are there already."""
        if column.column not in self.columns:
            self._dataset.add_columns(descriptor_fields(column))

    def drop_column(self, column: str) -> None:
        """Take the columns of an encoder away; the space comes free when no version kept names them."""
        self._dataset.drop_columns([column, f"{column}_crc32"])

    def merge_fragments(self) -> None:
        """Make few fragments of many."""
        if len(self._dataset.get_fragments()) > _MANY_FRAGMENTS:
            self._dataset.optimize.compact_files(target_rows_per_fragment=_ROWS_A_FRAGMENT)

    def commit(self, passport: Passport) -> Passport:
        """Make what was written the index that readers see, whole, and safe from a power cut.

        Parameters
        ----------
        passport : Passport
            What is to be said of it; the version, the rows, their check and the time are filled in here.

        Returns
        -------
        Passport
            As written.
        """
        written = self._files()
        for file in written - self._on_disk:
            _fsync(file)
        folders = {file.parent for file in written - self._on_disk}
        for folder in (*folders, self.path / DATASET, *self.path.glob("encoder-*")):
            _fsync(folder)
        self._on_disk = written
        passport = replace(
            passport,
            dataset_version=self._dataset.version,
            files=self._ends(),
            rows=len(self.keys),
            keys_crc32=keys_crc32(self.keys),
            written=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self._check_written(passport)
        write_passport(self.path, passport)
        _fsync(self.path)
        return passport

    def _ends(self) -> dict[str, list[int]]:
        """Say of each file of the dataset's version what a reader checks before it lets Lance open it."""
        version, root = self._dataset.version, self.path / DATASET
        tracked = self._dataset.tracked_files(min_version=version).read_all().to_pylist()
        names = sorted(
            f["path"] for f in tracked if f["version"] == version and not f["path"].startswith("_transactions")
        )
        for name in names:
            if name not in self._known_ends:  # files are never changed once they are written
                self._known_ends[name] = end_of(root / name)
        return {name: self._known_ends[name] for name in names}

    def _check_written(self, passport: Passport) -> None:
        """Read back the end of every file and all deletions: Lance 14 drops the error of the last write to a file."""
        try:
            with reading(self.path):
                fresh = import_lance().dataset(self._uri, version=passport.dataset_version)
                keys = fresh.to_table(["key"])["key"].to_numpy()
        except DamagedIndexError as e:
            raise OSError(f"what was written can't be read back ({first_line(e.__cause__ or e)})") from e
        if keys_crc32(keys) != passport.keys_crc32:
            raise OSError("what was written isn't what is read back")

    def _files(self) -> set[Path]:
        return {p for p in (self.path / DATASET).rglob("*") if p.is_file()}


def descriptor_fields(column: Column) -> Any:
    """Return the Arrow schema of an encoder's two columns.

    Parameters
    ----------
    column : Column
        The encoder.

    Returns
    -------
    pyarrow.Schema
        The descriptor (null where there is none), and its check (null: not encoded yet; -1: no descriptor).
    """
    import pyarrow as pa

    value = pa.from_numpy_dtype(np.dtype(column.dtype))
    name = column.column
    return pa.schema([pa.field(name, pa.list_(value, column.dimension)), pa.field(f"{name}_crc32", pa.int64())])


# Before and after -------------------------------------------------------------------------------------------------


def check_target(path: Path) -> None:
    """Refuse a folder that an index can't be written to without harm.

    Parameters
    ----------
    path : Path
        Where the index is to be.

    Raises
    ------
    IndexStoreError
        If it is a file, holds other things, or holds an index that a newer version wrote.
    """
    if path.exists() and not path.is_dir():
        raise IndexStoreError(f"{path}: a file; an index is a folder, so pick another name")
    others = [p.name for p in path.glob("*") if not _is_ours(p.name)]
    if others and not (path / PASSPORT).is_file():
        raise IndexStoreError(
            f"{path}: a folder that holds other things ({min(others)}); pick an empty or a new one for the index"
        )
    if not (path / PASSPORT).is_file():
        _check_dataset_is_ours(path)
        return
    with suppress(DamagedIndexError):
        read_passport(path)


def _is_ours(name: str) -> bool:
    """Tell whether a killed run may have left it: a passport's temporary file and encoders among it."""
    return name in (DATASET, LOCK, PASSPORT, PREVIOUS) or name.startswith(
        (
            "encoder-",
            "graph-",
            ".graph-",
            "keypoints-",
            "choice-",
            ".choice-",
            f".{PASSPORT}.",
            f".{PREVIOUS}.",
            "vectors-",
            ".vectors-",
            "lists-",
            ".lists-",
            "map-",
            ".map-",
        )
    )


def _check_dataset_is_ours(path: Path) -> None:
    """Refuse a Lance dataset of somebody else under our name; what a killed run left, or an older version, is ours."""
    if not any((path / DATASET / "_versions").glob("*.manifest")):
        return
    try:
        names = import_lance().dataset(str(path / DATASET)).schema.names
    except Exception:  # it can't be opened, so nobody loses anything
        return
    if "facts_crc32" not in names:
        raise IndexStoreError(f"{path}: its dataset has no passport, so lookalike didn't make it; pick another folder")


@contextmanager
def only_writer(path: Path) -> Iterator[RunNotes]:
    """Keep other writers away; the lock goes with the process, however that ends.

    Parameters
    ----------
    path : Path
        The index's folder, made if it does not exist, and removed again if the block leaves no index in it.

    Yields
    ------
    RunNotes
        To tell others how far the work is.

    Raises
    ------
    IndexStoreError
        If another process holds the lock, or the disk refuses, then or in the block.
    """
    made = not path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
        # Not emptied on opening: what is in it may be another's, who holds it.
        lock = os.fdopen(os.open(path / LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+b", 0)
    except OSError as e:
        raise _unwritable(path, e) from e
    with lock:
        if not _lock(lock.fileno()):
            raise IndexStoreError(f"{path}: another process is writing this index; wait until it has ended")
        notes = RunNotes(lock)
        try:
            yield notes
        except OSError as e:
            raise _unwritable(path, e) from e
        finally:
            notes.end()
            if made and not (path / PASSPORT).exists():
                shutil.rmtree(path, ignore_errors=True)


def _lock(file: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held by another
        return False
    return True


def _unwritable(path: Path, error: OSError) -> IndexStoreError:
    reason = error.strerror or first_line(error)
    return IndexStoreError(f"{path}: the index can't be written: {reason}; free space or pick another folder")


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Let Ctrl-C be heard only when the block has ended: for a step that is short, and would be lost half done."""
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or threading.current_thread() is not threading.main_thread():
        yield  # nobody raises it here
        return
    heard: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _frame: heard.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if heard:
        raise KeyboardInterrupt


def sweep(path: Path) -> None:
    """Drop what no passport names: versions, their files, and encoders. It never fails an index that was written.

    The passport names one version, and ``previous.json`` that of the last complete run before; both stay. So does
    nothing else: what a killed or failed run wrote, and the steps of a run that has ended.

    Parameters
    ----------
    path : Path
        The index's folder, under its writer's lock.
    """
    with suppress(Exception):
        if not (path / PASSPORT).is_file():
            shutil.rmtree(path / DATASET, ignore_errors=True)
            named = []
        else:
            named = _named_passports(path)
            _forget_unnamed_versions(path, *named)
            dataset = open_dataset(path, named[0])
            kept = {p.dataset_version for p in named}
            old = [v["version"] for v in dataset.versions() if v["version"] not in kept]
            # Under the lock nobody else is writing, so that a file without a version is a dead run's, however young.
            dataset.cleanup_old_versions(versions=old or None, older_than=None, delete_unverified=True)
        folders = {c.encoder_folder for p in named for c in p.columns}
        for folder in path.glob("encoder-*"):
            if folder.name not in folders:
                shutil.rmtree(folder, ignore_errors=True)
        graphs = {g["file"] for p in named for g in p.graphs.values()}
        for graph in path.glob("graph-*"):
            if graph.name not in graphs:
                graph.unlink(missing_ok=True)
        names = {name for p in named for name in sealed_names(p)}
        for file in path.glob(f"*{ENDING}"):
            if file.name not in names:
                file.unlink(missing_ok=True)
        for part in path.glob(".*.part"):
            part.unlink(missing_ok=True)
        _sweep_keypoints(path, named)


def _sweep_keypoints(path: Path, named: list[Passport]) -> None:
    """Drop the keypoints (:mod:`lookalike.pictures`) of pictures that no passport's rows hold; they are filed by hash."""
    files = list(path.glob(f"{KEYPOINTS}*/*/*.npz"))
    if not files:
        return
    held: set[str] = set()
    for passport in named:
        held.update(filter(None, open_dataset(path, passport).to_table(["hash"])["hash"].to_pylist()))
    for file in files:
        if file.name.partition("-")[0] not in held:
            file.unlink(missing_ok=True)


def _named_passports(path: Path) -> list[Passport]:
    named = [read_passport(path)]
    if (path / PREVIOUS).is_file():
        with suppress(IndexStoreError):  # a damaged one names nothing that could be gone back to
            named.append(read_passport(path, PREVIOUS))
    return named


def _forget_unnamed_versions(path: Path, *passports: Passport) -> None:
    """Remove the manifests of newer versions that a killed or failed run left: it needs no space on the disk."""
    passports = passports if len(passports) > 1 else tuple(_named_passports(path))
    kept = {p.dataset_version for p in passports}
    for manifest in sorted((path / DATASET / "_versions").glob("*.manifest")):  # the newest first
        if not manifest.stem.isdecimal():
            continue
        if _LATEST - int(manifest.stem) in kept:
            return  # older ones are the sweep's, with their files
        manifest.unlink(missing_ok=True)


def rollback(path: Path) -> tuple[Passport, Passport]:
    """Go back to the state before the last run; once more goes forward again.

    Parameters
    ----------
    path : Path
        The index's folder.

    Returns
    -------
    (Passport, Passport)
        What is now, and what was before.

    Raises
    ------
    IndexStoreError
        If there is no state before, or another process is writing.
    """
    with only_writer(path):
        if not (path / PREVIOUS).is_file():
            read_passport(path)
            raise IndexStoreError(f"{path}: holds no state before its last run, so there is nothing to go back to")
        before = read_passport(path, PREVIOUS)
        try:
            now = read_passport(path)
        except DamagedIndexError:
            now = before  # a damaged passport is what one may want to leave
        open_dataset(path, before)
        # In this order a run killed between the two has lost nothing but the way forward.
        write_passport(path, before)
        write_passport(path, now, PREVIOUS)
        return before, now


def _fsync(path: Path) -> None:
    """Make sure a file or a folder is on the disk; a system that can't do it for folders says so by an error."""
    try:
        file = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, PermissionError):  # Windows opens no folders
        return
    try:
        os.fsync(file)
    finally:
        os.close(file)
