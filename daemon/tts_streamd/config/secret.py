"""``Secret``: a value that is used where it is needed and shown nowhere."""

from __future__ import annotations

from typing import NoReturn


class Secret:
    """Holds one secret string; only ``reveal()`` gives it away.

    ``repr``, ``str`` and ``format`` are redacted; pickling is refused, and msgspec and json refuse the type
    by themselves, so that no configuration dump can hold it.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself: for the header that carries it, and for the log's redaction."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(<redacted>)"

    def __str__(self) -> str:
        return "<redacted>"

    def __eq__(self, other: object) -> bool:
        return self._value == other._value if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is never serialised")
