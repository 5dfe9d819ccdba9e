"""A report to read and to send: figures, tables and facts in one HTML file that needs nothing else.

The file loads nothing from anywhere, runs no script, follows the reader's light or dark setting, and reads well on a
phone and on paper. A :class:`Report` says what is in it; :func:`write_report` writes it. Every text given is escaped.
"""

from __future__ import annotations

import base64
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from xml.etree import ElementTree

import lookalike
from lookalike.atomic import replace_file
from lookalike.cores import usable_cores
from lookalike.errors import LookalikeError
from lookalike.reports import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """A figure with its caption.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
        From :mod:`lookalike.reports.figures`, whose colours follow the page; any other is shown as it is.
    caption : str
        What it shows, below it.
    alt : str
        What it says, for a reader who can't see it.
    """

    figure: Figure
    caption: str
    alt: str


@dataclass(frozen=True)
class Value:
    """A number in a table.

    Attributes
    ----------
    value : float
        The number.
    interval : tuple of two floats, optional
        Its interval, shown small below it.
    form : str
        A ``str.format`` template for the number and both ends, such as ``"{:.1f} s"``.
    """

    value: float
    interval: tuple[float, float] | None = None
    form: str = "{:.3f}"


@dataclass(frozen=True)
class Table:
    """A table whose first column names the row.

    Attributes
    ----------
    header : sequence of str
        The columns' names.
    rows : sequence of sequences of str, Value or None
        One cell a column; None is a dash. A column with no text in it is set as numbers.
    caption : str
        Above the table.
    best : "row", "column" or None
        Where to print the highest number in bold: in each row, in each column, nowhere. What reads the same is bold
        together.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str | Value | None]]
    caption: str = ""
    best: Literal["row", "column"] | None = None


@dataclass(frozen=True)
class Facts:
    """Terms and what is said of each: a machine, versions, seeds, or words explained.

    Attributes
    ----------
    items : mapping of str to str
        In the order shown.
    """

    items: Mapping[str, str]


@dataclass(frozen=True)
class Code:
    """Something typed or printed, in a fixed-width font.

    Attributes
    ----------
    text : str
        Its lines.
    """

    text: str


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it.

    Attributes
    ----------
    title : str
        The heading.
    blocks : sequence of str, Picture, Table, Facts or Code
        In reading order; a str is a paragraph.
    """

    title: str
    blocks: Sequence[str | Picture | Table | Facts | Code]


@dataclass(frozen=True)
class Report:
    """What a report says.

    Attributes
    ----------
    title : str
        The heading of the page, and its name in a browser's tab.
    lead : str
        The result, in one sentence or two.
    sections : sequence of Section
        The rest, the most wanted first.
    """

    title: str
    lead: str
    sections: Sequence[Section]


def write_report(path: str | Path, report: Report) -> Path:
    """Write a report as one self-contained HTML file.

    Parameters
    ----------
    path : str or Path
        The file; replaced in one step, or left as it was. Missing folders are made.
    report : Report
        What it says.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        If a table's row has another length than its header.
    LookalikeError
        If the disk refuses.
    """
    path = Path(path)
    page = _page(report).encode("utf-8", "replace")  # a file name may hold broken characters
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(path) as f:
            f.write(page)
    except OSError as e:
        raise LookalikeError(
            f"{path}: the report can't be written: {e.strerror or e}; free space or pick another folder"
        ) from e
    return path


# HTML ------------------------------------------------------------------------------------------------------------

#: A colour of :mod:`lookalike.reports.figures` -> its name in the style sheet, and what it is on a dark page.
_THEME = {
    figures.INK: ("ink", "#e4e7eb"),
    figures.MUTED: ("muted", "#9aa4af"),
    figures.RULE: ("rule", "#333a43"),
    figures.PAPER: ("paper", "#15181c"),
    figures.SERIES[0]: ("blue", "#5fb4ef"),
    figures.WRONG: ("orange", "#f58a4b"),
    figures.RIGHT: ("green", "#35c596"),
    figures.SERIES[3]: ("purple", "#d893d3"),
    figures.SERIES[4]: ("ochre", "#d6b447"),
    figures.SERIES[5]: ("slate", "#aab4be"),
}
_LIGHT = "".join(f"--{name}:{light};" for light, (name, _) in _THEME.items())
_DARK = "".join(f"--{name}:{dark};" for name, dark in _THEME.values())

