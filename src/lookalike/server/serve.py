"""The page and the REST service over one index: ``lookalike serve``.

``app`` puts the application together: ``routes`` answer, ``service`` is what they share, ``guard`` stands before them and
says who may ask (``rules``), ``incoming`` and ``outgoing`` bound a request and its answer, ``connections`` the
connections, ``admission`` and ``pools`` the work. ``live`` keeps the index the newest, ``batching`` lets concurrent
queries share their cost, ``uploads`` decodes what clients send, ``originals`` reads what was indexed, ``fetching`` asks
other servers where that is allowed, ``prometheus`` counts. The page is in ``web/``.
"""

from __future__ import annotations

import math
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookalike.errors import IndexStoreError, UsageError, missing_extra
from lookalike.server.address import HOST, address_of, is_local, own_names, sign_in_query
from lookalike.server.listening import MARGIN, listen_on, max_connections
from lookalike.server.options import (
    check_certificate,
    check_proxy,
    check_token,
    checked_name,
    checked_origin,
    checked_prefix,
)

if TYPE_CHECKING:
    from lookalike.server.live import LiveIndex
    from lookalike.server.prometheus import Metrics

#: How often it is looked whether a first run has committed something, in seconds.
_CHECK_SECONDS = 0.5


def serve(
    index: str | Path,
    *,
    host: str = HOST,
    port: int | None = None,
    token: str | None = None,
    host_names: Sequence[str] = (),
    origins: Sequence[str] = (),
    proxies: Sequence[str] = (),
    prefix: str = "",
    allow_urls: bool = False,
    rate: float | None = None,
    tls: tuple[Path, Path] | None = None,
    on_ready: Callable[[str], None] | None = None,
    on_open: Callable[[str], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> None:
    """Answer over HTTP until told to stop (Ctrl-C, SIGTERM), then end within two seconds.

    May be called where an event loop runs already, as in a notebook; it returns when it is interrupted.

    Parameters
    ----------
    index : str or Path
        The index's folder. While another process makes it, what that has committed first is waited for.
    host : str
        Address to listen on. Any but this machine's own needs a token, and gets one if none is given.
    port : int, optional
        Default: 8321, or the next that is free; a port that is asked for is taken or refused.
    token : str, optional
        What requests must bring, at least 16 characters of any kind.
    host_names : sequence of str
        Further names that the server answers to.
    origins : sequence of str
        Other sites whose pages may ask, such as ``https://shop.example``.
    proxies : sequence of str
        Addresses, or networks such as ``10.0.0.0/8``, of proxies before this server: only what these say of whom they ask
        for (``X-Forwarded-For``, ``X-Forwarded-Proto``) is believed.
    prefix : str
        Path that a proxy leaves before ours, such as ``/photos``. One that takes it away needs none.
    allow_urls : bool
        Fetch images by their addresses, on public hosts only.
    rate : float, optional
        Searches a second that one client may make; by default 20 for other machines, and no bound for this one.
    tls : (Path, Path), optional
        Certificate and key, to answer over HTTPS.
    on_ready : callable, optional
        Given the address once requests are answered.
    on_open : callable, optional
        Given an address to open in a browser: where there is a token, with a code in its place that signs in once.
    on_note : callable, optional
        Given a sentence where something is waited for.

    Raises
    ------
    UsageError
        If an option makes no sense, or the ``serve`` extra isn't installed.
    PortError
        If the port is taken.
    IndexStoreError
        If the index can't be opened.
    """
    local = is_local(host)
    if token is not None:
        check_token(token)
    elif not local:
        token = secrets.token_urlsafe(24)
    if rate is not None and not (math.isfinite(rate) and rate >= 0):
        raise UsageError(f"the rate is {rate}; expected requests per second, or 0 for no limit")
    prefix = checked_prefix(prefix)
    for proxy in proxies:
        check_proxy(proxy)
    if tls is not None:
        check_certificate(*tls)
    names, sites = [checked_name(name) for name in host_names], [checked_origin(origin) for origin in origins]
    try:
        from lookalike.server.app import make_app
        from lookalike.server.connections import Server, configured
        from lookalike.server.prometheus import Metrics
        from lookalike.server.rules import OWN_NAMES, Rules
    except ModuleNotFoundError as e:
        raise missing_extra("serving", "serve") from e
    limit = max_connections()
    listening = listen_on(host, port, limit + MARGIN)
    try:
        metrics = Metrics()
        live = _opened(Path(index), metrics, on_note)
        known = {*OWN_NAMES, *names}
        if not local:
            known |= own_names() if host in ("0.0.0.0", "::") else {f"[{host}]" if ":" in host else host.lower()}
        rules = Rules(
            hosts=frozenset(known),
            token=token,
            origins=frozenset(sites),
            rate=rate if rate is not None else (0.0 if local else 20.0),
            secure=tls is not None,
            port=listening.getsockname()[1],
            prefix=prefix,
        )
        app = make_app(live, rules, allow_urls=allow_urls, metrics=metrics)
        server = Server(configured(app, tls=tls, proxies=proxies, limit=limit), on_stop=app.stop)

        def ready() -> None:
            where = address_of(host, listening.getsockname()[1], None, secure=tls is not None, prefix=prefix)
            if on_ready is not None:
                on_ready(where + sign_in_query("token", token))
            if on_open is not None:
                on_open(where + sign_in_query("code", token and app.one_time_code()))

        try:
            _run(server, listening, ready)
        finally:
            app.close()
    finally:
        listening.close()


def _run(server: Any, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Run a server in a thread of its own, so that it may be called where an event loop runs, and none has to be waited for.

    Its threads are daemons as it is: one that is amid a long computation doesn't keep the process from ending.
    """
    failed: list[BaseException] = []

    def run() -> None:
        try:
            server.run(sockets=[listening])
        except BaseException as e:  # told where it is waited for
            failed.append(e)

    thread = threading.Thread(target=run, name="lookalike-serve", daemon=True)
    with _stopped_by_signals(server):
        thread.start()
        try:
            while thread.is_alive() and not server.started:
                thread.join(0.01)
            if server.started:
                ready()
            while thread.is_alive():
                thread.join(0.2)  # not for ever: Windows hears no Ctrl-C meanwhile
        except KeyboardInterrupt:  # where no signal handler could be set
            pass
        finally:
            server.should_exit = True
            thread.join(5)
    if failed:
        raise failed[0]


@contextmanager
def _stopped_by_signals(server: Any) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end a server; at the second time at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kinds = [signal.SIGINT, signal.SIGTERM]
    before = {kind: signal.signal(kind, server.handle_exit) for kind in kinds}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _opened(path: Path, metrics: Metrics, on_note: Callable[[str], None] | None) -> LiveIndex:
    """Open an index; one that is just being made for the first time when it has something to show."""
    from lookalike.index.manifest import MANIFEST
    from lookalike.index.run_status import is_underway, read_underway
    from lookalike.server.live import LiveIndex

    noted = False
    while not (path / MANIFEST).exists() and is_underway(path):
        if not noted and on_note is not None:
            run = read_underway(path)
            progress = f" ({run.done:,} of {run.total:,} files were looked at)" if run else ""
            on_note(f"{path}: its first run is under way{progress}; waiting until there is something to show")
        noted = True
        time.sleep(_CHECK_SECONDS)
    try:
        return LiveIndex(path, metrics.stage)
    except IndexStoreError:
        if noted and not (path / MANIFEST).exists():
            raise IndexStoreError(
                f"{path}: the run that created it ended before it committed anything; run it again"
            ) from None
        raise
