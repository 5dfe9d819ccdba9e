"""The newest version of an index: each commit is opened beside the version that answers, and then takes its place."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import cast

import numpy as np

from lookalike.errors import IndexStoreError, LookalikeError, UsageError
from lookalike.index.dataset import open_dataset
from lookalike.index.manifest import MANIFEST, Manifest, read_manifest
from lookalike.index.reader import IndexReader
from lookalike.search.learnt import prepare, words_of
from lookalike.server.shared_index import MAX_STORED_ROWS, SharedIndex, Stage

#: How often a request looks whether a newer version was committed, in seconds.
CHECK_SECONDS = 0.5
#: How long the result of the last check of the data is trusted, in seconds.
TRUST_SECONDS = 1.0
#: Images that are read for such a check, spread over the index.
N_CHECKED = 8
_log = logging.getLogger(__name__)


class LiveIndex:
    """The newest committed version of an index, ready to answer.

    Parameters
    ----------
    path : str or Path
        The index's folder.
    stage : callable
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

    def __init__(self, path: str | Path, stage: Stage = nullcontext) -> None:
        self.path = Path(path)
        self.stage = stage
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
        if encoder not in {*(c.column for c in plain.manifest.columns), *(c.title for c in plain.manifest.columns)}:
            names = ", ".join(c.column for c in plain.manifest.columns)
            raise UsageError(f"the index has no encoder {encoder!r}; it has {names}")
        view = SharedIndex(plain.path, plain.with_encoder(str(encoder)).manifest, self.stage)
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
            return f"{self.path}: the index has been removed; searches use the version in memory"
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
        index = SharedIndex(self.path, read_manifest(self.path), self.stage)
        index.descriptors  # noqa: B018  (checked now, not by the first request; so is what is known of all images)
        if index.manifest.rows <= MAX_STORED_ROWS:
            index.row_of("")
            index.fact_table  # noqa: B018
        index.database()
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
        with suppress(LookalikeError, OSError):
            words_of(index)  # beside the first queries: few of them ask by words

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
