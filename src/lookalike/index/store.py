"""The folder of an index as its one writer sees it: a lock, rows that nobody sees before the commit, and tidying.

What lies in the folder is lookalike's only where its inventory (:mod:`lookalike.atomic`) names it. All else is left alone.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import secrets
import signal
import stat
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from lookalike.atomic import INVENTORY, NotOursError, adopt, begin_inventory, claim, claimed, dead_parts, disown
from lookalike.errors import IndexStoreError
from lookalike.index.manifest import (
    DATASET,
    DATASET_NAME,
    MANIFEST,
    PREVIOUS,
    REBUILDING,
    Column,
    DamagedIndexError,
    Manifest,
    encoder_folder,
    end_of,
    first_line,
    import_lance,
    keys_crc32,
    lance_path,
    open_dataset,
    read_manifest,
    reading,
    refuse_links,
    refuse_older,
    write_manifest,
)
from lookalike.index.run_status import LOCK, RunNotes, is_notes, read_underway
from lookalike.index.vectors import ENDING, sealed_names

if TYPE_CHECKING:
    from lookalike.encoders.base import Encoder

#: How a folder of keypoints begins, in which they are filed by the hash of the picture's bytes.
KEYPOINTS = "keypoints-"
#: The folder of kept scores (:mod:`lookalike.reports.saved_scores`).
SCORES = "scores"
_LATEST = 2**64 - 1  # a manifest's name is this less its version, so that the newest is listed first
# Each run adds a fragment or more; many small ones make reading slow, and merging them rewrites their rows.
_MANY_FRAGMENTS = 32
_ROWS_A_FRAGMENT = 8192
_CACHE_BYTES = 2**22  # of Lance's notes on files: those of a thousand versions are of no use


#: How Lance names what it writes.
_LANCE_FILES = {
    "data": re.compile(r"[01]{24}[0-9a-f]{26}\.lance"),
    "_deletions": re.compile(r"\d+-\d+-\d+\.(arrow|bin)"),
    "_versions": re.compile(r"\d{20}\.manifest|latest_version_hint\.json"),
    "_transactions": re.compile(r"\d+-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.txn"),
}
_ENCODER = re.compile(r"encoder-[0-9a-f]+")
_KEYPOINT_FILE = re.compile(r"([0-9a-f]{64})-\d+\.npz")
#: Of files by their content: ``weights-0f3a….npz``.
_BY_CONTENT = re.compile(r".+-([0-9a-f]{12})\.\w+")
#: System errors that say "this file system can't", and neither that it failed nor that somebody else has it.
CANT = frozenset(
    getattr(errno, name)
    for name in (
        "EINVAL",
        "ENOTSUP",
        "EOPNOTSUPP",
        "ENOSYS",
        "EBADF",
        "ENOLCK",
        "ENOTTY",
        "EPERM",
        "EACCES",
        "EISDIR",
        "EROFS",
    )
    if hasattr(errno, name)
)
_log = logging.getLogger("lookalike.index.store")


class Store:
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
        _forget_unnamed_versions(path, manifest)
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
        some = None if keys is None else f"key IN ({','.join(map(str, keys))})"
        with reading(self.path):
            return self._dataset.to_table(list(columns), filter=some, batch_size=_ROWS_A_FRAGMENT)

    def append(self, rows: Any) -> None:
        """Add rows, an Arrow table with all columns."""
        if self._dataset is None:
            claim(self.path, self._name)
            self._dataset = import_lance().write_dataset(
                rows, self._uri, mode="create", commit_lock=_one_commit, session=self._session
            )
        else:
            self._dataset = import_lance().write_dataset(
                rows, self._dataset, mode="append", commit_lock=_one_commit, session=self._session
            )
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
        """Make few fragments of many, so that a commit and a read cost the same after a thousand of them."""
        small = sum(1 for f in self._dataset.get_fragments() if f.count_rows() < _ROWS_A_FRAGMENT // 2)
        if small > _MANY_FRAGMENTS:
            self._dataset.optimize.compact_files(target_rows_per_fragment=_ROWS_A_FRAGMENT)
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
        ends = self._ends()
        root = self.path / self._name
        fresh = [root / name for name in ends if name not in self._on_disk]
        for file in fresh:
            _fsync(file)
        for folder in {*(file.parent for file in fresh), root, *self._encoder_folders(manifest)}:
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
        return manifest

    def _drop_damaged_previous(self) -> None:
        """Let go of the state before once it is made anew: to one that is damaged as well nobody can go back."""
        if PREVIOUS not in claimed(self.path) or not os.path.lexists(self.path / PREVIOUS):
            return
        try:
            open_dataset(self.path, read_manifest(self.path, PREVIOUS))
        except DamagedIndexError:
            (self.path / PREVIOUS).unlink()
        except IndexStoreError as e:  # it can't be told now
            _log.info("%s: %s", self.path, first_line(e))

    def _drop_merged(self) -> None:
        """Drop the steps before the last merging but one: who reads has had as many commits to open a newer one."""
        if len(self._merges) < 2:
            return
        kept = {p.dataset_version for p in _all_manifests(self.path) if p.dataset == self._name}
        old = [v["version"] for v in self._dataset.versions() if v["version"] < self._merges[-2]]
        old = [version for version in old if version not in kept]
        if old:
            self._dataset.cleanup_old_versions(versions=old)
        del self._merges[:-1]

    def _encoder_folders(self, manifest: Manifest) -> list[Path]:
        folders = (self.path / column.encoder_folder for column in manifest.columns)
        return [folder for folder in folders if folder.is_dir()]

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
        If it is a file, holds other things, holds an index that a newer version wrote, or can't be looked into.
    """
    refuse_older(path)
    if path.exists() and not path.is_dir():
        raise IndexStoreError(f"{path}: a file; an index is a folder, so pick another name")
    lance_path(path)
    try:
        refuse_links(path)
        names = {child.name for child in path.iterdir()} if path.exists() else set()
        ours = claimed(path)
    except OSError as e:
        raise IndexStoreError(f"{path}: can't be looked into: {e.strerror or e}; nothing was changed") from e
    if MANIFEST in names:
        try:
            read_manifest(path)
        except DamagedIndexError as e:
            if MANIFEST in ours:
                return
            raise IndexStoreError(
                f"{path}: holds a {MANIFEST} that isn't one of lookalike's, or is damaged beyond telling "
                f"({first_line(e.__cause__ or e)}); pick another folder for the index, or move that one away"
            ) from e
        return
    others = names - ours
    if MANIFEST in ours:
        return  # one that was lost
    if others and not (others == {INVENTORY} and not (path / INVENTORY).stat().st_size):
        raise IndexStoreError(
            f"{path}: a folder that holds other things ({min(others)}); pick an empty or a new one for the index"
        )


