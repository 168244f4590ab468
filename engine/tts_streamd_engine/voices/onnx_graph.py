"""Two edits of an ONNX model's bytes without the onnx package; what is computed stays bit for bit the same.

An ONNX file is one protobuf message.  Numbers of the fields used here, from onnx.proto: ModelProto.graph 7;
GraphProto.node 1, initializer 5, output 12; NodeProto.input 1, output 2; TensorProto.name 8;
ValueInfoProto.name 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_GRAPH, _NODE, _INITIALIZER, _OUTPUT, _TENSOR_NAME = 7, 1, 5, 12, 8
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5


class GraphError(ValueError):
    """The bytes are no ONNX model, or the tensor asked for is not in it."""


class _Field(NamedTuple):
    number: int
    raw: memoryview  # the field with its tag, as it stood
    body: memoryview  # without tag and length


def with_output(model: bytes, name: str) -> bytes:
    """The model with the inner tensor ``name`` as one more output (appended: protobuf lists concatenate)."""
    return model + _delimited(_GRAPH, _delimited(_OUTPUT, _delimited(1, name.encode())))


def only_output(model: bytes, name: str) -> bytes:
    """The part of the model that computes the tensor ``name`` and nothing else.

    Raises:
        GraphError: no node makes that tensor.
    """
    fields = list(_fields(memoryview(model)))
    graph = next((f.body for f in fields if f.number == _GRAPH), None)
    if graph is None:
        raise GraphError("no graph in the model")
    others = b"".join(f.raw for f in fields if f.number != _GRAPH)
    return others + _delimited(_GRAPH, _pruned(list(_fields(graph)), name))


def _pruned(graph: list[_Field], name: str) -> bytes:
    needed, nodes = {name}, list[memoryview]()
    for node in (
        f for f in reversed(graph) if f.number == _NODE
    ):  # ONNX stores nodes in the order of computing
        if needed & set(_names(node.body, 2)):
            needed.update(_names(node.body, 1))
            nodes.append(node.raw)
    if not nodes:
        raise GraphError(f"no node of the model makes the tensor {name!r}")
    kept = [f.raw for f in graph if f.number not in {_NODE, _OUTPUT} and _is_needed(f, needed)]
    return b"".join([*kept, *reversed(nodes), _delimited(_OUTPUT, _delimited(1, name.encode()))])


def _is_needed(field: _Field, names: set[str]) -> bool:
    return field.number != _INITIALIZER or not names.isdisjoint(_names(field.body, _TENSOR_NAME))


def _names(message: memoryview, number: int) -> Iterable[str]:
    return (str(f.body, "utf-8") for f in _fields(message) if f.number == number)


def _fields(message: memoryview) -> Iterator[_Field]:
    at = 0
    while at < len(message):
        start = at
        key, at = _read_varint(message, at)
        kind, size = key & 7, 0
        if kind == _VARINT:
            _, end = _read_varint(message, at)
            size = end - at
        elif kind == _DELIMITED:
            size, at = _read_varint(message, at)
        elif kind in {_FIXED32, _FIXED64}:
            size = 4 if kind == _FIXED32 else 8
        else:
            raise GraphError(f"a field of unknown kind {kind}: this is no ONNX model")
        yield _Field(key >> 3, message[start : at + size], message[at : at + size])
        at += size


def _read_varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message):
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:  # noqa: PLR2004 -- the continuation bit
            return value, at
    raise GraphError("the model ends inside a number")


def _varint(n: int) -> bytes:
    out = bytearray()
    while n > 127:  # noqa: PLR2004 -- seven bits a byte
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


def _delimited(number: int, body: bytes) -> bytes:
    return _varint(number << 3 | _DELIMITED) + _varint(len(body)) + body
