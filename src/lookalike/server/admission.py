"""How much of one kind of work a server takes on at a time: so many at work, so many that wait, and nobody else."""

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


class Places:
    """An asynchronous context manager that at most so many requests are in at a time.

    Parameters
    ----------
    what : str
        What they do, as an error says it: ``requests are being worked on``.
    most : int
        How many may be in.
    queue : int
        How many more may wait for a place; the rest is told to come again.
    seconds : float
        How long one may wait.
    again : float
        After how many seconds the rest should come again.
    """

    def __init__(self, what: str, most: int, queue: int = 0, seconds: float = 10.0, again: float = 1.0) -> None:
        self.what, self.most, self.queue, self.seconds, self.again = what, most, queue, seconds, again
        self.inside = self.waiting = 0
        self._free = asyncio.Semaphore(most)

    def busy(self) -> BusyError:
        """Return what those are told that find no place."""
        return BusyError(f"{self.inside + self.waiting} {self.what}; come again", self.again)

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


__all__ = ["BusyError", "Places"]
