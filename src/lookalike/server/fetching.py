"""A URL -> its bytes, where the server was started with ``--allow-urls``; never from this machine or its network.

Each name is resolved here, every address it has is checked, and the connection goes to the checked address itself, so
that no second answer of the name server can lead elsewhere. The same at each redirect. Proxies of the environment are
not used: they would resolve for themselves.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

from lookalike.errors import ImageError, UsageError, first_line

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_REDIRECTS = 5
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_CHUNK = 1 << 16


def is_public(address: Address) -> bool:
    """Tell whether an address is one of the open network's.

    Parameters
    ----------
    address : IPv4Address or IPv6Address
        As it was resolved.

    Returns
    -------
    bool
        False for loopback, private, link-local, carrier-grade NAT, unique local, multicast, reserved and unspecified
        addresses, and for IPv6 forms that hold such an IPv4 address (mapped, 6to4, Teredo, NAT64).

    Examples
    --------
    >>> [is_public(ipaddress.ip_address(a)) for a in ("93.184.215.14", "127.0.0.1", "::ffff:10.0.0.1", "100.64.0.1")]
    [True, False, False, False]
    """
    if isinstance(address, ipaddress.IPv6Address):
        inner: list[Address] = [a for a in (address.ipv4_mapped, address.sixtofour) if a is not None]
        if address.teredo is not None:
            inner.extend(address.teredo)
        if address in _NAT64:
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if inner:
            return all(is_public(a) for a in inner)
        if address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


@dataclass(frozen=True)
class Fetcher:
    """Fetches within limits.

    Parameters
    ----------
    most : int
        Bytes that are read.
    seconds : float
        For everything: names, redirects and body.
    allowed : callable
        Tells which addresses may be asked.
    """

    most: int = 32 * 2**20
    seconds: float = 15.0
    allowed: Callable[[Address], bool] = is_public

    def fetch(self, url: str) -> bytes:
        """Return what a URL holds.

        Parameters
        ----------
        url : str
            ``http`` or ``https``, without a name and password in it.

        Returns
        -------
        bytes
            The body; whether it is an image is for the decoder to say.

        Raises
        ------
        UsageError
            If it isn't such a URL, or leads to an address that isn't public.
        ImageError
            If the other side doesn't answer with a body in time and within the limit.
        """
        ends = time.monotonic() + self.seconds
        for _ in range(_REDIRECTS + 1):
            parts = _checked(url)
            address, port = self._resolved(parts)
            try:
                status, where, body = self._ask(parts, address, port, ends)
            except (OSError, http.client.HTTPException, ValueError) as e:
                raise ImageError(f"{url}: can't be fetched: {first_line(e)}; save the image and drop it instead") from e
            if status in (301, 302, 303, 307, 308) and where:
                url = urljoin(url, where)
                continue
            if status != 200:
                raise ImageError(f"{url}: the server there answered {status}; save the image and drop it instead")
            return body
        raise ImageError(f"{url}: redirected more than {_REDIRECTS} times; give the image's own address")

    def _resolved(self, parts: SplitResult) -> tuple[Address, int]:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        name = parts.hostname or ""
        try:
            found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as e:
            raise ImageError(f"{parts.geturl()}: no such host {name!r}; check the address") from e
        addresses = [ipaddress.ip_address(str(info[4][0]).partition("%")[0]) for info in found]
        # All must be public: a name with one address outside and one inside is a trick.
        if not addresses or not all(self.allowed(address) for address in addresses):
            raise UsageError(
                f"{parts.geturl()}: leads into a private network, which isn't asked; only public hosts are"
            )
        return addresses[0], port

    def _ask(self, parts: SplitResult, address: Address, port: int, ends: float) -> tuple[int, str | None, bytes]:
        left = ends - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"no answer within {self.seconds:g} s")
        plain = socket.create_connection((str(address), port), timeout=left)
        connection = http.client.HTTPConnection(parts.hostname or "", port, timeout=left)
        try:
            secure = parts.scheme == "https"
            connection.sock = (
                ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname) if secure else plain
            )
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            host = parts.netloc.rpartition("@")[2]
            connection.request("GET", path, headers={"Host": host, "Accept": "image/*", "User-Agent": "lookalike"})
            response = connection.getresponse()
            where = response.getheader("location")
            return response.status, where, self._body(response, connection, ends) if response.status == 200 else b""
        finally:
            connection.close()
            plain.close()

    def _body(self, response: http.client.HTTPResponse, connection: http.client.HTTPConnection, ends: float) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            left = ends - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"it took longer than {self.seconds:g} s")
            if connection.sock is not None:
                connection.sock.settimeout(left)
            part = response.read1(_CHUNK)
            if not part:
                return b"".join(parts)
            size += len(part)
            if size > self.most:
                raise ValueError(f"it is over {self.most / 2**20:g} MB")
            parts.append(part)


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url.strip())
        parts.port  # noqa: B018  (raises where it is no number)
    except ValueError as e:
        raise UsageError(f"{url}: not a web address ({first_line(e)}); it begins with https://") from e
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise UsageError(f"{url}: not a web address that is fetched; it begins with https:// and holds no password")
    if any(ord(c) < 33 for c in parts.geturl()):
        raise UsageError(f"{url!r}: holds a blank or control character; copy the address again")
    return parts
