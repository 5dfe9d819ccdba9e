"""Descriptors of any encoder -> binary codes by iterative quantization.

Source: Y. Gong and S. Lazebnik, "Iterative Quantization: A Procrustean Approach to Learning Binary Codes", CVPR 2011.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float64Array
from lookalike.encoders.base import check_whole
from lookalike.encoders.codes import MAX_BITS, SAMPLE, CodeEncoder
from lookalike.neighbors.linalg import falling_eigenvectors, unit_rows
from lookalike.neighbors.sampling import draw_rows


class Itq(CodeEncoder):
    """Binary codes of any encoder's descriptors by iterative quantization (ITQ).

    Descriptors are brought to length 1, centred, projected on their leading principal directions, brought to length 1
    again and turned, so that the signs lose as little as can be; a bit is set where a value is above 0. Where
    descriptors vary in fewer directions than there are bits, the turn becomes a frame: more, evenly spread directions.
    A bit whose value is 0 up to rounding may fall either way from one machine to another.

    Parameters
    ----------
    base : str
        The encoder of float descriptors that is turned into bits.
    bits : int
        1 to 65,528. A code has ``ceil(bits / 8)`` bytes; what is left of the last one is 0.
    iterations : int
        Alternations between signs and turn.
    seed : int
        Of the first turn and of the sample that is learnt from.
    options : dict, optional
        The base encoder's parameters.

    Attributes
    ----------
    base_ : Encoder
        The fitted base.
    """

    name = "itq"

    def __init__(
        self,
        *,
        base: str = "hog",
        bits: int = 256,
        iterations: int = 50,
        seed: int = 0,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.base = base
        self.bits = bits
        self.iterations = iterations
        self.seed = seed
        self.options = options

    def _fit(self, images: NDArray[np.uint8]) -> None:
        base = self._get_base()
        check_whole("itq", "bits", self.bits, 1, MAX_BITS)
        check_whole("itq", "iterations", self.iterations, 1, 10_000)
        if self._given is None:
            base.fit(images)
        rng = np.random.default_rng(self.seed)
        descriptors = unit_rows(base.encode(images[draw_rows(rng, len(images), SAMPLE)])).astype(np.float64)
        mean = descriptors.mean(axis=0)
        descriptors -= mean
        variance, directions = falling_eigenvectors(descriptors.T @ descriptors)
        rank = int((variance > 1e-9 * max(float(variance[0]), 1e-9 * len(descriptors))).sum())
        if not rank:
            raise self._all_alike(len(images))
        leading = directions[:, : min(self.bits, rank)]
        points = unit_rows(descriptors @ leading)
        turn = even_frame(points.shape[1], self.bits, rng)
        for _ in range(self.iterations):
            signs = np.where(points @ turn > 0, 1.0, -1.0)
            left, _, right = np.linalg.svd(points.T @ signs, full_matrices=False)
            turn = left @ right
        self.base_, self.mean_, self.projection_ = base, mean, leading @ turn

    def _encode(self, images: NDArray[np.uint8]) -> Any:
        descriptors = unit_rows(self.base_.encode(images)).astype(np.float64)
        return np.packbits((descriptors - self.mean_) @ self.projection_ > 0, axis=1)

    def _get_weights(self) -> dict[str, bytes]:
        file = io.BytesIO()
        np.savez(file, mean=self.mean_, projection=self.projection_)
        return self._base_files() | {"bits.npz": file.getvalue()}

    def _set_weights(self, files: dict[str, bytes]) -> None:
        self._set_base(files, "bits.npz")
        arrays = np.load(io.BytesIO(files["bits.npz"]), allow_pickle=False)
        self.mean_, self.projection_ = arrays["mean"], arrays["projection"]


def even_frame(rows: int, columns: int, rng: np.random.Generator) -> Float64Array:
    """Draw a random matrix whose rows are orthonormal: a rotation where it is square.

    Parameters
    ----------
    rows : int
        Directions that descriptors vary in; at most ``columns``.
    columns : int
        Bits.
    rng : Generator
        What it is drawn by.

    Returns
    -------
    ndarray of float64, shape (rows, columns)
        Its columns lie evenly on the sphere of ``rows`` dimensions.
    """
    left, _, right = np.linalg.svd(rng.normal(size=(rows, columns)), full_matrices=False)
    frame: Float64Array = left @ right
    return frame