# Nothing but what is in the file may load, whoever opens it.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

_STYLE = f"""
:root{{color-scheme:light dark;{_LIGHT}--tint:#f1f4f7;--best:#e3f3ec}}
@media screen and (prefers-color-scheme:dark){{:root{{{_DARK}--tint:#1e2329;--best:#173a2e}}}}
*{{box-sizing:border-box}}
html{{-webkit-text-size-adjust:100%;text-size-adjust:100%}}
body{{margin:0;background:var(--paper);color:var(--ink);
 font:1.0625rem/1.6 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}}
main,footer{{max-width:47rem;margin:0 auto;padding:0 1.25rem}}
header{{padding:4.5rem 0 .5rem}}
.maker{{margin:0;color:var(--blue);font-weight:600;font-size:.875rem}}
h1{{margin:.35rem 0 1.25rem;font-size:clamp(1.9rem,1.3rem + 2.6vw,2.75rem);line-height:1.12;
 letter-spacing:-.022em;text-wrap:balance}}
.lead{{margin:0;font-size:1.25rem;line-height:1.5;text-wrap:pretty}}
section{{margin-top:3.25rem}}
h2{{margin:0 0 .9rem;padding-top:1.1rem;border-top:1px solid var(--rule);font-size:1.3rem;
 line-height:1.3;letter-spacing:-.01em}}
p{{margin:0 0 1rem}}
figure,.table{{margin:1.6rem 0}} figure+.table{{margin-top:2.75rem}}
.scroll{{overflow-x:auto}}
.scroll:focus-visible{{outline:2px solid var(--blue);outline-offset:4px}}
figure svg{{display:block;width:100%;height:auto}}
figure svg *{{stroke-linejoin:round}}
figure svg text{{font-family:inherit!important}}
figure img{{display:block;max-width:100%;height:auto;background:#fff;border-radius:.5rem}}
figcaption,caption{{color:var(--muted);font-size:.9375rem;line-height:1.5;text-align:left}}
figcaption{{margin-top:.75rem}}
caption{{padding-bottom:.8rem;color:var(--ink)}}
table{{width:100%;border-collapse:collapse;font-size:.9375rem;line-height:1.35}}
table:not(:has(th:nth-child(3))){{width:auto;min-width:18rem}}
th,td{{padding:.5rem .7rem;text-align:left;vertical-align:baseline;border-bottom:1px solid var(--rule)}}
thead th{{border-bottom:1.5px solid var(--muted);vertical-align:bottom}}
th:first-child,td:first-child{{padding-left:0}}
tbody th{{font-weight:500}}
.number{{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums lining-nums}}
.best{{background:var(--best)}}
.interval{{display:block;color:var(--muted);font-size:.78rem;font-weight:400;line-height:1.25}}
dl{{margin:1.2rem 0;font-size:1rem;line-height:1.5}}
dl div{{display:grid;grid-template-columns:11rem 1fr;gap:.2rem 1.25rem;padding:.5rem 0;
 border-bottom:1px solid var(--rule)}}
dt{{font-weight:500}}
dd{{margin:0;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}}
pre{{margin:1.2rem 0;padding:.9rem 1.1rem;background:var(--tint);border-radius:.5rem;overflow-x:auto;
 font-size:.9rem;line-height:1.5}}
code{{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace}}
footer{{margin-top:4rem;padding-bottom:3rem;color:var(--muted);font-size:.875rem}}
@media (max-width:40rem){{
 body{{font-size:1rem}} header{{padding-top:2.25rem}} .lead{{font-size:1.125rem}}
 dl div{{grid-template-columns:6.5rem 1fr}}
 figure .scroll{{margin-right:-1.25rem}}
 table{{font-size:.875rem}} th,td{{padding:.45rem .35rem}} .interval{{white-space:normal}}
}}
@media print{{
 :root{{color-scheme:light}} body{{font-size:10.5pt}} main,footer{{max-width:none;padding:0}} header{{padding-top:0}}
 section{{margin-top:1.8rem}} h2,p:has(+figure){{break-after:avoid}} figure,.table,dl div,pre{{break-inside:avoid}}
 figure svg{{min-width:0!important;max-height:14.5cm}} .scroll{{overflow:visible}} .best{{print-color-adjust:exact}}
}}
"""


