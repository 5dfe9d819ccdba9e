"""Warn where the code that a study measured has changed since: the study, how much, and what measures it again.

python benchmarks/changed.py

``make check`` runs this; it never fails. ``rows/measures.py`` says which sources a study measures. A run keeps a checksum
of them (``code``), without comments, docstrings and white space, so that a new sentence is no change. Runs from before
that are compared with what git has of their commit, or of the one that brought their figures. Where git can't say, neither
do we: *unknown*.
"""

from __future__ import annotations

import ast
import hashlib
import io
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING}


def bare(source: str) -> str:
    """Return Python without comments, docstrings and white space: what two versions of a file are compared by."""
    kept = source.splitlines(keepends=True)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            for line in range(node.lineno - 1, (node.end_lineno or node.lineno)):
                kept[line] = "\n"
    lines = "".join(kept).splitlines()
    # Comments alone are cut out by their place: how the rest is split into tokens differs between versions of Python.
    for token in _comments("\n".join(lines) + "\n"):
        row, column = token.start
        lines[row - 1] = lines[row - 1][:column]
    return "".join("".join(lines).split())


def _comments(source: str) -> list[tokenize.TokenInfo]:
    try:
        return [t for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type == tokenize.COMMENT]
    except (tokenize.TokenError, IndentationError):  # a function that was a docstring alone has no body left
        return []


def files_of(paths: Iterable[str]) -> list[Path]:
    """Return the sources at some paths, files or folders, relative to the repository."""
    found: set[Path] = set()
    for path in paths:
        found |= set((ROOT / path).rglob("*.py")) if (ROOT / path).is_dir() else {ROOT / path}
    return sorted(p for p in found if p.is_file())


@cache
def code_of(paths: Sequence[str]) -> str:
    """Return the checksum of the sources at some paths (a tuple), as they lie here."""
    digest = hashlib.sha256()
    for path in files_of(paths):
        digest.update(f"{path.relative_to(ROOT).as_posix()}\0{bare(path.read_text(encoding='utf-8'))}\0".encode())
    return digest.hexdigest()[:16]


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


@cache
def since(commit: str, paths: Sequence[str]) -> int | None:
    """Return how many commits changed code at some paths since one; None where git doesn't know it."""
    log = _git("log", "--format=%h", f"{commit}..HEAD", "--", *paths)
    if log is None or _git("merge-base", "--is-ancestor", commit, "HEAD") is None:
        return None
    names = _git("diff", "--name-only", "--no-renames", commit, "--", *paths) or ""
    return len(log.split()) or 1 if any(_differs(commit, name) for name in names.split("\n") if name) else 0


@cache
def _differs(commit: str, name: str) -> bool:
    if not name.endswith(".py"):
        return False
    then = _git("show", f"{commit}:{name}")
    now = ROOT / name
    return then is None or not now.exists() or bare(then) != bare(now.read_text(encoding="utf-8"))


def verdict(facts: dict[str, Any], paths: Sequence[str]) -> str:
    """Say what has become of the code of a run: nothing ("") or how much has changed, or that it is unknown."""
    if facts.get("code"):
        if facts["code"] == code_of(paths):
            return ""
        return _told(since(facts["commit"].removesuffix("+"), paths) or None, facts["commit"]) or "changed"
    commit = facts["added"].split()[0] if "added" in facts else facts["commit"].removesuffix("+")
    n = since(commit, paths)
    return "unknown" if n is None else _told(n, commit)


def _told(n: int | None, commit: str) -> str:
    return f"{n} commit{'s' if n > 1 else ''} since {commit}" if n else ""


def warnings() -> list[str]:
    """Return a line for each study of which something measured has changed."""
    import study

    said = []
    for path in sorted((ROOT / "benchmarks" / "results").glob("*.csv")):
        table = study.read(path.stem)
        paths = tuple(table.about.get("measures", "").split())
        if not paths:
            continue
        found = {run: told for run, facts in table.runs.items() if (told := verdict(facts, paths))}
        if found:
            which = "" if len(found) == len(table.runs) else f" ({len(found)} of {len(table.runs)} runs)"
            worst = max(found.values(), key=lambda told: int(told.split()[0]) if told[0].isdigit() else 0)
            said.append(f"{path.stem}{which}: {worst}; again: {table.about['script']}")
    return said


def main() -> None:
    """Print them."""
    lines = warnings()
    if lines:
        print(f"warning: the code that these {len(lines)} studies measure has changed since:", file=sys.stderr)
    for line in lines:
        print(f"  {line}", file=sys.stderr)


if __name__ == "__main__":
    main()
