"""The books of one stream, as the client keeps them: text given and taken, audio received and consumed.

The rule: within a stream nothing is lost, doubled or out of order, or the stream says so.  A stream may live in
several sessions, one after the other (``detach``, ``reopening``, ``reopened``); its caller sees one.  No I/O, no clock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from tts_streamd_client.delivery import Delivery, MisorderError
from tts_streamd_client.errors import ClientError, DaemonProtocolError, RequestRefusedError, StreamFailedError
from tts_streamd_client.events import Audio
from tts_streamd_client.transcript import CONTEXT_CP, Transcript
from tts_streamd_protocol import messages as m

if TYPE_CHECKING:
    from tts_streamd_client.events import Event

__all__ = ["CONTEXT_CP", "Resumption", "StreamBook"]

CREDIT_SHARE = 4
"""Credit goes back when a fourth of the buffer is free: few messages, and the buffer does not run dry."""


@dataclass(frozen=True, slots=True)
class Resumption:
    """What to open a new stream with after the session was lost for good.

    ``open(start_cp=…, before=…, voice=…, settings=…)``, then ``text``.  ``voice`` and ``settings`` are those
    in force at ``start_cp``; ``closed``: ``text`` was all there was to say.
    """

    start_cp: int
    before: str
    text: str
    voice: str | None
    settings: m.VoiceSettings | None
    closed: bool


class StreamBook:
    """One stream's facts; audio in ``events`` exceeds ``buffer_ms`` by one unit of text at most."""

    def __init__(
        self,
        options: m.StreamOptions,
        rid: int,
        *,
        buffer_ms: int,
        text_window: int,
        own_rate_hz: int = 24_000,
    ) -> None:
        self.sid = options.sid
        self.rid = rid
        self.opened: m.Opened | None = None
        self.events: deque[Event] = deque()
        self.end: m.End | None = None
        self.failure: ClientError | None = None
        self.cancelled = False
        self.n_parts = 1
        self.text = Transcript(
            options.start_cp, options.before, (options.voice, options.settings), text_window=text_window
        )
        self.delivery = Delivery(options.start_cp, filtered=options.format != f"pcm_{own_rate_hz}")
        self._options = options
        self._session = 0
        self._buffer_ms = buffer_ms
        self._consumed_samples = 0
        self._waiting_samples = 0  # in ``events``

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
        if self.end is not None or self.text.closed or self.cancelled:
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

    # -- over a lost session -------------------------------------------------------------------------------
    def resumption(self) -> Resumption:
        """Where and how to go on: behind the last unit of which all audio has been given to the caller."""
        cp, text = self.delivery.released_cp, self.text
        voice, settings = text.voice_at(cp)
        return Resumption(cp, text.before(cp), text.text_from(cp), voice, settings, text.closed)

    def detach(self, why: str) -> None:
        """The session is lost, and another will take the stream up; one that nobody wants ends here."""
        self.delivery.detach()
        self.text.detach(self.delivery.released_cp)
        if self.cancelled:
            self._finish(self._end_without_daemon())
        else:
            self._note("recovering", why)

    def reopening(self, rid: int, sid: int, *, text_window: int) -> m.Open:
        """The request that opens the next part in another session."""
        self.rid, self.sid = rid, sid
        self.n_parts += 1
        left = self.resumption()
        self._consumed_samples = 0
        waiting_ms = 0 if self.opened is None else 1000 * self._waiting_samples // self.opened.rate_hz
        self.text.attach(text_window=text_window)
        again: dict[str, Any] = {
            name: getattr(self._options, name) for name in m.StreamOptions.__struct_fields__
        }
        again |= {"rid": rid, "sid": sid, "start_cp": left.start_cp, "before": left.before or None}
        again |= {"voice": left.voice, "settings": left.settings}
        again["credit_ms"] = max(0, self._buffer_ms - waiting_ms)
        return m.Open(**again)

    def accept(self, opened: m.Opened) -> None:
        """The daemon has opened the stream, for the first time or again."""
        if self.opened is None:
            self.opened = opened
            self.delivery.rate_hz = opened.rate_hz
        elif (opened.rate_hz, opened.format) != (self.opened.rate_hz, self.opened.format):
            self._break(f"it was {self.opened.format}, and is {opened.format} after the daemon's return")
        else:
            self._note("speaking", "recovered")

    def _note(self, phase: m.Phase, detail: str) -> None:
        at, seq = self.delivery.given_samples, self.delivery.next_seq
        self.events.append(
            m.State(session=self._session, sid=self.sid, seq=seq, state=phase, at=at, detail=detail)
        )

    # -- audio ---------------------------------------------------------------------------------------------
    def take(self, report: m.Report, payload: bytes) -> None:
        """Book one message of the stream that is not over; one that breaks the order fails it."""
        self._session = report.session
        try:
            self.delivery.count(report.seq)
            self._book(report, payload)
        except MisorderError as error:
            self._break(str(error))

    def _book(self, report: m.Report, payload: bytes) -> None:
        match report:
            case m.Audio():
                self._consumed_samples += report.n  # what is held must not stop the daemon: see ``_give``
                self._give(self.delivery.take_audio(report, payload, self.text.wire_cp))
            case m.Words():
                self.delivery.take_words(report)
            case m.State():
                self.delivery.take_state(report)
                if not self.cancelled:
                    self.events.append(
                        msgspec.structs.replace(report, at=report.at + self.delivery.base_samples)
                    )
            case m.End():
                self._give(self.delivery.rest())
                self._finish(self._sum(report))
            case _:  # a kind that nobody here knows
                pass

    def _give(self, events: list[Event]) -> None:
        """Audio counts as free room until it is given, lest a small credit stops it in the middle of a unit."""
        n = sum(event.n for event in events if isinstance(event, Audio))
        self._consumed_samples -= n
        if self.cancelled:
            return
        self._waiting_samples += n
        self.events.extend(events)

    def _finish(self, end: m.End) -> None:
        self.end = end
        self.events.append(end)
        self.text.forget()

    def _break(self, what: str) -> None:
        self.failure = DaemonProtocolError(f"stream {self.sid}: {what}; please report this")

    def cancel(self, at: int | None = None) -> int | None:
        """Nobody wants the rest: what waits is dropped, and what still comes only counts.

        Returns ``at`` as this part's daemon counts it.
        """
        self.cancelled = True
        self._cancelled_at = at
        self.events = deque(event for event in self.events if isinstance(event, m.End))
        return None if at is None else max(0, at - self.delivery.base_samples)

    _cancelled_at: int | None = None

    # -- the end -------------------------------------------------------------------------------------------
    def _sum(self, end: m.End) -> m.End:
        """The end of the last part as the whole stream's.

        Of a part that was lost nobody told its times and what else was sent upstream: its times stay open, and it
        counts as sent what was heard.
        """
        if self.n_parts == 1:
            return end
        delivery, lost = self.delivery, self.delivery.lost
        source = m.Source(
            live=end.source.live + lost.live, cache=end.source.cache,
            fallback=end.source.fallback + lost.fallback, silent=end.source.silent + lost.silent,
        )  # fmt: skip
        return msgspec.structs.replace(
            end, chars=end.chars + delivery.part_cp - self.text.start_cp, heard_cp=self._heard_cp(end),
            samples=end.samples + delivery.base_samples, sent=end.sent + lost.live + lost.fallback,
            source=source, stamps_ms=m.Stamps(), ttfa_ms=None,
        )  # fmt: skip

    def _heard_cp(self, end: m.End) -> int:
        """What the last part heard, or else what the ones before did."""
        at, delivery = self._cancelled_at, self.delivery
        if at is not None and at < delivery.base_samples:
            return delivery.word_end_at(at)
        if end.heard_cp > delivery.part_cp:
            return end.heard_cp
        return self.text.end_of_words(delivery.part_cp)

    def _end_without_daemon(self) -> m.End:
        """The end of a stream that was cancelled when its daemon went away."""
        delivery, at = self.delivery, self._cancelled_at
        heard_cp = self.text.end_of_words(delivery.released_cp)
        if at is not None and at < delivery.given_samples:
            heard_cp = delivery.word_end_at(at)
        return m.End(
            session=self._session, sid=self.sid, seq=delivery.next_seq, reason="cancelled",
            chars=self.text.known_cp - self.text.start_cp, samples=delivery.given_samples, heard_cp=heard_cp,
            skipped=[], stamps_ms=m.Stamps(), source=delivery.lost, sent=delivery.lost.live + delivery.lost.fallback,
        )  # fmt: skip

    # -- consumption ---------------------------------------------------------------------------------------
    def next_event(self) -> Event | None:
        """The next event, or None if there is none yet."""
        if not self.events:
            return None
        event = self.events.popleft()
        if isinstance(event, Audio):
            self._consumed_samples += event.n
            self._waiting_samples -= event.n
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
