"""Reading what other languages' msgpack libraries really send (contract section 2).

They pack text and keys as bin, integers as floats, booleans as 0 and 1, an empty map as an empty array, and
``undefined`` as an ext.  Rule: nothing is guessed from the value alone; the type of the field decides, so
that a message which the strict decoder accepts means the same here.  Of a repeated key the last counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgpack
from msgspec.inspect import (
    BoolType,
    DictType,
    FloatType,
    IntType,
    ListType,
    StrType,
    StructType,
    Type,
    UnionType,
)

from tts_streamd_protocol.explain import UNUSABLE, Plain, Unusable
from tts_streamd_protocol.upstream_options import KNOWN

if TYPE_CHECKING:
    from collections.abc import Iterable

U32_MAX: Final = 2**32 - 1
MAX_DEPTH: Final = 8
"""Levels inside a value of the ``upstream`` map."""

_SINGLE_PRECISION: Final = 1e-6
"""A 32-bit float of 1.2 is 1.2000000477: so much beyond a bound is the bound."""


Packed: TypeAlias = "bool | int | float | bytes | list[Packed] | PackedMap | Unusable | None"
"""What msgpack holds, before anything is made of it."""


class PackedMap(tuple[tuple["Packed", "Packed"], ...]):
    """A msgpack map as it was packed: pairs in order, any keys, text still as bytes."""

    __slots__ = ()


class NotAMapError(Exception):
    """The frame is not exactly one msgpack map.  ``head`` is the map that it begins with, if it does."""

    def __init__(self, message: str, head: PackedMap | None = None) -> None:
        super().__init__(message)
        self.head = head


class NotUtf8Error(Exception):
    """Text that is not UTF-8, in the field named."""


def read_map(frame: bytes) -> PackedMap:
    """The map that the frame consists of.

    Raises:
        NotAMapError: it is something else, or more, or nested deeper than msgpack's stack of 1024.
    """
    try:
        head: Packed = msgpack.unpackb(
            frame, raw=True, strict_map_key=False, object_pairs_hook=PackedMap, ext_hook=_undefined
        )
    except msgpack.ExtraData as error:
        first = error.unpacked if isinstance(error.unpacked, PackedMap) else None
        raise NotAMapError(f"{len(error.extra)} bytes follow the first msgpack value", first) from error
    except (ValueError, msgpack.UnpackException) as error:
        raise NotAMapError("it is not msgpack, or not whole") from error
    if not isinstance(head, PackedMap):
        raise NotAMapError("it is msgpack, but not a map")
    return head


def fields(head: PackedMap) -> dict[str, Packed]:
    """By name; keys that are not text are nobody's."""
    named = ((read_text(key), value) for key, value in head)
    return {name: value for name, value in named if name is not None}


def read_text(value: Packed) -> str | None:
    """Packed text; None if it is not text, or not UTF-8."""
    try:
        return value.decode() if isinstance(value, bytes) else None
    except UnicodeDecodeError:
        return None


def read_u32(value: Packed) -> int | None:
    """A u32, also if it was packed as a float; None if it is anything else."""
    number = _whole(value)
    return (
        number
        if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= U32_MAX
        else None
    )


def shape(value: Packed, kind: Type, where: str) -> Any:  # noqa: ANN401, PLR0911  any data, a return for each type
    """Plain data for the strict converter; what does not fit *kind* is left for it to refuse.

    Raises:
        NotUtf8Error: naming *where*.
    """
    match kind:
        case UnionType():
            return shape(value, _alternative(kind, value), where)
        case StructType() if _is_map(value):
            return _shape_fields(value, ((each.encode_name, each.type) for each in kind.fields), where)
        case DictType() if _is_map(value):
            return _shape_options(value, where)
        case ListType() if isinstance(value, list):
            return [shape(item, kind.item_type, f"{where}[{n}]") for n, item in enumerate(value)]
        case BoolType() if not isinstance(value, bool) and isinstance(value, int | float) and value in (0, 1):
            return bool(value)
        case IntType():
            return _whole(_plain(value, where))
        case FloatType() if isinstance(value, float):
            return _snap(value, kind)
        case _:
            return _plain(value, where)


def _shape_fields(head: Packed, known: Iterable[tuple[str, Type]], where: str) -> dict[str, Any]:
    given = fields(head) if isinstance(head, PackedMap) else {}
    prefix = f"{where}." if where else ""
    return {
        name: shape(given[name], kind, prefix + name) for name, kind in known if given.get(name) is not None
    }


def _shape_options(head: Packed, where: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for key, value in head if isinstance(head, PackedMap) else ():
        name = _plain(key, where)
        if not isinstance(name, str):
            options["?"] = UNUSABLE
        elif value is None:
            options.pop(name, None)
        else:
            known = KNOWN.get(name)
            options[name] = (
                shape(value, known, f"{where}.{name}") if known else _plain(value, f"{where}.{name}")
            )
    return options


def _plain(value: Packed, where: str, depth: int = 0) -> Plain:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise NotUtf8Error(where) from None
    if depth < MAX_DEPTH and isinstance(value, list):
        return [_plain(item, where, depth + 1) for item in value]
    if depth < MAX_DEPTH and isinstance(value, PackedMap):
        return _plain_map(value, where, depth)
    return UNUSABLE


def _plain_map(head: PackedMap, where: str, depth: int) -> Plain:
    plain: dict[str, Plain] = {}
    for key, value in head:
        name = _plain(key, where)
        if not isinstance(name, str):
            return UNUSABLE
        plain[name] = _plain(value, where, depth + 1)
    return plain


def _alternative(kind: UnionType, value: Packed) -> Type:
    """The member of the union that this value can only be meant for."""
    wanted: tuple[type[Type], ...]
    if isinstance(value, PackedMap):
        wanted = (StructType, DictType)
    elif isinstance(value, list):
        wanted = (StructType, DictType, ListType) if not value else (ListType,)
    elif isinstance(value, bytes):
        wanted = (StrType,)
    else:
        wanted = (BoolType, FloatType, IntType)
    return next((each for each in kind.types if isinstance(each, wanted)), _ANYTHING)


_ANYTHING: Final[Type] = StrType()
"""For what no member fits: text must be UTF-8, and the converter says the rest."""


def _is_map(value: Packed) -> bool:
    return isinstance(value, PackedMap) or value == []


def _whole(value: Packed | Plain) -> Packed | Plain:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _snap(value: float, kind: FloatType) -> float:
    if kind.ge is not None and kind.ge - _SINGLE_PRECISION <= value < kind.ge:
        return float(kind.ge)
    if kind.le is not None and kind.le < value <= kind.le + _SINGLE_PRECISION:
        return float(kind.le)
    return value


def _undefined(code: int, data: bytes) -> object:
    return None if code == 0 and len(data) == 1 else UNUSABLE
