"""An image file -> its pixels, in one call, as tests want them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lookalike.imaging.decode import decode, header_shape
from lookalike.imaging.limits import Limits


def read_image(path: str | Path, limits: Limits = Limits()) -> NDArray[np.uint8]:  # noqa: B008  (it is frozen)
    """Read one image file; errors begin with its path."""
    return decode(Path(path).read_bytes(), str(path), limits)


def image_shape(path: str | Path, limits: Limits = Limits()) -> tuple[int, ...]:  # noqa: B008
    """Tell the shape of one image file from its header."""
    with Path(path).open("rb") as file:
        return header_shape(file, str(path), limits)
