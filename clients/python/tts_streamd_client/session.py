"""One session without I/O: makes the frames to send, books those received, knows when the daemon is gone.

A shell sends the frames that methods return and those in ``outbox``, passes every message it receives to
``receive``, and looks at what changed: an answer (``take_answer``), a stream's book, ``lost``.  Time is
passed in, in seconds of any one clock.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, TypeVar, Unpack

from tts_streamd_client.book import Backlog, StreamBook
from tts_streamd_client.errors import (
    ClientError,
    DaemonProtocolError,
    NoAnswerError,
    RequestRefusedError,
    SessionLostError,
    StreamFailedError,
)
from tts_streamd_protocol import codec
from tts_streamd_protocol import messages as m

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tts_streamd_client.events import Event
    from tts_streamd_client.options import Options

T = TypeVar("T", bound=m.Reply)

SILENT_HEARTBEATS = 3
"""Heartbeats missed in a row that mean the session is lost (contract section 4)."""

STOP_GRACE_S = 1.0
"""How much longer than it announced a stopping daemon may take."""

MAX_TAPPED = 10_000
"""Tapped messages kept for whoever watches; beyond that the oldest go."""

HEAD_BYTES = 256
"""More than a ``text`` message takes besides its text."""

MAX_BYTES_PER_CP = 4
"""UTF-8."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """What was ignored, as the contract says it must be, and what was booked."""

    n_received: int
    n_unknown: int
    n_late: int
    n_stray_errors: int
    streams_open: int
    tapped_dropped: int


@dataclass(slots=True)
class Session:
    """One connection's conversation with the daemon; ``receive`` is the only way in."""

    client: str
    welcome: m.Welcome | None = None
    goodbye: m.Goodbye | None = None
    lost: ClientError | None = None
    books: dict[int, StreamBook] = field(
        default_factory=dict[int, StreamBook]
    )  # of the streams that are not over
    outbox: deque[bytes] = field(default_factory=deque[bytes])
    tapped: deque[m.Tapped] = field(default_factory=lambda: deque[m.Tapped](maxlen=MAX_TAPPED))
    _answers: dict[int, m.AnyReply | None] = field(default_factory=dict[int, m.AnyReply | None])
    _counts: Counter[str] = field(default_factory=Counter[str])
    _last_rid: int = 0
    _last_sid: int = 0
    _heard_at_s: float = -inf
    _stops_at_s: float = inf

    # -- requests and their answers ------------------------------------------------------------------------
    def new_rid(self) -> int:
        """A request id whose answer will be kept until ``take_answer`` or ``forget``."""
        self._last_rid += 1
        self._answers[self._last_rid] = None
        return self._last_rid

    def hello(self, rid: int) -> bytes:
        """The first frame of the session."""
        return codec.encode_request(m.Hello(rid=rid, proto=list(m.PROTO), client=self.client))

    def encode(self, request: m.AnyRequest) -> bytes:
        """The request's one frame.

        Raises:
            RequestRefusedError: the daemon would not read it: it is larger than ``limits.max_message_bytes``.
        """
        frame = codec.encode_request(request)
        if len(frame) > (limit := self._limits.max_message_bytes):
            if request.rid is not None:
                self.forget(request.rid)
            raise RequestRefusedError(
                "too_large", f"the request has {len(frame)} bytes, the daemon takes {limit}"
            )
        return frame

    def has_answer(self, rid: int) -> bool:
        """Whether the request has been answered."""
        return self._answers[rid] is not None

    def take_answer(self, rid: int, kind: type[T]) -> T:
        """The answer to a request that ``has_answer``, once.

        Raises:
            RequestRefusedError: the daemon answered ``error``.
            DaemonProtocolError: it answered something else than ``kind``.
        """
        answer = self._answers.pop(rid)
        if isinstance(answer, m.Error):
            raise RequestRefusedError.of(answer)
        if not isinstance(answer, kind):
            raise DaemonProtocolError(
                f"{kind.__name__} was due, {type(answer).__name__} came; please report this"
            )
        return answer

    def forget(self, rid: int) -> None:
        """Nobody waits for this answer any more."""
        self._answers.pop(rid, None)

    @property
    def _limits(self) -> m.Limits:
        return m.Limits() if self.welcome is None else self.welcome.limits

    # -- streams -------------------------------------------------------------------------------------------
    def open(
        self, rid: int, *, buffer_ms: int, now_s: float, **options: Unpack[Options]
    ) -> tuple[StreamBook, bytes]:
        """Open a stream: its book and the frame to send.  If it is refused, ``abandon`` the book."""
        request = m.Open(rid=rid, sid=self._last_sid + 1, credit_ms=self._credit_ms(buffer_ms), **options)
        return self._begin(request, rid, now_s)

    def speak(
        self, rid: int, text: str, *, buffer_ms: int, now_s: float, **options: Unpack[Options]
    ) -> tuple[StreamBook, bytes]:
        """Open a stream, say ``text`` and close it in one message (``too_large`` if it does not fit)."""
        credit_ms = self._credit_ms(buffer_ms)
        request = m.Speak(rid=rid, sid=self._last_sid + 1, text=text, credit_ms=credit_ms, **options)
        book, frame = self._begin(request, rid, now_s)
        book.sent(text)
        book.acked(len(text))
        book.closed = True
        return book, frame

    @property
    def max_text_cp(self) -> int:
        """Code points that fit into one message whatever they are."""
        return max(1, (self._limits.max_message_bytes - HEAD_BYTES) // MAX_BYTES_PER_CP)

    def _credit_ms(self, buffer_ms: int) -> int:
        return min(buffer_ms, self._limits.max_credit_ms)

    def _begin(self, request: m.Open | m.Speak, rid: int, now_s: float) -> tuple[StreamBook, bytes]:
        frame = self.encode(request)
        if not self.books:  # there were no ticks to hear until now
            self._heard_at_s = max(self._heard_at_s, now_s)
        self._last_sid = request.sid
        book = StreamBook(
            request, rid, buffer_ms=request.credit_ms or 0, text_window=self._limits.text_window
        )
        self.books[request.sid] = book
        return book, frame

    def abandon(self, book: StreamBook) -> None:
        """Nobody waits for ``opened`` any more: should it have been opened, it ends."""
        if self.books.pop(book.sid, None) is not None and self.lost is None:
            self.outbox.append(self.encode(m.Cancel(sid=book.sid)))

    def text(self, book: StreamBook, text: str, *, flush: bool = False) -> str:
        """Send as much of ``text`` as the daemon takes now (to ``outbox``); the rest must wait for room.

        Every text carries its position, so that a resend is safe.
        """
        n_cp = min(book.room_cp, self.max_text_cp)
        piece, rest = text[:n_cp], text[n_cp:]
        request = m.Text(sid=book.sid, text=piece, cp=book.sent_cp, flush=flush and not rest)
        self.outbox.append(self.encode(request))
        book.sent(piece)
        return rest

    def say_all(self, book: StreamBook, text: str) -> None:
        """Send all of ``text`` as the daemon makes room for it, then close: ``receive`` sees to it."""
        book.backlog = Backlog(text)
        self._feed(book)

    def _feed(self, book: StreamBook) -> None:
        if not book.backlog.left_cp:
            return
        while book.room_cp and (piece := book.backlog.take(min(book.room_cp, self.max_text_cp))):
            self.text(book, piece)
        if not book.backlog.left_cp:
            self.close_text(book)

    def close_text(self, book: StreamBook) -> None:
        """No more text will come."""
        if not book.closed and not book.over:
            self.outbox.append(self.encode(m.Close(sid=book.sid)))
        book.closed = True

    def cancel(self, book: StreamBook, *, at: int | None = None) -> None:
        """Stop the stream at once; ``at``: samples really played.  Its ``end`` is still to come."""
        if not book.over:
            book.cancel()
            self.outbox.append(self.encode(m.Cancel(sid=book.sid, at=at)))

    def next_event(self, book: StreamBook) -> Event | None:
        """The stream's next event, None if there is none yet; credit for what it held goes back.

        Raises:
            ClientError: the stream is broken, refused or lost.
            StreamFailedError: it ended ``failed``.
        """
        event = book.next_event()
        if (add_ms := book.credit_due_ms()) > 0:
            self.outbox.append(self.encode(m.Credit(sid=book.sid, add_ms=add_ms)))
        if isinstance(event, m.End) and event.reason == "failed":
            raise StreamFailedError(event)
        if event is None and book.failure is not None:
            raise book.failure
        return event

    # -- what arrives --------------------------------------------------------------------------------------
    def receive(self, frames: Sequence[bytes], now_s: float) -> None:
        """Book one message.  What is unknown, late or of another session is counted and ignored."""
        self._heard_at_s = now_s
        self._counts["received"] += 1
        try:
            self._take(codec.decode_reply(frames[0]), frames[1] if len(frames) > 1 else b"", now_s)
        except codec.BadReplyError as error:
            self.lost = DaemonProtocolError(f"no message of this protocol came ({error}); please report this")
            self.lose("it cannot be understood")

    def _take(self, reply: m.AnyReply | None, payload: bytes, now_s: float) -> None:
        match reply:
            case None:
                self._counts["unknown"] += 1
            case m.Report():
                self._take_report(reply, payload)
            case m.Tapped() if reply.rid is None:
                self._counts["tapped"] += 1
                self.tapped.append(reply)
            case m.Ack() if reply.rid is None:
                if (book := self.books.get(reply.sid)) is not None:
                    book.acked(reply.chars)
                    self._feed(book)
            case m.Goodbye():
                self.goodbye = reply
                self._stops_at_s = now_s + reply.in_ms / 1000 + STOP_GRACE_S
            case m.Tick():
                self._take_tick(reply)
            case m.Error(code="hello_required"):
                self.lose("the daemon does not know this session any more")
            case m.Error() if reply.rid is None or reply.rid not in self._answers:
                self._take_error(reply)
            case _:
                self._take_answer(reply)

    def _take_answer(self, reply: m.AnyReply) -> None:
        rid = getattr(reply, "rid", None)
        if isinstance(reply, m.Opened) and (book := self.books.get(reply.sid)) is not None:
            book.opened = reply
        if isinstance(reply, m.Welcome) and rid in self._answers:
            self.welcome = reply
        if isinstance(reply, m.Error):  # nothing was opened, if this answers an ``open``
            self.books = {sid: book for sid, book in self.books.items() if book.rid != rid}
        if rid in self._answers:
            self._answers[rid] = reply

    def _take_report(self, report: m.Report, payload: bytes) -> None:
        book = self.books.get(report.sid)
        if book is None or self.welcome is None or report.session != self.welcome.session:
            self._counts["late"] += 1
            return
        book.take(report, payload)
        if book.failure is not None:
            self._give_up(book, book.failure)
        elif book.end is not None:
            del self.books[book.sid]

    def _give_up(self, book: StreamBook, failure: ClientError) -> None:
        """The stream is of no use any more; the daemon, which does not know that, is told."""
        self.outbox.append(self.encode(m.Cancel(sid=book.sid)))
        book.failure = failure
        del self.books[book.sid]

    def _take_tick(self, tick: m.Tick) -> None:
        if self.welcome is not None and tick.boot_id != self.welcome.boot_id:
            self.lose("the daemon was started anew")

    def _take_error(self, error: m.Error) -> None:
        """An error that answers no request: about a stream, or about nothing we know."""
        book = None if error.sid is None else self.books.get(error.sid)
        if book is not None:
            self._give_up(book, RequestRefusedError.of(error))
        else:
            self._counts["stray_errors"] += 1

    # -- the daemon's life ---------------------------------------------------------------------------------
    @property
    def silent_at_s(self) -> float:
        """When to give the daemon up if nothing arrives before: it ticks while streams are open."""
        if not self.books or self.welcome is None:
            return self._stops_at_s
        return min(self._heard_at_s + SILENT_HEARTBEATS * self.welcome.heartbeat_ms / 1000, self._stops_at_s)

    def stop_tapping(self) -> None:
        """No more of the actors' messages; those that are still under way are forgotten."""
        self.outbox.append(self.encode(m.Tap(on=False)))
        self.tapped.clear()

    def lose(self, why: str) -> None:
        """The session is over; every stream's book stays readable for its ``resumption``."""
        if self.goodbye is not None:
            why = f"the daemon said goodbye ({self.goodbye.reason})"
        self.lost = self.lost or SessionLostError(f"{why}: connect again, and resume what was not heard")
        for book in self.books.values():
            book.failure = self.lost

    def check(self) -> None:
        """Raise what ended the session, if something did."""
        if self.lost is not None:
            raise self.lost

    def farewell(self) -> list[bytes]:
        """What to send before leaving: every stream still open is cancelled."""
        return [self.encode(m.Cancel(sid=book.sid)) for book in self.books.values()]

    def no_answer(self, what: str, within_s: float) -> NoAnswerError:
        """What to raise when the daemon let a request wait for too long."""
        return NoAnswerError(f"the daemon did not answer `{what}` within {within_s:g} s")

    def statistics(self) -> Statistics:
        """A frozen snapshot."""
        return Statistics(
            n_received=self._counts["received"],
            n_unknown=self._counts["unknown"],
            n_late=self._counts["late"],
            n_stray_errors=self._counts["stray_errors"],
            streams_open=len(self.books),
            tapped_dropped=self._counts["tapped"] - len(self.tapped) if len(self.tapped) == MAX_TAPPED else 0,
        )
