"""An untrusted ONNX model -> whether it refers to other files than its own; read as a protocol buffer.

A tensor may keep its values in another file, by any path: ONNX Runtime would read it, below the current folder or through
it. Such a tensor may stand anywhere: among the weights, dense or sparse, in an attribute of a node, in a graph within a
node, in a function, in what a training needs. So every message that may hold one is followed, whatever the order of its
fields, and what can't be followed is refused.

The numbers of fields are those of ``onnx.proto`` (github.com/onnx/onnx, version 1.23); how messages are written: protobuf.dev,
"Encoding".
"""

from __future__ import annotations

from collections.abc import Iterator

from lookalike.errors import EncoderError

#: Most fields that are looked at, and deepest graph within a graph: no model has so many, and a person waits.
MAX_FIELDS, MAX_DEPTH = 5_000_000, 60

_VARINT, _EIGHT, _LENGTH, _FOUR = 0, 1, 2, 5
# Message -> its fields that may hold a tensor, and the message each is.
_HOLDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "function": {7: "node", 11: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_ORT = b"ORTM"  # what marks ONNX Runtime's own format, four bytes from its begin


def check_model(model: bytes, name: str) -> None:
    """Refuse a model that keeps anything in another file, or whose file can't be followed.

    Parameters
    ----------
    model : bytes
        The serialised model.
    name : str
        What it is called in the error.

    Raises
    ------
    EncoderError
        If it does.
    ValueError
        If it can't be followed; ONNX Runtime might.
    """
    if model[4:8] == _ORT:
        raise ValueError("it is of ONNX Runtime's own format")
    left = MAX_FIELDS
    messages = [("model", memoryview(model), 0)]
    while messages:
        kind, message, depth = messages.pop()
        held = _HOLDS[kind]
        for number, wire, value in fields(message):
            left -= 1
            if kind == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0)):
                raise EncoderError(
                    f"{name}: keeps weights in a file of its own; put all into one with the package onnx: "
                    "onnx.save(onnx.load('model.onnx'), 'one.onnx')"
                )
            if number in held and wire == _LENGTH and isinstance(value, memoryview):
                messages.append((held[number], value, depth + 1))
            if left < 0 or depth > MAX_DEPTH:
                raise ValueError("it has too many parts")


def fields(message: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Read the fields of a message one by one.

    Parameters
    ----------
    message : memoryview of bytes
        A serialised message.

    Yields
    ------
    (int, int, int or memoryview)
        Number, how it is written (0 a number, 2 with a length, 1 and 5 of 8 and 4 bytes), and the number or content.

    Raises
    ------
    ValueError
        If it is none.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = (key & 0xFFFFFFFF) >> 3, key & 7
        if number == 0:
            raise ValueError("a field without a number")
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield number, wire, value
            continue
        if wire == _LENGTH:
            size, at = _varint(message, at)
        elif wire in (_EIGHT, _FOUR):
            size = 8 if wire == _EIGHT else 4
        else:
            raise ValueError(f"a field of kind {wire}")
        if at + size > len(message):
            raise ValueError("it is cut short")
        yield number, wire, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 70:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
    raise ValueError("it is cut short")


__all__ = ["check_model", "fields"]
