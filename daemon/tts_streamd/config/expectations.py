"""Says in words what a configuration key accepts, from its type."""

from __future__ import annotations

from typing import Any, Final

from msgspec import inspect

_NOUNS: Final = {inspect.IntType: "a whole number", inspect.FloatType: "a number"}


def describe(accepted: Any) -> str:  # noqa: ANN401 - any type expression that msgspec can convert to
    """Return, for example, "a whole number from 20 to 180"."""
    return _describe(inspect.type_info(accepted))


def _describe(kind: inspect.Type) -> str:
    match kind:
        case inspect.UnionType(types=types):
            return " or ".join(_describe(one) for one in types if not isinstance(one, inspect.NoneType))
        case inspect.LiteralType(values=values):
            return "one of " + ", ".join(str(value) for value in values)
        case inspect.IntType(ge=low, le=high) | inspect.FloatType(ge=low, le=high):
            return f"{_NOUNS[type(kind)]} from {low} to {high}"
        case inspect.VarTupleType(item_type=item, max_length=most):
            return f"a list of 1 to {most} values, each {_describe(item)}"
        case inspect.BoolType():
            return "true or false"
        case _:
            return "a text that is not empty"
