"""A worker process from outside: its start, its pipes, the headers of its messages, its end."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

from lookalike.errors import CollectionError

MAX_HEADER = 2**22  # bytes of a message's JSON, at most
PIPE_BYTES = 2**20
#: One thread a worker; and glibc keeps freed memory for the next image, where it would give it back and fetch it again
#: (90 page faults an image, a fifth of the time that a small JPEG takes).
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(16 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(32 * 2**20),
}
_BOOT = """
import json, sys
path, *rest = json.loads(sys.argv[1])
sys.path[:] = path
from lookalike.imaging.sandbox.worker import serve
serve(*rest)
"""


class ProtocolError(Exception):
    """A worker says what no worker of ours would say."""


def parse_header(header: bytes | bytearray) -> tuple[str, dict[str, Any], list[int]]:
    """Read the header of a message, which may be anything: the process may run what a file has put there.

    Parameters
    ----------
    header : bytes
        JSON: the kind of message, facts, and the sizes of the blobs that follow.

    Returns
    -------
    (str, dict, list of int)

    Raises
    ------
    ProtocolError
        If it is not that.
    """
    try:
        kind, facts, sizes = json.loads(header)
    except (ValueError, TypeError, RecursionError) as e:
        raise ProtocolError("its answer makes no sense") from e
    if not (
        isinstance(kind, str)
        and isinstance(facts, dict)
        and isinstance(sizes, list)
        and all(type(size) is int and size >= 0 for size in sizes)
    ):
        raise ProtocolError("its answer makes no sense")
    return kind, facts, sizes


def start_process(function: str, seconds: float, memory: int) -> subprocess.Popen[bytes]:
    """Start a worker process in a session of its own, with large pipes and one thread a library.

    Parameters
    ----------
    function : str
        ``"module:function"`` that answers tasks.
    seconds : float
        What one task may take.
    memory : int
        Bytes that one task may take.

    Returns
    -------
    Popen

    Raises
    ------
    CollectionError
        If the system refuses.
    """
    path = [os.path.abspath(entry) for entry in sys.path if isinstance(entry, str)]
    rest = json.dumps([path, function, seconds, memory, os.getpid()])
    utf8 = ["-X", "utf8"] if sys.flags.utf8_mode else []  # names of files must mean the same on both sides
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", *utf8, "-c", _BOOT, rest],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | _ENVIRONMENT,
            start_new_session=True,  # Ctrl-C is for the calling process
        )
    except OSError as e:
        raise CollectionError(
            f"{function}: no worker process can be started: {e.strerror or e}; try fewer workers"
        ) from e
    tasks, answers = pipes(process)
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):  # a user's pipes may be large only up to a sum
            fcntl.fcntl(answers, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    if sys.platform != "win32":
        os.set_blocking(tasks.fileno(), False)
    return process


def pipes(process: subprocess.Popen[bytes]) -> tuple[io.FileIO, io.FileIO]:
    """Return the unbuffered files that tasks are written to and answers are read from.

    Parameters
    ----------
    process : Popen
        As :func:`start_process` returns it.

    Returns
    -------
    (FileIO, FileIO)
    """
    assert isinstance(process.stdin, io.FileIO)  # unbuffered
    assert isinstance(process.stdout, io.FileIO)
    return process.stdin, process.stdout


def kill_process(process: subprocess.Popen[bytes]) -> None:
    """Kill a process, and on POSIX all that it has started; one that has ended already is left alone.

    Parameters
    ----------
    process : Popen
        As :func:`start_process` returns it.
    """
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)


def has_died(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether a process has ended, without taking its status; False where the system can't tell.

    Parameters
    ----------
    process : Popen
        As :func:`start_process` returns it.

    Returns
    -------
    bool
    """
    if sys.platform == "win32" or not hasattr(os, "waitid"):
        return False
    try:  # its status is left for later, and with it its number
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except OSError:  # the host program has children waited for by somebody else
        return False


def cause_of_end(status: int | None) -> str:
    """Say why a process ended.

    Parameters
    ----------
    status : int or None
        Its exit status, negative for a signal; None where it didn't end.

    Returns
    -------
    str
    """
    if status is None:
        return "it hangs in the system and can't be ended"
    if status >= 0:
        return f"exit code {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = str(-status)
    return f"signal {name}" + (", as when the machine is out of memory" if name == "SIGKILL" else "")


ALARM = "signal SIGALRM"


def wait_readable(file: int, wait: float) -> bool:
    """Wait on Windows until a pipe can be read, or some seconds have passed.

    Parameters
    ----------
    file : int
        Descriptor of the pipe.
    wait : float
        Seconds.

    Returns
    -------
    bool
        Whether it can be read, or is closed.
    """
    if sys.platform != "win32":
        raise NotImplementedError
    import _winapi
    import msvcrt

    until = time.monotonic() + wait
    while True:
        try:
            if _winapi.PeekNamedPipe(msvcrt.get_osfhandle(file), 0)[0]:
                return True
        except OSError:  # closed: reading it says so
            return True
        if time.monotonic() >= until:
            return False
        time.sleep(0.001)


def amount(size: int) -> str:
    """Write a number of bytes as MB or GB.

    Parameters
    ----------
    size : int
        Bytes.

    Returns
    -------
    str
    """
    return f"{size / 2**30:.3g} GB" if size >= 2**30 else f"{size / 2**20:.3g} MB"
