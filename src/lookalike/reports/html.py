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
from lookalike.errors import LookalikeError, missing_extra
from lookalike.reports import drawing, figures

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
    drawing.INK: ("ink", "#e4e7eb"),
    drawing.MUTED: ("muted", "#9aa4af"),
    drawing.RULE: ("rule", "#333a43"),
    drawing.PAPER: ("paper", "#15181c"),
    drawing.SERIES[0]: ("blue", "#5fb4ef"),
    drawing.WRONG: ("orange", "#f58a4b"),
    drawing.RIGHT: ("green", "#35c596"),
    drawing.SERIES[3]: ("purple", "#d893d3"),
    drawing.SERIES[4]: ("ochre", "#d6b447"),
    drawing.SERIES[5]: ("slate", "#aab4be"),
}
_LIGHT = "".join(f"--{name}:{light};" for light, (name, _) in _THEME.items())
_DARK = "".join(f"--{name}:{dark};" for name, dark in _THEME.values())

# Nothing but what is in the file may load, whoever opens it.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def _page(report: Report) -> str:
    try:
        import jinja2
    except ModuleNotFoundError as e:
        raise missing_extra("a report", "plots") from e

    # Figures are SVG already; every other text is escaped.
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=jinja2.select_autoescape(["html.jinja"]),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    page: str = environment.get_template("report.html.jinja").render(
        report=report,
        policy=_POLICY,
        light=_LIGHT,
        dark=_DARK,
        style_of=_style_of,
        drawing=_drawing,
        version=lookalike.__version__,
    )
    return page


def _style_of(table: Table) -> tuple[list[bool], set[tuple[int, int]]]:
    """Return which columns of a table hold numbers, and which cells, (row, column), are bold."""
    for row in table.rows:
        if len(row) != len(table.header):
            raise ValueError(f"the row {row!r} has {len(row)} cells, the header {len(table.header)}")
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.header)
    numbers = [bool(column) and not any(isinstance(cell, str) for cell in column) for column in columns]
    bold: set[tuple[int, int]] = set()
    if table.best == "row":
        bold = {(r, c) for r, row in enumerate(table.rows) for c in _highest(["", *row[1:]])}
    elif table.best == "column":
        bold = {(r, c) for c, column in enumerate(columns) for r in _highest(column)}
    return numbers, bold


def _highest(cells: Sequence[str | Value | None]) -> list[int]:
    """Return the places of the highest number, and of those that read the same."""
    values = {i: cell for i, cell in enumerate(cells) if isinstance(cell, Value)}
    if len(values) < 2:  # the best of one is no news
        return []
    best = max(values.values(), key=lambda v: v.value)
    return [i for i, v in values.items() if v.form.format(v.value) == best.form.format(best.value)]


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
