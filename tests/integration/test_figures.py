"""Every figure of README and docs is made from a file of results, or is one of those below, which nobody measured."""

import re

import pytest

from paths import ROOT

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
_NUMBER = r"(?<![\w.$/-])(?:\d[\d,]*)?\.?\d+"
_UNIT = r"ms|µs|us|s|seconds?|minutes?|hours?|[kKMG]i?B|dB|times|megapixels?|(?:images|queries|photos|files) a second"
_WORD = r"(?:half|a third|a quarter|a tenth|two|three|four|five|six|seven|eight|nine|ten|twenty|some tens)"
#: A percentage, a time, size, rate or ratio, also in words, and a decimal number.
FIGURE = re.compile(
    rf"{_NUMBER}(?: ?%|x\b| ?(?:{_UNIT})\b)|\b{_WORD} (?:of )?(?:an? )?(?:ms|seconds?|minutes?|hours?|times)\b"
    r"|(?<![\w.$/-])(?:\d[\d,]*)?\.\d+(?!\w|\.\d)",
    re.IGNORECASE,
)

#: Of each page, what is no measurement of ours, and why. Figures between ``|``.
SET: dict[str, dict[str, str]] = {
    "CHANGELOG.md": {"a level": "95 %|80 %", "a limit": "two seconds|1 GiB"},
    "README.md": {"a version": "3.11|3.0", "the level of an interval": "95 %"},
    "CONTRIBUTING.md": {"a goal": "85 %", "roughly, so that nobody gives up": "ten minutes|half an hour", "a setting": "4 GB"},
    "adapt.md": {"a level": "80 %", "a setting": ".005|.45|.85", "a metric's name": "5 %|5%"},
    "article.md": {"a setting of the article's, or of ours": "1.0|0.001|0.5", "a version": "2.21", "a convention": "1.0"},
    "benchmarks.md": {"the level of an interval": "95 %", "a goal": "85 %|.99"},
    "choices.md": {"a setting": ".005|0.95|0.99"},
    "encoders.md": {
        "a setting": "2.7 %", "worked out from 30 of 30": "0.88|95 %", "counted in the network": "0.48", "a number of copies": "four times",
        "a metric's name": "5 %", "the size of files, or of so many floats": "11.6 MB|10 KB|2 KB",
    },
    "glossary.md": {"a metric's name": "5%|5 %"},
    "map.md": {"the size of a file": "31 kB"},
    "privacy.md": {"a version": "1.32"},
    "ranking.md": {"worked out from 30 of 30": "0.88|95 %", "a goal": "99.5 %"},
    "reading.md": {"a version": "6.0", "a limit": "20 s|1 GiB|256 MiB|60 seconds"},
    "robustness.md": {"a setting": "0.5"},
    "search.md": {"a setting": "268 MB|95 %|.99"},
    "searching.md": {"a setting": "0.75|0.15|5 %|99 %|10 %|90 %", "a count": "2.1", "an example of a message": "50%", "chance": "0.5"},
    "serving.md": {
        "a limit": "two seconds|0.8 s|34 MB|32 MiB|60 megapixels|240 megapixels|1 GiB|20 seconds|300 seconds|10 seconds|256 MiB|"
        "15 seconds|10 s|15 s|64 KiB|30 s|1 MiB|60 s|64 MiB",
        "a setting of the benchmark": "4 s|Ten minutes",
    },
    "storage.md": {"a setting": "16 MB|64 KiB|268 MB|256 KiB"},
}  # fmt: skip


def figures_of(page):
    """Return the figures of a page that stand neither between marks nor in code."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"<!-- (table|value): [\w-]+ -->.*?<!-- end -->", "", text, flags=re.DOTALL)
    text = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)  # parameters and examples
    return {match.group() for match in FIGURE.finditer(text)}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_a_figure_is_made_from_a_file_or_is_known_to_be_no_measurement(page):
    known = {figure for figures in SET.get(page.name, {}).values() for figure in figures.split("|")}
    found = figures_of(page)
    assert found <= known, "keep it in benchmarks/results and show it by docs/figures, or take it out"
    assert known <= found, "no longer on the page: take it out of SET"


@pytest.mark.parametrize(
    "text",
    [
        "P@1 .977",
        "0.83",
        "a rise of 3 %",
        "12 ms",
        "5x",
        "1,000 images a second",
        "half an hour",
        "45 s",
        "469 MB",
        "85 times",
    ],
)
def test_what_a_figure_is(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(f"It takes, or gets, {text}.\n", encoding="utf-8")
    assert figures_of(page)
    page.write_text(
        f"In <!-- value: some -->{text}<!-- end --> of `k={text}`, 60,000 digits, section 2, 28 x 28.\n",
        encoding="utf-8",
    )
    assert not figures_of(page)
