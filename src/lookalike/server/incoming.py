"""A request as it comes in, before anything of it is believed: its headers, read strictly, and its body, within limits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from starlette.datastructures import Headers

from lookalike.server.admission import ByteBudget
from lookalike.server.rules import RefusedError, Rules

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Scope = MutableMapping[str, Any]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Of the body of a refused request so much is read, for so long: enough that most clients get to see why.
REFUSED_BYTES, REFUSED_SECONDS = 2**20, 1.0
#: Headers that mean one thing; two of them are two readers' two meanings.
_SINGLE = (
    "origin", "authorization", "content-length", "transfer-encoding", "content-type", "sec-fetch-site", "sec-fetch-mode",
)  # fmt: skip


class RequestBody:
    """The body of a request, and whether its client is still there. Only this asks the connection."""

    def __init__(self, headers: RequestHeaders, receive: Receive) -> None:
        self._headers, self._receive = headers, receive
        self._data: bytes | None = b""
        self._ended = not headers.has_body
        self.size = 0
        self.gone = asyncio.Event()

    async def read(self, rules: Rules, held: ByteBudget, clock: Callable[[], float]) -> None:
        """Read it whole, or refuse it."""
        limit = rules.body_bytes
        close = {"connection": "close"}
        too_much = RefusedError(413, f"the request is over {limit / 2**20:g} MB; send a smaller image", close)
        if (self._headers.length or 0) > limit:
            raise too_much
        parts, ends = [], clock() + rules.body_seconds
        try:
            while True:
                try:
                    message = await asyncio.wait_for(self._receive(), max(0.0, ends - clock()))
                except TimeoutError:
                    raise RefusedError(
                        408, f"the request didn't come within {rules.body_seconds:g} s; send it again", close
                    ) from None
                if message["type"] == "http.disconnect":
                    self._ended = True
                    self.gone.set()
                    break
                part = message.get("body", b"")
                if self.size + len(part) > limit:
                    raise too_much
                held.take(len(part))
                self.size += len(part)
                parts.append(part)
                if not message.get("more_body", False):
                    self._ended = True
                    break
        except BaseException:
            held.give_back(self.size)
            raise
        self._data = b"".join(parts)

    async def drained(self) -> bool:
        """Read a little of a body that nobody wants, so that its sender comes to read the answer; tell whether that was all."""
        if self._ended or self._headers.one("expect") is not None:  # who asks first is told before it sends anything
            return self._ended
        with suppress(TimeoutError):
            async with asyncio.timeout(REFUSED_SECONDS):
                while self.size < REFUSED_BYTES:
                    message = await self._receive()
                    self.size += len(message.get("body", b""))
                    if message["type"] == "http.disconnect" or not message.get("more_body", False):
                        self._ended = True
                        break
        return self._ended

    async def until_gone(self) -> None:
        """Return when the client has gone, or the answer has been sent."""
        while not self.gone.is_set():
            if (await self._receive())["type"] == "http.disconnect":
                self.gone.set()

    async def receive(self) -> Message:
        """Give the application the whole body, and then nothing until its client has gone."""
        if self._data is not None:
            data, self._data = self._data, None
            return {"type": "http.request", "body": data, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}


class RequestHeaders(Headers):
    """The headers of a request; a header that must be single and isn't counts as absent."""

    def one(self, name: str) -> str | None:
        """Return the value of a header; None where there is none, or more than one."""
        values = self.getlist(name)
        return values[0] if len(values) == 1 else None

    def check(self, method: str) -> None:
        """Refuse what two readers could read in two ways."""
        for name in _SINGLE:
            if len(self.getlist(name)) > 1:
                raise _ambiguous(f"the request has {len(self.getlist(name))} headers {name}; send one")
        length, coded = self.one("content-length"), self.one("transfer-encoding")
        if length is not None and coded is not None:
            raise _ambiguous("the request has both Content-Length and Transfer-Encoding; send one of them")
        if length is not None and self.length is None:
            raise RefusedError(
                413,
                f"the Content-Length is {length[:40]!r}; expected a number of bytes",
                {"connection": "close"},
            )
        if self.has_body and method in ("GET", "HEAD"):
            raise _ambiguous(f"a {method} request has no body here; leave it out")

    @property
    def length(self) -> int | None:
        """The Content-Length; None where there is none, or it is no number."""
        value = self.one("content-length")
        return int(value) if value is not None and value.isascii() and value.isdecimal() and len(value) < 20 else None

    @property
    def has_body(self) -> bool:
        """Whether the request announces a body."""
        lengths = self.getlist("content-length")
        return bool(self.getlist("transfer-encoding")) or bool(lengths and lengths != ["0"])

    @property
    def forwarded(self) -> bool:
        """Whether a proxy has passed the request on."""
        return any(name == "forwarded" or name.startswith("x-forwarded-") for name in self)

    def cookies(self, name: str) -> list[str]:
        """Return the values of one cookie, whatever other applications of this host keep in theirs."""
        pairs = [pair.partition("=") for line in self.getlist("cookie") for pair in line.split(";")]
        return [value.strip().strip('"') for key, _, value in pairs if key.strip() == name]


def _ambiguous(message: str) -> RefusedError:
    """Refuse a request of which it isn't sure where it ends, and with it the connection."""
    return RefusedError(400, message, {"connection": "close"})
