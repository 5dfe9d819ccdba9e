"""Binary codes: a few hundred bits an image, compared by counting those that differ.

Sources: Y. Gong and S. Lazebnik, "Iterative Quantization: A Procrustean Approach to Learning Binary Codes", CVPR 2011
(``itq``); A. Krizhevsky and G. Hinton, "Using Very Deep Autoencoders for Content-Based Image Retrieval", ESANN 2011
(``hashing``); R. Salakhutdinov and G. Hinton, "Semantic Hashing", IJAR 50(7), 2009 (looking codes up within a radius:
:meth:`lookalike.distances.Database.within`).
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lookalike.encoders import CARD, Encoder, TrainedEncoder, create, from_files
from lookalike.errors import EncoderError, UsageError

if TYPE_CHECKING:
    pass

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]

#: Images that rotations and thresholds are learnt from, at most.
SAMPLE = 10_000
#: Longest code, as the distance counts in 16 bits.
MOST_BITS = 65_528
#: Units of the deep autoencoder's two hidden layers, on either side of its code.
HIDDEN = (1024, 512)
#: Its longest side of an image; larger ones are averaged down, as Krizhevsky and Hinton trained on 32 x 32.
LONGEST_SIDE = 32
#: Images that go through the network at a time: always as many, so that an image's rounding doesn't hang on others.
_BLOCK = 64


class Itq(Encoder):
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
    distance = "hamming"
    dtype: ClassVar[type[np.generic]] = np.uint8

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

    @property
    def preferred_shape(self) -> tuple[int, ...] | None:  # type: ignore[override]
        """The base encoder's."""
        return (getattr(self, "base_", None) or self._create_base()).preferred_shape

    def fit_over(self, base: Encoder, images: NDArray[np.uint8]) -> Self:
        """Learn the bits of an encoder that is fitted already, with whatever post-processing it has.

        Parameters
        ----------
        base : Encoder
            Fitted, of float descriptors; its name and parameters replace ``base`` and ``options``.
        images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
            The collection, or a sample of it, of the size the base was fitted on.

        Returns
        -------
        Itq
            Itself.

        Raises
        ------
        EncoderError
            If there are fewer than two different images.
        UsageError
            If the base gives packed codes itself.
        """
        self.base, self.options = base.name, base.params
        self._check(base)
        self._given = base
        try:
            return self.fit(images)
        finally:
            del self._given

    def _create_base(self) -> Encoder:
        options = {} if self.options is None else self.options
        if not isinstance(options, dict):
            raise UsageError(f"itq: options is {options!r}; it must hold parameters of {self.base}")
        return create(self.base, **options)

    def _check(self, base: Encoder) -> None:
        if base.dtype != np.float32:
            raise UsageError(
                f"itq: base is {base.name!r}, which gives bits already; name an encoder of float descriptors"
            )
        check_whole("itq", "bits", self.bits, 1, MOST_BITS)
        check_whole("itq", "iterations", self.iterations, 1, 10_000)

    def _fit(self, images: NDArray[np.uint8]) -> None:
        rng = np.random.default_rng(self.seed)
        chosen = np.sort(rng.permutation(len(images))[:SAMPLE])
        base = getattr(self, "_given", None)
        if base is None:
            base = self._create_base()
            self._check(base)
            base.fit(images)
        descriptors = unit_rows(base.encode(images[chosen])).astype(np.float64)
        mean = descriptors.mean(axis=0)
        descriptors -= mean
        variance, directions = np.linalg.eigh(descriptors.T @ descriptors)
        some = int((variance > 1e-9 * max(float(variance[-1]), 1e-9 * len(descriptors))).sum())
        if not some:
            raise EncoderError(
                f"itq: the {len(images):,} images given look all the same to {self.base}; bits are learnt from two or "
                "more that differ"
            )
        leading = directions[:, ::-1][:, : min(self.bits, some)]
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
        return {f"base-{name}": f for name, f in self.base_.to_files().items()} | {"bits.npz": file.getvalue()}

    def _set_weights(self, files: dict[str, bytes]) -> None:
        own = {name.removeprefix("base-"): f for name, f in files.items() if name.startswith("base-")}
        if CARD not in own or "bits.npz" not in files:
            raise EncoderError(f"the saved itq over {self.base} lacks a part; train it again")
        self.base_ = from_files(own, Path(f"itq over {self.base}"))
        arrays = np.load(io.BytesIO(files["bits.npz"]), allow_pickle=False)
        self.mean_, self.projection_ = arrays["mean"], arrays["projection"]


