"""An index <-> the map kept in it: each image's place in the plane, and the hill that it lies on.

The map of an encoder is one sealed file in the index's folder, ``map-CONTENT.sealed``. Its name says which descriptors it was
made of, so that the map of an older state is never taken for that of the present one. It isn't made unasked.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lookalike.diffusion import Neighbours
from lookalike.errors import UsageError
from lookalike.graph import graph_of
from lookalike.layout import ATTRACTING, EPOCHS, Layout, find_hills, lay_out, principal_places
from lookalike.sealed import BrokenSealError, Sealed, sealing
from lookalike.store import only_writer, sweep
from lookalike.vectors import ENDING, MAP, content_id

if TYPE_CHECKING:
    from lookalike.index import Index

#: Epochs where most images had a place before: enough for the new ones to find theirs.
EPOCHS_AGAIN = 100


def open_map(index: Index) -> Layout | None:
    """Open the map of an index.

    Parameters
    ----------
    index : Index
        Looked at through the encoder that the map is of.

    Returns
    -------
    Layout or None
        In the order of the descriptors. None where there is no sound one of these very descriptors.
    """
    with suppress(OSError, BrokenSealError, ValueError, KeyError):
        sealed = Sealed(index.path / f"{MAP}{content_id(index.passport)}{ENDING}")
        if sealed.shape("places") == (len(index), 2):
            return Layout(np.array(sealed.array("places")), np.array(sealed.array("hills")))
    return None


def make_map(
    index: Index,
    *,
    seed: int | None = None,
    anew: bool = False,
    on_note: Callable[[str], None] | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Layout:
    """Return the map of an index, as it was stored, or made now and stored.

    Parameters
    ----------
    index : Index
        Looked at through the encoder that the map is to be of.
    seed : int, optional
        Of what is drawn at random, 0 by default. Another than the stored map's makes it anew.
    anew : bool
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
        If somebody else is writing the index, or it can't be read.
    OSError
        If the disk refuses.
    """
    note = on_note or (lambda _: None)
    report = on_progress or (lambda *_: None)
    if len(index) < 3:
        raise UsageError(f"{index.path}: holds {len(index)} images; a map needs three or more")
    stored = None if anew or seed not in (None, _seed_of(index)) else open_map(index)
    if stored is not None:
        return stored
    graph = graph_of(index, asked=True, on_note=on_note, on_progress=lambda *done: report("neighbours", *done))
    nearest = Neighbours(graph.neighbours.rows[:, :ATTRACTING], graph.neighbours.squares[:, :ATTRACTING])
    start = None if anew or seed is not None else _earlier_places(index, nearest)
    if start is None:
        note(f"laying out {len(index):,} images")
        start, epochs = principal_places(index.descriptors), EPOCHS
    else:
        note("the collection has changed since its map was made; moving what is new to its place")
        epochs = EPOCHS_AGAIN
    spread = lay_out(
        nearest, start, epochs=epochs, seed=seed or 0, on_progress=lambda *done: report("laying out", *done)
    )
    unit = float(np.abs(spread).max()) or 1.0
    places = (spread / unit).astype(np.float32)
    layout = Layout(places, find_hills(places))
    _keep(index, layout, {"unit": unit, "seed": seed or 0})
    return layout


def _keep(index: Index, layout: Layout, facts: dict[str, float]) -> None:
    stated = {"encoder": index.passport.encoder, "fingerprint": index.passport.fingerprint, **facts}
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {
        "places": ("<f4", layout.places.shape),
        "hills": ("<u2", layout.hills.shape),
        "keys": ("<i8", (len(index),)),
    }
    with only_writer(index.path):
        # Read first: the file of an index that has moved on meanwhile is swept with what it belongs to.
        keys = index.keys
        with sealing(index.path / f"{MAP}{content_id(index.passport)}{ENDING}", stated, shapes) as arrays:
            arrays["places"][:] = layout.places
            arrays["hills"][:] = layout.hills
            arrays["keys"][:] = keys
        sweep(index.path)


def _seed_of(index: Index) -> int | None:
    """Return the seed of the stored map; None where there is none."""
    with suppress(OSError, BrokenSealError, ValueError, KeyError):
        return int(Sealed(index.path / f"{MAP}{content_id(index.passport)}{ENDING}").facts["seed"])
    return None


def _earlier_places(index: Index, neighbours: Neighbours) -> NDArray[np.float32] | None:
    """Return where to begin: where an earlier map has each image, and new ones amid their neighbours."""
    found: list[tuple[int, NDArray[np.int64], NDArray[np.bool_], NDArray[np.float32]]] = []
    for file in index.path.glob(f"{MAP}*{ENDING}"):
        with suppress(OSError, BrokenSealError, ValueError, KeyError):
            sealed = Sealed(file)
            if sealed.facts["fingerprint"] == index.passport.fingerprint:
                keys, places = sealed.array("keys"), sealed.array("places") * np.float32(sealed.facts["unit"])
                order = np.argsort(keys)
                at = order[np.minimum(np.searchsorted(keys, index.keys, sorter=order), len(keys) - 1)]
                known = keys[at] == index.keys
                found.append((int(known.sum()), at, known, places))
    if not found:
        return None
    many, at, known, places = max(found, key=lambda one: one[0])
    if many < len(index) / 2:
        return None  # more is new than isn't: from nothing it becomes better
    start = np.where(known[:, None], places[at], np.float32(0))
    for _ in range(8):  # a new one's neighbours may all be new, too
        if known.all():
            break
        new = np.flatnonzero(~known)
        there = known[neighbours.rows[new]]
        counts = there.sum(axis=1)
        sums = (start[neighbours.rows[new]] * there[:, :, None]).sum(axis=1)
        placed = counts > 0
        start[new[placed]] = sums[placed] / counts[placed, None]
        known = known.copy()
        known[new[placed]] = True
    return start


__all__ = ["make_map", "open_map"]
