"""An answer as it goes out: with the headers that every answer has, no faster than the client reads."""

from __future__ import annotations

import json
from urllib.parse import quote

from lookalike.client.http import bytes_of
from lookalike.server.admission import ByteBudget
from lookalike.server.incoming import Message, Scope, Send
from lookalike.server.rules import RefusedError, Rules

#: An answer is handed to the connection in such pieces, each when the last has been taken.
PIECE = 64 * 1024
#: Answers under this aren't counted in what is held: there are at most ``in_flight`` of them.
SMALL = 2**20
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


class Answer:
    """Sends, with the headers that every answer has, no faster than the client reads."""

    def __init__(self, send: Send, origin: str | None, held: ByteBudget) -> None:
        self._send, self._sent = send, held
        self._start: Message | None = None
        self.begun = self.complete = False
        self._headers = dict(HEADERS)
        if origin is not None:
            self._headers |= {"access-control-allow-origin": origin, "vary": "Origin"}
            self._headers["cross-origin-resource-policy"] = "cross-origin"

    async def send(self, message: Message) -> None:
        """Send one message of the application, in pieces."""
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
            self._sent.take_anyway(counted)
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
        """Send a refusal instead of what was held back."""
        body = json.dumps({"error": str(refusal)}).encode()
        self._start = None
        await self._whole(refusal.status, {"content-type": "application/json", **refusal.headers}, body)

    async def preflight(self, wanted: str | None) -> None:
        """Allow another site's page what it asks for before it sends its request."""
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
