"""What one stream delivers: put in order, joined over lost sessions, and given to the caller by whole units.

The rule that keeps a word from being heard twice: a stream is resumed at ``released_cp``, and no sample of text
behind it has been given to the caller.  Audio messages end where units end; one that does not move ``cp`` is
a part of a unit longer than 2 s, and is held until the rest is here.  It costs no time, since the daemon
sends no part before it has the whole.  A lost session takes with it what is held.

Formats of another rate than the daemon's own, and coded ones, pass filters whose delay keeps ``cp`` one unit
behind the sound; there the word times tell which units a message completes (within ``FILTER_MS``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tts_streamd_client.errors import DaemonProtocolError
from tts_streamd_client.events import Audio, Word, Words
from tts_streamd_protocol import messages as m

if TYPE_CHECKING:
    from tts_streamd_client.events import Event

FILTER_MS = 40
"""More than a resampler or an encoder holds back of what it was fed."""


class MisorderError(DaemonProtocolError):
    """A message does not join the one before."""


@dataclass(slots=True)
class Delivery:
    """``take`` books one message and returns what the caller may have now."""

    start_cp: int
    filtered: bool = False
    rate_hz: int = 24_000
    released_cp: int = field(init=False)
    base_samples: int = 0  # given in the parts before this one
    next_at: int = 0  # samples that came in this part
    held_samples: int = 0
    next_seq: int = 0
    lost: m.Source = field(default_factory=m.Source)  # what came in the parts before this one
    _part_cp: int = field(init=False)
    _source: dict[str, int] = field(default_factory=lambda: {"live": 0, "fallback": 0, "silent": 0})
    _degraded: bool = False
    _held: list[Audio] = field(default_factory=list[Audio])
    _words: list[Word] = field(default_factory=list[Word])
    _ends: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])  # (sample, end of a word)

    def __post_init__(self) -> None:
        self.released_cp = self._part_cp = self.start_cp

    @property
    def given_samples(self) -> int:
        """Samples given to the caller, from the stream's begin."""
        return self.base_samples + self.next_at - self.held_samples

    @property
    def part_cp(self) -> int:
        """Where this part began in the text."""
        return self._part_cp

    # -- booking -------------------------------------------------------------------------------------------
    def count(self, seq: int) -> None:
        """Check the order.

        Raises:
            MisorderError: a message is missing.
        """
        if seq != self.next_seq:
            raise MisorderError(f"message {seq} came where {self.next_seq} was due")
        self.next_seq += 1

    def take_words(self, words: m.Words) -> None:
        """Keep them for the audio in which they begin."""
        shift_ms = self._ms(self.base_samples)
        self._words.extend(
            Word(text, start_ms + shift_ms, end_ms + shift_ms, cp_start, cp_end)
            for text, start_ms, end_ms, cp_start, cp_end in words.words
        )

    def take_state(self, state: m.State) -> None:
        """Remember who speaks."""
        if state.state in {"degraded", "speaking"}:
            self._degraded = state.state == "degraded"

    def take_audio(self, audio: m.Audio, payload: bytes, wire_cp: int) -> list[Event]:
        """Book audio; what it completes is returned.

        Raises:
            MisorderError: it does not join what came before, or belongs to no text.
        """
        if audio.at != self.next_at or audio.n < 0:
            raise MisorderError(f"audio at sample {audio.at} came where {self.next_at} was due")
        if not self._least_cp() <= audio.cp <= wire_cp:
            raise MisorderError(
                f"audio up to cp {audio.cp} came after cp {self.released_cp}, with {wire_cp} sent"
            )
        self.next_at += audio.n
        self.held_samples += audio.n
        self._held.append(Audio(self.base_samples + audio.at, audio.n, audio.cp, payload))
        covered_cp = self._covered_cp(audio.cp)
        return self._release(covered_cp) if covered_cp > self.released_cp else []

    def _least_cp(self) -> int:
        return self._part_cp if self.filtered else self.released_cp

    def _covered_cp(self, cp: int) -> int:
        """How far the text is complete in what has come; no further than now if a word has only begun."""
        if not self.filtered:
            return cp
        arrived_ms = self._ms(self.base_samples + self.next_at)
        begun = [word for word in self._words if word.start_ms < arrived_ms]
        if any(word.end_ms > arrived_ms + FILTER_MS and word.cp_end > cp for word in begun):
            return self.released_cp
        return max([cp, *(word.cp_end for word in begun)])

    def rest(self) -> list[Event]:
        """At the end: all that is held, be its unit whole or not."""
        return self._release(max(self.released_cp, *(word.cp_end for word in self._words), 0))

    def _release(self, cp: int) -> list[Event]:
        n_cp = max(0, cp - self.released_cp)
        kind = "silent" if not self.held_samples else "fallback" if self._degraded else "live"
        self._source[kind] += n_cp
        self.released_cp = max(cp, self.released_cp)
        words = tuple(word for word in self._words if word.cp_start < cp)
        self._words = [word for word in self._words if word.cp_start >= cp]
        self._ends.extend((word.end_ms * self.rate_hz // 1000, word.cp_end) for word in words)
        events: list[Event] = [Words(words)] if words else []
        events.extend(self._held)
        self._held, self.held_samples = [], 0
        return events

    # -- over a lost session -------------------------------------------------------------------------------
    def detach(self) -> None:
        """The session is lost: what was held is forgotten, the next part goes on at ``released_cp``."""
        self.base_samples = self.given_samples
        self.next_at = self.next_seq = self.held_samples = 0
        self._held, self._words = [], []
        self._part_cp = self.released_cp
        self.lost = m.Source(**self._source)

    def word_end_at(self, at: int) -> int:
        """The end of the last word that had ended at sample ``at``; ``start_cp`` if none had."""
        return max((cp for end, cp in self._ends if end <= at), default=self.start_cp)

    def _ms(self, samples: int) -> int:
        return 1000 * samples // self.rate_hz
