"""An ONNX image model and images -> one vector an image; what it takes and gives is read from its graph and its files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array
from lookalike.cores import usable_cores
from lookalike.encoders.attribution import Box
from lookalike.encoders.onnx.feature_maps import averaged_into, with_output
from lookalike.encoders.onnx.preprocessing import crop_window, read_preprocessing, to_input
from lookalike.encoders.onnx.runtime import OnnxModel
from lookalike.encoders.onnx.settings import INPUT_TYPES, Settings
from lookalike.errors import EncoderError, first_line

#: Inputs of a text tower, where a model has both towers in one graph.
TEXT_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})
#: Outputs taken by name, the first found; otherwise the one with the fewest dimensions.
OUTPUTS = ("image_embeds", "pooler_output")

_NOT_OF_AN_IMAGE = frozenset({"text_embeds", "logits_per_image", "logits_per_text"})


class ImageModel:
    """Runs an ONNX model on images, one image a run and one run a core: no image can change another's vector.

    Parameters
    ----------
    model : OnnxModel
        The model.
    settings : Settings
        How to use it; :func:`examine` finds them out.
    """

    def __init__(self, model: OnnxModel, settings: Settings) -> None:
        self.model = model
        self.settings = settings
        self._others: dict[str, NDArray[Any]] | None = None
        self._mapping: tuple[tuple[ImageModel, str] | None] | None = None

    @property
    def takes_text(self) -> bool:
        """Whether the graph holds a text tower too."""
        return any(i.name == "input_ids" for i in self.model.session.get_inputs())

    def run(self, images: NDArray[np.uint8]) -> Float32Array:
        """Turn images into vectors.

        Parameters
        ----------
        images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3), n > 0
            Images of any size. Those of the network's own size are put in as they are.

        Returns
        -------
        ndarray of float32, shape (n, d)
            One row an image.

        Raises
        ------
        EncoderError
            If the model fails, or gives what isn't a number.
        """
        first = self._vector(images[0])
        result = np.empty((len(images), len(first)), np.float32)
        result[0] = first

        def fill(i: int) -> None:
            result[i] = self._vector(images[i])

        if len(images) > 1:
            with ThreadPoolExecutor(min(usable_cores(), len(images) - 1)) as pool:
                list(pool.map(fill, range(1, len(images))))
        finite = np.isfinite(result).all(axis=1)
        if not finite.all():
            raise EncoderError(
                f"the model gives NaN or infinity for image {int(np.argmin(finite))} of {len(images)}; "
                "use one in single precision, or leave the image out"
            )
        return result

    def black_image(self) -> dict[str, NDArray[Any]]:
        """Make the model's image input for a run whose image doesn't matter.

        Returns
        -------
        dict
            The input's name -> a black image.
        """
        black = np.zeros((*self.settings.size, 3)[: 2 if self.settings.channels == 1 else 3], np.uint8)
        return {self.settings.input: to_input(black, self.settings)}

    def answers(self, image: NDArray[np.uint8], outputs: list[str]) -> list[NDArray[Any]]:
        """Run the model on one image.

        Parameters
        ----------
        image : ndarray of uint8, shape (h, w) or (h, w, 3)
            The image.
        outputs : list of str
            Names of the outputs wanted.

        Returns
        -------
        list of ndarray
            One array an output, as the graph gives it.

        Raises
        ------
        EncoderError
            If the model fails.
        """
        session = self.model.session
        if self._others is None:  # a text tower in the same graph gets one token, and its answer isn't looked at
            self._others = {i.name: _shortest_text(i) for i in session.get_inputs() if i.name != self.settings.input}
        try:
            given = {self.settings.input: to_input(image, self.settings), **self._others}
            answers: list[NDArray[Any]] = session.run(outputs, given)
        except Exception as e:  # its exceptions share no base of their own
            height, width = self.settings.size
            raise EncoderError(f"the ONNX model fails on an image of {width} x {height} ({first_line(e)})") from e
        return answers

    def maps(self, image: NDArray[np.uint8], vector: NDArray[np.floating]) -> tuple[Float32Array, Box] | None:
        """Return what an image's vector is the mean of, place by place.

        Parameters
        ----------
        image : ndarray of uint8, shape (h, w) or (h, w, 3)
            The image.
        vector : ndarray of float, shape (d,)
            What :meth:`run` makes of it.

        Returns
        -------
        maps : ndarray of float32, shape (rows, columns, d)
            One vector a place; their mean is ``vector``.
        box : tuple of float
            Left, top, right and bottom of the part of the image that is looked at, as shares of its sides.

        None where the model's vector isn't such a mean.
        """
        if self._mapping is None:
            self._mapping = (self._find_maps(),)
        if self._mapping[0] is None:
            return None
        mapping, name = self._mapping[0]
        (answer,) = mapping.answers(image, [name])
        for maps in _as_maps(answer[0], self.settings):
            flat = maps.reshape(-1, maps.shape[2])
            if flat.shape[1] == len(vector) and np.allclose(flat.mean(axis=0), vector, rtol=1e-3, atol=1e-4):
                left, top, right, bottom = crop_window(image.shape[:2], self.settings)
                height, width = image.shape[:2]
                return maps, (left / width, top / height, right / width, bottom / height)
        return None

    def _find_maps(self) -> tuple[ImageModel, str] | None:
        """Return the model that gives the maps, and their name."""
        name = self.settings.output
        if self.settings.pooling in ("mean of tokens", "mean over the area"):
            return self, name
        inner = averaged_into(self.model.model, name) if self.settings.pooling == "none" else None
        if inner is None:
            return None
        mapping = ImageModel(OnnxModel(with_output(self.model.model, inner)), self.settings)
        try:
            mapping.model.session  # noqa: B018  (ONNX Runtime may refuse what it is given now)
        except EncoderError:
            return None
        return mapping, inner

    def _vector(self, image: NDArray[np.uint8]) -> Float32Array:
        (answer,) = self.answers(image, [self.settings.output])
        return _pool(answer[0], self.settings)


def examine(model: OnnxModel, config: bytes | None, where: str) -> ImageModel:
    """Find out how to use a model: from its graph, its preprocessing file, and one run on a grey image.

    Parameters
    ----------
    model : OnnxModel
        Any image model.
    config : bytes or None
        Content of its ``preprocessor_config.json``.
    where : str
        Where it came from, for the messages.

    Returns
    -------
    ImageModel
        Ready to run.

    Raises
    ------
    EncoderError
        If it is no ONNX model, takes no images or something beside them, or gives nothing that is a vector.
    """
    try:
        session = model.session
    except EncoderError as e:
        raise EncoderError(f"{where}: {e}") from e
    image = _image_input(session.get_inputs(), where)
    layout, channels, fixed = _dimensions(image, where)
    settings = read_preprocessing(
        config, fixed, where, input=image.name, type=INPUT_TYPES[image.type], layout=layout, channels=channels
    )
    candidates = [o.name for o in session.get_outputs() if o.name not in _NOT_OF_AN_IMAGE]
    grey = np.full((*settings.size, 3)[: 2 if settings.channels == 1 else 3], 128, np.uint8)
    try:
        answers = dict(zip(candidates, ImageModel(model, settings).answers(grey, candidates), strict=True))
    except EncoderError as e:
        fix = "give its size in preprocessor_config.json beside it" if 0 in fixed else "use another model"
        raise EncoderError(f"{where}: {e}; {fix}") from e
    return ImageModel(model, _choose_output(answers, settings, where))


def _image_input(inputs: Sequence[Any], where: str) -> Any:
    """Return the graph's one input of images; those of a text tower may stand beside it."""
    images = [i for i in inputs if len(i.shape) == 4 and i.type in INPUT_TYPES]
    others = [i.name for i in inputs if i not in images[:1] and i.name not in TEXT_INPUTS]
    if not images or others:
        listed = ", ".join(f"{i.name} {_say(i.shape)} {i.type}" for i in inputs) or "none"
        raise EncoderError(
            f"{where}: its inputs are {listed}; expected one of images, [n, 3, h, w] or [n, h, w, 3], in uint8 or float; "
            "export the image part of the model alone"
        )
    return images[0]


