"""A text tower in ONNX and its tokenizer -> one vector a text, in the space of the image tower beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.encoders.onnx.runtime import OnnxModel
from lookalike.errors import EncoderError, UsageError, first_line, missing_extra

#: Outputs taken by name, the first found; otherwise one with two dimensions.
OUTPUTS = ("text_embeds", "pooler_output")

_NOT_OF_A_TEXT = frozenset({"image_embeds", "logits_per_image", "logits_per_text"})
_TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_NO_LIMIT = 100_000  # transformers writes 10^30 where a tokenizer has no limit


class TextModel:
    """Runs texts through a tokenizer and an ONNX model, one at a time.

    A text is cut at the length the model takes (the graph's where it is fixed, else ``model_max_length``). It is filled
    up to that length where the graph is fixed or takes no attention mask, as such models were trained.

    Parameters
    ----------
    model : OnnxModel
        The text tower, or both towers in one graph.
    tokenizer : bytes
        Content of ``tokenizer.json``.
    config : bytes or None
        Content of ``tokenizer_config.json``.
    others : dict, optional
        What the graph's other inputs get: an image, where both towers are in one.
    """

    def __init__(
        self,
        model: OnnxModel,
        tokenizer: bytes,
        config: bytes | None,
        others: dict[str, NDArray[Any]] | None = None,
    ) -> None:
        self.model = model
        self._others = others or {}
        self._tokenizer_json = tokenizer
        self._config_json = config
        self._tokenizer: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave what was opened behind: a copy opens its own."""
        return {name: value for name, value in self.__dict__.items() if name != "_inputs"} | {"_tokenizer": None}

    def run(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Turn texts into vectors.

        Parameters
        ----------
        texts : sequence of str
            One or more.

        Returns
        -------
        ndarray of float32, shape (n, d)
            One row a text.

        Raises
        ------
        UsageError
            If the package ``tokenizers`` isn't installed, or a text holds nothing.
        EncoderError
            If the tokenizer or the model can't be used.
        """
        if self._tokenizer is None:
            self._open()
        return np.stack([self._vector(text) for text in texts])

    def _open(self) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as e:
            raise missing_extra("a query in words", "hub") from e
        session = self.model.session
        self._inputs = session.get_inputs()
        try:
            tokenizer = Tokenizer.from_str(self._tokenizer_json.decode())
            config = json.loads(self._config_json or b"{}")
            _set_length(tokenizer, config, {i.name: i.shape for i in self._inputs})
        except Exception as e:  # tokenizers raises bare Exceptions
            raise EncoderError(
                f"the model's tokenizer can't be used ({type(e).__name__}: {first_line(e)}); download it again"
            ) from e
        self._is_lower = bool(config.get("do_lower_case"))
        self._output = _vector_output(session)
        self._tokenizer = tokenizer

    def _vector(self, text: str) -> NDArray[np.float32]:
        if not text.strip():
            raise UsageError("a query in words is empty; say what the image should show")
        encoded = self._tokenizer.encode(text.lower() if self._is_lower else text)
        if not encoded.ids:
            raise UsageError(f"the model's tokenizer knows no word of '{text}'; use other words")
        values = {
            "input_ids": encoded.ids,
            "attention_mask": encoded.attention_mask,
            "token_type_ids": encoded.type_ids,
        }
        given = {
            i.name: np.array([values[i.name]], _TYPES.get(i.type, np.int64)) for i in self._inputs if i.name in values
        }
        try:
            (vectors,) = self.model.session.run([self._output], given | self._others)
        except Exception as e:  # its exceptions share no base of their own
            raise EncoderError(f"the text model fails on '{text}' ({first_line(e)})") from e
        vector: NDArray[np.float32] = vectors[0].astype(np.float32, copy=False)
        if not np.isfinite(vector).all():
            raise EncoderError(f"the text model gives NaN or infinity for '{text}'; use one in single precision")
        return vector


def _set_length(tokenizer: Any, config: dict[str, Any], shapes: dict[str, Any]) -> None:
    """Let a tokenizer cut texts at the length that the model takes, and fill them up to it where the model needs that."""
    fixed = shapes["input_ids"][1] if isinstance(shapes["input_ids"][1], int) else None
    limit = config.get("model_max_length")
    length = fixed or (int(limit) if limit is not None and limit <= _NO_LIMIT else None)
    if length:
        tokenizer.enable_truncation(length)
    if length and (fixed or "attention_mask" not in shapes):
        tokenizer.enable_padding(length=length, **_padding(tokenizer, config))
    else:
        tokenizer.no_padding()


def _padding(tokenizer: Any, config: dict[str, Any]) -> dict[str, Any]:
    """Return the token that texts are filled up with: the configuration's, else the tokenizer's own."""
    pad = config.get("pad_token")
    pad = pad.get("content") if isinstance(pad, dict) else pad
    own = tokenizer.padding or {}
    token = pad or own.get("pad_token") or ""
    number = tokenizer.token_to_id(token) if token else None
    return {"pad_id": own.get("pad_id", 0) if number is None else number, "pad_token": token or "[PAD]"}


def _vector_output(session: Any) -> str:
    """Return the name of the output that is one vector a text."""
    outputs = {o.name: o.shape for o in session.get_outputs() if o.name not in _NOT_OF_A_TEXT}
    flat = [name for name, shape in outputs.items() if len(shape) == 2]
    usable = [name for name in OUTPUTS if name in flat] + flat
    if not usable:
        raise EncoderError(
            f"the text model gives {', '.join(outputs) or 'nothing'}, no vector [n, d] among them; "
            "export it with its pooling"
        )
    return str(usable[0])
