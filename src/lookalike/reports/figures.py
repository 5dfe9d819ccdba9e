"""Figures: denoising pairs, a query and its first answers, the score by n, the training curve.

Each function takes arrays and returns a ``matplotlib.figure.Figure``; :func:`save` writes one to a file. Nothing here
touches pyplot, so no window opens and no global state is left behind. All drawing uses the few colours named below:
:mod:`lookalike.reports.html` knows them and swaps each for its twin on a dark page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.atomic import check_new, new_file
from lookalike.errors import LookalikeError, UsageError, missing_extra
from lookalike.imaging.resize import fit_to

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1c2128"
MUTED = "#5f6975"
RULE = "#d8dde3"
PAPER = "#ffffff"
RIGHT = "#00805c"
WRONG = "#c74a00"
#: One colour a line. They differ in hue and in lightness; a marker and a dash tell them apart as well.
SERIES = ("#0068a8", WRONG, RIGHT, "#95418c", "#8a6a00", "#4d5661")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (1.2, 1.6)), (0, (6, 2, 1.2, 2)), (0, (3, 1.5)))

FORMATS = (".pdf", ".png", ".svg")

_TILE = 0.52  # inches: the width of one picture in a grid
_GAP = 0.1  # of a tile: between neighbours
_MAX_SHOWN = 100  # lines of a grid, and answers on one
_SMALL = 64  # pixels: up to here a picture is drawn pixel by pixel, above it is smoothed


def denoising_pairs(
    noisy: NDArray[np.uint8], denoised: NDArray[np.uint8], *, original: NDArray[np.uint8] | None = None
) -> Figure:
    """Draw noisy images above what the network made of them.

    The figure of the article, after "Building Autoencoders in Keras" (Chollet, 2016).

    Parameters
    ----------
    noisy, denoised : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        About 10 images and their denoised versions, in the same order.
    original : ndarray of uint8, shape (n, h, w) or (n, h, w, 3), optional
        The images before the noise; drawn as a first row.

    Returns
    -------
    Figure
        One axes, n columns, two or three rows.

    Raises
    ------
    UsageError
        If there is no image, the rows differ in length, an array isn't such an array, or matplotlib isn't installed.

    Examples
    --------
    >>> noisy = np.random.default_rng(0).integers(0, 256, (10, 28, 28), np.uint8)
    >>> len(denoising_pairs(noisy, 255 - noisy).axes[0].images)
    20
    """
    rows = [("original", original)] if original is not None else []
    rows += [("noisy", noisy), ("denoised", denoised)]
    for name, images in rows:
        _check_images(f"denoising_pairs: {name}", images, len(noisy))
    n, height = len(noisy), noisy.shape[1] / noisy.shape[2]
    left, step = 1.55, 1 + _GAP
    figure, ax = _sheet(left + n * step - _GAP, len(rows) * (height + _GAP) - _GAP)
    for r, (name, images) in enumerate(rows):
        y = r * (height + _GAP)
        _say(ax, 0, y + height / 2, name, size=9)
        for i, image in enumerate(images):
            _tile(ax, image, left + i * step, y, height)
    return figure


def as_tiles(images: Sequence[NDArray[np.uint8]], side: int = 128) -> NDArray[np.uint8]:
    """Bring pictures of any sizes to one, for a figure: each whole, its aspect ratio kept, centred on white.

    Parameters
    ----------
    images : sequence of ndarray of uint8, shape (h, w) or (h, w, 3)
        At least one. If all have one shape, and it is no larger than ``side``, they stay as they are.
    side : int
        Of the square.

    Returns
    -------
    ndarray of uint8, shape (n, side, side, 3), or (n, *shape)
        In the order given.
    """
    if len({image.shape for image in images}) == 1 and max(images[0].shape[:2]) <= side:
        return np.stack(images)
    tiles = np.full((len(images), side, side, 3), 255, np.uint8)
    for tile, image in zip(tiles, images, strict=True):
        scale = side / max(image.shape[:2])
        height, width = (max(1, round(n * scale)) for n in image.shape[:2])
        top, left = (side - height) // 2, (side - width) // 2
        tile[top : top + height, left : left + width] = fit_to(image, (height, width, 3))
    return tiles


def retrieved(
    queries: NDArray[np.uint8],
    answers: Sequence[NDArray[np.uint8]],
    *,
    right: NDArray[np.bool_] | None = None,
    captions: Sequence[Sequence[str]] | None = None,
    denoised: NDArray[np.uint8] | None = None,
) -> Figure:
    """Draw each query and, on the same line, the first images found for it.

    A right answer has a solid frame and a check mark, a wrong one a dashed frame and a cross; colour only helps.

    Parameters
    ----------
    queries : ndarray of uint8, shape (q, h, w) or (q, h, w, 3)
        One line each.
    answers : sequence of q ndarrays of uint8, shape (k, h, w) or (k, h, w, 3)
        The images found for each query, best first.
    right : ndarray of bool, shape (q, k), optional
        Which answers are right. Without it nothing is marked.
    captions : sequence of q sequences of k str, optional
        A few characters below each answer, such as its distance.
    denoised : ndarray of uint8, shape (q, h, w) or (q, h, w, 3), optional
        The queries without their noise, drawn beside them.

    Returns
    -------
    Figure
        One axes, q lines.

    Raises
    ------
    UsageError
        If there is no query, there are more than 100 or the answers to one are, the numbers don't agree, an array isn't
        such an array, or matplotlib isn't installed.
    """
    k = _check_answers(queries, answers, right, captions)
    if denoised is not None:
        _check_images("retrieved: denoised", denoised, len(queries))
    height = queries.shape[1] / queries.shape[2]
    beside = 1 + _GAP if denoised is not None else 0
    top, first = 0.42, 1.66 + beside
    step = 1 + _GAP + (0.11 if right is not None else 0)
    line = height + step - 1 + (0.26 if captions is not None else 0)
    bottom = 0.68 if right is not None else 0
    figure, ax = _sheet(first + k * step, top + len(queries) * line + bottom)

    _say(ax, 0.5, 0.16, "query", ha="center")
    for j in range(k):
        _say(ax, first + j * step + 0.5, 0.16, str(j + 1), color=MUTED, ha="center")
    if denoised is not None:
        _say(ax, beside + 0.5, 0.16, "denoised", ha="center", size=7.5)
    rule = (1 + beside + first) / 2
    ax.plot([rule, rule], [top, top + len(queries) * line - (line - height)], color=RULE, lw=1)
    for i, query in enumerate(queries):
        y = top + i * line
        _tile(ax, query, 0, y, height)
        if denoised is not None:
            _tile(ax, denoised[i], beside, y, height)
        for j, image in enumerate(answers[i]):
            x = first + j * step
            _tile(ax, image, x, y, height)
            if right is not None:
                _mark(ax, x, y, height, bool(right[i][j]))
            if captions is not None:
                _say(ax, x + 0.5, y + height + 0.17, captions[i][j], size=6.5, color=MUTED, ha="center")
    if right is not None:
        y = top + len(queries) * line + 0.2
        for x, good, text in ((first, True, "same label as the query"), (first + 4.6, False, "another label")):
            _mark(ax, x, y, 0.36, good, width=0.36)
            _say(ax, x + 0.62, y + 0.18, f"{'right' if good else 'wrong'}: {text}")
    return figure


def score_curves(
    curves: Mapping[str, Sequence[tuple[int, float]]],
    intervals: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    *,
    title: str = "LRAP@n: how high the right ones stand among the first n",
) -> Figure:
    """Draw the score against n, one line an encoder: the article's curve.

    Parameters
    ----------
    curves : mapping of str to sequence of (n, score)
        For each encoder its points; n is at least 1 and drawn on a logarithmic axis, scores are in 0..1.
    intervals : mapping of str to sequence of (low, high), optional
        For some encoders an interval at each point, drawn as a band.
    title : str
        What the height of the line means.

    Returns
    -------
    Figure
        One axes; each line has its own colour, marker and dash, and its name at its end.

    Raises
    ------
    UsageError
        If there is no line, a line has no point or one out of range, an interval belongs to no line or has another
        length, or matplotlib isn't installed.
    """
    if not curves:
        raise UsageError("score_curves: there is no curve to draw; give at least one encoder's points")
    for name, points in curves.items():
        if not points or not all(n >= 1 and 0 <= score <= 1 + 1e-9 for n, score in points):
            raise UsageError(
                f"score_curves: '{name}' needs points with n of 1 or more and scores in 0..1, got {points}"
            )
    for name, band in (intervals or {}).items():
        expected = len(curves.get(name, ()))
        if len(band) != expected:
            raise UsageError(
                f"score_curves: '{name}' has {expected} points and {len(band)} intervals; give one a point"
            )
    figure, ax = _chart(6.9, 3.9, title, curves)
    ends = []
    low = 1.0
    for i, (name, points) in enumerate(curves.items()):
        order = np.argsort([x for x, _ in points], kind="stable")
        n, score = [points[j][0] for j in order], [points[j][1] for j in order]
        low = min(low, *score)
        if intervals and name in intervals:
            below, above = zip(*(intervals[name][j] for j in order), strict=True)
            low = min(low, *below)
            ax.fill_between(n, below, above, color=SERIES[i % len(SERIES)], alpha=0.16, lw=0)
        ax.plot(n, score, label=name, **line_style(i), markevery=_spaced(n), clip_on=False)
        ends.append((f"{name}  {score[-1]:.3f}", n[-1], score[-1]))

    every = sorted({n for points in curves.values() for n, _ in points})
    last = every[-1]
    powers = [10**p for p in range(len(str(last))) if every[0] <= 10**p < last / 1.8]
    ticks = [*powers, last] if powers else every
    ax.set_xscale("log")
    ax.set_xlim(every[0], max(last, every[0] * 1.01))
    ax.set_xticks(ticks, [f"{n:,}" for n in ticks])
    ax.minorticks_off()
    ax.set_xlabel("n: how many answers are looked at", size=9, color=MUTED)
    ax.set_ylim(max(0.0, math.floor(low * 10 - 0.2) / 10), 1.0)
    _name_ends(ax, ends)
    return figure


def training_curve(history: Sequence[Mapping[str, float | None]]) -> Figure:
    """Draw the loss of each epoch, on the images learnt from and on those held out.

    Parameters
    ----------
    history : sequence of mappings with keys ``epoch``, ``loss``, ``validation_loss``, ``seconds``
        One an epoch; ``seconds`` is that epoch's own time. A loss of None or NaN leaves a gap; a validation loss
        that is None throughout is not drawn.

    Returns
    -------
    Figure
        One axes, one or two lines; the epoch with the lowest validation loss (or else training loss) is ringed.

    Raises
    ------
    UsageError
        If no epoch has a finite loss, or matplotlib isn't installed.
    """
    epochs = [int(h["epoch"] or 0) for h in history]
    lines = {}
    for name, key in (("training", "loss"), ("validation", "validation_loss")):
        loss = np.array([h[key] for h in history], np.float64)  # None becomes NaN
        if np.isfinite(loss).any():
            lines[name] = np.where(np.isfinite(loss), loss, np.nan)
    if not lines:
        raise UsageError("training_curve: no epoch has a finite loss to draw; train for at least one, or more slowly")
    figure, ax = _chart(6.9, 3.1, "Loss by epoch", lines)
    ends = []
    for i, (name, loss) in enumerate(lines.items()):
        ax.plot(epochs, loss, label=name, **line_style(i), markevery=_spaced(epochs), clip_on=False)
        last = np.flatnonzero(np.isfinite(loss))[-1]
        ends.append((f"{name}  {loss[last]:.4f}", float(epochs[last]), float(loss[last])))
    best = int(np.nanargmin(loss))
    ax.plot(epochs[best], loss[best], "o", ms=12, mfc="none", mec=INK, mew=1, clip_on=False, label="best")
    every = math.ceil(len(epochs) / 10)
    ax.set_xticks(epochs[::every], [str(e) for e in epochs[::every]])
    beside = 0.5 if len(epochs) == 1 else 0
    ax.set_xlim(epochs[0] - beside, epochs[-1] + beside)
    seconds = sum(h["seconds"] or 0 for h in history)
    said = f"epoch ({len(epochs)} in {seconds:,.0f} s); ringed: lowest {name} loss, epoch {epochs[best]}"
    ax.set_xlabel(said, size=9, color=MUTED)
    values = np.concatenate(list(lines.values()))
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    room = 0.12 * ((high - low) or abs(high) or 1)
    ax.set_ylim(low - room, high + room)
    ax.locator_params(axis="y", nbins=7)
    _name_ends(ax, ends)
    return figure


def save(figure: Figure, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a figure to a file, whole or not at all; the same figure gives the same bytes.

    Parameters
    ----------
    figure : Figure
        What a function of this module returned.
    path : str or Path
        Ends in ``.png``, ``.svg`` or ``.pdf``. Missing folders are made.
    overwrite : bool
        Whether a file that lies there may be replaced.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    UsageError
        If the name ends otherwise, or the file exists and may not be replaced.
    LookalikeError
        If the disk refuses; what was there before is untouched.
    """
    path = Path(path)
    check_kind(path)
    check_new(path, overwrite=overwrite)
    drawn = render(figure, path.suffix.lower()[1:])
    try:
        with new_file(path, overwrite=overwrite) as f:
            f.write(drawn)
    except OSError as e:
        raise LookalikeError(
            f"{path}: the figure can't be written: {e.strerror or e}; free space or pick another folder"
        ) from e
    return path


