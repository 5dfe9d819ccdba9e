"""A server's index, with the calls of a local one: ``lookalike.connect("http://127.0.0.1:8321")``."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from lookalike.client.http import Connection
from lookalike.client.images import Image, image_entry, pixels_of
from lookalike.client.listings import RemoteListings
from lookalike.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
    tokens = parse_qs(parts.query, errors="surrogateescape").get("token", [])
    path = parts.path.rstrip("/")
    return RemoteIndex(Connection(parts.scheme, parts.netloc, path, token or next(iter(tokens), None), seconds))


class RemoteIndex(RemoteListings):
    """An index that another process serves. Made by :func:`connect`; used by one thread at a time.

    Parameters
    ----------
    connection : Connection
        To the server.
    encoder : str or None
        Which of the index's encoders it is asked through; None is the index's default.
    """

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
