"""Images -> descriptors by a convolutional denoising autoencoder: the values of its middle layer.

Sources: "Content Based Image Retrieval Using a Convolutional Denoising Autoencoder with Keras" (2017), preset
``article``; "Building Autoencoders in Keras" (F. Chollet, 2016, blog.keras.io), preset ``tutorial``; P. Vincent et al.,
"Extracting and Composing Robust Features with Denoising Autoencoders", ICML 2008. The preset ``deep`` is ours: it undoes
augmentations of many kinds (:mod:`lookalike.encoders.training.augmented_data`), not noise alone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.encoders.onnx.runtime import OnnxModel
from lookalike.encoders.trained import DenoisingEncoder
from lookalike.errors import UsageError, unknown_name
from lookalike.neighbors.sampling import draw_rows
from lookalike.transforms.augmentations import check_families, families_for

#: The networks of the article and of the tutorial that it follows.
ARTICLE_PRESETS = ("article", "tutorial")
PRESETS = (*ARTICLE_PRESETS, "deep")
#: The preset ``deep``: filters of its first layer, doubled with each halving, and most filters; longest side of its
#: smallest maps.
FIRST_FILTERS, MAX_FILTERS, SMALLEST_MAPS = 16, 128, 4
#: Images that the mean code is taken from, at most.
SAMPLE = 10_000


class Autoencoder(DenoisingEncoder):
    """Denoising autoencoder; ``fit`` trains it with Keras, everything else runs on ONNX Runtime.

    Parameters
    ----------
    preset : {"tutorial", "article", "deep"}
        ``article``: 16-8-8 filters and three poolings, 128-d at 28 x 28. ``tutorial``: 32-32 and two, 1,568-d.
        ``deep``: strided convolutions down to maps of at most 4 x 4, then one vector of ``code`` values, centred.
    noise : float
        Standard deviation of the Gaussian noise on pixels in 0..1, clipped to 0..1 afterwards. Where there is other
        augmentations too, each image's is drawn between nothing and this.
    families : str or dict of str to float
        What the network learns to undo besides noise. ``auto``: nothing for ``article`` and ``tutorial``, for ``deep``
        the families that suit the images (:func:`lookalike.transforms.augmentations.families_for`). ``none``, or families with their
        amounts.
    code : int
        Length of the descriptor of the preset ``deep``.
    fixed_noise : bool
        Draw the noise once, as the article did, rather than afresh each epoch. It is memorised then.
    epochs : int
        Passes over the images.
    batch_size : int
        Images a step.
    optimizer : {"adam", "adadelta"}
        The article used Adadelta.
    learning_rate : float, optional
        Default: 0.001 for Adam, 1.0 for Adadelta (its paper's; today's Keras defaults to 0.001).
    validation : float
        Share of the images, 0 to 0.5, held out to choose the best epoch by; 0 chooses by the training loss.
    precision : {"auto", "float32", "bfloat16"}
        ``auto`` takes bfloat16 where the CPU has it and a short trial finds it faster.
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
    precision_ : str
        What it ran in, and why.
    """

    name = saved_as = "autoencoder"

    def __init__(
        self,
        *,
        preset: str = "tutorial",
        noise: float = 0.5,
        families: str | dict[str, float] = "auto",
        code: int = 128,
        fixed_noise: bool = False,
        epochs: int = 20,
        batch_size: int = 128,
        optimizer: str = "adam",
        learning_rate: float | None = None,
        validation: float = 0.02,
        precision: str = "auto",
        minutes: float | None = None,
        seed: int = 0,
    ) -> None:
        self.preset = preset
        self.noise = noise
        self.families = families
        self.code = code
        self.fixed_noise = fixed_noise
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.validation = validation
        self.precision = precision
        self.minutes = minutes
        self.seed = seed

    def _fit(self, images: NDArray[np.uint8]) -> None:
        from lookalike.encoders.onnx import export

        self.check_params()
        network = build(self.preset, images.shape[1:], self.seed, code=self.code)
        result = self._train(network, images, self._plan(images))
        if self.preset == "deep":
            centre_code(network, _some(images, self.seed))
        layers = network.layers
        middle = [layer.name for layer in layers].index("encoder") + 1
        halves = {
            "encoder.onnx": export.export(layers[:middle], images.shape[1:], flatten=True),
            "denoiser.onnx": export.export(layers, images.shape[1:], flatten=False),
        }
        self._keep(network, result, halves)

    def _plan(self, images: NDArray[np.uint8]) -> Any:
        from lookalike.encoders.training import augmented_data, loop

        plan = {name: self.params[name] for name in loop.Plan.__dataclass_fields__}
        if not self._learns_augmentations():
            return loop.Plan(**plan)
        families = families_for(images) if self.families == "auto" else check_families(self.families, images)
        return augmented_data.Plan(**plan, families=families)

    def _learns_augmentations(self) -> bool:
        return self.families != "none" and (self.families != "auto" or self.preset not in ARTICLE_PRESETS)

    def check_params(self) -> None:
        """Refuse parameters out of range; ``fit`` does it too.

        Raises
        ------
        UsageError
            If one is; the message names it and what it must be.
        """
        if self.preset not in PRESETS:
            raise unknown_name("preset", self.preset, PRESETS)
        if isinstance(self.families, str) and self.families not in ("auto", "none"):
            raise UsageError(
                f"autoencoder: families is {self.families!r}; it must be auto, none, or families with their amounts"
            )
        if self.fixed_noise and self._learns_augmentations():
            raise UsageError("autoencoder: fixed_noise goes with noise alone; leave it out, or give families='none'")
        self._require(
            ("noise", 0 <= self.noise <= 10, "0 to 10"),
            ("code", self.code >= 1, "at least 1"),
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("validation", 0 <= self.validation <= 0.5, "0 to 0.5"),
            ("minutes", self.minutes is None or self.minutes > 0, "more than 0"),
            ("learning_rate", self.learning_rate is None or self.learning_rate > 0, "more than 0"),
        )


def build(preset: str, shape: tuple[int, ...], seed: int = 0, *, code: int = 128) -> Any:
    """Build the untrained network of a preset for images of any size.

    Parameters
    ----------
    preset : {"tutorial", "article", "deep"}
        Which network.
    shape : tuple of int
        ``(h, w)`` or ``(h, w, 3)``.
    seed : int
        Of the initial weights (Glorot uniform).
    code : int
        Length of the code of ``deep``.

    Returns
    -------
    keras.Sequential
        Of standard layers only; the one named ``encoder`` ends the encoding half. The output has the input's shape.
    """
    from lookalike.encoders.training.keras_backend import import_keras

    keras = import_keras()
    height, width, channels = shape[0], shape[1], shape[2] if len(shape) == 3 else 1
    seeds = iter(np.random.SeedSequence(seed).generate_state(32).tolist())

    def start() -> Any:
        return keras.initializers.GlorotUniform(seed=int(next(seeds)))

    def conv(filters: int, padding: str = "same", activation: str = "relu", strides: int = 1) -> Any:
        return keras.layers.Conv2D(
            filters, 3, strides=strides, activation=activation, padding=padding, kernel_initializer=start()
        )

    def pool(name: str | None = None) -> Any:
        return keras.layers.MaxPooling2D(2, padding="same", name=name)

    layers = [keras.Input((height, width, channels))]
    if preset == "deep":
        sides, filters = [(height, width)], [channels]
        while max(sides[-1]) > SMALLEST_MAPS:
            sides.append((-(-sides[-1][0] // 2), -(-sides[-1][1] // 2)))
            filters.append(min(FIRST_FILTERS * 2 ** (len(filters) - 1), MAX_FILTERS))
            layers.append(conv(filters[-1], strides=2))
        maps = (*sides[-1], filters[-1])
        layers += [keras.layers.Flatten(), keras.layers.Dense(code, kernel_initializer=start(), name="encoder")]
        layers += [keras.layers.Dense(math.prod(maps), activation="relu", kernel_initializer=start())]
        layers.append(keras.layers.Reshape(maps))
        for small, large, number in zip(sides[:0:-1], sides[-2::-1], filters[-2:0:-1], strict=False):
            layers += [*_doubled(keras, small, large), conv(number)]
        if len(sides) > 1:
            layers += _doubled(keras, sides[1], sides[0])
        layers.append(conv(channels, activation="sigmoid"))
        return keras.Sequential(layers, name="autoencoder_deep")
    if preset == "article":
        layers += [conv(16), pool(), conv(8), pool(), conv(8), pool("encoder")]
        layers += [conv(8), keras.layers.UpSampling2D(2), conv(8), keras.layers.UpSampling2D(2)]
        poolings = 3
    else:
        layers += [conv(32), pool(), conv(32), pool("encoder")]
        layers += [conv(32), keras.layers.UpSampling2D(2)]
        poolings = 2
    # Sides that poolings can't halve evenly come out too long. At 28 the article's network is 16 before its last
    # upsampling, where 14 is wanted, and an unpadded convolution takes off just that; elsewhere we crop.
    now = [-(-side // 2**poolings) * 2 ** (poolings - 1) for side in (height, width)]
    wanted = [-(-side // 2) for side in (height, width)]
    unpadded = preset == "article" and all(n - w == 2 for n, w in zip(now, wanted, strict=True))
    layers.append(conv(16 if preset == "article" else 32, "valid" if unpadded else "same"))
    if not unpadded and now != wanted:
        layers.append(keras.layers.Cropping2D([(0, n - w) for n, w in zip(now, wanted, strict=True)]))
    layers.append(keras.layers.UpSampling2D(2))
    if height % 2 or width % 2:
        layers.append(keras.layers.Cropping2D([(0, height % 2), (0, width % 2)]))
    layers.append(conv(channels, activation="sigmoid"))
    return keras.Sequential(layers, name=f"autoencoder_{preset}")


def _some(images: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    return images[draw_rows(np.random.default_rng(seed), len(images), SAMPLE)]


def _doubled(keras: Any, now: tuple[int, int], wanted: tuple[int, int]) -> list[Any]:
    """Return the layers that double maps, and cut off what is then too much."""
    over = [(0, 2 * n - w) for n, w in zip(now, wanted, strict=True)]
    cut = [keras.layers.Cropping2D(over)] if any(o for _, o in over) else []
    return [keras.layers.UpSampling2D(2), *cut]


def centre_code(network: Any, images: NDArray[np.uint8]) -> None:
    """Move the code of a ``deep`` network so that its mean is 0; what the network draws stays as it is.

    A cosine between codes is one between directions from 0; from elsewhere than the mean, most would look alike.

    Parameters
    ----------
    network : keras.Sequential
        As :func:`build` makes it; changed in place.
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        Whose mean it is.
    """
    from lookalike.encoders.onnx import export

    place = [layer.name for layer in network.layers].index("encoder")
    encoder, decoder = network.layers[place : place + 2]
    half = OnnxModel(export.export(network.layers[: place + 1], images.shape[1:], flatten=True))
    mean = half.run(images).mean(axis=0, dtype=np.float64)
    kernel, bias = encoder.get_weights()
    encoder.set_weights([kernel, (bias - mean).astype(np.float32)])
    kernel, bias = decoder.get_weights()
    decoder.set_weights([kernel, (bias + mean @ kernel).astype(np.float32)])
