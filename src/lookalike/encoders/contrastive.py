"""Images -> descriptors by contrastive learning on the collection: two augmented views of an image get similar descriptors.

Sources: T. Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020 (SimCLR);
A. Bardes et al., "VICReg", ICLR 2022; the trunk and the denoising are the autoencoder's (P. Vincent et al., ICML 2008).
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.encoders.onnx.runtime import OnnxModel
from lookalike.encoders.trained import DenoisingEncoder
from lookalike.errors import unknown_name

#: Filters of the trunk's convolutions, each before a pooling; the last number is repeated for larger images.
FILTERS = (32, 64, 128)
#: No side of the trunk's last maps is longer.
LAST_SIDE = 4
#: Lengths of the layer before the descriptor, and of what the loss compares instead of it.
BEFORE, COMPARED = 128, 64
#: Noise where the caller gives none: on figures on a plain ground, and on photos.
NOISE = {"glyphs": 0.5, "photos": 0.1}


class Contrastive(DenoisingEncoder):
    """Contrastive learning from augmented copies; ``fit`` trains it with Keras, the rest runs on ONNX Runtime.

    Parameters
    ----------
    loss : {"simclr", "vicreg"}
        How two views of a picture are brought together, and others kept apart; see :mod:`lookalike.encoders.training.contrastive_loss`.
    dimension : int
        Length of a descriptor.
    temperature : float
        Of SimCLR's loss: what cosines are divided by.
    denoising : float
        Weight of the denoising loss; with 0 the decoder isn't trained, and ``decode`` refuses.
    noise : float, optional
        Greatest standard deviation of the noise on a first view, for pixels in 0..1. Default: 0.5 where most images are
        figures on a plain ground, else 0.1.
    families : dict of str to float, optional
        Augmentations that make the views, with their amounts (:data:`lookalike.transforms.augmentations.FAMILIES`).
        Default: those that suit the images.
    epochs : int
        Passes over the images.
    batch_size : int
        Images a step, each in two views.
    learning_rate : float
        Of Adam.
    validation : float
        Share of the images, 0 to 0.5, held out to choose the best epoch by; with fewer than 16 of them, the training
        loss chooses.
    precision : {"auto", "float32", "bfloat16"}
        ``auto`` takes bfloat16 where the CPU has it and a short trial finds it faster.
    minutes : float, optional
        Stop after this long, in mid-epoch if need be, and keep the best model so far.
    seed : int
        Of the weights, the order, the augmentations and the noise.

    Attributes
    ----------
    history_ : list of dict
        One an epoch: ``epoch``, ``loss``, ``validation_loss``, ``seconds``, ``images_per_second``.
    stopped_ : {"done", "time", "interrupted"}
        Why training ended.
    precision_ : str
        What it ran in, and why.
    families_ : dict of str to float
        The augmentations that it learnt from.
    """

    name = "contrastive"
    saved_as = "contrastive encoder"
    preferred_shape = (64, 64, 3)

    def __init__(
        self,
        *,
        loss: str = "simclr",
        dimension: int = 128,
        temperature: float = 0.2,
        denoising: float = 1.0,
        noise: float | None = None,
        families: dict[str, float] | None = None,
        epochs: int = 20,
        batch_size: int = 256,
        learning_rate: float = 3e-3,
        validation: float = 0.02,
        precision: str = "auto",
        minutes: float | None = None,
        seed: int = 0,
    ) -> None:
        self.loss = loss
        self.dimension = dimension
        self.temperature = temperature
        self.denoising = denoising
        self.noise = noise
        self.families = families
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation = validation
        self.precision = precision
        self.minutes = minutes
        self.seed = seed

    def _fit(self, images: NDArray[np.uint8]) -> None:
        from lookalike.encoders.onnx import export
        from lookalike.encoders.training import contrastive_loss
        from lookalike.encoders.training.pairs import LOOKED_AT, families_to_learn
        from lookalike.transforms.augmentations import check_families
        from lookalike.transforms.grounds import kind_of

        self.check_params()
        sample = images[:: -(-len(images) // LOOKED_AT)]
        self.families_ = families_to_learn(images) if self.families is None else check_families(self.families, sample)
        given = self.params | {
            "noise": NOISE[kind_of(sample)] if self.noise is None else self.noise,
            "families": self.families_,
            "fixed_noise": False,
            "optimizer": "adam",
        }
        plan = contrastive_loss.Plan(**{field.name: given[field.name] for field in fields(contrastive_loss.Plan)})
        network = build(images.shape[1:], self.dimension, self.seed)
        result = self._train(network, images, plan)
        trunk, encoder, decoder = (network.get_layer(name).layers for name in ("trunk", "encoder", "decoder"))
        halves = {"encoder.onnx": export.export([*trunk, *encoder], images.shape[1:], flatten=True)}
        if self.denoising:
            halves["denoiser.onnx"] = export.export([*trunk, *decoder], images.shape[1:], flatten=False)
        self._keep(network, result, halves, families=self.families_)

    def check_params(self) -> None:
        """Refuse parameters out of range; ``fit`` does it too.

        Raises
        ------
        UsageError
            If one is; the message names it and what it must be.
        """
        from lookalike.encoders.training.contrastive_loss import LOSSES

        if self.loss not in LOSSES:
            raise unknown_name("loss", self.loss, LOSSES)
        self._require(
            ("dimension", self.dimension >= 2, "at least 2"),
            ("temperature", self.temperature > 0, "more than 0"),
            ("denoising", self.denoising >= 0, "0 or more"),
            ("noise", self.noise is None or 0 <= self.noise <= 10, "0 to 10"),
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 2, "at least 2"),
            ("validation", 0 <= self.validation <= 0.5, "0 to 0.5"),
            ("minutes", self.minutes is None or self.minutes > 0, "more than 0"),
            ("learning_rate", self.learning_rate > 0, "more than 0"),
        )

    def _read(self, files: dict[str, bytes]) -> dict[str, Any]:
        record = super()._read(files)
        self.families_ = record["families"]
        return record

    def _read_denoiser(self, files: dict[str, bytes]) -> OnnxModel | None:
        return super()._read_denoiser(files) if self.denoising else None


def build(shape: tuple[int, ...], dimension: int = 128, seed: int = 0) -> Any:
    """Build the untrained network for images of a shape.

    Parameters
    ----------
    shape : tuple of int
        ``(h, w)`` or ``(h, w, 3)``.
    dimension : int
        Length of a descriptor.
    seed : int
        Of the initial weights (He uniform; Glorot uniform in the last layers).

    Returns
    -------
    keras.Model
        Of four chains of standard layers: ``trunk``, convolutions and poolings until no side is longer than
        ``LAST_SIDE``; after it ``encoder``, whose first convolution covers all of the last maps, then ``projector``, which
        serves the training alone; and ``decoder``, from the trunk's maps back to the input's shape.
    """
    from lookalike.encoders.training.keras_backend import import_keras

    keras = import_keras()
    height, width, channels = shape[0], shape[1], shape[2] if len(shape) == 3 else 1
    seeds = iter(np.random.SeedSequence(seed).generate_state(64).tolist())

    def conv(filters: int, size: Any = 3, activation: str | None = "relu") -> Any:
        start = keras.initializers.HeUniform if activation == "relu" else keras.initializers.GlorotUniform
        return keras.layers.Conv2D(
            filters, size, activation=activation, padding="same" if size == 3 else "valid",
            kernel_initializer=start(seed=int(next(seeds))),
        )  # fmt: skip

    sides = [(height, width)]
    while max(sides[-1]) > LAST_SIDE or len(sides) == 1:
        sides.append((-(-sides[-1][0] // 2), -(-sides[-1][1] // 2)))
    poolings = len(sides) - 1
    filters = [FILTERS[min(i, len(FILTERS) - 1)] for i in range(poolings)]
    x = images = keras.Input((height, width, channels))
    trunk = []
    for number in filters:
        trunk += [conv(number), keras.layers.MaxPooling2D(2, padding="same")]
    maps = keras.Sequential([keras.Input(x.shape[1:]), *trunk], name="trunk")(x)
    both = [conv(BEFORE, sides[-1]), conv(dimension, 1)]
    code = keras.Sequential([keras.Input(maps.shape[1:]), *both], name="encoder")(maps)
    projected = keras.Sequential([keras.Input(code.shape[1:]), conv(COMPARED, 1, None)], name="projector")(code)
    decoder = []
    for i in range(poolings, 0, -1):
        decoder += [conv(max(16, filters[i - 1] // 2)), keras.layers.UpSampling2D(2)]
        extra = [2 * small - large for small, large in zip(sides[i], sides[i - 1], strict=True)]
        if any(extra):
            decoder.append(keras.layers.Cropping2D([(0, e) for e in extra]))
    decoder.append(conv(channels, 3, "sigmoid"))
    image = keras.Sequential([keras.Input(maps.shape[1:]), *decoder], name="decoder")(maps)
    return keras.Model(images, [code, projected, image], name=f"contrastive_{dimension}")