class Hashing(TrainedEncoder):
    """Binary codes from the middle of a deep autoencoder; ``fit`` trains it with Keras, the rest needs NumPy only.

    Pixels -> 1,024 -> 512 -> bits -> 512 -> 1,024 -> pixels, of fully connected layers. Krizhevsky and Hinton trained
    each layer as a restricted Boltzmann machine before the whole; today rectified units, Glorot's initial weights and
    Adam do without. Their code units became binary by rounding in the forward pass and the gradient of what was rounded
    in the backward pass; so do ours (the straight-through estimator), after being normalised over the batch, which sets
    each bit for about half of the images. Pixels are made noisy, as in a denoising autoencoder. Images larger than 32 pixels are averaged down first.

    Parameters
    ----------
    bits : int
        1 to 65,528; 28 and 256 are the authors'. A code has ``ceil(bits / 8)`` bytes; what is left of the last one is 0.
    noise : float
        Standard deviation of the Gaussian noise on pixels in 0..1.
    epochs : int
        Passes over the images.
    batch_size : int
        Images a step.
    learning_rate : float
        Of Adam.
    validation : float
        Share of the images, 0 to 0.5, held out to choose the best epoch by; 0 chooses by the training loss.
    minutes : float, optional
        Stop after this long, in mid-epoch if need be, and keep the best model so far.
    seed : int
        Of the weights, the order and the noise.

    Attributes
    ----------
    history_ : list of dict
        One an epoch: ``epoch``, ``loss``, ``validation_loss``, ``seconds``, ``images_per_second``.
    stopped_ : {"done", "time", "interrupted"}
        Why training ended.
    """

    name = "hashing"
    distance = "hamming"
    dtype: ClassVar[type[np.generic]] = np.uint8
    preferred_shape: ClassVar[tuple[int, ...] | None] = (LONGEST_SIDE, LONGEST_SIDE, 3)

    def __init__(
        self,
        *,
        bits: int = 256,
        noise: float = 0.3,
        epochs: int = 20,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        validation: float = 0.02,
        minutes: float | None = None,
        seed: int = 0,
    ) -> None:
        self.bits = bits
        self.noise = noise
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation = validation
        self.minutes = minutes
        self.seed = seed

    def _fit(self, images: NDArray[np.uint8]) -> None:
        from lookalike import training

        self.check_params()
        checkpoint, resume, on_progress = self._train_options
        small = average_down(images)
        network = _build(small.shape[1:], self.bits, self.seed)
        plan = training.Plan(
            noise=self.noise,
            fixed_noise=False,
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimizer="adam",
            learning_rate=self.learning_rate,
            validation=self.validation,
            precision="float32",
            minutes=self.minutes,
            seed=self.seed,
        )
        result = training.train(network, small, plan, checkpoint=checkpoint, resume=resume, on_progress=on_progress)
        self.stopped_ = result.stopped
        arrays: dict[str, Any] = {}
        for i in range(len(HIDDEN) + 1):
            arrays[f"kernel_{i}"], arrays[f"bias_{i}"] = network.get_weights()[2 * i : 2 * i + 2]
        # In training a bit's threshold is the batch's mean; from now on it is the collection's.
        sample = small[np.sort(np.random.default_rng(self.seed).permutation(len(small))[:SAMPLE])]
        layers = _layers(arrays)
        values = [_values(layers, part) for part in np.split(sample, range(_BLOCK, len(sample), _BLOCK))]
        arrays[f"bias_{len(HIDDEN)}"] -= np.concatenate(values).mean(axis=0)
        file = io.BytesIO()
        np.savez(file, **arrays)
        history = {"history": [asdict(e) for e in result.history], "best_epoch": result.best_epoch}
        self._set_weights({"layers.npz": file.getvalue(), "history.json": json.dumps(history, indent=1).encode()})

    def check_params(self) -> None:
        """Refuse parameters out of range; ``fit`` does it too."""
        for name, least, most in (("bits", 1, MOST_BITS), ("epochs", 1, 10**6), ("batch_size", 1, 10**6)):
            check_whole("hashing", name, getattr(self, name), least, most)
        for name, ok, expected in (
            ("noise", 0 <= self.noise <= 10, "0 to 10"),
            ("validation", 0 <= self.validation <= 0.5, "0 to 0.5"),
            ("minutes", self.minutes is None or self.minutes > 0, "more than 0"),
            ("learning_rate", self.learning_rate > 0, "more than 0"),
        ):
            if not ok:
                raise UsageError(f"hashing: {name} is {getattr(self, name)}; it must be {expected}")

    def _encode(self, images: NDArray[np.uint8]) -> Any:
        codes = np.empty((len(images), -(-self.bits // 8)), np.uint8)
        for start in range(0, len(images), _BLOCK):
            values = _values(self._layers, average_down(images[start : start + _BLOCK]))
            codes[start : start + _BLOCK] = np.packbits(values > 0, axis=1)
        return codes

    def _get_weights(self) -> dict[str, bytes]:
        return self._files

    def _set_weights(self, files: dict[str, bytes]) -> None:
        try:
            record = json.loads(files["history.json"])
            arrays = np.load(io.BytesIO(files["layers.npz"]), allow_pickle=False)
            self._layers = _layers(arrays)
        except KeyError as e:
            raise EncoderError(f"the saved hashing encoder lacks {e}; train it again") from e
        self.history_ = record["history"]
        self.best_epoch_ = record["best_epoch"]
        self._files = files


def _layers(arrays: Any) -> list[tuple[Float32Array, Float32Array]]:
    return [(arrays[f"kernel_{i}"], arrays[f"bias_{i}"]) for i in range(len(HIDDEN) + 1)]


def _values(layers: list[tuple[Float32Array, Float32Array]], images: NDArray[np.uint8]) -> Float32Array:
    """Return what is above 0 where a bit is set, of up to ``_BLOCK`` images."""
    pixels = images.reshape(len(images), -1)
    values = np.zeros((_BLOCK, pixels.shape[1]), np.float32)
    np.divide(pixels, np.float32(255), out=values[: len(pixels)], dtype=np.float32)
    for i, (kernel, bias) in enumerate(layers):
        values = values @ kernel + bias
        if i < len(HIDDEN):
            np.maximum(values, 0, out=values)
    return values[: len(pixels)]


def _build(shape: tuple[int, ...], bits: int, seed: int) -> Any:
    """Build the untrained network; its third dense layer is the code."""
    from lookalike import training

    keras = training.import_keras()
    height, width, channels = shape[0], shape[1], shape[2] if len(shape) == 3 else 1
    seeds = iter(np.random.SeedSequence(seed).generate_state(16).tolist())

    def layer(units: int, activation: Any) -> Any:
        start = keras.initializers.GlorotUniform(seed=int(next(seeds)))
        return keras.layers.Dense(units, activation=activation, kernel_initializer=start)

    def to_bits(x: Any) -> Any:
        # Brought to mean 0 and deviation 1 over the batch, each bit is set for about half of the images. Without that
        # most bits soon stay as they began, and the decoder learns to do without them.
        x = (x - keras.ops.mean(x, axis=0)) / (keras.ops.std(x, axis=0) + 1e-3)
        soft = keras.ops.tanh(x)
        return soft + keras.ops.stop_gradient(keras.ops.where(x > 0, 1.0, -1.0) - soft)

    first, second = HIDDEN
    return keras.Sequential(
        [
            keras.Input((height, width, channels)),
            keras.layers.Flatten(),
            layer(first, "relu"),
            layer(second, "relu"),
            layer(bits, to_bits),
            layer(second, "relu"),
            layer(first, "relu"),
            layer(height * width * channels, None),
            keras.layers.Reshape((height, width, channels)),
        ],
        name=f"hashing_{bits}",
    )


def average_down(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average images down until no side is longer than 32 pixels; smaller ones stay as they are.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        The images.

    Returns
    -------
    ndarray of uint8, shape (n, min(h, 32), min(w, 32)) or with 3 channels
        Means over equal shares of the sides, rounded.

    Examples
    --------
    >>> average_down(np.arange(64, dtype=np.uint8).reshape(1, 1, 64))[0, 0, :3]
    array([0, 2, 4], dtype=uint8)
    """
    height, width = images.shape[1:3]
    if max(height, width) <= LONGEST_SIDE:
        return images
    rows, columns = (_shares(min(size, LONGEST_SIDE), size) for size in (height, width))
    small = np.empty((len(images), len(rows), len(columns), *images.shape[3:]), np.uint8)
    for image, out in zip(images, small, strict=True):
        channels = image.reshape(height, width, -1).transpose(2, 0, 1)
        means = rows @ channels.astype(np.float64) @ columns.T
        out[:] = means.round().transpose(1, 2, 0).reshape(out.shape)
    return small


def _shares(parts: int, size: int) -> Float64Array:
    """Return how much each of ``size`` pixels counts in each of ``parts`` equal parts of a side, (parts, size)."""
    edges = np.arange(parts + 1) * (size / parts)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    shares: Float64Array = np.maximum(overlap, 0) * (parts / size)
    return shares


def unit_rows(table: NDArray[Any]) -> NDArray[Any]:
    """Bring each row to length 1; a row of zeros stays as it is.

    Parameters
    ----------
    table : ndarray of float, shape (n, d)
        One row an image.

    Returns
    -------
    ndarray of float, shape (n, d)
        A copy.
    """
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    unit: NDArray[Any] = table / np.where(lengths > 0, lengths, 1)
    return unit


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


def check_whole(encoder: str, name: str, value: object, least: int, most: int) -> None:
    """Refuse what is no whole number within bounds.

    Parameters
    ----------
    encoder : str
        Whose parameter it is.
    name : str
        The parameter.
    value : object
        What was given.
    least, most : int
        The bounds, both allowed.

    Raises
    ------
    UsageError
        If it isn't.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise UsageError(f"{encoder}: {name} is {value!r}; it must be a whole number from {least:,} to {most:,}")
