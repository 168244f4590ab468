"""Character times as ElevenLabs tells them: lists of characters, starts and durations.

Rule: times are contiguous, start at 0 with the audio that carries them, and end exactly where it ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

Json: TypeAlias = "dict[str, list[str] | list[int] | list[float]]"

_LEADING_BLANK_MS = 35  # what the service's own recordings show; at most half of the first letter


@dataclass(frozen=True, slots=True)
class Alignment:
    """``chars[i]`` sounds from ``bounds_ms[i]`` to ``bounds_ms[i + 1]``; ``bounds_ms`` has one entry more."""

    chars: str
    bounds_ms: tuple[int, ...]

    def sliced(self, first: int, last: int) -> Alignment:
        """Characters ``first`` to ``last``, their times counted from the first one's start."""
        origin = self.bounds_ms[first]
        return Alignment(self.chars[first:last], tuple(t - origin for t in self.bounds_ms[first : last + 1]))

    def shifted(self, by_ms: int) -> Alignment:
        """The same, that much later."""
        return Alignment(self.chars, tuple(t + by_ms for t in self.bounds_ms))

    def normalized(self) -> Alignment:
        """With the leading blank of ``normalizedAlignment``: its time is taken out of the first character."""
        if not self.chars:
            return self
        start, end, *rest = self.bounds_ms
        blank = min(_LEADING_BLANK_MS, (end - start) // 2)
        return Alignment(f" {self.chars}", (start, start + blank, end, *rest))

    def to_ws(self) -> Json:
        """As in WebSocket frames: ms."""
        return {
            "chars": list(self.chars),
            "charStartTimesMs": list(self.bounds_ms[:-1]),
            "charDurationsMs": [b - a for a, b in pairwise(self.bounds_ms)],
        }

    def to_http(self) -> Json:
        """As in HTTP bodies: seconds."""
        return {
            "characters": list(self.chars),
            "character_start_times_seconds": [t / 1000 for t in self.bounds_ms[:-1]],
            "character_end_times_seconds": [t / 1000 for t in self.bounds_ms[1:]],
        }


def joined(parts: Sequence[Alignment]) -> Alignment:
    """One alignment of parts that follow each other, each already at its time."""
    chars = "".join(part.chars for part in parts)
    return Alignment(chars, (*(t for part in parts for t in part.bounds_ms[:-1]), parts[-1].bounds_ms[-1]))
