"""What is learnt of an index once and serves all queries: words, calibration, rejection rates.

Of threads that need it at once, one makes it. What is made holds no index, or a closed one would stay in memory.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.encoders.class_head import LENGTHS, ClassHead
from lookalike.encoders.neural import Neural
from lookalike.imaging.resize import fit_to
from lookalike.index.artifacts import CALIBRATION, REJECTION, TAGS, WORDS, Learnt
from lookalike.index.originals import originals_of
from lookalike.neighbors.exact import Database
from lookalike.search.calibration import DistanceCalibration
from lookalike.search.keywords import Words, index_words
from lookalike.search.rejection import WAYS, RejectionRates, estimate_rejection_rates, show
from lookalike.search.tags import KEPT, MAX_SMOOTHED, NEIGHBOURS, Tags, index_tags

if TYPE_CHECKING:
    from lookalike.index.reader import IndexReader


def prepare(index: IndexReader, on_note: Callable[[str], None] | None = None) -> None:
    """Make what the first query by image would wait for; without it, that query makes it.

    Parameters
    ----------
    index : IndexReader
        What will be asked, by its encoder's own distance.
    on_note : callable, optional
        Called with a sentence before what takes a while, if it wasn't done before.
    """
    calibration_of(index, index.database())
    rejection_rates_of(index, on_note=on_note)


def words_of(index: IndexReader) -> Words:
    """Return what keyword search goes by.

    Parameters
    ----------
    index : IndexReader
        What is asked.

    Returns
    -------
    Words
        Indexed at the first call, and kept in the index.
    """

    def make() -> Words:
        terms = {"unicode": unicodedata.unidata_version}
        return Words(WORDS.cached(index.path, index.manifest, terms, lambda: ({}, index_words(index.fact_table)))[1])

    return index.cached("words", make)


def tags_of(index: IndexReader) -> Tags | None:
    """Return what the shipped networks see in the images.

    Parameters
    ----------
    index : IndexReader
        What is asked.

    Returns
    -------
    Tags or None
        Worked out at the first call, from the descriptors, and kept in the index. None where no encoder of it is a shipped
        network whose descriptors lead back to what it saw.
    """
    return index.cached("tags", lambda: _tags(index))


def _tags(index: IndexReader) -> Tags | None:
    manifest = index.manifest
    for column in sorted(manifest.columns, key=lambda column: column != manifest.view):
        if column.encoder != Neural.name or not column.complete or not column.count:
            continue
        view = index if column == manifest.view else index.with_encoder(column.column)
        head = ClassHead.of(view.encoder)
        if head is None:
            continue
        terms = {"kept": KEPT, "neighbours": NEIGHBOURS, "smoothed": MAX_SMOOTHED, "lengths": LENGTHS[head.networks]}
        _, arrays = TAGS.cached(view.path, view.manifest, terms, partial(_learnt_tags, head, view))
        if view is index:
            return Tags(arrays)
        places = {name: row for row, name in enumerate(view.ids)}
        return Tags(arrays, np.array([places.get(name, -1) for name in index.ids], np.int64))
    return None


def _learnt_tags(head: ClassHead, view: IndexReader) -> Learnt:
    return {}, index_tags(head, view)


def calibration_of(index: IndexReader, database: Database) -> DistanceCalibration:
    """Return what distances mean among an index's images.

    Parameters
    ----------
    index : IndexReader
        Looked at through an encoder.
    database : Database
        Its descriptors, by one distance.

    Returns
    -------
    DistanceCalibration
        Learnt at the first call, and kept in the index.
    """

    def make() -> DistanceCalibration:
        calibration = DistanceCalibration(
            lambda: index.descriptors,
            database,
            partial(CALIBRATION.cached, index.path, index.manifest, distance=database.distance),
        )
        calibration.p_value(0.0)  # learnt now, and not by each thread that asks first
        return calibration

    return index.cached(f"calibration by {database.distance}", make)


def rejection_rates_of(
    index: IndexReader, database: Database | None = None, on_note: Callable[[str], None] | None = None
) -> RejectionRates:
    """Return how often views of an index's own images are rejected: how far it can be believed that nothing stands out.

    Parameters
    ----------
    index : IndexReader
        Looked at through an encoder.
    database : Database, optional
        Its descriptors, by one distance; by default by the encoder's own.
    on_note : callable, optional
        Called with a sentence before what takes a while, if it wasn't done before.

    Returns
    -------
    RejectionRates
        Learnt at the first call, by some dozens of images, and kept in the index.
    """
    asked = index.database() if database is None else database

    def views(rows: list[int], way: str) -> NDArray[Any]:
        if on_note is not None and way == WAYS[0]:
            on_note("measuring once, with views of some images here, how reliable a rejection is")
        return _views(index, rows, way)

    def make() -> RejectionRates:
        return estimate_rejection_rates(
            views,
            lambda: index.descriptors,
            asked,
            partial(REJECTION.cached, index.path, index.manifest, distance=asked.distance),
        )

    return index.cached(f"rejection by {asked.distance}", make)


def _views(index: IndexReader, rows: list[int], way: str) -> NDArray[Any]:
    """Return descriptors of some images of an index, shown otherwise; of the pictures themselves where they are there."""
    shape = tuple(index.manifest.shape)
    images = np.stack([fit_to(picture, shape) for picture in originals_of(index).read(rows)])
    descriptors: NDArray[Any] = index.encoder.encode(show(images, way))
    return descriptors