def check_kind(path: Path) -> None:
    """Refuse a name that no figure can have; also before the work that it would show.

    Parameters
    ----------
    path : Path
        Where it is to be saved.

    Raises
    ------
    UsageError
        If it doesn't end in one of ``FORMATS``.
    """
    if path.suffix.lower() not in FORMATS:
        found = f"'{path.suffix}'" if path.suffix else "no suffix"
        raise UsageError(f"{path}: {found} names no kind of figure; known: {', '.join(FORMATS)}")


def render(figure: Figure, kind: str, *, page: bool = False) -> bytes:
    """Draw a figure into bytes.

    Parameters
    ----------
    figure : Figure
        What a function of this module returned.
    kind : str
        ``"png"``, ``"svg"`` or ``"pdf"``.
    page : bool
        For a page that brings its own fonts, background and margins: text stays text, and the paper is left out.
        Otherwise text in an SVG is outlines, the same everywhere.

    Returns
    -------
    bytes
        A whole file; no date in it.
    """
    import matplotlib

    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    out = BytesIO()
    settings: Any = {
        "svg.fonttype": "none" if page else "path",
        "svg.hashsalt": "lookalike",
        # Or neighbouring pictures of a vector figure are merged into one and lose their sharp pixels.
        "image.composite_image": False,
    }
    with matplotlib.rc_context(settings):
        figure.savefig(
            out,
            format=kind,
            dpi=200,
            facecolor="none" if page else "auto",
            bbox_inches="tight",
            pad_inches=0.02 if page else 0.12,
            metadata=undated.get(kind),
        )
    return out.getvalue()


