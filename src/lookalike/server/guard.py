"""Who may ask the server, how much, and how fast; checked before anything of a request is believed.

An ASGI application around the real one. It looks at the Host header (so that a page elsewhere can't reach this machine
by a name that it makes point here: DNS rebinding), at the Origin of what changes or costs something, at the token, at
how many requests come, and reads the whole body itself, within a limit of bytes and time.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

#: The cookie that holds the token for the page.
COOKIE = "lookalike-token"
#: Names of this machine that every server answers to.
OWN_NAMES = ("127.0.0.1", "localhost", "[::1]")
#: Answered without a token: they tell nothing of the images.
OPEN_PATHS = frozenset({"/api/health", "/api/ready"})
#: Nothing may come from another host, nor run that isn't a file of ours.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
}


@dataclass(frozen=True)
class Rules:
    """What a server allows.

    Attributes
    ----------
    hosts : frozenset of str
        Names that it answers to, lower case, without a port; see :data:`OWN_NAMES`.
    token : str or None
        What each request must bring, as ``Authorization: Bearer TOKEN`` or the page's cookie; None asks for nothing.
    origins : frozenset of str
        Other sites whose pages may ask, such as ``https://shop.example``; none by default.
    body_bytes : int
        Of one request.
    body_seconds : float
        In which it must have come.
    in_flight : int
        Requests that are worked on at a time; more are told to come again.
    rate : float
        Requests a second and client that cost work, over time; 0 sets no bound.
    burst : int
        Requests that may come at once before the rate counts.
    secure : bool
        Whether the cookie is to be sent over TLS only.
    """

    hosts: frozenset[str] = frozenset(OWN_NAMES)
    token: str | None = None
    origins: frozenset[str] = frozenset()
    body_bytes: int = 32 * 2**20
    body_seconds: float = 20.0
    in_flight: int = 256
    rate: float = 0.0
    burst: int = 60
    secure: bool = False


class RefusedError(Exception):
    """A request that isn't answered.

    Parameters
    ----------
    status : int
        The HTTP status.
    message : str
        One sentence: what is wrong, what to do.
    headers : dict of str to str
        Sent with it.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}


@dataclass
class _Bucket:
    """How many requests a client may still send at once."""

    left: float
    seen: float


@dataclass
class Guard:
    """The application that stands before another.

    Parameters
    ----------
    app : ASGI application
        Gets only requests that keep the rules, with their bodies read.
    rules : Rules
        What is allowed.
    clock : callable
        Seconds that only grow.
    """

    app: App
    rules: Rules
    clock: Callable[[], float] = time.monotonic
    in_flight: int = 0
    _buckets: dict[str, _Bucket] = field(default_factory=dict)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI says."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # no websockets here
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = _Headers(scope["headers"])
        origin = headers.one("origin")
        allowed = origin if origin in self.rules.origins else None
        answer = _Answer(send, allowed)
        try:
            self._check_host(headers)
            if allowed and scope["method"] == "OPTIONS":
                await answer.preflight(headers.one("access-control-request-headers"))
                return
            self._check_origin(scope, headers, origin, allowed)
            if self._is_sign_in(scope):
                await answer.signed_in(self.rules, scope)
                return
            self._check_token(scope, headers)
            costly = scope["method"] not in ("GET", "HEAD")
            if costly:
                self._check_rate(str((scope.get("client") or ("?",))[0]))
                receive = await self._whole_body(headers, receive)
            await self._work(scope, receive, answer)
        except RefusedError as e:
            await answer.refuse(e)

    async def _work(self, scope: MutableMapping[str, Any], receive: Receive, answer: _Answer) -> None:
        if scope["path"] == "/api/events":  # waits most of its life
            await self.app(scope, receive, answer.send)
            return
        if self.in_flight >= self.rules.in_flight:
            raise RefusedError(429, f"{self.in_flight} requests are being worked on; come again", {"retry-after": "1"})
        self.in_flight += 1
        try:
            await self.app(scope, receive, answer.send)
        finally:
            self.in_flight -= 1

    def _check_host(self, headers: _Headers) -> None:
        hosts = headers.all("host")
        name = _without_port(hosts[0]) if len(hosts) == 1 else ""
        if name not in self.rules.hosts:
            raise RefusedError(
                421,
                f"this server doesn't answer to the name {name!r}; ask it as {sorted(self.rules.hosts)[0]}, or start it "
                "with --host-name",
            )

    def _check_origin(
        self, scope: MutableMapping[str, Any], headers: _Headers, origin: str | None, allowed: str | None
    ) -> None:
        own = origin is not None and urlsplit(origin).netloc.lower() == (headers.one("host") or "").lower()
        foreign = origin is not None and not own and allowed is None
        # Browsers say where a request comes from even where they send no Origin; a link to the page itself is welcome.
        cross = headers.one("sec-fetch-site") == "cross-site" and allowed is None
        link = headers.one("sec-fetch-mode") == "navigate" and scope["method"] == "GET" and scope["path"] == "/"
        if foreign or (cross and not link):
            raise RefusedError(403, f"pages of {origin or 'another site'} may not ask here; allow one with --origin")

    def _is_sign_in(self, scope: MutableMapping[str, Any]) -> bool:
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [])
        if self.rules.token is None or scope["path"] != "/" or scope["method"] != "GET" or len(given) != 1:
            return False
        return _same(given[0], self.rules.token)

    def _check_token(self, scope: MutableMapping[str, Any], headers: _Headers) -> None:
        if self.rules.token is None or scope["path"] in OPEN_PATHS:
            return
        kind, _, bearer = (headers.one("authorization") or "").partition(" ")
        given = [bearer.strip()] if kind.lower() == "bearer" else []
        try:
            cookies = SimpleCookie("; ".join(headers.all("cookie")))
        except CookieError:
            cookies = SimpleCookie()
        if COOKIE in cookies:
            given.append(cookies[COOKIE].value)
        if not any(_same(one, self.rules.token) for one in given):
            raise RefusedError(
                401,
                "a token is needed: open the address that 'lookalike serve' printed, or send 'Authorization: Bearer TOKEN'",
                {"www-authenticate": "Bearer"},
            )

    def _check_rate(self, client: str) -> None:
        if not self.rules.rate:
            return
        now = self.clock()
        if len(self._buckets) > 10_000:  # those that have been full for long say nothing
            full = self.rules.burst / self.rules.rate
            self._buckets = {c: b for c, b in self._buckets.items() if now - b.seen < full}
        bucket = self._buckets.setdefault(client, _Bucket(self.rules.burst, now))
        bucket.left = min(self.rules.burst, bucket.left + (now - bucket.seen) * self.rules.rate)
        bucket.seen = now
        if bucket.left < 1:
            wait = max(1, round((1 - bucket.left) / self.rules.rate))
            raise RefusedError(
                429, f"more than {self.rules.rate:g} requests a second; wait {wait} s", {"retry-after": str(wait)}
            )
        bucket.left -= 1

    async def _whole_body(self, headers: _Headers, receive: Receive) -> Receive:
        limit = self.rules.body_bytes
        too_much = RefusedError(
            413, f"the request is over {limit / 2**20:g} MB; send a smaller image", {"connection": "close"}
        )
        declared = headers.one("content-length")
        if declared is not None and (not declared.isdecimal() or int(declared) > limit):
            raise too_much
        parts, size, ends = [], 0, self.clock() + self.rules.body_seconds
        while True:
            try:
                message = await asyncio.wait_for(receive(), max(0.0, ends - self.clock()))
            except TimeoutError:
                raise RefusedError(
                    408,
                    f"the request didn't come within {self.rules.body_seconds:g} s; send it again",
                    {"connection": "close"},
                ) from None
            if message["type"] == "http.disconnect":
                break
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise too_much
            parts.append(part)
            if not message.get("more_body", False):
                break
        body: list[Message] = [{"type": "http.request", "body": b"".join(parts), "more_body": False}]

        async def replay() -> Message:
            return body.pop() if body else await receive()

        return replay


