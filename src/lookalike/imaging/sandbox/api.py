"""Tasks -> answers, computed in processes that can be killed: a task that hangs, takes too much memory or crashes fails alone.

A thread runs each process: it starts it, sends it tasks, reads its answers, kills it when it is over time or memory, and
starts the next. Tasks and answers travel as JSON and raw bytes, never as pickles: a decoder that a crafted
file has taken over can give wrong answers, but can't run code in the calling process.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from lookalike.imaging.sandbox.pool import Pool
from lookalike.imaging.sandbox.worker_thread import Task


class Answer(NamedTuple):
    """What a task's function yielded, and what became of it if it didn't end well.

    Attributes
    ----------
    facts : dict
        The facts of all yields, merged in order. Of a task that ended badly also ``outcome`` (``timed out``, ``out of
        memory``, ``crashed``, ``damaged``), ``stage`` (``read``, or ``decode`` once it had yielded) and ``reason``.
    blobs : list of bytes
        The bytes of all yields, in order.
    """

    facts: dict[str, Any]
    blobs: list[bytes]


class Sandbox:
    """Runs a generator function over tasks, in processes that are killed when they take too long or too much.

    Parameters
    ----------
    function : str, optional
        ``"module:function"``, imported by the workers and never here. It is called with one task, a dict that JSON can
        hold, and yields pairs (facts, blobs): a dict that JSON can hold and a list of bytes. Each pair is sent at
        once, so it is kept even if the next step kills the process.
    workers : int, optional
        How many processes; as many as there are usable cores if None.
    seconds : float, optional
        What one task may take on the clock.
    memory : int, optional
        Bytes that one task may take, over what a worker needs idle.

    Notes
    -----
    Workers are started when there is work for them, and end with the ``with`` block or :meth:`close`; a sandbox can be
    used again after that. Where a worker has died, its other tasks are given to others. A task is only called crashed
    if a fresh worker dies of it too, so that no task fails for what an earlier one broke.

    Examples
    --------
    >>> with Sandbox("lookalike.collections.tasks:read_task") as sandbox:  # doctest: +SKIP
    ...     for answer in sandbox.map(tasks):
    ...         print(answer.facts)
    """

    def __init__(
        self,
        function: str = "lookalike.collections.tasks:read_task",
        *,
        workers: int | None = None,
        seconds: float = 20.0,
        memory: int = 2**30,
    ) -> None:
        self.function = function
        self.workers = workers
        self.seconds = seconds
        self.memory = memory
        self._pool: Pool | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Kill all workers at once."""
        if self._pool is not None:
            self._pool.stop(RuntimeError("the sandbox was closed while its answers were being read"))
            self._pool = None

    def map(self, tasks: Iterable[dict[str, Any]], ahead: int = 256) -> Iterator[Answer]:
        """Run the function over tasks; one map at a time.

        Parameters
        ----------
        tasks : iterable of dict
            The tasks, pulled as they are needed. ``"where"``, if there is one, begins the reasons of bad ends.
        ahead : int, optional
            How many tasks may be pulled whose answers haven't been taken.

        Yields
        ------
        Answer
            One a task, in the tasks' order.

        Raises
        ------
        CollectionError
            If a worker can't be started or can't import the function.
        """
        pool, source, more = self._running_pool(), iter(tasks), True
        flight: deque[Task] = deque()
        try:
            while True:
                pulled = False
                while more and len(flight) < max(ahead, 1) and not (pulled and flight[0].done):
                    task = next(source, None)
                    if task is None:
                        more = False
                    else:
                        flight.append(pool.submit(task))
                        pulled = True
                if not flight:
                    return
                first = flight[0]
                pool.wait_for(first)
                flight.popleft()
                yield Answer(first.facts, first.blobs)
        finally:
            pool.drop(flight)

    def run(self, task: dict[str, Any]) -> Answer:
        """Run the function over one task; any number of threads may do so at a time.

        Parameters
        ----------
        task : dict
            As :meth:`map` takes them.

        Returns
        -------
        Answer
            What came of it.

        Raises
        ------
        CollectionError
            If a worker can't be started or can't import the function.
        """
        pool = self._running_pool()
        sent = pool.submit(task)
        try:
            pool.wait_for(sent)
            return Answer(sent.facts, sent.blobs)
        finally:
            pool.drop([sent] if not sent.done else [])

    def _running_pool(self) -> Pool:
        with self._lock:
            if self._pool is None or self._pool.failure is not None:
                self._pool = Pool(self.function, self.workers, self.seconds, self.memory)
            return self._pool
