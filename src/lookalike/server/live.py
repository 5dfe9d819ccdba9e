"""An index that is always the newest: opened again, beside the one that answers, whenever a version is committed."""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lookalike.encoders.base import Encoder
from lookalike.errors import IndexStoreError, LookalikeError, UsageError
from lookalike.index.manifest import MANIFEST, Manifest, open_dataset, read_manifest
from lookalike.index.reader import IndexReader
from lookalike.index.schema import FACTS, Facts
from lookalike.neighbors.exact import Database
from lookalike.search.page import prepare
from lookalike.server.batching import Batcher

#: How often a request looks whether a newer version was committed, in seconds.
CHECK_SECONDS = 0.5
#: What was found when it was last looked whether the data can be read is believed for so long, in seconds.
TRUST_SECONDS = 1.0
#: Images that are looked at then, spread over the index.
N_CHECKED = 8
#: Rows whose facts are held in memory, a few hundred bytes each; of more they are read when they are asked for.
MAX_STORED_ROWS = 1_000_000
#: Images whose facts stand ready because they were told lately, and most of one question that is answered from there.
MAX_RECENT, MAX_RECENT_ROWS = 20_000, 1000
_log = logging.getLogger(__name__)
Stage = Callable[[str], AbstractContextManager[Any]]

_NOT_LEFT_OUT = ("indexed", "duplicate", "caption")
_MAX_QUERIES, _MAX_IMAGES, _MAX_TABLES = 256, 64, 32


