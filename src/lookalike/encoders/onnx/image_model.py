"""An ONNX image model -> one vector an image. What it wants and gives is read from its graph and from the file beside it.

The file is Hugging Face's ``preprocessor_config.json``; both forms of its ``size`` are read, ``{"shortest_edge": 256}``
with a crop from the middle, and ``{"height": 224, "width": 224}``, and the plain number of old. Without the file an image
is squashed to the graph's size (224 where that is open), brought to 0..1 and to ImageNet's mean and deviation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array
from lookalike.cores import usable_cores
from lookalike.encoders.attribution import Box
from lookalike.encoders.onnx.feature_maps import averaged_into, with_output
from lookalike.encoders.onnx.runtime import OnnxModel
from lookalike.errors import EncoderError, first_line

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
DEFAULT_SIDE = 224
#: Sides that a preprocessing file may ask for; more is a slip, and would fill the memory.
MAX_SIDE = 4096
#: Inputs of a text tower, where a model has both towers in one graph.
TEXT_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})
#: Outputs taken by name, the first found; otherwise the one with the fewest dimensions.
OUTPUTS = ("image_embeds", "pooler_output")

_NOT_OF_AN_IMAGE = frozenset({"text_embeds", "logits_per_image", "logits_per_text"})
_TYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(float16)": "float16"}
#: What makes one vector of an output.
POOLINGS = ("none", "first token", "mean of tokens", "mean over the area")
_BICUBIC = 3  # Pillow's number, which Hugging Face's files use
_CONVNEXT_FROM = 384  # from this side on, transformers squashes where `crop_pct` would crop


@dataclass(frozen=True)
class Settings:
    """How an image is put to the model, and which of its answers is the descriptor; saved beside the model.

    Attributes
    ----------
    input : str
        Name of the graph's image input.
    type : {"uint8", "float32", "float16"}
        Of the input. A graph that takes uint8 scales pixels itself: ``rescale``, ``mean`` and ``std`` are left unused.
    layout : {"NCHW", "NHWC"}
        Order of the input's dimensions.
    channels : {3, 1}
        Colour or grey.
    size : tuple of int
        Height and width that the network gets.
    resize : tuple of int or int
        Height and width that an image is scaled to, or the length of its shorter side; ``size`` is cut from the middle.
    resample : int
        Pillow's number of the filter: 2 bilinear, 3 bicubic, ...
    rescale : float
        What pixels of 0..255 are multiplied by.
    mean, std : tuple of float
        Subtracted and divided by after that, one a channel.
    output : str
        Name of the output taken.
    pooling : {"none", "first token", "mean of tokens", "mean over the area"}
        What makes one vector of it.
    """

    input: str
    type: str
    layout: str
    channels: int
    size: tuple[int, int]
    resize: tuple[int, int] | int
    resample: int
    rescale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    output: str = ""
    pooling: str = "none"

    def to_json(self) -> bytes:
        """Write the settings as JSON.

        Returns
        -------
        bytes
            What :meth:`from_json` reads.
        """
        return json.dumps(asdict(self), indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read what :meth:`to_json` wrote.

        Parameters
        ----------
        data : bytes
            JSON.

        Returns
        -------
        Settings
            The same as were written.

        Raises
        ------
        EncoderError
            If it is something else: a model may come from anybody.
        """
        try:
            fields: dict[str, Any] = json.loads(data)
            given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
            made = cls(**given)
            sides = [*made.size, *(made.resize if isinstance(made.resize, tuple) else [made.resize])]
            whole = [*sides, made.resample, made.channels]
            numbers = [made.rescale, *made.mean, *made.std]
            right = (
                all(isinstance(one, str) for one in (made.input, made.output))
                and made.type in _TYPES.values()
                and made.layout in ("NCHW", "NHWC")
                and made.pooling in POOLINGS
                and not any(isinstance(one, bool) or not isinstance(one, int) for one in whole)
                and all(1 <= side <= MAX_SIDE for side in sides)
                and 0 <= made.resample <= 5
                and len(made.size) == 2
                and len(sides) in (3, 4)
                and made.channels in (1, 3)
                and len(made.mean) == len(made.std) == made.channels
                and bool(np.isfinite(np.array(numbers, np.float64)).all())
                and 0 not in made.std
            )
        except (ValueError, TypeError, AttributeError, RecursionError, OverflowError) as e:
            raise EncoderError(f"settings.json: not the settings of a model ({first_line(e)}); make it again") from e
        if not right:
            raise EncoderError("settings.json: not the settings of a model, a value is out of range; make it again")
        return made


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
                left, top, right, bottom = _window(image.shape[:2], self.settings)
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
    inputs = session.get_inputs()
    images = [i for i in inputs if len(i.shape) == 4 and i.type in _TYPES]
    others = [i.name for i in inputs if i not in images[:1] and i.name not in TEXT_INPUTS]
    if not images or others:
        listed = ", ".join(f"{i.name} {_say(i.shape)} {i.type}" for i in inputs) or "none"
        raise EncoderError(
            f"{where}: its inputs are {listed}; expected one of images, [n, 3, h, w] or [n, h, w, 3], in uint8 or float; "
            "export the image part of the model alone"
        )
    (image,) = images[:1]
    batch, *dimensions = [side if isinstance(side, int) else None for side in image.shape]
    layout = "NHWC" if dimensions[2] in (1, 3) and dimensions[0] not in (1, 3) else "NCHW"
    channels, *sides = dimensions if layout == "NCHW" else [dimensions[2], *dimensions[:2]]
    if batch not in (None, 1) or channels not in (None, 1, 3):
        raise EncoderError(
            f"{where}: its input is {_say(image.shape)}; expected a free number of images, or 1, and 3 channels or 1; "
            "export it again so"
        )
    fixed = (sides[0] or 0, sides[1] or 0)
    settings = read_preprocessing(
        config, fixed, where, input=image.name, type=_TYPES[image.type], layout=layout, channels=channels or 3
    )
    candidates = [o.name for o in session.get_outputs() if o.name not in _NOT_OF_AN_IMAGE]
    grey = np.full((*settings.size, 3)[: 2 if settings.channels == 1 else 3], 128, np.uint8)
    try:
        answers = dict(zip(candidates, ImageModel(model, settings).answers(grey, candidates), strict=True))
    except EncoderError as e:
        fix = "give its size in preprocessor_config.json beside it" if 0 in fixed else "use another model"
        raise EncoderError(f"{where}: {e}; {fix}") from e
    return ImageModel(model, _choose_output(answers, settings, where))


