"""Calls that come at about the same time -> one call over all their rows.

There is no waiting for company: while one batch is computed the next gathers. A lone request is answered as fast as
without, and many share what one costs: one pass of the network, one product with the whole database.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class _Call:
    rows: NDArray[Any]
    key: Hashable
    done: Future[Any] = field(default_factory=Future)


class Batcher:
    """Gathers calls of one function and makes them together.

    Parameters
    ----------
    function : callable
        ``function(rows, key)`` -> an array with a row for each of ``rows``, or a tuple of such arrays. One row's answer
        must not depend on the others.
    max_rows : int
        Rows of one batch, unless a single call has more.

    Attributes
    ----------
    calls, batches : int
        How many were made, and in how many batches.
    """

    def __init__(self, function: Callable[[NDArray[Any], Any], Any], max_rows: int = 64) -> None:
        self.function = function
        self.max_rows = max_rows
        self.calls = self.batches = 0
        self._waiting: deque[_Call] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def __call__(self, rows: NDArray[Any], key: Hashable = None) -> Any:
        """Return the function's answer for these rows; blocks until it is there.

        Parameters
        ----------
        rows : ndarray, shape (n, ...)
            Only calls with rows of one shape and type are put together.
        key : hashable
            Only calls with the same are put together; handed to the function.

        Returns
        -------
        ndarray or tuple of ndarray
            With n rows each.
        """
        call = _Call(rows, (key, rows.shape[1:], rows.dtype.str))
        with self._changed:
            if self._closed:
                return self.function(rows, key)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="lookalike-batches", daemon=True)
                self._thread.start()
            self._waiting.append(call)
            self._changed.notify()
        return call.done.result()

    def close(self) -> None:
        """End when all that waits has been answered; later calls are made alone."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting:
                    return
                batch = self._next_batch()
            self._answer(batch)

    def _next_batch(self) -> list[_Call]:
        """Take the longest waiting call and those that go with it; the others keep their order."""
        first = self._waiting.popleft()
        batch, size, others = [first], len(first.rows), deque[_Call]()
        while self._waiting:
            call = self._waiting.popleft()
            if call.key == first.key and size + len(call.rows) <= self.max_rows:
                batch.append(call)
                size += len(call.rows)
            else:
                others.append(call)
        self._waiting = others
        return batch

    def _answer(self, batch: list[_Call]) -> None:
        self.batches += 1
        self.calls += len(batch)
        key = batch[0].key[0]  # type: ignore[index]
        try:
            rows = batch[0].rows if len(batch) == 1 else np.concatenate([call.rows for call in batch])
            answers = self.function(rows, key)
        except BaseException as e:
            if len(batch) == 1:
                batch[0].done.set_exception(e)
                return
            for call in batch:  # one call's bad rows must not fail the others
                self._answer([call])
            return
        start = 0
        for call in batch:
            part = slice(start, start + len(call.rows))
            start = part.stop
            mine = tuple(a[part] for a in answers) if isinstance(answers, tuple) else answers[part]
            call.done.set_result(mine)