# Pictures in a grid ----------------------------------------------------------------------------------------------


def _check_images(what: str, images: NDArray[np.uint8], n: int | None = None) -> None:
    shape = np.shape(images)
    if np.asarray(images).dtype != np.uint8 or not (len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)):
        raise UsageError(
            f"{what}: expected uint8 images of shape (n, h, w) or (n, h, w, 3), got {np.asarray(images).dtype} {shape}"
        )
    if 0 in shape:
        raise UsageError(f"{what}: there is no image to draw (shape {shape})")
    if n is not None and shape[0] != n:
        raise UsageError(f"{what}: {shape[0]} images beside {n} noisy ones; give the same number of each")


def _check_answers(queries: NDArray[np.uint8], answers: Sequence[NDArray[np.uint8]], *beside: Any) -> int:
    """Check what :func:`retrieved` was given; return the length of the longest line."""
    _check_images("retrieved: queries", queries)
    for what, given in zip(("answers", "right", "captions"), (answers, *beside), strict=True):
        if given is not None and len(given) != len(queries):
            raise UsageError(f"retrieved: {len(queries)} queries but {what} for {len(given)}; give one line a query")
    for i, found in enumerate(answers):
        _check_images(f"retrieved: answers[{i}]", found)
        for what, given in zip(("right", "captions"), beside, strict=True):
            if given is not None and len(given[i]) < len(found):
                raise UsageError(f"retrieved: {what}[{i}] has {len(given[i])} entries for {len(found)} answers")
    k = max(map(len, answers))
    if max(len(queries), k) > _MAX_SHOWN:
        raise UsageError(
            f"retrieved: {len(queries)} queries with {k} answers; a figure holds up to {_MAX_SHOWN} of each"
        )
    return k


