"""Cells along a side and pixels along it -> the weight of each pixel in each cell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array, Float64Array


def cell_centres(cells: int, cell: float) -> Float64Array:
    """Return the places of cells' centres along a row, pixel 0 having its own at 0.

    Parameters
    ----------
    cells : int
        How many.
    cell : float
        Length of one, in pixels.

    Returns
    -------
    ndarray of float64, shape (cells,)
    """
    return np.asarray((np.arange(cells) + 0.5) * cell - 0.5, np.float64)


def cell_shares(cells: int, pixels: int, start: float = 0.0, end: float = 1.0) -> Float64Array:
    """Share each cell of a row out to the pixels of another: most to its centre, none from the next cell's on.

    Cells of histograms and of networks see their neighbours' ground as well, and so their values are laid out.

    Parameters
    ----------
    cells, pixels : int
        Of the two rows.
    start, end : float
        Where the cells begin and end, as shares of the row of pixels, 0 <= start < end <= 1.

    Returns
    -------
    ndarray of float64, shape (pixels, cells)
        Columns add up to 1.

    Examples
    --------
    >>> cell_shares(2, 4).round(2)
    array([[0.43, 0.  ],
           [0.43, 0.14],
           [0.14, 0.43],
           [0.  , 0.43]])
    """
    cell = (end - start) * pixels / cells
    centres = start * pixels + (np.arange(cells) + 0.5) * cell - 0.5
    at = np.arange(pixels)[:, None]
    weights = np.maximum(0, 1 - np.abs(at - centres) / max(cell, 1))
    inside = np.where((at + 0.5 > start * pixels) & (at + 0.5 < end * pixels), weights, 0)
    # Of a cell that lies between the centres of two pixels all is outside.
    weights = np.where(inside.any(axis=0), inside, weights)
    shares: Float64Array = weights / weights.sum(axis=0)
    return shares


def bilinear_windows(cells: int, size: int) -> Float32Array:
    """Make the weights of each pixel of a row in each cell: 1 at the cell's centre, falling to 0 at the next cell's.

    Parameters
    ----------
    cells : int
        Cells along the row.
    size : int
        Pixels along the row.

    Returns
    -------
    ndarray of float32, shape (cells, size)
        In 0..1. Between the first and the last centre each pixel's weights add up to 1. Where cells are smaller than
        pixels, a window is a pixel wide, so that no cell is empty.

    Examples
    --------
    >>> bilinear_windows(2, 4)
    array([[0.75, 0.75, 0.25, 0.  ],
           [0.  , 0.25, 0.75, 0.75]], dtype=float32)
    """
    cell = size / cells
    centres = cell_centres(cells, cell)
    away = np.abs(centres[:, None] - np.arange(size)) / max(cell, 1)
    windows: Float32Array = np.maximum(0, 1 - away).astype(np.float32)
    return windows


def smooth_windows(points: int, size: int) -> Float32Array:
    """Make the weights of control points at each pixel of a row: Gaussian, for a field that is smooth between them.

    Parameters
    ----------
    points : int
        Control points, evenly spaced from the first pixel to the last; 2 or more.
    size : int
        Pixels along the row.

    Returns
    -------
    ndarray of float32, shape (points, size)
        Of each pixel they add up to 1.
    """
    at = np.linspace(0, size - 1, points)
    apart = max(size - 1, 1) / (points - 1)
    weights = np.exp(-0.5 * ((at[:, None] - np.arange(size)) / (0.6 * apart)) ** 2)
    return np.asarray(weights / weights.sum(axis=0), np.float32)


def hiding_windows(cells: int, size: int) -> Float32Array:
    """Return how far each pixel of a row is hidden by each cell: fully within it, and less over half a cell beside it.

    Parameters
    ----------
    cells : int
        Cells along the row.
    size : int
        Pixels along the row.

    Returns
    -------
    ndarray of float32, shape (cells, size)
        In 0..1.
    """
    cell = size / cells
    away = np.abs(cell_centres(cells, cell)[:, None] - np.arange(size)) / cell
    hidden: NDArray[np.float32] = np.clip(1.5 - away, 0, 1).astype(np.float32)
    return hidden
