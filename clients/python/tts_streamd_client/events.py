"""What a program hears of its streams.

``cp`` counts Unicode code points of the stream's text as it was sent; ``at`` and ``n`` count samples at the
stream's ``rate_hz``, whatever the format.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from tts_streamd_protocol.messages import AnyReply, End, State, Tapped

__all__ = ["Audio", "End", "Event", "Published", "State", "Tapped", "Word", "Words"]


@dataclass(frozen=True, slots=True)
class Audio:
    """``n`` samples from sample ``at``; once ``data`` has been heard, all text before ``cp`` has been.

    ``data`` is in the stream's format: 16-bit little-endian mono PCM for ``pcm_*``.  All of a stream's
    ``data`` put together is one valid stream of its format.
    """

    at: int
    n: int
    cp: int
    data: bytes = field(repr=False)


class Word(NamedTuple):
    """One spoken word: its text, its time in the audio, its place in the text (blanks excluded)."""

    text: str
    start_ms: int
    end_ms: int
    cp_start: int
    cp_end: int


@dataclass(frozen=True, slots=True)
class Words:
    """Word times; never later than the audio in which the words begin."""

    words: tuple[Word, ...]


Event: TypeAlias = Audio | Words | State | End
"""What iterating over a stream yields; ``End`` is the last, and there is exactly one."""


@dataclass(frozen=True, slots=True)
class Published:
    """One message on the events socket: its topic, its head, and the sound if it is audio."""

    topic: str
    message: AnyReply
    data: bytes = field(default=b"", repr=False)
