"""The conversation without I/O: makes the frames to send, books those received, knows when the daemon is gone.

A shell sends the frames that methods return and those in ``outbox``, passes every message it receives to
``receive``, and looks at what changed: an answer (``take_answer``), a stream's book, ``lost``.  Time is
passed in, in seconds of any one clock.

When the daemon is lost and ``resume_within_s`` allows it, the conversation goes on in another session: the
shell replaces its socket when ``wants_socket`` says so, calls ``greet``, and the streams are opened again where
their callers have heard them to.  Requests that were under way answer ``RequestLostError``: make them again.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, TypeVar, Unpack

from tts_streamd_client.book import StreamBook
from tts_streamd_client.errors import (
    ClientError,
    DaemonProtocolError,
    NoAnswerError,
    RequestLostError,
    RequestRefusedError,
    SessionLostError,
    StreamFailedError,
)
from tts_streamd_client.recovery import Recovery
from tts_streamd_protocol import codec
from tts_streamd_protocol import messages as m

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tts_streamd_client.events import Event
    from tts_streamd_client.options import Options

T = TypeVar("T", bound=m.Reply)

SILENT_HEARTBEATS = 3
"""Heartbeats missed in a row that mean the session is lost (contract section 4)."""

PROBE_HEARTBEATS = 1.25
"""Heartbeats missed before a ping: a daemon that was started anew, or lost the connection, answers at once."""

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
    n_recovered: int


@dataclass(slots=True)
class Session:
    """The conversation with the daemon, over one session after the other; ``receive`` is the only way in."""

    client: str
    resume_within_s: float = 0.0
    welcome: m.Welcome | None = None
    goodbye: m.Goodbye | None = None
    lost: ClientError | None = None
    books: dict[int, StreamBook] = field(
        default_factory=dict[int, StreamBook]
    )  # of the streams that are not over
    outbox: deque[bytes] = field(default_factory=deque[bytes])
    tapped: deque[m.Tapped] = field(default_factory=lambda: deque[m.Tapped](maxlen=MAX_TAPPED))
    _recovery: Recovery = field(init=False)
    _greeting: int = 0  # the hello of the session to come
    _reopening: dict[int, StreamBook] = field(default_factory=dict[int, StreamBook])
    _watching: m.Tap | None = None
    _answers: dict[int, m.AnyReply | None] = field(default_factory=dict[int, m.AnyReply | None])
    _unanswered: set[int] = field(default_factory=set[int])  # their session is lost
    _counts: Counter[str] = field(default_factory=Counter[str])
    _last_rid: int = 0
    _last_sid: int = 0
    _heard_at_s: float = -inf
    _stops_at_s: float = inf
    _probed: bool = False

    def __post_init__(self) -> None:
        self._recovery = Recovery(self.resume_within_s)

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
        return rid in self._unanswered or self._answers[rid] is not None

    def take_answer(self, rid: int, kind: type[T]) -> T:
        """The answer to a request that ``has_answer``, once.

        Raises:
            RequestRefusedError: the daemon answered ``error``.
            DaemonProtocolError: it answered something else than ``kind``.
            RequestLostError: the session was lost before the answer.
        """
        if rid in self._unanswered:
            self.forget(rid)
            raise RequestLostError(self._recovery.why)
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
        self._unanswered.discard(rid)

    def _post(self, request: m.AnyRequest) -> None:
        """Send it, unless there is nobody to send it to: the next session knows of it from the books."""
        if self.live:
            self.outbox.append(self.encode(request))

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
        book.text.add(text)
        book.text.spoken_for()
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
            request, rid, buffer_ms=request.credit_ms or 0, text_window=self._limits.text_window,
            own_rate_hz=24_000 if self.welcome is None else self.welcome.rate_hz,
        )  # fmt: skip
        self.books[request.sid] = book
        return book, frame

    def abandon(self, book: StreamBook) -> None:
        """Nobody waits for ``opened`` any more: should it have been opened, it ends."""
        if self.books.get(book.sid) is book:
            del self.books[book.sid]
            self._post(m.Cancel(sid=book.sid))

    def text(self, book: StreamBook, text: str, *, flush: bool = False) -> str:
        """Send as much of ``text`` as the daemon takes now (to ``outbox``); the rest must wait for room.

        Every text carries its position, so that a resend is safe.
        """
        n_cp = min(book.text.room_cp, self.max_text_cp)
        piece, rest = text[:n_cp], text[n_cp:]
        book.text.add(piece, flush=flush and not rest)
        self._feed(book)
        return rest

    def say_all(self, book: StreamBook, text: str) -> None:
        """Send all of ``text`` as the daemon makes room for it, then close: ``receive`` sees to it."""
        book.text.add(text)
        self.close_text(book)

    def _feed(self, book: StreamBook) -> None:
        if not book.over:
            self.outbox.extend(map(self.encode, book.text.requests(book.sid, self.max_text_cp)))

    def close_text(self, book: StreamBook) -> None:
        """No more text will come."""
        book.text.close()
        self._feed(book)

    def cancel(self, book: StreamBook, *, at: int | None = None) -> None:
        """Stop the stream at once; ``at``: samples really played.  Its ``end`` is still to come."""
        if book.over:
            return
        part_at = book.cancel(at)
        if self.live:
            self._post(m.Cancel(sid=book.sid, at=part_at))
        else:
            book.detach("cancelled")
            self.books.pop(book.sid, None)

    def next_event(self, book: StreamBook) -> Event | None:
        """The stream's next event, None if there is none yet; credit for what it held goes back.

        Raises:
            ClientError: the stream is broken, refused or lost.
            StreamFailedError: it ended ``failed``.
        """
        event = book.next_event()
        if (add_ms := book.credit_due_ms()) > 0:
            self._post(m.Credit(sid=book.sid, add_ms=add_ms))
        if isinstance(event, m.End) and event.reason == "failed":
            raise StreamFailedError(event)
        if event is None and book.failure is not None:
            raise book.failure
        return event

    # -- what arrives --------------------------------------------------------------------------------------
    def receive(self, frames: Sequence[bytes], now_s: float) -> None:
        """Book one message.  What is unknown, late or of another session is counted and ignored."""
        if self._recovery.phase == "resting":
            return
        self._heard_at_s = now_s
        self._probed = False
        self._counts["received"] += 1
        try:
            self._take(codec.decode_reply(frames[0]), frames[1] if len(frames) > 1 else b"", now_s)
        except codec.BadReplyError as error:
            self.lost = DaemonProtocolError(f"no message of this protocol came ({error}); please report this")
            self._end(self.lost)

    def _take(self, reply: m.AnyReply | None, payload: bytes, now_s: float) -> None:
        match reply:
            case None:
                self._counts["unknown"] += 1
            case m.Report():
                self._take_report(reply, payload, now_s)
            case m.Tapped() if reply.rid is None:
                self._counts["tapped"] += 1
                self.tapped.append(reply)
            case m.Ack() if reply.rid is None:
                if (book := self.books.get(reply.sid)) is not None:
                    book.text.acked(reply.chars)
                    self._feed(book)
            case m.Goodbye():
                self.goodbye = reply
                self._stops_at_s = now_s + reply.in_ms / 1000 + STOP_GRACE_S
            case m.Tick():
                self._take_tick(reply, now_s)
            case m.Welcome() if reply.rid is not None and reply.rid == self._greeting:
                self._begin_again(reply, now_s)
            case m.Error():
                self._take_refusal(reply, now_s)
            case _:
                self._take_answer(reply)

    def _take_refusal(self, error: m.Error, now_s: float) -> None:
        if error.code == "hello_required":
            self.lose("the daemon does not know this session any more", now_s)
        elif error.rid is not None and error.rid == self._greeting:
            self._take_cold_welcome(error, now_s)
        elif self._resumes and (error.code == "shutting_down" or self._may_reopen(error)):
            self.lose(f"the daemon takes no streams now ({error.message})", now_s)
        elif error.rid is None or error.rid not in self._answers:
            self._take_error(error)
        else:
            self._take_answer(error)

    def _take_answer(self, reply: m.AnyReply) -> None:
        rid = getattr(reply, "rid", None)
        if isinstance(reply, m.Opened) and (book := self.books.get(reply.sid)) is not None:
            self._reopening.pop(reply.rid or 0, None)
            book.accept(reply)
            if book.failure is not None:
                self._give_up(book, book.failure)
        if isinstance(reply, m.Welcome) and rid in self._answers:
            self.welcome = reply
        if isinstance(reply, m.Error):  # nothing was opened, if this answers an ``open``
            self.books = {sid: book for sid, book in self.books.items() if book.rid != rid}
        if rid in self._answers:
            self._recovery.achieved()
            self._answers[rid] = reply

    def _take_report(self, report: m.Report, payload: bytes, now_s: float) -> None:
        book = self.books.get(report.sid)
        if book is None or self.welcome is None or report.session != self.welcome.session:
            self._counts["late"] += 1
            return
        if self._resumes and _is_farewell(report):
            self.lose("the daemon stops", now_s)
            return
        released_cp = book.delivery.released_cp
        book.take(report, payload)
        if book.end is not None or book.delivery.released_cp > released_cp:
            self._recovery.achieved()
        if book.failure is not None:
            self._give_up(book, book.failure)
        elif book.end is not None:
            del self.books[book.sid]

    def _give_up(self, book: StreamBook, failure: ClientError) -> None:
        """The stream is of no use any more; the daemon, which does not know that, is told."""
        self._post(m.Cancel(sid=book.sid))
        book.failure = failure
        del self.books[book.sid]

    def _take_tick(self, tick: m.Tick, now_s: float) -> None:
        if self.welcome is not None and tick.boot_id != self.welcome.boot_id:
            self.lose("the daemon was started anew", now_s)

    def _take_error(self, error: m.Error) -> None:
        """An error that answers no request: about a stream, or about nothing we know."""
        book = self._reopening.pop(error.rid or 0, None)
        if book is None and error.sid is not None:
            book = self.books.get(error.sid)
        if book is not None:
            self._give_up(book, RequestRefusedError.of(error))
        else:
            self._counts["stray_errors"] += 1

    # -- the daemon's life ---------------------------------------------------------------------------------
    @property
    def live(self) -> bool:
        """Whether there is a session to talk in."""
        return self.lost is None and self._recovery.phase == "live"

    @property
    def silent_at_s(self) -> float:
        """When to give the session up if nothing arrives before: the daemon ticks while streams are open."""
        if not self.books or self.welcome is None:
            return self._stops_at_s
        return min(self._heard_at_s + SILENT_HEARTBEATS * self.welcome.heartbeat_ms / 1000, self._stops_at_s)

    @property
    def _probes_at_s(self) -> float:
        if not self.books or self.welcome is None or self._probed or self.goodbye is not None:
            return inf
        return self._heard_at_s + PROBE_HEARTBEATS * self.welcome.heartbeat_ms / 1000

    @property
    def wakes_at_s(self) -> float:
        """When ``on_time`` shall be called if nothing arrives before."""
        if self.lost is not None:
            return inf
        return min(self.silent_at_s, self._probes_at_s) if self.live else self._recovery.wakes_at_s

    def on_time(self, now_s: float) -> None:
        """Do what is due: ask whether the daemon lives, notice its silence, give up looking for it."""
        if self.lost is not None:
            return
        if not self.live:
            if now_s >= self._recovery.deadline_s:
                self._end(self._lost_for_good())
        elif now_s >= self.silent_at_s:
            self.lose("the daemon has fallen silent", now_s)
        elif now_s >= self._probes_at_s:
            self._probed = True
            self._post(m.Ping())

    def watch(self, actor: str | None, rid: int) -> m.Tap:
        """The request for the actors' messages, in this session and those that follow it."""
        self._watching = m.Tap(rid=rid, actor=actor, on=True)
        return self._watching

    def stop_tapping(self) -> None:
        """No more of the actors' messages; those that are still under way are forgotten."""
        self._watching = None
        self._post(m.Tap(on=False))
        self.tapped.clear()

    # -- lost and found ------------------------------------------------------------------------------------
    @property
    def _resumes(self) -> bool:
        return self.resume_within_s > 0 and self.welcome is not None

    def lose(self, why: str, now_s: float) -> None:
        """The session is over; unless it is resumed, every stream's book stays readable for its ``resumption``."""
        if self.goodbye is not None:
            why = f"the daemon said goodbye ({self.goodbye.reason})"
        if self.lost is not None or self._recovery.phase == "resting":
            return
        if not self._resumes:
            self._end(SessionLostError(f"{why}: connect again, and resume what was not heard"))
            return
        was_live = self.live
        self._recovery.lost(why, now_s)
        self.outbox.clear()
        self.goodbye, self._stops_at_s = None, inf
        self._unanswered.update(self._answers)
        self._answers.clear()
        self._reopening.clear()
        if was_live:
            self._detach(why)

    def _detach(self, why: str) -> None:
        for sid, book in tuple(self.books.items()):
            if book.opened is not None:
                book.detach(why)
            if book.opened is None or book.over:  # not yet open: its request is made again
                del self.books[sid]

    def _end(self, error: ClientError) -> None:
        self.lost = error
        for book in self.books.values():
            book.failure = error

    def _lost_for_good(self) -> SessionLostError:
        return SessionLostError(
            f"{self._recovery.why}, and no session could be had again within {self.resume_within_s:g} s: start it "
            "(`tts-streamd`, or `systemctl start tts-streamd`), connect again, and resume what was not heard"
        )

    def wants_socket(self, now_s: float) -> bool:
        """Whether the shell shall connect anew and ``greet``."""
        return self.lost is None and self._recovery.wants_socket(now_s)

    def greet(self, now_s: float) -> None:
        """There is a new connection: say hello on it."""
        self.outbox.clear()
        self._last_rid += 1
        self._greeting = self._last_rid
        self.outbox.append(self.hello(self._greeting))
        self._recovery.greeted(now_s)

    def _take_cold_welcome(self, error: m.Error, now_s: float) -> None:
        if error.retryable:
            self._recovery.lost(error.message, now_s)
        else:
            self._end(RequestRefusedError.of(error))

    def _begin_again(self, welcome: m.Welcome, now_s: float) -> None:
        """Open every stream again, and say what was not heard."""
        self.welcome, self._greeting = welcome, 0
        self._recovery.live(now_s)
        self._counts["recovered"] += 1
        books, self.books = self.books, {}
        for book in books.values():
            self._last_rid += 1
            self._last_sid += 1
            self.books[self._last_sid] = self._reopening[self._last_rid] = book
            self._post(book.reopening(self._last_rid, self._last_sid, text_window=self._limits.text_window))
            self._feed(book)
        if self._watching is not None:
            self._post(self._watching)

    def _may_reopen(self, error: m.Error) -> bool:
        return error.rid in self._reopening and error.retryable

    def check(self) -> None:
        """Raise what ended the session, if something did."""
        if self.lost is not None:
            raise self.lost

    def farewell(self) -> list[bytes]:
        """What to send before leaving: every stream still open is cancelled."""
        return [self.encode(m.Cancel(sid=book.sid)) for book in self.books.values()] if self.live else []

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
            n_recovered=self._counts["recovered"],
        )


def _is_farewell(report: m.Report) -> bool:
    """The end that a stopping daemon gives to what it did not finish."""
    return isinstance(report, m.End) and report.error is not None and report.error.code == "shutting_down"
