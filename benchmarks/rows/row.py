"""The rows of a tidy table: scores, times, rates, ratios."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
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
