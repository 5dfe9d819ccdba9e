"""Lines and columns that several tables have, and more ways to write a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tables import Column, Form, Row, find

Lines = list[tuple[str, Mapping[str, str]]]


def named(column: str, *values: str) -> Lines:
    """Return a line for each value of a column, labelled by it."""
    return [(value, {column: value}) for value in values]


def number_of(row: Row) -> str:
    """Write the number of queries, where the run recorded it."""
    return f"{int(row['n']):,}" if row["n"] else ""


def metrics(names: Sequence[str], form: Form, *, optional: bool = False, **where: Any) -> list[Column]:
    """Return a column for each metric, headed by its name."""
    return [Column(name, {"metric": name, **where}, form, optional) for name in names]


def spread(form: str) -> Form:
    """Return what writes a value, with the least and the greatest behind it where it is a mean."""

    def written(row: Row) -> str:
        value, *ends = (format(round(float(row[k]), 3) + 0.0, form) for k in ("value", "low", "high") if row.get(k))
        return f"{value} ({' to '.join(ends)})" if ends else value

    return written


def spanned(count: int) -> Form:
    """Return what writes a median with the least and the greatest repeat behind it."""
    return lambda row: (
        f"{float(row['value']):,.{count}f} ({float(row['low']):,.{count}f} to {float(row['high']):,.{count}f})"
    )


def yes_or_no(row: Row) -> str:
    """Write what is true or not."""
    return "yes" if row["value"] == "1" else "no"


def gained(row: Row) -> str:
    """Write a difference with its interval, signs before all."""
    value, low, high = (f"{float(row[k]):+.3f}" for k in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def percent(row: Row) -> str:
    """Write a share."""
    return f"{100 * float(row['value']):.0f} %"


@dataclass(frozen=True)
class Falls:
    """On how many collections a score fell from one way to another, and by how much at most."""

    study: str
    metric: str
    before: Mapping[str, str]
    after: Mapping[str, str]
    collections: Sequence[str]

    def render(self, _: Path) -> str:
        """Return it as text."""
        falls = []
        for name in self.collections:
            rows = [
                find(self.study, {"collection": name, "metric": self.metric, **way}, False)
                for way in (self.before, self.after)
            ]
            then, now = (float(row["value"]) for row in rows if row)
            falls.append(then - now)
        worse = [fall for fall in falls if fall > 0]
        return f"{len(worse)} (by at most {max(worse, default=0):.3f})"
