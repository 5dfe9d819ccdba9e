"""The docs can't rot: their Python runs, their links lead somewhere, every command is described."""

import re
import subprocess
import sys

import pytest

from lookalike.cli.main import run
from lookalike.encoders.registry import TABLE
from lookalike.neighbors.distances import DISTANCES
from lookalike.search.rerank import RERANKERS
from paths import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


def test_the_readmes_python_runs_and_so_does_the_storage_pages(tmp_path):
    (readme,) = blocks("README.md", "python")
    done = subprocess.run([sys.executable, "-c", readme], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == [str(rank) for rank in range(1, 11)]
    assert {line[3] for line in lines} == {"9"}  # the eighth test digit is a nine
    (storage,) = blocks("docs/storage.md", "python")
    assert len([line for line in storage.splitlines() if line.strip()]) == 5
    done = subprocess.run([sys.executable, "-c", storage], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["60000", "hog", "392"], done.stderr


def test_the_readmes_first_screen():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first = "\n".join(text.splitlines()[:20])
    assert "make demo" in first
    assert "make test" in first
    assert "![" in first
    (python,) = blocks("README.md", "python")
    assert len([line for line in python.splitlines() if line.strip()]) <= 5


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_to_files_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_command_and_option_is_described(capsys):
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    listed = subprocess.run(
        [sys.executable, "-m", "lookalike", "--help"], capture_output=True, text=True, check=True
    ).stdout
    names = re.findall(r"^  ([a-z]+) ", listed.split("Commands:")[1], re.MULTILINE)
    assert {
        "demo",
        "train",
        "index",
        "search",
        "score",
        "denoise",
        "info",
        "files",
        "encoders",
        "why",
        "verify",
    } <= set(names)
    for name in names:
        section = page.split(f"## lookalike {name}\n")[1].split("\n## ")[0]
        assert run([name, "--help"]) == 0
        for option in set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out)):
            assert option in section, f"{name}: run python docs/commands.py"


def names_in(page, header):
    """Return the names in the first column of a page's table: what stands in backticks, and what it leads to."""
    rows = (ROOT / "docs" / page).read_text(encoding="utf-8").split(f"\n{header}")[1].split("\n\n")[0].splitlines()[2:]
    cells = [row.split("|")[1] for row in rows]
    return {name for cell in cells for name in re.findall(r"(?<=`)[^`|]+(?=`)|(?<=\(#)[^)]+(?=\))", cell)}


@pytest.mark.parametrize(
    ("page", "header", "table"),
    [
        ("encoders.md", "| encoder | learns |", TABLE),
        ("search.md", "| distance |", DISTANCES.table),
        ("ranking.md", "| name | what it does |", RERANKERS.table),
    ],
    ids=["encoders", "distances", "re-rankings"],
)
def test_each_entry_of_a_registry_has_a_row_in_its_page(page, header, table):
    assert set(table) <= names_in(page, header)


@pytest.mark.parametrize("page", ["README.md", "docs/article.md"])
def test_the_commands_a_page_shows_exist_with_their_options(page):
    reference = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    lines = [line for block in blocks(page, "sh") for line in block.splitlines() if line.startswith("lookalike ")]
    assert lines
    for line in lines:
        name = line.split()[1]
        section = reference.split(f"## lookalike {name}\n")[1].split("\n## ")[0]
        for option in re.findall(r"(?<= )(--?[a-z][a-z-]*)", line.split("#")[0]):
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", section), f"{line}: {option}"