def blank_figure(width: float, height: float) -> Figure:
    """Make an empty figure, for a module that draws on it.

    Parameters
    ----------
    width, height : float
        In inches.

    Returns
    -------
    Figure
        White, with no axes.

    Raises
    ------
    UsageError
        If matplotlib isn't installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as e:
        raise missing_extra("drawing figures", "plots") from e
    return Figure(figsize=(width, height), facecolor=PAPER)


def _sheet(width: float, height: float) -> tuple[Figure, Axes]:
    """Empty axes filling a figure, in tiles: x from 0 to ``width``, y from 0 at the top down to ``height``."""
    margin = 0.02
    figure = blank_figure((width + 2 * margin) * _TILE, (height + 2 * margin) * _TILE)
    ax = figure.add_axes((0, 0, 1, 1), frameon=False)
    ax.set_axis_off()
    ax.set_xlim(-margin, width + margin)
    ax.set_ylim(height + margin, -margin)
    return figure, ax


def _tile(ax: Axes, image: NDArray[np.uint8], x: float, y: float, height: float) -> None:
    """Draw one image in the box 1 wide and ``height`` high whose upper left corner is (x, y), its own shape kept."""
    from matplotlib.patches import Rectangle

    h, w = image.shape[:2]
    scale = min(1 / w, height / h)
    left, top = x + (1 - w * scale) / 2, y + (height - h * scale) / 2
    extent = (left, left + w * scale, top + h * scale, top)
    # "none" keeps the pixels themselves in an SVG or PDF, where "nearest" would first resample them; on a raster they
    # are the same thing.
    how = "none" if max(h, w) <= _SMALL else "antialiased"
    # Grey as three equal channels: a colour map would round one value in ten.
    shown = np.broadcast_to(image.reshape(h, w, -1), (h, w, 3))
    ax.imshow(shown, extent=extent, aspect="auto", interpolation=how)
    ax.add_patch(Rectangle((left, top), w * scale, h * scale, fill=False, ec=RULE, lw=0.5))


def _say(ax: Axes, x: float, y: float, text: str, *, size: float = 8.5, color: str = INK, ha: str = "left") -> None:
    """Write text as it is: a dollar in a file's name starts no formula."""
    ax.text(x, y, text, size=size, color=color, ha=ha, va="center", parse_math=False)


