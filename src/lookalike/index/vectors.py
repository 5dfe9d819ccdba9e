"""An index's descriptors <-> files beside its dataset that are mapped, so that opening them costs milliseconds.

Lance keeps descriptors in pieces, each with its check beside it; putting them together costs a second for every gigabyte,
each time that an index is opened. So the first search of a large index leaves them here, in the order of the index, with
their lengths and their rows' keys. The file is named after what it was made of, and never changed; one that is missing,
stale or damaged is made again, from what the manifest vouches for.

The lists for approximate search (:mod:`lookalike.neighbors.ivf`) are such a file too; they are made by ``lookalike index``. Where there
are none that fit the manifest, search is exact. So is the map (:mod:`lookalike.index.map`), and so is whatever else is learnt from
the descriptors when somebody first asks for it, as what distances mean (:func:`cached_artifact`).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.atomic import claimed
from lookalike.index.manifest import Manifest
from lookalike.mapped import ChecksumError, MappedArrays, writing_mapped
from lookalike.neighbors.distances import DISTANCES
from lookalike.neighbors.distances.base import lengths_of
from lookalike.neighbors.ivf import InvertedFile, write_lists

#: From this size on it is worth it; less is read from the dataset in a few hundredths of a second.
LEAST_BYTES = 2**24
#: How such files begin and end.
VECTORS, LISTS, MAP, ENDING = "vectors-", "lists-", "map-", ".sealed"
#: What is learnt when it is first asked for; of what goes by a distance, there is one for each.
DENOISING, VERIFICATION, PAIRS, SILENCE = "denoising-", "verification-", "pairs-", "silence-"
#: Descriptors of this size and more get lists unless one says otherwise: below, an exact search costs about as little.
CROSSOVER_BYTES = 2**28


def content_id(manifest: Manifest) -> str:
    """Say which descriptors an index holds, seen through one encoder: another content, another name.

    Parameters
    ----------
    manifest : Manifest
        Looking through the encoder.

    Returns
    -------
    str
        16 hexadecimal digits, of two CRC-32: of the dataset's version and files, and of the encoder.
    """
    rows = [manifest.dataset_version, manifest.files, manifest.keys_crc32, manifest.rows]
    view = manifest.view
    through = [view.column, view.fingerprint, view.dimension, view.dtype, view.count]
    return "".join(f"{zlib.crc32(json.dumps(part, sort_keys=True).encode()):08x}" for part in (rows, through))


def sealed_names(manifest: Manifest) -> set[str]:
    """Return the names of the sealed files that belong to a manifest, through each of its encoders.

    Parameters
    ----------
    manifest : Manifest
        Any.

    Returns
    -------
    set of str
        Whether there are such files or not.
    """
    views = [replace(manifest, chosen=c.column) for c in manifest.columns if c.complete]
    of_distances = [by_distance(kind, distance) for kind in (PAIRS, SILENCE) for distance in DISTANCES]
    kinds = (VECTORS, LISTS, DENOISING, VERIFICATION, *of_distances)
    copies = {f"{kind}{content_id(view)}{ENDING}" for view in views for kind in kinds}
    return copies | {map_name(view) for view in views}


def by_distance(kind: str, distance: str) -> str:
    """Return how the name of a file of what is learnt by a distance begins.

    Parameters
    ----------
    kind : str
        ``PAIRS`` or ``SILENCE``.
    distance : str
        A name in :data:`lookalike.neighbors.distances.DISTANCES`.

    Returns
    -------
    str
        As ``pairs-cosine-``.
    """
    return f"{kind}{distance.replace(' ', '_')}-"


def map_name(manifest: Manifest) -> str:
    """Return the name of the file of an index's map (:mod:`lookalike.index.map`), which says itself what it is of.

    Parameters
    ----------
    manifest : Manifest
        Looking through the encoder.

    Returns
    -------
    str
        The same as long as the encoder is.
    """
    view = manifest.view
    through = json.dumps([view.column, view.fingerprint, view.dimension, view.dtype])
    return f"{MAP}{view.column}-{zlib.crc32(through.encode()):08x}{ENDING}"


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
    with suppress(OSError, ChecksumError, ValueError, KeyError):
        sealed = MappedArrays(path / f"{VECTORS}{content_id(manifest)}{ENDING}")
        if sealed.shape("descriptors") == (manifest.count, manifest.dimension):
            return sealed
    return None


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
    if view.count * view.dimension * kind.itemsize < LEAST_BYTES:
        return None
    shapes: dict[str, tuple[Any, tuple[int, ...]]] = {"descriptors": (kind, shape), "keys": ("<i8", keys.shape)}
    if kind != np.uint8:
        shapes["lengths"] = ("<f8", keys.shape)
    file = path / f"{VECTORS}{content_id(manifest)}{ENDING}"
    try:
        facts = {"encoder": manifest.encoder, "fingerprint": manifest.fingerprint}
        with writing_mapped(file, facts, shapes) as arrays:
            fill(arrays["descriptors"])
            arrays["keys"][:] = keys
            if "lengths" in arrays:
                arrays["lengths"][:] = lengths_of(arrays["descriptors"])
        return MappedArrays(file)
    except (OSError, ChecksumError):
        return None


def cached_artifact(
    path: Path,
    manifest: Manifest,
    kind: str,
    terms: Mapping[str, Any],
    learn: Callable[[], tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]],
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return what was learnt from an index, as it was kept, or learnt now and kept; a disk that refuses is no error.

    Parameters
    ----------
    path : Path
        The index's folder.
    manifest : Manifest
        Looking through the encoder: of another content, or through another encoder, it is learnt anew.
    kind : str
        How the file begins: one of those that :func:`sealed_names` knows.
    terms : mapping
        All else that it depends on, as JSON takes it: sizes of samples, seeds. Kept under other terms it is learnt anew.
    learn : callable
        Returns facts, as JSON takes them, and arrays.

    Returns
    -------
    facts : dict
    arrays : dict of ndarray
        Read-only and mapped where they were kept; checked to the last byte.
    """
    file = path / f"{kind}{content_id(manifest)}{ENDING}"
    with suppress(OSError, ChecksumError, ValueError, KeyError):
        sealed = MappedArrays(file)
        if sealed.facts["terms"] == terms:
            sealed.check()
            return sealed.facts["learnt"], {name: sealed.array(name) for name in sealed.names}
    facts, arrays = learn()
    if all(array.size for array in arrays.values()):
        with suppress(OSError):
            shapes = {name: (array.dtype, array.shape) for name, array in arrays.items()}
            with writing_mapped(file, {"terms": dict(terms), "learnt": dict(facts)}, shapes) as kept:
                for name, array in arrays.items():
                    kept[name][:] = array
    return dict(facts), dict(arrays)


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
    with suppress(OSError, ChecksumError, ValueError, KeyError, TypeError):
        lists = InvertedFile(MappedArrays(path / f"{LISTS}{content_id(manifest)}{ENDING}"))
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
    """Make the lists of an index true to it, or take them away; under the writer's lock, once the manifest is in place.

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
    own = path / f"{LISTS}{content_id(manifest)}{ENDING}"
    earlier: list[tuple[Path, MappedArrays]] = []
    for file in path.glob(f"{LISTS}*{ENDING}"):
        with suppress(OSError, ChecksumError, ValueError, KeyError):
            sealed = MappedArrays(file)
            if sealed.facts["fingerprint"] == view.fingerprint:
                earlier.append((file, sealed))
    if approximate is False:
        ours = claimed(path)
        for file, _ in earlier:
            if file.name in ours:
                file.unlink(missing_ok=True)
        return
    large = view.count * view.dimension * np.dtype(view.dtype).itemsize >= CROSSOVER_BYTES
    if view.dtype != "float32" or view.count < 2 or not (approximate or earlier or large):
        return
    centres = None
    for file, sealed in earlier:
        with suppress(ChecksumError):
            if file == own:
                sealed.check()
                return
            if sealed.facts["distance"] == view.distance and view.count < 2 * sealed.facts["count_learnt"]:
                centres, learnt = np.array(sealed.array("centres")), sealed.facts["count_learnt"]
    note(f"putting {view.count:,} descriptors into lists for approximate search")
    descriptors, keys = read()
    facts = {"fingerprint": view.fingerprint, "count_learnt": view.count if centres is None else learnt}
    write_lists(own, descriptors, keys, view.distance, facts=facts, centres=centres)