def read_preprocessing(config: bytes | None, fixed: tuple[int, int], where: str, **graph: Any) -> Settings:
    """Read ``preprocessor_config.json``.

    Parameters
    ----------
    config : bytes or None
        The file's content; None where there is none.
    fixed : tuple of int
        Height and width that the graph asks for, 0 where it leaves them open.
    where : str
        Where the model came from, for the messages.
    **graph
        The fields of :class:`Settings` that the graph told: ``input``, ``type``, ``layout`` and ``channels``.

    Returns
    -------
    Settings
        All but the output.

    Raises
    ------
    EncoderError
        If the file can't be understood, or asks for another size than the graph.
    """
    channels = graph["channels"]
    try:
        fields = json.loads(config) if config is not None else {}
        size, resize = _sizes(fields, fixed)
        rescale = float(fields.get("rescale_factor", 1 / 255)) if fields.get("do_rescale", True) else 1.0
        mean, std = _per_channel(IMAGENET_MEAN, channels), _per_channel(IMAGENET_STD, channels)
        if config is not None:
            normal = fields.get("do_normalize", True)
            mean = _per_channel(fields.get("image_mean", mean), channels) if normal else (0.0,) * channels
            std = _per_channel(fields.get("image_std", std), channels) if normal else (1.0,) * channels
        resample = int(fields.get("resample", _BICUBIC))
        if not np.isfinite([rescale, *mean, *std]).all() or 0 in std or not 0 <= resample <= 5:
            raise ValueError(f"rescale_factor {rescale}, image_mean {mean}, image_std {std}, resample {resample}")
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError) as e:
        raise EncoderError(
            f"{where}: its preprocessor_config.json isn't understood ({type(e).__name__}: {first_line(e)}); "
            "correct it, or take it away to use ImageNet's mean and deviation"
        ) from e
    if any(f and f != s for f, s in zip(fixed, size, strict=True)):
        raise EncoderError(
            f"{where}: the model takes images of {fixed[1]} x {fixed[0]}, its preprocessor_config.json makes "
            f"{size[1]} x {size[0]}; correct the file"
        )
    return Settings(**graph, size=size, resize=resize, resample=resample, rescale=rescale, mean=mean, std=std)


