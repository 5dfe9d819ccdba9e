"""One version of an index that many threads ask at once: what they encode and search at the same time is done together."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lookalike.encoders.base import Encoder
from lookalike.index.manifest import Manifest
from lookalike.index.reader import IndexReader
from lookalike.index.schema import FACTS, Facts
from lookalike.neighbors.exact import Database
from lookalike.server.batching import Batcher

#: Rows whose facts are held in memory, a few hundred bytes each; those of larger indexes are read when they are asked for.
MAX_STORED_ROWS = 1_000_000
#: Images whose facts are held because they were asked for recently, and images of one call that are answered from there.
MAX_RECENT, MAX_RECENT_ROWS = 20_000, 1000
#: The name of a stage -> a context that times it.
Stage = Callable[[str], AbstractContextManager[Any]]

_STORED = (*FACTS, "facts_crc32")
#: Rows of one batch: of queries, of images to encode, and of distances to all images.
MAX_QUERIES, MAX_IMAGES, MAX_TABLES = 256, 64, 32


class SharedIndex(IndexReader):
    """An index that many threads ask at once: what they encode and search at the same time is done together.

    Parameters
    ----------
    path, manifest
        As of :class:`~lookalike.index.reader.Index`.
    stage : callable, optional
        Given ``encode``, ``search`` or ``compare``, returns a context that times it.
    """

    def __init__(self, path: Path, manifest: Manifest, stage: Stage = nullcontext) -> None:
        super().__init__(path, manifest)
        self.stage = stage
        self._recent: dict[int, Facts] = {}
        #: What gathers calls, by what they do.
        self.batchers: dict[str, Batcher] = {}
        self._shared: dict[str, Database] = {}
        self._opening = threading.Lock()
        #: Held while what the first query needs is made, so that only one makes it.
        self.preparing = threading.Lock()
        #: Which kinds of questions were answered before, and so have nothing to learn any more.
        self.learnt: set[Hashable] = set()

    @cached_property
    def encoder(self) -> Encoder:
        """The index's encoder; calls of ``encode`` at the same time share one pass."""
        plain = IndexReader(self.path, self.manifest).encoder
        shared = copy.copy(plain)
        stage = self.stage

        def encode(images: NDArray[np.uint8], _: object) -> NDArray[Any]:
            with stage("encode"):
                return plain.encode(images)

        batcher = Batcher(encode, MAX_IMAGES)
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
            if self.manifest.rows <= MAX_STORED_ROWS and set(columns) <= set(_STORED):
                return self._everything.select(list(columns)).take(self._stored_places[at])
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
    def _stored_places(self) -> NDArray[np.int64]:
        """The place of each key, ascending, among the facts that are held in memory."""
        return np.argsort(self._everything["key"].to_numpy())

    @cached_property
    def _places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All keys, ascending, and at which place of the dataset the row of each is."""
        keys = super()._read(["key"])["key"].to_numpy()
        order = np.argsort(keys)
        return keys[order], order

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
                    Batcher(nearest, MAX_QUERIES),
                    Batcher(distances, MAX_TABLES),
                )
                self._shared[plain.distance] = cast("Database", _SharedDatabase(plain, *gathered))
                for name, batcher in zip(("search", "compare"), gathered, strict=True):
                    self.batchers[f"{name} {plain.distance}"] = batcher
            return self._shared[plain.distance]

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
        self.measure = plain.measure

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
