"""Mutation testing: break the code in one place, and see whether a unit test notices.

    python benchmarks/mutants.py [--minutes 3] [--count 1000] [--seed 1] [--again]

Three steps, each of which goes on where it was stopped:

1. Each file of unit tests runs once, and what it runs of the code is noted by line.
2. A sample of mutants is drawn by its seed over all of :data:`PACKAGES`, nothing left out (``mutations.py``).
3. Each mutant is written into a copy of the repository, in memory where there is room. The tests that run its line run there,
   those first that are named after its file, then the quick ones: for :data:`TESTS_SECONDS` as they took before. It is killed
   when one fails, or when they take three times as long. One that needs longer tests than these counts as a survivor.

A process that has the libraries loaded forks for each mutant, so one takes about two seconds. ``--again`` runs survivors
again, after tests were added. What was found so far is kept after each call.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import contextlib
import csv
import json
import os
import re
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import study
from mutations import Mutant, sample

ROOT = study.HERE.parent
RUNS = study.ROOT / "runs" / "mutants"
#: What decides, refuses or protects, by the name of its line in the table.
PACKAGES = {
    "selection": ("selection",),
    "search": ("search",),
    "index": ("index",),
    "server": ("server",),
    "client": ("client",),
    "decoder processes": ("imaging/sandbox", "imaging/limits.py"),
}
TESTS_SECONDS = 10.0
#: Run in processes of its own, in which no lines are noted: all tests of the file or its package may notice.
ELSEWHERE = ("imaging/sandbox/",)
#: What the first test of a file takes beside: reading the file, and making what all its tests share.
FILE_SECONDS = 1.0
#: What was found out about survivors, by hand: that they change nothing, and why; or why no test kills them.
JUDGED = study.HERE / "mutants_judged.csv"
#: Loaded before the forks; nothing of ours, as that is what changes.
LIBRARIES = ("numpy", "scipy.optimize", "scipy.sparse.csgraph", "pyarrow.dataset", "lance", "onnxruntime", "PIL.Image",
             "fastapi", "fastapi.testclient", "uvicorn", "pytest", "hypothesis", "typer", "pooch", "threadpoolctl")  # fmt: skip


class Copy:
    """A copy of what tests need, in which one file at a time is broken."""

    def __init__(self) -> None:
        memory = Path("/dev/shm")
        self.root = (memory if os.access(memory, os.W_OK) else RUNS) / f"lookalike-mutants-{os.getpid()}" / "repository"
        self.root.mkdir(parents=True)
        for name in ("src", "tests"):
            shutil.copytree(ROOT / name, self.root / name)
        for path in ROOT.iterdir():
            if not (self.root / path.name).exists() and path.name not in (".git", ".venv"):
                (self.root / path.name).symlink_to(path)
        if (ROOT.parent / "shared").is_dir():
            (self.root.parent / "shared").symlink_to(ROOT.parent / "shared")

    def __enter__(self) -> Copy:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.root.parent, ignore_errors=True)

    @contextlib.contextmanager
    def broken(self, file: str, text: str) -> Any:
        """Have another text in a file for a while."""
        path = self.root / "src" / "lookalike" / file
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()
        before = path.read_bytes()
        path.write_text(text, encoding="utf-8")
        try:
            yield
        finally:
            path.write_bytes(before)

    def run(self, arguments: list[str], seconds: float, plugin: Any = None, *, compiles: bool = False) -> int | None:
        """Run pytest in a fork; return its status, 128 and more where it crashed, None where it took too long."""
        pid = os.fork()
        if not pid:
            code = 1
            try:
                code = self._in_fork(arguments, plugin, compiles)
            except BaseException:  # nothing of the parent's may be undone here
                traceback.print_exc()
            os._exit(code)
        ends = time.monotonic() + seconds
        try:
            while time.monotonic() < ends:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    code = os.waitstatus_to_exitcode(status)
                    return code if code >= 0 else 128 - code
                time.sleep(0.01)
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None
        finally:
            with contextlib.suppress(ProcessLookupError):  # what a test left running
                os.killpg(pid, signal.SIGKILL)

    def _in_fork(self, arguments: list[str], plugin: Any, compiles: bool) -> int:
        os.setsid()
        log = os.open(RUNS / f"last-{os.getppid()}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.chdir(self.root)
        temporary = self.root.parent / "temporary"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        sys.dont_write_bytecode = not compiles
        os.environ |= {"PYTHONPATH": str(self.root / "src"), "TMPDIR": str(temporary)}
        os.environ |= {} if compiles else {"PYTHONDONTWRITEBYTECODE": "1"}
        sys.path[:0] = [str(self.root / "src")]
        import pytest

        code = int(
            pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments], [plugin] if plugin else [])
        )
        sys.stdout.flush()
        return code


# Which test runs which line -------------------------------------------------------------------------------------------


class Watcher:
    """A plugin of pytest that notes what each test runs, and how long it takes.

    What a fixture runs counts for all tests of the file, as others may share what it made.
    """

    def __init__(self, out: Path, source: Path) -> None:
        import coverage

        self._out, self._source = out, source
        self._measured = coverage.Coverage(
            data_file=None, config_file=False, include=[str(source / part / "*") if "." not in part else str(source / part)
                                     for parts in PACKAGES.values() for part in parts],
        )  # fmt: skip
        self._seconds: Counter[str] = Counter()
        self._passed: set[str] = set()
        self._measured.start()

    def pytest_runtest_setup(self) -> None:
        """Count what a fixture runs for all tests."""
        self._measured.switch_context("fixture")

    def pytest_runtest_call(self, item: Any) -> None:
        """Count what a test runs for it."""
        self._measured.switch_context(item.nodeid)

    def pytest_runtest_teardown(self) -> None:
        """Count what a fixture undoes for all tests."""
        self._measured.switch_context("fixture")

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note how long a test took; one that fails as it is tells nothing."""
        self._seconds[report.nodeid] += report.duration
        if report.when == "call" and report.passed:
            self._passed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        """Write it down."""
        self._measured.stop()
        data = self._measured.get_data()
        tests = sorted(self._passed)
        number = {name: i for i, name in enumerate(tests)}
        lines: dict[str, dict[str, list[int]]] = {}
        for path in data.measured_files():
            by_line = lines.setdefault(str(Path(path).relative_to(self._source)), {})
            names = line_names(Path(path).read_text(encoding="utf-8"))
            for line, contexts in data.contexts_by_lineno(path).items():
                if line > len(names):  # code that was made while it ran, under a file's name
                    continue
                found = [number[c] for c in contexts if c in number]
                by_line[names[line - 1]] = [-1] if "fixture" in contexts else found
        seconds = [round(self._seconds[name], 3) for name in tests]
        self._out.write_text(json.dumps({"tests": tests, "seconds": seconds, "lines": lines}), encoding="utf-8")


