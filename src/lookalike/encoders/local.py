"""Images -> counts of visual words: local features (SIFT, SURF), with words learnt from the collection.

Unlike the other descriptors, these hardly change when an image is turned, cut out of a larger one, or partly covered.

Sources: D. Lowe, "Distinctive Image Features from Scale-Invariant Keypoints", IJCV 60(2), 2004 (SIFT); H. Bay et al.,
"SURF: Speeded Up Robust Features", ECCV 2006; R. Arandjelovic and A. Zisserman, "Three things everyone should know to
improve object retrieval", CVPR 2012 (RootSIFT) and "All about VLAD", CVPR 2013 (normalising within a word); H. Jegou et
al., "Aggregating local descriptors into a compact image representation", CVPR 2010 (VLAD); J. Sivic and A. Zisserman,
"Video Google", ICCV 2003 (bags of visual words, tf-idf).
"""

from __future__ import annotations

import importlib
import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array
from lookalike.cores import usable_cores
from lookalike.encoders.base import Encoder, check_whole
from lookalike.errors import EncoderError, missing_extra, unknown_name
from lookalike.neighbors.linalg import unit_rows
from lookalike.neighbors.sampling import draw_rows

POOLINGS = ("vlad", "bow")
#: Images whose keypoints words are learnt from, and keypoints in all, at most.
SAMPLE_IMAGES, SAMPLE_KEYPOINTS = 2_000, 100_000


class _Local(Encoder):
    """What both kinds share: everything but the detector."""

    preferred_shape: ClassVar[tuple[int, ...] | None] = (400, 400)
    #: Length of one keypoint's descriptor, and what its bytes are offset by.
    length: ClassVar[int]
    offset: ClassVar[int]
    #: Smaller images are enlarged until their longer side is this: there is next to nothing to find in a few dozen pixels.
    smallest: ClassVar[int]

    def __init__(self, *, pooling: str = "vlad", words: int | None = None, points: int = 800, seed: int = 0) -> None:
        self.pooling = pooling
        self.words = words
        self.points = points
        self.seed = seed

    def _found(self, image: NDArray[np.uint8]) -> tuple[Float32Array, NDArray[np.uint8]]:
        """Return x, y, diameter in pixels and angle in degrees of the image's keypoints, (k, 4), and descriptors."""
        cv2 = _import("cv2", self.name)
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
        height, width = grey.shape
        enlarged = max(1.0, self.smallest / max(height, width))
        if enlarged > 1:
            size = max(1, round(width * enlarged)), max(1, round(height * enlarged))
            grey = cv2.resize(grey, size, interpolation=cv2.INTER_CUBIC)
        places, descriptors = self._detect(grey)
        places[:, :3] /= enlarged
        return places, descriptors

    def _detect(self, grey: NDArray[np.uint8]) -> tuple[Float32Array, NDArray[np.uint8]]:
        """Return what ``_found`` does, of one grey image."""
        raise NotImplementedError

    def _to_unit(self, descriptors: NDArray[np.uint8]) -> Float32Array:
        """Turn bytes into vectors of length 1."""
        vectors = descriptors.astype(np.float32)
        vectors -= self.offset
        return unit_rows(vectors)

    def _map(self, function: Any, images: NDArray[np.uint8]) -> list[Any]:
        """Apply a function to each image, on all cores: OpenCV and mahotas work outside Python's lock."""
        with ThreadPoolExecutor(usable_cores()) as pool:
            return list(pool.map(function, images))

    def _fit(self, images: NDArray[np.uint8]) -> None:
        self._check_params()
        rng = np.random.default_rng(self.seed)
        chosen = draw_rows(rng, len(images), SAMPLE_IMAGES)
        per_image = [descriptors for _, descriptors in self._map(self._found, images[chosen])]
        every = np.concatenate(per_image)
        if not len(every):
            raise EncoderError(
                f"{self.name}: not one keypoint was found in {len(images):,} images of {images.shape[2]} x "
                f"{images.shape[1]} pixels, so there are no visual words to learn; use larger images or another encoder"
            )
        most = SAMPLE_KEYPOINTS
        sample = self._to_unit(every if len(every) <= most else every[draw_rows(rng, len(every), most)])
        asked = self.words or (64 if self.pooling == "vlad" else 2_000)
        count = min(asked, len(np.unique(sample, axis=0)))
        cluster = _import("sklearn.cluster", self.name)
        centres = cluster.MiniBatchKMeans(count, batch_size=4096, n_init=1, max_iter=50, random_state=self.seed)
        self.centres_ = centres.fit(sample).cluster_centers_.astype(np.float32)
        with_word = np.zeros(count)
        for descriptors in per_image:
            with_word[np.unique(self._nearest_words(self._to_unit(descriptors)))] += 1
        self.idf_ = (np.log((1 + len(per_image)) / (1 + with_word)) + 1).astype(np.float32)

    def _check_params(self) -> None:
        if self.pooling not in POOLINGS:
            raise unknown_name("pooling", str(self.pooling), POOLINGS)
        for name, least, most in (("words", 1, 65_536), ("points", 1, 100_000)):
            value = getattr(self, name)
            if name == "words" and value is None:
                continue
            check_whole(self.name, name, value, least, most)

    def _nearest_words(self, vectors: Float32Array) -> NDArray[np.intp]:
        squares = np.einsum("ij,ij->i", self.centres_, self.centres_)
        nearest: NDArray[np.intp] = (squares - 2 * vectors @ self.centres_.T).argmin(axis=1)
        return nearest

    def _encode(self, images: NDArray[np.uint8]) -> Float32Array:
        return np.stack(self._map(self._pooled, images))

    def _pooled(self, image: NDArray[np.uint8]) -> Float32Array:
        """Describe one image: on its own, so that it never depends on others."""
        vectors = self._to_unit(self._found(image)[1])
        words = self._nearest_words(vectors)
        if self.pooling == "bow":
            pooled = np.sqrt(np.bincount(words, minlength=len(self.centres_)).astype(np.float32)) * self.idf_
        else:
            sums = np.zeros_like(self.centres_)
            np.add.at(sums, words, vectors - self.centres_[words])
            sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-6)
            pooled = (np.sign(sums) * np.sqrt(np.abs(sums))).ravel()
        length = np.linalg.norm(pooled)
        return np.asarray(pooled / length if length > 0 else pooled, np.float32)

    def _get_weights(self) -> dict[str, bytes]:
        file = io.BytesIO()
        np.savez(file, centres=self.centres_, idf=self.idf_)
        return {"words.npz": file.getvalue()}

    def _set_weights(self, files: dict[str, bytes]) -> None:
        if "words.npz" not in files:
            raise EncoderError(f"the saved {self.name} lacks its visual words; train it again")
        arrays = np.load(io.BytesIO(files["words.npz"]), allow_pickle=False)
        self.centres_, self.idf_ = arrays["centres"], arrays["idf"]


