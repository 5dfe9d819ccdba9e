"""Where a server listens -> the address that a person opens, and the names that requests may call it by."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import quote

from lookalike.client.http import bytes_of

#: Where the server listens by default.
HOST, PORT = "127.0.0.1", 8321


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
    return f"http{'s' if secure else ''}://{name}:{port}{prefix}/" + sign_in_query("token", token)


def sign_in_query(name: str, value: str | None) -> str:
    """Return the part of an address that signs in; whatever a token is made of, in the form that an address can hold.

    Parameters
    ----------
    name : {"token", "code"}
        What it is.
    value : str or None
        The token or code.

    Returns
    -------
    str
        Empty where there is none.
    """
    return f"?{name}={quote(bytes_of(value), safe='')}" if value else ""


def own_names() -> set[str]:
    """Return this machine's names and addresses.

    Returns
    -------
    set of str
        Lower case; IPv6 addresses in brackets.
    """
    names = {socket.gethostname().lower(), socket.getfqdn().lower()}
    try:
        infos = socket.getaddrinfo(socket.gethostname(), None)
    except OSError:
        infos = []
    for info in infos:
        address = str(info[4][0]).partition("%")[0]
        names.add(f"[{address}]" if ":" in address else address)
    return names
