"""Why a message was refused, in words that tell its author what to write instead.

Rule: a field and what is allowed there are always named; what the client sent is echoed in 60 characters at
most.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from msgspec.inspect import (
    BoolType,
    DictType,
    FloatType,
    IntType,
    ListType,
    LiteralType,
    NoneType,
    StrType,
    StructType,
    Type,
    UnionType,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgspec import ValidationError


class Unusable:
    """Stands where a client put what JSON cannot carry: a foreign ext, a key that is no text, deep junk."""


UNUSABLE: Final = Unusable()
Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | Unusable | None"
"""What JSON holds, as far as the client kept to it."""

MAX_ECHO: Final = 60
"""Characters of the client's own value in a refusal."""

_ERROR = re.compile(r"(?P<what>.*?)(?: - at `(?:key` in `)?\$(?P<path>[^`]*)`)?", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(\w+)`")
_STEP = re.compile(r"\.(\w+)|\[(\d+|\.\.\.)\]")


def shorten(value: Plain) -> str:  # noqa: PLR0911  one return for each type of data
    """What was sent, in one short line, however large it is."""
    match value:
        case None:
            return "nil"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)[:MAX_ECHO]
        case str() if len(value) <= MAX_ECHO - 2:
            return repr(value)[:MAX_ECHO]
        case str():
            return repr(value[: MAX_ECHO - 5])[: MAX_ECHO - 3] + "..."
        case dict():
            return "a map"
        case list():
            return f"a list of {len(value)}"
        case Unusable():
            return "data of an unknown type"


def describe(kind: Type) -> str:  # noqa: PLR0911  one return for each type of field
    """What a value of this type may be: ``an integer 50..500``."""
    match kind:
        case BoolType():
            return "true or false"
        case IntType():
            return f"an integer {_span(kind.ge, kind.le)}".rstrip()
        case FloatType():
            return f"a number {_span(kind.ge, kind.le)}".rstrip()
        case StrType(pattern=str(pattern)):
            return f"text like {pattern.removeprefix(chr(92) + 'A').removesuffix(chr(92) + 'Z')}"
        case StrType():
            span = _span(kind.min_length, kind.max_length)
            return f"text of {span} characters" if span else "text"
        case LiteralType():
            return "one of " + ", ".join(map(str, kind.values))
        case ListType():
            return (
                f"a list of {_span(kind.min_length, kind.max_length)} items, each {describe(kind.item_type)}"
            )
        case UnionType():
            return " or ".join(describe(each) for each in kind.types if not isinstance(each, NoneType))
        case _:
            return "a map" if isinstance(kind, StructType | DictType) else "something else"


def explain(error: ValidationError, kind: StructType, fields: dict[str, Any], *, prefix: str = "") -> str:
    """One sentence: the field, what it must be, and what stood there.

    *kind* is the type that *fields* (plain data) was to be converted to; *prefix* comes before the path.
    """
    found = _ERROR.fullmatch(str(error))
    path = (
        [name or int(index) for name, index in _STEP.findall(found["path"] or "") if index != "..."]
        if found
        else []
    )
    missing = _MISSING.fullmatch(found["what"]) if found else None
    if missing:
        path.append(missing[1])
    target, value = _walk(kind, fields, path)
    if target is None or not path:
        return str(error)[:MAX_ECHO]
    where = prefix + _dotted(path)
    if missing:
        return f"`{where}` is missing: it must be {describe(target)}"
    return f"`{where}` must be {describe(target)}, not {shorten(value)}"


def _span(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return ""
    return f"{low or 0:g}..{high}" if high is not None else f"of at least {low:g}"


def _dotted(path: Sequence[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _walk(kind: Type | None, value: Plain, path: Sequence[str | int]) -> tuple[Type | None, Plain]:
    for step in path:
        kind = _member(kind, step)
        match value, step:
            case dict(), str():
                value = value.get(step)
            case list(), int() if step < len(value):
                value = value[step]
            case _:
                value = None
    return kind, value


def _member(kind: Type | None, step: str | int) -> Type | None:
    match kind:
        case UnionType():
            return next((found for each in kind.types if (found := _member(each, step)) is not None), None)
        case StructType() if isinstance(step, str):
            return next((each.type for each in kind.fields if each.encode_name == step), None)
        case ListType() if isinstance(step, int):
            return kind.item_type
        case _:
            return None
