"""The colours and the pen that all figures share: sheets counted in tiles, pictures in boxes, text, styles of lines.

Nothing here touches pyplot, so no window opens and no global state is left behind. All drawing uses the few colours named
below: :mod:`lookalike.reports.html` knows them and swaps each for its twin on a dark page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import missing_extra

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

_TILE = 0.52  # inches: the width of one picture in a grid
_SMALL = 64  # pixels: up to here a picture is drawn pixel by pixel, above it is smoothed


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


def sheet(width: float, height: float) -> tuple[Figure, Axes]:
    """Make a figure with empty axes that fill it, counted in tiles.

    Parameters
    ----------
    width, height : float
        x runs from 0 to ``width``, y from 0 at the top down to ``height``.

    Returns
    -------
    (Figure, Axes)
    """
    margin = 0.02
    figure = blank_figure((width + 2 * margin) * _TILE, (height + 2 * margin) * _TILE)
    ax = figure.add_axes((0, 0, 1, 1), frameon=False)
    ax.set_axis_off()
    ax.set_xlim(-margin, width + margin)
    ax.set_ylim(height + margin, -margin)
    return figure, ax


def chart_axes(
    figure: Figure, left: float, bottom: float, width: float, height: float, label_size: float = 7.5
) -> Axes:
    """Add axes with light horizontal lines and a line below.

    Parameters
    ----------
    figure : Figure
        What they are added to.
    left, bottom, width, height : float
        In inches.
    label_size : float
        Of the numbers, in points.

    Returns
    -------
    Axes
    """
    across, up = figure.get_size_inches()
    ax = figure.add_axes((left / across, bottom / up, width / across, height / up), facecolor="none")
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(MUTED)
    ax.tick_params(colors=MUTED, labelsize=label_size, length=0)
    ax.grid(axis="y", color=RULE, lw=0.8)
    ax.set_axisbelow(True)
    return ax


def headline(figure: Figure, text: str, left: float = 0.12) -> None:
    """Write a figure's title at its top.

    Parameters
    ----------
    figure : Figure
        Whose it is.
    text : str
        As it is: a dollar in a file's name starts no formula.
    left : float
        In inches.
    """
    across, up = figure.get_size_inches()
    figure.text(left / across, 1 - 0.08 / up, text, size=10.5, weight="bold", color=INK, va="top", parse_math=False)


def picture(
    ax: Axes, image: NDArray[np.uint8], x: float, y: float, width: float, height: float, *, frame: bool = False
) -> tuple[float, float, float, float]:
    """Draw an image in a box, its own shape kept.

    Parameters
    ----------
    ax : Axes
        What is drawn on, y running down.
    image : ndarray of uint8, shape (h, w) or (h, w, 3)
        Any.
    x, y, width, height : float
        The box: its upper left corner, and its sides.
    frame : bool
        Draw a thin line around it.

    Returns
    -------
    (float, float, float, float)
        Left, top, width and height of what was drawn.
    """
    h, w = image.shape[:2]
    scale = min(width / w, height / h)
    left, top = x + (width - w * scale) / 2, y + (height - h * scale) / 2
    # "none" keeps the pixels themselves in an SVG or PDF, where "nearest" would first resample them; on a raster they
    # are the same thing.
    how = "none" if max(h, w) <= _SMALL else "antialiased"
    # Grey as three equal channels: a colour map would round one value in ten.
    shown = np.broadcast_to(image.reshape(h, w, -1), (h, w, 3))
    extent = (left, left + w * scale, top + h * scale, top)
    ax.imshow(shown, extent=extent, aspect="auto", interpolation=how)
    if frame:
        from matplotlib.patches import Rectangle

        ax.add_patch(Rectangle((left, top), w * scale, h * scale, fill=False, ec=RULE, lw=0.5))
    return left, top, w * scale, h * scale


def say(ax: Axes, x: float, y: float, text: str, *, size: float = 8.5, color: str = INK, ha: str = "left") -> None:
    """Write text as it is: a dollar in a file's name starts no formula.

    Parameters
    ----------
    ax : Axes
        What is drawn on.
    x, y : float
        Where its middle line is, and the side that ``ha`` names.
    text : str
        What is written.
    size : float
        In points.
    color, ha : str
        As matplotlib takes them.
    """
    ax.text(x, y, text, size=size, color=color, ha=ha, va="center", parse_math=False)


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
