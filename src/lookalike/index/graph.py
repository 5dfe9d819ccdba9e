"""An index <-> the neighbour graph kept in it, true to its descriptors or not used.

The graph of an encoder is one file in the index's folder, ``graph-COLUMN-CRC.npz``. The manifest names it with its size
and CRC-32, so that it becomes visible, and goes, as everything else in an index does. It says of each image which
descriptor it speaks of (the row's key and the descriptor's check); where these aren't the index's own, images have come,
gone or changed since, and it is brought up to date before it is used.
"""

from __future__ import annotations

import io
import logging
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.atomic import replace_file
from lookalike.errors import IndexStoreError, UsageError
from lookalike.index.lock import only_writer
from lookalike.index.manifest import read_manifest, write_manifest
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
    Diffusion
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
    """Return the stored graph if it is true to the index, or one that was made so and stored."""
    stored = _read(index, note)
    if stored is not None and np.array_equal(stored[1], np.arange(len(stored[0].neighbours))):
        return stored[0]
    if stored is None and len(index) > UNASKED and not asked:
        raise UsageError(
            f"{index.path}: has no neighbour graph yet, and one of {len(index):,} images takes minutes; make it once: "
            f"lookalike index {index.manifest.collection} -o {index.path} --graph"
        )
    if asked:
        note("making the neighbour graph true to the descriptors")
    elif stored is None:
        note("making the neighbour graph, once; lookalike index ... --graph keeps it true from then on")
    else:
        note("the neighbour graph is older than the descriptors; bringing it up to date")
    graph = _make(index, stored, on_progress)
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
    if wanted is False:
        if manifest.graphs:
            with only_writer(path):
                write_manifest(path, replace(read_manifest(path), graphs={}))
                sweep(path)
        return
    columns = set(manifest.graphs) | ({manifest.default} if wanted else set())
    for column in manifest.columns:
        if column.column in columns and column.complete and column.count > 1:
            graph_of(IndexReader(path, manifest.with_encoder(column.column, path)), asked=True, on_note=on_note)
            manifest = read_manifest(path)


def _make(
    index: IndexReader,
    stored: tuple[NeighborGraph, NDArray[np.int64]] | None,
    on_progress: Callable[[int, int], None] | None,
) -> NeighborGraph:
    known, places = (None, None) if stored is None else (stored[0].neighbours, stored[1])
    neighbours = find_neighbours(
        index.database(), index.descriptors, known=known, places=places, on_progress=on_progress
    )
    return prepare_diffusion(neighbours)


def _read(index: IndexReader, note: Callable[[str], None]) -> tuple[NeighborGraph, NDArray[np.int64]] | None:
    """Return the stored graph, and where each image of the index is in it: -1 for one that it doesn't speak of.

    One that isn't what was written is no loss, as it can be made again; it is as if there were none.
    """
    manifest = index.manifest
    entry = manifest.graphs.get(manifest.view.column)
    if entry is None or entry["fingerprint"] != manifest.fingerprint:
        return None
    file = index.path / str(entry["file"])
    data = file.read_bytes() if file.is_file() else b""
    if [len(data), zlib.crc32(data)] != [entry["bytes"], entry["crc32"]]:
        note(f"{file.name} isn't what was written; it is made anew")
        return None
    arrays = np.load(io.BytesIO(data), allow_pickle=False)
    graph = NeighborGraph(Neighbours(arrays["neighbours"], arrays["squares"]), arrays["basis"], arrays["spectrum"])
    then = {pair: row for row, pair in enumerate(zip(arrays["keys"].tolist(), arrays["checks"].tolist(), strict=True))}
    now = zip(*(column.tolist() for column in index.marks), strict=True)
    return graph, np.array([then.get(pair, -1) for pair in now], np.int64)


def _keep(index: IndexReader, graph: NeighborGraph, note: Callable[[str], None]) -> None:
    """Store a graph in the index; where that can't be done it is used all the same."""
    keys, checks = index.marks
    buffer = io.BytesIO()
    np.savez(
        buffer,
        keys=keys,
        checks=checks,
        neighbours=graph.neighbours.rows,
        squares=graph.neighbours.squares,
        basis=graph.basis,
        spectrum=graph.spectrum,
    )
    data = buffer.getvalue()
    check, column = zlib.crc32(data), index.manifest.view.column
    file = f"graph-{column}-{check:08x}.npz"
    entry: dict[str, Any] = {
        "file": file,
        "bytes": len(data),
        "crc32": check,
        "fingerprint": index.manifest.fingerprint,
        "dataset_version": index.manifest.dataset_version,
        "images": len(index),
        "neighbours": NEIGHBOURS,
    }
    try:
        with only_writer(index.path):
            now = read_manifest(index.path)
            if now.dataset_version != index.manifest.dataset_version:
                return  # of an older state than what is there now
            with replace_file(index.path / file) as f:
                f.write(data)
            write_manifest(index.path, replace(now, graphs=now.graphs | {column: entry}))
            sweep(index.path)
    except IndexStoreError as e:
        note(f"the neighbour graph was made but not kept: {e}")


__all__ = ["graph_of", "refresh_graphs"]
