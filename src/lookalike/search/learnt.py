"""What is learnt of an index once and serves all queries: words, calibration, rejection rates.

Of threads that need it at once, one makes it. What is made holds no index, or a closed one would stay in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.collections.ids import id_of
from lookalike.errors import UsageError
from lookalike.imaging.resize import fit_to
from lookalike.index.artifacts import CALIBRATION, REJECTION
from lookalike.index.originals import originals_of
from lookalike.neighbors.exact import Database
from lookalike.search.calibration import DistanceCalibration
from lookalike.search.keywords import Words
from lookalike.search.rejection import WAYS, RejectionRates, estimate_rejection_rates, show

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


def prepare_words(index: IndexReader) -> None:
    """Make what the first search by words would wait for.

    Parameters
    ----------
    index : IndexReader
        What will be asked.
    """
    words_of(index)


def words_of(index: IndexReader) -> Words:
    """Return what keyword search goes by.

    Parameters
    ----------
    index : IndexReader
        What is asked.

    Returns
    -------
    Words
        Made at the first call.
    """
    return index.cached("words", lambda: Words(index.fact_table))


def row_of(index: IndexReader, name: str) -> int:
    """Return the row of an image.

    Parameters
    ----------
    index : IndexReader
        What is asked.
    name : str
        An id.

    Returns
    -------
    int
        Of the descriptors.

    Raises
    ------
    UsageError
        If no image has that id.
    """
    row = index.row_of(name)
    if row is None:
        raise UsageError(f"{id_of(name)}: no image of {index.path} has that id; lookalike files lists all")
    return row


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
        made = DistanceCalibration(
            lambda: index.descriptors,
            database,
            partial(CALIBRATION.cached, index.path, index.manifest, distance=database.distance),
        )
        made.p_value(0.0)  # learnt now, and not by each thread that asks first
        return made

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
    found: NDArray[Any] = index.encoder.encode(
        show(np.stack([fit_to(picture, shape) for picture in originals_of(index).read(rows)]), way)
    )
    return found
