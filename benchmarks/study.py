"""A study: where its raw runs go, its tidy table in git, and what it was measured on.

Every script of this folder ends with ``keep(study, part, raw)``. That writes

- the raw run, every repeat of it, to ``benchmarks/runs/STUDY/PART.json``, which git ignores;
- the rows of that part to ``benchmarks/results/STUDY.csv``, in place of those of an earlier run of the part.

The table is long: one value a row, with the columns of :data:`COLUMNS` that the study needs. ``low`` and ``high`` are the
95 % interval of a score, and the smallest and largest repeat of a time; ``n`` is the number of queries or of repeats. Lines
that begin with ``#`` say what the study is and which sources it measures, and for each run the commit, date, processor, CPU
flags, load, versions and settings, the command, and a checksum of the measured sources. A commit with a ``+`` had changes that
no commit has. Where a rebase replaced a commit, one with the same measured code is named. What was not recorded is *unknown*;
``added`` then names the commit that brought the figures.
``docs/tables.py`` makes the tables of the docs from these files, and from nothing else; ``changed.py`` says which may be stale.

``python benchmarks/study.py [STUDY ...]`` makes the tables again from the raw runs that are here.

The environment variable ``LOOKALIKE_BENCHMARKS`` names another folder for ``runs`` and ``results``, to try a script out.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from changed import code_of

HERE = Path(__file__).parent
ROOT = Path(os.environ.get("LOOKALIKE_BENCHMARKS", HERE))
#: All columns, in their order; a file has those in which it has something to say.
COLUMNS = {
    "run": "which of the runs above",
    "collection": "the images",
    "queries": "what asks",
    "encoder": "the descriptors",
    "recipe": "their post-processing",
    "aim": "what is searched for, which the choice goes by",
    "method": "re-ranking, denoising, or way to search",
    "side": "who was measured: ours, or a peer",
    "distance": "by which images are ranked",
    "noise": "standard deviation of the noise in the query, 1 being black to white",
    "setting": "whatever else was set",
    "package": "which part of the code",
    "place": "which line of it, and how it was changed",
    "metric": "what was measured",
    "value": "the mean of a score, the median of a time",
    "low": "the lower end of the 95 % interval of a score; the smallest repeat of a time",
    "high": "the upper end; the largest repeat",
    "n": "queries of a score, repeats of a time",
    "note": "how, and what stood beside it",
}
Row = dict[str, Any]
#: The instructions that decide how fast vectors are multiplied; all others are left out.
_FLAGS = re.compile(r"^(avx|avx2|fma|f16c|avx512\w*|avx_vnni|amx_\w+|asimd\w*|neon|sve\w*|bf16|i8mm)$")
_LOAD_AT_START = os.getloadavg()[0] if hasattr(os, "getloadavg") else None


@dataclass
class Table:
    """A study's tidy table.

    Attributes
    ----------
    about : dict of str to str
        What stands above it: the study, its script, what it asks.
    runs : dict of str to dict
        What each run was measured on.
    rows : list of dict
        Its values, as text, as they stand in the file.
    """

    about: dict[str, str]
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: list[dict[str, str]] = field(default_factory=list)


# What a run was measured on -------------------------------------------------------------------------------------------


def provenance(
    peers: Iterable[str] = (), versions: Mapping[str, str] = {}, settings: Mapping[str, Any] = {}
) -> dict[str, Any]:
    """Say what is measured where.

    Parameters
    ----------
    peers : iterable of str
        Names of packages that stand beside ours.
    versions : mapping of str to str
        Versions that a package's name can't tell, such as those in another environment.
    settings : mapping
        Those of the whole run: repeats, sizes, threads.

    Returns
    -------
    dict
        ``commit`` (with ``+`` where tracked files had changed), ``date``, ``processor``, ``cores``, ``memory``, ``system``,
        ``flags``, ``load`` (the last minute's mean, at the start and at the end), ``versions``, ``command`` and ``settings``.
    """
    from lookalike.reports.html import machine

    facts = machine()
    of_machine = {name: facts.pop(name, None) for name in ("processor", "cores", "memory", "system")}
    found = dict(facts)
    for name in peers:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    commit = _commit()
    return {
        "commit": commit if commit == _AT_START else _AT_START.removesuffix("+") + "+",
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        **of_machine,
        "flags": _flags(),
        "load": _load(),
        "versions": found | dict(versions),
        "command": _command(),
        "settings": dict(settings) or "those of the command, else the script's",
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(HERE), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _commit() -> str:
    commit = _git("rev-parse", "--short=10", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", "../src", "*.py")
    return commit + ("+" if changed else "") if commit else "unknown"


_AT_START = _commit()


def _command() -> str:
    script = Path(sys.argv[0])
    name = (
        script.resolve().relative_to(HERE.parent).as_posix()
        if script.resolve().is_relative_to(HERE.parent)
        else script.name
    )
    return shlex.join(["python", name, *sys.argv[1:]])


def _flags() -> str | None:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    return " ".join(sorted(filter(_FLAGS.match, found[1].split()))) if found else None


def _load() -> str | None:
    if _LOAD_AT_START is None:
        return None
    return f"{_LOAD_AT_START:.1f} to {os.getloadavg()[0]:.1f}"


# Raw runs, outside git ------------------------------------------------------------------------------------------------


def keep(study: str, part: str, raw: Any, *, peers: Iterable[str] = (), versions: Mapping[str, str] = {},
         settings: Mapping[str, Any] = {}) -> None:  # fmt: skip
    """Write a raw run, and the rows of its part.

    Parameters
    ----------
    study, part : str
        Which study, and which part of it; another part's rows stay as they are.
    raw : object
        All that was measured, as JSON takes it.
    peers, versions, settings
        As :func:`provenance` takes them.
    """
    from rows.measures import measured_by

    made_on = provenance(peers, versions, settings) | {"code": code_of(tuple(measured_by(study).split()))}
    if made_on["commit"].endswith("+"):
        print(f"{study}: tracked files have changes, so no commit has what was measured", file=sys.stderr)
    path = run_path(study, part)
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, json.dumps({"part": part, "made_on": made_on, "raw": raw}, indent=1) + "\n")
    for name in tabulate(study, part, raw, made_on):
        print(f"{path}, {ROOT / 'results' / name}.csv", file=sys.stderr, flush=True)


def run_path(study: str, part: str) -> Path:
    """Return where a raw run is kept."""
    return ROOT / "runs" / study / f"{re.sub(r'[^a-zA-Z0-9.+@]+', '-', part).strip('-')}.json"


def read_run(study: str, part: str) -> Any:
    """Return what was kept as raw, or None where no such run was made here."""
    path = run_path(study, part)
    return json.loads(path.read_text(encoding="utf-8"))["raw"] if path.exists() else None


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    new = path.with_name(path.name + ".new")
    new.write_text(text, encoding="utf-8", newline="\n")
    new.replace(path)


# Tidy tables, in git --------------------------------------------------------------------------------------------------


def tabulate(study: str, part: str, raw: Any, made_on: dict[str, Any]) -> list[str]:
    """Put the rows of a part into the study's table, or tables; return their names."""
    from rows import ABOUT, rows_of

    by_table: dict[str, list[Row]] = {}
    for title, row in rows_of(study, part, raw):
        by_table.setdefault(title, []).append(row)
    for name, rows in by_table.items():
        path = ROOT / "results" / f"{name}.csv"
        table = read(name) if path.exists() else Table({})
        table.about = {"study": name, **ABOUT[name]}
        table.runs[part] = {k: "unknown" if v in (None, "", {}) else v for k, v in made_on.items()}
        new = [{k: _text(v) for k, v in {"run": part, **row}.items()} for row in rows]
        at = next((i for i, row in enumerate(table.rows) if row["run"] == part), len(table.rows))
        others = [row for row in table.rows if row["run"] != part]
        table.rows = [*others[:at], *new, *others[at:]]  # where they stood, so that a diff shows what changed
        write(path, table)
    return list(by_table)


def heading(table: Table, columns: Iterable[str] = ()) -> str:
    """Return the lines that stand above a table."""
    lines = [f"{name}: {value}" for name, value in table.about.items()]
    lines += [f"column {name}: {COLUMNS[name]}" for name in columns]
    alike: dict[str, list[str]] = {}  # runs that were measured together are named together
    for run, facts in table.runs.items():
        alike.setdefault(json.dumps(facts, ensure_ascii=False), []).append(run)
    lines += [f"run {' | '.join(runs)} = {facts}" for facts, runs in alike.items()]
    return "".join(f"# {line}\n" for line in lines)


def write(path: Path, table: Table) -> None:
    """Write a table: what it is, its runs, its columns, its rows."""
    columns = [name for name in COLUMNS if any(row.get(name) for row in table.rows)]
    out = io.StringIO(heading(table, columns))
    out.seek(0, io.SEEK_END)
    writer = csv.DictWriter(out, columns, extrasaction="ignore", restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(table.rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, out.getvalue())


def read(name: str) -> Table:
    """Read a study's table.

    Raises
    ------
    SystemExit
        There is no such study.
    """
    path = ROOT / "results" / f"{name}.csv"
    if not path.exists():
        raise SystemExit(
            f"{path}: no such table; there are {', '.join(p.stem for p in sorted(path.parent.glob('*.csv')))}"
        )
    lines = path.read_text(encoding="utf-8").splitlines()
    table = Table({})
    for line in lines:
        if line.startswith("# run "):
            runs, _, facts = line.removeprefix("# run ").partition(" = ")
            table.runs |= dict.fromkeys(runs.split(" | "), json.loads(facts))
        elif line.startswith("# ") and not line.startswith("# column "):
            key, _, value = line.removeprefix("# ").partition(": ")
            table.about[key] = value
    table.rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    return table


def select(name: str, **wanted: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a study whose columns say what is wanted."""
    for row in read(name).rows:
        if all(row.get(column, "") == value for column, value in wanted.items()):
            yield row


def _text(value: Any) -> str:
    """Write a number with six significant digits, so that noise in the last ones doesn't show as a change."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or float(value).is_integer():
        return str(int(value))
    return f"{value:.0f}" if abs(value) >= 1e6 else f"{value:.6g}"


def main() -> None:
    """Make tables again from the raw runs that are here."""
    for folder in sorted((ROOT / "runs").iterdir()) if (ROOT / "runs").is_dir() else []:
        if not sys.argv[1:] or folder.name in sys.argv[1:]:
            for path in sorted(folder.glob("*.json")):
                run = json.loads(path.read_text(encoding="utf-8"))
                print(path, *tabulate(folder.name, run["part"], run["raw"], run["made_on"]))


if __name__ == "__main__":
    main()
