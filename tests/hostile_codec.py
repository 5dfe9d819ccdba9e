"""Functions for a leash to run: some that work, and one for each way in which a decoder has been seen to go wrong.

Only worker processes may import this.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
import time

_leaked = []


def act(task):
    """Do what a task says: ``{"do": name, ...}``."""
    yield from globals()[task["do"]](task)


def echo(task):
    yield {"value": task.get("value"), "pid": os.getpid()}, []
    time.sleep(task.get("seconds", 0))
    yield {"ended": True}, [str(task.get("value")).encode()]


def blobs(task):
    yield {"pid": os.getpid()}, [bytes([i]) * size for i, size in enumerate(task["sizes"])]


# Time


def sleep_for_ever(task):
    time.sleep(1000)
    yield {}, []


def sleep_after_the_hash(task):
    yield {"hash": "5ee", "pid": os.getpid()}, []
    time.sleep(1000)


def sleep_in_c_with_the_gil(task):
    yield {"pid": os.getpid()}, []
    ctypes.PyDLL(None).sleep(1000)


def sleep_deaf_to_signals(task):
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP})
    time.sleep(1000)
    yield {}, []


def spin_for_ever(task):
    while True:
        sys.stdin.isatty()
    yield {}, []


def talk_for_ever(task):
    while True:
        yield {"more": 1}, [b"more"]


# Memory


def allocate_100_gb(task):
    yield {"size": len(bytearray(100 * 2**30))}, []


def grow_slowly(task):
    while True:
        _leaked.append(b"\1" * 2**20)
    yield {}, []


def grow_without_a_limit(task):
    """Lift the limit that the worker gave itself, as only root may, and grow."""
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    kept = []
    while sum(map(len, kept)) < 3 * 2**30:
        kept.append(b"\1" * 2**22)
        time.sleep(0.001)
    yield {}, []


def leak(task):
    _leaked.append(b"\1" * task["bytes"])
    time.sleep(0.3)
    yield {"pid": os.getpid()}, []


# Ends


def abort(task):
    yield {"hash": "ab0", "pid": os.getpid()}, [b"first"]
    os.abort()


def segfault(task):
    yield {"hash": "5e9"}, []
    ctypes.string_at(0)


def exit_3(task):
    yield {"hash": "e17"}, []
    os._exit(3)


def leave(task):
    yield {"hash": "1ea"}, []
    sys.exit(4)


def fail(task):
    yield {"hash": "fa1"}, []
    raise KeyError("not what\nwas expected")


def yield_what_json_cannot_hold(task):
    yield {"value": object()}, []


def crash_later(task):
    """Break the process so that it dies while it is at something else."""
    yield {"pid": os.getpid()}, []
    threading.Timer(0.2, os.abort).start()


# Noise and lies


def print_much(task):
    print("noise " * 1000, flush=True)
    os.write(1, b"\0\0\0\1[" * 1000)
    yield {"read": os.read(0, 10).decode()}, []


def flood_stderr(task):
    for _ in range(100):
        os.write(2, b"noise " * 10_000)
    yield {"ended": True}, []


def close_files(task):
    os.closerange(0, 1000)
    yield {}, []


def write_nonsense(task):
    """Write to whatever is open, the worker's answers among it."""
    for file in range(3, 20):
        try:
            os.write(file, bytes.fromhex(task["hex"]))
        except OSError:
            continue
    time.sleep(1000)
    yield {}, []


def leave_a_child_behind(task):
    """Die, but leave a process that holds the pipe open."""
    child = os.fork()
    if child:
        yield {"child": child}, []
        os.abort()
    time.sleep(1000)