class Sift(_Local):
    """Visual words of SIFT keypoints (OpenCV), learnt from the collection; an image without keypoints gives zeros.

    Parameters
    ----------
    pooling : {"vlad", "bow"}
        ``vlad``: sums of differences to the words, each word's brought to length 1, then signed roots; 128 values a
        word. ``bow``: roots of the words' counts by how rare the words are (tf-idf); one value a word.
    words : int, optional
        Visual words; fewer where the collection has fewer different keypoints. Default: 64 for ``vlad``, 2,000 for
        ``bow``.
    points : int
        Strongest keypoints of an image that count.
    seed : int
        Of the sample and the first words.
    """

    name = "sift"
    length = 128
    offset = 0
    smallest = 128

    def _detect(self, grey: NDArray[np.uint8]) -> tuple[Float32Array, NDArray[np.uint8]]:
        return detect_sift(grey, self.points, needed_by=f"the encoder '{self.name}'")


def detect_sift(
    grey: NDArray[np.uint8], points: int, contrast: float = 0.04, *, needed_by: str = "the geometric check"
) -> tuple[Float32Array, NDArray[np.uint8]]:
    """Find the strongest SIFT keypoints of an image.

    Parameters
    ----------
    grey : ndarray of uint8, shape (h, w)
        The image.
    points : int
        How many, at most.
    contrast : float
        The least contrast of a keypoint; lower finds more in dark or dull places.
    needed_by : str
        What asks for it, for the error if OpenCV is missing.

    Returns
    -------
    places : ndarray of float32, shape (k, 4)
        x, y, diameter in pixels, angle in degrees; the strongest first.
    descriptors : ndarray of uint8, shape (k, 128)
        RootSIFT, 512 to the whole: compare by Euclidean distance.

    Raises
    ------
    UsageError
        If the extra ``local`` isn't installed.
    """
    try:
        cv2 = importlib.import_module("cv2")
    except ModuleNotFoundError as e:
        raise missing_extra(needed_by, "local") from e
    keypoints, descriptors = cv2.SIFT_create(nfeatures=points, contrastThreshold=contrast).detectAndCompute(grey, None)
    if not keypoints:
        return np.empty((0, 4), np.float32), np.empty((0, Sift.length), np.uint8)
    # OpenCV gives back a few more than asked for where the last ones are equally strong, in no order.
    order = sorted(
        range(len(keypoints)),
        key=lambda i: (-keypoints[i].response, *keypoints[i].pt, keypoints[i].size, keypoints[i].angle),
    )[:points]
    places = np.array([(*keypoints[i].pt, keypoints[i].size, keypoints[i].angle) for i in order], np.float32)
    descriptors = descriptors[order]
    # RootSIFT: roots of shares, so that Euclidean distance compares histograms by Hellinger's. At most 1, and
    # rarely above a half, so 512 to the whole.
    shares = descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6)
    return places, (np.sqrt(shares) * 512).round().clip(0, 255).astype(np.uint8)


class Surf(_Local):
    """Visual words of SURF keypoints (mahotas), learnt from the collection; an image without keypoints gives zeros.

    Parameters
    ----------
    pooling : {"vlad", "bow"}
        As for ``sift``, with 64 values a word.
    words : int, optional
        Visual words; fewer where the collection has fewer different keypoints. Default: 64 for ``vlad``, 2,000 for
        ``bow``.
    points : int
        Strongest keypoints of an image that count.
    seed : int
        Of the sample and the first words.
    """

    name = "surf"
    length = 64
    offset = 128
    smallest = 256

    def _detect(self, grey: NDArray[np.uint8]) -> tuple[Float32Array, NDArray[np.uint8]]:
        surf = _import("mahotas.features.surf", self.name)
        rows = surf.surf(grey.astype(np.float64), max_points=self.points)
        rows = rows[np.lexsort((rows[:, 1], rows[:, 0], -rows[:, 3]))]
        # mahotas gives y, x, scale, score, sign, angle, and 64 values of length 1. A keypoint of scale s was found by
        # a filter of 9 pixels at s = 1.2, so 7.5 s across.
        degrees = np.degrees(rows[:, 5]) % 360
        places = np.stack([rows[:, 1], rows[:, 0], 7.5 * rows[:, 2], degrees], axis=1).astype(np.float32)
        return places, (rows[:, 6:] * 127 + self.offset).round().clip(0, 255).astype(np.uint8)


def _import(module: str, encoder: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as e:
        raise missing_extra(f"the encoder '{encoder}'", "local") from e
