"""Tasks -> their answers, by one worker process: the thread that starts it, hands it tasks, listens to it and kills it."""

from __future__ import annotations

import contextlib
import math
import os
import select
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lookalike.errors import CollectionError
from lookalike.imaging.sandbox.process import (
    ALARM,
    MAX_HEADER,
    PIPE_BYTES,
    ProtocolError,
    amount,
    cause_of_end,
    has_died,
    kill_process,
    parse_header,
    pipes,
    start_process,
    wait_readable,
)
from lookalike.imaging.sandbox.worker import TICK, allowed_growth, resident_bytes

if TYPE_CHECKING:
    from lookalike.imaging.sandbox.pool import Pool

_MAX_QUEUED = 16  # tasks that wait in a worker, at most; fewer when few are left to share out
_MAX_QUEUED_BYTES = 4096  # what every system's pipe holds, so that handing tasks over never waits
_MAX_ANSWER = 2**30  # bytes of all messages of one answer, at most
_GATHER_SECONDS = 0.01  # seconds in which answers may gather, so that one wake-up takes several
_START_SECONDS = 60.0  # seconds in which a worker must have started
_MAX_STARTS = 3  # starts in a row of a worker that is killed from outside while it starts
END_SECONDS = 5.0  # seconds to wait for a process that was killed; one stuck in the kernel is left behind


@dataclass(slots=True, eq=False)
class Task:
    """A task as it is sent to a worker, and its answer so far."""

    line: bytes
    where: str
    facts: dict[str, Any] = field(default_factory=dict)
    blobs: list[bytes] = field(default_factory=list)
    size: int = 0  # bytes received
    done: bool = False
    urgent: bool = False  # a caller waits for it
    dropped: bool = False  # its answer isn't wanted any more


