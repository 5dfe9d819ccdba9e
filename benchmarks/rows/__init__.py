"""From a raw run to the rows of its study's tidy table: one short function a study.

A function takes the name of a part and what was measured, and yields rows; ``table`` in a row names another table than the
study's own, where one would be too long. Nothing is worked out here but medians, rates and ratios of what was measured.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Row = dict[str, Any]


def score(metric: str, value: Sequence[float], n: int | None = None, **where: Any) -> Row:
    """Return the row of a score: [mean, lower end, upper end] of its 95 % interval."""
    mean, low, high = value
    return {**where, "metric": metric, "value": mean, "low": low, "high": high, "n": n}


def scores(metrics: dict[str, Any], n: int | None = None, **where: Any) -> Iterator[Row]:
    """Yield the rows of all that is a score among some facts."""
    for metric, value in metrics.items():
        if isinstance(value, list) and len(value) == 3:
            yield score(metric, value, n, **where)


def report(found: dict[str, Any], names: Sequence[str] | None = None, **where: Any) -> Iterator[Row]:
    """Yield the rows of a score report, as ``lookalike score --json`` writes it."""
    for metric in names or found["metrics"]:
        if metric in found["metrics"]:
            yield score(metric, [found["metrics"][metric], *found["intervals"][metric]], found["queries"], **where)


def number(metric: str, value: Any, **where: Any) -> Row:
    """Return the row of a number that has no repeats."""
    return {**where, "metric": metric, "value": value}


def took(metric: str, repeats: Sequence[float], times: float = 1.0, **where: Any) -> Row:
    """Return the row of a time: the median of its repeats, each ``times`` as much."""
    values = [times * r for r in repeats]
    return {
        **where, "metric": metric, "value": statistics.median(values), "low": min(values), "high": max(values), "n": len(values),
    }  # fmt: skip


def rate(count: float, seconds: Sequence[float], metric: str = "images a second", **where: Any) -> Row:
    """Return the row of a rate, from the seconds of each repeat."""
    return took(metric, [count / s for s in seconds], **where)


def ratio(metric: str, slow: Sequence[float], fast: Sequence[float], **where: Any) -> Row:
    """Return the row of how many times as fast one side was, turn by turn."""
    return took(metric, [s / f for s, f in zip(slow, fast, strict=True)], **where)


from rows import quality, selection, speed  # noqa: E402 (they import what stands above)

STUDIES: dict[str, Callable[[str, Any], Iterator[Row]]] = quality.STUDIES | selection.STUDIES | speed.STUDIES
#: Of each table: its script, and what it asks.
ABOUT: dict[str, dict[str, str]] = {
    name: {"script": script, "about": about}
    for name, (script, about) in (quality.ABOUT | selection.ABOUT | speed.ABOUT).items()
}


def rows_of(study: str, part: str, raw: Any) -> Iterator[tuple[str, Row]]:
    """Yield the name of the table and the row, of each value of a part."""
    for row in STUDIES[study](part, raw):
        yield row.pop("table", study), row
