"""A server's index, with the calls of a local one: ``lookalike.connect("http://127.0.0.1:8321")``."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from lookalike.client.http import Connection, ServerError
from lookalike.client.images import Image, image_entry, pixels_of
from lookalike.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lookalike.neighbors.embedding2d import Layout
    from lookalike.search.engine import Match
    from lookalike.search.explain import Explanation
    from lookalike.search.request import Query
    from lookalike.search.response import Response


@dataclass(frozen=True, eq=False)
class Denoised:
    """An image, the same without its noise, and the nearest to both.

    Attributes
    ----------
    noisy, denoised : ndarray of uint8, shape (h, w) or (h, w, 3)
        Of the size of the index's images.
    noisy_matches, denoised_matches : list of Match
        The nearest first.
    message : str
        What removed the noise, in a sentence.
    """

    noisy: NDArray[np.uint8]
    denoised: NDArray[np.uint8]
    noisy_matches: list[Match]
    denoised_matches: list[Match]
    message: str


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
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, an address in brackets that is none
        whole = False
    if not whole:
        raise UsageError(f"{url}: not a server's address; give what 'lookalike serve' printed: http://127.0.0.1:8321")
    given = parse_qs(parts.query, errors="surrogateescape").get("token", [])
    path = parts.path.rstrip("/")
    return RemoteIndex(Connection(parts.scheme, parts.netloc, path, token or next(iter(given), None), seconds))


class RemoteIndex:
    """An index that another process serves. Made by :func:`connect`; used by one thread at a time.

    Parameters
    ----------
    connection : Connection
        To the server.
    encoder : str or None
        Which of the index's encoders it is asked through; None is the index's default.
    """

    def __init__(self, connection: Connection, encoder: str | None = None) -> None:
        self._connection = connection
        self._encoder = encoder

    def __repr__(self) -> str:
        return f"RemoteIndex('{self._connection}')"

    def __len__(self) -> int:
        return int(self.info()["images"])

    def __enter__(self) -> RemoteIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; the next question opens another."""
        self._connection.close()

    def with_encoder(self, encoder: str) -> RemoteIndex:
        """Return the index as another of its encoders sees it, as :meth:`lookalike.Index.with_encoder` does.

        Parameters
        ----------
        encoder : str
            A name or a column of the index; the first question refuses one that it doesn't have.

        Returns
        -------
        RemoteIndex
            With a connection of its own.
        """
        return RemoteIndex(self._connection.another(), encoder)

    # Asking -----------------------------------------------------------------------------------------------------------

    def search(
        self,
        query: Image,
        k: int = 10,
        *,
        distance: str | None = None,
        rerank: str | None = None,
        denoise: str | None = None,
    ) -> list[Match]:
        """Find the images nearest to one query image, as :meth:`lookalike.Index.search` does.

        Images of another size are always brought to the index's, and whether the search is exact is the server's to
        choose: ``resize`` and ``how`` are not asked here.

        Parameters
        ----------
        query : str, Path, ndarray or mapping
            One image: see :data:`Image`.
        k : int
            How many.
        distance : {"cosine", "euclidean"}, optional
            By default the encoder's own.
        rerank : str, optional
            A second, better order without labels: ``diffusion``, ``geometric``, ``auto``, ...; see docs/ranking.md.
        denoise : {"auto"}, optional
            Take the noise out of the query first. A server opens no denoiser's folder.

        Returns
        -------
        list of Match
            The nearest first.

        Raises
        ------
        ServerError
            If the server doesn't answer, or refuses; its sentence says why.
        """
        from lookalike.search.example import Example
        from lookalike.search.request import Query

        example = Example.from_json(image_entry(query))
        return self.ask(Query(images=(example,), k=k, distance=distance, rerank=rerank, denoise=denoise)).matches

    def ask(self, query: Query | Mapping[str, Any]) -> Response:
        """Answer one query of any make, as :meth:`lookalike.Index.ask` does.

        Parameters
        ----------
        query : Query or mapping
            A query, or its JSON. Files that it names by path are read here and sent.

        Returns
        -------
        Response
            Of what was denoised it tells how, and holds no image; :meth:`denoise` returns them.

        Raises
        ------
        ServerError
            As of :meth:`search`.
        """
        import numpy as np

        from lookalike.search.engine import Match
        from lookalike.search.request import Query
        from lookalike.search.response import Response
        from lookalike.transforms.restorer import RestoredImages

        request = {"encoder": self._encoder} | Query.from_json(query).to_json()
        request.pop("resize", None)
        request["images"] = [image_entry(entry) for entry in request.get("images", [])]
        response = self._connection.json("POST", "/api/search", request)
        response["how"] = response.get("search", "exact")
        response["matches"] = [Match.from_json(match) for match in response["matches"]]
        if denoised := response.get("denoised"):
            response["denoised"] = RestoredImages(np.empty((0, 0, 0), np.uint8), (denoised["noise"],), denoised["by"])
        return Response(**{name: response[name] for name in Response.__dataclass_fields__ if name in response})

    def encode(self, image: Image, encoder: str | None = None) -> NDArray[Any]:
        """Return an image's descriptor.

        Parameters
        ----------
        image : str, Path, ndarray or mapping
            See :data:`Image`.
        encoder : str, optional
            One of the index's.

        Returns
        -------
        ndarray, shape (dimension,)
            float32, or uint8 for packed codes.

        Raises
        ------
        ServerError
            As of :meth:`search`.
        """
        import numpy as np

        request = {"image": image_entry(image), "encoder": encoder or self._encoder}
        response = self._connection.json("POST", "/api/encode", request)
        return np.array(response["descriptor"], response["dtype"])

    def denoise(self, image: Image, *, noise: float = 0.0, k: int = 10, seed: int = 0) -> Denoised:
        """Take the noise out of an image, by the index's encoder if it can, else by what the index's images look like.

        Parameters
        ----------
        image : str, Path, ndarray or mapping
            See :data:`Image`.
        noise : float
            Noise to add first: a standard deviation, where black to white is 1.
        k : int
            How many of the nearest, 1 to 100.
        seed : int
            The same gives the same noise.

        Returns
        -------
        Denoised
            Both images, and the nearest to both.

        Raises
        ------
        ServerError
            As of :meth:`search`.
        """
        from lookalike.search.engine import Match

        request = {"image": image_entry(image), "noise": noise, "k": k, "seed": seed, "encoder": self._encoder}
        response = self._connection.json("POST", "/api/denoise", request)
        noisy, denoised = (
            pixels_of(b64decode(response[name]["picture"].partition(",")[2])) for name in ("noisy", "denoised")
        )
        near, nearer = (
            [Match.from_json(match) for match in response[name]["matches"]] for name in ("noisy", "denoised")
        )
        return Denoised(noisy, denoised, near, nearer, response["message"])

    def explain(self, image: Image, match: str) -> Explanation:
        """Say which parts of two images account for their similarity, as :func:`lookalike.search.explain.explain` does.

        Parameters
        ----------
        image : str, Path, ndarray or mapping
            See :data:`Image`.
        match : str
            The id of one of the index's images.

        Returns
        -------
        Explanation

        Raises
        ------
        ServerError
            As of :meth:`search`.
        """
        import numpy as np

        from lookalike.search.explain import Explanation

        request = {"image": image_entry(image), "match": match, "encoder": self._encoder, "maps": True}
        response = self._connection.json("POST", "/api/explain", request)
        points = response["points"]
        return Explanation(
            response["encoder"],
            response["distance"],
            response["similarity"],
            response["method"],
            np.array(response["query_map"], np.float32),
            np.array(response["match_map"], np.float32),
            response["shares"],
            [((item["rgb"][0], item["rgb"][1], item["rgb"][2]), item["share"]) for item in response["colours"]],
            points and (np.array(points[0], np.float32), np.array(points[1], np.float32)),
            response["message"],
        )

    # Looking ----------------------------------------------------------------------------------------------------------

    def info(self) -> dict[str, Any]:
        """Return what the index holds and can do."""
        info: dict[str, Any] = self._connection.json("GET", "/api/info")
        return info

    def ready(self) -> bool:
        """Tell whether the server answers and its index is where it was."""
        try:
            return bool(self._connection.json("GET", "/api/ready")["status"] == "ready")
        except ServerError:
            return False

    def files(self, outcome: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield what became of each file, as :meth:`lookalike.Index.files` returns it.

        Parameters
        ----------
        outcome : str, optional
            Only these; ``left out`` for all that have no descriptor.

        Yields
        ------
        dict
            Keys ``path``, ``outcome``, ``stage``, ``reason``.
        """
        return self._pages("/api/files", "files", {"outcome": outcome} if outcome else {})

    def failures(self) -> list[dict[str, Any]]:
        """Return the files that have no descriptor, as :meth:`lookalike.Index.failures` does."""
        return list(self.files("left out"))

    def images(self) -> Iterator[dict[str, Any]]:
        """Yield what is stored of each image, in the index's order.

        Yields
        ------
        dict
            As of :meth:`facts`.
        """
        return self._pages("/api/images", "images", {})

    @property
    def ids(self) -> list[str]:
        """One an indexed image, in the order of the descriptors; asked for anew each time."""
        return [facts["id"] for facts in self.images()]

    @property
    def labels(self) -> NDArray[np.str_] | None:
        """One an indexed image, or None if the collection has none, or not for all; asked for anew each time."""
        import numpy as np

        labels = [facts["label"] for facts in self.images()]
        return None if None in labels else np.array(labels, np.str_)

    def facts(self, identity: str) -> dict[str, Any]:
        """Return what is stored of one image, by its id: ``label``, ``caption``, ``metadata``, ``width``, ``height``, ``size``."""
        facts: dict[str, Any] = self._connection.json("GET", f"/api/image?id={quote(identity, safe='')}")
        return facts

    def original(self, identity: str) -> bytes:
        """Return the file of one image, by its id."""
        return self._connection.call("GET", f"/api/original?id={quote(identity, safe='')}")

    def picture(self, identity: str, side: int = 1024) -> NDArray[np.uint8]:
        """Return one image by its id, upright.

        Parameters
        ----------
        identity : str
            Its id.
        side : int
            The longest that its sides may be, 16 to 1024. What is larger comes as a JPEG, and so nearly as it is.

        Returns
        -------
        ndarray of uint8, shape (h, w) or (h, w, 3)
        """
        return pixels_of(self._connection.call("GET", f"/api/picture?{urlencode({'id': identity, 'side': side})}"))

    def thumbnail(self, identity: str) -> bytes:
        """Return the thumbnail of one image, by its id: a PNG or JPEG."""
        return self._connection.call("GET", f"/api/thumbnail?id={quote(identity, safe='')}")

    def download(self, ids: Sequence[str]) -> bytes:
        """Return the files of up to 500 images, by their ids, in one ZIP archive."""
        return self._connection.call("POST", "/api/download", {"ids": list(ids)})

    def reports(self) -> list[dict[str, Any]]:
        """Return the score reports that ``lookalike score --keep`` left with the index, the newest first."""
        reports: list[dict[str, Any]] = self._connection.json("GET", "/api/reports")["reports"]
        return reports

    def map(self) -> Layout:
        """Return where each image lies in the plane, as :func:`lookalike.index.map.open_map` does.

        Returns
        -------
        Layout
            In the order of :attr:`ids`.

        Raises
        ------
        ServerError
            As of :meth:`search`; of status 404 where ``lookalike map`` hasn't been run.
        """
        import numpy as np

        from lookalike.neighbors.embedding2d import Layout

        response = self._connection.json(
            "GET", "/api/map" + (f"?{urlencode({'encoder': self._encoder})}" if self._encoder else "")
        )
        positions = np.frombuffer(b64decode(response["positions"]), "<f4").astype(np.float32)
        return Layout(positions.reshape(-1, 2), np.frombuffer(b64decode(response["clusters"]), "<u2").astype(np.uint16))

    # The connection ---------------------------------------------------------------------------------------------------

    def _pages(self, path: str, name: str, params: dict[str, str]) -> Iterator[dict[str, Any]]:
        """Yield the entries of a listing, page by page."""
        offset: int | None = 0
        while offset is not None:
            page = self._connection.json("GET", f"{path}?{urlencode({**params, 'offset': offset, 'limit': 1000})}")
            yield from page[name]
            offset = page["next"]