class WorkerThread(threading.Thread):
    """Runs one worker process: starts it, sends tasks, reads answers, enforces the limits, and replaces it when it has died.

    The thread that starts a process must outlive it, for on Linux the process dies with the thread.
    """

    def __init__(self, pool: Pool) -> None:
        super().__init__(name="lookalike-sandbox", daemon=True)
        self.pool = pool
        self.process: subprocess.Popen[bytes] | None = None  # changed under the pool's lock: others may kill it
        self.queue: deque[Task] = deque()  # what the worker has and hasn't answered; it works on the first
        self._served = 0  # tasks that this process has answered
        self._retired = False  # it ends by itself, and owes nothing
        self._unsent = bytearray()
        self._received = bytearray()
        self._header: tuple[str, dict[str, Any], list[int], int] | None = None
        self._buffer = bytearray(PIPE_BYTES)
        self._pace = 0.0  # seconds a task, of late
        self._began = 0.0  # when the first task could begin, moved on by the time in which its pipe wasn't read
        self._listened = 0.0  # when the last listening ended
        self._answered = 0.0  # when it last was found to have answered a task
        self._looked = 0.0  # when its memory was last looked at
        self._base = 0  # bytes it has resident when idle

    def run(self) -> None:
        """Work until the pool has no more tasks."""
        try:
            while self._take_tasks():
                if self.process is None:
                    self._start()
                else:
                    self._exchange()
        except Exception as e:
            self.pool.fail(e)
        finally:
            self._end()

    def _take_tasks(self) -> bool:
        """Take a fair share of what is pending, wait while there is nothing to do; tell whether to go on."""
        pool = self.pool
        with pool.lock:
            while pool.failure is None:
                share = max(1, min(_MAX_QUEUED, len(pool.pending) // (2 * pool.workers)))
                queued = sum(len(task.line) for task in self.queue)
                while pool.pending and len(self.queue) < share:
                    queued += len(pool.pending[0].line)
                    if self.queue and queued > _MAX_QUEUED_BYTES:
                        break
                    task = pool.pending.popleft()
                    if not self.queue:
                        self._began = self._listened = time.monotonic()
                    self.queue.append(task)
                    self._unsent += task.line
                if self.queue and (pool.held <= pool.max_held or self.queue[0].urgent or self.queue[0].dropped):
                    return True
                idle = not self.queue
                pool.idle += idle
                pool.changed.wait()
                pool.idle -= idle
            return False

    def _exchange(self) -> None:
        """Hand over what there is, listen for a moment, take or judge."""
        begins = time.monotonic()
        self._began += begins - self._listened
        wait = max(0.0, min(TICK, self._began + self.pool.seconds - begins))
        gather = 0.0
        if len(self.queue) > 1:  # at most half of what it has to do
            gather = min(wait, _GATHER_SECONDS, self._pace * (len(self.queue) - 1) / 2)
            time.sleep(gather)
        speaks = self._listen(wait - gather)
        self._listened = time.monotonic()
        away = self._listened - begins - wait
        if away > TICK:  # this process was stopped, asleep or starved meanwhile, and so heard nothing
            self._began += away
        if speaks:
            busy = time.thread_time()
            self._receive()
            self._began -= time.thread_time() - busy  # so that a process that writes without end reaches its limit too
        overtime = self._listened - self._began - self.pool.seconds
        if self.process is None or not self.queue:
            return
        if overtime >= (TICK if speaks else 0):  # one that speaks may be about to end, unless it never does
            self._fail_task("timed out", self._overtime())
        elif self._listened - self._looked >= TICK:
            self._looked = self._listened
            if not speaks and has_died(self.process):  # and something that it started keeps its pipe open
                self._reap(cause_of_end(self._end()))
            elif resident_bytes(self.process.pid) > self._base + self.pool.memory + allowed_growth(self.pool.memory):
                self._fail_task("out of memory", f"killed: over {amount(self.pool.memory)}; allow more with --memory")

    def _listen(self, wait: float) -> bool:
        """Send what can be sent, and tell whether the worker says something (or has died) within some seconds."""
        assert self.process is not None
        tasks, answers = (pipe.fileno() for pipe in pipes(self.process))
        if self._unsent:
            try:
                del self._unsent[: os.write(tasks, self._unsent)]
            except BlockingIOError:
                pass
            except OSError:  # it doesn't listen any more, and will be judged by what it says
                self._unsent.clear()
        if sys.platform == "win32":
            return wait_readable(answers, wait)
        poll = select.poll()
        poll.register(answers, select.POLLIN)
        if self._unsent:
            poll.register(tasks, select.POLLOUT)
        return any(file == answers for file, _ in poll.poll(math.ceil(wait * 1000)))

    def _receive(self) -> None:
        assert self.process is not None
        size, served = self._read(self.process), self._served
        if not size:
            self._reap(cause_of_end(self._end()))
            return
        try:
            while (message := self._next_message()) is not None:
                self._handle(*message)
        except ProtocolError as e:
            self._end()
            self._reap(str(e))
        if self._served > served:
            self._pace = (self._listened - self._answered) / (self._served - served)
            self._answered = self._listened

    def _read(self, process: subprocess.Popen[bytes]) -> int:
        size = pipes(process)[1].readinto(self._buffer)
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
            if length > MAX_HEADER:
                raise ProtocolError("its answer makes no sense")
            if len(received) < 4 + length:
                return None
            self._header = (*parse_header(received[4 : 4 + length]), length)
            del received[: 4 + length]
        kind, facts, sizes, length = self._header
        total = sum(sizes)
        if length + total + (self.queue[0].size if self.queue else 0) > _MAX_ANSWER:
            raise ProtocolError(f"its answer is over {amount(_MAX_ANSWER)}")
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

    def _handle(self, kind: str, facts: dict[str, Any], blobs: list[bytes], size: int) -> None:
        if kind == "retired":
            self._retired = True
            return
        if not self.queue:
            raise ProtocolError("it answers what nobody asked")
        task = self.queue[0]
        if kind == "facts":
            task.facts.update(facts)
            task.blobs += blobs
            task.size += size
            return
        if kind == "memory":
            mark_failed(
                task, "out of memory", f"needed over {amount(self.pool.memory)} of memory; allow more with --memory"
            )
        elif kind == "raised":
            mark_failed(task, "damaged", f"its decoder failed ({str(facts.get('reason'))[:200]}); left out")
        elif kind != "done":
            raise ProtocolError("its answer makes no sense")
        self.queue.popleft()
        self._served += 1
        self._began = self._listened
        self.pool.finish(task)

    # Beginning and end of a process

    def _start(self, tries: int = _MAX_STARTS) -> None:
        pool = self.pool
        process = start_process(pool.function, pool.seconds, pool.memory)
        with pool.lock:
            self.process = process
        self._served, self._retired = 0, False
        self._unsent, self._received, self._header = bytearray(), bytearray(), None
        deadline = time.monotonic() + _START_SECONDS
        while pool.failure is None and time.monotonic() < deadline:
            if not self._listen(TICK):
                continue
            if not self._read(process):
                status = self._end()
                if status is not None and status < 0 and tries > 1:  # killed from outside, not by what it imports
                    self._start(tries - 1)
                    return
                raise CollectionError(
                    f"{pool.function}: its worker process ended while it started ({cause_of_end(status)}); "
                    f"run `{sys.executable} -c 'import {pool.function.partition(':')[0]}'` to see why"
                )
            try:
                message = self._next_message()
            except ProtocolError as e:
                raise CollectionError(
                    f"{pool.function}: its worker process prints while it starts; find what makes "
                    f"`{sys.executable} -c pass` print something"
                ) from e
            if message is not None:
                break
        else:
            if pool.failure is None:
                raise CollectionError(
                    f"{pool.function}: its worker process didn't start within {_START_SECONDS:g} s; try again"
                )
            return
        kind, facts, *_ = message
        if kind != "ready":
            raise CollectionError(f"{pool.function}: a worker can't import it: {facts.get('reason')}")
        self._base = resident_bytes(process.pid)
        self._unsent += b"".join(task.line for task in self.queue)
        self._began = self._listened = self._answered = self._looked = time.monotonic()

    def _fail_task(self, outcome: str, reason: str) -> None:
        """End the worker for what its first task does, and say so of the task."""
        self._end()
        task = self.queue.popleft()
        mark_failed(task, outcome, reason)
        self._requeue()
        self.pool.finish(task)

    def _reap(self, cause: str) -> None:
        """Handle the end of a worker: its first task has failed if it was the first of this process."""
        if self._served or not self.queue:
            # A fresh worker can only have died of its first task, so the next process of this thread begins with it.
            self._requeue(keep=not self._retired)
        elif cause == ALARM:
            self._fail_task("timed out", self._overtime())
        else:
            self._fail_task("crashed", f"its decoder crashed ({cause}); left out")

    def _overtime(self) -> str:
        return f"timed out after {self.pool.seconds:g} s; allow more with --seconds"

    def _requeue(self, keep: bool = False) -> None:
        """Put tasks back into the pool's queue, or all but the first."""
        with self.pool.lock:
            for task in self.queue:
                task.facts, task.blobs, task.size = {}, [], 0
            while len(self.queue) > keep:
                task = self.queue.pop()
                if not task.dropped:
                    self.pool.pending.appendleft(task)
            self.pool.changed.notify_all()

    def _end(self) -> int | None:
        """Kill the process and what it has started; return its exit status if it could be had."""
        with self.pool.lock:
            process, self.process = self.process, None
        if process is None:
            return None
        kill_process(process)  # it keeps the status of one that has died already
        for pipe in pipes(process):
            with contextlib.suppress(OSError):
                pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(END_SECONDS)
        return None


def mark_failed(task: Task, outcome: str, reason: str) -> None:
    """Write into a task's facts how it failed: the outcome, the stage that it had reached, and the reason.

    Parameters
    ----------
    task : Task
        Without an answer, or with a part of one.
    outcome : str
        ``timed out``, ``out of memory``, ``crashed`` or ``damaged``.
    reason : str
        A sentence; the name of the task's file is put before it.
    """
    stage = "decode" if task.facts else "read"
    task.facts |= {"outcome": outcome, "stage": stage, "reason": f"{task.where}: {reason}" if task.where else reason}
