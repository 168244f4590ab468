"""What is kept of one stream while actors come and go: its facts, what waits for the client, and who serves it.

Wiring owns the slots.  The gateway writes text and credit into them, the stream's actor writes speech; either
may crash and be started again, and finds here all that it must know.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tts_streamd_actors.outlet import Outlet, Stamps
from tts_streamd_protocol import messages as m
from tts_streamd_protocol.errors import RETRYABLE, Code, TtsStreamdError
from tts_streamd_protocol.journal import Journal
from tts_streamd_protocol.signals import AudioTaken, RouteKey, StopStream, StreamSignal, TextAccepted
from tts_streamd_protocol.units import has_voiced

if TYPE_CHECKING:
    from collections.abc import Callable

    from tts_streamd_actors.mailbox import Mailbox
    from tts_streamd_audio.formats import Format

MAX_CP = 2**32 - 1
"""No number on the wire is larger."""

MAILBOX_CAPACITY = 1024
"""Signals that may wait for one stream: it reads at once; 1024 frames of 0.1 s are more than upstream may send."""

MAILBOX_BYTES = 64 * 2**20
"""Audio that may wait for one stream: above ten minutes of PCM, more than any buffer lets upstream be asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSpec:
    """A stream as it was opened, every default filled in."""

    session: int
    sid: int
    client: str
    uid: int
    key: RouteKey
    format: Format
    schedule: tuple[int, ...]
    buffer_ms: int
    credit_ms: int | None = None
    label: str | None = None
    shared: bool = False
    private: bool = False
    start_cp: int = 0
    before: str = ""

    @property
    def name(self) -> str:
        """The name of the stream's actor and mailbox."""
        return f"stream/{self.session}-{self.sid}"


