"""The page and the REST service over one index: ``lookalike serve``.

``routes`` is the service, ``guard`` stands before it and says who may ask, ``wire`` bounds the connections and ``places``
the work, ``live`` keeps the index the newest, ``batching`` lets concurrent queries share their cost, ``uploads`` decodes
what strangers send, ``originals`` reads what was indexed, ``fetching`` asks other servers where that is allowed,
``metrics`` counts. The page is in ``web/``.
"""

from __future__ import annotations

import ipaddress
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
from urllib.parse import quote, urlsplit

from lookalike.errors import IndexStoreError, LookalikeError, UsageError, first_line, missing_extra

if TYPE_CHECKING:
    from lookalike.server.live import LiveIndex
    from lookalike.server.prometheus import Metrics

#: Where the server is found unless told otherwise.
HOST, PORT = "127.0.0.1", 8321
_PORTS = 50
#: The shortest token, in characters: what is shorter can be guessed.
SHORTEST = 16
#: How often it is looked whether a first run has committed something, in seconds.
_LOOK = 0.5


class PortError(LookalikeError):
    """No port could be had."""


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
        _check_token(token)
    elif not local:
        token = secrets.token_urlsafe(24)
    if rate is not None and not (math.isfinite(rate) and rate >= 0):
        raise UsageError(f"the rate is {rate}; give requests a second, 0 for no bound")
    prefix = _checked_prefix(prefix)
    for proxy in proxies:
        _check_proxy(proxy)
    if tls is not None:
        _check_certificate(*tls)
    names, sites = [_checked_name(name) for name in host_names], [_checked_origin(origin) for origin in origins]
    try:
        from lookalike.server.connections import MARGIN, Server, configured, most_connections
        from lookalike.server.guard import OWN_NAMES, Rules
        from lookalike.server.prometheus import Metrics
        from lookalike.server.routes import make_app
    except ModuleNotFoundError as e:
        raise missing_extra("serving", "serve") from e
    most = most_connections()
    listening = _listening(host, port, most + MARGIN)
    try:
        metrics = Metrics()
        live = _opened(Path(index), metrics, on_note)
        known = {*OWN_NAMES, *names}
        if not local and host not in ("0.0.0.0", "::"):
            known.add(f"[{host}]" if ":" in host else host.lower())
        elif not local:
            known |= _own_names()
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
        server = Server(configured(app, tls=tls, proxies=proxies, most=most), on_stop=app.stop)

        def ready() -> None:
            where = address_of(host, listening.getsockname()[1], None, secure=tls is not None, prefix=prefix)
            if on_ready is not None:
                on_ready(where + _asked("token", token))
            if on_open is not None:
                on_open(where + _asked("code", token and app.one_time_code()))

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
    with _told_to_stop(server):
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
def _told_to_stop(server: Any) -> Iterator[None]:
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

    told = False
    while not (path / MANIFEST).exists() and is_underway(path):
        if not told and on_note is not None:
            run = read_underway(path)
            far = f" ({run.done:,} of {run.total:,} files were looked at)" if run else ""
            on_note(f"{path}: its first run is under way{far}; waiting until there is something to show")
        told = True
        time.sleep(_LOOK)
    try:
        return LiveIndex(path, metrics.stage)
    except IndexStoreError:
        if told and not (path / MANIFEST).exists():
            raise IndexStoreError(f"{path}: the run that made it ended before it had anything; run it again") from None
        raise


def _check_token(token: str) -> None:
    if not token:
        raise UsageError("the token is empty; leave it out, or give at least 16 characters: openssl rand -hex 16")
    if len(token.strip()) < SHORTEST:
        raise UsageError(
            f"the token has {len(token.strip())} characters, which can be guessed; give at least {SHORTEST}"
        )


def _check_certificate(certificate: Path, key: Path) -> None:
    import ssl

    for file in (certificate, key):
        if not Path(file).is_file():
            raise UsageError(
                f"{file}: there is no such file; --certificate and --key are a PEM certificate and its key"
            )
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except OSError as e:
        raise UsageError(
            f"{certificate}, {key}: not a PEM certificate and its key: {e.strerror or first_line(e)}"
        ) from e


def _checked_prefix(prefix: str) -> str:
    from lookalike.client.http import bytes_of

    path = prefix.strip("/")
    if not path:
        return ""
    if path != quote(bytes_of(path), safe="/-._~") or any(part in ("", ".", "..") for part in path.split("/")):
        raise UsageError(f"--prefix {prefix}: expected a path of plain letters, digits and -._~ such as /photos")
    return f"/{path}"


