"""The report: everything given is in it, escaped; it loads nothing; its HTML is sound; it is written whole."""

from __future__ import annotations

import base64
import gzip
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lookalike
from lookalike.errors import LookalikeError
from lookalike.reports import drawing, figures, line_charts
from lookalike.reports.html import Code, Facts, Picture, Report, Section, Table, Value, machine, write_report
from paths import ROOT

RNG = np.random.default_rng(11)
VOID = {"br", "img", "link", "meta", "wbr"}
NASTY = "</p><script>alert('1')</script> & <b>\"bold\"</b>"


class Page(HTMLParser):
    """A page as a list of elements, checked for balance while it is read."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.text = [], [], {}
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> is out of place"

    def handle_data(self, data):
        if self.open:
            self.text.setdefault(self.open[-1], []).append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    def words(self, *tags):
        found = [t for tag in tags or self.text if tag != "style" for t in self.text.get(tag, [])]
        return re.sub(r"\s+", " ", " ".join(found))


def digits(n):
    with gzip.open(ROOT / "datasets/mnist/t10k-images-idx3-ubyte.gz") as f:
        data = f.read(16 + n * 784)
    return np.frombuffer(data, np.uint8, offset=16).reshape(n, 28, 28)


def whole_report():
    images = digits(8)
    curves = {"article": [(10, 0.949), (60000, 0.367)], "hog": [(10, 0.987), (60000, 0.568)]}
    return Report(
        "Digits that look like this one",
        "The autoencoder finds a right digit first for 96.1 % of 1,000 queries.",
        [
            Section(
                "What a search finds",
                [
                    "Two queries.",
                    Picture(
                        figures.retrieved(
                            images[:2], [images[2:5], images[5:8]], right=np.array([[1, 0, 1], [0, 1, 1]], bool)
                        ),
                        "Each line: a query and its answers.",
                        "Two queries with three answers each.",
                    ),
                    Picture(figures.denoising_pairs(images, images // 2), "Noise in.", "Eight pairs."),
                ],
            ),
            Section(
                "How good the order is",
                [
                    Picture(line_charts.score_curves(curves), "LRAP by n.", "hog above article."),
                    Table(
                        ["measure", "article", "hog", "note"],
                        [
                            ("P@1", Value(0.945, (0.931, 0.958)), Value(0.989, (0.982, 0.995)), "clean"),
                            ("mAP", Value(0.367), None, ""),
                        ],
                        "Scores with 95 % intervals.",
                        best="row",
                    ),
                ],
            ),
            Section("What was run", [Code("lookalike demo \\\n  --seed 3"), Facts({"seed": "3"} | machine())]),
        ],
    )


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    return write_report(tmp_path_factory.mktemp("report") / "report.html", whole_report()).read_text("utf-8")


def report_of(tmp_path, *blocks):
    report = Report("t", "l", [Section("s", blocks)])
    return write_report(tmp_path / "report.html", report).read_text("utf-8")


@pytest.mark.slow
def test_everything_given_is_in_it(html):
    page = Page(html)
    assert page.words("title") == page.words("h1") == "Digits that look like this one"
    assert page.words("h2") == "What a search finds How good the order is What was run"
    words = page.words()
    for text in (
        "finds a right digit first for 96.1 %",
        "Two queries.",
        "Each line: a query and its answers.",
        "Noise in.",
        "LRAP by n.",
        "Scores with 95 % intervals.",
        "lookalike demo \\ --seed 3",
        *machine(),
        *machine().values(),
    ):
        assert text in words
    assert "0.945" in words
    assert re.search(r"0\.931–\s*0\.958", words)
    assert [svg["aria-label"] for svg in page.all("svg")] == [
        "Two queries with three answers each.",
        "Eight pairs.",
        "hog above article.",
    ]
    assert all(svg["role"] == "img" for svg in page.all("svg"))
    # 2 queries, 6 answers and 8 pairs, each its own picture.
    assert len(page.all("image")) == 8 + 16


def test_it_is_well_formed_and_said_in_the_right_elements(html):
    page = Page(html)
    assert html.startswith("<!doctype html>")
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("main")) == len(page.all("h1")) == 1
    assert len(page.all("figure")) == len(page.all("figcaption")) == 3
    assert {th["scope"] for th in page.all("th")} == {"col", "row"}
    headings = {h["id"] for h in page.all("h2")}
    assert {s["aria-labelledby"] for s in page.all("section")} == headings
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")


def test_ids_are_unique_and_every_reference_finds_its_own(html):
    page = Page(html)
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids)) > 10
    wanted = [v[1:] for tag, attrs in page.elements for k, v in attrs.items() if k == "href" and tag == "use"]
    wanted += re.findall(r"url\(#([^)]+)\)", html)
    assert wanted
    assert set(wanted) <= set(ids)


def test_it_loads_nothing_and_runs_nothing(html):
    page = Page(html)
    assert "http://" not in html
    assert "https://" not in html
    assert "@import" not in html
    assert not page.all("script")
    assert not [k for _, attrs in page.elements for k in attrs if k.startswith("on")]
    for tag, attrs in page.elements:
        for key in ("src", "href", "xlink:href", "srcset", "data", "poster", "action"):
            assert key not in attrs or attrs[key].startswith(("data:", "#")), (tag, attrs[key][:80])
    assert set(re.findall(r"url\((.)", html)) <= {"#"}
    [policy] = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy


def test_every_text_is_escaped(tmp_path):
    figure = line_charts.score_curves({NASTY: [(10, 0.5)]}, title=NASTY)
    blocks = [
        NASTY,
        Picture(figure, NASTY, NASTY),
        Table([NASTY, NASTY], [(NASTY, NASTY), (NASTY, Value(1, (0, 2), "<{}>"))], NASTY),
        Facts({NASTY: NASTY}),
        Code(NASTY),
    ]
    html = write_report(tmp_path / "r.html", Report(NASTY, NASTY, [Section(NASTY, blocks)])).read_text("utf-8")
    page = Page(html)
    assert not page.all("script")
    assert not page.all("b")
    for tag in ("title", "h1", "h2", "p", "figcaption", "caption", "th", "td", "dt", "dd", "code"):
        assert NASTY in "".join(page.text[tag]), tag
    assert page.all("svg")[0]["aria-label"] == NASTY
    assert NASTY in page.words("text")
    assert "<1>" in page.words("td")


def test_colours_of_a_figure_follow_the_page(html):
    svgs = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    for color in (
        drawing.INK,
        drawing.MUTED,
        drawing.RULE,
        drawing.PAPER,
        drawing.RIGHT,
        drawing.WRONG,
        *drawing.SERIES,
    ):
        assert color not in svgs  # none is left as it is on white paper
    used = set(re.findall(r"var\(--(\w+)\)", svgs))
    assert {"ink", "muted", "rule", "green", "orange", "blue"} <= used
    light, dark = (set(re.findall(r"--(\w+):", part)) for part in re.findall(r":root\{(.*?)\}", html)[:2])
    assert used <= light
    assert used <= dark


def contrast(a, b):
    def luminance(color):
        channels = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    low, high = sorted([luminance(a), luminance(b)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("which", [0, 1], ids=["light", "dark"])
def test_text_and_lines_can_be_read_on_the_page(html, which):
    """The contrast the accessibility guidelines ask of text, 4.5 to 1, light and dark."""
    colors = dict(re.findall(r"--(\w+):(#[0-9a-f]{6})", re.findall(r":root\{(.*?)\}", html)[which]))
    assert len(colors) == 12
    for name, color in colors.items():
        if name in ("tint", "best"):
            assert contrast(colors["ink"], color) >= 4.5, name
            assert contrast(colors["muted"], color) >= 4.5, name
        elif name not in ("paper", "rule"):
            assert contrast(color, colors["paper"]) >= 4.5, name


def cells(html):
    """The body of the table, tags kept."""
    rows = re.findall(r"<tr>(.*?)</tr>", html[html.index("<tbody>") :], re.DOTALL)
    return [re.findall(r"<t[hd].*?</t[hd]>", row) for row in rows]


def best(html):
    return [[("<strong>" in cell) for cell in row] for row in cells(html)]


ROWS = [("a", Value(0.5), Value(0.9), "x"), ("b", Value(0.9), Value(0.90001), "x"), ("c", Value(0.1), None, "x")]


def test_the_highest_of_each_row_is_bold_with_what_reads_the_same(tmp_path):
    got = best(report_of(tmp_path, Table(["", "p", "q", "note"], ROWS, best="row")))
    assert got == [[False, False, True, False], [False, True, True, False], [False] * 4]


def test_the_highest_of_each_column_is_bold(tmp_path):
    got = best(report_of(tmp_path, Table(["", "p", "q", "note"], ROWS, best="column")))
    assert got == [[False, False, True, False], [False, True, True, False], [False] * 4]
    assert not any(map(any, best(report_of(tmp_path, Table(["", "p", "q", "note"], ROWS)))))


def test_one_value_in_two_places_is_judged_where_it_stands(tmp_path):
    same = Value(0.5)
    got = best(
        report_of(tmp_path, Table(["", "p", "q"], [("a", same, Value(0.9)), ("b", same, Value(0.1))], best="row"))
    )
    assert got == [[False, False, True], [False, True, False]]


def test_a_number_that_names_its_row_takes_no_part(tmp_path):
    table = Table(["n", "p", "q"], [(Value(10, form="{:.0f}"), Value(0.5), Value(0.9))], best="row")
    assert best(report_of(tmp_path, table)) == [[False, False, True]]


def test_columns_of_numbers_are_set_as_numbers(tmp_path):
    html = report_of(tmp_path, Table(["", "p", "q", "note"], ROWS))
    assert [['class="number"' in cell for cell in row] for row in cells(html)] == [[False, True, True, False]] * 3
    assert cells(html)[2][2] == '<td class="number">–</td>'
    assert html.count('<th scope="col" class="number">') + html.count('<th class="number" scope="col">') == 2
    assert ".number{" in html
    assert "tabular-nums" in html


def test_a_row_of_another_length_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has 1 cells, the header 2"):
        report_of(tmp_path, Table(["a", "b"], [("x",)]))


def test_an_empty_table_and_an_empty_report_are_pages(tmp_path):
    Page(report_of(tmp_path, Table(["a", "b"], [], best="column")))
    Page(write_report(tmp_path / "r.html", Report("t", "l", [])).read_text("utf-8"))


@pytest.mark.slow
def test_photos_stay_small(tmp_path):
    """Lines of photos as hard to compress as can be: one picture instead of many."""
    photos = RNG.integers(0, 256, (11, 96, 96, 3), np.uint8)
    figure = figures.retrieved(photos[:4], [photos[1:]] * 4)
    html = report_of(tmp_path, Picture(figure, "Photos.", 'Ten "photos".'))
    assert len(html) < 3_000_000
    [img] = Page(html).all("img")
    assert img["alt"] == 'Ten "photos".'
    with Image.open(BytesIO(base64.b64decode(img["src"].partition(",")[2]))) as image:
        assert image.size == (int(img["width"]), int(img["height"]))
        assert image.width > 1000


def test_the_same_report_gives_the_same_bytes(tmp_path, html):
    assert write_report(tmp_path / "deep" / "er" / "r.html", whole_report()).read_text("utf-8") == html


def run(code):
    environment = os.environ | {"PYTHONPATH": str(Path(lookalike.__file__).parents[1])}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of a file, which Windows can't")
def test_a_failed_write_leaves_the_old_report(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    done = run(
        "import resource\n"
        "from lookalike.reports.html import Report, write_report\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))\n"  # the disk is full after 500 bytes
        f"write_report({str(path)!r}, Report('t', 'l', []))\n"
    )
    assert f"LookalikeError: {path}: the report can't be written: File too large; free space" in done.stderr
    assert path.read_text("utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_figure_that_cannot_be_drawn_leaves_the_old_report(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(AttributeError):
        report_of(tmp_path, "fine", Picture("no figure", "c", "a"))
    assert path.read_text("utf-8") == "old"
    with pytest.raises(LookalikeError, match="can't be written"):
        write_report(path / "below.html", Report("t", "l", []))
    assert path.read_text("utf-8") == "old"


def test_machine_says_what_runs_and_imports_nothing_heavy():
    facts = machine()
    assert facts["lookalike"] == lookalike.__version__
    assert facts["numpy"] == np.__version__
    assert facts["Python"].startswith(".".join(map(str, sys.version_info[:3])))
    assert 1 <= int(facts["cores"].split()[0]) <= (os.cpu_count() or 1)
    assert all(isinstance(v, str) and v for v in facts.values())
    if sys.platform == "linux":
        assert float(facts["memory"].split()[0]) > 0
        assert facts["memory"].endswith("GiB")
    done = run(
        "import sys\n"
        "from lookalike.reports.html import machine\n"
        "machine()\n"
        "print(sorted({m.partition('.')[0] for m in sys.modules} "
        "& {'keras', 'tensorflow', 'jax', 'onnxruntime', 'lance', 'matplotlib', 'PIL', 'skimage'}))"
    )
    assert done.stdout.strip() == "[]", done.stderr