def _mark(ax: Axes, x: float, y: float, height: float, good: bool, *, width: float = 1) -> None:
    """Frame a box and put a check mark or a cross on its lower right corner; drawn, as a font may lack the glyphs."""
    from matplotlib.patches import Circle, Rectangle

    out = 0.045
    color = RIGHT if good else WRONG
    dash: Any = "-" if good else (0, (3, 1.4))
    frame = Rectangle((x - out, y - out), width + 2 * out, height + 2 * out, fill=False, ec=color, lw=1.5, ls=dash)
    frame.set_label("right" if good else "wrong")
    ax.add_patch(frame)
    cx, cy, r = x + width - 0.04, y + height - 0.04, 0.16
    ax.add_patch(Circle((cx, cy), r, fc=color, ec=PAPER, lw=0.8, zorder=3))
    pen: dict[str, Any] = {
        "color": PAPER,
        "lw": 1.3,
        "solid_capstyle": "round",
        "solid_joinstyle": "round",
        "zorder": 4,
    }
    s = r * 0.48
    if good:
        ax.plot([cx - s, cx - 0.25 * s, cx + s], [cy + 0.1 * s, cy + 0.8 * s, cy - 0.75 * s], label="check", **pen)
    else:
        stroke = [-0.8 * s, 0.8 * s, np.nan, -0.8 * s, 0.8 * s]
        across = [-0.8 * s, 0.8 * s, np.nan, 0.8 * s, -0.8 * s]
        ax.plot([cx + d for d in stroke], [cy + d for d in across], label="cross", **pen)


