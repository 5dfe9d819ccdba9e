"""Tasks -> their answers, by several worker processes: the queue that they share; see :mod:`lookalike.imaging.sandbox.api`."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterable
from typing import Any

from lookalike.cores import usable_cores
from lookalike.imaging.sandbox.process import kill_process
from lookalike.imaging.sandbox.worker_thread import END_SECONDS, Task, WorkerThread


class Pool:
    """The worker threads of one sandbox and what they share: tasks that no worker has yet, and answers not yet taken."""

    #: Bytes of answers not yet taken; beyond that, workers are only read for the answer that is waited for.
    max_held = 2**28

    def __init__(self, function: str, workers: int | None, seconds: float, memory: int) -> None:
        self.function = function
        self.workers = max(1, workers or usable_cores())
        self.seconds = seconds
        self.memory = memory
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)  # for threads: there is a task, or room for answers, or an end
        self.answered = threading.Condition(self.lock)  # for callers that wait for an answer
        self.pending: deque[Task] = deque()
        self.threads: list[WorkerThread] = []
        self.idle = 0
        self.held = 0
        self.failure: Exception | None = None  # why there is no more work; set once, for good

    def submit(self, task: dict[str, Any]) -> Task:
        """Take a task, and another thread if all are busy and there may be one more."""
        added = Task(json.dumps(task).encode("ascii") + b"\n", str(task.get("where", "")))
        with self.lock:
            self.pending.append(added)
            if self.idle:
                self.changed.notify_all()
            if len(self.pending) > self.idle and len(self.threads) < self.workers and self.failure is None:
                thread = WorkerThread(self)
                thread.start()
                self.threads.append(thread)
        return added

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
            self._release(task)

    def drop(self, tasks: Iterable[Task]) -> None:
        """Forget tasks: those that no worker has are never begun, and the others' answers are thrown away."""
        with self.lock:
            for task in tasks:
                task.dropped = True
                if task.done:
                    self._release(task)
            self.pending = deque(task for task in self.pending if not task.dropped)
            self.changed.notify_all()

    def finish(self, task: Task) -> None:
        """Mark a task as done, and wake the caller that waits for it."""
        with self.lock:
            if self.failure is not None:  # and so the worker was killed, whatever its end looks like
                return
            task.done = True
            if not task.dropped:
                self.held += task.size
                if task.urgent:
                    self.answered.notify_all()

    def stop(self, failure: Exception) -> None:
        """End all workers; only for another thread than a thread's."""
        self.fail(failure)
        for thread in self.threads:
            thread.join(2 * END_SECONDS)

    def fail(self, failure: Exception) -> None:
        """Kill all workers, and accept no more work; callers that wait get the failure."""
        with self.lock:
            if self.failure is None:
                self.failure = failure
            for thread in self.threads:
                if thread.process is not None:
                    kill_process(thread.process)
            self.changed.notify_all()
            self.answered.notify_all()

    def _release(self, task: Task) -> None:
        over = self.held > self.max_held
        self.held -= task.size
        if over:
            self.changed.notify_all()