def _tag(name: str, content: str = "", **attributes: str) -> str:
    """Make one element; ``content`` is HTML already, attributes are text; ``class_`` and ``aria_label`` as in HTML."""
    given = "".join(f' {k.rstrip("_").replace("_", "-")}="{escape(v)}"' for k, v in attributes.items())
    return f"<{name}{given}>{content}</{name}>"


def _page(report: Report) -> str:
    sections = []
    for i, section in enumerate(report.sections, 1):
        heading = _tag("h2", escape(section.title), id=f"part{i}")
        blocks = [_block(block, f"f{i}-{j}-") for j, block in enumerate(section.blocks, 1)]
        sections.append(_tag("section", "\n".join(["", heading, *blocks, ""]), aria_labelledby=f"part{i}"))
    header = _tag(
        "header",
        _tag("p", "lookalike", class_="maker")
        + _tag("h1", escape(report.title))
        + _tag("p", escape(report.lead), class_="lead"),
    )
    footer = _tag(
        "footer", escape(f"Written by lookalike {lookalike.__version__}. This file is complete: it loads nothing.")
    )
    head = "\n".join(
        [
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="data:,">',
            _tag("title", escape(report.title)),
            _tag("style", _STYLE),
        ]
    )
    body = "\n".join([_tag("main", "\n".join([header, *sections])), footer])
    return "<!doctype html>\n" + _tag("html", f"\n{_tag('head', head)}\n{_tag('body', body)}\n", lang="en") + "\n"


def _block(block: str | Picture | Table | Facts | Code, prefix: str) -> str:
    match block:
        case Picture():
            caption = _tag("figcaption", escape(block.caption))
            return _tag("figure", _scroll(_drawing(block, prefix), block.alt) + caption)
        case Table():
            return _table(block)
        case Facts():
            pairs = (_tag("div", _tag("dt", escape(k)) + _tag("dd", escape(v))) for k, v in block.items.items())
            return _tag("dl", "\n".join(pairs))
        case Code():
            return _tag("pre", _tag("code", escape(block.text)))
        case _:
            return _tag("p", escape(block))


def _scroll(content: str, what: str) -> str:
    """Let something wide scroll by itself, from the keyboard too, so that the page never does."""
    return _tag("div", content, class_="scroll", tabindex="0", role="group", aria_label=what)


def _table(table: Table) -> str:
    for row in table.rows:
        if len(row) != len(table.header):
            raise ValueError(f"the row {row!r} has {len(row)} cells, the header {len(table.header)}")
    columns = list(zip(*table.rows, strict=True))
    numbers = [bool(column) and not any(isinstance(cell, str) for cell in column) for column in columns]
    kind: list[dict[str, str]] = [{"class_": "number"} if number else {} for number in numbers]
    bold = set()  # (row, column)
    if table.best == "row":
        bold = {(r, c) for r, row in enumerate(table.rows) for c in _highest(["", *row[1:]])}
    elif table.best == "column":
        bold = {(r, c) for c, column in enumerate(columns) for r in _highest(column)}
    head = "".join(_tag("th", escape(name), scope="col", **k) for name, k in zip(table.header, kind, strict=False))
    body = []
    for r, (name, *cells) in enumerate(table.rows):
        row = _tag("th", _cell(name), scope="row")
        for c, cell in enumerate(cells, 1):
            if (r, c) in bold:
                row += _tag("td", _tag("strong", _cell(cell)), class_="number best")
            else:
                row += _tag("td", _cell(cell), **kind[c])
        body.append(_tag("tr", row))
    caption = _tag("caption", escape(table.caption)) if table.caption else ""
    content = caption + _tag("thead", _tag("tr", head)) + _tag("tbody", "\n".join(body))
    return _tag("div", _scroll(_tag("table", content), table.caption or "table"), class_="table")


def _highest(cells: Sequence[str | Value | None]) -> list[int]:
    """Return the places of the highest number, and of those that read the same."""
    values = {i: cell for i, cell in enumerate(cells) if isinstance(cell, Value)}
    if len(values) < 2:  # the best of one is no news
        return []
    best = max(values.values(), key=lambda v: v.value)
    return [i for i, v in values.items() if v.form.format(v.value) == best.form.format(best.value)]


def _cell(cell: str | Value | None) -> str:
    if not isinstance(cell, Value):
        return escape("–" if cell is None else cell)
    text = escape(cell.form.format(cell.value))
    if cell.interval is not None:
        low, high = (escape(cell.form.format(end)) for end in cell.interval)
        text += _tag("span", f" {low}–<wbr>{high}", class_="interval")
    return text


