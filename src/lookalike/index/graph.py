"""An index <-> the neighbour graph kept beside it, which is used only if it is of the index's very descriptors.

The graph is an artifact (:mod:`lookalike.index.artifacts`). It says of each image which descriptor it speaks of: the row's
key and the descriptor's check. Where there is none of the index's own state, one of an earlier state is brought up to date:
images that have come, gone or changed since are placed among those that haven't.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import IndexStoreError, UsageError
from lookalike.index.artifacts import GRAPH, UNSOUND
from lookalike.index.lock import only_writer
from lookalike.index.manifest import read_manifest
from lookalike.index.sweep import sweep
from lookalike.neighbors.diffusion import NEIGHBOURS, NeighborGraph, Neighbours, find_neighbours, prepare_diffusion

if TYPE_CHECKING:
    from lookalike.index.reader import IndexReader

_log = logging.getLogger(__name__)

#: Of more images a graph isn't made unasked: it takes minutes, and grows with their square.
UNASKED = 100_000


def graph_of(
    index: IndexReader,
    *,
    asked: bool = False,
    on_note: Callable[[str], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> NeighborGraph:
    """Return the neighbour graph of an index, as it was stored, or brought up to date and stored.

    Parameters
    ----------
    index : IndexReader
        Looked at through the encoder that the graph is of.
    asked : bool
        Make it of any number of images: somebody has asked for the graph itself.
    on_note : callable, optional
        Called with a sentence where it must be made, or be made anew.
    on_progress : callable, optional
        Called with (images done, images to do).

    Returns
    -------
    NeighborGraph
        Row ``i`` is row ``i`` of the descriptors. Kept with the index, so that the next call costs nothing.

    Raises
    ------
    UsageError
        If there is none yet of a collection so large that one should be asked for, or there are fewer than two images.
    """
    note = on_note or _log.info
    return index.cached("graph", lambda: _true_graph(index, asked, note, on_progress))


def _true_graph(
    index: IndexReader, asked: bool, note: Callable[[str], None], on_progress: Callable[[int, int], None] | None
) -> NeighborGraph:
    """Return the stored graph if it is of these descriptors; else update or make it, and store it."""
    stored = _read(index, note)
    if stored is not None and np.array_equal(stored[1], np.arange(len(stored[0].neighbours))):
        return stored[0]
    if stored is None and len(index) > UNASKED and not asked:
        raise UsageError(
            f"{index.path}: has no neighbour graph yet, and one of {len(index):,} images takes minutes; make it once: "
            f"lookalike index {index.manifest.collection} -o {index.path} --graph"
        )
    if asked:
        note("updating the neighbour graph")
    elif stored is None:
        note("making the neighbour graph, once; lookalike index ... --graph keeps it up to date")
    else:
        note("the neighbour graph is older than the descriptors; bringing it up to date")
    known, places = (None, None) if stored is None else (stored[0].neighbours, stored[1])
    neighbours = find_neighbours(
        index.database(), index.descriptors, known=known, positions=places, on_progress=on_progress
    )
    graph = prepare_diffusion(neighbours)
    _keep(index, graph, note)
    return graph


def refresh_graphs(path: Path, *, wanted: bool | None, on_note: Callable[[str], None] | None = None) -> None:
    """Bring the graphs of an index up to date after its descriptors have changed.

    Parameters
    ----------
    path : Path
        The index's folder.
    wanted : bool or None
        True makes one for the encoder that answers; None keeps up to date those that there are; False drops them.
    on_note : callable, optional
        Called with a sentence before something that takes long.
    """
    from lookalike.index.reader import IndexReader

    manifest = read_manifest(path)
    views = [manifest.with_encoder(column.column, path) for column in manifest.columns if column.complete]
    if wanted is False:
        with only_writer(path):
            for view in views:
                GRAPH.drop(path, view)
        return
    for view in views:
        asked = wanted and view.view.column == manifest.default
        is_kept = GRAPH.read(path, view) is not None or any(GRAPH.others(path, view))
        if view.count > 1 and (asked or is_kept):
            graph_of(IndexReader(path, view), asked=True, on_note=on_note)


def _read(index: IndexReader, note: Callable[[str], None]) -> tuple[NeighborGraph, NDArray[np.int64]] | None:
    """Return a stored graph, and where each image of the index is in it: -1 for one that it doesn't speak of.

    One that isn't what was written is no loss, as it can be made again; it is as if there were none.
    """
    file = GRAPH.file(index.path, index.manifest)
    own = GRAPH.read(index.path, index.manifest)
    if own is None and file.exists():
        note(f"{file.name} isn't what was written; it is made anew")
    for kept in filter(None, [own, *GRAPH.others(index.path, index.manifest)]):
        try:
            kept.check()
            graph = NeighborGraph(
                Neighbours(kept.array("neighbours"), kept.array("squares")), kept.array("basis"), kept.array("spectrum")
            )
            pairs = zip(kept.array("keys").tolist(), kept.array("checks").tolist(), strict=True)
        except UNSOUND:
            note(f"{kept.path.name} isn't what was written; it is made anew")
            continue
        then = {pair: row for row, pair in enumerate(pairs)}
        now = zip(*(column.tolist() for column in index.marks), strict=True)
        return graph, np.array([then.get(pair, -1) for pair in now], np.int64)
    return None


def _keep(index: IndexReader, graph: NeighborGraph, note: Callable[[str], None]) -> None:
    """Store a graph beside the index; where that can't be done it is used all the same."""
    keys, checks = index.marks
    arrays: dict[str, NDArray[Any]] = {
        "keys": keys,
        "checks": checks,
        "neighbours": graph.neighbours.rows,
        "squares": graph.neighbours.squares,
        "basis": graph.basis,
        "spectrum": graph.spectrum,
    }
    facts = {"fingerprint": index.manifest.fingerprint, "images": len(index), "neighbours": NEIGHBOURS}
    try:
        with only_writer(index.path):
            if read_manifest(index.path).dataset_version != index.manifest.dataset_version:
                return  # of an older state than what is there now
            if not GRAPH.keep(index.path, index.manifest, facts, arrays):
                note("the neighbour graph was made but not kept: the disk refuses it")
            sweep(index.path)
    except IndexStoreError as e:
        note(f"the neighbour graph was made but not kept: {e}")


__all__ = ["graph_of", "refresh_graphs"]
