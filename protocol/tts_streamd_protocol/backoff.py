"""When to try again, and when not to: backoff for one purpose, a circuit breaker for one endpoint.

Rule: no clock and no chance of its own.  ``now`` is seconds of any steady clock; ``chance`` returns a number
in 0 <= x < 1.  Every number of attempts and every wait has a bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from tts_streamd_protocol.errors import Code


@dataclass(frozen=True, slots=True, kw_only=True)
class BackoffPolicy:
    """Waits are drawn from 0 to ``first_s`` x 2^n, at most ``cap_s``; after ``attempts`` failures it is over.

    The default gives a broken connection six tries in 3 s on average (at most 6.2 s): a listener who waits
    longer is better served by the next link of the chain.
    """

    first_s: float = 0.2
    cap_s: float = 30.0
    attempts: int = 6


DEFAULT_POLICY: Final = BackoffPolicy()


@dataclass(slots=True, eq=False)
class Backoff:
    """Exponential backoff with full jitter: whoever broke together does not come back together."""

    chance: Callable[[], float]
    policy: BackoffPolicy = DEFAULT_POLICY
    failures: int = 0
    """In a row."""

    def failed(self, *, retryable: bool = True, retry_ms: int | None = None) -> float | None:
        """Seconds to wait before the next attempt, None to give up.

        *retry_ms* (upstream's own wish) is waited for in any case, and the jitter after it.
        """
        self.failures += 1
        if not retryable or self.failures >= self.policy.attempts:
            return None
        return (retry_ms or 0) / 1000 + self.chance() * self._widest_s()

    def succeeded(self) -> None:
        """The next failure is a first one."""
        self.failures = 0

    def _widest_s(self) -> float:
        return _doubled(self.policy.first_s, self.failures - 1, self.policy.cap_s)


# -- circuit breaker --------------------------------------------------------------------------------------

TRIP_AFTER: Final = 3
"""Outages in a row.  A cut and one failed attempt behind it happen to a healthy endpoint; three do not."""

REST_S: Final = 2.0
"""The first rest: long enough for a restarted server or a changed route, short against a conversation."""

REST_CAP_S: Final = 60.0
"""The longest: how late the return to a better route may be noticed."""

PROBE_S: Final = 10.0
"""A probe without an answer has failed then: as long as a connection may take."""

SICK: Final[frozenset[Code]] = frozenset({"upstream_unreachable", "upstream_protocol", "timeout"})
"""What speaks against the endpoint; with any other refusal of theirs it has answered, and is well."""

OURS: Final[frozenset[Code]] = frozenset({"internal", "busy", "shutting_down", "client_stalled"})
"""What says nothing about it."""


class Circuit(Enum):
    """CLOSED: all may pass; OPEN: none; HALF_OPEN: one, the probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A permit; its outcome may be reported more than once (it served, and broke later)."""

    id: int
    began: float


@dataclass(slots=True, eq=False)
class Breaker:
    """Keeps everybody off an endpoint that is down, and lets one through now and then to see.

    Each attempt is begun with ``begin`` and reported with ``ended``.  Connections that break together are one
    outage: a failure counts only if its attempt began after the last one that counted.
    """

    chance: Callable[[], float]
    state: Circuit = Circuit.CLOSED
    _outages: int = 0
    _trips: int = 0
    _counted_at: float = -inf
    _until: float = inf  # OPEN: the end of the rest; with a probe out: its deadline
    _probe: Attempt | None = None
    _ids: int = 0

    def begin(self, now: float) -> Attempt | None:
        """A permit for one attempt, or None: use another route until ``next_deadline``."""
        self.on_time(now)
        if self.state is Circuit.OPEN or self._probe is not None:
            return None
        self._ids += 1
        attempt = Attempt(self._ids, now)
        if self.state is Circuit.HALF_OPEN:
            self._probe, self._until = attempt, now + PROBE_S
        return attempt

    def ended(
        self, attempt: Attempt, now: float, code: Code | None = None, *, retry_ms: int | None = None
    ) -> None:
        """How *attempt* went: *code* None if the endpoint served it (first audio, not the mere handshake)."""
        if code in OURS:
            self.abandoned(attempt)
        elif code not in SICK:
            self._well()
        elif attempt == self._probe:
            self._trip(now, retry_ms)
        elif self.state is Circuit.CLOSED and attempt.began > self._counted_at:
            self._counted_at = now
            self._outages += 1
            if self._outages >= TRIP_AFTER:
                self._trip(now, retry_ms)

    def abandoned(self, attempt: Attempt) -> None:
        """Nobody will know how it went: if it was the probe, the next one is."""
        if attempt == self._probe:
            self._probe, self._until = None, inf

    def next_deadline(self) -> float | None:
        """When ``on_time`` has something to do; None: nothing."""
        return None if self._until == inf else self._until

    def on_time(self, now: float) -> None:
        """End a rest; give up a probe."""
        if now < self._until:
            return
        if self._probe is not None:
            self._trip(now, None)
            return
        self.state, self._until = Circuit.HALF_OPEN, inf

    def _well(self) -> None:
        self.state, self._probe, self._until = Circuit.CLOSED, None, inf
        self._outages = self._trips = 0

    def _trip(self, now: float, retry_ms: int | None) -> None:
        """Half of the rest is sure, half by chance: daemons that lost one upstream probe it one by one."""
        rest = _doubled(REST_S, self._trips, REST_CAP_S) * (1 + self.chance()) / 2
        self.state, self._probe = Circuit.OPEN, None
        self._until = now + max(rest, (retry_ms or 0) / 1000)
        self._trips += 1


_MOST_DOUBLINGS: Final = 64
"""Beyond any cap, and far from what a float cannot hold."""


def _doubled(first: float, times: int, cap: float) -> float:
    return min(cap, first * 2.0 ** min(times, _MOST_DOUBLINGS))
