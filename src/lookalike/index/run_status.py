"""The progress of a run that writes an index, noted in its lock file for other processes.

The writer notes it at most once a second, in place, and wipes it out at its end. A run that was killed leaves its last
note, which counts for nothing: its process is gone, or the note grows too old.
"""

from __future__ import annotations

import json
import math
import os
import socket
import stat
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lookalike.index.plain_files import read_plain

#: The file, in the index's folder.
LOCK = "writing.lock"
#: Seconds between two notes.
OFTEN = 1.0
#: After how many seconds a note is believed no more: of this machine, whose process is looked for, and of another.
OLD_HERE, OLD_ELSEWHERE = 600.0, 60.0
#: Bytes of a note, so that each covers the last one whole. The first byte of the file is left to the lock of Windows.
_SIZE, _START = 256, 1


@dataclass(frozen=True)
class Underway:
    """How far a run is.

    Attributes
    ----------
    done, total : int
        Files that were looked at, and those there are.
    rate : float
        Files a second, since the first.
    """

    done: int
    total: int
    rate: float

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON form."""
        return asdict(self)


class RunNotes:
    """Notes how far a run is.

    Parameters
    ----------
    file : binary file
        The open lock, held by this process.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._begun: tuple[float, int] | None = None
        self._noted = -OFTEN

    def note(self, done: int, total: int) -> None:
        """Note it, unless that was done less than a second ago; a disk that refuses costs only the note.

        Parameters
        ----------
        done, total : int
            As of :class:`Underway`.
        """
        now = time.monotonic()
        if self._begun is None:
            self._begun = now, done
        if now - self._noted < OFTEN:
            return
        self._noted = now
        seconds, since = now - self._begun[0], done - self._begun[1]
        progress = {"done": done, "total": total, "rate": round(since / seconds, 2) if seconds else 0.0}
        who = {"at": time.time(), "process": os.getpid(), "machine": socket.gethostname()[:64]}
        self._write(json.dumps(progress | who).encode("ascii")[:_SIZE].ljust(_SIZE))

    def end(self) -> None:
        """Wipe the notes out."""
        self._write(b" " * _SIZE)

    def _write(self, data: bytes) -> None:
        try:
            self._file.seek(_START)
            self._file.write(data)
        except OSError:
            pass


def read_underway(path: Path) -> Underway | None:
    """Tell how far the run is that writes an index now.

    Parameters
    ----------
    path : Path
        The index's folder.

    Returns
    -------
    Underway or None
        None where no run is under way, or it hasn't noted its progress yet.
    """
    try:
        note = json.loads(read_plain(path / LOCK, _START + _SIZE)[_START:])
        underway = Underway(int(note["done"]), int(note["total"]), float(note["rate"]))
        return underway if math.isfinite(underway.rate) and _lives(note) else None
    # There is none, or one that is half written.
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def is_underway(path: Path) -> bool:
    """Tell whether a run holds an index, also one that hasn't noted its progress yet.

    Parameters
    ----------
    path : Path
        The index's folder.

    Returns
    -------
    bool
        Where the system doesn't list its locks: whether one was taken within the last minute.

    Notes
    -----
    The lock itself isn't tried: who began at the same moment would find it taken, and end.
    """
    if read_underway(path) is not None:
        return True
    try:
        held = os.lstat(path / LOCK)
        if not stat.S_ISREG(held.st_mode):
            return False
        locks = Path("/proc/locks").read_text(encoding="ascii") if sys.platform == "linux" else None
    except (OSError, ValueError):
        return False
    if not locks:  # or a system that looks like Linux and lists none
        return time.time() - held.st_mtime < OLD_ELSEWHERE
    return any(f":{held.st_ino} " in line and " FLOCK " in line and " WRITE " in line for line in locks.splitlines())


def is_notes(file: Path) -> bool:
    """Tell whether a file may be written to as a lock: it is empty, blank, or holds the notes of a run.

    Parameters
    ----------
    file : Path
        Where the lock lies.

    Returns
    -------
    bool
        False of anything else, and of what is no plain file.

    Raises
    ------
    OSError
        If it can't be read.
    """
    status = file.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > _START + _SIZE:
        return False
    # Not the byte that the lock of Windows lies on.
    with file.open("rb", buffering=0) as f:
        f.seek(_START)
        held = f.read(_SIZE).strip()
    return not held or held.startswith(b'{"done": ')


def _lives(note: dict[str, Any]) -> bool:
    age = abs(time.time() - float(note["at"]))
    if note["machine"] != socket.gethostname()[:64]:
        return age < OLD_ELSEWHERE
    if sys.platform == "win32":  # where looking for a process would interrupt it
        return age < OLD_ELSEWHERE
    try:
        os.kill(int(note["process"]), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # somebody else's
        pass
    return age < OLD_HERE
