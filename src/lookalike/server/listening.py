"""The socket that a server listens on, and how many connections it takes."""

from __future__ import annotations

import errno
import socket
import sys
import weakref
from typing import Any

from lookalike.errors import LookalikeError, UsageError
from lookalike.server.address import PORT

#: Connections at a time: what 60 browsers open at most. Fewer where the process may open few files, half of which they get.
MAX_CONNECTIONS = 512
#: How many more may be open, until those in whose place they come are closed.
MARGIN = 64
#: Ports that are tried where none is named.
_PORTS = 50
_PORT_TAKEN = frozenset({errno.EADDRINUSE, getattr(errno, "WSAEADDRINUSE", errno.EADDRINUSE)})


class PortError(LookalikeError):
    """No port is free, or the port can't be used."""


def max_connections() -> int:
    """Return how many connections there may be at a time.

    Returns
    -------
    int
        ``MAX_CONNECTIONS``, or half of the files that this process may open without :data:`MARGIN` if that is less.
    """
    if sys.platform == "win32":  # whose select takes 512
        return 512 - 2 * MARGIN
    import resource

    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MAX_CONNECTIONS if files == resource.RLIM_INFINITY else max(8, min(MAX_CONNECTIONS, (files - MARGIN) // 2))


class ListeningSocket(socket.socket):
    """A listening socket that accepts no more connections than there may be; what is over is closed at once."""

    limit = MAX_CONNECTIONS + MARGIN

    def __init__(self, family: int, kind: int = socket.SOCK_STREAM) -> None:
        super().__init__(family, kind)
        self._accepted: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def listen(self, backlog: int = 1024) -> None:
        """Listen; as many may wait to be accepted as the system allows, however few are accepted in one go."""
        super().listen(max(backlog, 1024))

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept one, as of :meth:`socket.socket.accept`; also those whose TLS handshake doesn't end are counted."""
        connection, address = super().accept()
        self._accepted.add(connection)
        if sum(item.fileno() >= 0 for item in self._accepted) > self.limit:
            connection.close()
            raise ConnectionAbortedError("too many connections")
        return connection, address


def listen_on(host: str, port: int | None, limit: int | None = None) -> socket.socket:
    """Listen on a port, or where none is named on the first that is free.

    Parameters
    ----------
    host : str
        Name or address of this machine.
    port : int or None
        Which; None tries 50 from :data:`~lookalike.server.address.PORT` on.
    limit : int, optional
        Connections that may be open at a time.

    Returns
    -------
    socket.socket

    Raises
    ------
    UsageError
        If the host or port makes no sense.
    PortError
        If the port is taken or not allowed.
    """
    if port is not None and not 0 <= port <= 65535:
        raise UsageError(f"the port is {port}; it must be 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    wanted = range(PORT, PORT + _PORTS) if port is None else range(port, port + 1)
    for candidate in wanted:
        listening = ListeningSocket(family)
        listening.limit = limit or listening.limit
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            if not host.strip():  # which would be every address
                raise ValueError("empty")
            listening.bind((host.strip("[]"), candidate))
            listening.listen()
            return listening
        except (TypeError, ValueError) as e:  # bytes that are no text, nothing
            listening.close()
            raise UsageError(f"--host {host!r}: not the name or address of this machine, such as 127.0.0.1") from e
        except PermissionError as e:
            listening.close()
            raise PortError(
                f"port {candidate} needs administrator rights; use a port from 1024 on: --port {PORT}"
            ) from e
        except OSError as e:
            listening.close()
            if e.errno not in _PORT_TAKEN:
                raise PortError(f"can't listen on {host}: {e.strerror or e}; leave out --host") from e
    if port is not None:
        with listen_on(host, None) as free:
            offer = free.getsockname()[1]
        raise PortError(f"port {port} is taken; {offer} is free: --port {offer}")
    raise PortError(f"the ports {wanted.start} to {wanted.stop - 1} are all taken; name another with --port")
