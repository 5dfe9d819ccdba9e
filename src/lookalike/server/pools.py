"""The thread pools that answer requests: cheap and costly work apart, and what is learnt is learnt once for all who wait.

Pages, facts and thumbnails have threads of their own (FastAPI's, for plain functions), so they never wait for a search. A
search never waits for a re-ranking. Neither waits for a request that has to learn something first.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import anyio.from_thread
import anyio.to_thread

from lookalike.server.admission import BusyError, Slots
from lookalike.server.shared_index import SharedIndex

T = TypeVar("T")

#: Threads for pages, facts and thumbnails.
LIGHT_THREADS = 64
#: Searches at a time: those that come together are answered together.
MAX_QUERIES = 128
#: Re-ranked and denoised searches, explanations and maps at a time, how many more wait, and for how long at most.
MAX_COSTLY, MAX_COSTLY_QUEUE, COSTLY_SECONDS = 4, 32, 60.0
#: Things that are learnt at a time; how many more wait for that, and how many questions for what is being learnt. (What
#: every search needs is learnt with the first of them, in its place, and as many wait for that as are answered at a time.)
MAX_LEARNING, MAX_LEARNING_QUEUE, MAX_WAITING = 2, 8, 32
#: After how many seconds what is being learnt should be asked for again.
RETRY_SECONDS = 10.0


class Pools:
    """The threads that answer, by what they are for: ``queries``, ``costly`` and ``learning``."""

    def __init__(self) -> None:
        self._slots = {
            "queries": Slots("searches are being answered", MAX_QUERIES),
            "costly": Slots("costly requests are being answered", MAX_COSTLY, MAX_COSTLY_QUEUE, COSTLY_SECONDS, 2),
            # Only one waits for each thing, and its own deadline ends the wait.
            "learning": Slots("things are being learnt", MAX_LEARNING, MAX_LEARNING_QUEUE, float(10**6), RETRY_SECONDS),
        }
        self._limiter: anyio.CapacityLimiter | None = None
        self._learning: dict[tuple[int, Hashable], asyncio.Task[Any]] = {}
        self._waiting: Counter[str] = Counter()

    async def run(self, pool: str, work: Callable[[], T]) -> T:
        """Do something in a thread.

        Parameters
        ----------
        pool : str
            Which.
        work : callable
            What; it may ask :func:`still_wanted`.

        Returns
        -------
        object
            What it returns.

        Raises
        ------
        BusyError
            If there is too much to do.
        """
        if self._limiter is None:  # the slots count; this only keeps them apart from other threads
            self._limiter = anyio.CapacityLimiter(MAX_QUERIES + MAX_COSTLY + MAX_LEARNING)
        async with self._slots[pool]:
            return await anyio.to_thread.run_sync(work, limiter=self._limiter)

    async def learnt(
        self,
        index: SharedIndex,
        kind: Hashable,
        work: Callable[[], T],
        *,
        first: str = "queries",
        pool: str = "queries",
    ) -> T:
        """Do something that has to learn something of an index when it is done for the first time.

        Who asks first learns it, and all others wait until that has been done. It goes on when its client has gone, as
        others wait for it, and what is learnt is kept.

        Parameters
        ----------
        index : SharedIndex
            Of which it is learnt.
        kind : hashable
            What is learnt; of few values.
        work : callable
            What is done.
        first, pool : str
            Where it is done for the first time, and later.

        Returns
        -------
        object
            What ``work`` returns.

        Raises
        ------
        BusyError
            If too many wait.
        """
        key = id(index), kind
        while kind not in index.learnt:
            learning = self._learning.get(key)
            if learning is None:
                learning = self._learning[key] = asyncio.ensure_future(self._first(index, kind, work, first))
                learning.add_done_callback(lambda done: self._forget(key, done))
                return await asyncio.shield(learning)
            if self._waiting[first] >= (MAX_WAITING if first == "learning" else MAX_QUERIES):
                raise BusyError(
                    f"{self._waiting[first]} requests wait for what is being learnt; try again later", RETRY_SECONDS
                )
            self._waiting[first] += 1
            try:
                await asyncio.wait([learning])
            finally:
                self._waiting[first] -= 1
        return await self.run(pool, work)

    async def _first(self, index: SharedIndex, kind: Hashable, work: Callable[[], T], pool: str) -> T:
        def alone() -> T:
            if pool != "queries":
                return work()
            with index.preparing:  # which is what the server begins with
                return work()

        result = await self.run(pool, alone)
        index.learnt.add(kind)
        return result

    def _forget(self, key: tuple[int, Hashable], done: asyncio.Task[Any]) -> None:
        del self._learning[key]
        if not done.cancelled():
            done.exception()  # who waited was told


def still_wanted() -> None:
    """Break off what a thread does for a request whose client has gone, or whose time is up; to be asked between steps."""
    try:
        anyio.from_thread.check_cancelled()
    except RuntimeError:  # not such a thread
        return


__all__ = ["Pools", "still_wanted"]