def line_names(text: str) -> list[str]:
    """Return what lines are called: by what they say, and which of equal ones it is; so they may move."""
    seen: Counter[str] = Counter()
    names = []
    for line in map(str.strip, text.splitlines()):
        seen[line] += 1
        names.append(f"{line}#{seen[line]}")
    return names


def unwatched() -> list[tuple[str, Path]]:
    """Return the files of tests of which it isn't known what they run, each with where that will be kept."""
    folder = RUNS / "cover"
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for path in sorted((ROOT / "tests" / "unit").rglob("test_*.py")):
        name = str(path.relative_to(ROOT))
        out = folder / f"{name.replace('/', '.')}.json"
        if not out.exists() or out.stat().st_mtime < path.stat().st_mtime:
            found.append((name, out))
    return found


def watch(copy: Copy, until: float, left: Iterable[tuple[str, Path]]) -> None:
    """Note what files of tests run until the time is up."""
    for name, out in left:
        if time.monotonic() > until:
            return
        begun = time.monotonic()
        before = json.loads(out.read_text(encoding="utf-8")) if out.exists() else None
        known = [f"--deselect={test}" for test in before["tests"]] if before else []  # they run what they ran
        code = copy.run([name, *known], 600, _Later(out, copy.root / "src" / "lookalike"), compiles=True)
        if before is not None:
            out.write_text(json.dumps(_joined(before, json.loads(out.read_text(encoding="utf-8")))), encoding="utf-8")
        print(f"{name}: {time.monotonic() - begun:.0f} s, status {code}", file=sys.stderr, flush=True)


