"""The books of one stream, as the client keeps them: text sent and taken, audio received and consumed.

The rule: within a stream nothing is lost, doubled or out of order, or the stream says so.  ``seq`` runs 0, 1,
2 … and audio joins sample to sample.  No I/O, no clock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from tts_streamd_client.errors import ClientError, DaemonProtocolError, RequestRefusedError, StreamFailedError
from tts_streamd_client.events import Audio, Event, Word, Words
from tts_streamd_protocol import messages as m

CONTEXT_CP = 1000
"""How much text before the point of resumption the daemon takes as context."""

CREDIT_SHARE = 4
"""Credit goes back when a fourth of the buffer is free: few messages, and the buffer does not run dry."""


@dataclass(frozen=True, slots=True)
class Resumption:
    """What to open a new stream with after the session was lost.

    ``open(start_cp=…, before=…, voice=…, settings=…)``, then ``text``.  ``voice`` and ``settings`` are those
    in force at ``start_cp``; ``closed``: ``text`` was all there was to say.
    """

    start_cp: int
    before: str
    text: str
    voice: str | None
    settings: m.VoiceSettings | None
    closed: bool


@dataclass(slots=True)
class Backlog:
    """Text that is all known and waits for room; when it has been sent the stream's text is closed."""

    text: str = ""
    sent_cp: int = 0

    def take(self, n_cp: int) -> str:
        """The next ``n_cp`` code points at most."""
        piece = self.text[self.sent_cp : self.sent_cp + n_cp]
        self.sent_cp += len(piece)
        return piece

    @property
    def left_cp(self) -> int:
        """Code points that still wait."""
        return len(self.text) - self.sent_cp


class StreamBook:
    """One stream's facts; audio in ``events`` exceeds ``buffer_ms`` by one message at most."""

    def __init__(self, options: m.StreamOptions, rid: int, *, buffer_ms: int, text_window: int) -> None:
        self.sid = options.sid
        self.rid = rid
        self.opened: m.Opened | None = None
        self.events: deque[Event] = deque()
        self.end: m.End | None = None
        self.failure: ClientError | None = None
        self.closed = False
        self.backlog = Backlog()
        self.cancelled = False
        self.start_cp = self.sent_cp = self.acked_cp = self.received_cp = options.start_cp
        self.next_at: int = 0
        self._next_seq = 0
        self._texts: list[str] = []
        self._voices = [(options.start_cp, options.voice, options.settings)]
        self._text_window = text_window
        self._buffer_ms = buffer_ms
        self._consumed_samples = 0

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.end is not None or self.failure is not None

    def check_open(self) -> None:
        """Raise what the stream died of; one that ended by itself takes no more text.

        Raises:
            ClientError: it is broken, refused or lost.
            StreamFailedError: it ended ``failed``.
            RequestRefusedError: ``no_such_stream``: it has ended, or its text is closed.
        """
        if self.failure is not None:
            raise self.failure
        if self.end is not None and self.end.reason == "failed":
            raise StreamFailedError(self.end)
        if self.end is not None or self.closed or self.cancelled or self.backlog.left_cp:
            raise RequestRefusedError("no_such_stream", "this stream takes no more text: open another one")

    def ending(self) -> m.End:
        """How the stream ended, be it ``failed``.

        Raises:
            ClientError: it never did: it is broken, refused or lost.
        """
        if self.end is None:
            assert self.failure is not None
            raise self.failure
        return self.end

    # -- text ----------------------------------------------------------------------------------------------
    @property
    def room_cp(self) -> int:
        """Code points that may be sent now without overrunning the daemon's text window."""
        return max(0, self._text_window - (self.sent_cp - self.acked_cp))

    def sent(self, text: str) -> None:
        """``text`` is on its way; it is kept until the end, so that it can be said again."""
        self._texts.append(text)
        self.sent_cp += len(text)

    def acked(self, chars: int) -> None:
        """The daemon has taken ``chars`` code points of this stream."""
        self.acked_cp = max(self.acked_cp, min(self.start_cp + chars, self.sent_cp))

    def voice_changed(self, voice: str, settings: m.VoiceSettings | None) -> None:
        """Text from here on is in another voice."""
        self._voices.append((self.sent_cp, voice, settings))

    def resumption(self) -> Resumption:
        """Where and how to go on: behind the last unit of which all audio has been received."""
        text = "".join([*self._texts, self.backlog.text[self.backlog.sent_cp :]])
        done = self.received_cp - self.start_cp
        voice, settings = next((v, s) for cp, v, s in reversed(self._voices) if cp <= self.received_cp)
        before = text[max(0, done - CONTEXT_CP) : done]
        return Resumption(
            self.received_cp, before, text[done:], voice, settings, self.closed or bool(self.backlog.left_cp)
        )

    # -- audio ---------------------------------------------------------------------------------------------
    def take(self, report: m.Report, payload: bytes) -> None:
        """Book one message of the stream that is not over; one that breaks the order fails it."""
        if report.seq != self._next_seq:
            self._break(f"message {report.seq} came where {self._next_seq} was due")
        else:
            self._next_seq += 1
            self._book(report, payload)

    def _book(self, report: m.Report, payload: bytes) -> None:
        match report:
            case m.Audio():
                self._book_audio(report, payload)
            case m.Words() if not self.cancelled:
                self.events.append(Words(tuple(Word(*word) for word in report.words)))
            case m.State() if not self.cancelled:
                self.events.append(report)
            case m.End():
                self.end = report
                self.events.append(report)
                self._texts.clear()
            case _:  # a kind that nobody here knows, or a cancelled stream's, which concerns nobody
                pass

    def _book_audio(self, audio: m.Audio, payload: bytes) -> None:
        if audio.at != self.next_at or audio.n < 0:
            self._break(f"audio at sample {audio.at} came where {self.next_at} was due")
        elif not self.received_cp <= audio.cp <= self.sent_cp:
            self._break(
                f"audio up to cp {audio.cp} came after cp {self.received_cp}, with {self.sent_cp} sent"
            )
        else:
            self.next_at += audio.n
            self.received_cp = audio.cp
            if not self.cancelled:
                self.events.append(Audio(audio.at, audio.n, audio.cp, payload))

    def _break(self, what: str) -> None:
        self.failure = DaemonProtocolError(f"stream {self.sid}: {what}; please report this")

    def cancel(self) -> None:
        """Nobody wants the rest: what waits is dropped, and what still comes only counts."""
        self.cancelled = True
        self.events = deque(event for event in self.events if isinstance(event, m.End))

    # -- consumption ---------------------------------------------------------------------------------------
    def next_event(self) -> Event | None:
        """The next event, or None if there is none yet."""
        if not self.events:
            return None
        event = self.events.popleft()
        if isinstance(event, Audio):
            self._consumed_samples += event.n
        return event

    def credit_due_ms(self) -> int:
        """Milliseconds to give back to the daemon now; they count as given."""
        if self.over or self.opened is None:
            return 0
        free_ms = 1000 * self._consumed_samples // self.opened.rate_hz
        if free_ms * CREDIT_SHARE < self._buffer_ms:
            return 0
        self._consumed_samples -= free_ms * self.opened.rate_hz // 1000
        return free_ms