@dataclass(slots=True, eq=False)
class Slot:
    """One stream.  ``on_ready`` tells that there is something for the client, ``discard`` that it has it all."""

    spec: StreamSpec
    mailbox: Mailbox[StreamSignal]
    on_ready: Callable[[Slot], None]
    discard: Callable[[Slot], None]
    opened_s: float
    text_window: int
    journal: Journal = field(init=False)
    outlet: Outlet = field(init=False)
    flushes: deque[int] = field(default_factory=deque[int])  # cuts that the client asked for, not yet made
    cut_cp: int = 0  # text before this is cut into pieces
    acked_cp: int = 0
    told_cp: int = 0  # the ack that the client has
    phase: m.Phase = "queued"
    ended: bool = False
    queued: bool = False  # the gateway knows that there is something for the client
    throttled: bool = False  # the stream holds text back until the client takes audio
    link: str | None = None  # who serves the stream's newest route
    last_route: int = 0

    def __post_init__(self) -> None:
        spec = self.spec
        self.journal = Journal(start_cp=spec.start_cp, before=spec.before)
        self.cut_cp = self.acked_cp = self.told_cp = spec.start_cp
        self.outlet = Outlet(
            spec.session, spec.sid, spec.format, self.journal, Stamps(self.opened_s), spec.credit_ms
        )

    # -- text in (the gateway's side) ----------------------------------------------------------------------
    def accept(self, text: str, cp: int | None, *, flush: bool, now_s: float) -> None:
        """Take text into the journal and wake the stream; raises ``TtsStreamdError`` and takes nothing."""
        new = text if cp is None else self.journal.check_overlap(cp, text)
        if self.journal.closed:
            if not new:
                return  # sent again, to be sure
            raise TtsStreamdError("bad_value", f"stream {self.spec.sid} was closed for text; open another")
        self._check_room(len(new))
        if new and self.outlet.stamps.accepted_s is None:
            self.outlet.stamps.accepted_s = now_s
        accepted = self.journal.accept(new)
        if flush and (not self.flushes or self.flushes[-1] < accepted) and accepted > self.cut_cp:
            self.flushes.append(accepted)
        self.advance_ack()
        self.mailbox.offer(TextAccepted(cp=accepted))

    def _check_room(self, n_cp: int) -> None:
        if self.journal.accepted_cp + n_cp > MAX_CP:
            raise TtsStreamdError("bad_value", f"a stream's text ends at cp {MAX_CP}; open another")
        if self.journal.accepted_cp + n_cp - self.acked_cp > self.text_window:
            message = f"more than {self.text_window} code points are not acknowledged; wait for `ack`"
            raise TtsStreamdError("text_overrun", message)

    def close(self) -> None:
        """No more text."""
        if not self.journal.closed:
            self.journal.close()
            self.mailbox.offer(TextAccepted(cp=self.journal.accepted_cp, closed=True))

    def advance_ack(self) -> None:
        """Text is acknowledged while at most half a window of it waits to be cut: this is the text's back-pressure."""
        room = self.cut_cp + self.text_window // 2
        self.acked_cp = min(self.journal.accepted_cp, max(self.acked_cp, room))

    def relieve(self) -> None:
        """The client took audio: a stream that holds text back may think again."""
        if self.throttled:
            self.mailbox.offer(AudioTaken())

    # -- the end (whoever comes first) ---------------------------------------------------------------------
    def finish(self, reason: m.Reason, error: m.StreamError | None = None, at: int | None = None) -> None:
        """End the stream, once; only a ``done`` whose audio still waits for the client is overtaken."""
        if self.outlet.closed or (self.ended and (reason == "done" or not self.outlet.finishing)):
            return
        if reason == "done" and self.unspeakable:
            reason, error = (
                "failed",
                stream_error(
                    "unspeakable_text",
                    "nothing in this text can be spoken: send text with letters or digits of the voice's language",
                ),
            )
        self.ended = True
        self.outlet.end(reason, error, at)
        self.mailbox.offer(StopStream(), urgent=True)
        self.on_ready(self)

    def fail(
        self, code: Code, message: str, *, retryable: bool | None = None, retry_ms: int | None = None
    ) -> None:
        """End the stream with an error."""
        self.finish("failed", stream_error(code, message, retryable=retryable, retry_ms=retry_ms))

    def spoil(self, message: str) -> None:
        """What waits for the client cannot be sent: end the stream, even one that was done."""
        self.ended = True
        self.outlet.end("failed", stream_error("internal", message))
        self.mailbox.offer(StopStream(), urgent=True)

    def enter(self, phase: m.Phase, detail: str | None = None) -> None:
        """Tell the client of a new phase; the same phase again says nothing new."""
        if phase != self.phase and not self.ended:
            self.phase = phase
            self.outlet.note(phase, detail)
            self.on_ready(self)

    @property
    def unspeakable(self) -> bool:
        """Nothing of the whole text can be spoken, although something is there that should be."""
        journal = self.journal
        if self.spec.start_cp:
            return False  # it goes on in the middle of a text that has been heard
        if journal.sent:
            return not journal.spoke and bool(journal.skipped)
        text = journal.slice(journal.start_cp, journal.accepted_cp)
        return bool(text.strip()) and not has_voiced(text)

    def info(self, now_s: float, *, with_text: bool) -> m.StreamInfo:
        """For ``streams``."""
        spec, journal = self.spec, self.journal
        return m.StreamInfo(
            session=spec.session,
            sid=spec.sid,
            client=spec.client,
            uid=spec.uid,
            voice=spec.key.voice,
            format=spec.format.name,
            phase=self.phase,
            chars=journal.accepted_cp - journal.start_cp,
            released_cp=journal.released_cp,
            samples=journal.samples,
            age_ms=round(1000 * (now_s - self.opened_s)),
            label=spec.label,
            text=journal.slice(max(journal.start_cp, journal.accepted_cp - 200), journal.accepted_cp)
            if with_text and not spec.private
            else None,
        )


def stream_error(
    code: Code, message: str, *, retryable: bool | None = None, retry_ms: int | None = None
) -> m.StreamError:
    """The error of an ``end``."""
    known = code in RETRYABLE if retryable is None else retryable
    return m.StreamError(code=code, message=message, retryable=known, retry_ms=retry_ms)