def _joined(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return what two lots of tests of a file run."""
    if not other["tests"]:
        return one
    lines = {file: dict(by_line) for file, by_line in one["lines"].items()}
    for file, by_line in other["lines"].items():
        into = lines.setdefault(file, {})
        for line, numbers in by_line.items():
            into[line] = [*into.get(line, ()), *(n if n < 0 else n + len(one["tests"]) for n in numbers)]
    return {"tests": one["tests"] + other["tests"], "seconds": one["seconds"] + other["seconds"], "lines": lines}


class _Later:
    """Begin to watch within the fork."""

    def __init__(self, *arguments: Path) -> None:
        self._arguments = arguments

    def pytest_configure(self, config: Any) -> None:
        """Add the watcher."""
        config.pluginmanager.register(Watcher(*self._arguments))


class Known:
    """Which tests run a line, and how long each takes."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        by_name: dict[str, dict[str, set[str]]] = {}
        for path in sorted((RUNS / "cover").glob("*.json")):
            found = json.loads(path.read_text(encoding="utf-8"))
            tests = found["tests"]
            self.seconds |= dict(zip(tests, found["seconds"], strict=True))
            for file, by_line in found["lines"].items():
                into = by_name.setdefault(file, {})
                for line, numbers in by_line.items():
                    into.setdefault(line, set()).update(tests if -1 in numbers else [tests[i] for i in numbers])
        self._lines: dict[str, dict[int, set[str]]] = {}
        for file in files():
            names = line_names((ROOT / "src" / "lookalike" / file).read_text(encoding="utf-8"))
            found = by_name.get(file, {})
            self._lines[file] = {n: found[name] for n, name in enumerate(names, 1) if name in found}

    def tests_of(self, mutant: Mutant, text: str) -> list[str]:
        """Return the tests that may notice, those first that are likeliest to and the quickest."""
        lines, name = _lines_about(text, mutant.line)
        of_file = self._lines.get(mutant.file, {})
        found = set().union(*(of_file.get(line, ()) for line in lines))
        if name:  # a constant: whoever runs a line that has its name, or says it
            found |= self._that_mention(name)
        if not found and mutant.file.startswith(ELSEWHERE):
            found = set().union(*of_file.values()) or self._of_package(mutant.file)
        ordered = sorted(found, key=lambda test: (_distance(mutant.file, test), self.seconds[test], test))
        chosen: list[str] = []
        total, opened = 0.0, set()
        for test in ordered:
            file = test.partition("::")[0]
            total += self.seconds[test] + FILE_SECONDS * (file not in opened)
            if total > TESTS_SECONDS * (3 if _distance(mutant.file, test) == 0 else 1) and chosen:
                break
            opened.add(file)
            chosen.append(test)
        return chosen

    def changed(self, mutant: Mutant) -> float:
        """Return when what may notice a mutant was changed last."""
        source = ROOT / "src" / "lookalike" / mutant.file
        tests = {ROOT / test.partition("::")[0] for test in self.tests_of(mutant, source.read_text(encoding="utf-8"))}
        return max(path.stat().st_mtime for path in (source, *tests) if path.exists())

    def _that_mention(self, name: str) -> set[str]:
        word = re.compile(rf"\b{re.escape(name)}\b")
        found: set[str] = set()
        for file, by_line in self._lines.items():
            for number, line in enumerate((ROOT / "src" / "lookalike" / file).read_text("utf-8").splitlines(), 1):
                if word.search(line):
                    found |= by_line.get(number, set())
        files_of = {test.partition("::")[0] for test in self.seconds}
        saying = {file for file in files_of if word.search((ROOT / file).read_text(encoding="utf-8"))}
        return found | {test for test in self.seconds if test.partition("::")[0] in saying}

    def _of_package(self, file: str) -> set[str]:
        beside = [lines for name, lines in self._lines.items() if Path(name).parent == Path(file).parent]
        return set().union(*(tests for lines in beside for tests in lines.values()))


def _distance(file: str, test: str) -> int:
    """Return 0 for tests that are named after a file, 1 for those of its package, 2 for others."""
    path, stem = Path(test.partition("::")[0]), Path(file).stem
    if stem in (path.stem.removeprefix("test_"), path.parent.name) or path.stem == f"test_{Path(file).parent.name}":
        return 0
    return 1 if path.parent.parts[2:] == Path(file).parent.parts else 2


def _lines_about(text: str, line: int) -> tuple[set[int], str]:
    """Return the lines of the smallest statement about a line, and the name that it gives where all may use it.

    Of a function's head these are the lines of its body: a default is used where the function runs.
    """
    after = text.splitlines()[line - 1 :]
    line += next((n for n, one in enumerate(after) if one.strip()), 0)  # what was taken away leaves a blank line
    inner: ast.stmt | None = None
    in_function = False
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case) and _spans(node, line):
            if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                in_function = True
            inner = node  # type: ignore[assignment] # ast.walk goes inwards
    if inner is None:
        return {line}, ""
    if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
        return set(range(inner.body[0].lineno, inner.end_lineno + 1)), ""
    if isinstance(inner, ast.ClassDef):
        return set(range(inner.lineno, inner.end_lineno + 1)), inner.name
    body = getattr(inner, "body", None)
    end = body[0].lineno - 1 if isinstance(body, list) else inner.end_lineno
    lines = set(range(inner.lineno, max(end, inner.lineno) + 1))
    targets = inner.targets if isinstance(inner, ast.Assign) else [getattr(inner, "target", None)]
    name = next((t.id for t in targets if isinstance(t, ast.Name)), "")
    return (lines, "") if in_function else (set(), name)


