"""Who may ask the server, how much, and how fast; checked before anything of a request is believed.

An ASGI application around the real one. It looks at the Host header (so that a page elsewhere can't reach this machine
by a name that it makes point here: DNS rebinding), at the Origin of what changes or costs something, at the token, at
how many requests come, and reads the whole body itself, within a limit of bytes and time. A request ends with its client:
who has gone is worked for no longer, and who doesn't read its answer is cut off (:mod:`lookalike.server.connections`).
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote, unquote_to_bytes, urlsplit

import anyio

from lookalike.client.http import bytes_of
from lookalike.errors import LookalikeError
from lookalike.server.admission import BusyError, Places

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Scope = MutableMapping[str, Any]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: The cookie that holds the token for the page. Cookies don't know ports, so its name says which server's it is.
COOKIE = "lookalike-token"
#: Names of this machine that every server answers to.
OWN_NAMES = ("127.0.0.1", "localhost", "[::1]")
#: Answered without a token: they tell nothing of the images.
OPEN_PATHS = frozenset({"/api/health", "/api/ready"})
#: Answered with a file of a person's own, of up to 32 MiB: few at a time, and counted in the rate.
FILE_PATHS = frozenset({"/api/original", "/api/picture", "/api/upload", "/api/download"})
#: Stays open as long as its client likes.
EVENTS = "/api/events"
#: An answer is handed to the connection in such pieces, each when the last has been taken.
PIECE = 64 * 1024
#: Of the body of a refused request so much is read, for so long: enough that most clients get to see why.
REFUSED_BYTES, REFUSED_SECONDS = 2**20, 1.0
#: Answers under this aren't counted in what is held: there are at most ``in_flight`` of them.
SMALL = 2**20
#: How long a code signs in that stands in for the token where others might see it, and how many clients' rates are known.
CODE_SECONDS, CLIENTS = 60.0, 10_000
#: Headers that mean one thing; two of them are two readers' two meanings.
_SINGLE = (
    "origin", "authorization", "content-length", "transfer-encoding", "content-type", "sec-fetch-site", "sec-fetch-mode",
)  # fmt: skip
#: Nothing may come from another host, nor run that isn't a file of ours.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: Sent with every answer, also with those to what is no request.
HEADERS = {
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
    bodies : int
        Bodies that are being received at a time; as many more wait.
    held_bytes : int
        Of all bodies that are held at a time, and of all large answers that are being sent.
    in_flight : int
        Requests that are worked on at a time, half of them with a body; more are told to come again.
    files : int
        Files of the collection, and uploads, that are being sent at a time; four times as many wait.
    streams : int
        Streams of events at a time.
    seconds : float
        In which a request must have been answered; what it learns goes on and is there for the next.
    rate : float
        Requests a second and client that cost work, over time; 0 sets no bound.
    burst : int
        Requests that may come at once before the rate counts.
    secure : bool
        Whether the cookie is to be sent over TLS only.
    port : int or None
        What is listened on; it is part of the cookie's name.
    prefix : str
        Path that a proxy leaves before ours, such as ``/photos``; requests with and without it are answered.
    """

    hosts: frozenset[str] = frozenset(OWN_NAMES)
    token: str | None = None
    origins: frozenset[str] = frozenset()
    body_bytes: int = 32 * 2**20
    body_seconds: float = 20.0
    bodies: int = 32
    held_bytes: int = 256 * 2**20
    in_flight: int = 256
    files: int = 16
    streams: int = 100
    seconds: float = 300.0
    rate: float = 0.0
    burst: int = 60
    secure: bool = False
    port: int | None = None
    prefix: str = ""

    @property
    def cookie(self) -> str:
        """The cookie's name."""
        return COOKIE if self.port is None else f"{COOKIE}-{self.port}"


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
    in_flight: int = 0
    stopping: bool = False
    _buckets: OrderedDict[str, _Bucket] = field(default_factory=OrderedDict)
    _codes: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rules = self.rules
        self._held = _Held(rules.held_bytes, "requests")
        self._sent = _Held(rules.held_bytes, "answers that nobody has read yet")
        self._places = {
            "all": Places("requests are being worked on", rules.in_flight),
            "asking": Places("questions are being worked on", (rules.in_flight + 1) // 2),
            "bodies": Places("requests are being received", rules.bodies, rules.bodies),
            "files": Places("files are being sent", rules.files, 4 * rules.files),
            "events": Places("streams of events are open", rules.streams, again=30),
        }

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
        headers = _Headers(scope["headers"])
        origin = headers.one("origin")
        allowed = origin if origin in self.rules.origins else None
        answer = _Answer(send, allowed, self._sent)
        body = _Body(headers, receive)
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
                await answer.refuse(RefusedError(503, "the answer could be begun and not ended; ask again"))

    async def _answer(
        self,
        scope: Scope,
        headers: _Headers,
        body: _Body,
        answer: _Answer,
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
        scope["lookalike.remote"] = self.rules.token is not None or headers.forwarded or not _is_here(client)
        posted = scope["method"] not in ("GET", "HEAD")
        if posted or scope["path"] in FILE_PATHS:
            self._check_rate(client)
        async with AsyncExitStack() as stack:
            if scope["path"] == EVENTS:  # waits most of its life
                await stack.enter_async_context(self._places["events"])
                await self._work(scope, body, answer, math.inf)
                return
            if scope["path"] in FILE_PATHS:
                await stack.enter_async_context(self._places["files"])
            if posted:
                await stack.enter_async_context(self._places["asking"])
            await stack.enter_async_context(self._places["all"])
            self.in_flight += 1
            stack.callback(self._done)
            if posted:
                async with self._places["bodies"]:
                    await body.read(self.rules, self._held, self.clock)
                stack.callback(self._held.give_back, body.size)
            await self._work(scope, body, answer, self.rules.seconds)

    def _done(self) -> None:
        self.in_flight -= 1

    async def _work(self, scope: Scope, body: _Body, answer: _Answer, seconds: float) -> None:
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
                f"no answer within {seconds:g} s; what is learnt for it goes on, so ask again in a while",
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
                asked = scope.get("query_string", b"").decode("latin-1")
                where = f"{prefix.rpartition('/')[2]}/" + (f"?{asked}" if asked else "")
                raise RefusedError(307, "the page is one slash further", {"location": where})
            if scope["path"] == "/api/openapi.json":  # the one answer that says where the others are
                scope["root_path"] = prefix

    def _check_host(self, headers: _Headers) -> None:
        hosts = headers.all("host")
        name = _without_port(hosts[0]) if len(hosts) == 1 else ""
        if name not in self.rules.hosts:
            raise RefusedError(
                421,
                f"this server doesn't answer to the name {name[:100]!r}; ask it as {sorted(self.rules.hosts)[0]}, or start "
                "it with --host-name",
            )

    def _check_origin(self, scope: Scope, headers: _Headers, origin: str | None, allowed: str | None) -> None:
        own = origin is not None and _is_own(origin, headers.one("host") or "")
        foreign = origin is not None and not own and allowed is None
        # Browsers say where a request comes from even where they send no Origin; a link to the page itself is welcome.
        cross = headers.one("sec-fetch-site") == "cross-site" and allowed is None
        link = headers.one("sec-fetch-mode") == "navigate" and scope["method"] == "GET" and scope["path"] == "/"
        if foreign or (cross and not link):
            who = repr(origin[:100]) if origin else "another site"
            raise RefusedError(403, f"pages of {who} may not ask here; allow one with --origin")

    def _is_sign_in(self, scope: Scope) -> bool:
        if self.rules.token is None or scope["path"] != "/" or scope["method"] != "GET":
            return False
        asked = scope.get("query_string", b"").decode("latin-1")
        try:
            given = parse_qs(asked, errors="surrogateescape", max_num_fields=20)
        except ValueError:
            return False
        tokens, codes = given.get("token", []), given.get("code", [])
        if len(tokens) == 1:
            return _same(bytes_of(tokens[0]), self.rules.token)
        return len(codes) == 1 and self._codes.pop(codes[0], 0.0) > self.clock()

    def _check_token(self, scope: Scope, headers: _Headers) -> None:
        if self.rules.token is None or scope["path"] in OPEN_PATHS:
            return
        kind, _, bearer = (headers.one("authorization") or "").partition(" ")
        given = [bearer.strip().encode("latin-1")] if kind.lower() == "bearer" else []
        given += [unquote_to_bytes(one) for one in given]  # as a token is sent that no header can hold
        given += [unquote_to_bytes(value) for value in headers.cookies(self.rules.cookie)]
        if not sum(_same(one, self.rules.token) for one in given):  # all of them, in a time that tells nothing
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
        while len(self._buckets) > CLIENTS:  # the one that asked longest ago has most likely a full one by now
            self._buckets.popitem(last=False)
        bucket.left = min(self.rules.burst, bucket.left + (now - bucket.seen) * self.rules.rate)
        bucket.seen = now
        if bucket.left < 1:
            wait = max(1, round((1 - bucket.left) / self.rules.rate))
            raise RefusedError(
                429, f"more than {self.rules.rate:g} requests a second; wait {wait} s", {"retry-after": str(wait)}
            )
        bucket.left -= 1


class _Held:
    """Bytes that all requests together hold."""

    def __init__(self, most: int, what: str) -> None:
        self.most, self.what, self.size = most, what, 0

    def take(self, size: int) -> None:
        """Count some more; refuse them where they are too many."""
        if self.size + size > self.most:
            raise BusyError(f"{self.size / 2**20:,.0f} MB of {self.what} are held already; come again", 2)
        self.size += size

    def give_back(self, size: int) -> None:
        self.size -= size


class _Body:
    """The body of a request, and whether its client is still there. Only this asks the connection."""

    def __init__(self, headers: _Headers, receive: Receive) -> None:
        self._headers, self._receive = headers, receive
        self._data: bytes | None = b""
        self._ended = not headers.has_body
        self.size = 0
        self.gone = asyncio.Event()

    async def read(self, rules: Rules, held: _Held, clock: Callable[[], float]) -> None:
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


class _Headers:
    """The headers of a request; a header that must be single and isn't counts as absent."""

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._raw = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in raw]

    def all(self, name: str) -> list[str]:
        return [value for n, value in self._raw if n == name]

    def one(self, name: str) -> str | None:
        found = self.all(name)
        return found[0] if len(found) == 1 else None

    def check(self, method: str) -> None:
        """Refuse what two readers could read in two ways."""
        for name in _SINGLE:
            if len(self.all(name)) > 1:
                raise _unclear(f"the request has {len(self.all(name))} headers {name}; send one")
        length, coded = self.one("content-length"), self.one("transfer-encoding")
        if length is not None and coded is not None:
            raise _unclear("the request has both Content-Length and Transfer-Encoding; send one of them")
        if length is not None and self.length is None:
            raise RefusedError(
                413,
                f"the Content-Length is {length[:40]!r}; it counts the bytes of the request",
                {"connection": "close"},
            )
        if self.has_body and method in ("GET", "HEAD"):
            raise _unclear(f"a {method} request has no body here; leave it out")

    @property
    def length(self) -> int | None:
        value = self.one("content-length")
        return int(value) if value is not None and value.isascii() and value.isdecimal() and len(value) < 20 else None

    @property
    def has_body(self) -> bool:
        lengths = self.all("content-length")
        return bool(self.all("transfer-encoding")) or bool(lengths and lengths != ["0"])

    @property
    def forwarded(self) -> bool:
        return any(name == "forwarded" or name.startswith("x-forwarded-") for name, _ in self._raw)

    def cookies(self, name: str) -> list[str]:
        """Return the values of one cookie, whatever other applications of this host keep in theirs."""
        pairs = [pair.partition("=") for line in self.all("cookie") for pair in line.split(";")]
        return [value.strip().strip('"') for key, _, value in pairs if key.strip() == name]


class _Answer:
    """Sends, with the headers that every answer has, no faster than the client reads."""

    def __init__(self, send: Send, origin: str | None, held: _Held) -> None:
        self._send, self._sent = send, held
        self._start: Message | None = None
        self.begun = self.complete = False
        self._headers = dict(HEADERS)
        if origin is not None:
            self._headers |= {"access-control-allow-origin": origin, "vary": "Origin"}
            self._headers["cross-origin-resource-policy"] = "cross-origin"

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":  # kept back, so that what follows can still be refused
            given = {name.decode("latin-1").lower() for name, _ in message.get("headers", [])}
            ours = {"cache-control": "no-store", **self._headers}
            more = [(n.encode(), v.encode("latin-1")) for n, v in ours.items() if n not in given]
            self._start = {**message, "headers": [*message.get("headers", []), *more]}
            return
        body = message.get("body", b"")
        counted = len(body) if len(body) > SMALL else 0
        if self._start is not None:
            self._sent.take(counted)
        else:
            self._sent.size += counted
        try:
            if self._start is not None:
                self.begun = True
                start, self._start = self._start, None
                await self._send(start)
            for at in range(0, len(body) or 1, PIECE):
                more_body = message.get("more_body", False) or at + PIECE < len(body)
                self.complete = not more_body
                await self._send({"type": "http.response.body", "body": body[at : at + PIECE], "more_body": more_body})
        finally:
            self._sent.give_back(counted)

    async def refuse(self, refusal: RefusedError) -> None:
        body = json.dumps({"error": str(refusal)}).encode()
        self._start = None
        await self._whole(refusal.status, {"content-type": "application/json", **refusal.headers}, body)

    async def preflight(self, wanted: str | None) -> None:
        headers = {"access-control-allow-methods": "GET, POST", "access-control-max-age": "600"}
        if wanted is not None:
            headers["access-control-allow-headers"] = "authorization, content-type"
        await self._whole(204, headers, b"")

    async def signed_in(self, rules: Rules, scope: Scope) -> None:
        """Keep the token in a cookie that no script can read, and take it out of the address.

        Neither the cookie nor where it leads to names a path: a browser takes the one that it asked for, which begins
        with what a proxy has put before ours.
        """
        secure = "; Secure" if rules.secure or scope.get("scheme") == "https" else ""
        value = quote(bytes_of(rules.token or ""), safe="")
        cookie = f"{rules.cookie}={value}; HttpOnly; SameSite=Strict{secure}"
        await self._whole(303, {"location": "./", "set-cookie": cookie}, b"")

    async def _whole(self, status: int, headers: dict[str, str], body: bytes) -> None:
        length = {} if status == 204 else {"content-length": str(len(body))}
        raw = [(n.encode(), v.encode("latin-1")) for n, v in {**headers, **length}.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": raw})
        await self.send({"type": "http.response.body", "body": body})


def _unclear(message: str) -> RefusedError:
    """Refuse a request of which it isn't sure where it ends, and with it the connection."""
    return RefusedError(400, message, {"connection": "close"})


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


def _is_here(client: str) -> bool:
    """Tell whether a client's address is this machine's."""
    try:
        return ipaddress.ip_address(client).is_loopback
    except ValueError:
        return False


def _neighbourhood(client: str) -> str:
    """Return what counts as one client: an address, but of IPv6 the network, as each household has 2**64 addresses."""
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return client[:64]
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)