def _check_proxy(proxy: str) -> None:
    try:
        ipaddress.ip_network(proxy)
    except ValueError as e:
        raise UsageError(f"--proxy {proxy}: not the address or network of a proxy, such as 127.0.0.1: {e}") from e


def _checked_name(name: str) -> str:
    host = name.strip().lower().removesuffix(".")
    if not host or any(c in host for c in "/@?#, ") or (":" in host and not (host[0] == "[" and host[-1] == "]")):
        raise UsageError(f"--host-name {name}: expected a name alone, without https:// and port: photos.example")
    return host


def _checked_origin(origin: str) -> str:
    site = origin.strip().rstrip("/").lower()
    try:
        parts = urlsplit(site)
        whole = (
            parts.scheme in ("http", "https") and parts.hostname and not (parts.path or parts.query or parts.fragment)
        )
    except ValueError:
        whole = None
    if not whole:
        raise UsageError(f"--origin {origin}: expected where a site's pages come from: https://shop.example")
    return site


def is_local(host: str) -> bool:
    """Tell whether only this machine can reach an address to listen on.

    Parameters
    ----------
    host : str
        An address or ``localhost``.

    Returns
    -------
    bool
    """
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def address_of(host: str, port: int, token: str | None, *, secure: bool = False, prefix: str = "") -> str:
    """Return the address that a person opens.

    Parameters
    ----------
    host : str
        What is listened on.
    port : int
        The port.
    token : str or None
        Put into the address, from where the page moves it into a cookie.
    secure : bool
        Whether over TLS.
    prefix : str
        Path before the page's own.

    Returns
    -------
    str

    Examples
    --------
    >>> address_of("127.0.0.1", 8321, None)
    'http://127.0.0.1:8321/'
    >>> address_of("127.0.0.1", 8321, "a+b & c%d of any kind")
    'http://127.0.0.1:8321/?token=a%2Bb%20%26%20c%25d%20of%20any%20kind'
    """
    name = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http{'s' if secure else ''}://{name}:{port}{prefix}/" + _asked("token", token)


def _asked(name: str, value: str | None) -> str:
    """Return the part of an address that signs in; whatever a token is made of, in the form that an address can hold."""
    from lookalike.client.http import bytes_of

    return f"?{name}={quote(bytes_of(value), safe='')}" if value else ""


def _own_names() -> set[str]:
    """Return this machine's names and addresses."""
    names = {socket.gethostname().lower(), socket.getfqdn().lower()}
    try:
        found = socket.getaddrinfo(socket.gethostname(), None)
    except OSError:
        found = []
    for info in found:
        address = str(info[4][0]).partition("%")[0]
        names.add(f"[{address}]" if ":" in address else address)
    return names


def _listening(host: str, port: int | None, most: int | None = None) -> socket.socket:
    """Listen on the port, or where none is named on the first that is free."""
    if port is not None and not 0 <= port <= 65535:
        raise UsageError(f"the port is {port}; it must be 0 to 65535")
    from lookalike.server.connections import Listening

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    wanted = range(PORT, PORT + _PORTS) if port is None else range(port, port + 1)
    for one in wanted:
        made = Listening(family)
        made.most = most or made.most
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            if not host.strip():  # which would be every address
                raise ValueError("empty")
            made.bind((host.strip("[]"), one))
            made.listen()
            return made
        except (TypeError, ValueError) as e:  # bytes that are no text, nothing
            made.close()
            raise UsageError(f"--host {host!r}: not the name or address of this machine, such as 127.0.0.1") from e
        except PermissionError as e:
            made.close()
            raise PortError(f"port {one} may not be used by you; ports from 1024 on may: --port {PORT}") from e
        except OSError as e:
            made.close()
            if e.errno not in _TAKEN:
                raise PortError(f"{host} can't be listened on: {e.strerror or e}; leave out --host") from e
    if port is not None:
        with _listening(host, None) as free:
            offer = free.getsockname()[1]
        raise PortError(f"port {port} is taken; {offer} is free: --port {offer}")
    raise PortError(f"the ports {wanted.start} to {wanted.stop - 1} are all taken; name another with --port")


def _taken() -> frozenset[int]:
    import errno

    return frozenset({errno.EADDRINUSE, getattr(errno, "WSAEADDRINUSE", errno.EADDRINUSE)})


_TAKEN = _taken()
