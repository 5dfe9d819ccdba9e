"""Descriptors + facts + manifest <-> one Lance dataset. How it is stored: docs/storage.md."""

from __future__ import annotations

import json
import os
import re
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from lookalike.collections.folder import as_text
from lookalike.collections.folder import id_of as as_id
from lookalike.encoders.base import Encoder
from lookalike.encoders.registry import is_encoder_name
from lookalike.encoders.serialize import load as load_encoder
from lookalike.errors import IndexStoreError, LookalikeError, UsageError, unknown_name
from lookalike.imaging.decode import Limits, from_thumbnail
from lookalike.index.manifest import (
    MANIFEST,
    DamagedIndexError,
    Manifest,
    facts_crc32,
    keys_crc32,
    open_dataset,
    read_manifest,
    reading,
)
from lookalike.index.schema import FACTS, REFUSED, Facts, descriptors_of, duplicate_keys, facts_of, sorted_indices
from lookalike.index.vectors import CROSSOVER_BYTES, keep_vectors, open_lists, open_vectors
from lookalike.mapped import ChecksumError, MappedArrays
from lookalike.neighbors.distances import DISTANCES
from lookalike.neighbors.exact import Database
from lookalike.neighbors.ivf import FLOOR, InvertedFile

T = TypeVar("T")
#: How to search.
HOW = ("auto", "exact", "approximate")
_FEW = 4096  # rows that are looked up one by one; more are read with all others


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
    known = index._known_ids
    return next((name for name in (typed, as_id(typed), *index._names_of(typed)) if name in known), typed)


