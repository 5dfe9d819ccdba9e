"""A server's index, with the calls of a local one: ``lookalike.connect("http://127.0.0.1:8321")``."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from lookalike.errors import LookalikeError, UsageError, first_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lookalike.answers import Response
    from lookalike.request import Query
    from lookalike.search import Match


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


def connect(url: str, token: str | None = None, *, seconds: float = 60.0) -> RemoteIndex:
    """Open the index of a server.

    Parameters
    ----------
    url : str
        What ``lookalike serve`` printed; a token in it is used.
    token : str, optional
        What the server wants, where it wants one.
    seconds : float
        How long an answer may take.

    Returns
    -------
    RemoteIndex
        Asked as a local index is. Nothing is sent before the first question.

    Raises
    ------
    UsageError
        If it is no web address.

    Examples
    --------
    >>> index = connect("http://127.0.0.1:8321")
    >>> index.search("photo.jpg", k=5)  # doctest: +SKIP
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{url}: not a server's address; give what 'lookalike serve' printed: http://127.0.0.1:8321")
    given = dict(pair.partition("=")[::2] for pair in parts.query.split("&") if pair)
    return RemoteIndex(parts.scheme, parts.netloc, parts.path.rstrip("/"), token or given.get("token"), seconds)


class RemoteIndex:
    """An index that another process serves. Made by :func:`connect`; used by one thread at a time.

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
        self._scheme, self._host, self._path = scheme, host, path
        self._token, self._seconds = token, seconds
        self._connection: http.client.HTTPConnection | None = None

    def __repr__(self) -> str:
        return f"RemoteIndex('{self._scheme}://{self._host}{self._path}')"

    def __len__(self) -> int:
        return int(self.info()["images"])

    def __enter__(self) -> RemoteIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; the next question opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def search(
        self, query: str | Path | NDArray[np.generic], k: int = 10, *, distance: str | None = None
    ) -> list[Match]:
        """Find the images nearest to one query image, as :meth:`lookalike.Index.search` does.

        Parameters
        ----------
        query : str, Path or ndarray
            One image: a file here, ``mnist:test[7]``, an array (h, w) or (h, w, 3).
        k : int
            How many.
        distance : {"cosine", "euclidean"}, optional
            By default the encoder's own.

        Returns
        -------
        list of Match
            The nearest first.

        Raises
        ------
        ServerError
            If the server doesn't answer, or refuses; its sentence says why.
        """
        import base64

        from lookalike.request import Example, Query

        data = base64.b64encode(_file_of(query)).decode("ascii")
        example = Example.from_json({"data": data})
        return self.ask(Query(images=(example,), k=k, distance=distance)).matches

    def ask(self, query: Query | Mapping[str, Any]) -> Response:
        """Answer one query of any make, as :meth:`lookalike.Index.ask` does.

        Parameters
        ----------
        query : Query or mapping
            A query, or its JSON. Files that it names by path are read here and sent.

        Returns
        -------
        Response

        Raises
        ------
        ServerError
            As of :meth:`search`.
        """
        from lookalike.answers import Response
        from lookalike.request import Query
        from lookalike.search import Match

        asked = Query.from_json(query).to_json()
        asked.pop("resize", None)
        for entry in asked.get("images", []):
            if "path" in entry:
                import base64

                entry["data"] = base64.b64encode(_file_of(entry.pop("path"))).decode("ascii")
        said = self._json("POST", "/api/search", asked)
        matches = [Match.from_json(match) for match in said["matches"]]
        said["how"] = said.get("search", "exact")
        rest = {
            name: said[name]
            for name in Response.__dataclass_fields__
            if name not in ("matches", "denoised") and name in said
        }
        return Response(**{**rest, "matches": matches})

    def encode(self, image: str | Path | NDArray[np.generic], encoder: str | None = None) -> NDArray[Any]:
        """Return an image's descriptor.

        Parameters
        ----------
        image : str, Path or ndarray
            As of :meth:`search`.
        encoder : str, optional
            One of the index's.

        Returns
        -------
        ndarray, shape (dimension,)
            float32, or uint8 for packed codes.
        """
        import base64

        import numpy as np

        data = base64.b64encode(_file_of(image)).decode("ascii")
        said = self._json("POST", "/api/encode", {"image": {"data": data}, "encoder": encoder})
        return np.array(said["descriptor"], said["dtype"])

    def info(self) -> dict[str, Any]:
        """Return what the index holds and can do."""
        found: dict[str, Any] = self._json("GET", "/api/info")
        return found

    def files(self, outcome: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield what became of each file.

        Parameters
        ----------
        outcome : str, optional
            Only these; ``left out`` for all that have no descriptor.

        Yields
        ------
        dict
            Keys ``path``, ``outcome``, ``stage``, ``reason``.
        """
        offset: int | None = 0
        while offset is not None:
            wanted = {"offset": offset, "limit": 1000} | ({"outcome": outcome} if outcome else {})
            page = self._json("GET", f"/api/files?{urlencode(wanted)}")
            yield from page["files"]
            offset = page["next"]

    def facts(self, identity: str) -> dict[str, Any]:
        """Return what is stored of one image, by its id."""
        found: dict[str, Any] = self._json("GET", f"/api/image?id={quote(identity, safe='')}")
        return found

    def original(self, identity: str) -> bytes:
        """Return the file of one image, by its id."""
        return self._call("GET", f"/api/original?id={quote(identity, safe='')}")

    def thumbnail(self, identity: str) -> bytes:
        """Return the thumbnail of one image, by its id: a PNG or JPEG."""
        return self._call("GET", f"/api/thumbnail?id={quote(identity, safe='')}")

    def _json(self, method: str, path: str, body: object = None) -> Any:
        return json.loads(self._call(method, path, None if body is None else json.dumps(body).encode()))

    def _call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        for attempt in (1, 2):
            kept = self._connection is not None
            try:
                connection = self._connected()
                connection.request(method, self._path + path, body, headers)
                response = connection.getresponse()
                content = response.read()
                break
            except (OSError, http.client.HTTPException) as e:
                self.close()
                if kept and attempt == 1:  # a connection that was kept open may have been closed over there
                    continue
                raise ServerError(
                    f"{self!r} doesn't answer: {first_line(e)}; is 'lookalike serve' running there?"
                ) from e
        if response.status >= 400:
            try:
                said = str(json.loads(content)["error"])
            except (ValueError, KeyError, TypeError):
                said = f"the server answered {response.status}"
            raise ServerError(said, response.status)
        return content

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is None:
            made = http.client.HTTPSConnection if self._scheme == "https" else http.client.HTTPConnection
            self._connection = made(self._host, timeout=self._seconds)
        return self._connection


def _file_of(image: str | Path | NDArray[np.generic]) -> bytes:
    """Return an image as a file's bytes: as it is where it is a file, else a PNG."""
    from lookalike.collection import open_collection
    from lookalike.raster import to_png

    if isinstance(image, str | Path) and Path(image).is_file():
        return Path(image).read_bytes()
    collection = open_collection(image)
    if len(collection) != 1:
        raise UsageError(f"one query image expected, {len(collection)} given")
    return to_png(collection.read(0))
