"""What a voice owes the engine: one segment of text in, its exact timing and its PCM blocks out.

Rule: the timing of the whole segment is known before its first block, in whole milliseconds, and is never
wrong by a sample: the blocks together hold exactly ``bounds_ms[-1] * SAMPLES_PER_MS`` samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

RATE_HZ = 24_000
"""Every voice speaks 16-bit mono little-endian PCM at this rate."""
SAMPLES_PER_MS = RATE_HZ // 1000
BYTES_PER_MS = 2 * SAMPLES_PER_MS


class VoiceUnavailableError(Exception):
    """The voice exists but cannot speak: its model did not load, or not in time.  The message says why."""


@dataclass(frozen=True, slots=True)
class VoiceSettings:
    """Of ElevenLabs' settings the one that an embedded voice obeys: ``speed``, 0.7 to 1.2, 1.0 is natural."""

    speed: float = 1.0


@dataclass(frozen=True, slots=True)
class Utterance:
    """A segment being spoken.

    ``bounds_ms`` has one entry more than the segment has characters (the appended blank included): character
    ``i`` sounds from ``bounds_ms[i]`` to ``bounds_ms[i + 1]``; the first entry is 0, none is below its
    predecessor.  ``blocks`` yields whole samples, never an empty block, and does its computing in ``next``.
    """

    bounds_ms: tuple[int, ...]
    blocks: Iterator[bytes]


class Synthesiser(Protocol):
    """A voice.  ``utter`` may be called from several threads at once."""

    def utter(self, text: str, appended: str, settings: VoiceSettings) -> Utterance:
        """Speak ``text``.  ``appended`` is a blank or nothing: timed, but not part of what sounds.

        The same arguments give the same samples.
        """
        ...


def silence(n_samples: int) -> bytes:
    """Digital silence: all samples zero."""
    return bytes(2 * n_samples)
