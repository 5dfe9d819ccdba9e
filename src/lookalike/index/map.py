"""An index <-> the map kept beside it: each image's place in the plane, and its density cluster.

The map of an encoder is an artifact (:mod:`lookalike.index.artifacts`). It names each image's descriptor: the map of an
older state is never taken for that of the present one, but images that are on it keep their place when the map is made
again. It is made only on request.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import IndexStoreError, UsageError
from lookalike.index.artifacts import ENDING, MAP, UNSOUND
from lookalike.index.graph import graph_of
from lookalike.index.lock import only_writer
from lookalike.mapped import MappedArrays
from lookalike.neighbors.diffusion import Neighbours
from lookalike.neighbors.embedding2d import ATTRACTING, EPOCHS, Layout, density_clusters, embed_2d, spectral_init

if TYPE_CHECKING:
    from lookalike.index.reader import IndexReader

_log = logging.getLogger(__name__)

#: Epochs where most images had a place before: enough for the new ones to find theirs.
EPOCHS_AGAIN = 100


def open_map(index: IndexReader) -> Layout | None:
    """Open the map of an index.

    Parameters
    ----------
    index : IndexReader
        Looked at through the encoder that the map is of.

    Returns
    -------
    Layout or None
        In the order of the descriptors. None where there is no sound one of these very descriptors.
    """
    kept = _stored(index)
    if kept is None or not np.array_equal(kept.array("marks"), _marks(index)):
        return None
    return Layout(np.array(kept.array("positions")), np.array(kept.array("clusters")))


def map_version(index: IndexReader) -> str:
    """Name the descriptors that a map of an index is of; after any change of them it is another name.

    Parameters
    ----------
    index : IndexReader
        Looked at through the encoder.

    Returns
    -------
    str
        Hexadecimal digits: of the descriptors, and of the encoder.
    """
    marks = zlib.crc32(_marks(index).tobytes())
    return f"{marks:08x}-{MAP.file_name(index.manifest).removesuffix(ENDING)[-8:]}"


def make_map(
    index: IndexReader,
    *,
    seed: int | None = None,
    rebuild: bool = False,
    on_note: Callable[[str], None] | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Layout:
    """Return the map of an index, as it was stored, or made now and stored.

    Parameters
    ----------
    index : IndexReader
        Looked at through the encoder that the map is to be of.
    seed : int, optional
        Of what is drawn at random, 0 by default. Another than the stored map's makes it anew.
    rebuild : bool
        Make it from nothing, whatever is stored: the same index and seed then give the same map.
    on_note : callable, optional
        Called with a sentence before something that takes long.
    on_progress : callable, optional
        Called with (what is done, steps done, steps to do).

    Returns
    -------
    Layout
        In the order of the descriptors. Where the collection has changed since the last map was made, images that were
        on it stay about where they were.

    Raises
    ------
    UsageError
        If there are fewer than three images.
    IndexStoreError
        If the index can't be read. If another process is writing it, the map is returned and not kept, and ``on_note`` is called.
    OSError
        If the disk refuses.
    """
    note = on_note or _log.info
    report = on_progress or (lambda *_: None)
    if len(index) < 3:
        raise UsageError(f"{index.path}: holds {len(index)} images; a map needs three or more")
    stored = None if rebuild else _stored(index)
    if stored is not None and seed not in (None, stored.facts["seed"]):
        stored = None
    kept = None if stored is None else open_map(index)
    if kept is not None:
        return kept
    graph = graph_of(index, asked=True, on_note=on_note, on_progress=lambda *done: report("neighbours", *done))
    nearest = Neighbours(graph.neighbours.rows[:, :ATTRACTING], graph.neighbours.squares[:, :ATTRACTING])
    start = _earlier_places(index, stored, nearest)
    if start is None:
        note(f"laying out {len(index):,} images")
        start, epochs = spectral_init(graph, index.descriptors), EPOCHS
    else:
        note("the collection has changed since its map was made; moving what is new to its place")
        epochs = EPOCHS_AGAIN
    spread = embed_2d(
        nearest, start, epochs=epochs, seed=seed or 0, on_progress=lambda *done: report("laying out", *done)
    )
    unit = float(np.abs(spread).max()) or 1.0
    places = (spread / unit).astype(np.float32)
    layout = Layout(places, density_clusters(places))
    try:
        _keep(index, layout, {"unit": unit, "seed": seed or 0})
    except IndexStoreError as e:  # what took minutes is shown all the same
        note(f"the map isn't kept, and will be made again: {e}")
    return layout


def _stored(index: IndexReader) -> MappedArrays | None:
    """Return the stored map, of whatever state of the collection; None if there is none, or it isn't what was written."""
    kept = MAP.read(index.path, index.manifest)
    with suppress(*UNSOUND):
        if kept is not None and {"positions", "clusters", "marks"} <= set(kept.names):
            kept.check()
            return kept
    return None


def _marks(index: IndexReader) -> NDArray[np.int64]:
    """Return of each image what it and its descriptor are: the CRC-32 of both, whatever row of the dataset they are in."""

    def make() -> NDArray[np.int64]:
        table = np.ascontiguousarray(index.descriptors)
        both = [
            (zlib.crc32(identity.encode()) << 31) ^ zlib.crc32(row.data)
            for identity, row in zip(index.ids, table, strict=True)
        ]
        return np.array(both, np.int64)

    return index.cached("marks of the map", make)


def _keep(index: IndexReader, layout: Layout, facts: dict[str, float]) -> None:
    arrays: dict[str, NDArray[Any]] = {
        "positions": layout.positions,
        "clusters": layout.clusters,
        "marks": _marks(index),
    }
    stated = {"encoder": index.manifest.encoder, "fingerprint": index.manifest.fingerprint, **facts}
    with only_writer(index.path):
        if not MAP.keep(index.path, index.manifest, stated, arrays):
            raise IndexStoreError(f"{index.path}: the disk refuses it")


def _earlier_places(
    index: IndexReader, stored: MappedArrays | None, neighbours: Neighbours
) -> NDArray[np.float32] | None:
    """Return where to begin: where the stored map has each image, and new ones amid their neighbours."""
    if stored is None:
        return None
    then = {mark: row for row, mark in enumerate(stored.array("marks").tolist())}
    at = np.array([then.get(mark, -1) for mark in _marks(index).tolist()])
    known = at >= 0
    if known.sum() < len(index) / 2:
        return None  # more is new than isn't: from nothing it becomes better
    places = stored.array("positions") * np.float32(stored.facts["unit"])
    start = np.where(known[:, None], places[at], np.float32(0))
    for _ in range(8):  # a new one's neighbours may all be new, too
        new = np.flatnonzero(~known)
        there = known[neighbours.rows[new]]
        counts = there.sum(axis=1)
        sums = (start[neighbours.rows[new]] * there[:, :, None]).sum(axis=1)
        placed = counts > 0
        start[new[placed]] = sums[placed] / counts[placed, None]
        known[new[placed]] = True
    return start


__all__ = ["make_map", "map_version", "open_map"]
