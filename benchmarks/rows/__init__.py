"""From a raw run to the rows of its study's tidy table: one short function a study.

A function takes the name of a part and what was measured, and yields rows; ``table`` in a row names another table than the
study's own, where one would be too long. Nothing is worked out here but medians, rates and ratios of what was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rows import quality, selection, speed
from rows.measures import measured_by
from rows.row import Row

STUDIES: dict[str, Callable[[str, Any], Iterator[Row]]] = quality.STUDIES | selection.STUDIES | speed.STUDIES
#: Of each table: its script, what it asks, and which sources it measures.
ABOUT: dict[str, dict[str, str]] = {
    name: {"script": script, "about": about, "measures": measured_by(name)}
    for name, (script, about) in (quality.ABOUT | selection.ABOUT | speed.ABOUT).items()
}


def rows_of(study: str, part: str, raw: Any) -> Iterator[tuple[str, Row]]:
    """Yield the name of the table and the row, of each value of a part."""
    for row in STUDIES[study](part, raw):
        yield row.pop("table", study), row
