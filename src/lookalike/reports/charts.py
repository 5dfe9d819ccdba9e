"""Charts of what encoders are worth: figures against cost and size, and what is still found as augmentations grow.

Each function returns a ``matplotlib.figure.Figure``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import UsageError
from lookalike.reports.drawing import INK, MUTED, PAPER, RULE, blank_figure, chart_axes, headline, line_style
from lookalike.selection.judge import AIMS
from lookalike.selection.recipes import UNCHANGED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lookalike.neighbors.embedding2d import Layout
    from lookalike.selection.robustness import Point
    from lookalike.selection.verdict import Verdict

#: What the two charts of an augmentation family show: the title, and the points' field.
ROBUSTNESS_FIGURES = {"original found first": "first_hit", "LRAP@10, its own answers": "lrap_10_own"}


def cost_chart(verdict: Verdict) -> Figure:
    """Draw the gains that the verdict expects against the time to encode an image, and against the bytes of its descriptor.

    Parameters
    ----------
    verdict : Verdict
        What :func:`lookalike.selection.compare.compare` found.

    Returns
    -------
    Figure
        A line of two charts for each score that decides for an aim. One mark a row of the table: hollow as the encoder
        is, full after a post-processing, ringed where an aim picks it.
    """
    aims: dict[str, list[str]] = {}
    for aim in verdict.picks:
        aims.setdefault(AIMS[aim].score, []).append(aim)
    names = list(dict.fromkeys(row.encoder for row in verdict.rows))
    below = 0.3 + 0.2 * -(-len(names) // 3)
    width, line = 7.4, 2.7
    height = 0.35 + line * len(aims) + below
    figure = blank_figure(width, height)
    headline(figure, "Better is higher, cheaper is further left")
    drawn: dict[str, Any] = {}
    for down, (name, deciding) in enumerate(aims.items()):
        picked = {verdict.picks[aim] for aim in deciding}
        for across, (unit, cost) in enumerate(
            (("milliseconds an image, here", "seconds"), ("bytes a descriptor", "bytes"))
        ):
            left, bottom = 0.6 + across * 3.45, height - 0.35 - (down + 1) * line + 0.62
            ax = chart_axes(figure, left, bottom, 3.05, line - 0.95)
            ax.grid(axis="x", color=RULE, lw=0.5)
            ax.set_xscale("log")
            for i, row in enumerate(verdict.rows):
                style = line_style(names.index(row.encoder)) | {"ls": "none", "ms": 6}
                if row.recipe == str(UNCHANGED):
                    style |= {"mfc": PAPER, "mec": style["color"], "mew": 1.4}
                x = 1e3 * row.seconds if cost == "seconds" else row.bytes
                (mark,) = ax.plot([x], [row.gains[name].mean], label=row.title, **style)
                drawn.setdefault(row.encoder, mark)
                if i in picked:
                    ax.plot([x], [row.gains[name].mean], "o", ms=12, mfc="none", mec=INK, mew=1, label="picked")
            ax.margins(x=0.12, y=0.12)
            ax.minorticks_off()
            _plain_powers(ax)
            ax.set_xlabel(unit, size=8, color=MUTED)
            ax.set_title(
                f"expected gain of {name}  ({', '.join(deciding)})" if not across else "", size=9, color=INK, loc="left"
            )
    figure.text(
        0.08 / width,
        (below - 0.02) / height,
        "hollow: as the encoder is; full: after a post-processing; ringed: the pick",
        size=8,
        color=MUTED,
        va="top",
    )
    figure.legend(
        handles=list(drawn.values()),
        labels=list(drawn),
        loc="lower left",
        bbox_to_anchor=(0.02 / width, 0),
        ncols=3,
        frameon=False,
        fontsize=8,
    )
    return figure


def robustness_curves(curves: Mapping[str, Mapping[str, Sequence[Point]]], units: Mapping[str, str]) -> Figure:
    """Draw what an augmented image still finds: two small charts an augmentation family, a line an encoder.

    Parameters
    ----------
    curves : mapping of str to mapping of str to sequence of Point
        For each encoder and augmentation family the points, by rising amount.
    units : mapping of str to str
        For each augmentation family what its amount counts.

    Returns
    -------
    Figure
        Four charts a line, so two augmentation families, one legend above them: at left how often the original comes first,
        at right LRAP@10 where the right answers are those of the unchanged image.

    Raises
    ------
    UsageError
        If there is nothing to draw, or matplotlib isn't installed.
    """
    families = list(dict.fromkeys(family for of_encoder in curves.values() for family in of_encoder))
    if not families:
        raise UsageError(
            "robustness_curves: there is no curve to draw; give at least one encoder and one augmentation family"
        )
    most, side, high = min(2, len(families)), 1.9, 1.75
    lines, top = -(-len(families) // most), 0.75 + 0.2 * ((len(curves) - 1) // 2)
    width, height = max(6.5, most * 2 * side + 0.3), top + lines * high
    figure = blank_figure(width, height)
    headline(figure, "What an augmented image still finds")
    drawn: dict[str, Any] = {}
    for place, family in enumerate(families):
        down, right = divmod(place, most)
        for half, (title, score) in enumerate(ROBUSTNESS_FIGURES.items()):
            left = 0.4 + (2 * right + half) * side + 0.15 * right
            bottom = height - top - (down + 1) * high + 0.62
            ax = chart_axes(figure, left, bottom, side - 0.4, high - 0.98)
            ax.set_ylim(0, 1.03)
            ax.set_title(
                f"{family}: {title}" if not half else title, size=7.5, color=INK, loc="left", x=-0.1, parse_math=False
            )
            ax.set_xlabel("" if half else units.get(family, ""), size=6.5, color=MUTED, loc="left", parse_math=False)
            for i, (encoder, of_encoder) in enumerate(curves.items()):
                points = of_encoder[family]
                (line,) = ax.plot(
                    [p.amount for p in points],
                    [getattr(p, score) for p in points],
                    label=encoder,
                    **(line_style(i) | {"ms": 3.5, "lw": 1.3}),
                )
                drawn.setdefault(encoder, line)
    figure.legend(
        handles=list(drawn.values()),
        loc="upper left",
        bbox_to_anchor=(0.06 / width, 1 - 0.28 / height),
        ncols=2,
        frameon=False,
        fontsize=8,
    )
    return figure


def _plain_powers(ax: Axes) -> None:
    """Label a logarithmic axis with a few round numbers inside its limits."""
    low, high = ax.get_xlim()
    inside = [
        m * 10.0**p
        for p in range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
        for m in (1, 2, 5)
        if low <= m * 10.0**p <= high
    ]
    tens = [value for value in inside if f"{value:e}".startswith("1")]
    shown = tens if len(tens) >= 3 else inside
    ax.set_xticks(shown, [f"{value:,.10g}" for value in shown])


def map_chart(layout: Layout, chosen: Sequence[int], pictures: Sequence[NDArray[np.uint8]]) -> Figure:
    """Draw a map: a dot an image, and above them the pictures of some.

    Parameters
    ----------
    layout : Layout
        Of a collection.
    chosen : sequence of int
        The images whose pictures are drawn, as of :meth:`lookalike.neighbors.embedding2d.Layout.spread_out`.
    pictures : sequence of ndarray of uint8, shape (h, w) or (h, w, 3)
        Theirs.

    Returns
    -------
    Figure
        One axes, with no frame.
    """
    low, high = layout.positions.min(axis=0), layout.positions.max(axis=0)
    span = np.maximum(high - low, 1e-6)
    longest = float(span.max())
    side = longest / 26 * 0.92
    margin = side * 0.6
    width, height = (span + 2 * margin) / (longest + 2 * margin) * 10
    figure = blank_figure(float(width), float(height))
    ax = figure.add_axes((0, 0, 1, 1), frameon=False)
    ax.set_axis_off()
    ax.set_xlim(low[0] - margin, high[0] + margin)
    ax.set_ylim(low[1] - margin, high[1] + margin)
    colours = [line_style(cluster)["color"] for cluster in layout.clusters.tolist()]
    # Thousands of shapes would make an SVG of megabytes: dots are drawn as one picture in any format.
    ax.scatter(layout.positions[:, 0], layout.positions[:, 1], s=2, c=colours, lw=0, alpha=0.5, rasterized=True)
    for row, picture in zip(chosen, pictures, strict=True):
        x, y = layout.positions[row]
        h, w = picture.shape[:2]
        right, up = side * w / max(h, w) / 2, side * h / max(h, w) / 2
        shown = np.broadcast_to(picture.reshape(h, w, -1), (h, w, 3))
        ax.imshow(
            shown, extent=(x - right, x + right, y - up, y + up), aspect="auto", zorder=2, interpolation="antialiased"
        )
    return figure
