"""Write the tables of the docs that code makes: measured figures, and the columns of an index's rows.

With --check, say whether they are up to date.

python docs/tables.py [--check]

A page marks where a table stands, and where a single figure does::

    <!-- table: training -->
    ...
    <!-- end -->
    takes mAP from <!-- value: mnist-adapted -->0.738 to 0.859<!-- end -->

What is between the marks is replaced. Which figures a table has is said in ``docs/figures``; they are read from
``benchmarks/results/*.csv``.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Protocol, get_args

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
sys.path.insert(0, str(ROOT / "benchmarks"))

import study  # noqa: E402 (the folder is not a package)

from lookalike.index.schema import FACT_COLUMNS, FACTS, schema  # noqa: E402

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
MARK = re.compile(r"(<!-- (table|value): ([\w-]+) -->)(.*?)(<!-- end -->)", re.DOTALL)
Row = Mapping[str, str]
Form = Callable[[Row], str]

# How a figure is written ----------------------------------------------------------------------------------------------


def digits(count: int, times: float = 1.0, unit: str = "") -> Form:
    """Return what writes a value with so many digits after the point; ``times`` 100 makes a share a percentage."""
    return lambda row: f"{times * float(row['value']):,.{count}f}{unit}"


def interval(count: int) -> Form:
    """Return what writes a value with its interval behind it."""
    return lambda row: (
        f"{float(row['value']):.{count}f} ({float(row['low']):.{count}f} to {float(row['high']):.{count}f})"
    )


def significant(count: int) -> Form:
    """Return what writes a value with so many significant digits."""
    return lambda row: format(float(f"{float(row['value']):.{count}g}"), ",g")


def times(row: Row) -> str:
    """Write a ratio."""
    return f"{float(row['value']):.{2 if float(row['value']) < 2 else 1}f}x"


def cell(column: str) -> Form:
    """Return what writes another column of the row, as it stands."""
    return lambda row: row[column]


#: What marks a figure on images that were in sight when something that decides it was chosen.
SIGNS = {
    "†": "Labels of this collection were in sight when constants that decide here were chosen",
    "‡": "Labels of its training images were in sight, those of these queries not",
}

# Which figures --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """A column of figures: its heading, what its rows say, how it is written, and whether some may be missing."""

    heading: str
    where: Mapping[str, str]
    form: Form
    optional: bool = False


@dataclass(frozen=True)
class Table:
    """A table of figures of one study, or of several.

    Attributes
    ----------
    studies : str
        Names of tables in ``benchmarks/results``, a blank between two.
    head : str
        What heads the first column, in which the labels of ``lines`` stand.
    lines : sequence of (str, mapping)
        A label, and what it selects: values of columns; ``study`` picks one of several.
    columns : sequence of Column
    note : str
        What stands below, before where the figures are from.
    signs : mapping of str to str
        Label -> a sign of ``SIGNS`` behind it; ``*`` for all labels.
    """

    studies: str
    head: str
    lines: Sequence[tuple[str, Mapping[str, str]]]
    columns: Sequence[Column]
    note: str = ""
    signs: Mapping[str, str] = field(default_factory=dict)

    def render(self, page: Path) -> str:
        """Return the table as Markdown."""
        shown: dict[str, None] = {}
        used: dict[tuple[str, str], int] = {}
        out = [
            "| " + " | ".join([self.head, *(c.heading for c in self.columns)]) + " |",
            "| --- " * (1 + len(self.columns)) + "|",
        ]
        for label, selected in self.lines:
            sign = self.signs.get(label, self.signs.get("*", ""))
            cells = [f"{label} {sign}" if sign else label]
            if sign:
                shown[sign] = None
            for column in self.columns:
                wanted = {**selected, **column.where}
                name = wanted.pop("study", self.studies.split()[0])
                row = find(name, wanted, column.optional)
                cells.append(column.form(row) if row else "")
                if row:
                    used[name, row["run"]] = 1
            out.append("| " + " | ".join(cells) + " |")
        choices = os.path.relpath(ROOT / "docs" / "choices.md", page.parent).replace(os.sep, "/")
        signs = [f"{sign} {SIGNS[sign]} ([choices]({choices}))." for sign in shown]
        return "\n".join([*out, "", " ".join([*([self.note] if self.note else []), *signs, source(used, page)])])


@dataclass(frozen=True)
class Value:
    """One figure, or several joined, within a sentence."""

    study: str
    parts: Sequence[Mapping[str, str]]
    form: Form
    joint: str = " to "
    sign: str = ""

    def render(self, _: Path) -> str:
        """Return the figures as text."""
        rows = [find(self.study, dict(part), False) for part in self.parts]
        return self.joint.join(self.form(row) for row in rows if row) + (f" {self.sign}" if self.sign else "")


class FactColumns:
    """The columns of an index's rows that hold facts, as its schema has them."""

    def render(self, _: Path) -> str:
        """Return the table as Markdown."""
        lines = []
        for column in FACT_COLUMNS:
            kind = f"{schema(()).field(column.name).type}{' or null' if NoneType in get_args(column.type) else ''}"
            lines.append(f"| `{column.name}` | {kind} | {column.about.text} |")
        return "\n".join(["| column | type | what |", "| --- | --- | --- |", *lines])


