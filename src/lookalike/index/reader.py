"""Descriptors + facts + manifest <-> one Lance dataset. How it is stored: docs/storage.md."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from lookalike.encoders.base import Encoder
from lookalike.encoders.registry import is_encoder_name
from lookalike.encoders.serialize import load as load_encoder
from lookalike.errors import IndexStoreError, LookalikeError, UsageError, unknown_name
from lookalike.imaging.limits import Limits
from lookalike.index.manifest import MANIFEST, Manifest
from lookalike.index.rows import FEW, RowReader
from lookalike.index.schema import (
    descriptors_of,
)
from lookalike.index.vectors import CROSSOVER_BYTES, open_lists, open_vectors, write_vectors
from lookalike.mapped import ChecksumError, MappedArrays
from lookalike.neighbors.distances import DISTANCES
from lookalike.neighbors.exact import Database
from lookalike.neighbors.ivf import FLOOR, InvertedFile

T = TypeVar("T")
#: How to search.
HOW = ("auto", "exact", "approximate")


def index_of(file: str | Path) -> Path | None:
    """Find the index of the folder that a file lies in, or of one above it.

    Parameters
    ----------
    file : str or Path
        Any path.

    Returns
    -------
    Path or None
        The nearest ``.lookalike`` folder that is an index.
    """
    folders = Path(file).absolute().parents
    return next((folder / ".lookalike" for folder in folders if (folder / ".lookalike" / MANIFEST).is_file()), None)


def id_of(index: IndexReader, typed: str) -> str:
    """Return the id that a person means who types a path.

    Parameters
    ----------
    index : IndexReader
        Of this machine.
    typed : str
        An id; or a path that leads into the collection, from the current folder or from the root: ``./cats/1.jpg``.

    Returns
    -------
    str
        The id; what was typed where the index has no such image.
    """
    rows = (index.row_of(name) for name in (typed, *index._names_of(typed)))
    row = next((row for row in rows if row is not None), None)
    return typed if row is None else index.ids_of([row])[0]


def own_row(index: IndexReader, path: str) -> int | None:
    """Return the row of a file that is one of the collection's own.

    Parameters
    ----------
    index : IndexReader
        Of this machine.
    path : str
        From the current folder or from the root.

    Returns
    -------
    int or None
        None where it lies elsewhere.
    """
    file, source = Path(path), Path(index.manifest.source)
    for whole in (file.parent.resolve() / file.name, file.resolve()):
        below = [whole.relative_to(source).as_posix()] if whole.is_relative_to(source) else []
        for name in (*below, whole.as_posix()):
            if (row := index.row_of(name)) is not None:
                return row
    return None


class IndexReader(RowReader):
    """A stored collection, open for reading: its rows, descriptors, thumbnails and nearest neighbours.

    Attributes
    ----------
    path : Path
        Its folder.
    manifest : Manifest
        What it was made of, looked at through one of its encoders.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        super().__init__(path, manifest)
        self._made: dict[str, Any] = {}
        self._making: dict[str, threading.RLock] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        p = self.manifest
        return (
            f"{type(self).__name__}({str(self.path)!r}: {p.count:,} images, {p.encoder} {p.dimension}-d, {p.distance})"
        )

    @property
    def limits(self) -> Limits:
        """What reading one image may cost: the limits that the index was made with."""
        return Limits(**self.manifest.reading.get("limits", {}))

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle what it is, and nothing that was made of it: another process or copy opens the same state."""
        return type(self), (self.path, self.manifest)

    def cached(self, name: str, make: Callable[[], T]) -> T:
        """Return what was made of this index under a name: at the first call, then as long as the index is open.

        Threads that call meanwhile wait for it. If it fails, the error is raised to who made it, and the next tries again.

        Parameters
        ----------
        name : str
            Of what is made, and of all that it depends on beside the index.
        make : callable
            Makes it. What it makes shouldn't hold the index, or a closed one stays in memory until a garbage collection.

        Returns
        -------
        object
            The same at each call, whichever thread made it.
        """
        if name not in self._made:
            with self._lock:
                making = self._making.setdefault(name, threading.RLock())
            with making:
                if name not in self._made:
                    self._made[name] = make()
        value: T = self._made[name]
        return value

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder that made the descriptors, from the index's own folder."""
        try:
            encoder = load_encoder(self.path / self.manifest.view.encoder_folder)
        except LookalikeError as e:
            raise self._damage(f"its encoder can't be loaded: {e}") from e
        if encoder.fingerprint != self.manifest.fingerprint:
            raise self._damage("its folder holds another encoder than the one that made it")
        return encoder

    def with_encoder(self, encoder: str | Path | Encoder) -> Self:
        """Return the index as another of its encoders sees it.

        Parameters
        ----------
        encoder : str, Path or Encoder
            A name or a column of the index, a trained one's folder, or the encoder itself.

        Returns
        -------
        IndexReader
            The same, looked at through that encoder.

        Raises
        ------
        IndexStoreError
            If none of its encoders has that name or that fingerprint, or it isn't complete yet.
        """
        held = {c.column: c for c in self.manifest.columns}
        name = str(encoder)
        if isinstance(encoder, Encoder) or (name not in held and not is_encoder_name(name)):
            given = encoder if isinstance(encoder, Encoder) else load_encoder(encoder)
            same = [c.column for c in held.values() if c.fingerprint == given.fingerprint]
            name = same[0] if same else f"{given.name} ({given.fingerprint})"
        return type(self)(self.path, self.manifest.with_encoder(name, self.path))

    @cached_property
    def descriptors(self) -> NDArray[Any]:
        """The descriptors as the encoder gave them, float32 (packed codes uint8), shape (count, dimension); read-only.

        Each is checked against its CRC-32, so that a changed byte on the disk is an error and not another answer. Of a
        large index they are mapped from the file that the first search left (:mod:`lookalike.index.vectors`).
        """
        mapped = self._mapped("descriptors")
        if mapped is not None:
            return mapped
        written = write_vectors(self.path, self.manifest, self.keys, self._assemble)
        if written is not None:
            self._vectors = written
            return written.rows("descriptors", 0, len(self), checked=False)  # it was checked on its way there
        out = np.empty((len(self), self.manifest.dimension), self.manifest.view.dtype)
        self._assemble(out)
        out.flags.writeable = False
        return out

    def descriptors_of(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[Any]:
        """Return a copy of the descriptors of some rows; of a large index no more is read than that takes.

        Parameters
        ----------
        rows : sequence of int
            Rows of ``descriptors``.

        Returns
        -------
        ndarray of float32 or uint8, shape (r, dimension)
        """
        if "descriptors" not in vars(self) and self._vectors is not None:
            with suppress(ChecksumError):  # made again below
                return self._vectors.take("descriptors", rows)
        return np.asarray(self.descriptors[list(rows)])

    def _mapped(self, name: str) -> NDArray[Any] | None:
        """Return a whole array of the mapped file, checked; one that isn't what was written is made again, with all others."""
        if self._vectors is not None and name in self._vectors:
            try:
                return self._vectors.array(name)
            except ChecksumError:
                self._vectors = None
        return None

    @cached_property
    def _vectors(self) -> MappedArrays | None:
        return open_vectors(self.path, self.manifest)

    @cached_property
    def _lists(self) -> InvertedFile | None:
        return open_lists(self.path, self.manifest)

    def _assemble(self, out: NDArray[Any]) -> None:
        """Put the descriptors together from the dataset, each checked."""
        column = self.manifest.view.column
        keys = self.keys
        place = np.argsort(keys)  # of each key, in the order of the rows
        done = 0
        with self._reading():
            # Small batches in few buffers touch little fresh memory, which costs more than the copy into `out`.
            for batch in self._dataset.to_batches(
                ["key", column, f"{column}_crc32"], batch_size=1024, batch_readahead=2, io_buffer_size=2**24
            ):
                matrix, there = descriptors_of(batch, column)
                done += len(matrix)
                if done > len(out):
                    break
                at = np.searchsorted(keys, batch["key"].to_numpy()[there], sorter=place)
                out[place[at]] = matrix
        if done != len(self):
            raise self._damage(f"it doesn't hold {len(self):,} descriptors")

    def database(self, distance: str | None = None) -> Database:
        """Return the descriptors made ready for a distance; made once, then kept.

        Parameters
        ----------
        distance : {"cosine", "euclidean", "inner product"}, optional
            By default the encoder's own.

        Returns
        -------
        Database
            To search or to score.
        """
        distance = distance or self.manifest.distance
        if distance not in DISTANCES:
            raise unknown_name("distance", distance, DISTANCES)
        return self.cached(f"database of {distance}", lambda: self._database(distance))

    def _database(self, distance: str) -> Database:
        if "descriptors" in vars(self) or self._vectors is None:
            return self._whole_database(distance)
        return cast("Database", _LateDatabase(distance, self.manifest, partial(self._whole_database, distance)))

    def _whole_database(self, distance: str) -> Database:
        return Database(self.descriptors, distance, self._mapped("lengths"))

    def nearest(
        self,
        descriptors: NDArray[Any],
        k: int,
        *,
        distance: str | None = None,
        how: str = "auto",
        rows: NDArray[Any] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], str]:
        """Return the ``k`` nearest images of every query descriptor.

        Parameters
        ----------
        descriptors : ndarray of float32, shape (n, d), or of uint8, shape (n, bytes)
            As the index's encoder gives them.
        k : int
            How many, 1 to the number indexed, or to that of ``rows``.
        distance : str, optional
            By default the encoder's own.
        how : {"auto", "exact", "approximate"}
            ``auto`` is approximate where the index has lists (``lookalike index --approximate``, and unasked from
            ``vectors.CROSSOVER_BYTES`` on) for this distance, whose recall meter vouches for so many answers.
        rows : ndarray of bool, shape (count,), or of int, optional
            The only rows that may be answered; the search is exact then.

        Returns
        -------
        rows : ndarray of int64, shape (n, k)
            By (distance, row).
        distances : ndarray of float32, shape (n, k)
            Exact ones, also of answers found approximately.
        how : str
            ``exact`` or ``approximate``.

        Raises
        ------
        IndexStoreError
            If an approximate search is asked for and the lists are damaged.
        UsageError
            If it is asked for and there is none, or as of :meth:`lookalike.neighbors.exact.Database.nearest`.
        """
        if how not in HOW:
            raise unknown_name("way to search", how, HOW)
        wanted = distance or self.manifest.distance
        probes = None
        if how != "exact" and 0 < k <= len(self) and (rows is None or how == "approximate"):
            probes = self._probes(k, wanted)
            if how == "approximate" and (probes is None or rows is not None):
                raise self._no_lists(k, wanted, rows)
        if probes is not None and self._lists is not None:
            try:
                return *self._lists.search(descriptors, k, probes), "approximate"
            except ChecksumError as e:
                if how == "approximate":
                    raise IndexStoreError(
                        f"{self.path}: its lists for approximate search aren't what was written; make them again with: "
                        f"lookalike index {self.manifest.collection} -o {self.path} --approximate"
                    ) from e
                self._lists = None
        return *self.database(distance).nearest(descriptors, k, rows), "exact"

    def searching(self) -> dict[str, Any]:
        """Say how a search is done unless one says otherwise, and what the recall meter found.

        Returns
        -------
        dict
            Keys ``auto`` (``exact`` or ``approximate``, for 10 answers), ``why`` (a few words), ``crossover_bytes``; and
            where there are lists, those of :meth:`lookalike.neighbors.ivf.InvertedFile.facts`.
        """
        size = self.manifest.count * self.manifest.dimension * np.dtype(self.manifest.view.dtype).itemsize
        report: dict[str, Any] = {"auto": "exact", "crossover_bytes": CROSSOVER_BYTES}
        if self._lists is None:
            how_large = "under" if size < CROSSOVER_BYTES else "but no lists that fit; index again:"
            report["why"] = f"{size / 1e6:,.0f} MB of descriptors, {how_large} the {CROSSOVER_BYTES / 1e6:,.0f} MB"
            return report
        k = min(10, len(self))
        if self._probes(k, self.manifest.distance) is None:
            report["why"] = f"recall@{k} stays below {FLOOR} even where half of all lists are looked into"
        else:
            report |= {"auto": "approximate", "why": f"recall@{k} is at least {FLOOR}, measured against exact search"}
        return report | self._lists.facts()

    def _probes(self, k: int, distance: str) -> int | None:
        fits = self._lists is not None and self._lists.distance == distance
        return self._lists.probes(k) if fits and self._lists is not None else None

    def _no_lists(self, k: int, distance: str, rows: NDArray[Any] | None) -> UsageError:
        if rows is not None:
            return UsageError("a search among some rows only is exact; leave out --approximate or the filter")
        if self._lists is not None and self._lists.distance == distance:
            return UsageError(
                f"{self.path}: its recall meter doesn't vouch for {k:,} approximate answers; ask for fewer, or search exactly"
            )
        return UsageError(
            f"{self.path}: holds no lists for approximate search by {distance} that fit its last run; make them with: "
            f"lookalike index {self.manifest.collection} -o {self.path} --approximate"
        )

    @cached_property
    def keys(self) -> NDArray[np.int64]:
        """The key of each indexed image's row in the dataset; of a large index from the mapped file."""
        mapped = self._mapped("keys")
        return super().keys if mapped is None else mapped

    def _keys_of(self, rows: Sequence[int]) -> list[int]:
        """Return the keys of some rows; of few, only what is needed is read of a large index."""
        if self._vectors is None and self._lists is not None and len(rows) < FEW:
            with suppress(ChecksumError):
                return [int(key) for key in self._lists.keys(rows)]
        return super()._keys_of(rows)


class _LateDatabase:
    """A :class:`Database` of a mapped file, which is read and checked when distances are first asked for.

    An approximate search goes by its own file, and most answers take no more than how large the database is.
    """

    def __init__(self, distance: str, manifest: Manifest, make: Callable[[], Database]) -> None:
        self.distance, self.size, self.dimension = distance, manifest.count, manifest.dimension
        self.measure = DISTANCES[distance]  # what a distance says of itself, it says without descriptors
        self._make: Callable[[], Database] | None = make
        self._made: Database | None = None
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        with self._lock:
            if self._made is None and self._make is not None:
                self._made, self._make = self._make(), None  # nor does it hold the index any longer
        return getattr(self._made, name)


__all__ = ["IndexReader", "Manifest", "id_of", "index_of"]
