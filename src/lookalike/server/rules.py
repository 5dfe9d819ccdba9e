"""What a server allows: names, token, sites, sizes, times and rates; and the refusal of a request that breaks a rule."""

from __future__ import annotations

from dataclasses import dataclass

#: The cookie that holds the token for the page. Cookies don't know ports, so its name says which server's it is.
COOKIE = "lookalike-token"
#: Names of this machine that every server answers to.
OWN_NAMES = ("127.0.0.1", "localhost", "[::1]")


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
        Requests that are worked on at a time, half of them with a body; more are refused.
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
