"""The guard: an ASGI application around the real one that lets through only requests that keep the rules.

It checks the Host header (against DNS rebinding: a foreign page whose name points to this machine), the Origin, the token
and the rate of requests. It reads the whole body, within limits of bytes and time. When a client closes its connection,
the work for it is cancelled; a client that doesn't read its answer is disconnected (:mod:`lookalike.server.connections`).
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote_to_bytes, urlsplit

import anyio

from lookalike.client.http import bytes_of
from lookalike.errors import LookalikeError
from lookalike.server.address import is_local
from lookalike.server.admission import BusyError, ByteBudget, Slots
from lookalike.server.incoming import App, Receive, RequestBody, RequestHeaders, Scope, Send
from lookalike.server.outgoing import Answer
from lookalike.server.rules import RefusedError, Rules

#: Answered without a token: they tell nothing of the images.
OPEN_PATHS = frozenset({"/api/health", "/api/ready"})
#: Answered with a file of a person's own, of up to 32 MiB: few at a time, and counted in the rate.
FILE_PATHS = frozenset({"/api/original", "/api/picture", "/api/upload", "/api/download"})
#: Stays open as long as its client likes.
EVENTS = "/api/events"
#: How long a code signs in that stands in for the token where others might see it, and how many clients' rates are known.
CODE_SECONDS, MAX_CLIENTS = 60.0, 10_000


@dataclass
class _Bucket:
    """A token bucket: how many requests a client may still send at once."""

    left: float
    seen: float


@dataclass
class Guard:
    """The application that stands before another.

    Parameters
    ----------
    app : ASGI application
        Gets only requests that keep the rules, with their bodies read. Of its scope ``lookalike.remote`` says whether the
        client may be another machine's.
    rules : Rules
        What is allowed.
    clock : callable
        Seconds that only grow.
    on_stop, on_close : callable
        What :meth:`stop` and :meth:`close` do beside.
    """

    app: App
    rules: Rules
    clock: Callable[[], float] = time.monotonic
    on_stop: Callable[[], None] = lambda: None
    on_close: Callable[[], None] = lambda: None
    stopping: bool = False
    _buckets: OrderedDict[str, _Bucket] = field(default_factory=OrderedDict)
    _codes: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rules = self.rules
        self._held = ByteBudget(rules.held_bytes, "requests")
        self._sent = ByteBudget(rules.held_bytes, "answers that nobody has read yet")
        self._slots = {
            "all": Slots("requests are being worked on", rules.in_flight),
            "asking": Slots("questions are being worked on", (rules.in_flight + 1) // 2),
            "bodies": Slots("requests are being received", rules.bodies, rules.bodies),
            "files": Slots("files are being sent", rules.files, 4 * rules.files),
            "events": Slots("streams of events are open", rules.streams, retry_seconds=30),
        }

    @property
    def in_flight(self) -> int:
        """How many requests are being worked on."""
        return self._slots["all"].inside

    def stop(self) -> None:
        """End what waits for ever, and be silent of what is broken off; called in the server's loop."""
        self.stopping = True
        self.on_stop()

    def close(self) -> None:
        """Give back what the application holds; when no more is asked."""
        self.on_close()

    def one_time_code(self) -> str:
        """Return what signs in once, instead of the token, within a minute: for where others might see it."""
        code = secrets.token_urlsafe(24)
        self._codes[code] = self.clock() + CODE_SECONDS
        return code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI says."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # no websockets here
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = RequestHeaders(raw=list(scope["headers"]))
        origin = headers.one("origin")
        allowed = origin if origin in self.rules.origins else None
        answer = Answer(send, allowed, self._sent)
        body = RequestBody(headers, receive)
        try:
            await self._answer(scope, headers, body, answer, origin, allowed)
        except (RefusedError, BusyError) as e:
            if isinstance(e, BusyError):
                e = RefusedError(429, str(e), {"retry-after": str(e.seconds)})
            if answer.begun:  # too late to say anything else
                raise
            if not await body.drained():
                e.headers["connection"] = "close"
            await answer.refuse(e)
        except asyncio.CancelledError:  # of which the server would tell with a traceback
            if not self.stopping:
                raise
        except Exception as e:
            # Something of the collection changed while it was being sent: cut short, the client sees that it isn't whole.
            if not isinstance(e.__cause__, LookalikeError) and not isinstance(e, LookalikeError):
                raise
            if not answer.begun:
                await answer.refuse(RefusedError(503, "the answer broke off; try again"))

    async def _answer(
        self,
        scope: Scope,
        headers: RequestHeaders,
        body: RequestBody,
        answer: Answer,
        origin: str | None,
        allowed: str | None,
    ) -> None:
        self._take_prefix(scope)
        headers.check(scope["method"])
        self._check_host(headers)
        if allowed and scope["method"] == "OPTIONS":
            await answer.preflight(headers.one("access-control-request-headers"))
            return
        self._check_origin(scope, headers, origin, allowed)
        if self._is_sign_in(scope):
            await answer.signed_in(self.rules, scope)
            return
        self._check_token(scope, headers)
        client = str((scope.get("client") or ("?",))[0])
        scope["lookalike.remote"] = self.rules.token is not None or headers.forwarded or not is_local(client)
        posted = scope["method"] not in ("GET", "HEAD")
        if posted or scope["path"] in FILE_PATHS:
            self._check_rate(client)
        async with AsyncExitStack() as stack:
            if scope["path"] == EVENTS:  # waits most of its life
                await stack.enter_async_context(self._slots["events"])
                await self._work(scope, body, answer, math.inf)
                return
            if scope["path"] in FILE_PATHS:
                await stack.enter_async_context(self._slots["files"])
            if posted:
                await stack.enter_async_context(self._slots["asking"])
            await stack.enter_async_context(self._slots["all"])
            if posted:
                async with self._slots["bodies"]:
                    await body.read(self.rules, self._held, self.clock)
                stack.callback(self._held.give_back, body.size)
            await self._work(scope, body, answer, self.rules.seconds)

    async def _work(self, scope: Scope, body: RequestBody, answer: Answer, seconds: float) -> None:
        """Let the application answer, for as long as its client is there and the time isn't up."""
        with anyio.CancelScope(deadline=anyio.current_time() + seconds) as work:
            watch = asyncio.ensure_future(body.until_gone())
            watch.add_done_callback(lambda _: None if answer.complete else work.cancel())
            try:
                await self.app(scope, body.receive, answer.send)
            finally:
                if not watch.done():
                    answer.complete = True  # whatever comes now, there is nothing to cancel any more
                    watch.cancel()
        if work.cancelled_caught and not body.gone.is_set() and not answer.begun:
            raise RefusedError(
                503,
                f"no answer within {seconds:g} s; the work continues in the background, so try again later",
                {"retry-after": "30"},
            )

    def _take_prefix(self, scope: Scope) -> None:
        prefix, path = self.rules.prefix, scope["path"]
        if prefix and (path == prefix or path.startswith(prefix + "/")):
            scope["path"] = path[len(prefix) :]
            raw = scope.get("raw_path")
            if isinstance(raw, bytes) and raw.startswith(prefix.encode("ascii", "replace")):
                scope["raw_path"] = raw[len(prefix) :] or b"/"
            if not scope["path"]:  # without the slash, the page's own addresses would lead beside it
                query = scope.get("query_string", b"").decode("latin-1")
                where = f"{prefix.rpartition('/')[2]}/" + (f"?{query}" if query else "")
                raise RefusedError(307, "the page is at this address with a slash at its end", {"location": where})
            if scope["path"] == "/api/openapi.json":  # the one answer that says where the others are
                scope["root_path"] = prefix

    def _check_host(self, headers: RequestHeaders) -> None:
        hosts = headers.getlist("host")
        name = _without_port(hosts[0]) if len(hosts) == 1 else ""
        if name not in self.rules.hosts:
            raise RefusedError(
                421,
                f"the host name {name[:100]!r} isn't accepted; use {sorted(self.rules.hosts)[0]}, or start "
                "the server with --host-name",
            )

    def _check_origin(self, scope: Scope, headers: RequestHeaders, origin: str | None, allowed: str | None) -> None:
        own = origin is not None and _is_own(origin, headers.one("host") or "")
        foreign = origin is not None and not own and allowed is None
        # Browsers say where a request comes from even where they send no Origin; a link to the page itself is welcome.
        cross = headers.one("sec-fetch-site") == "cross-site" and allowed is None
        link = headers.one("sec-fetch-mode") == "navigate" and scope["method"] == "GET" and scope["path"] == "/"
        if foreign or (cross and not link):
            who = repr(origin[:100]) if origin else "another site"
            raise RefusedError(403, f"cross-origin requests from {who} are blocked; allow a site with --origin")

    def _is_sign_in(self, scope: Scope) -> bool:
        if self.rules.token is None or scope["path"] != "/" or scope["method"] != "GET":
            return False
        query = scope.get("query_string", b"").decode("latin-1")
        try:
            params = parse_qs(query, errors="surrogateescape", max_num_fields=20)
        except ValueError:
            return False
        tokens, codes = params.get("token", []), params.get("code", [])
        if len(tokens) == 1:
            return _same(bytes_of(tokens[0]), self.rules.token)
        return len(codes) == 1 and self._codes.pop(codes[0], 0.0) > self.clock()

    def _check_token(self, scope: Scope, headers: RequestHeaders) -> None:
        if self.rules.token is None or scope["path"] in OPEN_PATHS:
            return
        kind, _, bearer = (headers.one("authorization") or "").partition(" ")
        tokens = [bearer.strip().encode("latin-1")] if kind.lower() == "bearer" else []
        tokens += [unquote_to_bytes(token) for token in tokens]  # as a token is sent that no header can hold
        tokens += [unquote_to_bytes(value) for value in headers.cookies(self.rules.cookie)]
        if not sum(_same(token, self.rules.token) for token in tokens):  # all of them: the time mustn't tell which
            raise RefusedError(
                401,
                "a token is needed: open the address that 'lookalike serve' printed, or send 'Authorization: Bearer TOKEN'",
                {"www-authenticate": "Bearer"},
            )

    def _check_rate(self, client: str) -> None:
        if not self.rules.rate:
            return
        now, client = self.clock(), _neighbourhood(client)
        bucket = self._buckets.setdefault(client, _Bucket(self.rules.burst, now))
        self._buckets.move_to_end(client)
        while len(self._buckets) > MAX_CLIENTS:  # the one that asked longest ago has most likely a full one by now
            self._buckets.popitem(last=False)
        bucket.left = min(self.rules.burst, bucket.left + (now - bucket.seen) * self.rules.rate)
        bucket.seen = now
        if bucket.left < 1:
            wait = max(1, round((1 - bucket.left) / self.rules.rate))
            raise RefusedError(
                429, f"more than {self.rules.rate:g} requests a second; wait {wait} s", {"retry-after": str(wait)}
            )
        bucket.left -= 1


def _same(given: bytes, token: str) -> bool:
    """Compare in a time that doesn't tell how much agrees."""
    return hmac.compare_digest(given, bytes_of(token))


def _is_own(origin: str, host: str) -> bool:
    """Tell whether a page is of the very name that is asked."""
    try:
        parts = urlsplit(origin)
    except ValueError:  # an address in brackets that is none
        return False
    plain = not (parts.path or parts.query or parts.fragment)
    return parts.scheme in ("http", "https") and plain and bool(host) and parts.netloc.lower() == host.strip().lower()


def _without_port(host: str) -> str:
    name, colon, port = host.strip().lower().rpartition(":")
    name = name if colon and port.isdecimal() else host.strip().lower()
    return name.removesuffix(".")


def _neighbourhood(client: str) -> str:
    """Return what counts as one client: an address, but of IPv6 the network, as each household has 2**64 addresses."""
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return client[:64]
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
