"""An id of the index -> the image it was made of. No other file is ever read from the disk for a client."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from pathlib import PurePosixPath

from lookalike.collections.arrays import image_hash
from lookalike.collections.columns import Entry
from lookalike.collections.open import Collection
from lookalike.collections.tasks import read_entry
from lookalike.errors import ImageError, UsageError
from lookalike.imaging.encode import to_png
from lookalike.imaging.limits import Limits
from lookalike.index.reader import IndexReader
from lookalike.index.reopen import collection_now


class UnknownImageError(UsageError):
    """There is no image of that id in the index."""


class Originals:
    """Reads the images of one version of an index by their ids.

    Parameters
    ----------
    index : IndexReader
        Whose images.
    limits : Limits
        Of which ``bytes`` counts.
    """

    def __init__(self, index: IndexReader, limits: Limits) -> None:
        self.index = index
        self.limits = limits
        self._lock = threading.Lock()
        self._found: tuple[Collection | None, Mapping[str, Entry | int]] | None = None

    def row(self, identity: str) -> int:
        """Return the row of an image.

        Parameters
        ----------
        identity : str
            Its id.

        Returns
        -------
        int
            Row of the index's descriptors.

        Raises
        ------
        UnknownImageError
            If the index has none of that id.
        """
        row = self.index.row_of(identity)
        if row is None:
            raise UnknownImageError(f"no image {identity!r} in the index; ids are those of search results")
        return row

    def read(self, identity: str) -> tuple[bytes, str]:
        """Return the file that an image was read from, if it still is what was indexed.

        Parameters
        ----------
        identity : str
            Its id.

        Returns
        -------
        (bytes, str)
            The file, and its name without folders. Of an image of an array, a PNG.

        Raises
        ------
        UnknownImageError
            If the index has none of that id.
        ImageError
            If the file is gone or has changed.
        """
        row = self.row(identity)
        (facts,) = self.index.facts([row])
        collection, places = self._collection()
        if collection is None:
            raise ImageError(
                f"{identity}: the collection can't be reached any more; only the thumbnail is left", "gone"
            )
        place = places.get(identity)
        if place is None:  # of a further frame, its file
            place = places.get(identity.rpartition("#")[0])
        if place is None:
            raise ImageError(f"{identity}: no longer in the collection; run lookalike index again", "gone")
        if isinstance(place, Entry):
            content = read_entry(place, identity, self.limits)
            is_same = hashlib.sha256(content).hexdigest() == facts["hash"]
            name = PurePosixPath(place.id).name
        else:
            assert collection.array_ is not None
            image = collection.array_[place]
            is_same = image_hash(image) == facts["hash"]
            content, name = to_png(image), f"{PurePosixPath(identity).name or 'image'}.png"
        if not is_same:
            raise ImageError(f"{identity}: changed since it was indexed; run lookalike index again", "changed")
        return content, name

    def _collection(self) -> tuple[Collection | None, Mapping[str, Entry | int]]:
        """Return the collection as it is now, and where each of its images is: its file, or its place in an array."""
        with self._lock:
            if self._found is None:
                collection = collection_now(self.index)
                places: dict[str, Entry | int] = {}
                if collection is not None and collection.array_ is None:
                    places.update((entry.id, entry) for entry in collection.entries or [])
                elif collection is not None:
                    places.update((name, at) for at, name in reversed(list(enumerate(collection.ids))))
                self._found = collection, places
            return self._found
