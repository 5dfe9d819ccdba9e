"""Descriptors + facts + passport <-> one Lance dataset. How it is stored: docs/storage.md."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike import encoders
from lookalike.collection import Collection, open_collection
from lookalike.distances import DISTANCES, Database
from lookalike.encoders import Encoder
from lookalike.errors import IndexStoreError, LookalikeError, UsageError, unknown_name
from lookalike.images import from_png
from lookalike.index_writer import check_target, write_index
from lookalike.passport import (
    DamagedIndexError,
    Passport,
    descriptor_crc32,
    facts_crc32,
    open_dataset,
    read_passport,
    reading,
)

if TYPE_CHECKING:
    from lookalike.search import Match

_LEARN_FROM = 60_000  # an encoder that learns is fitted on at most so many images, evenly spread


@dataclass(frozen=True)
class Summary:
    """What ``build_index`` did, as ``lookalike index --json`` prints it."""

    indexed: int
    failed: int
    seconds: float
    images_per_second: float
    encoder: str
    dimension: int
    path: str


def default_path(source: str | Path) -> Path:
    """Return where the index of a collection lies unless one says otherwise.

    Parameters
    ----------
    source : str or Path
        What :func:`lookalike.open_collection` takes.

    Returns
    -------
    Path
        ``FOLDER/.lookalike`` for a folder, else ``NAME.lookalike``: beside a file, and here for a built-in name.

    Examples
    --------
    >>> default_path("mnist").as_posix(), default_path("mnist:test[0:100]").as_posix()
    ('mnist.lookalike', 'mnist-test.lookalike')
    """
    path = Path(source)
    built_in = re.match(r"mnist(:|\[|$)", str(source))  # open_collection takes the name before a folder of that name
    if built_in or not path.exists():
        path = Path(re.sub(r"\[[\d:]*\]$", "", str(source)))
    if path.is_dir() and not built_in:
        return path / ".lookalike"
    return path.with_name(path.name.replace(":", "-") + ".lookalike")


def build_index(
    collection: str | Path | NDArray[np.generic] | Collection,
    encoder: str | Path | Encoder = "hog",
    path: str | Path | None = None,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    on_summary: Callable[[Summary], None] | None = None,
) -> Index:
    """Encode a collection and store it; an index that was there stays whole until the new one is complete.

    Parameters
    ----------
    collection : str, Path, ndarray or Collection
        What :func:`lookalike.open_collection` takes.
    encoder : str, Path or Encoder
        A name, the folder of a trained one, or the encoder itself; fitted on the collection if it isn't yet.
    path : str or Path, optional
        The index's folder; by default :func:`default_path`.
    on_progress : callable, optional
        Called with (images done, images in all).
    on_summary : callable, optional
        Called once at the end.

    Returns
    -------
    Index
        The new index, open.

    Raises
    ------
    CollectionError, EncoderError
        If the images can't be read or the encoder doesn't fit them.
    IndexStoreError
        If no image could be indexed, the folder holds something else, or the disk refuses.
    """
    begun = time.monotonic()
    if path is None:
        if isinstance(collection, (Collection, np.ndarray)):
            raise UsageError("say where the index goes: build_index(collection, encoder, path)")
        path = default_path(collection)
    path = Path(path)
    check_target(path)
    images = open_collection(collection)
    encoder = _ready(encoder, images)
    dataset, passport = write_index(images, encoder, path, on_progress)
    if on_summary is not None:
        seconds = time.monotonic() - begun
        on_summary(
            Summary(
                indexed=passport.count,
                failed=passport.failed,
                seconds=round(seconds, 3),
                images_per_second=round((passport.count + passport.failed) / seconds, 1),
                encoder=passport.encoder,
                dimension=passport.dimension,
                path=str(path),
            )
        )
    return Index(path, passport, dataset)


def _ready(encoder: str | Path | Encoder, images: Collection) -> Encoder:
    if not isinstance(encoder, Encoder):
        named = isinstance(encoder, str) and encoder in encoders.TABLE
        encoder = encoders.create(str(encoder)) if named else encoders.load(encoder)
    if not encoder.is_fitted:
        encoder.fit(_sample(images) if _learns(encoder) else np.zeros((1, *images.shape), np.uint8))
    encoder.check_images(np.empty((0, *images.shape), np.uint8))
    return encoder


def _learns(encoder: Encoder) -> bool:
    # One that learns has weights to save. The others only take note of the shape: no need to read the images twice.
    return type(encoder)._get_weights is not Encoder._get_weights


def _sample(images: Collection) -> NDArray[np.uint8]:
    step = -(-len(images) // _LEARN_FROM)
    return (images.take(range(0, len(images), step)) if step > 1 else images).array()


def open_index(path: str | Path, *, encoder: str | Path | Encoder | None = None) -> Index:
    """Open an index; only its passport is read until something is asked of it.

    Parameters
    ----------
    path : str or Path
        The folder ``build_index`` made.
    encoder : str, Path or Encoder, optional
        Refuse the index if it was made by another.

    Returns
    -------
    Index
        Open for searching.

    Raises
    ------
    IndexStoreError
        If there is none, it is damaged, a newer version wrote it, or another encoder made it.
    """
    path = Path(path)
    dataset = open_dataset(path)
    index = Index(path, read_passport(path, dataset), dataset)
    if encoder is not None:
        index.check_encoder(encoder)
    return index


class Index:
    """A stored collection: search it, look at it, score it. Made by :func:`build_index` and :func:`open_index`.

    Attributes
    ----------
    path : Path
        Its folder.
    passport : Passport
        What it was made of.
    """

    def __init__(self, path: Path, passport: Passport, dataset: Any) -> None:
        self.path = path
        self.passport = passport
        self._dataset = dataset  # of one version: what is written meanwhile doesn't show in it
        self._databases: dict[str, Database] = {}

    def __len__(self) -> int:
        return self.passport.count

    def __repr__(self) -> str:
        p = self.passport
        return f"Index({str(self.path)!r}: {p.count:,} images, {p.encoder} {p.dimension}-d, {p.distance})"

    def search(
        self,
        query: str | Path | NDArray[np.generic] | Collection,
        k: int = 10,
        *,
        distance: str | None = None,
        resize: bool = False,
    ) -> list[Match]:
        """Find the images nearest to one query image; see :func:`lookalike.search.search` for many.

        Parameters
        ----------
        query : str, Path, ndarray or Collection
            One image: a file, ``mnist:test[7]``, an array (h, w) or (h, w, 3).
        k : int
            How many.
        distance : {"cosine", "euclidean"}, optional
            By default the encoder's own.
        resize : bool
            Bring an image of another size to the index's.

        Returns
        -------
        list of Match
            The nearest first; equal distances by position.

        Raises
        ------
        UsageError
            If the query holds several images, or ``k`` is out of range.
        """
        from lookalike.search import search

        results = search(self, query, k, distance=distance, resize=resize)
        if len(results) != 1:
            raise UsageError(f"one query image expected, {len(results)} given; use lookalike.search.search for many")
        return results[0].matches

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder that made the index, from the index's own folder."""
        try:
            encoder = encoders.load(self.path / self.passport.encoder_folder)
        except LookalikeError as e:
            raise DamagedIndexError(self.path, f"its encoder can't be loaded: {e}") from e
        if encoder.fingerprint != self.passport.fingerprint:
            raise DamagedIndexError(self.path, "its folder holds another encoder than the one that made it")
        return encoder

    def check_encoder(self, encoder: str | Path | Encoder) -> None:
        """Refuse an encoder that didn't make this index.

        Parameters
        ----------
        encoder : str, Path or Encoder
            A name, a folder, or the encoder itself.

        Raises
        ------
        IndexStoreError
            If its name or its fingerprint is another.
        """
        ours = f"{self.passport.encoder} ({self.passport.fingerprint})"
        if isinstance(encoder, str) and encoder in encoders.TABLE:
            given, same = encoder, encoder == self.passport.encoder
        else:
            loaded = encoder if isinstance(encoder, Encoder) else encoders.load(encoder)
            given, same = f"{loaded.name} ({loaded.fingerprint})", loaded.fingerprint == self.passport.fingerprint
        if not same:
            raise IndexStoreError(
                f"{self.path}: made by the encoder {ours}, not by {given}; their descriptors can't be compared. "
                f"Leave out --encoder, or index again: lookalike index {self.passport.collection} --encoder ..."
            )

    @cached_property
    def ids(self) -> list[str]:
        """One an indexed image, in the order of the descriptors."""
        return [fact["id"] for fact in self.facts(range(len(self)))]

    @cached_property
    def labels(self) -> NDArray[np.str_] | None:
        """One an indexed image, or None if the collection had none."""
        labels = [fact["label"] for fact in self.facts(range(len(self)))]
        return None if None in labels else np.array(labels, np.str_)

    @cached_property
    def descriptors(self) -> NDArray[np.float32]:
        """The descriptors as the encoder gave them, shape (count, dimension); read-only.

        Each is checked against its CRC-32, so that a changed byte on the disk is an error and not another answer.
        """
        name, dimension = self.passport.encoder, self.passport.dimension
        out, done = np.empty((len(self), dimension), np.float32), 0
        with self._reading():
            # Small batches in few buffers touch little fresh memory, which costs more than the copy into `out`.
            for batch in self._dataset.to_batches(
                [name, f"{name}_crc32"], batch_size=1024, batch_readahead=2, io_buffer_size=2**24
            ):
                found = batch[name].flatten().to_numpy().reshape(-1, dimension)  # flatten leaves out those without
                if descriptor_crc32(found) != batch[f"{name}_crc32"].drop_null().to_pylist():
                    raise DamagedIndexError(self.path, "a descriptor isn't what was written")
                out[done : done + len(found)] = found
                done += len(found)
        if done != len(self):
            raise DamagedIndexError(self.path, f"it holds {done:,} descriptors, not {len(self):,}")
        out.flags.writeable = False
        return out

    def database(self, distance: str | None = None) -> Database:
        """Return the descriptors made ready for a distance; made once, then kept.

        Parameters
        ----------
        distance : {"cosine", "euclidean"}, optional
            By default the encoder's own.

        Returns
        -------
        Database
            To search or to score.
        """
        distance = distance or self.passport.distance
        if distance not in DISTANCES:
            raise unknown_name("distance", distance, DISTANCES)
        if distance not in self._databases:
            self._databases[distance] = Database(self.descriptors, distance)
        return self._databases[distance]

    def facts(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return what is stored of some indexed images.

        Parameters
        ----------
        rows : sequence of int
            Rows of ``descriptors``.

        Returns
        -------
        list of dict
            Keys ``id``, ``position``, ``label`` (str or None).
        """
        with reading(self.path):
            found: list[dict[str, Any]] = self._facts.take(list(rows)).to_pylist()
        for fact in found:
            if fact.pop("facts_crc32") != facts_crc32(fact["id"], fact["position"], fact["label"]):
                raise DamagedIndexError(
                    self.path, f"what it says about image {fact['position']} isn't what was written"
                )
        return found

    def thumbnails(self, rows: Sequence[int]) -> list[NDArray[np.uint8]]:
        """Return the stored pictures of some indexed images, none of whose sides is over 128 pixels.

        Parameters
        ----------
        rows : sequence of int
            Rows of ``descriptors``.

        Returns
        -------
        list of ndarray of uint8
            Of shape (h, w) or (h, w, 3).
        """
        positions = [fact["position"] for fact in self.facts(rows)]
        with self._reading():
            return [from_png(png) for png in self._dataset.take(positions, ["thumbnail"])["thumbnail"].to_pylist()]

    def files(self) -> list[dict[str, Any]]:
        """Return every image of the collection, in its order, and what became of it.

        Returns
        -------
        list of dict
            Keys ``path``, ``outcome`` (``indexed`` or ``failed``), ``stage`` and ``reason`` (None if it was indexed).
        """
        rows = self._read(["id", "outcome", "stage", "reason"]).to_pylist()
        return [{"path": row.pop("id"), **row} for row in rows]

    def failures(self) -> list[dict[str, Any]]:
        """Return the images that have no descriptor.

        Returns
        -------
        list of dict
            As :meth:`files`.
        """
        return [row for row in self.files() if row["outcome"] != "indexed"] if self.passport.failed else []

    @cached_property
    def _facts(self) -> Any:
        """The table of facts of the indexed images, one a descriptor; unchecked."""
        columns = ["id", "position", "label", "facts_crc32"]
        if self.passport.failed:
            table = self._read([*columns, "outcome"])
            with reading(self.path):
                table = table.filter(np.array(table["outcome"].to_pylist()) == "indexed").select(columns)
        else:
            table = self._read(columns)
        if len(table) != self.passport.count:
            raise DamagedIndexError(
                self.path, f"{len(table):,} images are marked as indexed, not {self.passport.count:,}"
            )
        return table

    def _read(self, columns: list[str]) -> Any:
        with self._reading():
            return self._dataset.to_table(columns, batch_size=self.passport.count + self.passport.failed)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            with reading(self.path):
                yield
        except DamagedIndexError as e:
            with reading(self.path):
                newest = self._dataset.latest_version
            if newest == self._dataset.version:
                raise
            raise IndexStoreError(f"{self.path}: the index was made anew since it was opened; open it again") from e


__all__ = ["Index", "Passport", "Summary", "build_index", "default_path", "open_index"]
