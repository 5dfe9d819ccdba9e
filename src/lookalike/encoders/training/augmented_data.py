"""Images -> augmented copies and their originals, batch by batch: a network that learns from them learns to undo augmentations.

It can't know how an image stood before it was turned or sheared, so the best that it can draw is a mean over all that
it may have been: its code has no use for what the augmentations change. P. Vincent et al., "Extracting and Composing Robust
Features with Denoising Autoencoders", ICML 2008, with more than noise for corruption.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array
from lookalike.encoders.training import loop
from lookalike.encoders.training.data import TrainingData, scaled, with_noise
from lookalike.transforms.augmentations import augment

#: Batches whose images are augmented at once: a call costs as much as some dozen small images.
BLOCK_BATCHES = 8


@dataclass(frozen=True)
class Plan(loop.Plan):
    """How to train. ``noise`` is the greatest deviation of the noise after the augmentations; each image draws its own.

    Attributes
    ----------
    families : dict of str to float
        The augmentations, with its amounts; see :mod:`lookalike.transforms.augmentations`.
    """

    families: dict[str, float]

    def data(self, images: NDArray[np.uint8]) -> Data:
        """Return augmented copies and their originals."""
        return Data(images, self)


class Data(TrainingData):
    """Augmented copies and their originals, the same for the same seed and epoch."""

    def __init__(self, images: NDArray[np.uint8], plan: Plan) -> None:
        super().__init__(images, plan)
        self._families, self._most_noise = plan.families, plan.noise

    def epoch(self, number: int) -> Iterator[tuple[Float32Array, Float32Array]]:
        """Yield batches of copies and of originals, both (b, h, w, channels) in 0..1."""
        rng = np.random.default_rng([self._plan.seed, number])
        order = rng.permutation(self._train)
        block = self.batch_size * BLOCK_BATCHES
        for start in range(0, len(order), block):
            yield from self._batches(order[start : start + block], rng, self.batch_size)

    def validate(self, learner: Any) -> float | None:
        """Return the loss on the images held out, whose augmentations are the same each time."""
        if not len(self._held_out):
            return None
        rng, total = np.random.default_rng([self._plan.seed, 0]), 0.0
        for copies, originals in self._batches(self._held_out, rng, 500):
            total += float(learner.test_on_batch(copies, originals)) * len(originals)
        return total / len(self._held_out)

    def _batches(
        self, chosen: NDArray[np.int64], rng: np.random.Generator, size: int
    ) -> Iterator[tuple[Float32Array, Float32Array]]:
        originals = self._images[chosen]
        copies = augment(originals, self._families, seed=int(rng.integers(2**31)))
        for start in range(0, len(chosen), size):
            part = scaled(copies[start : start + size])
            noisy = with_noise(part, self._most_noise, rng, up_to=True)
            yield noisy, scaled(originals[start : start + size])
