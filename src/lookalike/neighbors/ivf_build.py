"""Descriptors -> an inverted file on the disk: centres by k-means, lists by nearest centre, and the recall meter's figures.

The method is in :mod:`lookalike.neighbors.ivf`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array, Float64Array, Int64Array
from lookalike.mapped import MappedArrays, writing_mapped
from lookalike.neighbors.distances import DISTANCES
from lookalike.neighbors.distances.base import lengths_of
from lookalike.neighbors.exact import Database
from lookalike.neighbors.ivf import CUTS, FLOOR, InvertedFile, Recall

_SAMPLE = 256  # queries of the meter, each time
_TRAIN_PER_LIST, _TURNS = 32, 8
_MIN_LISTS, _MAX_LISTS = 16, 8192
_SEED = 0
_AT_ONCE = 2**23  # numbers moved or put into lists at a time


def write_lists(
    path: Path,
    descriptors: Float32Array,
    keys: Int64Array,
    distance: str,
    *,
    facts: dict[str, Any] | None = None,
    centres: Float32Array | None = None,
) -> InvertedFile:
    """Make an inverted file, and measure how many of its lists are enough.

    Parameters
    ----------
    path : Path
        The file, put in place whole.
    descriptors : ndarray of float32, shape (m, d)
        In the order of the index; may be mapped. At least 2.
    keys : ndarray of int64, shape (m,)
        Of their rows.
    distance : str
        A name in :data:`lookalike.neighbors.distances.DISTANCES`, but ``hamming``.
    facts : dict, optional
        Kept with it.
    centres : ndarray of float32, shape (lists, d), optional
        Those of an earlier file, where they may go on; learnt by default.

    Returns
    -------
    InvertedFile
        Open.

    Raises
    ------
    OSError
        If the folder or the disk refuses.
    """
    lengths = lengths_of(descriptors)
    if centres is None:
        centres = _learn(descriptors, lengths, distance)
    owner = np.empty(len(descriptors), np.int64)
    nearest = Database(centres, "euclidean")
    for part in _parts(*descriptors.shape):
        owner[part] = nearest.nearest(DISTANCES[distance].placed(descriptors[part], lengths[part]), 1)[0][:, 0]
    order = np.argsort(owner, kind="stable")
    starts = np.searchsorted(owner[order], np.arange(len(centres) + 1))
    stated = {**(facts or {}), "distance": distance}
    shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
        "descriptors": ("<f4", descriptors.shape),
        "rows": ("<i8", order.shape),
        "lengths": ("<f8", lengths.shape),
        "keys": ("<i8", keys.shape),
        "centres": ("<f4", centres.shape),
        "starts": ("<i8", starts.shape),
    }
    with writing_mapped(path, stated, shapes) as arrays:
        for part in _parts(*descriptors.shape):
            arrays["descriptors"][part] = descriptors[order[part]]
        small = {"rows": order, "lengths": lengths[order], "keys": keys, "centres": centres, "starts": starts}
        for name, values in small.items():
            arrays[name][:] = values
        stated["meter"] = [
            asdict(recall) for recall in _measure(InvertedFile.unsealed(arrays, stated), arrays, distance)
        ]
    return InvertedFile(MappedArrays(path))


def _parts(count: int, dimension: int) -> Iterator[slice]:
    """Yield rows that are worked on together, so that many don't take memory as a whole."""
    step = max(1, _AT_ONCE // dimension)
    for start in range(0, count, step):
        yield slice(start, start + step)


def _learn(descriptors: Float32Array, lengths: Float64Array, distance: str) -> Float32Array:
    """Return centres by k-means on a sample: 2 sqrt(m) of them, so that choosing and looking into lists cost alike."""
    count = max(_MIN_LISTS, min(_MAX_LISTS, int(2 * len(descriptors) ** 0.5)))
    count = min(count, len(descriptors))
    rng = np.random.default_rng(_SEED)
    rows = np.sort(rng.choice(len(descriptors), min(len(descriptors), _TRAIN_PER_LIST * count), replace=False))
    sample = np.empty((len(rows), descriptors.shape[1]), np.float32)
    for part in _parts(*sample.shape):
        sample[part] = DISTANCES[distance].placed(descriptors[rows[part]], lengths[rows[part]])
    centres = sample[rng.choice(len(sample), count, replace=False)].copy()
    for _ in range(_TURNS):
        nearest = Database(centres, "euclidean")
        owner = np.concatenate([nearest.nearest(sample[part], 1)[0][:, 0] for part in _parts(*sample.shape)])
        order = np.argsort(owner, kind="stable")
        held, first, many = np.unique(owner[order], return_index=True, return_counts=True)
        for centre, start, count_held in zip(held.tolist(), first.tolist(), many.tolist(), strict=True):
            centres[centre] = np.add.reduce(sample[order[start : start + count_held]], axis=0) / count_held
        empty = np.setdiff1d(np.arange(count), held)
        centres[empty] = sample[rng.choice(len(sample), len(empty), replace=False)]
        if DISTANCES[distance].directional:
            long = np.linalg.norm(centres, axis=1)
            centres[long > 0] /= long[long > 0, None]
    return centres


def _measure(lists: InvertedFile, arrays: dict[str, NDArray[Any]], distance: str) -> list[Recall]:
    """Choose the number of lists for each number of answers, and measure what it finds."""
    rng = np.random.default_rng(_SEED)
    count = min(2 * _SAMPLE, lists.size)
    places = rng.choice(lists.size, count, replace=False)
    queries, own = arrays["descriptors"][places], arrays["rows"][places]
    most = min(max(CUTS), lists.size - 1)
    exact = arrays["rows"][Database(arrays["descriptors"], distance, arrays["lengths"]).nearest(queries, most + 1)[0]]
    tuning, testing = slice(0, count // 2), slice(count // 2, count)
    steps = sorted({n for power in range(14) for n in (2**power, 3 * 2**power) if n <= max(1, len(lists) // 2)})
    meter = []
    for k in sorted({min(cut, most) for cut in CUTS}):

        def recall(part: slice, probes: int, k: int = k) -> Float64Array:
            answers = lists.search(queries[part], k + 1, probes)[0]
            return np.array(
                [
                    len(set(a[a != me][:k].tolist()) & set(b[b != me][:k].tolist())) / k
                    for a, b, me in zip(answers, exact[part], own[part], strict=True)
                ]
            )

        for probes in steps:
            _, low, _ = _interval(recall(tuning, probes))
            if low >= FLOOR:
                break
        recalls = recall(testing, probes)
        mean, bottom, top = _interval(recalls)
        meter.append(Recall(k, probes, mean, bottom, top, len(recalls), bool(low >= FLOOR and mean >= FLOOR)))
    return meter


def _interval(values: Float64Array) -> tuple[float, float, float]:
    mean, error = float(values.mean()), 1.96 * float(values.std()) / max(1, len(values)) ** 0.5
    return mean, max(0.0, mean - error), min(1.0, mean + error)
