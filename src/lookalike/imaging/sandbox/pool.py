"""Worker processes and who keeps them: hands out tasks, takes answers, kills what misbehaves; see leash.py."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from lookalike.cores import usable_cores
from lookalike.errors import CollectionError
from lookalike.imaging.sandbox.worker import TICK, allowed_growth, resident_bytes

_QUEUED = 16  # tasks that wait in a worker, at most; fewer when few are left to share out
_QUEUED_BYTES = 4096  # what every system's pipe holds, so that handing tasks over never waits
_HELD = 2**28  # bytes of answers that nobody has taken; beyond that, only the one that is waited for is listened to
_HEADER = 2**22  # bytes of a message's JSON, at most
_ANSWER = 2**30  # bytes of all messages of one answer, at most
_PIPE = 2**20
_GATHER = 0.01  # seconds in which answers may gather, so that one wake-up takes several
_START = 60.0  # seconds in which a worker must have started
_TRIES = 3  # starts in a row of a worker that is killed from outside while it starts
_END = 5.0  # seconds to wait for a process that was killed; one stuck in the kernel is left behind

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


@dataclass(slots=True, eq=False)
class Task:
    """What was asked, as the worker is sent it, and what has come of it so far."""

    line: bytes
    where: str
    facts: dict[str, Any] = field(default_factory=dict)
    blobs: list[bytes] = field(default_factory=list)
    size: int = 0  # bytes received
    done: bool = False
    urgent: bool = False  # somebody waits for it
    dropped: bool = False  # nobody will take its answer


class Pool:
    """The keepers of one leash and what they share: the tasks that no worker has yet, and how much waits to be taken."""

    def __init__(self, function: str, workers: int | None, seconds: float, memory: int) -> None:
        self.function = function
        self.workers = max(1, workers or usable_cores())
        self.seconds = seconds
        self.memory = memory
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)  # for keepers: there is a task, or room for answers, or an end
        self.answered = threading.Condition(self.lock)  # for who waits for an answer
        self.pending: deque[Task] = deque()
        self.keepers: list[WorkerThread] = []
        self.idle = 0
        self.held = 0
        self.failure: Exception | None = None  # why there is no more work; set once, for good

    def submit(self, task: dict[str, Any]) -> Task:
        """Take a task, and another keeper if all are busy and there may be one more."""
        made = Task(json.dumps(task).encode("ascii") + b"\n", str(task.get("where", "")))
        with self.lock:
            self.pending.append(made)
            if self.idle:
                self.changed.notify_all()
            if len(self.pending) > self.idle and len(self.keepers) < self.workers and self.failure is None:
                keeper = WorkerThread(self)
                keeper.start()
                self.keepers.append(keeper)
        return made

    def wait_for(self, task: Task) -> None:
        """Return when a task is done, and count its answer as taken; raise if there is no more work."""
        with self.lock:
            if not task.done:
                task.urgent = True
                self.changed.notify_all()
            while not task.done:
                if self.failure is not None:
                    raise self.failure
                self.answered.wait(1.0)  # not for ever: Windows hears no Ctrl-C meanwhile
            self._give_up(task)

    def drop(self, tasks: Iterable[Task]) -> None:
        """Forget tasks: those that no worker has are never begun, and the others' answers are thrown away."""
        with self.lock:
            for task in tasks:
                task.dropped = True
                if task.done:
                    self._give_up(task)
            self.pending = deque(task for task in self.pending if not task.dropped)
            self.changed.notify_all()

    def finish(self, task: Task) -> None:
        """Mark a task as done, and wake who waits for it."""
        with self.lock:
            if self.failure is not None:  # and so the worker was killed, whatever its end looks like
                return
            task.done = True
            if not task.dropped:
                self.held += task.size
                if task.urgent:
                    self.answered.notify_all()

    def stop(self, failure: Exception) -> None:
        """End all workers; only for another thread than a keeper's."""
        self.fail(failure)
        for keeper in self.keepers:
            keeper.join(2 * _END)

    def fail(self, failure: Exception) -> None:
        """Kill all workers, and let no more work be done; whoever waits is told why."""
        with self.lock:
            if self.failure is None:
                self.failure = failure
            for keeper in self.keepers:
                if keeper.process is not None:
                    _kill(keeper.process)
            self.changed.notify_all()
            self.answered.notify_all()

    def _give_up(self, task: Task) -> None:
        over = self.held > _HELD
        self.held -= task.size
        if over:
            self.changed.notify_all()


