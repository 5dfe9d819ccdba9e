"""Descriptors of any encoder -> binary codes by a deep autoencoder, compared by the number of bits that differ.

Sources: Y. Gong and S. Lazebnik, "Iterative Quantization: A Procrustean Approach to Learning Binary Codes", CVPR 2011
(``itq``); A. Krizhevsky and G. Hinton, "Using Very Deep Autoencoders for Content-Based Image Retrieval", ESANN 2011
(``hashing``); R. Salakhutdinov and G. Hinton, "Semantic Hashing", IJAR 50(7), 2009 (looking codes up within a radius:
:meth:`lookalike.neighbors.exact.Database.within`).
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.encoders.base import check_whole
from lookalike.encoders.codes import MAX_BITS, SAMPLE, CodeEncoder
from lookalike.encoders.trained import TrainedEncoder
from lookalike.errors import EncoderError
from lookalike.imaging.resize import average_down
from lookalike.neighbors.linalg import unit_rows
from lookalike.neighbors.sampling import draw_rows
from lookalike.transforms.augmentations import augment, check_families, families_for

#: Augmented copies of an image that the deep autoencoder learns from; most values of their descriptors, and of their
#: pixels, which bound its memory and the time that the copies take.
COPIES, MAX_VALUES, MAX_PIXELS = 3, 1e8, 1e9
#: Longest side of an image whose pixels it reads; larger ones are averaged down, as Krizhevsky and Hinton trained on
#: 32 x 32.
LONGEST_SIDE = 32


class Hashing(CodeEncoder, TrainedEncoder):
    """Binary codes from the middle of a deep autoencoder of descriptors; ``fit`` trains it with Keras, the rest is NumPy.

    The network and what it learns are in :mod:`lookalike.encoders.training.hash_network`: from the bits of an augmented copy it must draw the
    image's descriptor, and two copies' bits must agree. Over ``pixels``, with ``agreement=0``, it is Krizhevsky and
    Hinton's deep autoencoder, without their layer-wise pre-training; images larger than 32 pixels are averaged down
    first then.

    Parameters
    ----------
    base : str
        The encoder of float descriptors that is turned into bits.
    bits : int
        1 to 65,528; 28 and 256 are the authors'. A code has ``ceil(bits / 8)`` bytes; what is left of the last one is 0.
    options : dict, optional
        The base encoder's parameters.
    neighbours : int
        How many nearest images, by the base, count as of the same kind: half of the pairs whose bits must agree are
        copies of such neighbours. For everything of its kind; 0, for the closest few, where images don't come in kinds.
    drawing, agreement : float
        Weights of the two losses, not both 0.
    families : dict of str to float, optional
        Families with their amounts; by default those that suit the images.
    epochs : int
        Passes over the images.
    batch_size : int
        Images a step; bits are balanced and told apart over them, so not too few.
    learning_rate : float
        Of Adam.
    validation : float
        Share of the images, 0 to 0.5, held out to choose the best epoch by; 0 chooses by the training loss.
    minutes : float, optional
        Stop after this long, in mid-epoch if need be, and keep the best model so far.
    seed : int
        Of the weights, the order and the augmentations.

    Attributes
    ----------
    base_ : Encoder
        The fitted base.
    history_ : list of dict
        One an epoch: ``epoch``, ``loss``, ``validation_loss``, ``seconds``, ``images_per_second``.
    stopped_ : {"done", "time", "interrupted"}
        Why training ended.
    """

    name = "hashing"

    def __init__(
        self,
        *,
        base: str = "hog",
        bits: int = 256,
        options: dict[str, Any] | None = None,
        neighbours: int = 5,
        drawing: float = 1.0,
        agreement: float = 1.0,
        families: dict[str, float] | None = None,
        epochs: int = 10,
        batch_size: int = 256,
        learning_rate: float = 1e-3,
        validation: float = 0.02,
        minutes: float | None = None,
        seed: int = 0,
    ) -> None:
        self.base = base
        self.bits = bits
        self.options = options
        self.neighbours = neighbours
        self.drawing = drawing
        self.agreement = agreement
        self.families = families
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation = validation
        self.minutes = minutes
        self.seed = seed

    @property
    def preferred_shape(self) -> tuple[int, ...] | None:  # type: ignore[override]
        """The base encoder's; over pixels, what they would be averaged down to."""
        return (LONGEST_SIDE, LONGEST_SIDE, 3) if self.base == "pixels" else super().preferred_shape

    def _fit(self, images: NDArray[np.uint8]) -> None:
        from lookalike.encoders.training import hash_network as bits

        self.check_params()
        base = self._get_base()
        families = families_for(images) if self.families is None else check_families(self.families, images)
        if len(images) < 2:
            raise EncoderError(f"training needs at least 2 images, there is {len(images)}; give more")
        seen = images if base.is_fitted or self.base != "pixels" else average_down(images, LONGEST_SIDE)
        if self._given is None:
            base.fit(seen)
        self.base_ = base
        table = self._describe(images, families)
        mean = table[:, 0].mean(axis=0, dtype=np.float64).astype(np.float32)
        table -= mean
        deviation = float(np.sqrt(np.square(table[:, 0]).mean()))
        if deviation < 1e-6:
            raise self._all_alike(len(images))
        table /= np.float32(deviation)  # what the network sees is about as large as its weights are meant for
        plan = bits.Plan(
            noise=0.0,
            fixed_noise=False,
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimizer="adam",
            learning_rate=self.learning_rate,
            validation=self.validation,
            precision="float32",
            minutes=self.minutes,
            seed=self.seed,
            drawing=self.drawing,
            agreement=self.agreement,
            neighbours=self.neighbours,
        )
        network = bits.build(table.shape[2], self.bits, self.seed)
        result = self._train(network, table, plan)
        sample = table[draw_rows(np.random.default_rng(self.seed), len(table), SAMPLE), 0]
        layers = bits.read_layers(network, sample)
        kernel, bias = layers[0]  # what was taken away and divided by becomes part of the first layer
        layers[0] = kernel / np.float32(deviation), bias - mean @ kernel / np.float32(deviation)
        arrays: dict[str, Any] = {f"kernel_{i}": kernel for i, (kernel, _) in enumerate(layers)}
        arrays |= {f"bias_{i}": bias for i, (_, bias) in enumerate(layers)}
        file = io.BytesIO()
        np.savez(file, **arrays)
        history = {"history": [asdict(e) for e in result.history], "best_epoch": result.best_epoch}
        self._set_network({"layers.npz": file.getvalue(), "history.json": json.dumps(history, indent=1).encode()})

    def _describe(self, images: NDArray[np.uint8], families: dict[str, float]) -> Any:
        """Return unit descriptors of some images and of their augmented copies, shape (n, 1 + COPIES, d)."""
        length = self.base_.dimension_
        pixels = int(np.prod(images.shape[1:]))
        most = int(min(MAX_VALUES / length / (1 + COPIES), MAX_PIXELS / pixels / COPIES))
        images = images[draw_rows(np.random.default_rng(self.seed), len(images), max(2, most))]
        table = np.empty((len(images), 1 + COPIES, length), np.float32)
        for i in range(1 + COPIES):
            copies = augment(images, families, seed=self.seed + i) if i else images
            table[:, i] = unit_rows(self.base_.encode(self._seen(copies)))
        return table

    def _seen(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return images as the base takes them."""
        return images if images.shape[1:] == self.base_.shape_ else average_down(images, LONGEST_SIDE)

    def check_params(self) -> None:
        """Refuse parameters out of range; ``fit`` does it too.

        Raises
        ------
        UsageError
            If one is; the message names it and what it must be.
        """
        for name, least, most in (
            ("bits", 1, MAX_BITS),
            ("neighbours", 0, 1000),
            ("epochs", 1, 10**6),
            ("batch_size", 2, 10**6),
        ):
            check_whole("hashing", name, getattr(self, name), least, most)
        self._require(
            ("drawing", self.drawing >= 0, "at least 0"),
            ("agreement", self.agreement >= 0, "at least 0"),
            ("agreement", self.agreement + self.drawing > 0, "more than 0 where drawing is 0"),
            ("validation", 0 <= self.validation <= 0.5, "0 to 0.5"),
            ("minutes", self.minutes is None or self.minutes > 0, "more than 0"),
            ("learning_rate", self.learning_rate > 0, "more than 0"),
        )

    def _encode(self, images: NDArray[np.uint8]) -> Any:
        from lookalike.encoders.training.hash_network import values

        codes = np.empty((len(images), -(-self.bits // 8)), np.uint8)
        for start in range(0, len(images), SAMPLE):
            part = images[start : start + SAMPLE]
            descriptors = unit_rows(self.base_.encode(self._seen(part)))
            codes[start : start + SAMPLE] = np.packbits(values(self._layers, descriptors) > 0, axis=1)
        return codes

    def _get_weights(self) -> dict[str, bytes]:
        return self._base_files() | self._files

    def _set_weights(self, files: dict[str, bytes]) -> None:
        self._set_base(files, "layers.npz", "history.json")
        self._set_network({name: f for name, f in files.items() if not name.startswith("base-")})

    def _set_network(self, files: dict[str, bytes]) -> None:
        record = json.loads(files["history.json"])
        try:
            arrays = np.load(io.BytesIO(files["layers.npz"]), allow_pickle=False)
            self._layers = [(arrays[f"kernel_{i}"], arrays[f"bias_{i}"]) for i in range(3)]
        except KeyError as e:
            raise EncoderError(f"the saved hashing encoder lacks {e}; train it again") from e
        self.history_ = record["history"]
        self.best_epoch_ = record["best_epoch"]
        self._files = files