# Figures ---------------------------------------------------------------------------------------------------------

_HEAVY = 600_000  # characters: a figure of photos that is longer as SVG goes in as one compressed picture


def _drawing(picture: Picture, prefix: str) -> str:
    drawn = figures.render(picture.figure, "svg", page=True)
    if len(drawn) > _HEAVY:
        return _photo(picture)
    root = ElementTree.fromstring(drawn)
    for parent in root.iter():
        for child in list(parent):
            # The licence block and a style sheet that would apply to the whole page.
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    for element in root.iter():
        # Inside HTML the names need no namespace, and ids must differ from those of the page's other figures.
        element.tag = element.tag.rpartition("}")[2]
        attributes = {k.rpartition("}")[2]: v for k, v in element.attrib.items()}
        if "id" in attributes:
            attributes["id"] = prefix + attributes["id"]
        for key, value in attributes.items():
            if key == "href" and value.startswith("#"):
                attributes[key] = f"#{prefix}{value[1:]}"
            elif key in ("style", "clip-path", "fill", "stroke"):
                attributes[key] = _themed(value).replace("url(#", f"url(#{prefix}")
        element.attrib.clear()
        element.attrib.update(attributes)
    # Wide enough to read, which on a phone may mean to scroll, but never much above its own size.
    natural = f"{1.1 * float(root.attrib['width'].removesuffix('pt')):.0f}pt"
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.attrib["style"] = f"max-width:{natural};min-width:min(27rem,{natural})"
    root.attrib.update({"role": "img", "aria-label": picture.alt, "preserveAspectRatio": "xMinYMin"})
    return ElementTree.tostring(root, encoding="unicode")


def _themed(style: str) -> str:
    return re.sub(r"#[0-9a-f]{6}\b", lambda m: f"var(--{_THEME[m[0]][0]})" if m[0] in _THEME else m[0], style)


def _photo(picture: Picture) -> str:
    from PIL import Image

    with Image.open(BytesIO(figures.render(picture.figure, "png"))) as image:
        small = image.convert("RGB")
    small.thumbnail((1600, 4000))
    out = BytesIO()
    small.save(out, "WEBP", quality=82)
    source = "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()
    width, height = (str(side) for side in small.size)
    return f'<img src="{source}" alt="{escape(picture.alt)}" width="{width}" height="{height}">'


# The machine -----------------------------------------------------------------------------------------------------


def machine() -> dict[str, str]:
    """Say what this runs on: what a reader needs to judge a time or to repeat a run.

    Returns
    -------
    dict of str to str
        ``processor``, ``cores`` (those this process may use), ``memory``, ``system``, ``Python`` and the version of
        each package that matters and is installed. What can't be told is left out. Nothing heavy is imported.

    Examples
    --------
    >>> machine()["lookalike"] == lookalike.__version__
    True
    """
    versions = {"lookalike": lookalike.__version__}
    for name, *distributions in (
        ("numpy", "numpy"),
        ("keras", "keras"),
        ("tensorflow", "tensorflow", "tensorflow-cpu"),
        ("jax", "jax"),
        ("onnxruntime", "onnxruntime"),
        ("pylance", "pylance"),
    ):
        for distribution in distributions:
            try:
                versions.setdefault(name, version(distribution))
            except PackageNotFoundError:
                continue
    facts = {
        "processor": _processor(),
        "cores": _cores(),
        "memory": _memory(),
        "system": _system(),
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
    }
    return {k: v for k, v in facts.items() if v} | versions


def _processor() -> str:
    models = re.findall(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return models[0] if models else platform.processor() or platform.machine()


def _cores() -> str:
    there = os.cpu_count() or 1
    usable = usable_cores()
    # A container's share: microseconds of processor time in each period.
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdecimal() and period.strip().isdecimal():
        usable = min(usable, max(1, int(quota) // int(period)))
    return str(usable) if usable == there else f"{usable} of {there}"


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has none of them
        return ""
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    return f"{min(size, int(limit) if limit.isdecimal() else size) / 2**30:.1f} GiB"


def _system() -> str:
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        name = f"macOS {platform.mac_ver()[0]}" if platform.mac_ver()[0] else platform.system()
    return f"{name} ({platform.system()} {platform.release()}, {platform.machine()})"


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
