"""Requests to a server over one connection that is kept open; its answers, or its error message."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import quote

from lookalike.errors import LookalikeError, first_line


def bytes_of(token: str) -> bytes:
    """Return a token's bytes, whatever characters it is made of.

    Parameters
    ----------
    token : str
        As the environment, a command line or an address gave it.

    Returns
    -------
    bytes
        UTF-8; of what was no text, the bytes as they were.
    """
    try:
        return token.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # halves of characters that never were bytes
        return token.encode("utf-8", "surrogatepass")


#: Characters of a server's sentence that are shown.
_MAX_MESSAGE = 4000


class ServerError(LookalikeError):
    """The server doesn't answer, or refuses.

    Attributes
    ----------
    status : int
        The HTTP status; 0 where there was no answer.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Connection:
    """A connection to a server, opened when it is first needed; used by one thread at a time.

    Parameters
    ----------
    scheme, host, path : str
        Of the server's address.
    token : str or None
        Sent with each request.
    seconds : float
        How long an answer may take.
    """

    def __init__(self, scheme: str, host: str, path: str, token: str | None, seconds: float) -> None:
        self.scheme, self.host, self.path = scheme, host, path
        self.token, self.seconds = token, seconds
        self._open: http.client.HTTPConnection | None = None

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}{self.path}"

    def another(self) -> Connection:
        """Return one to the same server."""
        return Connection(self.scheme, self.host, self.path, self.token, self.seconds)

    def close(self) -> None:
        """End it; the next question opens it again."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def json(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Send a JSON body, if any, and return the answer's.

        Parameters
        ----------
        method, path : str
            What is asked.
        body : object
            What ``json.dumps`` takes; None sends none.

        Returns
        -------
        dict
            What ``json.loads`` returns.

        Raises
        ------
        ServerError
            If there is no answer, or a refusal.
        """
        response: dict[str, Any] = json.loads(self.call(method, path, body))
        return response

    def call(self, method: str, path: str, body: object = None) -> bytes:
        """Send a JSON body, if any, and return the answer as it comes.

        Parameters
        ----------
        method, path, body
            As of :meth:`json`.

        Returns
        -------
        bytes

        Raises
        ------
        ServerError
            As of :meth:`json`.
        """
        sent = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if self.token:
            headers["Authorization"] = f"Bearer {_for_a_header(self.token)}"
        for attempt in (1, 2):
            kept = self._open is not None
            try:
                connection = self._opened()
                connection.request(method, self.path + path, sent, headers)
                response = connection.getresponse()
                content = response.read()
                break
            except (OSError, http.client.HTTPException) as e:
                self.close()
                if kept and attempt == 1:  # a connection that was kept open may have been closed over there
                    continue
                raise ServerError(f"{self} doesn't answer: {first_line(e)}; is 'lookalike serve' running there?") from e
        if response.status >= 400:
            try:
                message = str(json.loads(content)["error"])
            except (ValueError, KeyError, TypeError, RecursionError):
                message = f"the server answered {response.status}"
            # Shown on a terminal, which some characters command.
            message = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in message[:_MAX_MESSAGE])
            raise ServerError(message, response.status)
        return content

    def _opened(self) -> http.client.HTTPConnection:
        if self._open is None:
            connection_type = http.client.HTTPSConnection if self.scheme == "https" else http.client.HTTPConnection
            self._open = connection_type(self.host, timeout=self.seconds)
        return self._open


def _for_a_header(token: str) -> str:
    """Return a token as it is, or percent-encoded where no header could hold it."""
    plain = all("!" <= c <= "~" for c in token)
    return token if plain else quote(bytes_of(token), safe="")