def _spans(node: Any, line: int) -> bool:
    first = (
        min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))]) if hasattr(node, "lineno") else 0
    )
    return hasattr(node, "lineno") and first <= line <= node.end_lineno


# The mutants ----------------------------------------------------------------------------------------------------------


def files() -> list[str]:
    """Return the files that are broken, relative to ``src/lookalike``."""
    root = ROOT / "src" / "lookalike"
    found = [
        p
        for parts in PACKAGES.values()
        for part in parts
        for p in ([root / part] if "." in part else (root / part).rglob("*.py"))
    ]
    return sorted(str(p.relative_to(root)) for p in found)


def drawn(seed: int, count: int) -> list[Mutant]:
    """Return the sample, drawn at the first call."""
    path = RUNS / f"sample-{seed}.json"
    if not path.exists():
        mutants = sample(ROOT / "src" / "lookalike", files(), seed, count)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([asdict(m) for m in mutants], indent=1), encoding="utf-8")
    return [Mutant(**m) for m in json.loads(path.read_text(encoding="utf-8"))]


def results(seed: int) -> dict[int, dict[str, Any]]:
    """Return what became of each mutant, by its place in the sample; the last word counts."""
    path = RUNS / f"log-{seed}.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {one["number"]: one for one in map(json.loads, lines)}


def tallied(seed: int) -> dict[str, Any]:
    """Return what became of the sample: numbers by package, and each survivor with what was found out about it."""
    mutants, last = drawn(seed, 0), results(seed)
    log = (RUNS / f"log-{seed}.jsonl").read_text(encoding="utf-8").splitlines()
    first: dict[int, str] = {}
    for one in map(json.loads, log):
        first.setdefault(one["number"], one["outcome"])
    packages = {name: Counter({"mutants": 0}) for name in PACKAGES}
    survivors = []
    for number, one in sorted(last.items()):
        mutant, title = mutants[number], package_of(mutants[number].file)
        verdict = judged_of(mutant)
        packages[title]["mutants"] += 1
        packages[title]["killed at first"] += first[number] == "killed"
        if one["outcome"] != "survived":
            packages[title][one["outcome"]] += 1
            continue
        packages[title]["equivalent"] += verdict.startswith("equivalent")
        survivors.append({"package": title, **asdict(mutant), "verdict": verdict or "survivor"})
    return {"seed": seed, "packages": {name: dict(counts) for name, counts in packages.items()}, "survivors": survivors}


