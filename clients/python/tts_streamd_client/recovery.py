"""When to look for the daemon again after a session was lost, and when to stop.

The rule: ``within_s`` is counted from the loss, and begins anew only after a session in which something was
achieved, or that lasted; so a daemon that answers and fails, over and over, is given up like one that is away.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal, TypeAlias

HELLO_S = 1.0
"""How long one connection's hello is waited for; a stale socket file swallows messages without an error."""

RETRY_S = 0.2
"""Least time between two connections, but for the first after a loss, which is made at once."""

STABLE_S = 5.0
"""A session that lasted so long was a recovery, whether or not anything was to do in it."""

Phase: TypeAlias = Literal["live", "resting", "greeting"]


@dataclass(slots=True)
class Recovery:
    """The state between two sessions; all times in seconds of the session's clock."""

    within_s: float
    phase: Phase = "live"
    why: str = ""
    _troubled_s: float | None = None  # since when nothing was achieved
    _due_s: float = inf  # when the phase ends
    _live_s: float = -inf

    def lost(self, why: str, now_s: float) -> None:
        """The session, or the attempt at one, has failed."""
        if self.phase == "live":
            self.why = why
            if now_s - self._live_s >= STABLE_S:
                self._troubled_s = None
        at_once = self._troubled_s is None
        self._troubled_s = now_s if self._troubled_s is None else self._troubled_s
        self.phase = "resting"
        self._due_s = now_s if at_once else now_s + RETRY_S

    def greeted(self, now_s: float) -> None:
        """A new connection has said hello."""
        self.phase = "greeting"
        self._due_s = now_s + HELLO_S

    def live(self, now_s: float) -> None:
        """There is a session again."""
        self.phase = "live"
        self._live_s = now_s

    def achieved(self) -> None:
        """The session is good for something."""
        self._troubled_s = None

    @property
    def deadline_s(self) -> float:
        """When to give up."""
        return inf if self._troubled_s is None else self._troubled_s + self.within_s

    @property
    def wakes_at_s(self) -> float:
        """When to look again, while not live."""
        return min(self._due_s, self.deadline_s)

    def wants_socket(self, now_s: float) -> bool:
        """Whether to say hello on a new connection now."""
        return self.phase != "live" and self._due_s <= now_s < self.deadline_s
