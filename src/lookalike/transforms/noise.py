"""Images -> noisy images; images and clean originals -> MSE, PSNR and SSIM."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import EncoderError

_SSIM_WINDOW = 7  # side in pixels, scikit-image's default; smaller images get the largest odd window that fits


@dataclass(frozen=True)
class Quality:
    """How near images are to their clean originals, averaged over the images.

    Attributes
    ----------
    mse : float
        Mean squared error of pixels in 0..1.
    psnr : float
        Peak signal-to-noise ratio in dB, of the mean squared error above; infinite if it is 0.
    ssim : float
        Mean structural similarity (Wang et al., 2004), up to 1.
    """

    mse: float
    psnr: float
    ssim: float

    def to_json(self) -> dict[str, float | None]:
        """Return the documented JSON form; an infinite PSNR is null."""
        return {name: value if np.isfinite(value) else None for name, value in asdict(self).items()}


def add_noise(images: NDArray[np.uint8], deviation: float, seed: int = 0) -> NDArray[np.uint8]:
    """Add Gaussian noise, as the autoencoder's training does.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        Clean images.
    deviation : float
        Standard deviation for pixels in 0..1; the sum is clipped to 0..1.
    seed : int
        The same seed gives the same noise.

    Returns
    -------
    ndarray of uint8, same shape
        Noisy images.
    """
    noise = np.random.default_rng(seed).standard_normal(images.shape, np.float32)
    noise *= np.float32(deviation * 255)
    noise += images
    return np.clip(noise, 0, 255).round().astype(np.uint8)


def quality(images: NDArray[np.uint8], clean: NDArray[np.uint8]) -> Quality:
    """Compare images with their clean originals.

    Parameters
    ----------
    images, clean : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        In the same order.

    Returns
    -------
    Quality
        Averages over the images.

    Raises
    ------
    EncoderError
        If the shapes differ, there are none, or a side is under 3 pixels.
    """
    if images.shape != clean.shape or not len(images):
        raise EncoderError(
            f"the clean images have shape {clean.shape}, these {images.shape}; give one clean image for each, of its size"
        )
    side = min(images.shape[1:3])
    if side < 3:
        raise EncoderError(f"SSIM needs sides of at least 3 pixels, these are {images.shape[2]} x {images.shape[1]}")
    mse = float(np.mean(((images.astype(np.float32) - clean) / 255) ** 2, dtype=np.float64))
    window = min(_SSIM_WINDOW, side - 1 + side % 2)
    ssim = [structural_similarity(a, b, window) for a, b in zip(images, clean, strict=True)]
    return Quality(mse, float("inf") if mse == 0 else -10 * float(np.log10(mse)), float(np.mean(ssim)))


def structural_similarity(image: NDArray[np.uint8], clean: NDArray[np.uint8], window: int) -> float:
    """Return the mean structural similarity of two images, as scikit-image defines it (uniform window, sample covariance).

    Parameters
    ----------
    image, clean : ndarray of uint8, shape (h, w) or (h, w, 3)
        The images; channels are compared one by one.
    window : int
        Side of the window in pixels: odd, no longer than a side of the image.

    Returns
    -------
    float
        Up to 1, which is reached by equal images.
    """
    from scipy import ndimage

    x, y = image.astype(np.float64), clean.astype(np.float64)
    size = (window, window, 1)[: image.ndim]

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(ndimage.uniform_filter(values, size))

    mean_x, mean_y = mean(x), mean(y)
    unbiased = window**2 / (window**2 - 1)
    variance_x, variance_y = (unbiased * (mean(v * v) - m * m) for v, m in ((x, mean_x), (y, mean_y)))
    covariance = unbiased * (mean(x * y) - mean_x * mean_y)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity /= (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    edge = (window - 1) // 2  # where the window would reach beyond the border
    return float(similarity[edge : image.shape[0] - edge, edge : image.shape[1] - edge].mean())
