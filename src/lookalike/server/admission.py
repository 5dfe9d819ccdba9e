"""Limits of concurrent work: some requests work, some wait, and the rest are refused."""

from __future__ import annotations

import asyncio
import math
from types import TracebackType

from lookalike.errors import LookalikeError


class BusyError(LookalikeError):
    """The server has too much to do just now.

    Parameters
    ----------
    message : str
        One sentence.
    seconds : float
        After which it makes sense to ask again.
    """

    def __init__(self, message: str, seconds: float = 1.0) -> None:
        super().__init__(message)
        self.seconds = max(1, math.ceil(seconds))


class Slots:
    """An asynchronous context manager that a limited number of requests can be in at a time.

    Parameters
    ----------
    what : str
        What they do, as an error says it: ``requests are being worked on``.
    limit : int
        How many can be in.
    queue : int
        How many more can wait for a slot; the rest is refused.
    seconds : float
        How long one can wait.
    retry_seconds : float
        After how many seconds a refused request should be sent again.
    """

    def __init__(
        self, what: str, limit: int, queue: int = 0, seconds: float = 10.0, retry_seconds: float = 1.0
    ) -> None:
        self.what, self.limit, self.queue = what, limit, queue
        self.seconds, self.retry_seconds = seconds, retry_seconds
        self.inside = self.waiting = 0
        self._free = asyncio.Semaphore(limit)

    def busy(self) -> BusyError:
        """Return the error of a request that finds no slot."""
        return BusyError(f"{self.inside + self.waiting} {self.what}; try again later", self.retry_seconds)

    async def __aenter__(self) -> None:
        if self._free.locked():
            if self.waiting >= self.queue:
                raise self.busy()
            self.waiting += 1
            try:
                async with asyncio.timeout(self.seconds):
                    await self._free.acquire()
            except TimeoutError:
                raise self.busy() from None
            finally:
                self.waiting -= 1
        else:
            await self._free.acquire()
        self.inside += 1

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.inside -= 1
        self._free.release()


class ByteBudget:
    """Bytes that all requests together hold.

    Parameters
    ----------
    limit : int
        How many they can hold.
    what : str
        What the bytes are, as an error says it.
    """

    def __init__(self, limit: int, what: str) -> None:
        self.limit, self.what, self.held = limit, what, 0

    def take(self, size: int) -> None:
        """Count some more; refuse them where they are too many."""
        if self.held + size > self.limit:
            raise BusyError(f"{self.held / 2**20:,.0f} MB of {self.what} are held already; try again later", 2)
        self.held += size

    def take_anyway(self, size: int) -> None:
        """Count some more that can't be refused any longer."""
        self.held += size

    def give_back(self, size: int) -> None:
        """Count some less."""
        self.held -= size


__all__ = ["BusyError", "Slots"]
