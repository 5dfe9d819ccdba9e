"""Descriptors of several encoders -> one descriptor: concatenated, each normalised and weighted.

The squared distance between two such descriptors is the weighed sum of the members' own: late fusion by a weighted sum
(C. Snoek, M. Worring and A. Smeulders, "Early versus late fusion in semantic video analysis", ACM Multimedia 2005),
done once at encoding, so that search stays one product.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.encoders.attribution import Contribution
from lookalike.encoders.base import Encoder
from lookalike.encoders.registry import create
from lookalike.encoders.serialize import CARD, from_files
from lookalike.errors import EncoderError, UsageError


class Fusion(Encoder):
    """Descriptors of several encoders side by side, each of length 1 times the root of its weight.

    The cosine of two fused descriptors is the mean of the members' cosines by these weights. A member that gives an
    image only zeros (no edge, no keypoint) counts 0 there; if all do, the descriptor is all zeros.

    Parameters
    ----------
    members : str
        Names joined by ``+``, as in ``"neural+color"``; two or more that give float descriptors.
    weights : list of float, optional
        One a member, more than 0; only their ratios matter. Default: all equal.
    options : dict of str to dict, optional
        Parameters of members, by name: ``{"hog": {"deskew": True}}``.

    Attributes
    ----------
    members_ : list of Encoder
        The fitted members, in order.

    Examples
    --------
    >>> images = np.array([[[3, 4]], [[4, 3]]], np.uint8)
    >>> encoder = create("pixels+pixels", weights=[3, 1]).fit(images)
    >>> encoder.encode(images[:1]).round(3)
    array([[0.52 , 0.693, 0.3  , 0.4  ]], dtype=float32)
    """

    name = "fusion"

    def __init__(
        self,
        *,
        members: str = "hog+color",
        weights: list[float] | None = None,
        options: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        self.members = members
        self.weights = weights
        self.options = options

    @property
    def preferred_shape(self) -> tuple[int, ...] | None:  # type: ignore[override]
        """The largest of the members', in colour if one of them wants colour."""
        members = getattr(self, "members_", None) or self._create_members()
        shapes = [m.preferred_shape for m in members if m.preferred_shape is not None]
        if not shapes:
            return None
        largest = max(shapes, key=lambda shape: prod(shape[:2]))
        return (*largest[:2], 3) if any(len(shape) == 3 for shape in shapes) else largest

    @property
    def learns(self) -> bool:
        """Whether one of the members does."""
        return any(member.learns for member in self._create_members())

    def _create_members(self) -> list[Encoder]:
        names = self.members.split("+") if isinstance(self.members, str) else []
        if len(names) < 2 or "fusion" in names:
            raise UsageError(f"fusion: members is {self.members!r}; name two or more encoders, as in 'hog+color'")
        options = {} if self.options is None else self.options
        if not isinstance(options, dict) or not set(options) <= set(names):
            raise UsageError(f"fusion: options is {options!r}; it must hold parameters by member: {', '.join(names)}")
        members = [create(name, **options.get(name, {})) for name in names]
        for member in members:
            if member.dtype != np.float32:
                raise UsageError(
                    f"fusion: {member.name} gives packed codes, which can't be weighed; leave it out of {self.members}"
                )
        return members

    def _roots(self, count: int) -> NDArray[np.float32]:
        """Return what each member's unit vector is multiplied by: squares add up to 1."""
        weights = [1.0] * count if self.weights is None else self.weights
        try:
            array = np.array(weights, np.float64)
        except (TypeError, ValueError):
            array = np.empty(0)
        if array.shape != (count,) or not np.isfinite(array).all() or not (array > 0).all():
            raise UsageError(
                f"fusion: weights is {weights!r}; give {count} numbers above 0, one for each of {self.members}"
            )
        roots: NDArray[np.float32] = np.sqrt(array / array.sum()).astype(np.float32)
        return roots

    def _fit(self, images: NDArray[np.uint8]) -> None:
        members = self._create_members()
        self._roots(len(members))
        self.members_ = [member.fit(images) for member in members]

    def _encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.join([member.encode(images) for member in self.members_])

    def join(self, members: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Join what the members make of the same images.

        Parameters
        ----------
        members : sequence of ndarray of float32, each of shape (n, d)
            One a member, in order.

        Returns
        -------
        ndarray of float32, shape (n, sum of all d)
        """
        parts = []
        for descriptors, root in zip(members, self._roots(len(self.members_)), strict=True):
            lengths = np.linalg.norm(descriptors, axis=1, keepdims=True)
            parts.append(descriptors * (root / np.where(lengths > 0, lengths, 1)))
        return np.concatenate(parts, axis=1, dtype=np.float32)

    def _contributions(
        self,
        image: NDArray[np.uint8],
        raw: NDArray[np.float64],
        scale: float,
        offset: NDArray[np.float64],
        weights: NDArray[np.float64],
    ) -> list[Contribution]:
        found: list[Contribution] = []
        start = 0
        for member, root in zip(self.members_, self._roots(len(self.members_)), strict=True):
            part = slice(start, start + member.dimension_)
            start += member.dimension_
            length = float(np.linalg.norm(member.encode(image[None])))
            parts = None
            if length > 0:
                factor = scale * float(root) / length
                parts = member.contributions(image, factor * weights[part], offset[part] / factor)
            if parts is None:
                total = (scale * raw[part] - offset[part]) @ weights[part]
                parts = [Contribution(member.name, np.array([[total]]), placed=False)]
            found += parts
        return found

    def _providers(self) -> set[str]:
        return set().union(*(member._providers() for member in self.members_))

    def _get_weights(self) -> dict[str, bytes]:
        return {
            f"{place}-{name}": content
            for place, member in enumerate(self.members_)
            for name, content in member.to_files().items()
        }

    def _set_weights(self, files: dict[str, bytes]) -> None:
        members = []
        for place in range(self.members.count("+") + 1):
            own = {name.removeprefix(f"{place}-"): f for name, f in files.items() if name.startswith(f"{place}-")}
            if CARD not in own:
                raise EncoderError(f"the saved fusion of {self.members} lacks its part {place}; train it again")
            members.append(from_files(own, Path(f"fusion of {self.members}, part {place}")))
        self.members_ = members