def _dimensions(image: Any, where: str) -> tuple[str, int, tuple[int, int]]:
    """Return the layout of an image input, its channels, and its height and width, 0 where the graph leaves one open."""
    batch, *dimensions = [side if isinstance(side, int) else None for side in image.shape]
    layout = "NHWC" if dimensions[2] in (1, 3) and dimensions[0] not in (1, 3) else "NCHW"
    channels, *sides = dimensions if layout == "NCHW" else [dimensions[2], *dimensions[:2]]
    if batch not in (None, 1) or channels not in (None, 1, 3):
        raise EncoderError(
            f"{where}: its input is {_say(image.shape)}; expected a free number of images, or 1, and 3 channels or 1; "
            "export it again so"
        )
    return layout, channels or 3, (sides[0] or 0, sides[1] or 0)


def _choose_output(answers: dict[str, NDArray[Any]], settings: Settings, where: str) -> Settings:
    usable = {
        name: answer
        for name, answer in answers.items()
        if answer.dtype.kind == "f" and answer.ndim in (2, 3, 4) and len(answer) == 1 and answer.size
    }
    named = [name for name in (*OUTPUTS, "last_hidden_state") if name in usable]
    fewest = sorted((n for n in usable if n not in named), key=lambda n: usable[n].ndim)
    two = [name for name in fewest if usable[name].ndim == 2]
    for name in dict.fromkeys([*(n for n in named if n in OUTPUTS), *two, *named, *fewest]):
        candidate = _with_output(settings, name, usable[name])
        if _pool(usable[name][0], candidate).size > 1:
            return candidate
    listed = ", ".join(f"{name} {_say(answer.shape)} {answer.dtype}" for name, answer in answers.items()) or "none"
    raise EncoderError(
        f"{where}: its outputs for one image are {listed}; expected a vector [1, d], tokens [1, t, d] or maps "
        "[1, d, h, w] of floats; export the model without its last step"
    )


