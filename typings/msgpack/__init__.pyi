"""What the project uses of msgpack, which ships no types."""

from collections.abc import Callable
from typing import Any, NamedTuple

class ExtType(NamedTuple):
    code: int
    data: bytes

class UnpackException(Exception): ...  # noqa: N818  msgpack's own name
class StackError(ValueError, UnpackException): ...

class ExtraData(UnpackException, ValueError):
    unpacked: Any
    extra: bytes

def packb(o: object, *, use_bin_type: bool = ..., use_single_float: bool = ...) -> bytes: ...
def unpackb(
    packed: bytes | memoryview,
    *,
    raw: bool = ...,
    strict_map_key: bool = ...,
    object_pairs_hook: Callable[[list[tuple[Any, Any]]], Any] | None = ...,
    ext_hook: Callable[[int, bytes], Any] = ...,
) -> Any: ...
