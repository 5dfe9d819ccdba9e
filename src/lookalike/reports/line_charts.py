"""Lines with their names at their ends: the score by n, the loss by epoch. Each function returns a ``matplotlib.figure.Figure``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lookalike.errors import UsageError
from lookalike.reports.drawing import INK, MUTED, SERIES, blank_figure, chart_axes, headline, line_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
    label = f"epoch ({len(epochs)} in {seconds:,.0f} s); ringed: lowest {name} loss, epoch {epochs[best]}"
    ax.set_xlabel(label, size=9, color=MUTED)
    values = np.concatenate(list(lines.values()))
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    room = 0.12 * ((high - low) or abs(high) or 1)
    ax.set_ylim(low - room, high + room)
    ax.locator_params(axis="y", nbins=7)
    _name_ends(ax, ends)
    return figure


def _chart(width: float, height: float, title: str, names: Mapping[str, object]) -> tuple[Figure, Axes]:
    """Axes with a title on the left, light horizontal lines, and room at the right for the longest name."""
    figure = blank_figure(width, height)
    room = (max(_text_width(name) for name in names) + _text_width("  0.0000") + 28) / 72
    left, top, bottom = 0.5, 0.42, 0.55
    ax = chart_axes(figure, left, bottom, width - left - room, height - top - bottom, label_size=8.5)
    headline(figure, title, 0.08)
    ax.tick_params(pad=7)
    ax.tick_params(axis="x", length=3, pad=4)
    return figure, ax


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
