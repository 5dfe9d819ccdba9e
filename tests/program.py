"""The `lookalike` command in a process of its own, and whether the index that it leaves holds what it should."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import lance
import numpy as np

from image_files import read_image
from lookalike import open_index
from lookalike.imaging.resize import fit_to
from lookalike.index.integrity import verify

#: All that may become of a file.
OUTCOMES = {
    "indexed", "duplicate", "blank", "caption",
    "unsupported", "truncated", "damaged", "empty", "bomb", "timed out", "out of memory", "crashed", "unreadable", "gone",
}  # fmt: skip


class Row(NamedTuple):
    """What an index must hold of a file, however it came about."""

    outcome: str
    hash: str | None
    size: int
    caption: str | None
    vector: bytes | None


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command, whatever comes of it."""
    command = [sys.executable, "-m", "lookalike", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def lookalike(*arguments: object, **options: Any) -> str:
    """Run a command that succeeds; return what it prints."""
    done = run(*arguments, **options)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def result(*arguments: object) -> Any:
    """Run a command that succeeds with ``--json``; return what it prints."""
    return json.loads(lookalike(*arguments, "--json"))


def one_sentence(err: str) -> str:
    """Check that a command that failed said why in one or two sentences on its last line, and no more; return them."""
    *progress, last = err.splitlines()
    assert last.startswith("lookalike: "), err
    assert not [line for line in progress if line.startswith(("lookalike: ", "Traceback", "thread '"))], err
    assert len(re.split(r"(?<=[.!?]) (?=[A-Z])", last)) <= 2, last
    return last.removeprefix("lookalike: ")


def held(index: Path) -> dict[tuple[str, int], Row]:
    """Check an index to its last byte; return what it holds of each (id, frame), read by Lance as docs/storage.md tells."""
    problems = verify(open_index(index))
    assert not problems, problems
    manifest = json.loads((index / "manifest.json").read_text())["manifest"]
    dataset = lance.dataset(str(index / "images.lance"), version=manifest["dataset_version"])
    column = manifest["default"]
    rows = dataset.to_table(["id", "frame", "outcome", "hash", "size", "caption", column]).to_pylist()
    found = {
        (row["id"], row["frame"]): Row(
            row["outcome"],
            row["hash"],
            row["size"],
            row["caption"],
            None if row[column] is None else np.array(row[column], np.float32).tobytes(),
        )
        for row in rows
    }
    assert len(found) == len(rows), "two rows of one file"
    return found


def check_outcomes(files: list[dict[str, Any]]) -> dict[str, str]:
    """Check that each file has one outcome, and a place and a reason in words where it is no good one; return them."""
    outcomes = {file["path"]: file["outcome"] for file in files}
    assert len(outcomes) == len(files), "two outcomes of one file"
    for file in files:
        assert file["outcome"] in OUTCOMES, file
        if file["outcome"] not in ("indexed", "duplicate", "caption"):
            assert file["stage"], file
            assert file["reason"], file
            assert "Traceback" not in file["reason"], file
            assert "\n" not in file["reason"].replace(file["path"], ""), file
            assert len(file["reason"].replace(file["path"], "")) < 500, file
    return outcomes


def misplaced(index: Path, paths: dict[str, str], skip: Collection[str] = ()) -> list[str]:
    """Encode each file by itself by `pixels`, full size first; return the ids whose vector in the index is another.

    A JPEG is decoded at a lower scale on the way into an index, so that values differ a little.
    """
    opened = open_index(index)
    shape = tuple(opened.manifest.shape)
    wrong = []
    for identity, vector in zip(opened.ids, opened.descriptors, strict=True):
        if identity in skip:
            continue
        alone = fit_to(read_image(paths[identity]), shape).reshape(-1) / np.float32(255)
        if np.abs(alone - vector).mean() > 0.02:
            wrong.append(identity)
    return wrong
