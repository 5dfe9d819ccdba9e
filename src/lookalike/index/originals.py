"""Rows of an index -> the pictures themselves, and their keypoints, which are kept once they were found.

A picture is read from where it was indexed, as long as that file is the same; its thumbnail stands in for one that has
gone or changed. Keypoints lie in the index's folder under the picture's own hash, ``keypoints-SIDE-POINTS/ab/HASH.npz``:
they can't grow old, belong to no commit, and the folder may be deleted at any time. Those of pictures that have gone are swept
when the collection is indexed again.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.atomic import claim, replace_file
from lookalike.cores import usable_cores
from lookalike.encoders.keypoints import POINTS, SIDE, Keypoints, detect_keypoints
from lookalike.errors import CollectionError
from lookalike.index.artifacts import KEYPOINTS
from lookalike.index.reopen import collection_now

if TYPE_CHECKING:
    from lookalike.collections.collection import Collection
    from lookalike.index.reader import IndexReader

#: Details kept in memory, at most; each takes some 130 KB.
MAX_KEPT = 4000
#: Far more than the keypoints of one picture take.
_MAX_BYTES = 2**22


class Originals:
    """The pictures of an index.

    Parameters
    ----------
    index : IndexReader
        Any.
    """

    def __init__(self, index: IndexReader) -> None:
        self.index = index
        self._details: dict[int, Keypoints] = {}

    @cached_property
    def _collection(self) -> tuple[Collection | None, dict[str, int]]:
        """The collection as it is now, and where each id is in it."""
        collection = collection_now(self.index)
        return collection, {} if collection is None else {name: i for i, name in enumerate(collection.ids)}

    def read(self, rows: Sequence[int]) -> list[NDArray[np.uint8]]:
        """Return pictures of any size; thumbnails of those that can't be read as they were indexed.

        Parameters
        ----------
        rows : sequence of int
            Rows of the index's descriptors.

        Returns
        -------
        list of ndarray of uint8
            Of shape (h, w) or (h, w, 3).
        """
        pictures = [self._read_same(facts) for facts in self.index.facts(rows)]
        return [
            self.index.thumbnails([row])[0] if picture is None else picture
            for row, picture in zip(rows, pictures, strict=True)
        ]

    def _read_same(self, facts: dict[str, Any]) -> NDArray[np.uint8] | None:
        """Return the picture that was indexed, by its hash; None where it has gone, or another has its name."""
        collection, places = self._collection
        place = places.get(facts["id"])
        if collection is not None and place is not None:
            with suppress(CollectionError, OSError):
                return collection.read_same(place, facts["hash"] or "")
        return None

    def details(self, rows: Sequence[int]) -> list[Keypoints]:
        """Return the keypoints of pictures; those of each are found once.

        Parameters
        ----------
        rows : sequence of int
            Rows of the index's descriptors.

        Returns
        -------
        list of Details

        Raises
        ------
        UsageError
            If the extra ``local`` isn't installed.
        """
        missing = [row for row in rows if row not in self._details]
        if len(self._details) + len(missing) > MAX_KEPT:
            self._details = {row: self._details[row] for row in rows if row in self._details}
        if missing:
            with ThreadPoolExecutor(usable_cores()) as pool:  # reading, OpenCV and matrices leave the others their turn
                self._details.update(
                    zip(missing, pool.map(self._stored, missing, self.index.facts(missing)), strict=True)
                )
        return [self._details[row] for row in rows]

    def _stored(self, row: int, facts: dict[str, Any]) -> Keypoints:
        digest = facts["hash"] or ""
        frame = facts["id"].rpartition("#")[2] if "#" in facts["id"] else "0"
        folder = self.index.path / f"{KEYPOINTS.name}-{SIDE}-{POINTS}" / digest[:2]
        file = folder / f"{digest}-{frame if frame.isdecimal() else 0}.npz"
        # A changed byte is noticed, and costs a moment.
        with suppress(OSError, ValueError, KeyError, zipfile.BadZipFile):
            stored = _stored_details(file)
            if stored is not None:
                return stored
        picture = self._read_same(facts)
        keypoints = detect_keypoints(self.index.thumbnails([row])[0] if picture is None else picture)
        if digest and picture is not None:  # of the very bytes that the name is made of, and of no other's
            with suppress(OSError):  # an index that can't be written is searched all the same
                claim(self.index.path, folder.parent.name)
                folder.mkdir(parents=True, exist_ok=True)
                with replace_file(file) as f:
                    np.savez(f, places=keypoints.places.astype(np.float16), descriptors=keypoints.descriptors)
        return keypoints


def _stored_details(file: Path) -> Keypoints | None:
    """Read stored keypoints; None where they aren't what is stored, so that a file can't fill the memory."""
    if not file.is_file() or file.stat().st_size > _MAX_BYTES:
        return None
    with np.load(file, allow_pickle=False) as arrays:
        if sum(entry.file_size for entry in arrays.zip.infolist()) > _MAX_BYTES:  # unpacked
            return None
        places, descriptors = arrays["places"], arrays["descriptors"]
    fits = places.shape == (len(places), 4) and descriptors.shape == (len(places), 128)
    if not fits or places.dtype != np.float16 or descriptors.dtype != np.uint8 or not np.isfinite(places).all():
        return None
    return Keypoints(places.astype(np.float32), descriptors)


def originals_of(index: IndexReader) -> Originals:
    """Return the pictures of an index, kept with it.

    Parameters
    ----------
    index : IndexReader
        Any.

    Returns
    -------
    Pictures
    """
    return index.cached("pictures", lambda: Originals(index))


__all__ = ["Originals", "originals_of"]