@contextmanager
def only_writer(path: Path) -> Iterator[RunNotes]:
    """Keep other writers away; the lock goes with the process, however that ends.

    Parameters
    ----------
    path : Path
        The index's folder, made if it does not exist; where the block leaves no index in a folder that was made here, what
        is ours is taken away again.

    Yields
    ------
    RunNotes
        To tell others how far the work is.

    Raises
    ------
    IndexStoreError
        If another process holds the lock, an older version wrote the index, or the disk refuses, then or in the block.
    """
    made = not os.path.lexists(path)
    refuse_older(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        refuse_links(path)
        _take_inventory(path)
        lock = _locked(path)
        if lock is not None:
            _take_inventory(path)  # once more, for a run that failed may have taken its own away meanwhile
            adopt(path, LOCK)
    except OSError as e:
        raise _unwritable(path, e) from e
    if lock is None:
        raise IndexStoreError(f"{path}: another process is writing this index; wait until it has ended")
    with lock:
        notes = RunNotes(lock)
        try:
            yield notes
        except OSError as e:
            raise _unwritable(path, e) from e
        finally:
            notes.end()
            if made and not os.path.lexists(path / MANIFEST):
                _leave_nothing(path)


def _leave_nothing(path: Path) -> None:
    """Take a first run's own files away, and the folder if nothing else has come into it; the lock is held, and goes last.

    Whoever has opened the lock meanwhile notices, once it is theirs, that another file has taken its place.
    """
    with suppress(OSError):
        ours = claimed(path) - {INVENTORY, LOCK}
        for name in sorted(ours):
            if _is_swept(name) or name == REBUILDING:
                _remove(path / name)
        if not any(os.path.lexists(path / name) for name in ours):
            (path / INVENTORY).unlink()
            (path / LOCK).unlink()
            path.rmdir()


def _take_inventory(path: Path) -> None:
    """Begin the inventory of a new index, and mend one that lost lines: what sound manifests name is ours as well."""
    names: set[str] = set()
    if os.path.lexists(path / MANIFEST):
        with suppress(DamagedIndexError):
            manifests = _named_manifests(path)
            names = {MANIFEST, *_names_of(manifests)} | ({PREVIOUS} if len(manifests) > 1 else set())
            if os.path.lexists(path / LOCK) and is_notes(path / LOCK):
                names.add(LOCK)
    there = [name for name in names if os.path.lexists(path / name)]
    if claimed(path):
        adopt(path, *there)
    else:
        begin_inventory(path, there, proven=bool(there))


def _names_of(manifests: Sequence[Manifest]) -> set[str]:
    """Return the names of all that belongs to some manifests, whether it is there or not."""
    columns = {c for p in manifests for c in (*(c.column for c in p.columns), p.default)}
    kept = {f"choice-{column}.json" for column in columns} | {SCORES}
    for manifest in manifests:
        kept |= {manifest.dataset, *sealed_names(manifest), *(str(g["file"]) for g in manifest.graphs.values())}
        kept |= {c.encoder_folder for c in manifest.columns}
    return kept


def _locked(path: Path) -> BinaryIO | None:
    """Open the lock and take it; None where another holds it."""
    claim(path, LOCK)
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    while True:
        # Not emptied on opening: what is in it may be another's, who holds it.
        lock = os.fdopen(os.open(path / LOCK, flags | getattr(os, "O_NONBLOCK", 0), 0o666), "r+b", 0)
        try:
            if not is_notes(path / LOCK):
                raise NotOursError(path / LOCK)
            if not _lock(lock.fileno(), path):
                lock.close()
                return None
            with suppress(FileNotFoundError):
                if os.path.samestat(os.stat(path / LOCK), os.fstat(lock.fileno())):
                    if os.fstat(lock.fileno()).st_nlink == 1:
                        return lock
                    (path / LOCK).unlink()  # of a copy of hard links, whose other names aren't ours to write to
            lock.close()  # another file has taken its place, which is what others will lock
        except BaseException:
            lock.close()
            raise


def _lock(file: int, path: Path) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
            return True
        import fcntl

        for take in (fcntl.flock, fcntl.lockf):
            try:
                take(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except OSError as e:
                if e.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EDEADLK) or (
                    e.errno == errno.EACCES and take is fcntl.lockf
                ):
                    return False
                if e.errno not in CANT:
                    raise
    except PermissionError:  # on Windows, held by another
        return False
    # No kind of lock here: what is left is what a run says of itself, each second.
    if read_underway(path) is not None:
        return False
    RunNotes(os.fdopen(os.dup(file), "r+b", 0)).note(0, 0)
    return True


def _one_commit(_version: int) -> Any:
    """Guard a commit of Lance's: nobody else writes, so a plain rename will do, which every file system has."""
    return nullcontext()


def _free_name(path: Path) -> str:
    """Name a dataset where none lies."""
    return DATASET if not os.path.lexists(path / DATASET) else f"images-{secrets.token_hex(4)}.lance"


def _unwritable(path: Path, error: OSError) -> IndexStoreError:
    reason = error.strerror or first_line(error)
    if isinstance(error, NotOursError):
        return IndexStoreError(f"{error.filename}: {reason}, or pick another folder for the index")
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
    """Drop what no manifest names: versions, their files, and encoders. It never fails an index that was written.

    The manifest names one version, and ``previous.json`` that of the last complete run before; both stay. So does
    nothing else of what the inventory says is ours: what a killed or failed run wrote, and the steps of a run that has
    ended. Where a manifest can't be read nothing is dropped.

    Parameters
    ----------
    path : Path
        The index's folder, under its writer's lock.
    """
    try:
        refuse_links(path)
        _sweep(path)
    except Exception as e:  # the next run tidies; what it is about is in the log
        _log.info("%s: not tidied: %s", path, first_line(e))


def _sweep(path: Path) -> None:
    ours = claimed(path)
    if MANIFEST in ours and not os.path.lexists(path / MANIFEST):
        return  # it is lost, and what it named isn't
    named = _named_manifests(path) if os.path.lexists(path / MANIFEST) else []
    if os.path.lexists(path / REBUILDING):
        with suppress(DamagedIndexError):
            named.append(read_manifest(path, REBUILDING))
    kept = _names_of(named)
    for name in sorted({p.dataset for p in named} & ours):
        _drop_versions(path, name, named)
    stale = {name for name in ours - kept if _is_swept(name)}
    for name in sorted(stale):
        _remove(path / name)
    disown(path, [name for name in stale if not os.path.lexists(path / name)])
    for part in dead_parts(path):
        part.unlink(missing_ok=True)
    _sweep_keypoints(path, ours, named)


def _is_swept(name: str) -> bool:
    return (
        bool(DATASET_NAME.fullmatch(name) or _ENCODER.fullmatch(name))
        or name.startswith("graph-")
        or name.endswith(ENDING)
    )


def _drop_versions(path: Path, name: str, named: Sequence[Manifest]) -> None:
    """Drop the versions of a dataset that no manifest names, and the files that no version does."""
    those = [p for p in named if p.dataset == name]
    kept = {p.dataset_version for p in those}
    _forget_unnamed_versions(path, *those)
    dataset = open_dataset(path, those[0])
    old = [v["version"] for v in dataset.versions() if v["version"] not in kept]
    if old:
        dataset.cleanup_old_versions(versions=old)
    # Under the lock nobody else is writing, so that a file without a version is a dead run's, however young.
    written = {file for manifest in those for file in manifest.files}
    for file in (path / name).glob("*/*") if all(manifest.files for manifest in those) else ():
        folder = file.parent.name
        if folder in ("data", "_deletions") and f"{folder}/{file.name}" not in written and _is_of_lance(file):
            file.unlink()


def _remove(path: Path) -> None:
    """Remove what the inventory names; what a person has put there meanwhile stays, and the folder around it."""
    mode = path.lstat().st_mode if os.path.lexists(path) else 0
    if stat.S_ISREG(mode):
        path.unlink()
    elif stat.S_ISDIR(mode):
        is_ours = _is_of_lance if DATASET_NAME.fullmatch(path.name) else is_by_content
        for folder, _, files in os.walk(path, topdown=False):
            for name in files:
                file = Path(folder, name)
                if not file.is_symlink() and is_ours(file):
                    file.unlink()
            with suppress(OSError):  # something else is in it
                os.rmdir(folder)


def save_encoder(path: Path, encoder: Encoder) -> None:
    """Put an encoder into an index's folder, in place of what is left there of the same one.

    Parameters
    ----------
    path : Path
        The index's folder, under its writer's lock.
    encoder : Encoder
        Fitted.

    Raises
    ------
    EncoderError, OSError
        If the disk refuses, or something that isn't ours lies there.
    """
    name = encoder_folder(encoder.fingerprint)
    claim(path, name)
    _remove(path / name)
    encoder.save(path / name)


def _is_of_lance(file: Path) -> bool:
    form = _LANCE_FILES.get(file.parent.name)
    return form is not None and form.fullmatch(file.name) is not None


def is_by_content(file: Path) -> bool:
    """Tell a file of an encoder by its name, which holds the hash of its content; or it is the card.

    Parameters
    ----------
    file : Path
        In a folder that holds an encoder.

    Returns
    -------
    bool
        False of anything that lookalike didn't write there, and of what was changed since.
    """
    found = _BY_CONTENT.fullmatch(file.name)
    if found is None:
        return file.name == "encoder.json"
    with suppress(OSError):
        return hashlib.sha256(file.read_bytes()).hexdigest().startswith(found[1])
    return False


def _sweep_keypoints(path: Path, ours: set[str], named: list[Manifest]) -> None:
    """Drop the keypoints (:mod:`lookalike.index.originals`) of pictures that no manifest's rows hold; they are filed by hash."""
    folders = [path / name for name in ours if name.startswith(KEYPOINTS)]
    files = [file for folder in folders for file in folder.glob("*/*.npz") if _KEYPOINT_FILE.fullmatch(file.name)]
    if not files:
        return
    held: set[str] = set()
    for manifest in named:
        held.update(filter(None, open_dataset(path, manifest).to_table(["hash"])["hash"].to_pylist()))
    for file in files:
        if file.name.partition("-")[0] not in held and not file.is_symlink() and not file.parent.is_symlink():
            file.unlink(missing_ok=True)


def _named_manifests(path: Path) -> list[Manifest]:
    named = [read_manifest(path)]
    if os.path.lexists(path / PREVIOUS):
        with suppress(DamagedIndexError):  # a damaged one names nothing that could be gone back to
            named.append(read_manifest(path, PREVIOUS))
    return named


def _all_manifests(path: Path) -> list[Manifest]:
    """Read all manifests that name a version; one that can't be read is an error, one that is damaged names none."""
    found = []
    for name in (MANIFEST, PREVIOUS, REBUILDING):
        if os.path.lexists(path / name):
            with suppress(DamagedIndexError):
                found.append(read_manifest(path, name))
    return found


def _forget_unnamed_versions(path: Path, *manifests: Manifest) -> None:
    """Remove the manifests of newer versions that a killed or failed run left: it needs no space on the disk."""
    named = [*manifests, *_all_manifests(path)]
    dataset = manifests[0].dataset
    kept = {p.dataset_version for p in named if p.dataset == dataset}
    for manifest in sorted((path / dataset / "_versions").glob("*.manifest")):  # the newest first
        if not re.fullmatch(r"\d{20}", manifest.stem):
            continue
        if _LATEST - int(manifest.stem) in kept:
            return  # older ones are the sweep's, with their files
        manifest.unlink(missing_ok=True)


def rollback(path: Path) -> tuple[Manifest, Manifest]:
    """Go back to the state before the last run; once more goes forward again.

    Parameters
    ----------
    path : Path
        The index's folder.

    Returns
    -------
    (Manifest, Manifest)
        What is now, and what was before.

    Raises
    ------
    IndexStoreError
        If there is no state before, or another process is writing.
    """
    with only_writer(path):
        if not (path / PREVIOUS).is_file():
            read_manifest(path)
            raise IndexStoreError(f"{path}: holds no state before its last run, so there is nothing to go back to")
        before = read_manifest(path, PREVIOUS)
        try:
            now = read_manifest(path)
        except DamagedIndexError:
            now = before  # a damaged manifest is what one may want to leave
        open_dataset(path, before)
        # In this order a run killed between the two has lost nothing but the way forward.
        write_manifest(path, before)
        write_manifest(path, now, PREVIOUS)
        return before, now


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
