"""An index whose default post-processing is due -> the index with it learnt from its own descriptors, in one commit.

What an image gets when nothing is named is learnt once the descriptors are there, so nothing is read or encoded twice. All
descriptors are then replaced by their projections beside the old ones, and the commit shows the new: rows written before
and after never mix, and a run that is killed in between leaves the index as it was, for the next run to go on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lookalike.encoders.base import Encoder
from lookalike.encoders.postprocess import Projection
from lookalike.encoders.serialize import load as load_encoder
from lookalike.index.manifest import Column, DamagedIndexError, Manifest
from lookalike.index.schema import descriptors_of
from lookalike.index.store import Store
from lookalike.index.sweep import save_encoder
from lookalike.neighbors.distances.base import SHORTEST
from lookalike.neighbors.sampling import sample_rows
from lookalike.selection.neighbour_metric import MAX_ROWS, MIN_ROWS, neighbour_metric

#: By how many times an index has grown since the post-processing was learnt when it is learnt again.
GROWN = 2
#: A reduction that was learnt from fewer images isn't built on: the images are encoded again.
FEW = 2048


def is_due(column: Column, images: int) -> bool:
    """Tell whether the default post-processing of a column is to be learnt.

    Parameters
    ----------
    column : Column
        The column that answers.
    images : int
        With a descriptor in it.

    Returns
    -------
    bool
    """
    return column.learnt_from is not None and images >= max(MIN_ROWS, GROWN * column.learnt_from)


def is_reduced_by_few(column: Column, encoder: Encoder) -> bool:
    """Tell whether descriptors were reduced by what few images say: then more of the same encoder's are needed.

    Parameters
    ----------
    column : Column
        The column that answers.
    encoder : Encoder
        The one that made it.

    Returns
    -------
    bool
    """
    post = encoder.post_
    return post is not None and post.dimension < post.takes and (column.learnt_from or FEW) < FEW


def learn_post(path: Path, store: Store, manifest: Manifest, note: Callable[[str], None]) -> Manifest:
    """Learn the default post-processing of an index, if it is due; under the writer's lock.

    Parameters
    ----------
    path : Path
        The index's folder.
    store : Store
        Its rows.
    manifest : Manifest
        Of the last commit.
    note : callable
        Called with a sentence where something was learnt.

    Returns
    -------
    Manifest
        The index's, after.

    Raises
    ------
    DamagedIndexError
        If a descriptor isn't what was written.
    """
    column = manifest.column(manifest.default)
    if not is_due(column, column.count):
        return manifest
    encoder = load_encoder(path / column.encoder_folder)
    keys = store.keys[sample_rows(len(store.keys), MAX_ROWS, 0)].tolist()
    table = store.read(["key", column.column, f"{column.column}_crc32"], keys)
    try:
        rows, _ = descriptors_of(table, column.column)
    except ValueError as e:
        raise DamagedIndexError(path, str(e)) from e
    again = _Again(encoder.post_)
    rows = again.plain(rows)
    learnt = neighbour_metric(rows, unit=encoder.post_ is None and encoder.distance == "cosine")
    if learnt is None or not (np.linalg.norm(learnt.apply(rows), axis=1) >= SHORTEST).all():
        return _committed(store, manifest, column, replace(column, learnt_from=column.count))
    fitted = encoder.with_post(again.whole(learnt))
    save_encoder(path, fitted)
    new = replace(
        column,
        fingerprint=fitted.fingerprint,
        distance=fitted.distance,
        dimension=fitted.dimension_,
        post=learnt.name,
        learnt_from=column.count,
    )
    store.replace_column(column, new, lambda stored: learnt.apply(again.plain(stored)))
    note(f"post-processing: {learnt.name}, learnt from {len(rows):,} of these images; --no-adapt leaves it out")
    return _committed(store, manifest, column, new)


class _Again:
    """What leads from stored descriptors back to plain ones, as far as the post-processing before kept them.

    Its matrix is ``U S V'``: stored descriptors times ``V / S`` are the plain ones, less their mean, along the directions
    ``U``, so what is learnt from these is the same as if it had been learnt first.

    Parameters
    ----------
    before : Projection or None
        Linear.
    """

    def __init__(self, before: Projection | None) -> None:
        self.before = before
        self.along: NDArray[np.float64] | None = None
        if before is not None and before.matrix.shape[1]:
            self.along, scales, turned = np.linalg.svd(before.matrix.astype(np.float64), full_matrices=False)
            self.back = np.asarray(turned.T / scales, np.float32)

    def plain(self, stored: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn stored descriptors back."""
        return stored if self.along is None else stored @ self.back

    def whole(self, learnt: Projection) -> Projection:
        """Return what makes of the encoder's own descriptors what ``learnt`` makes of plain ones."""
        if self.before is None:
            return learnt
        if self.along is None:
            return replace(learnt, mean=self.before.mean + learnt.mean, unit=self.before.unit)
        matrix = self.along @ learnt.matrix if learnt.matrix.shape[1] else self.along
        mean = self.before.mean + self.along @ learnt.mean
        whole = mean.astype(np.float32), matrix.astype(np.float32)
        return Projection(learnt.name, *whole, self.before.unit, params=learnt.params)


def _committed(store: Store, manifest: Manifest, old: Column, new: Column) -> Manifest:
    columns = [new if column == old else column for column in manifest.columns]
    manifest = store.commit(replace(manifest, columns=columns))
    store.sweep()
    return manifest
