"""Pictures side by side: denoising pairs, a query and its first answers; and how any figure is written to a file.

Each function takes arrays and returns a ``matplotlib.figure.Figure``; :func:`save` writes one to a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.atomic import check_new, new_file
from lookalike.errors import LookalikeError, UsageError
from lookalike.imaging.resize import fit_to
from lookalike.reports.drawing import MUTED, PAPER, RIGHT, RULE, WRONG, picture, say, sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".pdf", ".png", ".svg")

_GAP = 0.1  # of a tile: between neighbours
_MAX_SHOWN = 100  # lines of a grid, and answers on one


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
    figure, ax = sheet(left + n * step - _GAP, len(rows) * (height + _GAP) - _GAP)
    for r, (name, images) in enumerate(rows):
        y = r * (height + _GAP)
        say(ax, 0, y + height / 2, name, size=9)
        for i, image in enumerate(images):
            picture(ax, image, left + i * step, y, 1, height, frame=True)
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
    figure, ax = sheet(first + k * step, top + len(queries) * line + bottom)

    say(ax, 0.5, 0.16, "query", ha="center")
    for j in range(k):
        say(ax, first + j * step + 0.5, 0.16, str(j + 1), color=MUTED, ha="center")
    if denoised is not None:
        say(ax, beside + 0.5, 0.16, "denoised", ha="center", size=7.5)
    rule = (1 + beside + first) / 2
    ax.plot([rule, rule], [top, top + len(queries) * line - (line - height)], color=RULE, lw=1)
    for i, query in enumerate(queries):
        y = top + i * line
        picture(ax, query, 0, y, 1, height, frame=True)
        if denoised is not None:
            picture(ax, denoised[i], beside, y, 1, height, frame=True)
        for j, image in enumerate(answers[i]):
            x = first + j * step
            picture(ax, image, x, y, 1, height, frame=True)
            if right is not None:
                _mark(ax, x, y, height, bool(right[i][j]))
            if captions is not None:
                say(ax, x + 0.5, y + height + 0.17, captions[i][j], size=6.5, color=MUTED, ha="center")
    if right is not None:
        y = top + len(queries) * line + 0.2
        for x, good, text in ((first, True, "same label as the query"), (first + 4.6, False, "another label")):
            _mark(ax, x, y, 0.36, good, width=0.36)
            say(ax, x + 0.62, y + 0.18, f"{'right' if good else 'wrong'}: {text}")
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
        ending = f"'{path.suffix}'" if path.suffix else "no suffix"
        raise UsageError(f"{path}: {ending} names no kind of figure; known: {', '.join(FORMATS)}")


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
    for i, images in enumerate(answers):
        _check_images(f"retrieved: answers[{i}]", images)
        for what, given in zip(("right", "captions"), beside, strict=True):
            if given is not None and len(given[i]) < len(images):
                raise UsageError(f"retrieved: {what}[{i}] has {len(given[i])} entries for {len(images)} answers")
    k = max(map(len, answers))
    if max(len(queries), k) > _MAX_SHOWN:
        raise UsageError(
            f"retrieved: {len(queries)} queries with {k} answers; a figure holds up to {_MAX_SHOWN} of each"
        )
    return k


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