class SharedIndex(IndexReader):
    """An index that many threads ask at once: what they encode and search at the same time is done together.

    Parameters
    ----------
    path, manifest
        As of :class:`~lookalike.index.reader.Index`.
    stage : callable, optional
        Given ``encode``, ``search`` or ``compare``, returns a context that times it.
    batching : bool
        False answers each call alone; to see what batching is worth.
    """

    def __init__(self, path: Path, manifest: Manifest, stage: Stage = nullcontext, *, batching: bool = True) -> None:
        super().__init__(path, manifest)
        self.stage = stage
        self.batching = batching
        self._recent: dict[int, Facts] = {}
        #: Held while what the first query needs is made, so that only one makes it.
        self.preparing = threading.Lock()
        #: Which kinds of questions were answered before, and so have nothing to learn any more.
        self.learnt: set[Hashable] = set()
        self._listed: dict[str | None, list[dict[str, Any]]] = {}

    def listed(self, outcome: str | None) -> list[dict[str, Any]]:
        """Return files by what became of them, so that paging through them doesn't look at all of them for each page.

        Parameters
        ----------
        outcome : str or None
            Only these; ``left out`` for all that have no descriptor, and None for all.

        Returns
        -------
        list of dict
            As of :meth:`files`; made at the first call.
        """
        if not self._listed:
            by_outcome: dict[str | None, list[dict[str, Any]]] = {None: self.files(), "left out": []}
            for row in by_outcome[None]:
                by_outcome.setdefault(row["outcome"], []).append(row)
            if self.manifest.failed:
                by_outcome["left out"] = [row for row in by_outcome[None] if row["outcome"] not in _NOT_LEFT_OUT]
            self._listed = by_outcome
        return self._listed.get(outcome, [])

    def _batch_size(self, rows: int) -> int:
        return rows if self.batching else 1

    @cached_property
    def encoder(self) -> Encoder:
        """The index's encoder; calls of ``encode`` at the same time share one pass."""
        plain = IndexReader(self.path, self.manifest).encoder
        shared = copy.copy(plain)
        stage = self.stage

        def encode(images: NDArray[np.uint8], _: object) -> NDArray[Any]:
            with stage("encode"):
                return plain.encode(images)

        batcher = Batcher(encode, self._batch_size(_MAX_IMAGES))
        vars(shared)["encode"] = batcher  # the object's own, before the class's
        self.batchers["encode"] = batcher
        return shared

    def _read(self, columns: Sequence[str], keys: Sequence[int] | None = None) -> Any:
        """Read some rows by their place: a look at each of 60,000 keys takes longer than the search."""
        if keys is None or not len(keys):
            return super()._read(columns, keys)
        stored, places = self._places
        wanted = np.unique(np.asarray(keys, np.int64))
        at = np.minimum(np.searchsorted(stored, wanted), len(stored) - 1)
        if not np.array_equal(stored[at], wanted):
            return super()._read(columns, keys)  # what is wrong is said there
        with self._reading():
            if self.manifest.rows <= MAX_STORED_ROWS and set(columns) <= set(self._stored.column_names):
                return self._stored.take(places[at]).select(list(columns))
            return self._dataset.take(places[at].tolist(), list(columns))

    def _facts(self, rows: Sequence[int]) -> list[Facts]:
        """Return what is known of some images; of an answer it is asked twice, once to say it and once for its size."""
        if len(rows) > MAX_RECENT_ROWS:
            return super()._facts(rows)
        recent = self._recent  # never emptied but replaced, so that what is in it for one thread stays
        missing = [row for row in rows if row not in recent]
        if missing:
            if len(recent) > MAX_RECENT:
                recent = self._recent = {}
                missing = list(rows)
            recent.update(zip(missing, super()._facts(missing), strict=True))
        return [recent[row] for row in rows]

    @cached_property
    def _stored(self) -> Any:
        """What is told of every answer, of all rows in the dataset's order."""
        return super()._read([*FACTS, "facts_crc32"]).combine_chunks()  # many chunks make every look-up slow

    @cached_property
    def _places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All keys, ascending, and at which place of the dataset the row of each is."""
        keys = super()._read(["key"])["key"].to_numpy()
        order = np.argsort(keys)
        return keys[order], order

    @cached_property
    def batchers(self) -> dict[str, Batcher]:
        """What gathers calls, by what they do."""
        return {}

    def database(self, distance: str | None = None) -> Database:
        """Return the descriptors; searches by the same distance for as many answers share one product.

        Parameters
        ----------
        distance : str, optional
            By default the encoder's own.

        Returns
        -------
        Database
        """
        with self._opening:
            plain = super().database(distance)
            if plain.distance not in self._shared:
                stage = self.stage  # what is kept of an index refers to this database, and must not keep the index

                def nearest(queries: NDArray[Any], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
                    with stage("search"):
                        return plain.nearest(queries, k)

                def distances(queries: NDArray[Any], _: object) -> NDArray[np.float32]:
                    with stage("compare"):
                        return plain.distances(queries)

                # Where distances to all are asked for, each call's answer is as long as the index.
                gathered = (
                    Batcher(nearest, self._batch_size(_MAX_QUERIES)),
                    Batcher(distances, self._batch_size(_MAX_TABLES)),
                )
                self._shared[plain.distance] = cast("Database", _SharedDatabase(plain, *gathered))
                for name, batcher in zip(("search", "compare"), gathered, strict=True):
                    self.batchers[f"{name} {plain.distance}"] = batcher
            return self._shared[plain.distance]

    @cached_property
    def _opening(self) -> threading.Lock:
        return threading.Lock()

    @cached_property
    def _shared(self) -> dict[str, Database]:
        return {}

    def close(self) -> None:
        """Let the gathering threads end when what they have is answered."""
        for batcher in self.batchers.values():
            batcher.close()


class _SharedDatabase:
    """A :class:`Database` whose plain searches go through a batcher."""

    def __init__(self, plain: Database, nearest: Batcher, distances: Batcher) -> None:
        self._plain, self._nearest, self._distances = plain, nearest, distances
        # Asked for with each answer of a page, for which `__getattr__` is slow.
        self.distance, self.size, self.dimension = plain.distance, plain.size, plain.dimension

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    def nearest(
        self, queries: NDArray[Any], k: int, rows: NDArray[Any] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        if rows is not None:
            return self._plain.nearest(queries, k, rows)
        answer: tuple[NDArray[np.int64], NDArray[np.float32]] = self._nearest(queries, k)
        return answer

    def distances(self, queries: NDArray[Any]) -> NDArray[np.float32]:
        answer: NDArray[np.float32] = self._distances(queries)
        return answer


class LiveIndex:
    """The newest committed version of an index, ready to answer.

    Parameters
    ----------
    path : str or Path
        The index's folder.
    stage, batching
        See :class:`SharedIndex`.

    Attributes
    ----------
    trouble : str or None
        Why the newest state can't be opened, while an older one goes on answering.

    Raises
    ------
    IndexStoreError
        If there is no index to begin with.
    """

    def __init__(self, path: str | Path, stage: Stage = nullcontext, *, batching: bool = True) -> None:
        self.path = Path(path)
        self.stage = stage
        self.batching = batching
        self.trouble: str | None = None
        self._lock = threading.Lock()
        self._reloading, self._reloaded = threading.Lock(), -TRUST_SECONDS
        self._checking = threading.Lock()
        self._checked: tuple[float, str | None] = -TRUST_SECONDS, None
        self._views: dict[str | None, SharedIndex] = {}
        self._stamp: tuple[int, ...] | None = None
        self._looked = 0.0
        self._opening: threading.Thread | None = None
        self._stamp = self._stat()
        first = self._views[None] = self._warm()
        # Beside the first requests, so that the server opens at once.
        threading.Thread(target=self._prepare, args=(first,), name="lookalike-prepare", daemon=True).start()

    def current(self, encoder: str | None = None) -> SharedIndex:
        """Return the index to ask now.

        Parameters
        ----------
        encoder : str, optional
            One of its encoders; by default the one that answers.

        Returns
        -------
        SharedIndex
            Of the newest version that could be opened. It stays good for the request that has it.

        Raises
        ------
        IndexStoreError
            If it has no such encoder.
        """
        self._look()
        with self._lock:
            plain = self._views[None]
            view = plain if encoder == plain.manifest.default else self._views.get(encoder)
        if view is not None:
            return view
        if encoder not in {*(c.column for c in plain.manifest.columns), *(c.encoder for c in plain.manifest.columns)}:
            held = ", ".join(c.column for c in plain.manifest.columns)
            raise UsageError(f"the index has no encoder {encoder!r}; it has {held}")
        view = SharedIndex(plain.path, plain.with_encoder(str(encoder)).manifest, self.stage, batching=self.batching)
        with self._lock:
            if self._views[None] is plain:
                return self._views.setdefault(encoder, view)
        # The version has changed meanwhile: good for this request, and no other must get it.
        return view

    @property
    def gone(self) -> bool:
        """Whether the index isn't where it was; what was opened of it still answers."""
        return self._stat() is None

    def newest(self) -> Manifest | None:
        """Return what is committed now, even where it is too young to answer; None where it can't be read."""
        try:
            return read_manifest(self.path)
        except LookalikeError:
            return None

    def reload(self) -> None:
        """Open the newest version now.

        Raises
        ------
        IndexStoreError
            If there is none.
        """
        with self._reloading:
            stamp = self._stat()
            try:
                self._swap(self._warm(), stamp)
            finally:
                self._reloaded = time.monotonic()

    def reload_if_newer(self) -> None:
        """Open the newest version, for a request that found its version gone; again and again it would find the same.

        Raises
        ------
        IndexStoreError
            If there is none.
        """
        if time.monotonic() - self._reloaded > TRUST_SECONDS:
            self.reload()

    def check(self) -> None:
        """Look whether what is committed can be read, from the disk and not from what was read before.

        Raises
        ------
        IndexStoreError
            If it can't: it is gone, damaged, or too new; what was opened before may still answer.
        """
        if self._checking.acquire(blocking=False):  # who comes meanwhile is told what was found last
            try:
                if time.monotonic() - self._checked[0] >= TRUST_SECONDS:
                    self._checked = time.monotonic(), self._trouble_now()
            finally:
                self._checking.release()
        if self._checked[1] is not None:
            raise IndexStoreError(self._checked[1])

    def _trouble_now(self) -> str | None:
        if self.gone:
            return f"{self.path}: the index is gone; what was opened of it still answers"
        try:
            newest, index = read_manifest(self.path), cast("IndexReader", self._views[None])
            open_dataset(self.path, newest)  # each of its files is there, of its size, with its end
            if newest.dataset_version != index.manifest.dataset_version:
                index = IndexReader(self.path, newest)
            if len(index):
                index.thumbnail_bytes(np.unique(np.linspace(0, len(index) - 1, N_CHECKED).astype(int)).tolist())
        except (LookalikeError, OSError) as e:
            return str(e)
        return None

    def _look(self) -> None:
        now = time.monotonic()
        with self._lock:
            if now - self._looked < CHECK_SECONDS or (self._opening is not None and self._opening.is_alive()):
                return
            self._looked = now
            stamp = self._stat()
            if stamp == self._stamp:
                return
            self._opening = threading.Thread(target=self._reopen, args=(stamp,), name="lookalike-reopen", daemon=True)
            self._opening.start()

    def _reopen(self, stamp: tuple[int, ...] | None) -> None:
        """Make the next version ready while the last one answers."""
        try:
            index = self._warm()
            self._prepare(index)
            self._swap(index, stamp)
        except (LookalikeError, OSError) as e:
            if self.trouble != str(e):
                _log.warning("%s: version %s goes on answering", e, self._views[None].manifest.dataset_version)
            self.trouble = str(e)
            if stamp is None:  # gone: look again until it is back
                return
            with self._lock:
                self._stamp = stamp

    def _warm(self) -> SharedIndex:
        index = SharedIndex(self.path, read_manifest(self.path), self.stage, batching=self.batching)
        index.database()
        index.ids  # noqa: B018  (read now, not by the first request)
        index.encoder  # noqa: B018
        return index

    @staticmethod
    def _prepare(index: SharedIndex) -> None:
        """Make the rest of what a first query would wait for."""
        with suppress(LookalikeError, OSError), index.preparing:  # the query that meets the same trouble tells it
            if len(index):
                prepare(index)
                index.facts([0])
                index.thumbnail_bytes([0])

    def _swap(self, index: SharedIndex, stamp: tuple[int, ...] | None) -> None:
        with self._lock:
            old, self._views = self._views, {None: index}
            self._stamp, self.trouble = stamp, None
        _log.info("%s: version %s answers now", self.path, index.manifest.dataset_version)
        for view in old.values():
            view.close()

    def _stat(self) -> tuple[int, ...] | None:
        try:
            stat = (self.path / MANIFEST).stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns, stat.st_size
