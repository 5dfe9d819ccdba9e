"""A task -> what its function yields, message by message, in a process that may hang or crash; see ``api.py``."""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

from lookalike.errors import first_line
from lookalike.process import ignore_pillow

#: How often a worker's memory is looked at, in seconds.
TICK = 0.25

_JOINED = 2**18  # bytes of blobs that are sent in one piece


def serve(function: str, seconds: float, memory: int, parent: int) -> None:
    """Be a worker: answer tasks until there are no more. Only a sandbox calls this, in a process of its own.

    Parameters
    ----------
    function : str
        ``"module:function"``.
    seconds : float
        What one task may take.
    memory : int
        Bytes that one task may take.
    parent : int
        The process that asks; without it there is no work.
    """
    # Where output usually goes, there is nothing: what a codec prints can't get between the answers.
    tasks, answers = open(os.dup(0), "rb"), os.dup(1)  # noqa: SIM115
    nowhere = os.open(os.devnull, os.O_RDWR)
    for file in range(3):
        os.dup2(nowhere, file)
    os.close(nowhere)
    _tie_to(parent)
    ignore_pillow()
    alarm = _Alarm(3 * seconds + 5)
    if sys.platform != "win32":
        os.set_blocking(answers, False)

    def send(kind: str, facts: dict[str, Any], blobs: Sequence[bytes] = ()) -> None:
        header = json.dumps([kind, facts, [len(blob) for blob in blobs]]).encode("ascii")
        start = len(header).to_bytes(4, "big") + header
        for piece in (start, *blobs) if sum(map(len, blobs)) > _JOINED else (b"".join([start, *blobs]),):
            sent = 0
            while sent < len(piece):
                try:
                    sent += os.write(answers, memoryview(piece)[sent:])
                except BlockingIOError:
                    alarm.stop()  # it is the other side that is busy
                    select.select((), (answers,), ())
                    alarm.go_on()

    try:
        module, _, name = function.partition(":")
        work = getattr(importlib.import_module(module), name)
    except Exception as e:
        send("failed", {"reason": f"{type(e).__name__}: {first_line(e)}"})
        return
    room = _Room(memory)
    send("ready", {})
    for line in tasks:
        task = json.loads(line)
        alarm.start()
        try:
            for facts, blobs in work(task):
                send("facts", facts, blobs)
        except MemoryError:
            end, why = "memory", {}
        except Exception as e:
            end, why = "raised", {"reason": f"{type(e).__name__}: {first_line(e)}"}
        else:
            end, why = "done", {}
        send(end, why)
        if room.is_worn():
            send("retired", {})
            break
    os._exit(0)


class _Alarm:
    """Ends this process if it is at one task for too long, in case that nobody is there any more to kill it.

    It stays set between tasks, because setting it costs more than much of the rest: a worker without work ends after a
    while, and the next task finds a new one.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds if hasattr(signal, "setitimer") and seconds < 1e8 else 0.0
        self._left = 0.0
        self._set = -math.inf
        if self._seconds:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def start(self) -> None:
        now = time.monotonic()
        if self._seconds and now - self._set > 1.0:
            self._set = now
            signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def stop(self) -> None:
        if self._seconds:
            self._left = signal.setitimer(signal.ITIMER_REAL, 0)[0]

    def go_on(self) -> None:
        if self._left:
            signal.setitimer(signal.ITIMER_REAL, self._left)


class _Room:
    """Sees to it that a task gets the memory it may take, and no more: what goes beyond is a MemoryError."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self._base = resident_bytes("self")
        self._looked = 0.0
        self._limit()

    def is_worn(self) -> bool:
        """Look, every now and then, how much this process has grown between tasks; tell whether it was too much."""
        now = time.monotonic()
        if now - self._looked < TICK:
            return False
        self._looked = now
        self._limit()
        return resident_bytes("self") > self._base + allowed_growth(self.memory)

    def _limit(self) -> None:
        size = _statm("self")[0]
        if sys.platform == "win32" or not size:
            return
        import resource

        most = resource.getrlimit(resource.RLIMIT_AS)[1]
        wanted = size + self.memory
        if most != resource.RLIM_INFINITY:
            wanted = min(wanted, most)
        with contextlib.suppress(OSError, ValueError, OverflowError):  # the sandbox itself checks too
            resource.setrlimit(resource.RLIMIT_AS, (wanted, most))


def _tie_to(parent: int) -> None:
    """End when the process that asks ends, and before it when memory runs out; hear no Ctrl-C; leave no core files."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as f:
            f.write("1000")
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(0)


def resident_bytes(process: int | str) -> int:
    """Tell how much memory a process has.

    Parameters
    ----------
    process : int or str
        Its number, or ``"self"``.

    Returns
    -------
    int
        Bytes, or 0 where the system doesn't say (it has no ``/proc``) or there is no such process.
    """
    return _statm(process)[1]


def allowed_growth(memory: int) -> int:
    """Tell by how much a worker may have grown between tasks before it is replaced.

    Parameters
    ----------
    memory : int
        Bytes that one task may take.

    Returns
    -------
    int
        Bytes: a quarter of it, and at least what codecs loaded on their first use and glibc's store come to.
    """
    return max(memory // 4, 64 * 2**20)


def _statm(process: int | str) -> tuple[int, int]:
    """Return the bytes of address space and of memory."""
    try:
        with open(f"/proc/{process}/statm", "rb") as f:
            size, resident = f.read().split()[:2]
    except (OSError, ValueError):
        return 0, 0
    page = os.sysconf("SC_PAGE_SIZE")
    return int(size) * page, int(resident) * page