def _with_output(settings: Settings, name: str, answer: NDArray[Any]) -> Settings:
    pooling = {2: "none", 3: "mean of tokens", 4: "mean over the area"}[answer.ndim]
    if answer.ndim == 3 and not _is_grid(answer.shape[1], settings.size):
        pooling = "first token"
    return replace(settings, output=name, pooling=pooling)


def _is_grid(tokens: int, size: tuple[int, int]) -> bool:
    """Tell whether so many tokens are an image's square patches and nothing else; otherwise the first is the class's."""
    return any(tokens == (size[0] // patch) * (size[1] // patch) for patch in range(1, min(size) + 1))


def _pool(answer: NDArray[Any], settings: Settings) -> Float32Array:
    wide = answer.astype(np.float32, copy=False)
    if settings.pooling == "first token":
        wide = wide[0]
    elif settings.pooling == "mean of tokens":
        wide = wide.mean(axis=0)
    elif settings.pooling == "mean over the area":
        wide = wide.mean(axis=(1, 2) if settings.layout == "NCHW" else (0, 1))
    return wide


def _as_maps(answer: NDArray[Any], settings: Settings) -> Iterator[Float32Array]:
    """Yield in what ways an answer may be a vector a place: (rows, columns, d)."""
    wide = answer.astype(np.float32, copy=False)
    if wide.ndim == 3:
        yield wide.transpose(1, 2, 0)
        yield wide
    elif wide.ndim == 2:
        height, width = settings.size
        for patch in range(1, min(height, width) + 1):
            if len(wide) == (height // patch) * (width // patch):
                yield wide.reshape(height // patch, width // patch, -1)


def _shortest_text(expected: Any) -> NDArray[Any]:
    """Make one of a text tower's inputs: a single token, or as many as the graph insists on."""
    shape = [side if isinstance(side, int) else 1 for side in expected.shape]
    return np.ones(shape, np.int32 if expected.type == "tensor(int32)" else np.int64)


def _say(shape: Any) -> str:
    return f"[{', '.join('?' if side is None else str(side) for side in shape)}]"
