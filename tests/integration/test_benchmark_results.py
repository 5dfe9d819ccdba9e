"""Results of benchmarks: tidy tables that say what they were measured on, and docs whose figures are made from them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

study = pytest.importorskip("study", reason="the folder benchmarks isn't part of a source distribution")
#: The table of candidates is what the judge is learnt from, a line each, and no study's.
TABLES = sorted(p for p in (ROOT / "benchmarks" / "results").glob("*.csv") if p.stem != "candidates")


@pytest.mark.parametrize("path", TABLES, ids=lambda p: p.stem)
def test_a_table_is_short_and_says_what_each_value_was_measured_on(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 300
    table = study.read(path.stem)
    assert table.about["study"] == path.stem
    assert (ROOT / table.about["script"].split()[0]).exists()
    assert {row["run"] for row in table.rows} == set(table.runs)
    for facts in table.runs.values():
        assert facts.keys() >= {"commit", "date", "processor", "flags", "load", "versions", "command", "settings"}
        assert facts["commit"] != "unknown" or "added" in facts, (
            "neither what was measured nor what brought the figures"
        )
    assert all((ROOT / path).exists() for path in table.about["measures"].split())
    said = [tuple(v for k, v in row.items() if k not in ("value", "low", "high", "n")) for row in table.rows]
    assert len(said) == len(set(said)), "two rows say the same of different values"
    for row in table.rows:
        value = float(row["value"])
        if row.get("low"):
            assert float(row["low"]) <= value <= float(row["high"]), row


def test_nothing_raw_is_in_git():
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout of git")
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "benchmarks"], capture_output=True, text=True, check=True
    )
    assert {Path(name).suffix for name in tracked.stdout.split()} == {".py", ".csv"}


def kept(folder, study_name, part, raw):
    """Keep a raw run in a folder, as a script does."""
    code = f"import study; study.keep({study_name!r}, {part!r}, {raw!r}, settings={{'threads': 1}})"
    environment = os.environ | {"LOOKALIKE_BENCHMARKS": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return (folder / "results" / f"{study_name}.csv").read_text(encoding="utf-8")


def test_a_run_is_kept_raw_and_its_rows_replace_those_of_the_same_part_only(tmp_path):
    row = {
        "method": "itq",
        "params": {"bits": 28},
        "base": "hog",
        "queries": 5,
        "fit_processor_seconds": 1.25,
        "images": 9,
    }
    kept(tmp_path, "codes", "one", row | {"scores": {"P@1": [0.5, 0.4, 0.6]}})
    kept(tmp_path, "codes", "two", row | {"scores": {"P@1": [0.25, 0.125, 0.5]}})
    text = kept(tmp_path, "codes", "one", row | {"scores": {"P@1": [0.75, 0.7, 0.8]}})
    scores = [line for line in text.splitlines() if "P@1" in line]
    assert [line.split(",")[0] for line in scores] == ["one", "two"]
    assert scores[0].endswith("P@1,0.75,0.7,0.8,5")
    assert scores[1].endswith("P@1,0.25,0.125,0.5,5")
    raw = json.loads((tmp_path / "runs" / "codes" / "one.json").read_text(encoding="utf-8"))
    assert raw["raw"]["scores"] == {"P@1": [0.75, 0.7, 0.8]}
    assert raw["made_on"]["settings"] == {"threads": 1}
    assert '"settings": {"threads": 1}' in text


@pytest.fixture
def copied(tmp_path):
    """Return a copy of what the figures of the docs are made from, and of the pages."""
    (tmp_path / "docs").mkdir()
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "docs" / "tables.py"]:
        shutil.copy(page, tmp_path / page.relative_to(ROOT))
    for folder in ("docs/figures", "scripts"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks", ignore=shutil.ignore_patterns("runs"))
    return tmp_path


def tables(folder, *arguments):
    command = [sys.executable, str(folder / "docs" / "tables.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_figures_of_the_docs_are_those_of_the_tables():
    done = tables(ROOT, "--check")
    assert done.returncode == 0, done.stderr


def test_a_figure_that_was_edited_by_hand_is_found_and_made_again(copied):
    page = copied / "docs" / "article.md"
    text = page.read_text(encoding="utf-8")
    assert "0.9547" not in text
    page.write_text(text.replace("0.9544", "0.9547"), encoding="utf-8")
    done = tables(copied, "--check")
    assert done.returncode == 1
    assert "article.md: out of date; run: python docs/tables.py" in done.stderr
    assert tables(copied).returncode == 0
    assert page.read_text(encoding="utf-8") == text


def test_a_figure_that_no_file_has_is_refused(copied):
    path = copied / "benchmarks" / "results" / "hamming.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "seconds to encode" not in line), encoding="utf-8")
    done = tables(copied, "--check")
    assert done.returncode == 1
    assert "hamming.csv: expected one row with metric = 'seconds to encode'; found 0" in done.stderr


def test_a_figure_that_two_rows_have_is_refused(copied):
    path = copied / "benchmarks" / "results" / "hamming.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([*lines, lines[-1]]), encoding="utf-8")
    done = tables(copied, "--check")
    assert done.returncode == 1
    assert "found 2" in done.stderr


def test_a_mark_that_names_no_table_is_refused(copied):
    page = copied / "docs" / "article.md"
    page.write_text(page.read_text(encoding="utf-8").replace("table: article ", "table: atricle "), encoding="utf-8")
    done = tables(copied, "--check")
    assert done.returncode == 1
    assert "no table 'atricle'" in done.stderr


def test_new_words_about_measured_code_are_no_change_of_it_and_new_code_is():
    import changed

    before = 'def f(x):\n    """Say one thing."""\n    return x + 1  # up\n'
    assert changed.bare(before) == changed.bare(
        'def f(x):\n    """Say\n    another.\n    """\n\n    # up, "so"\n    return x + 1\n'
    )
    assert changed.bare(before) != changed.bare(before.replace("+ 1", "+ 2"))
    assert changed.bare('x = "#1"\n') != changed.bare('x = "#2"\n')
    paths = ("benchmarks/changed.py",)
    assert changed.verdict({"code": changed.code_of(paths), "commit": "0" * 10}, paths) == ""
    assert changed.verdict({"code": "another", "commit": "0" * 10}, paths) == "changed"


def test_a_warning_names_the_study_whose_code_changed_and_what_measures_it_again(copied):
    """The copy has no sources and no history: nothing can be compared, and nothing fails."""
    done = subprocess.run(
        [sys.executable, copied / "benchmarks" / "changed.py"], capture_output=True, text=True, check=False,
        env=os.environ | {"GIT_DIR": str(copied / "none")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "  hog: unknown; again: benchmarks/hog.py\n" in done.stderr


def test_a_change_of_measured_code_in_git_is_counted(copied):
    source = copied / "src" / "lookalike" / "encoders" / "hog.py"
    source.parent.mkdir(parents=True)
    commands = [["init", "-q"], ["add", "-A"], ["commit", "-qm", "one"]]

    def git(*arguments):
        names = {
            "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a@b",
            "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a@b",
        }
        return subprocess.run(
            ["git", "-C", copied, *arguments], env=os.environ | names, capture_output=True, text=True, check=True
        ).stdout.strip()

    source.write_text("x = 1\n", encoding="utf-8")
    for command in commands:
        git(*command)
    commit = git("rev-parse", "--short=10", "HEAD")
    path = copied / "benchmarks" / "results" / "hog.csv"
    text = re.sub('"added": "[^"]*", ', "", path.read_text(encoding="utf-8"))
    text = re.sub('"commit": "[^"]*"', f'"commit": "{commit}"', text)
    path.write_text(text, encoding="utf-8")

    def told():
        script = [sys.executable, copied / "benchmarks" / "changed.py"]
        return [
            line
            for line in subprocess.run(script, capture_output=True, text=True, check=True).stderr.splitlines()
            if " hog" in line
        ]

    assert told() == []
    source.write_text("x = 1  # one\n", encoding="utf-8")
    git("commit", "-qam", "two")
    assert told() == []
    source.write_text("x = 2\n", encoding="utf-8")
    git("commit", "-qam", "three")
    assert told() == [f"  hog: 2 commits since {commit}; again: benchmarks/hog.py"]
