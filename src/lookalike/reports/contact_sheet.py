"""Figures to look at with one's own eyes: a pair and why it is one, rows of pictures with a title each.

Drawn as those of :mod:`lookalike.reports.figures`, whose :func:`~lookalike.reports.figures.save` writes them.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.reports import drawing
from lookalike.reports.drawing import MUTED, RULE, SERIES, say, sheet
from lookalike.reports.heatmap import overlay
from lookalike.search.explain import Explanation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lookalike.index.reader import IndexReader
    from lookalike.reports.health import Finding, Health

_SIDE = 4.4  # of a picture, in tiles
_GAP = 0.25
_LINE = 0.42
_MAX_LINES = 60  # that join details: more hide the pictures
_COLUMNS = 15  # pictures of a contact sheet
_APART = 0.18
_OF_ONE = 3  # shown of one cluster
_LETTERS = 135  # of a line of text as wide as the pair


def explained(query: NDArray[np.uint8], match: NDArray[np.uint8], explanation: Explanation) -> Figure:
    """Draw two images side by side, and beside each of them itself in grey under the heat of what makes them alike.

    Parameters
    ----------
    query, match : ndarray of uint8, shape (h, w) or (h, w, 3)
        The images, of any sizes.
    explanation : Explanation
        Of these two.

    Returns
    -------
    Figure
        One axes: four pictures, lines that join details, a bar of the encoders' shares, a strip of the colours.

    Raises
    ------
    UsageError
        If matplotlib isn't installed.
    """
    pictures = [
        overlay(query, explanation.query_map),
        _small(query),
        _small(match),
        overlay(match, explanation.match_map),
    ]
    height = max(_SIDE * min(1.0, p.shape[0] / p.shape[1]) for p in pictures)
    lines = textwrap.wrap(explanation.message, _LETTERS)
    bars = len(explanation.shares) > 1
    width = 4 * _SIDE + 3 * _GAP
    top = 0.5 + _LINE * len(lines)
    below = (1.1 if bars else 0) + (1.2 if explanation.colours else 0)
    figure, ax = sheet(width, top + height + 0.5 + below)
    for i, line in enumerate(lines):
        say(ax, 0, 0.25 + i * _LINE, line, size=9)
    boxes = []
    for i, (picture, name) in enumerate(
        zip(pictures, ("what of it counts", "query", "answer", "what of it counts"), strict=True)
    ):
        x = i * (_SIDE + _GAP)
        boxes.append(drawing.picture(ax, picture, x, top, _SIDE, height))
        say(ax, x + _SIDE / 2, top + height + 0.25, name, color=MUTED, ha="center")
    if explanation.points is not None:
        _join(ax, boxes[1], boxes[2], explanation.points)
    y = top + height + 0.6
    if bars:
        # One that speaks against the similarity has none of the bar.
        shares = enumerate(explanation.shares.items())
        parts = [(max(0.0, share), SERIES[i % len(SERIES)], f"{name} {share:.0%}") for i, (name, share) in shares]
        _bar(ax, y, width, parts, 0.6, 8.5)
        y += 1.1
    if explanation.colours:
        say(ax, 0, y, "colours that account for most", size=7.5, color=MUTED)
        strip = [(share, tuple(level / 255 for level in rgb), f"{share:.0%}") for rgb, share in explanation.colours]
        _bar(ax, y + 0.25, width, strip, 1, 7.5)
    return figure


def contact_sheet(index: IndexReader, health: Health) -> Figure:
    """Draw what was found in an index: a row a kind, the most marked first, with what each was found by.

    Parameters
    ----------
    index : IndexReader
        The one that was looked over.
    health : Health
        Of it.

    Returns
    -------
    Figure
        One axes. Of duplicates the first images of each cluster stand beside each other.

    Raises
    ------
    UsageError
        If matplotlib isn't installed.
    """
    lines = [2.1 if finding.rows else 0.7 for finding in health.findings]
    width = _COLUMNS * (1 + _APART)
    figure, ax = sheet(width, 0.5 + sum(lines))
    say(ax, 0, 0.2, health.lines()[1], size=8.5)
    for i, finding in enumerate(health.findings):
        y = 0.5 + sum(lines[:i])
        title = textwrap.shorten(f"{finding.name}: {finding.message}", _LETTERS, placeholder=" ...")
        say(ax, 0, y + 0.25, title, size=8.5)
        ax.plot([0, width], [y + 0.47, y + 0.47], color=RULE, lw=0.6)
        rows, captions = _shown(finding)
        for j, (picture, caption) in enumerate(zip(index.thumbnails(rows), captions, strict=True)):
            x = j * (1 + _APART)
            drawing.picture(ax, picture, x, y + 0.58, 1, 1, frame=True)
            say(ax, x + 0.5, y + 1.75, caption, size=6.5, color=MUTED, ha="center")
    return figure


def _shown(finding: Finding) -> tuple[list[int], list[str]]:
    """Return the rows of the pictures of one kind, and what is written below each."""
    if finding.clusters is None:
        return finding.rows[:_COLUMNS], [f"{value:.4g}" for value in finding.values[:_COLUMNS]]
    rows, captions = [], []
    for place, cluster in enumerate(finding.clusters, 1):
        rows += cluster[:_OF_ONE]
        captions += [f"{place} ({len(cluster)})"] * len(cluster[:_OF_ONE])
    return rows[:_COLUMNS], captions[:_COLUMNS]


def _small(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Bring a large photo to the size it is drawn in."""
    from PIL import Image

    picture = Image.fromarray(image)
    picture.thumbnail((512, 512))
    return np.asarray(picture)


def _join(
    ax: Axes,
    first: tuple[float, float, float, float],
    second: tuple[float, float, float, float],
    points: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> None:
    """Draw lines from the details of one picture to those of the other."""
    ends = [
        np.array([left, top]) + places * np.array([width, height])
        for (left, top, width, height), places in zip((first, second), points, strict=True)
    ]
    every = max(1, -(-len(ends[0]) // _MAX_LINES))
    for i in range(0, len(ends[0]), every):
        ax.plot(*zip(ends[0][i], ends[1][i], strict=True), color=SERIES[1], lw=0.7, alpha=0.8, marker=".", ms=3)


def _bar(ax: Axes, y: float, width: float, parts: Sequence[tuple[float, Any, str]], room: float, size: float) -> None:
    """Draw one bar, split into parts of a share, a colour and a label, which is left out of a part too narrow for it."""
    from matplotlib.patches import Rectangle

    total, x = sum(share for share, _, _ in parts) or 1.0, 0.0
    for share, face, label in parts:
        part = share / total * width
        ax.add_patch(Rectangle((x, y), part, 0.4, fc=face, ec=RULE, lw=0.5))
        if part > room:
            say(ax, x + 0.05, y + 0.65, label, size=size)
        x += part


__all__ = ["contact_sheet", "explained"]