def _sizes(fields: dict[str, Any], fixed: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int] | int]:
    """Return what is cut from the middle, and what an image is scaled to before: both sides, or its shorter."""
    given = fields.get("size")
    crop = fields.get("crop_size") if fields.get("do_center_crop") else None
    resize: tuple[int, int] | int
    if given is None:
        resize = (fixed[0] or DEFAULT_SIDE, fixed[1] or DEFAULT_SIDE) if crop is None else _both(crop)
    elif isinstance(given, dict) and "shortest_edge" in given:
        resize = _side(given["shortest_edge"])
    else:
        resize = _side(given) if isinstance(given, int) and crop is not None else _both(given)
    if crop is not None:
        size = _both(crop)
        least = (resize, resize) if isinstance(resize, int) else resize
        if fields.get("do_resize", True) and (least[0] < size[0] or least[1] < size[1]):
            raise ValueError(f"crop_size {crop} is larger than size {given}")
        return size, resize if fields.get("do_resize", True) else size
    if isinstance(resize, int):
        share = fields.get("crop_pct")
        if share is None or resize >= _CONVNEXT_FROM:
            return (resize, resize), (resize, resize)
        return (resize, resize), _side(int(resize / share))
    return resize, resize


def _both(given: Any) -> tuple[int, int]:
    if isinstance(given, dict):
        if "shortest_edge" in given:
            return (_side(given["shortest_edge"]),) * 2
        return _side(given["height"]), _side(given["width"])
    height, width = given if isinstance(given, list) else (given, given)
    return _side(height), _side(width)


def _side(given: Any) -> int:
    if not isinstance(given, int) or not 1 <= given <= MAX_SIDE:
        raise ValueError(f"a side of {given!r}, expected 1 to {MAX_SIDE}")
    return given


def _per_channel(given: Any, channels: int) -> tuple[float, ...]:
    values = tuple(float(v) for v in (given if isinstance(given, list | tuple) else [given]))
    if len(values) == channels:
        return values
    if channels == 1 or len(values) == 1:
        return (sum(values) / len(values),) * channels
    raise ValueError(f"{len(values)} values for {channels} channels")


def to_input(image: NDArray[np.uint8], settings: Settings) -> NDArray[Any]:
    """Make the model's input of one image.

    Parameters
    ----------
    image : ndarray of uint8, shape (h, w) or (h, w, 3)
        The image.
    settings : Settings
        What the model wants.

    Returns
    -------
    ndarray, shape (1, 3, h, w) or (1, h, w, 3)
        In the settings' type and layout.
    """
    colour = settings.channels == 3
    if image.shape[:2] != settings.size or (image.ndim == 3) != colour:
        import PIL.Image

        picture = PIL.Image.fromarray(image).convert("RGB" if colour else "L")
        if image.shape[:2] != settings.size:
            picture = picture.resize(
                settings.size[::-1], PIL.Image.Resampling(settings.resample), box=_window(image.shape[:2], settings)
            )
        image = np.asarray(picture)
    pixels: NDArray[Any] = image if colour else image[..., None]
    if settings.type != "uint8":
        std = np.array(settings.std, np.float32)
        pixels = pixels * (np.float32(settings.rescale) / std) - np.array(settings.mean, np.float32) / std
    if settings.layout == "NCHW":
        pixels = pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(pixels, settings.type)[None]


def _window(shape: tuple[int, ...], settings: Settings) -> tuple[float, float, float, float]:
    """Return the part of an image that the crop keeps, in the image's own pixels: left, top, right, bottom.

    Scaling only that part gives what scaling all and cropping would, and a strip of 1 x 10,000 pixels costs no more than
    any other image.
    """
    if isinstance(settings.resize, int):
        scales = [settings.resize / min(shape)] * 2
    else:
        scales = [to / side for to, side in zip(settings.resize, shape, strict=True)]
    kept = [min(side, size / scale) for side, size, scale in zip(shape, settings.size, scales, strict=True)]
    top, left = ((side - keep) / 2 for side, keep in zip(shape, kept, strict=True))
    return left, top, min(left + kept[1], shape[1]), min(top + kept[0], shape[0])  # Pillow refuses a rounding's excess


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
        made = _with_output(settings, name, usable[name])
        if _pool(usable[name][0], made).size > 1:
            return made
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
