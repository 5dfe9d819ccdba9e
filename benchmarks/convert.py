"""The results that stood in git as raw JSON until November 2026, as tidy tables.

    python benchmarks/convert.py

Reads them from the history of git, by the commit named below, and writes ``results/*.csv`` by the same functions as a new
run. Nothing is measured again and nothing is made up: these runs recorded neither commit, nor date, nor CPU flags, nor
load, so those stay empty. ``added`` is the commit, and its day, by which the values came into git; the machine and the versions
are those of the file as of that commit (parts of a file shared one record). ``raw`` says how to read the raw run.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rows import rows_of
from study import ROOT, read, tabulate

#: The last commit that has the raw results.
LAST = "16353c6"
FILES = {
    "adapt": "adapt", "article": "article", "autoencoder": "autoencoder", "codes": "codes", "contrastive": "contrastive",
    "encoding": "encoding", "hamming": "hamming", "hog": "hog", "indexing": "indexing", "indexing-32": "indexing", "map": "map",
    "map_frames": "map-frames", "mnist-pixels": "mnist-scores", "mnist-hog": "mnist-scores", "mnist-hog-deskew": "mnist-scores",
    "neural": "neural", "noise": "noise", "nothing": "nothing", "recipes": "recipes", "rerank": "rerank", "scoring": "scoring",
    "search": "search", "serving": "serving", "startup": "startup", "training": "training", "usual": "usual", "verdict": "verdict",
}  # fmt: skip
OF_THE_MACHINE = ("processor", "cores", "memory", "system")


def git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(Path(__file__).parent), *arguments], capture_output=True, text=True, check=True
    ).stdout


def parts(file: str, data: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a file, as a run keeps them today."""
    if file in ("adapt", "autoencoder", "contrastive", "rerank", "serving"):
        others = ("machine", "versions", "mnist, pilots")  # the last is a log
        yield from ((k, v) for k, v in data.items() if k not in others)
    elif file == "codes":
        yield from ((k, {"method": k.split("-")[0], **v}) for k, v in data["rows"].items())
    elif file == "nothing":
        yield from data["cases"].items()
    elif file == "recipes":
        yield from parts_of_recipes(data)
    elif file == "search":
        # without "pairs": all pairs of near codes are no longer looked for
        yield from ((k, data[k]) for k in ("exact", "binary", "projection"))
        yield from ((f"approximate, {one['side']}", one) for one in data["approximate"])
        yield from ((f"growth, {one['rows']}", one) for one in data["growth"])
    else:
        name = (
            f"{data['side']} x {data['side']}"
            if file.startswith("indexing")
            else file.removeprefix("mnist-").replace("_", "-")
        )
        yield name, data["rows"] if file == "usual" else data


def parts_of_recipes(data: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for one in data.get("ledoit-wolf less adapted (r 0.1)", []):  # stood apart from the rows
        for row in data["rows"]:
            if all(row[k] == one[k] for k in ("collection", "encoder")) and row["recipe"] == "ledoit-wolf":
                row |= {f"{metric} less adapted (r 0.1)": one[metric] for metric in ("mAP", "P@1")}
    by_part: dict[str, list[Any]] = {}
    for row in data["rows"]:
        kind = "networks" if ", t " in row["recipe"] else "closed"
        by_part.setdefault(f"{row['collection']}, {row['encoder']}, {kind}", []).append(row)
    yield from by_part.items()


def shown(study: str, part: str, raw: Any) -> str:
    return json.dumps(list(rows_of(study, part, raw)), sort_keys=True)


def versions_of(file: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield 'commit day' and the file as of then, the newest first."""
    path = f"benchmarks/results/{file}.json"
    for line in git("log", "--format=%h %ad", "--date=short", LAST, "--", f"results/{file}.json").splitlines():
        found = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "show", f"{line.split()[0]}:{path}"], capture_output=True, text=True, check=False
        )  # fmt: skip
        if found.returncode == 0:
            yield line, json.loads(found.stdout)


def made_on(file: str, study: str, part: str, raw: Any, history: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Say what is known of a part: from the oldest of the newest versions of the file that hold the same values of it."""
    now, added, data = shown(study, part, raw), *history[0]
    for line, older in history:
        try:
            same = dict(parts(file, older)).get(part)
            if same is None or shown(study, part, same) != now:
                break
        except (KeyError, TypeError, ValueError):  # an earlier form of the file
            break
        added, data = line, older
    whole: dict[str, Any] = (
        {k: v for k, v in raw.items() if k in ("machine", "versions", "torch")} if isinstance(raw, dict) else {}
    )
    machine, versions = (
        dict(whole.get("machine") or data.get("machine") or {}),
        whole.get("versions") or data.get("versions") or {},
    )
    known = {name: machine.pop(name, None) for name in OF_THE_MACHINE}
    known["versions"] = machine | versions | {k: v for k, v in data.items() if k == "torch"}
    known["settings"] = {
        k: v
        for k, v in data.items()
        if k in ("repeats", "images", "batch", "side", "backend") and not isinstance(v, dict)
    }
    return {**known, "added": added, "raw": f"git show {LAST}:benchmarks/results/{file}.json"}


def measured_again(study: str, part: str) -> dict[str, Any]:
    """Return what is known of the run that the table has of a part; one that was measured since stays."""
    return read(study).runs.get(part, {}) if (ROOT / "results" / f"{study}.csv").exists() else {}


def main() -> None:
    for file, study in FILES.items():
        history = list(versions_of(file))
        for part, raw in parts(file, json.loads(git("show", f"{LAST}:benchmarks/results/{file}.json"))):
            if "commit" not in measured_again(study, part):
                tabulate(study, part, raw, made_on(file, study, part, raw, history))
    for path in sorted((ROOT / "results").glob("*.csv")):
        print(f"{len(path.read_text().splitlines()):4} {path.name}")


if __name__ == "__main__":
    main()
