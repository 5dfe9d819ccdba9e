"""Descriptors -> post-processed descriptors: a projection, saved with the encoder (:mod:`lookalike.selection.adapt`).

``unit(x) - mean``, times a matrix; and for a kernel form then random waves and a second matrix:
``(cos(y waves + phases) - last_mean) last``, an approximation of a Gaussian kernel by random Fourier features
(A. Rahimi and B. Recht, "Random Features for Large-Scale Kernel Machines", NIPS 2007).
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array
from lookalike.errors import EncoderError

#: The file of a saved encoder that holds it.
FILE = "post.npz"
#: Descriptors worked on at once: the waves take 4 bytes each a descriptor.
BLOCK_ROWS = 1024
_NEEDED = ("mean", "matrix")
_KERNEL = ("waves", "phases", "last_mean", "last")


@dataclass(frozen=True, eq=False)
class Projection:
    """A fixed map of descriptors, compared by cosine afterwards. A row of zeros (a blank image) stays one.

    Parameters
    ----------
    name : str
        How it was learnt, such as ``centred`` or ``adapted``.
    mean : ndarray of float32, shape (d,)
        Taken away first.
    matrix : ndarray of float32, shape (d, p)
        Multiplied by next; of shape (d, 0) for none.
    unit : bool
        Whether descriptors are first brought to length 1.
    waves, phases, last_mean, last : ndarray of float32, shapes (p, m), (m,), (m,), (m, k), optional
        The kernel form.
    params : dict
        What it was learnt with; JSON-able.

    Examples
    --------
    >>> centred = Projection("centred", np.array([1, 1], np.float32), np.empty((2, 0), np.float32), unit=False)
    >>> centred.apply(np.array([[3, 1], [0, 0]], np.float32))
    array([[2., 0.],
           [0., 0.]], dtype=float32)
    """

    name: str
    mean: Float32Array
    matrix: Float32Array
    unit: bool = True
    waves: Float32Array | None = None
    phases: Float32Array | None = None
    last_mean: Float32Array | None = None
    last: Float32Array | None = None
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def takes(self) -> int:
        """Length of a descriptor before."""
        return len(self.mean)

    @property
    def dimension(self) -> int:
        """Length of a descriptor afterwards."""
        if self.last is not None:
            return int(self.last.shape[1])
        return int(self.matrix.shape[1]) or self.takes

    def apply(self, descriptors: NDArray[np.floating]) -> Float32Array:
        """Map descriptors.

        Parameters
        ----------
        descriptors : ndarray of float, shape (n, d)
            One row an image; not changed.

        Returns
        -------
        ndarray of float32, shape (n, dimension)
            Not normalised.

        Raises
        ------
        EncoderError
            If the descriptors are of another length.
        """
        if descriptors.ndim != 2 or descriptors.shape[1] != self.takes:
            raise EncoderError(
                f"the post-processing {self.name!r} takes descriptors of {self.takes:,} values, these have shape "
                f"{descriptors.shape}; learn it again for this encoder"
            )
        out = np.empty((len(descriptors), self.dimension), np.float32)
        for start in range(0, len(descriptors), BLOCK_ROWS):
            part = slice(start, start + BLOCK_ROWS)
            out[part] = self._apply(np.asarray(descriptors[part], np.float32))
        return out

    def _apply(self, rows: Float32Array) -> Float32Array:
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        blank = lengths == 0
        if self.unit:
            rows = np.asarray(rows / np.where(blank, 1, lengths), np.float32)
        rows = rows - self.mean
        if self.matrix.shape[1]:
            rows = rows @ self.matrix
        if self.waves is not None and self.last is not None:
            rows = rows @ self.waves
            rows += np.asarray(self.phases)
            np.cos(rows, out=rows)
            rows -= np.asarray(self.last_mean)
            rows = rows @ self.last
        return np.asarray(np.where(blank, np.float32(0), rows), np.float32)

    def _arrays(self) -> dict[str, Float32Array]:
        names = (*_NEEDED, *(_KERNEL if self.waves is not None else ()))
        return {name: getattr(self, name) for name in names}

    def to_files(self) -> dict[str, bytes]:
        """Return the arrays as files, name -> content; without pickle, and the same bytes for the same arrays."""
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **self._arrays())
        return {FILE: file.getvalue()}

    def to_json(self) -> dict[str, Any]:
        """Return what the arrays don't say."""
        return {"name": self.name, "unit": self.unit, "params": self.params}

    @classmethod
    def from_files(cls, facts: dict[str, Any], files: dict[str, bytes]) -> Self:
        """Take back what :meth:`to_json` and :meth:`to_files` returned.

        Parameters
        ----------
        facts : dict
            Keys ``name``, ``unit``, ``params``.
        files : dict of str to bytes
            Holds :data:`FILE`; others are ignored.

        Returns
        -------
        Projection

        Raises
        ------
        EncoderError
            If something is missing, or the arrays don't fit each other.
        """
        try:
            with np.load(io.BytesIO(files[FILE]), allow_pickle=False) as stored:
                arrays = {name: np.asarray(stored[name], np.float32) for name in stored.files}
            projection = cls(name=str(facts["name"]), unit=bool(facts["unit"]), params=dict(facts["params"]), **arrays)
            projection._apply(np.zeros((1, projection.takes), np.float32))
        except (KeyError, TypeError, ValueError, OSError, EOFError, zipfile.BadZipFile) as e:
            raise EncoderError(
                f"the post-processing of this encoder can't be read ({type(e).__name__}: {e}); adapt the encoder again"
            ) from e
        return projection
