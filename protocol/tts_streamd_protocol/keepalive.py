"""Which line is due for a keep-alive, and which has stalled: one machine for all of them, without a clock.

A *line* is what upstream times out by itself: a ``stream-input`` socket, or one context of a multi socket.
Rules: messages of ours are never further apart than half the line's inactivity timeout, and none is sent
beside traffic (upstream counts what it receives, so what we receive is none); a line that owes audio and
brings none for longer than its endpoint ever took lately, with a margin, is called stalled once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Final, TypeAlias

SHARE: Final = 0.45
"""Of the inactivity timeout, between two messages: half, less the time that waking and sending take."""

MAX_INTERVAL_S: Final = 8.0
"""Whatever the timeout: a socket was seen dead after 19.8 s of a longer one, alive after 17.5 s; half of that."""

MIN_WAIT_S: Final = 1.0
"""A lost packet is sent again after 0.2 s, and if lost again after 0.4 s more: that is no stall."""

START_WAIT_S: Final = 1.5
"""Nothing measured: three times the slowest first audio that ElevenLabs publishes (440 ms), and a packet."""

MAX_WAIT_S: Final = 8.0
"""No listener takes a longer silence for speech that is coming; peers give up after 10 s."""

MARGIN: Final = 2.0
"""A wait is so many times the longest that was seen lately: speech under twice the load is late, not dead."""

FADE: Final = 0.9
"""What is left of the longest with each further stretch of speech: a bad minute is forgotten after twenty."""

LATE_S: Final = 0.5
"""Woken so much too late, we were asleep ourselves, and frames may lie unread: no verdict on anybody."""

MAX_ENDPOINTS: Final = 64
"""Measurements kept; those longest unused are forgotten first."""


@dataclass(slots=True, eq=False)
class Pace:
    """How fast an endpoint speaks: the longest recent times to first audio and between frames, in seconds.

    A stall doubles the wait until audio comes again (lines that stall together are one stall): an endpoint
    that is merely slow is measured at last, instead of being called stalled for ever.
    """

    first_s: float | None = None
    gap_s: float = 0.0
    _stalls: int = 0
    _stalled_at: float = -inf

    @property
    def first_wait_s(self) -> float:
        """How long the first audio may take."""
        wait = START_WAIT_S if self.first_s is None else max(MIN_WAIT_S, MARGIN * self.first_s)
        return min(MAX_WAIT_S, wait * 2.0 ** min(self._stalls, _MOST_DOUBLINGS))

    @property
    def gap_wait_s(self) -> float:
        """How long a next frame may take; it may be the first of a next piece."""
        return min(MAX_WAIT_S, max(self.first_wait_s, MARGIN * self.gap_s))

    def first(self, took_s: float) -> None:
        """The first audio of a stretch came."""
        self.first_s = max(took_s, FADE * (self.first_s or 0))
        self.gap_s *= FADE
        self._stalls = 0

    def gap(self, took_s: float) -> None:
        """Another frame of it came."""
        self.gap_s = max(self.gap_s, took_s)
        self._stalls = 0

    def stalled(self, since: float, now: float) -> None:
        """A line that was silent *since* then was given up."""
        if since >= self._stalled_at:
            self._stalls += 1
            self._stalled_at = now


@dataclass(frozen=True, slots=True)
class Opened:
    """*line* takes part, its first message was just sent.  ``endpoint``: lines with equal ones share a pace.

    ``timeout_s``: upstream's inactivity timeout for it.
    """

    line: str
    endpoint: str
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Sent:
    """Any message of ours went out; ``owes``: audio is due for it (voiced text, with a flush)."""

    line: str
    owes: bool = False


@dataclass(frozen=True, slots=True)
class Heard:
    """Audio came."""

    line: str


@dataclass(frozen=True, slots=True)
class Settled:
    """All that was asked for has come: nothing is owed until the next ``Sent`` that owes."""

    line: str


@dataclass(frozen=True, slots=True)
class Closing:
    """Nothing may be sent any more, audio may still be owed."""

    line: str


@dataclass(frozen=True, slots=True)
class Gone:
    """*line* has ended, whatever the reason."""

    line: str


Event: TypeAlias = Opened | Sent | Heard | Settled | Closing | Gone


@dataclass(frozen=True, slots=True)
class KeepAliveDue:
    """Send one on *line* now; it is taken as sent."""

    line: str


@dataclass(frozen=True, slots=True)
class Stalled:
    """*line* owes audio and brought none for ``silent_s``: replace it."""

    line: str
    silent_s: float


Output: TypeAlias = KeepAliveDue | Stalled


@dataclass(slots=True, eq=False)
class _Line:
    pace: Pace
    interval_s: float
    sent_at: float
    owed_at: float | None = None  # since when nothing came of what is owed
    stall_at: float = inf
    speaking: bool = False  # some of it did

    @property
    def keep_at(self) -> float:
        return self.sent_at + self.interval_s

    def owe(self, now: float, *, speaking: bool) -> None:
        self.owed_at, self.speaking = now, speaking
        self.stall_at = now + (self.pace.gap_wait_s if speaking else self.pace.first_wait_s)

    def settle(self) -> None:
        self.owed_at, self.stall_at = None, inf


@dataclass(slots=True, eq=False)
class KeepAlive:
    """All lines.  ``feed`` what happens; call ``on_time`` at ``next_deadline``.

    Events of a line that is not open are ignored: it may have gone while they were on their way.
    """

    _lines: dict[str, _Line] = field(default_factory=dict[str, _Line])
    _paces: dict[str, Pace] = field(default_factory=dict[str, Pace])
    _wake_at: float = inf  # never later than the first thing that is due

    def feed(self, event: Event, now: float) -> tuple[Output, ...]:
        """Something happened; returns what is due by now."""
        match event:
            case Opened():
                self._open(event, now)
            case Gone():
                self._lines.pop(event.line, None)
            case _:
                line = self._lines.get(event.line)
                if line is not None:
                    _happened(line, event, now)
                    self._wake_at = min(self._wake_at, line.keep_at, line.stall_at)
        return self.on_time(now)

    def next_deadline(self) -> float | None:
        """When to call ``on_time`` at the latest; perhaps for nothing, so that no frame costs a search."""
        return None if self._wake_at == inf or not self._lines else self._wake_at

    def on_time(self, now: float) -> tuple[Output, ...]:
        """What is due."""
        if now < self._wake_at:
            return ()
        if now - self._wake_at > LATE_S:
            self._excuse(now)
        due = tuple(out for name, line in self._lines.items() for out in _due(name, line, now))
        self._wake_at = min((min(line.keep_at, line.stall_at) for line in self._lines.values()), default=inf)
        return due

    def pace(self, endpoint: str) -> Pace:
        """What is known of *endpoint*."""
        found = self._paces.pop(endpoint, None) or Pace()
        self._paces[endpoint] = found  # now the one used last
        if len(self._paces) > MAX_ENDPOINTS:
            del self._paces[next(iter(self._paces))]
        return found

    def _open(self, opened: Opened, now: float) -> None:
        interval = min(MAX_INTERVAL_S, SHARE * opened.timeout_s)
        line = _Line(self.pace(opened.endpoint), interval, now)
        self._lines[opened.line] = line
        self._wake_at = min(self._wake_at, line.keep_at)

    def _excuse(self, now: float) -> None:
        for line in self._lines.values():
            if line.owed_at is not None:
                line.owe(now, speaking=line.speaking)


def _happened(line: _Line, event: Sent | Heard | Settled | Closing, now: float) -> None:
    match event:
        case Sent():
            line.sent_at = now
            if event.owes and line.owed_at is None:
                line.owe(now, speaking=False)
        case Heard():
            _heard(line, now)
        case Settled():
            line.settle()
        case _:  # closing
            line.interval_s = inf


def _heard(line: _Line, now: float) -> None:
    if line.owed_at is None:
        return
    (line.pace.gap if line.speaking else line.pace.first)(now - line.owed_at)
    line.owe(now, speaking=True)


def _due(name: str, line: _Line, now: float) -> list[Output]:
    due: list[Output] = []
    if line.keep_at <= now:
        due.append(KeepAliveDue(name))
        line.sent_at = now
    if line.owed_at is not None and line.stall_at <= now:
        due.append(Stalled(name, now - line.owed_at))
        line.pace.stalled(line.owed_at, now)
        line.settle()
    return due


_MOST_DOUBLINGS: Final = 10
"""Beyond the longest wait."""
