"""The one writer of an index: its lock, the folder that it may write to, and steps that Ctrl-C doesn't cut in two."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from lookalike.atomic import INVENTORY, NotOursError, adopt, begin_inventory, claim, claimed
from lookalike.errors import IndexStoreError, first_line
from lookalike.index.dataset import lance_path
from lookalike.index.manifest import MANIFEST, PREVIOUS, REBUILDING, DamagedIndexError, read_manifest, refuse_older
from lookalike.index.plain_files import refuse_links
from lookalike.index.run_status import LOCK, RunNotes, is_notes, read_underway
from lookalike.index.sweep import is_swept, named_manifests, names_of, remove

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
    is_new = not os.path.lexists(path)
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
            if is_new and not os.path.lexists(path / MANIFEST):
                _leave_nothing(path)


def _leave_nothing(path: Path) -> None:
    """Take a first run's own files away, and the folder if nothing else has come into it; the lock is held, and goes last.

    Whoever has opened the lock meanwhile notices, once it is theirs, that another file has taken its place.
    """
    with suppress(OSError):
        ours = claimed(path) - {INVENTORY, LOCK}
        for name in sorted(ours):
            if is_swept(name) or name == REBUILDING:
                remove(path / name)
        if not any(os.path.lexists(path / name) for name in ours):
            (path / INVENTORY).unlink()
            (path / LOCK).unlink()
            path.rmdir()


def _take_inventory(path: Path) -> None:
    """Begin the inventory of a new index, and mend one that lost lines: what sound manifests name is ours as well."""
    names: set[str] = set()
    if os.path.lexists(path / MANIFEST):
        with suppress(DamagedIndexError):
            manifests = named_manifests(path)
            names = {MANIFEST, *names_of(manifests)} | ({PREVIOUS} if len(manifests) > 1 else set())
            if os.path.lexists(path / LOCK) and is_notes(path / LOCK):
                names.add(LOCK)
    there = [name for name in names if os.path.lexists(path / name)]
    if claimed(path):
        adopt(path, *there)
    else:
        begin_inventory(path, there, proven=bool(there))


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
            if not take_lock(lock.fileno(), path):
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


def take_lock(file: int, path: Path) -> bool:
    """Lock an open file, as long as it is open.

    Parameters
    ----------
    file : int
        Its descriptor.
    path : Path
        The index's folder, whose last run is asked for where files can't be locked.

    Returns
    -------
    bool
        False where another holds it.
    """
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