@cache
def judged() -> dict[tuple[str, str, str], str]:
    """Return what was found out about survivors by hand."""
    with JUDGED.open(encoding="utf-8", newline="") as lines:
        return {(row["file"], row["was"], row["now"]): row["verdict"] for row in csv.DictReader(lines)}


def judged_of(mutant: Mutant) -> str:
    """Return what was found out about one; empty where nobody has looked."""
    return judged().get((mutant.file, mutant.was, mutant.now), "")


def package_of(file: str) -> str:
    """Return the line of the table that a file belongs to."""
    return next(name for name, parts in PACKAGES.items() if file.startswith(parts))


def run(copy: Copy, seed: int, mutants: list[Mutant], until: float, wanted: set[int]) -> None:
    """Run mutants in their order until the time is up."""
    known = Known()
    log = RUNS / f"log-{seed}.jsonl"
    for number, mutant in enumerate(mutants):
        if number not in wanted:
            continue
        if time.monotonic() > until:
            return
        text = (ROOT / "src" / "lookalike" / mutant.file).read_text(encoding="utf-8")
        broken = mutant.source(text)
        begun = time.monotonic()
        outcome, code, tests = "gone", None, []
        if broken is not None:
            tests = known.tests_of(mutant, text)
            limit = 15 + 3 * sum(known.seconds[t] for t in tests)
            with copy.broken(mutant.file, broken):
                code = copy.run(["-x", *tests], limit) if tests else 0  # no test runs it
            outcome = "survived" if code == 0 else "killed"
        one = {
            "number": number,
            "outcome": outcome,
            "status": code,
            "tests": len(tests),
            "seconds": round(time.monotonic() - begun, 2),
            "at": time.time(),
        }
        with log.open("a", encoding="utf-8") as out:
            out.write(json.dumps(one) + "\n")


def main() -> None:
    """Do what is left to do, for some minutes, and keep what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--again", action="store_true", help="run those again that survived, after tests were added")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="mutants at a time, each on one core")
    asked = parser.parse_args()
    until = time.monotonic() + 60 * asked.minutes
    RUNS.mkdir(parents=True, exist_ok=True)
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    sys.path[:] = [p for p in sys.path if not p.endswith("/src")]
    compileall.compile_dir(ROOT / "src", quiet=2)
    for name in LIBRARIES:
        __import__(name)
    left = unwatched()
    side_by_side(asked.jobs, lambda copy, share: watch(copy, until, left[share :: asked.jobs]))
    if unwatched() and time.monotonic() > until:
        return
    mutants = drawn(asked.seed, asked.count)
    found = results(asked.seed)
    again = set()
    if asked.again:
        known = Known()
        left = [number for number, one in found.items() if one["outcome"] == "survived"]
        survived = [number for number in left if not judged_of(mutants[number])]
        again = {number for number in survived if known.changed(mutants[number]) > found[number]["at"]}
    open_ = sorted(again or (set(range(len(mutants))) - found.keys()))
    side_by_side(asked.jobs, lambda copy, share: run(copy, asked.seed, mutants, until, set(open_[share :: asked.jobs])))
    print(dict(Counter(one["outcome"] for one in results(asked.seed).values())), file=sys.stderr)
    sys.path.append(str(ROOT / "src"))
    study.keep("mutants", f"seed {asked.seed}", tallied(asked.seed), peers=("cosmic-ray", "coverage", "pytest"),
               settings={"tests": f"{TESTS_SECONDS:g} s at most"})  # fmt: skip


def side_by_side(jobs: int, work: Callable[[Copy, int], None]) -> None:
    """Let several processes do each its share, in a copy of its own."""
    pids = []
    for share in range(jobs):
        pid = os.fork()
        if not pid:
            with Copy() as copy:
                work(copy, share)
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