class _Headers:
    """The headers of a request; a header that must be single and isn't counts as absent."""

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._raw = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in raw]

    def all(self, name: str) -> list[str]:
        return [value for n, value in self._raw if n == name]

    def one(self, name: str) -> str | None:
        found = self.all(name)
        return found[0] if len(found) == 1 else None


class _Answer:
    """Sends, with the headers that every answer has."""

    def __init__(self, send: Send, origin: str | None) -> None:
        self._send = send
        self._headers = dict(_HEADERS)
        if origin is not None:
            self._headers |= {"access-control-allow-origin": origin, "vary": "Origin"}
            self._headers["cross-origin-resource-policy"] = "cross-origin"

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name.decode("latin-1").lower() for name, _ in message.get("headers", [])}
            ours = {"cache-control": "no-store", **self._headers}
            more = [(n.encode(), v.encode("latin-1")) for n, v in ours.items() if n not in given]
            message["headers"] = [*message.get("headers", []), *more]
        await self._send(message)

    async def refuse(self, refusal: RefusedError) -> None:
        body = json.dumps({"error": str(refusal)}).encode()
        await self._whole(refusal.status, {"content-type": "application/json", **refusal.headers}, body)

    async def preflight(self, wanted: str | None) -> None:
        headers = {"access-control-allow-methods": "GET, POST", "access-control-max-age": "600"}
        if wanted is not None:
            headers["access-control-allow-headers"] = "authorization, content-type"
        await self._whole(204, headers, b"")

    async def signed_in(self, rules: Rules, scope: MutableMapping[str, Any]) -> None:
        """Keep the token in a cookie that no script can read, and take it out of the address."""
        secure = "; Secure" if rules.secure or scope.get("scheme") == "https" else ""
        cookie = f"{COOKIE}={rules.token}; Path=/; HttpOnly; SameSite=Strict{secure}"
        await self._whole(303, {"location": "/", "set-cookie": cookie}, b"")

    async def _whole(self, status: int, headers: dict[str, str], body: bytes) -> None:
        raw = [(n.encode(), v.encode("latin-1")) for n, v in {**headers, "content-length": str(len(body))}.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": raw})
        await self.send({"type": "http.response.body", "body": body})


def _same(given: str, token: str) -> bool:
    """Compare in a time that doesn't tell how much agrees."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode("utf-8", "replace"))


def _without_port(host: str) -> str:
    name, colon, port = host.strip().lower().rpartition(":")
    name = name if colon and port.isdecimal() else host.strip().lower()
    return name.removesuffix(".")
