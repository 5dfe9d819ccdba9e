"""uvicorn's connections and server, with limits of time and number.

uvicorn limits neither the time in which a request's head must come, nor the time in which an answer must be read, nor the
number of connections, and its shutdown waits for the last of them. The classes here add those limits. What a request may
cost once its head has come, :mod:`lookalike.server.guard` limits.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from lookalike.server.listening import MAX_CONNECTIONS, max_connections
from lookalike.server.outgoing import HEADERS

#: In which the head of a request must have come, and the rest of one that nobody reads; also a TLS handshake.
HEAD_SECONDS = 10.0
#: In which 64 KiB of an answer must have been taken: who reads more slowly than 2 KB a second is cut off.
STALL_SECONDS = 30.0
#: Between two requests of a connection.
IDLE_SECONDS = 15
#: Connections accepted in one go.
_ACCEPTED_AT_ONCE = 16
#: Of the body of a request that has been answered without it, so much is thrown away before the connection is.
UNWANTED = 64 * 1024
#: How long what runs may go on after Ctrl-C or SIGTERM: first for the clients to take their answers, then for the rest.
CUT_SECONDS, END_SECONDS = 0.8, 1.3


class Connection(H11Protocol):
    """A connection whose client has to say what it wants, and to take what it gets, in time."""

    #: Connections beside which a new one takes the place of the one that has been without a request for longest.
    limit: ClassVar[int] = MAX_CONNECTIONS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; among too many, in the place of the one that has asked for nothing for longest."""
        self._since: float | None = time.monotonic()
        self._used = self._since
        self._stuck: float | None = None
        self._unwanted = 0
        super().connection_made(transport)
        open_ = [item for item in self.connections if isinstance(item, Connection) and not item.transport.is_closing()]
        if len(open_) > self.limit:
            idle = [item for item in open_ if item.between and item is not self]
            (min(idle, key=lambda item: item._used) if idle else self).transport.abort()

    @property
    def between(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        """Take what the client sends; from the first byte of a request its head must come in time."""
        if self.between:
            self._since = self._since or time.monotonic()
            if self.cycle is not None and self.conn.their_state is h11.SEND_BODY:
                self._unwanted += len(data)
                if self._unwanted > UNWANTED:
                    self.transport.abort()
                    return
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of this one where it was answered before its end."""
        self._used = time.monotonic()
        self._since = self._used if self.conn.their_state is h11.SEND_BODY else None
        self._unwanted = 0
        super().on_response_complete()
        if self.between and self.conn.trailing_data[0]:  # the next one has come in part already
            self._since = self._used

    def resume_writing(self) -> None:
        """Note that the client has taken something."""
        self._stuck = None
        super().resume_writing()

    def check(self, now: float) -> None:
        """End the connection if its client is too slow.

        Parameters
        ----------
        now : float
            As of ``time.monotonic()``.
        """
        if not self.transport.get_write_buffer_size():
            self._stuck = None
        elif self._stuck is None:
            self._stuck = now
        if self._stuck is not None and now - self._stuck > STALL_SECONDS:
            self.transport.abort()
        elif self.between and self._since is not None and now - self._since > HEAD_SECONDS:
            self.refuse(408, f"the request's head didn't come within {HEAD_SECONDS:g} s; send it again")

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request."""
        self.refuse(400, f"{msg.rstrip('.')}; this is a server for HTTP/1.1")

    def refuse(self, status: int, sentence: str) -> None:
        """Answer what never came to the application, with its headers, and end the connection.

        Parameters
        ----------
        status : int
            The HTTP status.
        sentence : str
            What is wrong.
        """
        body = json.dumps({"error": sentence}).encode()
        fields = HEADERS | {"content-type": "application/json", "cache-control": "no-store", "connection": "close"}
        headers = [(name.encode(), value.encode()) for name, value in fields.items()]
        headers.append((b"content-length", str(len(body)).encode()))
        try:
            for event in (
                h11.Response(status_code=status, headers=headers, reason=STATUS_PHRASES[status]),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        except h11.LocalProtocolError:  # in the middle of an answer
            self.transport.abort()
        else:
            self.transport.close()


class _Loop(asyncio.SelectorEventLoop):
    """The loop of the standard library, with less time for a TLS handshake; uvloop would accept by itself."""

    async def create_server(self, *args: Any, **options: Any) -> Any:
        if options.get("ssl") is not None:
            options["ssl_handshake_timeout"] = HEAD_SECONDS
        return await super().create_server(*args, **options)


class Server(uvicorn.Server):
    """A server that ends when it is told to, whatever its clients do.

    Parameters
    ----------
    config : uvicorn.Config
        From :func:`configured`.
    on_stop : callable
        Called when it begins to end.
    """

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None] = lambda: None) -> None:
        super().__init__(config)
        self.on_stop = on_stop

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until told to stop, in a loop of its own; signals are for the thread that waits for this."""
        with asyncio.Runner(loop_factory=_Loop) as runner:
            runner.run(self.serve(sockets))

    async def on_tick(self, counter: int) -> bool:
        """Look at all connections once a second."""
        if counter % 10 == 0:
            now = time.monotonic()
            for connection in list(self.server_state.connections):
                cast(Connection, connection).check(now)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End: streams at once, answers when they have been taken or after a moment, and then whatever still runs."""
        self.on_stop()
        loop = asyncio.get_running_loop()
        cut = loop.call_later(CUT_SECONDS, self._cut)
        end = loop.call_later(END_SECONDS, self.handle_exit, 0, None)
        try:
            await super().shutdown(sockets)
        finally:
            cut.cancel()
            end.cancel()
            self._cut()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """End; at the second time without waiting. A signal isn't raised again afterwards: this is what it was for."""
        self.force_exit = self.should_exit
        self.should_exit = True

    def _cut(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def configured(
    app: Any, *, tls: tuple[Path, Path] | None = None, proxies: Sequence[str] = (), limit: int | None = None
) -> uvicorn.Config:
    """Return how uvicorn is to serve an application.

    Parameters
    ----------
    app : ASGI application
        What answers.
    tls : (Path, Path), optional
        Certificate and key.
    proxies : sequence of str
        Addresses and networks of proxies; what others say of whom they ask for isn't believed.
    limit : int, optional
        Connections at a time.

    Returns
    -------
    uvicorn.Config
    """
    # What a client's form lacks is its fault, and told to it alone: without a handler each would be a line on our own output.
    logging.getLogger("python_multipart").addHandler(logging.NullHandler())
    bounded = type("Connection", (Connection,), {"limit": limit or max_connections()})
    return uvicorn.Config(
        app,
        http=bounded,
        ws="none",
        log_level="error",  # what clients do wrong is theirs, and no line of a log
        access_log=False,
        log_config=None,  # it would set up all logging of the process, and fail where there is no standard output
        server_header=False,
        date_header=True,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        backlog=_ACCEPTED_AT_ONCE,
        timeout_keep_alive=IDLE_SECONDS,
        h11_max_incomplete_event_size=64 * 1024,
        ssl_certfile=None if tls is None else str(tls[0]),
        ssl_keyfile=None if tls is None else str(tls[1]),
    )


__all__ = ["Connection", "Server", "configured"]
