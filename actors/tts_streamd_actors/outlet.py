"""What one stream sends its client: everything in one order, numbered at hand-over, each head encoded once.

Speech is pulled from the journal only when the socket can take it, so a cancel purges what has not left and
leaves no gap in ``seq``.  PCM inside, codecs at this edge: positions count samples as they are fed to the codec.
"""

from __future__ import annotations

from collections import deque
from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING, Literal

from tts_streamd_audio.encoders import open_codec, open_resampler
from tts_streamd_protocol import messages as m
from tts_streamd_protocol.codec import encode

if TYPE_CHECKING:
    from tts_streamd_audio.encoders import Codec, Resampler
    from tts_streamd_audio.formats import Format
    from tts_streamd_protocol.journal import Journal
    from tts_streamd_protocol.release import Release

RATE_HZ = 24_000
"""The one currency inside the daemon: 16-bit mono PCM at 24 kHz."""

MESSAGE_MS = 2_000
"""An audio message is split above this, where a unit ends (contract 5.2); a resampler may add what it held."""

Kind = Literal["audio", "words", "state", "end"]


@dataclass(slots=True)
class Stamps:
    """When each thing first happened, in seconds of the Trio clock."""

    opened_s: float
    accepted_s: float | None = None
    cut_s: float | None = None
    sent_s: float | None = None
    first_frame_s: float | None = None
    delivered_s: float | None = None

    def in_ms(self) -> m.Stamps:
        """As the contract tells them: milliseconds from ``open``."""

        def ms(at_s: float | None) -> int | None:
            return None if at_s is None else round(1000 * (at_s - self.opened_s))

        return m.Stamps(
            accepted=ms(self.accepted_s),
            cut=ms(self.cut_s),
            sent=ms(self.sent_s),
            first_frame=ms(self.first_frame_s),
            delivered=ms(self.delivered_s),
        )


@dataclass(slots=True)
class Parcel:
    """One message on its way to the socket; ``heard_to`` is the stream's sample (24 kHz) that it reaches."""

    kind: Kind
    report: m.AnyReport
    payload: bytes | None = None
    n_samples: int = 0
    heard_to: int | None = None
    head: bytes = b""


@dataclass(frozen=True, slots=True)
class _Note:
    """A change of state, due once the audio before sample ``after`` (24 kHz) has been handed over."""

    after: int
    phase: m.Phase
    detail: str | None


@dataclass(frozen=True, slots=True)
class _Ending:
    reason: m.Reason
    error: m.StreamError | None
    at: int | None


