"""Descriptors of any encoder -> binary codes: what the encoders ``itq`` and ``hashing`` share."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lookalike.encoders.base import Encoder
from lookalike.encoders.registry import create
from lookalike.encoders.serialize import CARD, from_files
from lookalike.errors import EncoderError, UsageError

#: Images that rotations and thresholds are learnt from, at most.
SAMPLE = 10_000
#: Longest code, as the distance counts in 16 bits.
MAX_BITS = 65_528


class CodeEncoder(Encoder):
    """Binary codes of another encoder's descriptors: the base of ``itq`` and ``hashing``.

    A subclass has the parameters ``base``, ``options``, ``bits`` and ``seed``.

    Attributes
    ----------
    base_ : Encoder
        The fitted base.
    """

    distance = "hamming"
    dtype: ClassVar[type[np.generic]] = np.uint8
    base: str
    options: dict[str, Any] | None
    base_: Encoder
    _given: Encoder | None = None

    @property
    def preferred_shape(self) -> tuple[int, ...] | None:  # type: ignore[override]
        """The base encoder's."""
        return (getattr(self, "base_", None) or self._create_base()).preferred_shape

    def fit_over(self, base: Encoder, images: NDArray[np.uint8]) -> Self:
        """Learn binary codes for an encoder that is fitted already, including its post-processing.

        Parameters
        ----------
        base : Encoder
            Fitted, of float descriptors; its name and parameters replace ``base`` and ``options``.
        images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
            The collection, or a sample of it, of the size the base was fitted on.

        Returns
        -------
        CodeEncoder
            Itself.

        Raises
        ------
        EncoderError
            If there are fewer than two different images.
        UsageError
            If the base gives packed codes itself.
        """
        self.base, self.options = base.name, base.params
        self._given = base
        try:
            return self.fit(images)
        finally:
            self._given = None

    def _create_base(self) -> Encoder:
        options = {} if self.options is None else self.options
        if not isinstance(options, dict):
            raise UsageError(f"{self.name}: options is {options!r}; it must hold parameters of {self.base}")
        return create(self.base, **options)

    def _get_base(self) -> Encoder:
        """Return the base, fitted where it was given, checked in any case."""
        base = self._create_base() if self._given is None else self._given
        if base.dtype != np.float32:
            raise UsageError(
                f"{self.name}: base is {base.name!r}, which gives bits already; name an encoder of float descriptors"
            )
        return base

    def _all_alike(self, count: int) -> EncoderError:
        return EncoderError(
            f"{self.name}: the {count:,} images given look all the same to {self.base}; bits are learnt from two or "
            "more that differ"
        )

    def _providers(self) -> set[str]:
        return self.base_._providers()

    def _base_files(self) -> dict[str, bytes]:
        return {f"base-{name}": f for name, f in self.base_.to_files().items()}

    def _set_base(self, files: dict[str, bytes], *others: str) -> None:
        """Take back the base's files, or say that a part is missing; ``others`` must be there too."""
        own = {name.removeprefix("base-"): f for name, f in files.items() if name.startswith("base-")}
        if CARD not in own or not set(others) <= set(files):
            raise EncoderError(f"the saved {self.name} over {self.base} lacks a part; train it again")
        self.base_ = from_files(own, Path(f"{self.name} over {self.base}"))
