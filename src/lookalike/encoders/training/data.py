"""Images -> noisy copies and their originals, batch by batch, for a training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import EncoderError

if TYPE_CHECKING:
    from lookalike.encoders.training.loop import Plan

#: Images held out that go through the network at a time.
_VALIDATED = 500


class TrainingData:
    """Clean images and their noisy copies, batch by batch, the same for the same seed and epoch.

    A subclass overrides ``_batch``: what goes into the network for some images, and what it is to return.

    Attributes
    ----------
    count : int
        How many images an epoch learns from.
    """

    #: Whether the loss compares images of a batch with each other, so that a short last batch would be too easy.
    whole_batches: ClassVar[bool] = False
    #: No validation loss is computed of fewer held-out images.
    min_held_out: ClassVar[int] = 1

    def __init__(self, images: NDArray[np.uint8], plan: Plan) -> None:
        if len(images) < 2:
            raise EncoderError(f"training needs at least 2 images, there is {len(images)}; give more")
        self._images, self._plan = images, plan
        order = np.random.default_rng(plan.seed).permutation(len(images))
        held_out = self._how_many_to_hold_out()
        self._held_out, self._train = np.sort(order[:held_out]), np.sort(order[held_out:])
        self.batch_size = min(plan.batch_size, len(self._train))
        self.count = len(self._train)
        if self.whole_batches and self.count > self.batch_size:
            self.count -= self.count % self.batch_size
        self._noisy_once = self._draw_once() if plan.fixed_noise else None

    def _how_many_to_hold_out(self) -> int:
        return min(int(np.ceil(len(self._images) * self._plan.validation)), 10_000)

    def epoch(self, number: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Yield what goes into the network, and what it is to give back."""
        rng = np.random.default_rng([self._plan.seed, number])
        order = rng.permutation(self._train)[: self.count]
        for start in range(0, self.count, self.batch_size):
            chosen = order[start : start + self.batch_size]
            if self._noisy_once is None:
                yield self._batch(chosen, rng)
            else:
                yield scaled(self._noisy_once[chosen]), scaled(self._images[chosen])

    def validate(self, learner: Any) -> float | None:
        """Return the loss on the images held out, whose noise or augmentations are the same each time."""
        count = len(self._held_out)
        if count < self.min_held_out:
            return None
        rng, total = np.random.default_rng([self._plan.seed, 0]), 0.0
        if self.whole_batches:
            parts = np.array_split(self._held_out, -(-count // self.batch_size))
        else:
            parts = [self._held_out[start : start + _VALIDATED] for start in range(0, count, _VALIDATED)]
        for chosen in parts:
            total += float(learner.test_on_batch(*self._batch(chosen, rng))) * len(chosen)
        return total / count

    def _batch(
        self, chosen: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return what goes into the network of some images, and what it is to give back."""
        clean = scaled(self._images[chosen])
        return with_noise(clean, self._plan.noise, rng), clean

    def _draw_once(self) -> NDArray[np.uint8]:
        """Return a noisy copy of every image, in uint8: no more memory than the images take."""
        rng = np.random.default_rng([self._plan.seed, 0])
        noisy = np.empty_like(self._images)
        for start in range(0, len(noisy), 1024):
            block = scaled(self._images[start : start + 1024])
            noisy[start : start + 1024] = (
                (with_noise(block, self._plan.noise, rng) * 255).round().reshape(-1, *noisy.shape[1:])
            )
        return noisy


def with_noise(
    clean: NDArray[np.float32], deviation: float, rng: np.random.Generator, *, up_to: bool = False
) -> NDArray[np.float32]:
    """Return images with Gaussian noise, clipped to 0..1.

    Parameters
    ----------
    clean : ndarray of float32, shape (n, h, w, channels)
        In 0..1.
    deviation : float
        Standard deviation of the noise.
    rng : numpy.random.Generator
        Draws it.
    up_to : bool
        Give each image noise of a deviation of its own, drawn evenly from 0 to that.

    Returns
    -------
    ndarray of float32, same shape
        A new array.
    """
    noise = rng.standard_normal(clean.shape, np.float32)
    noise *= rng.uniform(0, deviation, (len(clean), 1, 1, 1)).astype(np.float32) if up_to else np.float32(deviation)
    noise += clean
    return np.clip(noise, 0, 1, out=noise)


def scaled(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return images as a network takes them.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        The images.

    Returns
    -------
    ndarray of float32, shape (n, h, w, 1) or (n, h, w, 3)
        In 0..1.
    """
    pixels = images.astype(np.float32)
    pixels /= np.float32(255)
    return pixels[..., None] if pixels.ndim == 3 else pixels
