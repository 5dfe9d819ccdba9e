"""How an image is put to an ONNX model and which output is its descriptor, as ``settings.json`` beside the model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from lookalike.errors import EncoderError, first_line

#: Sides that a preprocessing file may ask for; more is a slip, and would fill the memory.
MAX_SIDE = 4096
INPUT_TYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(float16)": "float16"}
#: What makes one vector of an output.
POOLINGS = ("none", "first token", "mean of tokens", "mean over the area")


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
            If it is something else, as in a model from an untrusted source.
        """
        try:
            fields: dict[str, Any] = json.loads(data)
            given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
            settings = cls(**given)
            valid = settings._has_valid_names() and settings._has_valid_sizes() and settings._has_valid_scaling()
        except (ValueError, TypeError, AttributeError, RecursionError, OverflowError) as e:
            raise EncoderError(f"settings.json: not the settings of a model ({first_line(e)}); make it again") from e
        if not valid:
            raise EncoderError("settings.json: not the settings of a model, a value is out of range; make it again")
        return settings

    def _has_valid_names(self) -> bool:
        return (
            isinstance(self.input, str)
            and isinstance(self.output, str)
            and self.type in INPUT_TYPES.values()
            and self.layout in ("NCHW", "NHWC")
            and self.pooling in POOLINGS
        )

    def _has_valid_sizes(self) -> bool:
        sides = [*self.size, *(self.resize if isinstance(self.resize, tuple) else [self.resize])]
        return (
            not any(isinstance(n, bool) or not isinstance(n, int) for n in (*sides, self.resample, self.channels))
            and all(1 <= side <= MAX_SIDE for side in sides)
            and 0 <= self.resample <= 5
            and len(self.size) == 2
            and len(sides) in (3, 4)
            and self.channels in (1, 3)
        )

    def _has_valid_scaling(self) -> bool:
        numbers = np.array([self.rescale, *self.mean, *self.std], np.float64)
        return (
            len(self.mean) == len(self.std) == self.channels and bool(np.isfinite(numbers).all()) and 0 not in self.std
        )
