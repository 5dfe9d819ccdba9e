"""What a server tells of its index and of each image: the half of a remote index that asks no query."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlencode

from lookalike.client.http import Connection, ServerError
from lookalike.client.images import pixels_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lookalike.neighbors.embedding2d import Layout


class RemoteListings:
    """A server's index: what it holds.

    Parameters
    ----------
    connection : Connection
        To the server.
    encoder : str or None
        Which of the index's encoders it is looked at through; None is the index's default.
    """

    def __init__(self, connection: Connection, encoder: str | None = None) -> None:
        self._connection = connection
        self._encoder = encoder

    def __repr__(self) -> str:
        return f"{type(self).__name__}('{self._connection}')"

    def __len__(self) -> int:
        return int(self.info()["images"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; the next question opens another."""
        self._connection.close()

    def info(self) -> dict[str, Any]:
        """Return what the index holds and can do."""
        return self._connection.json("GET", "/api/info")

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
        """Return what is stored of one image, by its id: the columns that the service shows (``label``, ``width``, ...)."""
        return {name: value for name, value in self._image(identity).items() if name != "tags"}

    def tags(self, ids: Sequence[str]) -> list[list[tuple[str, float]]]:
        """Say what the shipped networks see in photos, as :meth:`lookalike.Index.tags` does."""
        return [[(tag["word"], tag["share"]) for tag in self._image(name)["tags"]] for name in ids]

    def _image(self, identity: str) -> dict[str, Any]:
        return self._connection.json("GET", f"/api/image?id={quote(identity, safe='')}")

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

    def _pages(self, path: str, name: str, params: dict[str, str]) -> Iterator[dict[str, Any]]:
        """Yield the entries of a listing, page by page."""
        offset: int | None = 0
        while offset is not None:
            page = self._connection.json("GET", f"{path}?{urlencode({**params, 'offset': offset, 'limit': 1000})}")
            yield from page[name]
            offset = page["next"]