class IndexReader:
    """A stored collection, open for reading: its rows, descriptors, thumbnails and nearest neighbours.

    Attributes
    ----------
    path : Path
        Its folder.
    manifest : Manifest
        What it was made of, looked at through one of its encoders.
    """

    #: The process in which Lance was first used. Its threads aren't in one forked from that: it waits for ever there, or crashes.
    _lance_runs_in: ClassVar[int | None] = None

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._made: dict[str, Any] = {}
        self._making: dict[str, threading.RLock] = {}
        self._lock = threading.Lock()
        self._lengths: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return self.manifest.count

    def __repr__(self) -> str:
        p = self.manifest
        return (
            f"{type(self).__name__}({str(self.path)!r}: {p.count:,} images, {p.encoder} {p.dimension}-d, {p.distance})"
        )

    @property
    def limits(self) -> Limits:
        """What reading one image may cost, as the index was told: what it holds may be asked for."""
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
        made: T = self._made[name]
        return made

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
    def ids(self) -> list[str]:
        """One an indexed image, in the order of the descriptors."""
        return list(self._table["id"].take(self._rows).to_pylist())

    @cached_property
    def labels(self) -> NDArray[np.str_] | None:
        """One an indexed image, empty where an image has none; None if no image has one."""
        labels = [facts.label or "" for facts in self._facts(range(len(self)))]
        return np.array(labels, np.str_) if any(labels) else None

    @cached_property
    def marks(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The key and the descriptor's check of each indexed image: a descriptor that changes changes these."""
        checks = self._table[f"{self.manifest.view.column}_crc32"].to_numpy()[self._rows]
        return self._keys, checks.astype(np.int64)

    @cached_property
    def descriptors(self) -> NDArray[Any]:
        """The descriptors as the encoder gave them, float32 (packed codes uint8), shape (count, dimension); read-only.

        Each is checked against its CRC-32, so that a changed byte on the disk is an error and not another answer. Of a
        large index they are mapped from the file that the first search left (:mod:`lookalike.index.vectors`).
        """
        if self._vectors is not None:
            return self._vectors.array("descriptors")
        out = self._assembled()
        self._lengths = keep_vectors(self.path, self.manifest, out, self._keys)
        return out

    @cached_property
    def _vectors(self) -> MappedArrays | None:
        return open_vectors(self.path, self.manifest)

    @cached_property
    def _lists(self) -> InvertedFile | None:
        return open_lists(self.path, self.manifest)

    def _assembled(self) -> NDArray[Any]:
        """Put the descriptors together from the dataset, each checked."""
        column = self.manifest.view.column
        keys = self._keys
        place = np.argsort(keys)  # of each key, in the order of the rows
        out, done = np.empty((len(self), self.manifest.dimension), self.manifest.view.dtype), 0
        with self._reading():
            # Small batches in few buffers touch little fresh memory, which costs more than the copy into `out`.
            for batch in self._dataset.to_batches(
                ["key", column, f"{column}_crc32"], batch_size=1024, batch_readahead=2, io_buffer_size=2**24
            ):
                found, there = descriptors_of(batch, column)
                done += len(found)
                if done > len(out):
                    break
                at = np.searchsorted(keys, batch["key"].to_numpy()[there], sorter=place)
                out[place[at]] = found
        if done != len(self):
            raise self._damage(f"it doesn't hold {len(self):,} descriptors")
        out.flags.writeable = False
        return out

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
        table = self.descriptors
        if self._vectors is not None and "lengths" in self._vectors:
            self._lengths = self._vectors.array("lengths")
        return Database(table, distance, self._lengths)

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
            where there are lists, those of :meth:`lookalike.neighbors.ivf.InvertedFile.told`.
        """
        size = self.manifest.count * self.manifest.dimension * np.dtype(self.manifest.view.dtype).itemsize
        found: dict[str, Any] = {"auto": "exact", "crossover_bytes": CROSSOVER_BYTES}
        if self._lists is None:
            how_large = "under" if size < CROSSOVER_BYTES else "but no lists that fit; index again:"
            found["why"] = f"{size / 1e6:,.0f} MB of descriptors, {how_large} the {CROSSOVER_BYTES / 1e6:,.0f} MB"
            return found
        k = min(10, len(self))
        if self._probes(k, self.manifest.distance) is None:
            found["why"] = f"recall@{k} stays below {FLOOR} even where half of all lists are looked into"
        else:
            found |= {"auto": "approximate", "why": f"recall@{k} is at least {FLOOR}, measured against exact search"}
        return found | self._lists.told()

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

    def facts(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return what is stored of some indexed images.

        Parameters
        ----------
        rows : sequence of int
            Rows of ``descriptors``.

        Returns
        -------
        list of dict
            Keys ``id``, ``position`` (the row), ``label``, ``caption``, ``metadata`` (dict or None), ``width``,
            ``height``, ``size`` (bytes), ``hash``, ``frame``, ``mtime_ns``.
        """
        return [
            {
                "id": facts.id,
                "position": row,
                "label": facts.label,
                "caption": facts.caption,
                "metadata": None if facts.metadata is None else json.loads(facts.metadata),
                "width": facts.width,
                "height": facts.height,
                "size": facts.size,
                "hash": facts.hash,
                "frame": facts.frame,
                "mtime_ns": facts.mtime_ns,
            }
            for row, facts in zip(rows, self._facts(rows), strict=True)
        ]

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
        with self._reading():
            return [from_thumbnail(data) for data in self.thumbnail_bytes(rows)]

    def thumbnail_bytes(self, rows: Sequence[int]) -> list[bytes]:
        """Return the stored pictures of some indexed images as the files they are kept as.

        Parameters
        ----------
        rows : sequence of int
            Rows of ``descriptors``.

        Returns
        -------
        list of bytes
            A PNG or JPEG each.
        """
        keys = self._keys_of(rows)
        table = self._read(["key", "thumbnail", "thumbnail_crc32"], keys)
        with self._reading():
            found = dict(zip(table["key"].to_pylist(), table["thumbnail"].to_pylist(), strict=True))
            if table["thumbnail_crc32"].to_pylist() != [None if p is None else zlib.crc32(p) for p in found.values()]:
                raise self._damage("a thumbnail isn't what was written")
            return [found[key] for key in keys]

    def files(self) -> list[dict[str, Any]]:
        """Return every file of the collection, in its order, and what became of it.

        Returns
        -------
        list of dict
            Keys ``path``, ``outcome``, ``stage`` and ``reason`` (None if it was indexed). Outcomes: docs/reading.md.
        """
        stored = self._everything
        checks = self._table[f"{self.manifest.view.column}_crc32"].to_pylist()
        again = duplicate_keys(stored) if self.manifest.outcomes.get("duplicate") else set()
        first: dict[str | None, str] = {}
        rows = []
        for facts, check in zip(stored, checks, strict=True):
            outcome, stage, reason = facts.outcome, facts.stage, facts.reason
            if facts.key in again:
                outcome, stage, reason = "duplicate", "index", f"{facts.id}: same bytes as {first[facts.hash]}"
            elif outcome == "indexed" and check in (None, REFUSED):
                outcome, stage, reason = (
                    "blank",
                    "encode",
                    f"{facts.id}: {self.manifest.encoder} has no descriptor for it",
                )
            if facts.outcome == "indexed":
                first.setdefault(facts.hash, facts.id)
            rows.append({"path": facts.id, "outcome": outcome, "stage": stage, "reason": reason})
        return rows

    def failures(self) -> list[dict[str, Any]]:
        """Return the files that have no descriptor.

        Returns
        -------
        list of dict
            As :meth:`files`.
        """
        found = ("indexed", "duplicate", "caption")
        return [row for row in self.files() if row["outcome"] not in found] if self.manifest.failed else []

    def why(self, file: str | Path) -> dict[str, Any]:
        """Say what became of one file; :func:`lookalike.index.reopen.changed_since` tells whether it has changed since.

        Parameters
        ----------
        file : str or Path
            A path relative to the collection, or any path that leads into it.

        Returns
        -------
        dict
            As of :meth:`files`, with what is known of it: ``frame``, ``hash``, ``size``, ``mtime_ns``, ``width``, ``height``,
            ``label``, ``caption``, ``metadata``, and ``encoders`` (those that have a descriptor).

        Raises
        ------
        UsageError
            If the index doesn't know it; the message says what may be the reason.
        """
        names = [as_id(str(file)), *self._names_of(file)]
        places = {facts.id: i for i, facts in reversed(list(enumerate(self._everything)))}
        found = next((places[name] for name in names if name in places), None)
        if found is None:
            raise UsageError(f"{file}: {self.path} doesn't know it: {self._why_unknown(names[-1])}")
        facts = self._everything[found]
        row = self.files()[found]
        held = {c.column for c in self.manifest.columns}
        (has,) = self._read([f"{c}_crc32" for c in held], [facts.key]).to_pylist()
        return row | {
            "frame": facts.frame,
            "hash": facts.hash,
            "size": facts.size,
            "mtime_ns": facts.mtime_ns,
            "width": facts.width,
            "height": facts.height,
            "label": facts.label,
            "caption": facts.caption,
            "metadata": None if facts.metadata is None else json.loads(facts.metadata),
            "encoders": sorted(c for c in held if (has[f"{c}_crc32"] or REFUSED) != REFUSED),
        }

    @cached_property
    def _known_ids(self) -> frozenset[str]:
        return frozenset(self.ids)

    def _names_of(self, file: str | Path) -> list[str]:
        """Return the ids that a path may stand for: a link by its own name before the file that it leads to."""
        text, page = as_text(str(file)), ""
        if frame := re.fullmatch(r"(.*)(#\d+)", text, re.DOTALL):
            text, page = frame.groups()
        path, source = Path(text), Path(self.manifest.source)
        roots = [source, self.path.resolve().parent, *([source.parent] if source.is_file() else [])]
        found = []
        for whole in (path.parent.resolve() / path.name, path.resolve()):
            found += [whole.relative_to(root).as_posix() for root in roots if whole.is_relative_to(root)]
            found.append(whole.as_posix())
        plain = os.path.normpath(text).replace(os.sep, "/")
        found += [plain.removeprefix(f"{Path(self.manifest.collection).as_posix()}/"), plain]
        return [as_id(name) + page for name in dict.fromkeys(found)]

    def _why_unknown(self, name: str) -> str:
        if any(part.startswith(".") for part in name.split("/")) and not self.manifest.reading.get("hidden"):
            return "its name or folder is hidden (index with --hidden to take such files)"
        if self.manifest.reading.get("include") or self.manifest.reading.get("exclude"):
            return "--include or --exclude may leave it out, or it is newer than the last run; index again"
        if (Path(self.manifest.source) / name).exists():
            return f"it is newer than the last run; index again: lookalike index {self.manifest.collection}"
        return f"no such file in {self.manifest.collection}; lookalike files lists all it knows"

    # What is stored ----------------------------------------------------------------------------------------------

    @property
    def _dataset(self) -> Any:
        """The rows of one version: what is written meanwhile doesn't show in it."""
        if IndexReader._lance_runs_in not in (None, os.getpid()):
            raise IndexStoreError(
                f"{self.path}: Lance, which reads it, doesn't run in a process that was forked after it was used; start "
                "the process by multiprocessing.get_context('spawn'), or open the index only there"
            )
        IndexReader._lance_runs_in = os.getpid()
        return self._opened

    @cached_property
    def _opened(self) -> Any:
        return open_dataset(self.path, self.manifest)

    @cached_property
    def _table(self) -> Any:
        """What the rows' order takes, sorted by it, and the encoder's checks: of exactly the rows that were written."""
        table = self._read(["key", "id", "frame", "position", f"{self.manifest.view.column}_crc32"])
        keys = table["key"].to_numpy()
        if (len(keys), keys_crc32(keys)) != (self.manifest.rows, self.manifest.keys_crc32):
            raise self._damage("its rows aren't those that were written")
        with self._reading():
            return table.take(sorted_indices(table))

    @cached_property
    def _rows(self) -> NDArray[np.int64]:
        """The rows of the table that have a descriptor: row ``i`` of the descriptors is row ``_rows[i]`` there."""
        there = self._table[f"{self.manifest.view.column}_crc32"].fill_null(REFUSED).to_numpy() != REFUSED
        rows = np.flatnonzero(there)
        if len(rows) != len(self):
            raise self._damage(f"{len(rows):,} images have a descriptor, not {len(self):,}")
        return rows

    @property
    def keys(self) -> NDArray[np.int64]:
        """The key of each indexed image's row in the dataset, in the order of the descriptors."""
        return self._keys

    @cached_property
    def _keys(self) -> NDArray[np.int64]:
        if self._vectors is not None:
            return self._vectors.array("keys")
        keys: NDArray[np.int64] = self._table["key"].to_numpy()[self._rows]
        return keys

    def _keys_of(self, rows: Sequence[int]) -> list[int]:
        """Return the keys of some rows; of few, only what is needed is read of a large index."""
        if self._vectors is None and self._lists is not None and len(rows) < _FEW:
            with suppress(ChecksumError):
                return [int(key) for key in self._lists.keys(rows)]
        return [int(key) for key in self._keys[list(rows)]]

    @cached_property
    def _everything(self) -> list[Facts]:
        """The facts of all rows of the table."""
        return self._facts_by_key(self._table["key"].to_pylist(), None)

    def _facts(self, rows: Sequence[int]) -> list[Facts]:
        keys = self._keys_of(rows)
        return self._facts_by_key(keys, keys if len(keys) < _FEW else None)

    def _facts_by_key(self, keys: list[int], read: list[int] | None) -> list[Facts]:
        """Return the facts of these rows, each checked to say what was written."""
        table = self._read([*FACTS, "facts_crc32"], read)
        found = {facts.key: facts for facts in facts_of(table)}
        checks = dict(zip(found, table["facts_crc32"].to_pylist(), strict=True))
        facts = [found[key] for key in keys]
        for one in facts:
            if checks[one.key] != facts_crc32(one):
                raise self._damage(f"what it says about the image {one.id!r} isn't what was written")
        return facts

    def _read(self, columns: Sequence[str], keys: Sequence[int] | None = None) -> Any:
        some = None if keys is None else f"key IN ({','.join(map(str, sorted(set(keys))))})" if keys else "false"
        with self._reading():
            return self._dataset.to_table(list(columns), filter=some, batch_size=max(1, self.manifest.rows))

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            with reading(self.path):
                yield
        except DamagedIndexError as e:
            raise self._as_it_is(e) from e

    def _as_it_is(self, damage: DamagedIndexError) -> IndexStoreError:
        """Tell damage from what another run has replaced since this was opened."""
        newest, mine = read_manifest(self.path), self.manifest
        if (newest.dataset_version, newest.written) == (mine.dataset_version, mine.written):
            return damage
        return IndexStoreError(f"{self.path}: the index was written since it was opened; open it again")

    def _damage(self, reason: str) -> IndexStoreError:
        return self._as_it_is(DamagedIndexError(self.path, reason))


__all__ = ["IndexReader", "Manifest", "id_of", "index_of"]
