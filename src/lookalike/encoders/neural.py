"""Images -> descriptors by a pre-trained network in ONNX: its last layer before the classes.

Sources: A. Babenko et al., "Neural Codes for Image Retrieval", ECCV 2014; M. Tan and Q. Le, "EfficientNet: Rethinking
Model Scaling for Convolutional Neural Networks", ICML 2019, and its Lite variants, of which two are shipped with lookalike
(``efficientnet_lite.NOTICE``); for queries in words A. Radford et al., "Learning Transferable Visual Models From
Natural Language Supervision", ICML 2021.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lookalike.encoders.attribution import Contribution
from lookalike.encoders.base import Encoder
from lookalike.encoders.onnx.image_model import ImageModel, examine
from lookalike.encoders.onnx.known_models import KNOWN, read_known
from lookalike.encoders.onnx.model_files import HUB, ModelFiles, read_model_files
from lookalike.encoders.onnx.runtime import OnnxModel
from lookalike.encoders.onnx.settings import Settings
from lookalike.encoders.onnx.text_model import TextModel
from lookalike.errors import EncoderError, UsageError
from lookalike.transforms.windows import cell_shares

#: The models that are shipped: two networks in 8 bits whose descriptors are joined, and one of them alone, three times as fast.
PAIR, FAST = "pair", "fast"
_LITE0, _LITE2 = (Path(__file__).with_name(f"efficientnet_lite{n}_int8.onnx") for n in (0, 2))
#: Model -> its networks' files; the one with the largest images first.
SHIPPED = {PAIR: (_LITE2, _LITE0), FAST: (_LITE0,)}
#: Models that were shipped once: an index that one of them made goes on with it, from its own folder.
RETIRED = ("efficientnet-lite0", "efficientnet-lite0-int8")
NOTICE = Path(__file__).with_name("efficientnet_lite.NOTICE")

#: Files of a saved encoder: each network's graph, and how it is used.
_FILES = (("model.onnx", "settings.json"), ("model_2.onnx", "settings_2.json"))
_FIX = "use a whole ONNX model, in one file and of an operator set that ONNX Runtime knows"


class Neural(Encoder):
    """Features of a pretrained network: EfficientNet-Lite, or any image model in ONNX; learns nothing.

    Images may have any size: the network's own is made of them, as its ``preprocessor_config.json`` says, or else by
    squashing. Those that have it already (:attr:`preferred_shape`) are put in as they are.

    Parameters
    ----------
    model : str
        ``pair``, shipped: EfficientNet-Lite2 and Lite0 in 8-bit arithmetic, joined, 2,560-d; the two err on different
        images. Or ``fast``: Lite0 alone, 1,280-d, at a third of the cost. Or the path of an ``.onnx`` file or of a
        folder that holds one; or ``hf:owner/name``, downloaded once from huggingface.co; or a well-known model by its
        name (:mod:`lookalike.encoders.onnx.known_models`), if it has been fetched. ``fit`` reads it.

    Attributes
    ----------
    settings_ : Settings
        How images are put to the model (of the pair, to Lite2), and which output is taken and how it is pooled.

    Notes
    -----
    The shipped networks pool their last maps with weight to the middle, where the subject of a photograph mostly is, and
    each gives a descriptor of length 1 (``scripts/convert_efficientnet.py``).
    """

    name = "neural"
    learns = False
    _opened: tuple[str, dict[str, bytes], list[ImageModel]] | None = None

    def __init__(self, *, model: str = PAIR) -> None:
        self.model = model

    @property
    def preferred_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Shape of the images that the network takes without scaling: ``(h, w, 3)``, or ``(h, w)`` if it wants grey."""
        settings = (self._image_models if self.is_fitted else self._examined()[1])[0].settings
        return settings.size if settings.channels == 1 else (*settings.size, settings.channels)

    @property
    def can_read(self) -> bool:
        """Whether :meth:`encode_text` can be used: the model has a text tower and a tokenizer."""
        return self.is_fitted and self._text_model is not None

    def encode_text(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Turn texts into descriptors that can be compared with those of images, by the same post-processing.

        Parameters
        ----------
        texts : sequence of str
            What images should show, one or more.

        Returns
        -------
        ndarray of float32, shape (n, dimension_)
            One row a text; not normalised.

        Raises
        ------
        UsageError
            If the model has no text tower, a text is empty, or the extra ``hub`` isn't installed.
        EncoderError
            If it isn't fitted, or the text tower fails or doesn't belong to the image tower.
        """
        if not self.is_fitted:
            raise EncoderError(f"{self.name} has not been fitted; call fit(images) first, or load a trained one")
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise UsageError("neural: encode_text takes a list of texts")
        if self._text_model is None:
            raise UsageError(
                f"the model '{self.model}' has no text tower with a tokenizer.json, so it can't be asked in words; "
                f"use a CLIP or SigLIP export, for example siglip2 or {HUB}Xenova/clip-vit-base-patch32"
            )
        if not texts:
            return np.empty((0, self.dimension_), np.float32)
        descriptors = self._text_model.run(texts)
        expected = self.dimension_ if self.post_ is None else self.post_.takes
        if descriptors.shape[1] != expected:
            raise EncoderError(
                f"the model '{self.model}' gives {expected} values for an image and {descriptors.shape[1]} for a "
                "text, which can't be compared; use exports that end in image_embeds and text_embeds"
            )
        return descriptors if self.post_ is None else self.post_.apply(descriptors)

    def _fit(self, _images: NDArray[np.uint8]) -> None:
        if isinstance(self.model, os.PathLike):
            self.model = os.fspath(self.model)
        self._take(*self._examined())
        self._opened = None

    def _examined(self) -> tuple[dict[str, bytes], list[ImageModel]]:
        """Read the model and find out how to use it, once for a shape that is asked for and the ``fit`` after it."""
        if self._opened is None or self._opened[0] != self.model:
            if not isinstance(self.model, str) or not self.model:
                raise UsageError(
                    f"neural: model is {self.model!r}; it must be {', '.join(SHIPPED)}, a path, or {HUB}owner/name"
                )
            shipped = SHIPPED.get(self.model)
            if shipped is not None:
                towers = [ModelFiles(file.name, file.read_bytes()) for file in shipped]
            else:
                towers = [(read_known if self.model in KNOWN else read_model_files)(self.model)]
            models = [examine(OnnxModel(f.model, _FIX, f.where), f.config, f.where) for f in towers]
            contents = {
                "text.onnx": towers[0].text,
                "tokenizer.json": towers[0].tokenizer,
                "tokenizer_config.json": towers[0].tokenizer_config,
            }
            for (name, settings), tower, model in zip(_FILES, towers, models, strict=False):
                contents |= {name: tower.model, settings: model.settings.to_json()}
            held = {name: content for name, content in contents.items() if content is not None}
            self._opened = self.model, held, models
        return self._opened[1:]

    def _encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.hstack([model.run(images) for model in self._image_models])

    def _contributions(
        self,
        image: NDArray[np.uint8],
        raw: NDArray[np.float64],
        scale: float,
        offset: NDArray[np.float64],
        weights: NDArray[np.float64],
    ) -> list[Contribution]:
        total: NDArray[np.float64] | None = None
        # All shipped networks give descriptors of one length, and see the whole image; any other model stands alone.
        for model, own in zip(self._image_models, np.split(np.arange(len(raw)), len(self._image_models)), strict=True):
            located = model.maps(image, raw[own])
            if located is None:
                return super()._contributions(image, raw, scale, offset, weights)
            maps, box = located
            values = (scale * maps.astype(np.float64) - offset[own]) @ weights[own] / (maps.shape[0] * maps.shape[1])
            if total is None:
                total = values
            else:
                down, across = (cell_shares(few, many) for few, many in zip(values.shape, total.shape, strict=True))
                total = total + down @ values @ across.T
        assert total is not None
        return [Contribution(self.name, total, box)]

    def _providers(self) -> set[str]:
        return {image_model.model.provider for image_model in self._image_models}

    def _get_weights(self) -> dict[str, bytes]:
        return self._files

    def _set_weights(self, files: dict[str, bytes]) -> None:
        try:
            models = [
                ImageModel(OnnxModel(files[name], name=name), Settings.from_json(files[settings]))
                for name, settings in _FILES
                if name in files or name == _FILES[0][0]
            ]
        except KeyError as e:
            raise EncoderError(f"the saved neural encoder lacks {e}; make it again") from e
        self._take(files, models)

    def _take(self, files: dict[str, bytes], image_models: list[ImageModel]) -> None:
        self._files = files
        self._image_models = image_models
        self.settings_ = image_models[0].settings
        self._text_model: TextModel | None = None
        if "tokenizer.json" in files:
            tokenizer = files["tokenizer.json"], files.get("tokenizer_config.json")
            if "text.onnx" in files:
                self._text_model = TextModel(OnnxModel(files["text.onnx"], _FIX, "text.onnx"), *tokenizer)
            elif image_models[0].takes_text:
                self._text_model = TextModel(image_models[0].model, *tokenizer, image_models[0].black_image())
