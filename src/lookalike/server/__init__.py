"""The page and the REST service over one index: ``lookalike serve``.

``routes`` is the service, ``guard`` stands before it and says who may ask, ``live`` keeps the index the newest,
``batching`` lets concurrent queries share their cost, ``uploads`` decodes what strangers send, ``originals`` reads what
was indexed, ``fetching`` asks other servers where that is allowed, ``metrics`` counts. The page is in ``web/``.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from lookalike.errors import LookalikeError, UsageError, missing_extra

#: Where the server is found unless told otherwise.
HOST, PORT = "127.0.0.1", 8321
_PORTS = 50


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
    allow_urls: bool = False,
    rate: float | None = None,
    tls: tuple[Path, Path] | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Answer over HTTP until told to stop (Ctrl-C, SIGTERM), then finish what runs.

    Parameters
    ----------
    index : str or Path
        The index's folder.
    host : str
        Address to listen on. Any but this machine's own needs a token, and gets one if none is given.
    port : int, optional
        Default: 8321, or the next that is free; a port that is asked for is taken or refused.
    token : str, optional
        What requests must bring, at least 16 characters.
    host_names : sequence of str
        Further names that the server answers to.
    origins : sequence of str
        Other sites whose pages may ask, such as ``https://shop.example``.
    allow_urls : bool
        Fetch images by their addresses, on public hosts only.
    rate : float, optional
        Searches a second that one client may make; by default 20 for other machines, and no bound for this one.
    tls : (Path, Path), optional
        Certificate and key, to answer over HTTPS.
    on_ready : callable, optional
        Given the address once requests are answered.

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
    if token is not None and len(token) < 16:
        raise UsageError(f"the token has {len(token)} characters, which can be guessed; give at least 16")
    if token is None and not local:
        token = secrets.token_urlsafe(24)
    try:
        import uvicorn

        from lookalike.server.guard import OWN_NAMES, Rules
        from lookalike.server.live import LiveIndex
        from lookalike.server.metrics import Metrics
        from lookalike.server.routes import make_app
    except ModuleNotFoundError as e:
        raise missing_extra("serving", "serve") from e
    listening = _listening(host, port)
    try:
        metrics = Metrics()
        live = LiveIndex(index, metrics.stage)
        names = {name.lower() for name in (*OWN_NAMES, *host_names)}
        if not local and host not in ("0.0.0.0", "::"):
            names.add(f"[{host}]" if ":" in host else host.lower())
        elif not local:
            names |= _own_names()
        rules = Rules(
            hosts=frozenset(names),
            token=token,
            origins=frozenset(origin.rstrip("/").lower() for origin in origins),
            rate=rate if rate is not None else (0.0 if local else 20.0),
            secure=tls is not None,
        )
        app = make_app(live, rules, allow_urls=allow_urls, metrics=metrics)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=True,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=30,
            h11_max_incomplete_event_size=64 * 1024,
            ssl_certfile=None if tls is None else str(tls[0]),
            ssl_keyfile=None if tls is None else str(tls[1]),
        )
        server = uvicorn.Server(config)
        if on_ready is not None:
            on_ready(address_of(host, listening.getsockname()[1], token, secure=tls is not None))
        server.run(sockets=[listening])
    finally:
        listening.close()


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


def address_of(host: str, port: int, token: str | None, *, secure: bool = False) -> str:
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

    Returns
    -------
    str

    Examples
    --------
    >>> address_of("127.0.0.1", 8321, None)
    'http://127.0.0.1:8321/'
    """
    name = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http{'s' if secure else ''}://{name}:{port}/" + (f"?token={token}" if token else "")


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


def _listening(host: str, port: int | None) -> socket.socket:
    """Listen on the port, or where none is named on the first that is free."""
    if port is not None and not 0 <= port <= 65535:
        raise UsageError(f"the port is {port}; it must be 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    wanted = range(PORT, PORT + _PORTS) if port is None else range(port, port + 1)
    for one in wanted:
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((host.strip("[]"), one))
            made.listen(512)
            return made
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
