"""Items -> what reading each gave, in order; what may be known under another name is hashed before it is decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from lookalike.collections.arrays import image_hash
from lookalike.collections.collection import Collection
from lookalike.collections.tasks import Reading, from_answer, to_task
from lookalike.errors import ImageError
from lookalike.imaging.decode import Picture
from lookalike.imaging.encode import to_thumbnail
from lookalike.imaging.resize import fit_to
from lookalike.index.schema import Facts
from lookalike.index.sync.executor import Executor
from lookalike.index.sync.known import KnownRows
from lookalike.index.sync.plan import Item

#: Files that are looked at together, and files under way: as many are read on while one hangs.
CHUNK = 8192
_AHEAD = 1024


class Like(NamedTuple):
    """A row that holds the same bytes as a file: its number, and what is known of it."""

    row: int
    facts: Facts


class Reader:
    """Reads items of a collection.

    Parameters
    ----------
    images : Collection
        Whose they are.
    shapes : sequence of tuple of int
        What pictures are fitted to.
    known : KnownRows
        Of which a row may stand in for a file of the same bytes.
    executor : Executor or None
        What files are read by; None where they are no files.
    """

    def __init__(
        self, images: Collection, shapes: Sequence[tuple[int, ...]], known: KnownRows, executor: Executor | None
    ) -> None:
        self.images = images
        self.shapes = shapes
        self.known = known
        self.executor = executor
        # What answers hold in place of pixels, where whoever reads encodes, too: rows of any length.
        self._expected = None if getattr(executor, "encodes", False) else shapes
        self._sizes = known.sizes() if executor is not None else np.empty(0, np.int64)

    def read(self, items: Sequence[Item], *, trust: bool = True) -> Iterator[tuple[Reading, list[Like]]]:
        """Read one chunk of items, in order.

        Parameters
        ----------
        items : sequence of Item
            At most ``CHUNK``, for their readings may wait for each other.
        trust : bool
            False decodes all, whatever is known of the same bytes.

        Yields
        ------
        (Reading, list of Like)
            One an item, and the rows that hold the same bytes; where there are some, perhaps only the hash was read.
        """
        if self.executor is None:
            for item in items:
                reading = self._read_here(item)
                yield reading, self._like(reading)
            return
        # Who compares is here, where all hashes are.
        maybe = self._of_known_size(items) if trust else []
        found = dict(zip(maybe, self._ask([items[i] for i in maybe], hash_only=True), strict=True))
        alike = self.known.alike([reading.hash for reading in found.values()])
        rows = {i: same for (i, r), same in zip(found.items(), alike, strict=True) if r.hashed and len(same)}
        facts = iter(self.known.facts(np.concatenate([np.empty(0, np.int64), *rows.values()])))
        likes = {i: [Like(row, next(facts)) for row in same.tolist()] for i, same in rows.items()}
        rest = self._ask([item for i, item in enumerate(items) if i not in likes])
        for i in range(len(items)):
            if i in likes:
                yield found[i], likes[i]
            else:
                reading = next(rest)
                yield reading, self._like(reading)

    def _like(self, reading: Reading) -> list[Like]:
        if reading.outcome is not None:
            return []
        (rows,) = self.known.alike([reading.hash])
        return [Like(*pair) for pair in zip(rows.tolist(), self.known.facts(rows), strict=True)] if len(rows) else []

    def _of_known_size(self, items: Sequence[Item]) -> list[int]:
        sizes = np.array([item.entry.size for item in items], np.int64)
        return np.flatnonzero(np.isin(sizes, self._sizes)).tolist()

    def _ask(self, items: Sequence[Item], *, hash_only: bool = False) -> Iterator[Reading]:
        """Read files in order; the ones to come are read on while the caller works."""
        options, whole = self.images.options, self.images.whole
        tasks = (
            to_task(
                item.entry,
                f"{whole}/{item.entry.id}",
                self.shapes,
                each=options.each,
                hash_only=hash_only,
                limits=options.limits,
            )
            for item in items
        )
        assert self.executor is not None
        for answer in self.executor.map(tasks, ahead=_AHEAD):
            yield from_answer(answer, self._expected)

    def _read_here(self, item: Item) -> Reading:
        """Take an image that is an array already, or comes from a reader of the caller's own."""
        position = item.position or 0
        try:
            image = self.images.read(position)
        except ImageError as e:
            return Reading(outcome=e.outcome, stage="read", reason=str(e))
        picture = Picture(
            image.shape[1],
            image.shape[0],
            [fit_to(image, shape) for shape in self.shapes],
            to_thumbnail(fit_to(image, self.images.shape)),
        )
        return Reading(
            hash=item.hash or image_hash(image), size=item.entry.size, mtime_ns=item.entry.mtime_ns, pictures=[picture]
        )