# Lines over n or epochs ------------------------------------------------------------------------------------------


def _chart(width: float, height: float, title: str, names: Mapping[str, object]) -> tuple[Figure, Axes]:
    """Axes with a title on the left, light horizontal lines, and room at the right for the longest name."""
    figure = blank_figure(width, height)
    room = (max(_text_width(name) for name in names) + _text_width("  0.0000") + 28) / 72
    left, top, bottom = 0.5, 0.42, 0.55
    ax = figure.add_axes(
        (left / width, bottom / height, (width - left - room) / width, (height - top - bottom) / height),
        facecolor="none",
    )
    figure.text(0.08 / width, 1 - 0.08 / height, title, size=10.5, weight="bold", color=INK, va="top", parse_math=False)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(MUTED)
    ax.tick_params(colors=MUTED, labelsize=8.5, length=0, pad=7)
    ax.tick_params(axis="x", length=3, pad=4)
    ax.grid(axis="y", color=RULE, lw=0.8)
    ax.set_axisbelow(True)
    return figure, ax


def line_style(i: int) -> dict[str, Any]:
    """Give colour, dash and marker of a line: the three repeat after different counts, so no two lines match.

    Parameters
    ----------
    i : int
        Which line, from 0.

    Returns
    -------
    dict
        What matplotlib's ``plot`` takes.
    """
    return {
        "color": SERIES[i % len(SERIES)],
        "ls": DASHES[i % len(DASHES)],
        "marker": MARKERS[i % len(MARKERS)],
        "lw": 1.8,
        "ms": 5.5,
        "mec": PAPER,
        "mew": 0.7,
    }


def _spaced(points: Sequence[int]) -> list[int]:
    """Return which of the points get a marker: at most 12, with both ends."""
    return sorted({round(i) for i in np.linspace(0, len(points) - 1, min(12, len(points)))})


def _name_ends(ax: Axes, ends: Sequence[tuple[str, float, float]]) -> None:
    """Write each line's name at its end, moved up or down where names would touch."""
    low, high = ax.get_ylim()
    points_high = 72 * ax.bbox.height / ax.figure.dpi
    wanted = [min(max(y, low), high) for _, _, y in ends]
    heights = _spread(wanted, 13 / points_high * (high - low), low, high)
    beside = ax.get_yaxis_transform()
    for i, ((name, x, y), at) in enumerate(zip(ends, heights, strict=True)):
        style = line_style(i)
        leader = {"arrowstyle": "-", "color": style["color"], "lw": 0.7, "shrinkA": 0, "shrinkB": 4}
        ax.annotate("", (x, y), (1.035, at), "data", beside, arrowprops=leader, annotation_clip=False)
        ax.plot([1.04], [at], transform=beside, clip_on=False, **(style | {"ls": "none"}))
        text = {"color": style["color"], "size": 9, "va": "center", "parse_math": False}
        ax.annotate(name, (1.04, at), (7, 0), beside, "offset points", **text)


def _spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move heights apart until neighbours are ``gap`` away, each as near its wish as the others and the ends let it."""
    order = np.argsort(wanted, kind="stable")
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    # Least squares under "each at least a gap above the one before" is isotonic regression of wish - rank * gap;
    # solved by pooling neighbours that are out of order (Ayer et al., 1955).
    pools: list[list[float]] = []
    for rank, i in enumerate(order):
        pools.append([wanted[i] - rank * gap])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            last = pools.pop()
            pools[-1] += last
    levels = [min(max(float(np.mean(p)), low), high - (len(wanted) - 1) * gap) for p in pools for _ in p]
    heights = [0.0] * len(wanted)
    for rank, i in enumerate(order):
        heights[i] = levels[rank] + rank * gap
    return heights


def _text_width(text: str) -> float:
    """Width in points at the size of a line's name."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    return float(text_to_path.get_text_width_height_descent(text, FontProperties(size=9), ismath=False)[0])
