"""An index's descriptors <-> files beside its dataset that are mapped, so that opening them costs milliseconds.

Lance keeps descriptors in pieces, each with its check beside it; putting them together costs a second for every gigabyte,
each time that an index is opened. So the first search of a large index leaves them as an artifact
(:mod:`lookalike.index.artifacts`), in the order of the index, with their lengths and their rows' keys. The inverted file for
approximate search (:mod:`lookalike.neighbors.ivf`) is one, too; ``lookalike index`` makes it. Where there is none that fits
the manifest, search is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.index.artifacts import IVF, UNSOUND, VECTORS
from lookalike.index.manifest import Manifest
from lookalike.mapped import ChecksumError, MappedArrays, writing_mapped
from lookalike.neighbors.distances.base import lengths_of
from lookalike.neighbors.ivf import InvertedFile
from lookalike.neighbors.ivf_build import write_lists

#: From this size on it is worth it; less is read from the dataset in a few hundredths of a second.
MIN_BYTES = 2**24
#: Descriptors of this size and more get lists unless one says otherwise: below, an exact search costs about as little.
CROSSOVER_BYTES = 2**28


def open_vectors(path: Path, manifest: Manifest) -> MappedArrays | None:
    """Open the file of an index's descriptors, if there is one that fits.

    Parameters
    ----------
    path : Path
        The index's folder.
    manifest : Manifest
        Looking through the encoder.

    Returns
    -------
    MappedArrays or None
        With the arrays ``descriptors``, (count, dimension), ``lengths`` (float64; not of packed codes) and ``keys``
        (int64), all in the order of the index. What is read of it is checked then: not every search reads all.
    """
    kept = VECTORS.read(path, manifest)
    fits = kept is not None and kept.shape("descriptors") == (manifest.count, manifest.dimension)
    return kept if fits else None


def write_vectors(
    path: Path, manifest: Manifest, keys: NDArray[np.int64], fill: Callable[[NDArray[Any]], None]
) -> MappedArrays | None:
    """Leave the descriptors of an index for the next search, if they are many; a disk that refuses is no error.

    Parameters
    ----------
    path : Path
        The index's folder.
    manifest : Manifest
        Looking through the encoder.
    keys : ndarray of int64, shape (m,)
        Of the rows, in the order of the index.
    fill : callable
        Given an array of float32 or uint8, shape (m, d), writes the descriptors there: it is mapped, so that they are in
        memory only as far as there is room.

    Returns
    -------
    MappedArrays or None
        As :func:`open_vectors` returns it; None where the descriptors are few, or the disk refuses.
    """
    view = manifest.view
    shape, kind = (view.count, view.dimension), np.dtype(view.dtype)
    if view.count * view.dimension * kind.itemsize < MIN_BYTES:
        return None
    shapes: dict[str, tuple[Any, tuple[int, ...]]] = {"descriptors": (kind, shape), "keys": ("<i8", keys.shape)}
    if kind != np.uint8:
        shapes["lengths"] = ("<f8", keys.shape)
    try:
        facts = {"encoder": manifest.encoder, "fingerprint": manifest.fingerprint}
        with writing_mapped(VECTORS.file(path, manifest), facts, shapes) as arrays:
            fill(arrays["descriptors"])
            arrays["keys"][:] = keys
            if "lengths" in arrays:
                arrays["lengths"][:] = lengths_of(arrays["descriptors"])
        return VECTORS.read(path, manifest)
    except (OSError, ChecksumError):
        return None


def open_lists(path: Path, manifest: Manifest) -> InvertedFile | None:
    """Open the lists for approximate search, if there are some that fit.

    Parameters
    ----------
    path : Path
        The index's folder.
    manifest : Manifest
        Looking through the encoder.

    Returns
    -------
    Lists or None
        Each list is checked when it is first looked into.
    """
    with suppress(*UNSOUND):
        lists = InvertedFile(MappedArrays(IVF.file(path, manifest)))
        if lists.size == manifest.count:
            return lists
    return None


def keep_lists(
    path: Path,
    manifest: Manifest,
    approximate: bool | None,
    read: Callable[[], tuple[NDArray[np.float32], NDArray[np.int64]]],
    note: Callable[[str], None],
) -> None:
    """Update the inverted file of an index, or remove it; under the writer's lock, once the manifest is in place.

    Parameters
    ----------
    path : Path
        The index's folder.
    manifest : Manifest
        Looking through the encoder.
    approximate : bool or None
        Whether there are to be lists. None goes by what there was, and makes some from ``CROSSOVER_BYTES`` on.
    read : callable
        Returns the descriptors in the order of the index, and their rows' keys.
    note : callable
        Called with a sentence before lists are made, which takes a while.

    Raises
    ------
    OSError
        If the disk refuses.
    """
    view = manifest.view
    if approximate is False:
        IVF.drop(path, manifest)
        return
    own, earlier = IVF.read(path, manifest), list(IVF.others(path, manifest))
    large = view.count * view.dimension * np.dtype(view.dtype).itemsize >= CROSSOVER_BYTES
    if view.dtype != "float32" or view.count < 2 or not (approximate or own or earlier or large):
        return
    with suppress(ChecksumError):
        if own is not None:
            own.check()
            return
    centres = None
    for kept in earlier:
        with suppress(ChecksumError, KeyError):
            if kept.facts["distance"] == view.distance and view.count < 2 * kept.facts["count_learnt"]:
                centres, learnt = np.array(kept.array("centres")), kept.facts["count_learnt"]
    note(f"putting {view.count:,} descriptors into lists for approximate search")
    descriptors, keys = read()
    facts = {"fingerprint": view.fingerprint, "count_learnt": view.count if centres is None else learnt}
    write_lists(IVF.file(path, manifest), descriptors, keys, view.distance, facts=facts, centres=centres)