@dataclass(slots=True)
class Outlet:
    """Pull with ``peek``, hand to the socket, then confirm with ``taken``.

    ``credit_ms``: the balance that the client opened the stream with, if it wants to be asked (contract 5.4).
    """

    session: int
    sid: int
    format: Format
    journal: Journal
    stamps: Stamps
    credit_ms: InitVar[int | None] = None
    _credit: int | None = None  # ms x Hz, a sample costs 1000: whole, lest a rest of 1e-14 ms buys a message
    _seq: int = 0
    _fed: int = 0  # samples fed to the codec, at the format's rate
    _given: int = 0  # samples handed over, at the format's rate
    _heard_to: int = 0  # samples handed over, at 24 kHz
    _cp: int = 0
    _parcels: deque[Parcel] = field(default_factory=deque[Parcel])
    _notes: deque[_Note] = field(default_factory=deque[_Note])
    _behind: deque[tuple[int, int]] = field(
        default_factory=deque[tuple[int, int]]
    )  # (sample fed, cp) in the resampler
    _ending: _Ending | None = None
    _rest: bytes | None = None  # what the resampler still held when all had been fed
    closed: bool = False
    _resampler: Resampler = field(init=False)
    _codec: Codec = field(init=False)

    def __post_init__(self, credit_ms: int | None) -> None:
        if credit_ms is not None:
            self._credit = credit_ms * self.format.rate_hz
        self._resampler = open_resampler(self.format, RATE_HZ)
        self._codec = open_codec(self.format)
        self._cp = self.journal.released_cp

    # -- the stream's side ---------------------------------------------------------------------------------
    def note(self, phase: m.Phase, detail: str | None = None) -> None:
        """Tell the client of a new phase, behind all speech released so far."""
        self._notes.append(_Note(self.journal.samples, phase, detail))

    def end(self, reason: m.Reason, error: m.StreamError | None = None, at: int | None = None) -> None:
        """Nothing comes after this; only ``done`` lets what is still waiting go out first."""
        if reason != "done":
            self._purge()
        self._ending = _Ending(reason, error, at)

    @property
    def finishing(self) -> bool:
        """Whether the end is to be ``done``, once all that is waiting has gone out."""
        return self._ending is not None and self._ending.reason == "done"

    def _purge(self) -> None:
        """Forget what has not been handed over, and take no more."""
        self._parcels.clear()
        self._notes.clear()
        self.journal.cancel()

    # -- the gateway's side --------------------------------------------------------------------------------
    def add_credit(self, add_ms: int, max_ms: int) -> bool:
        """The client can take so much more, ``max_ms`` at most; False if it never asked to be asked."""
        if self._credit is None:
            return False
        self._credit = min(self._credit + add_ms * self.format.rate_hz, max_ms * self.format.rate_hz)
        return True

    def peek(self) -> Parcel | None:
        """The next message that may leave now; the same one until ``taken`` or a purge."""
        while not self._parcels:  # a codec may keep all that it was given
            if not self._refill():
                return None
        parcel = self._parcels[0]
        if not parcel.head:
            parcel.head = encode(parcel.report)
        return parcel

    def taken(self, now_s: float) -> Parcel:
        """The socket took it."""
        parcel = self._parcels.popleft()
        self._seq += 1
        if isinstance(parcel.report, m.Audio):
            self._given += parcel.n_samples
            self._cp = parcel.report.cp
            if self._credit is not None:
                self._credit -= 1000 * parcel.n_samples
            if parcel.n_samples and self.stamps.delivered_s is None:
                self.stamps.delivered_s = now_s
        if parcel.heard_to is not None:
            self._heard_to = parcel.heard_to
        self.closed = parcel.kind == "end"
        return parcel

    def heard_cp(self, at: int | None) -> int:
        """The end of the last word heard whole when the client has played ``at`` samples (all, if None)."""
        heard_to = self._heard_to if at is None else min(self._heard_to, at * RATE_HZ // self.format.rate_hz)
        return self.journal.heard_cp_at(heard_to)

    # -- inside --------------------------------------------------------------------------------------------
    def _refill(self) -> bool:
        """Make the next messages out of what is there; False if nothing may leave now."""
        pending = self.journal.pending
        if self._notes and (self._notes[0].after <= self._heard_to or not pending):
            self._draft_state(self._notes.popleft())
        elif pending and (self._may_sound() or not pending[0].n_samples):
            self._draft_speech(self.journal.hand_over(MESSAGE_MS * RATE_HZ // 1000))
        elif self._ending is not None and not pending and not self.closed:
            return self._finish(self._ending)
        else:
            return False
        return True

    def _may_sound(self) -> bool:
        return self._credit is None or self._credit > 0

    def _number(self) -> int:
        return self._seq + len(self._parcels)

    def _draft_state(self, note: _Note) -> None:
        state = m.State(
            session=self.session,
            sid=self.sid,
            seq=self._number(),
            state=note.phase,
            at=self._fed,
            detail=note.detail,
        )
        self._parcels.append(Parcel("state", state))

    def _draft_speech(self, part: Release | None) -> None:
        if part is None:
            return
        if part.words:
            self._draft_words(part)
        self._behind.append((part.end * self.format.rate_hz // RATE_HZ, part.cp_end))
        pcm = self._resampler.feed(part.pcm)
        self._draft_audio(pcm, self._codec.encode(pcm), part.end)

    def _draft_words(self, part: Release) -> None:
        words = [
            (self.journal.slice(w.cp_start, w.cp_end), _ms(w.start), _ms(w.end), w.cp_start, w.cp_end)
            for w in part.words
        ]
        report = m.Words(session=self.session, sid=self.sid, seq=self._number(), words=words)
        self._parcels.append(Parcel("words", report))

    def _draft_audio(self, pcm: bytes, payload: bytes, heard_to: int | None) -> None:
        """One audio message; its ``cp`` covers only what has left the resampler."""
        n, at, cp = len(pcm) // 2, self._fed, self._cp
        self._fed += n
        while self._behind and self._behind[0][0] <= self._fed:
            cp = self._behind.popleft()[1]
        if n or payload or cp != self._cp:
            report = m.Audio(session=self.session, sid=self.sid, seq=self._number(), at=at, n=n, cp=cp)
            self._parcels.append(Parcel("audio", report, payload, n, heard_to))

    def _finish(self, ending: _Ending) -> bool:
        """The end, behind what resampler and codec still hold if all is to be heard (for credit, as any sound)."""
        if ending.reason == "done":
            self._rest = self._resampler.finish() if self._rest is None else self._rest
            if self._rest and not self._may_sound():
                return False
            self._behind.clear()  # rounding may leave the filter a sample short of the last one's place
            self._behind.append((0, self.journal.released_cp))
            self._draft_audio(self._rest, self._codec.encode(self._rest) + self._codec.finish(), None)
        self._draft_end(ending)
        return True

    def _draft_end(self, ending: _Ending) -> None:
        journal, done = self.journal, ending.reason == "done"
        accepted, delivered = self.stamps.accepted_s, self.stamps.delivered_s
        report = m.End(
            session=self.session,
            sid=self.sid,
            seq=self._number(),
            reason=ending.reason,
            chars=journal.accepted_cp - journal.start_cp,
            samples=self._fed if done else self._given,
            heard_cp=journal.released_cp if done else self.heard_cp(ending.at),
            skipped=journal.skipped,
            ttfa_ms=None if accepted is None or delivered is None else round(1000 * (delivered - accepted)),
            stamps_ms=self.stamps.in_ms(),
            source=m.Source(**journal.source),
            sent=journal.sent,
            error=ending.error,
        )
        self._parcels.append(Parcel("end", report))


def _ms(sample: int) -> int:
    return round(1000 * sample / RATE_HZ)
