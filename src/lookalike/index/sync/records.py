"""A file and what reading it gave -> what its rows are to say.

A column more of the rows is a line in :class:`lookalike.index.schema.Facts`, and one in :func:`facts_of_item`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lookalike.collections.columns import metadata_text
from lookalike.collections.tasks import Reading, read_caption
from lookalike.errors import ImageError
from lookalike.index.schema import Facts
from lookalike.index.sync.plan import Item


@dataclass
class Record:
    """A row to come.

    Attributes
    ----------
    facts : Facts
        All but the key.
    fitted : list of ndarray of uint8, or None
        The picture in each of the encoders' shapes; None where nothing is to be encoded.
    thumbnail : bytes or None
        Of the picture; None where it is that of ``like``, or there is none.
    like : int or None
        Key of the row whose thumbnail and descriptors it may take.
    is_fresh : bool
        Whether it is a picture that was read in this run.
    instead_of : list of int
        Keys of the rows that go when it comes.
    """

    facts: Facts
    fitted: list[NDArray[np.uint8]] | None = None
    thumbnail: bytes | None = None
    like: int | None = None
    is_fresh: bool = False
    instead_of: list[int] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """Bytes of the pictures that wait to be encoded."""
        return sum(image.nbytes for image in self.fitted or ())


def facts_of_item(item: Item, frame: int = 0) -> Facts:
    """Say what is known of a file before it is read; its caption is read here.

    Parameters
    ----------
    item : Item
        The file.
    frame : int
        Which of its pictures.

    Returns
    -------
    Facts
        With the key -1, until a row gets its own.
    """
    entry = item.entry
    stamp = None if entry.caption is None else entry.caption[1]
    caption = None
    if stamp is not None:
        same = [facts.caption for facts in item.old if facts.caption_stamp == stamp]
        try:
            caption = same[0] if same else read_caption(entry)
        except ImageError:  # the one before stays, with its stamp, so that the next run looks again
            before = item.old[0] if item.old else None
            caption, stamp = (None, None) if before is None else (before.caption, before.caption_stamp)
    return Facts(
        key=-1,
        id=f"{entry.id}#{frame}" if frame else entry.id,
        frame=frame,
        position=item.position,
        label=entry.label,
        caption=caption,
        caption_stamp=stamp,
        metadata=metadata_text(entry.metadata),
        size=entry.size,
        mtime_ns=entry.mtime_ns,
    )


def copies_of(item: Item, like: Iterable[Facts]) -> list[Record]:
    """Make the records of a file whose bytes the index knows under this name or another.

    Parameters
    ----------
    item : Item
        The file.
    like : iterable of Facts
        What the index knows of these bytes, a picture each.

    Returns
    -------
    list of Record
        In the order of ``like``.
    """
    records = []
    for was in like:
        reason = was.reason and was.reason.replace(was.file, item.entry.id, 1)
        facts = facts_of_item(item, was.frame)._replace(
            hash=was.hash, width=was.width, height=was.height, outcome=was.outcome, stage=was.stage, reason=reason
        )
        records.append(Record(facts, like=was.key))
    return records


def records_of(item: Item, reading: Reading, *, may_copy: bool) -> list[Record]:
    """Make the records of a file that was read, one a picture.

    Parameters
    ----------
    item : Item
        The file.
    reading : Reading
        With pictures.
    may_copy : bool
        Whether descriptors that the index has of the same bytes may be taken.

    Returns
    -------
    list of Record
        By frame.
    """
    before = {facts.frame: facts for facts in item.old if facts.hash == reading.hash} if may_copy else {}
    records = []
    for frame, picture in enumerate(reading.pictures):
        facts = facts_of_item(item, frame)._replace(hash=reading.hash, width=picture.width, height=picture.height)
        like = before[frame].key if frame in before else None
        records.append(Record(facts, picture.fitted, picture.thumbnail or None, like, is_fresh=True))
    return records
