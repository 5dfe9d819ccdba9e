"""An ONNX model + the name of its averaged output -> the same model that also gives what was averaged.

ONNX Runtime gives what the graph names as an output and nothing else. A graph is a protocol buffer, and of two
messages written one behind the other the reader makes one, whose lists are joined (protobuf.dev, "Encoding", "Last One
Wins"). So one more output is a few bytes behind the file, and no package for ONNX files is needed. What is read of them
here is the list of nodes: onnx.ai, ``onnx.proto``.
"""

from __future__ import annotations

from collections.abc import Iterator

from lookalike.encoders.onnx.model_check import fields

# Numbers of the fields in onnx.proto.
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_OUTPUT = 1, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_KIND = 1, 2, 4
_VALUE_NAME = 1

#: What only changes the shape or the type of an averaged map, and what averages one.
_PASSING = {"Cast", "Flatten", "Identity", "Reshape", "Squeeze"}
_AVERAGING = {"AveragePool", "GlobalAveragePool", "ReduceMean"}


def averaged_into(model: bytes, output: str) -> str | None:
    """Find what a model averages into an output.

    Parameters
    ----------
    model : bytes
        The serialised model.
    output : str
        One of its outputs.

    Returns
    -------
    str or None
        The name of what is averaged; None if the output isn't an average, or the file can't be followed.
    """
    made_by: dict[str, tuple[str, str]] = {}
    try:
        for field, graph in _fields(memoryview(model)):
            if field != _MODEL_GRAPH:
                continue
            for inner, node in _fields(graph):
                if inner != _GRAPH_NODE:
                    continue
                entries = [(number, bytes(value)) for number, value in _fields(node) if number <= _NODE_KIND]
                inputs = [value.decode() for number, value in entries if number == _NODE_INPUT]
                (kind,) = [value.decode() for number, value in entries if number == _NODE_KIND]
                if inputs and (kind in _PASSING or kind in _AVERAGING):
                    made_by |= {v.decode(): (kind, inputs[0]) for n, v in entries if n == _NODE_OUTPUT}
    except (ValueError, IndexError):
        return None
    name = output
    for _ in range(len(made_by) + 1):
        if name not in made_by:
            return None
        kind, name = made_by[name]
        if kind in _AVERAGING:
            return name
    return None


def with_output(model: bytes, name: str) -> bytes:
    """Make a value inside a model one of its outputs, the last.

    Parameters
    ----------
    model : bytes
        The serialised model.
    name : str
        Of the value.

    Returns
    -------
    bytes
        The model with that output.
    """
    value = _field(_VALUE_NAME, name.encode())
    return model + _field(_MODEL_GRAPH, _field(_GRAPH_OUTPUT, value))


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and content of the fields of a message that have a length; others are passed over."""
    for number, _, value in fields(message):
        if isinstance(value, memoryview):
            yield number, value


def _field(number: int, content: bytes) -> bytes:
    return _to_varint(number << 3 | 2) + _to_varint(len(content)) + content


def _to_varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


__all__ = ["averaged_into", "with_output"]
