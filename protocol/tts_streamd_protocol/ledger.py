"""The routes of one stream: text sent, audio come back; whole words in order, none lost and none twice.

A *route* is one context, socket or request: it carries one unbroken run of the text, as one piece or
several, and is never used again once it ended.  Audio leaves only up to a cut, strictly in the order of the
text, into ``journal.pending``.  So ``journal.released_cp`` is always a place to go on from: a broken route
costs nothing but the audio behind its last cut, and a ledger lost in a crash nothing but what it held; make
a new one.

Pure: no clock, no I/O, no randomness.  ``LedgerError`` means the caller is wrong; upstream never raises.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from tts_streamd_protocol.release import LedgerError, Release, Source, Word
from tts_streamd_protocol.take import Alignment, Spoken, Take
from tts_streamd_protocol.units import has_voiced, stripped, unspoken, word_span

if TYPE_CHECKING:
    from tts_streamd_protocol.journal import Journal

Reason: TypeAlias = Literal["fault", "no_audio", "short"]


@dataclass(frozen=True, slots=True)
class Lost:
    """The route is dead and ``cp_start:cp_end`` must be said again; ``unsent`` lists it from now on."""

    route: int
    cp_start: int
    cp_end: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class Blind:
    """The route's audio can no longer be matched to its text: send it no more, end it, use another."""

    route: int


Output: TypeAlias = Lost | Blind


@dataclass(frozen=True, slots=True)
class LedgerStatistics:
    """A snapshot.  ``sum(source.values()) == released``; at ``done`` that is ``chars``."""

    chars: int
    sent: int
    released: int
    samples: int
    pending_samples: int
    held_samples: int
    outstanding_cp: int
    live_routes: int
    source: dict[Source, int]
    losses: int
    late_frames: int
    done: bool