class WorkerThread(threading.Thread):
    """Keeps one worker: starts it, hands it tasks, listens, judges, and starts the next when it has died.

    The thread that starts a process must outlive it, for on Linux the process dies with the thread.
    """

    def __init__(self, crew: Pool) -> None:
        super().__init__(name="lookalike-leash", daemon=True)
        self.crew = crew
        self.process: subprocess.Popen[bytes] | None = None  # changed under the crew's lock: others may kill it
        self.queue: deque[Task] = deque()  # what the worker has and hasn't answered; it works on the first
        self._served = 0  # tasks that this process has answered
        self._retired = False  # it ends by itself, and owes nothing
        self._unsent = bytearray()
        self._received = bytearray()
        self._header: tuple[str, dict[str, Any], list[int], int] | None = None
        self._buffer = bytearray(_PIPE)
        self._pace = 0.0  # seconds a task, of late
        self._began = 0.0  # when the first task could begin, moved on by the time in which nobody listened
        self._listened = 0.0  # when the last listening ended
        self._answered = 0.0  # when it last was found to have answered a task
        self._looked = 0.0  # when its memory was last looked at
        self._base = 0  # bytes it has resident when idle

    def run(self) -> None:
        """Do the keeper's work until the crew has none any more."""
        try:
            while self._take_tasks():
                if self.process is None:
                    self._start()
                else:
                    self._exchange()
        except Exception as e:
            self.crew.fail(e)
        finally:
            self._end()

    def _take_tasks(self) -> bool:
        """Take a fair share of what is pending, wait while there is nothing to do; tell whether to go on."""
        crew = self.crew
        with crew.lock:
            while crew.failure is None:
                share = max(1, min(_QUEUED, len(crew.pending) // (2 * crew.workers)))
                queued = sum(len(task.line) for task in self.queue)
                while crew.pending and len(self.queue) < share:
                    queued += len(crew.pending[0].line)
                    if self.queue and queued > _QUEUED_BYTES:
                        break
                    task = crew.pending.popleft()
                    if not self.queue:
                        self._began = self._listened = time.monotonic()
                    self.queue.append(task)
                    self._unsent += task.line
                if self.queue and (crew.held <= _HELD or self.queue[0].urgent or self.queue[0].dropped):
                    return True
                idle = not self.queue
                crew.idle += idle
                crew.changed.wait()
                crew.idle -= idle
            return False

    def _exchange(self) -> None:
        """Hand over what there is, listen for a moment, take or judge."""
        begins = time.monotonic()
        self._began += begins - self._listened
        wait = max(0.0, min(TICK, self._began + self.crew.seconds - begins))
        if len(self.queue) > 1:
            gather = min(wait, _GATHER, self._pace * (len(self.queue) - 1) / 2)  # at most half of what it has to do
            time.sleep(gather)
            speaks = self._listen(wait - gather)
        else:
            speaks = self._listen(wait)
        self._listened = time.monotonic()
        away = self._listened - begins - wait
        if away > TICK:  # this process was stopped, asleep or starved meanwhile, and so heard nothing
            self._began += away
        if speaks:
            busy = time.thread_time()
            self._hear()
            self._began -= time.thread_time() - busy  # who talks without end takes time by that too
        overtime = self._listened - self._began - self.crew.seconds
        if self.process is None or not self.queue:
            return
        if overtime >= (TICK if speaks else 0):  # one that speaks may be about to end, unless it never does
            self._lose("timed out", self._overtime())
        elif self._listened - self._looked >= TICK:
            self._looked = self._listened
            if not speaks and _has_died(self.process):  # and something that it started keeps its pipe open
                self._bury(_cause(self._end()))
            elif resident_bytes(self.process.pid) > self._base + self.crew.memory + allowed_growth(self.crew.memory):
                self._lose("out of memory", f"killed: over {_amount(self.crew.memory)}; allow more with --memory")

    def _listen(self, wait: float) -> bool:
        """Send what can be sent, and tell whether the worker says something (or has died) within some seconds."""
        assert self.process is not None
        tasks, answers = _tasks(self.process).fileno(), _answers(self.process).fileno()
        if self._unsent:
            try:
                del self._unsent[: os.write(tasks, self._unsent)]
            except BlockingIOError:
                pass
            except OSError:  # it doesn't listen any more, and will be judged by what it says
                self._unsent.clear()
        if sys.platform == "win32":
            return _peek(answers, wait)
        poll = select.poll()
        poll.register(answers, select.POLLIN)
        if self._unsent:
            poll.register(tasks, select.POLLOUT)
        return any(file == answers for file, _ in poll.poll(math.ceil(wait * 1000)))

    def _hear(self) -> None:
        assert self.process is not None
        size, served = self._read(self.process), self._served
        if not size:
            self._bury(_cause(self._end()))
            return
        try:
            while (message := self._next_message()) is not None:
                self._act_on(*message)
        except _NonsenseError as e:
            self._end()
            self._bury(str(e))
        if self._served > served:
            self._pace = (self._listened - self._answered) / (self._served - served)
            self._answered = self._listened

    def _read(self, process: subprocess.Popen[bytes]) -> int:
        size = _answers(process).readinto(self._buffer)
        with memoryview(self._buffer) as view:
            self._received += view[:size]
        return size

    def _next_message(self) -> tuple[str, dict[str, Any], list[bytes], int] | None:
        """Cut one whole message off what was received, if there is one, and its size; believe nothing of it."""
        received = self._received
        if self._header is None:
            if len(received) < 4:
                return None
            length = int.from_bytes(received[:4], "big")
            if length > _HEADER:
                raise _NonsenseError("its answer makes no sense")
            if len(received) < 4 + length:
                return None
            self._header = (*_parse(received[4 : 4 + length]), length)
            del received[: 4 + length]
        kind, facts, sizes, length = self._header
        total = sum(sizes)
        if length + total + (self.queue[0].size if self.queue else 0) > _ANSWER:
            raise _NonsenseError(f"its answer is over {_amount(_ANSWER)}")
        if len(received) < total:
            return None
        blobs, at = [], 0
        with memoryview(received) as view:
            for size in sizes:
                blobs.append(bytes(view[at : at + size]))
                at += size
        del received[:total]
        self._header = None
        return kind, facts, blobs, length + total

    def _act_on(self, kind: str, facts: dict[str, Any], blobs: list[bytes], size: int) -> None:
        if kind == "retired":
            self._retired = True
            return
        if not self.queue:
            raise _NonsenseError("it answers what nobody asked")
        task = self.queue[0]
        if kind == "facts":
            task.facts.update(facts)
            task.blobs += blobs
            task.size += size
            return
        if kind == "memory":
            _condemn(
                task, "out of memory", f"needed over {_amount(self.crew.memory)} of memory; allow more with --memory"
            )
        elif kind == "raised":
            _condemn(task, "damaged", f"its decoder failed ({str(facts.get('reason'))[:200]}); left out")
        elif kind != "done":
            raise _NonsenseError("its answer makes no sense")
        self.queue.popleft()
        self._served += 1
        self._began = self._listened
        self.crew.finish(task)

    # Beginning and end of a process

    def _start(self, tries: int = _TRIES) -> None:
        crew = self.crew
        process = _popen(crew.function, crew.seconds, crew.memory)
        with crew.lock:
            self.process = process
        self._served, self._retired = 0, False
        self._unsent, self._received, self._header = bytearray(), bytearray(), None
        deadline = time.monotonic() + _START
        while crew.failure is None and time.monotonic() < deadline:
            if not self._listen(TICK):
                continue
            if not self._read(process):
                status = self._end()
                if status is not None and status < 0 and tries > 1:  # killed from outside, not by what it imports
                    self._start(tries - 1)
                    return
                raise CollectionError(
                    f"{crew.function}: its worker process ended while it started ({_cause(status)}); "
                    f"run `{sys.executable} -c 'import {crew.function.partition(':')[0]}'` to see why"
                )
            try:
                message = self._next_message()
            except _NonsenseError as e:
                raise CollectionError(
                    f"{crew.function}: its worker process prints while it starts; find what makes "
                    f"`{sys.executable} -c pass` print something"
                ) from e
            if message is not None:
                break
        else:
            if crew.failure is None:
                raise CollectionError(
                    f"{crew.function}: its worker process didn't start within {_START:g} s; try again"
                )
            return
        kind, facts, *_ = message
        if kind != "ready":
            raise CollectionError(f"{crew.function}: a worker can't import it: {facts.get('reason')}")
        self._base = resident_bytes(process.pid)
        self._unsent += b"".join(task.line for task in self.queue)
        self._began = self._listened = self._answered = self._looked = time.monotonic()

    def _lose(self, outcome: str, reason: str) -> None:
        """End the worker for what its first task does, and say so of the task."""
        self._end()
        task = self.queue.popleft()
        _condemn(task, outcome, reason)
        self._return_tasks()
        self.crew.finish(task)

    def _bury(self, cause: str) -> None:
        """Decide who is to blame for a worker's end: its first task, if nothing came before it."""
        if self._served or not self.queue:
            # A fresh worker has only its own first task to die of. The next one of this keeper begins with this one's.
            self._return_tasks(keep=not self._retired)
        elif cause == _ALARM:
            self._lose("timed out", self._overtime())
        else:
            self._lose("crashed", f"its decoder crashed ({cause}); left out")

    def _overtime(self) -> str:
        return f"timed out after {self.crew.seconds:g} s; allow more with --seconds"

    def _return_tasks(self, keep: bool = False) -> None:
        """Give tasks back, or all but the first, to whoever comes first."""
        with self.crew.lock:
            for task in self.queue:
                task.facts, task.blobs, task.size = {}, [], 0
            while len(self.queue) > keep:
                task = self.queue.pop()
                if not task.dropped:
                    self.crew.pending.appendleft(task)
            self.crew.changed.notify_all()

    def _end(self) -> int | None:
        """Kill the process and what it has started; return its exit status if it could be had."""
        with self.crew.lock:
            process, self.process = self.process, None
        if process is None:
            return None
        _kill(process)  # it keeps the status of one that has died already
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(_END)
        return None


class _NonsenseError(Exception):
    """A worker says what no worker of ours would say."""


def _parse(header: bytes | bytearray) -> tuple[str, dict[str, Any], list[int]]:
    try:
        kind, facts, sizes = json.loads(header)
    except (ValueError, TypeError, RecursionError) as e:
        raise _NonsenseError("its answer makes no sense") from e
    if not (
        isinstance(kind, str)
        and isinstance(facts, dict)
        and isinstance(sizes, list)
        and all(type(size) is int and size >= 0 for size in sizes)
    ):
        raise _NonsenseError("its answer makes no sense")
    return kind, facts, sizes


def _condemn(task: Task, outcome: str, reason: str) -> None:
    stage = "decode" if task.facts else "read"
    task.facts |= {"outcome": outcome, "stage": stage, "reason": f"{task.where}: {reason}" if task.where else reason}


def _popen(function: str, seconds: float, memory: int) -> subprocess.Popen[bytes]:
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
            start_new_session=True,  # Ctrl-C is for the one who asks
        )
    except OSError as e:
        raise CollectionError(
            f"{function}: no worker process can be started: {e.strerror or e}; try fewer workers"
        ) from e
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):  # a user's pipes may be large only up to a sum
            fcntl.fcntl(_answers(process), fcntl.F_SETPIPE_SZ, _PIPE)
    if sys.platform != "win32":
        os.set_blocking(_tasks(process).fileno(), False)
    return process


def _tasks(process: subprocess.Popen[bytes]) -> io.FileIO:
    assert isinstance(process.stdin, io.FileIO)  # unbuffered
    return process.stdin


def _answers(process: subprocess.Popen[bytes]) -> io.FileIO:
    assert isinstance(process.stdout, io.FileIO)
    return process.stdout


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)


def _has_died(process: subprocess.Popen[bytes]) -> bool:
    if sys.platform == "win32" or not hasattr(os, "waitid"):
        return False
    try:  # its status is left for later, and with it its number
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except OSError:  # the host program has children waited for by somebody else
        return False


def _cause(status: int | None) -> str:
    if status is None:
        return "it hangs in the system and can't be ended"
    if status >= 0:
        return f"exit code {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = str(-status)
    return f"signal {name}" + (", as when the machine is out of memory" if name == "SIGKILL" else "")


_ALARM = "signal SIGALRM"


def _peek(file: int, wait: float) -> bool:
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


def _amount(size: int) -> str:
    return f"{size / 2**30:.3g} GB" if size >= 2**30 else f"{size / 2**20:.3g} MB"
