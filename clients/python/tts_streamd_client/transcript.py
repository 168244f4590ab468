"""The text of one stream: all of it, until the end, and how far each daemon has been given it.

A *part* is the stream in one session; after a lost session the next part begins where the last one was heard
to.  Positions (``cp``) count from the original text, whatever the part.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from tts_streamd_protocol import messages as m

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTEXT_CP = 1000
"""How much text before the point of resumption the daemon takes as context."""

VoiceInForce: TypeAlias = tuple[str | None, m.VoiceSettings | None]


class Transcript:
    """What the caller gave (``known_cp``), what is on the wire (``wire_cp``), what is taken (``acked_cp``)."""

    def __init__(self, start_cp: int, before: str | None, voice: VoiceInForce, *, text_window: int) -> None:
        self.start_cp = self.known_cp = self.wire_cp = self.acked_cp = start_cp
        self.closed = False
        self._before = before or ""
        self._texts: list[str] = []
        self._waiting = ""  # known, and from ``_taken`` on not on the wire; only while ``_on_wire``
        self._taken = 0
        self._on_wire = True
        self._close_due = False
        self._flushes: deque[int] = deque()  # not told yet
        self._flushed: deque[int] = deque()  # told; those behind what was heard are told again
        self._voices: list[tuple[int, VoiceInForce]] = [(start_cp, voice)]
        self._voices_told = 1
        self._part_start_cp = start_cp
        self._text_window = text_window

    @property
    def room_cp(self) -> int:
        """Code points that the caller may add now without overrunning the daemon's text window."""
        return max(0, self._text_window - (self.known_cp - self.acked_cp))

    @property
    def all_sent(self) -> bool:
        """Whether everything is on the wire."""
        return self._on_wire and self.wire_cp == self.known_cp

    def add(self, text: str, *, flush: bool = False) -> None:
        """More text from the caller."""
        self._texts.append(text)
        self.known_cp += len(text)
        if flush:
            self._flushes.append(self.known_cp)
        if self._on_wire:
            self._waiting, self._taken = self._waiting[self._taken :] + text, 0

    def close(self) -> None:
        """No more text will come."""
        self._close_due = self._close_due or not self.closed
        self.closed = True

    def voice_changed(self, voice: str, settings: m.VoiceSettings | None) -> None:
        """Text from here on is in another voice, as the daemon has agreed."""
        self._voices.append((self.known_cp, (voice, settings)))
        self._voices_told = len(self._voices)

    def spoken_for(self) -> None:
        """All that is known went out with the request that opened the stream (``speak``)."""
        self.wire_cp = self.acked_cp = self.known_cp
        self._waiting, self._taken = "", 0
        self.closed, self._close_due = True, False

    def acked(self, chars: int) -> None:
        """The daemon has taken ``chars`` code points of this part."""
        self.acked_cp = max(self.acked_cp, min(self._part_start_cp + chars, self.wire_cp))

    # -- to the wire ---------------------------------------------------------------------------------------
    def requests(self, sid: int, max_text_cp: int) -> Iterator[m.AnyRequest]:
        """What may be sent now, in order: texts within the window, changes of voice, the close."""
        while self._on_wire and (request := self._next_request(sid, max_text_cp)) is not None:
            yield request

    def _next_request(self, sid: int, max_text_cp: int) -> m.AnyRequest | None:
        if self._voices_told < len(self._voices) and self._voices[self._voices_told][0] <= self.wire_cp:
            voice, settings = self._voices[self._voices_told][1]
            self._voices_told += 1
            return m.Voice(sid=sid, voice=voice or "", settings=settings)
        n_cp = min(len(self._waiting) - self._taken, max_text_cp, self._wire_room_cp(), self._to_next_mark())
        if n_cp > 0 or (self._flushes and self._flushes[0] <= self.wire_cp):
            return self._text(sid, n_cp)
        if self._close_due and self._taken == len(self._waiting):
            self._close_due = False
            return m.Close(sid=sid)
        return None

    def _wire_room_cp(self) -> int:
        return self._text_window - (self.wire_cp - self.acked_cp)

    def _to_next_mark(self) -> int:
        """Code points up to the next flush or change of voice."""
        voices = (cp for cp, _ in self._voices[self._voices_told : self._voices_told + 1])
        return min((*voices, *list(self._flushes)[:1]), default=self.known_cp) - self.wire_cp

    def _text(self, sid: int, n_cp: int) -> m.Text:
        piece = self._waiting[self._taken : self._taken + n_cp]
        self._taken += n_cp
        cp = self.wire_cp
        self.wire_cp += n_cp
        flush = bool(self._flushes) and self._flushes[0] <= self.wire_cp
        while self._flushes and self._flushes[0] <= self.wire_cp:
            self._flushed.append(self._flushes.popleft())
        return m.Text(sid=sid, text=piece, cp=cp, flush=flush)

    # -- over a lost session -------------------------------------------------------------------------------
    def detach(self, cp: int) -> None:
        """The session is lost; text from ``cp`` on will be said again, and what comes now waits."""
        self._on_wire = False
        self._waiting, self._taken = "", 0
        self.wire_cp = self.acked_cp = self._part_start_cp = cp

    def attach(self, *, text_window: int) -> None:
        """Another session takes the text from where ``detach`` said."""
        self._on_wire = True
        self._text_window = text_window
        self._waiting, self._taken = self.text_from(self.wire_cp), 0
        self._close_due = self.closed
        self._flushes.extendleft(reversed([flush for flush in self._flushed if flush > self.wire_cp]))
        self._flushed.clear()
        self._voices_told = sum(1 for cp, _ in self._voices if cp <= self.wire_cp)

    def text_from(self, cp: int) -> str:
        """All that the caller gave from ``cp`` on."""
        self._texts = ["".join(self._texts)]
        return self._texts[0][cp - self.start_cp :]

    def before(self, cp: int) -> str:
        """The context of ``cp``."""
        self._texts = ["".join(self._texts)]
        told = self._before + self._texts[0][: cp - self.start_cp]
        return told[-CONTEXT_CP:] if told else ""

    def voice_at(self, cp: int) -> VoiceInForce:
        """The voice in force at ``cp``."""
        return next(voice for start_cp, voice in reversed(self._voices) if start_cp <= cp)

    def end_of_words(self, cp: int) -> int:
        """``cp`` without the blanks before it."""
        text = self.text_from(self.start_cp)[: cp - self.start_cp]
        return self.start_cp + len(text.rstrip())

    def forget(self) -> None:
        """The stream has ended: nothing will be said again."""
        self._texts.clear()
        self._waiting, self._taken = "", 0
        self._on_wire = False