class Ledger:
    """*slack_ms*: how far alignment and audio may disagree before a segment counts as short or unmatched."""

    def __init__(self, journal: Journal, *, slack_ms: float = 60.0) -> None:
        self.journal = journal
        self.late_frames = 0
        self._per_ms = journal.rate_hz / 1000
        self._slack = round(slack_ms * self._per_ms)
        self._routes: list[Take] = []  # by place in the text; the first one is being released
        self._live: dict[int, Take] = {}
        self._drain()

    # -- text ------------------------------------------------------------------------------------------
    def close(self) -> None:
        """No more text will come (closes the journal, and passes over blanks at its end)."""
        self.journal.close()
        self._drain()

    def unsent(self) -> list[tuple[int, int]]:
        """What no route carries, in order: new text and lost text alike.  Blank stretches need no voice."""
        if self.journal.cancelled:
            return []
        return [(start, end) for start, end in self._gaps() if not self.journal.is_blank(start, end)]

    def send(self, route_id: int, start: int, end: int, source: Source = "live") -> str:
        """Book a piece on a route (a new one, or behind the route's last piece); returns its text.

        Ids of routes rise over the whole stream (``journal.next_route``).  ``LedgerError``, with nothing
        changed, if the text is blank or on its way, or the route ended, is blind or does not end at
        *start*.
        """
        if self.journal.cancelled or not any(a <= start < end <= b for a, b in self._gaps()):
            raise LedgerError(f"{start}:{end} is on its way already, or not there")
        piece = self.journal.slice(start, end)
        if not piece.strip():
            raise LedgerError(f"{start}:{end} is blank")
        route = self._live.get(route_id)
        if route is None:
            if route_id <= self.journal.last_route:
                raise LedgerError(f"route {route_id} has ended")
            route = Take(route_id, start, source, self._per_ms, self._slack)
            self._live[route_id] = route
            insort(self._routes, route, key=lambda r: r.start)
        elif route.end != start or route.blind:
            raise LedgerError(f"route {route_id} cannot carry {start}:{end}")
        route.extend(piece)
        self.journal.record_sent(route_id, end - start)
        return piece

    # -- audio -----------------------------------------------------------------------------------------
    def audio(
        self,
        route_id: int,
        pcm: bytes,
        alignment: Alignment | None = None,
        normalized: Alignment | None = None,
    ) -> list[Output]:
        """One frame of 16-bit PCM; *normalized* serves only where *alignment* is missing or broken."""
        route = self._live.get(route_id)
        if route is None:
            self.late_frames += 1
            return []
        found: list[Output] = []
        if not route.blind:
            offered = [(a, a.sound) for a in (alignment, normalized) if a is not None]
            offered = [(a, sound) for a, sound in offered if a.chars or not sound]
            best = next((a for a, sound in offered if sound), None)
            if best is not None and route.is_short(best):
                return self._lose(route, "short")
            if offered and not (best is not None and route.follow(best)):
                route.blind = True
                found.append(Blind(route_id))
        route.pcm += pcm
        if route is self._routes[0]:
            self._drain()
        return found

    def final(self, route_id: int) -> list[Output]:
        """Upstream says that all of the route's text was spoken.  Believed only as far as audio shows it."""
        route = self._live.get(route_id)
        if route is None:
            return []
        if not route.finish():
            return self._lose(route, "short" if route.received else "no_audio")
        route.live = False
        del self._live[route_id]
        self._drain()
        return []

    def fault(self, route_id: int) -> list[Output]:
        """The route broke.  Whole words it has brought stay good; later frames of it are ignored."""
        route = self._live.get(route_id)
        return self._lose(route, "fault") if route else []

    def cancel(self) -> None:
        """Nothing more is accepted, released or handed over; the journal still tells what was heard."""
        self._routes.clear()
        self._live.clear()
        self.journal.cancel()

    # -- state -----------------------------------------------------------------------------------------
    @property
    def done(self) -> bool:
        """Closed, all text released, no route open (its final may still bring a pause)."""
        return self.journal.complete and not self._routes

    @property
    def live_routes(self) -> tuple[int, ...]:
        """Routes that still may bring audio, blind ones included, in the order they were opened."""
        return tuple(self._live)

    def has_spoken(self, route_id: int) -> bool:
        """Whether every word sent on a live route has sounded; if it stalls, only its final is missing."""
        take = self._live.get(route_id)
        return take is not None and (take.whole_mark or take).cp == take.end

    @property
    def losses_since_release(self) -> int:
        """The caller's ground for giving up; survives a crash."""
        return self.journal.losses_since_release

    @property
    def outstanding_cp(self) -> int:
        """Code points on live routes that lie behind the last cut whose words have all sounded.

        What was sent and whose audio has not come.  Audio without alignment counts at its route's final
        only, so together with ``held_samples`` nothing is counted twice.
        """
        return sum(
            take.end - (mark.cp if (mark := take.whole_mark) else take.cp) for take in self._live.values()
        )

    @property
    def held_samples(self) -> int:
        """Audio of whole words that waits for the words before it."""
        marks = ((take, take.whole_mark) for take in self._routes)
        return sum(min(mark.sample, take.received) - take.cut for take, mark in marks if mark)

    def statistics(self) -> LedgerStatistics:
        """The books of the stream."""
        journal = self.journal
        return LedgerStatistics(
            chars=journal.chars,
            sent=journal.sent,
            released=journal.released_cp - journal.start_cp,
            samples=journal.samples,
            pending_samples=journal.pending_samples,
            held_samples=self.held_samples,
            outstanding_cp=self.outstanding_cp,
            live_routes=len(self._live),
            source=dict(journal.source),
            losses=journal.losses,
            late_frames=self.late_frames,
            done=self.done,
        )

    # -- inside ----------------------------------------------------------------------------------------
    def _gaps(self) -> list[tuple[int, int]]:
        gaps, at = list[tuple[int, int]](), self.journal.released_cp
        for route in self._routes:
            gaps.append((at, route.start))
            at = route.end
        gaps.append((at, self.journal.accepted_cp))
        return gaps

    def _lose(self, route: Take, reason: Reason) -> list[Output]:
        end, start = route.end, route.whole()
        route.live = False
        del self._live[route.id]
        if start == route.cp:
            self._routes.remove(route)
        lost = list[Output]()
        if start < end:
            self.journal.record_loss()
            lost.append(Lost(route.id, start, end, reason))
        self._drain()
        return lost

    def _drain(self) -> None:
        """Release what may be heard, strictly in the order of the text."""
        while self._routes and self._reach(self._routes[0].start):
            route = self._routes[0]
            self._release(route)
            if route.live:
                return
            del self._routes[0]
        if self.journal.closed and not self.journal.cancelled and not self._routes:
            self._reach(self.journal.accepted_cp)

    def _reach(self, cp: int) -> bool:
        """Pass over blank text that nobody needs to speak."""
        if cp > self.journal.released_cp and self.journal.is_blank(self.journal.released_cp, cp):
            self.journal.pass_blank(cp)
        return cp <= self.journal.released_cp

    def _release(self, route: Take) -> None:
        journal, cut, cp_start = self.journal, route.cut, route.cp
        pcm, spoken = route.pop()
        if not pcm and route.cp == cp_start:
            return
        shift = journal.samples - cut
        words: list[Word] = []
        skipped: list[tuple[int, int]] = []
        for unit in spoken:
            word, silent = _judge(unit, route.slice(unit.cp_start, unit.cp_end), pcm, cut)
            skipped += silent
            if word:
                words.append(Word(word.cp_start, word.cp_end, word.start + shift, word.end + shift))
        cuts = tuple((unit.end + shift, unit.cp_end) for unit in spoken)
        joint = bool(pcm) and not cut and journal.samples > 0
        release = Release(pcm, journal.samples, cp_start, route.cp, tuple(words), joint, cuts)
        journal.release(release, route.source, skipped)


def _judge(unit: Spoken, text: str, pcm: bytes, cut: int) -> tuple[Word | None, list[tuple[int, int]]]:
    """The word between two cuts, and the spans in which nothing was spoken; *pcm* begins at *cut*."""
    base, found = unit.cp_start, unit.word
    if found:
        start = min(max(found.start, unit.start), unit.end)  # alignment may exceed the audio by the slack
        end = max(start, min(found.end, unit.end))
        sound = pcm[2 * (start - cut) : 2 * (end - cut)]
        if sound and sound == bytes(len(sound)):  # the voice has nothing for it: digital silence
            first, last = stripped(text, 0, len(text))
            return None, [(base + first, base + last)]
        first, last = word_span(text, found.cp_start - base, found.cp_end - base)
        word = Word(base + first, base + last, start, end) if has_voiced(text[first:last]) else None
    else:
        word = None
    return word, [(base + first, base + last) for first, last in unspoken(text)]
