"""A URL -> its bytes, where the server was started with ``--allow-urls``; never from this machine or its network.

Each name is resolved here, every address it has is checked, and the connection goes to the checked address itself, so
that no second answer of the name server can lead elsewhere. The same at each redirect. Proxies of the environment are
not used: they would resolve for themselves. One deadline ends it all, name servers and answers that trickle included:
it is done in a thread of its own, whose connection is cut then.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

from lookalike.errors import ImageError, UsageError, first_line
from lookalike.server.admission import BusyError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_REDIRECTS = 5
_CHUNK = 1 << 16
#: How often it is looked whether an answer is wanted any more, in seconds.
_CHECK_SECONDS = 0.25
#: Fetched at a time. A name server that doesn't answer holds a thread for longer than it is waited for.
MAX_FETCHES = 16
#: What IANA's registries of special-purpose addresses, of both kinds, list, reachable from everywhere or not, and multicast.
#: https://www.iana.org/assignments/iana-ipv4-special-registry, https://www.iana.org/assignments/iana-ipv6-special-registry
_SPECIAL_4 = [
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
]  # fmt: skip
#: Of IPv6 only 2000::/3 is given out at all, so that mapped addresses (::ffff:0:0/96), NAT64 (64:ff9b::/96, 64:ff9b:1::/48),
#: discarding (100::/64), segment routing (5f00::/16), local and multicast addresses lie outside. Within: protocols with
#: Teredo, ORCHID and benchmarks (2001::/23), documentation (2001:db8::/32, 3fff::/20), 6to4 (2002::/16) and AS112.
_GIVEN_OUT_6 = ipaddress.IPv6Network("2000::/3")
_SPECIAL_6 = [
    ipaddress.IPv6Network(network)
    for network in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
]
#: The middle of an ISATAP address, whose last 32 bits are an IPv4 address (RFC 5214); two bits of it may be either.
_ISATAP, _ISATAP_BITS = 0x00005EFE, 0xFCFFFFFF


def is_public(address: Address) -> bool:
    """Tell whether an address is one of the open network's.

    Parameters
    ----------
    address : IPv4Address or IPv6Address
        As it was resolved.

    Returns
    -------
    bool
        False for all special-purpose addresses of IANA's registries, and for the IPv6 forms that lead to an IPv4 address
        (mapped, compatible, 6to4, Teredo, NAT64, ISATAP), whichever that is.

    Examples
    --------
    >>> [is_public(ipaddress.ip_address(a)) for a in ("93.184.215.14", "127.0.0.1", "::ffff:10.0.0.1", "100.64.0.1")]
    [True, False, False, False]
    """
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _SPECIAL_4)
    if address not in _GIVEN_OUT_6 or (int(address) >> 32) & _ISATAP_BITS == _ISATAP:
        return False
    return not any(address in network for network in _SPECIAL_6)


_slots = threading.BoundedSemaphore(MAX_FETCHES)


@dataclass(frozen=True)
class Fetcher:
    """Fetches within limits.

    Parameters
    ----------
    max_bytes : int
        Bytes that are read.
    seconds : float
        For everything: names, redirects and body.
    allowed : callable
        Tells which addresses may be asked.
    """

    max_bytes: int = 32 * 2**20
    seconds: float = 15.0
    allowed: Callable[[Address], bool] = is_public

    def fetch(self, url: str, seconds: float | None = None, wanted: Callable[[], None] = lambda: None) -> bytes:
        """Return what a URL holds.

        Parameters
        ----------
        url : str
            ``http`` or ``https``, without a name and password in it.
        seconds : float, optional
            Less than the fetcher's own, where less is left.
        wanted : callable
            Called now and then; raises where nobody waits for the answer any more.

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
        BusyError
            If too many are being fetched.
        """
        work = _Fetch(self, url)
        seconds = self.seconds if seconds is None else min(self.seconds, seconds)
        if not work.slots.acquire(blocking=False):
            raise BusyError(f"{MAX_FETCHES} images are being fetched; try again later", 2)
        ends = time.monotonic() + seconds
        thread = threading.Thread(target=work.run, name="lookalike-fetch", daemon=True)
        thread.start()
        try:
            while thread.is_alive() and (left := ends - time.monotonic()) > 0:
                thread.join(min(left, _CHECK_SECONDS))
                wanted()
            late = thread.is_alive()
        finally:
            work.cut()
        if late:
            raise ImageError(
                f"{url}: can't be fetched: no answer within {seconds:g} s; save the image and drop it instead"
            )
        if work.error is not None:
            raise work.error
        return work.body or b""


class _Fetch:
    """One URL on its way."""

    def __init__(self, fetcher: Fetcher, url: str) -> None:
        self.fetcher, self.url, self.slots = fetcher, url, _slots
        self.body: bytes | None = None
        self.error: Exception | None = None
        self._lock = threading.Lock()
        self._ended = False
        self._socket: socket.socket | None = None

    def run(self) -> None:
        try:
            self.body = self._follow(self.url)
        except Exception as e:
            self.error = e
        finally:
            self.slots.release()

    def cut(self) -> None:
        """Wake the thread wherever it waits for the other side, for the last time."""
        with self._lock:
            self._ended = True
            if self._socket is not None:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def _follow(self, url: str) -> bytes:
        for _ in range(_REDIRECTS + 1):
            parts = _checked(url)
            address, port = self._resolved(parts)
            try:
                status, where, body = self._ask(parts, address, port)
            except (OSError, http.client.HTTPException, ValueError) as e:
                raise ImageError(f"{url}: can't be fetched: {first_line(e)}; save the image and drop it instead") from e
            if status in (301, 302, 303, 307, 308) and where:
                url = urljoin(url, where)
                continue
            if status != 200:
                raise ImageError(f"{url}: its server answered {status}; save the image and drop it instead")
            return body
        raise ImageError(f"{url}: redirected more than {_REDIRECTS} times; give the image's own address")

    def _resolved(self, parts: SplitResult) -> tuple[Address, int]:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        name = parts.hostname or ""
        try:
            infos = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as e:
            raise ImageError(f"{parts.geturl()}: no such host {name!r}; check the address") from e
        addresses = [ipaddress.ip_address(str(info[4][0]).partition("%")[0]) for info in infos]
        # All must be public: a name with one address outside and one inside is a trick.
        if not addresses or not all(self.fetcher.allowed(address) for address in addresses):
            raise UsageError(
                f"{parts.geturl()}: leads into a private network; images are fetched from public hosts only"
            )
        return addresses[0], port

    def _ask(self, parts: SplitResult, address: Address, port: int) -> tuple[int, str | None, bytes]:
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as plain:
            plain.settimeout(self.fetcher.seconds + 1)  # a backstop: the deadline is to be what ends it, and says so
            with self._lock:  # from here on it can be cut
                if self._ended:
                    raise TimeoutError("it isn't wanted any more")
                self._socket = plain
            plain.connect((str(address), port))
            secure = parts.scheme == "https"
            connection = http.client.HTTPConnection(str(address), port)
            connection.sock = (
                ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname) if secure else plain
            )
            with self._lock:
                self._socket = connection.sock
            try:
                path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                host = parts.netloc.rpartition("@")[2]
                connection.request("GET", path, headers={"Host": host, "Accept": "image/*", "User-Agent": "lookalike"})
                response = connection.getresponse()
                where = response.getheader("location")
                return response.status, where, self._body(response) if response.status == 200 else b""
            finally:
                connection.close()

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        parts: list[bytes] = []
        size = 0
        while part := response.read1(_CHUNK):
            size += len(part)
            if size > self.fetcher.max_bytes:
                raise ValueError(f"it is over {self.fetcher.max_bytes / 2**20:g} MB")
            parts.append(part)
        return b"".join(parts)


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url.strip())
        parts.port  # noqa: B018  (raises where it is no number)
    except ValueError as e:
        raise UsageError(f"{url}: not a web address ({first_line(e)}); expected https://...") from e
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise UsageError(f"{url}: not a web address that can be fetched; expected https://... without a password")
    if any(ord(c) < 33 for c in parts.geturl()):
        raise UsageError(f"{url!r}: contains a space or control character; copy the address again")
    return parts