class FactNames:
    """The names of these columns, in the order in which their checksum covers them."""

    def render(self, _: Path) -> str:
        """Return the names as text."""
        return ", ".join(f"`{name}`" for name in FACTS)


@cache
def table_of(name: str) -> study.Table:
    """Return a study's table, read once."""
    return study.read(name)


def find(name: str, wanted: Mapping[str, str], optional: bool) -> Row | None:
    """Return the one row that says what is wanted.

    Raises
    ------
    SystemExit
        None does, or several do, so that it can't be told which figure is meant.
    """
    rows = [row for row in table_of(name).rows if all(row.get(k, "") == v for k, v in wanted.items())]
    if not rows and optional:
        return None
    if len(rows) != 1:
        what = ", ".join(f"{k} = {v!r}" for k, v in wanted.items())
        sys.exit(f"benchmarks/results/{name}.csv: expected one row with {what}; found {len(rows)}; see docs/figures.py")
    return rows[0]


def source(used: Mapping[tuple[str, str], int], page: Path) -> str:
    """Say which file the figures are from, and what they were measured on."""
    said = []
    for name in dict.fromkeys(name for name, _ in used):
        runs = [facts for run, facts in table_of(name).runs.items() if (name, run) in used]
        path = os.path.relpath(RESULTS / f"{name}.csv", page.parent).replace(os.sep, "/")
        on = dict.fromkeys(
            "machine unknown" if f["processor"] == "unknown" else f"{f['processor']}, {f['cores']} cores" for f in runs
        )
        by_day: dict[str, dict[str, None]] = {}
        for facts in runs:
            by_day.setdefault(facts["date"].removeprefix("before ").split()[0], {})[_commit(facts)] = None
        when = [f"commit {', '.join(commits)}, {day}" for day, commits in by_day.items()]
        said.append("; ".join([f"[{name}.csv]({path})", *on, *when]))
    return "*" + ". ".join(said) + ".*"


class Rendered(Protocol):
    """What stands between two marks of a page."""

    def render(self, page: Path) -> str:
        """Return it as Markdown."""


def _commit(facts: Mapping[str, str]) -> str:
    if facts["commit"] == "unknown":
        return f"unknown, brought by {facts['added'].split()[0]}"
    return facts["commit"].replace("+", " with changes")


# The pages ------------------------------------------------------------------------------------------------------------


def renewed(page: Path) -> str:
    """Return a page with its figures as the tables have them."""
    from figures import TABLES, VALUES

    def replaced(match: re.Match[str]) -> str:
        begin, kind, name, _, end = match.groups()
        known: Mapping[str, Rendered] = TABLES if kind == "table" else VALUES
        if name not in known:
            sys.exit(f"{page}: no {kind} {name!r}; docs/figures.py has {', '.join(sorted(known))}")
        text = known[name].render(page)
        return f"{begin}\n{text}\n{end}" if kind == "table" else f"{begin}{text}{end}"

    return MARK.sub(replaced, page.read_text(encoding="utf-8"))


def unused() -> list[str]:
    """Return the tables and values that no page has."""
    from figures import TABLES, VALUES

    marked = {m.group(2, 3) for page in PAGES for m in MARK.finditer(page.read_text(encoding="utf-8"))}
    return [
        name for kind, known in (("table", TABLES), ("value", VALUES)) for name in known if (kind, name) not in marked
    ]


def main() -> int:
    """Write the pages, or compare them."""
    stale = []
    for page in PAGES:
        text = renewed(page)
        if text != page.read_text(encoding="utf-8"):
            stale.append(page)
            if "--check" not in sys.argv[1:]:
                page.write_text(text, encoding="utf-8", newline="\n")
    if names := unused():
        print(f"docs/figures.py: on no page: {', '.join(names)}", file=sys.stderr)
        return 1
    if stale and "--check" in sys.argv[1:]:
        print(f"{', '.join(map(str, stale))}: out of date; run: python docs/tables.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
