"""Who may use the account now: its concurrency, shared by all streams, with a fair queue.

Rules: a slot goes to the highest priority, and within it to whoever asked first; nobody is passed over (but
who has a slot and is refused by upstream may see others start that got theirs before that was known), and no
slot is lost: each is held by somebody, or free.  Never more are held than ``room`` allowed when the last
one was given out.  What upstream answers teaches the limit:

* Configured, or told by upstream (``maximum-concurrent-requests``, or in the words of a 429): that is it.
* Else it begins at ``START_LIMIT``.  With people waiting, a few more than the limit are let through, as
  probes: each one that is served raises it (at first by up to ``STEP`` at a time, after any refusal one by
  one, so that a probe in vain costs a single 429).
* A 429 lowers it to what is in use without the refused one, and nobody probes for ``REST_S``, twice as long
  after each probe in vain.  The refused one waits at its old place.  With ``Retry-After`` nothing is given
  out until then; with nothing else in use, nothing until a growing pause is over.
"""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from dataclasses import dataclass, field
from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING, Final, get_args

from tts_streamd_protocol.errors import TtsStreamdError
from tts_streamd_protocol.messages import Priority

if TYPE_CHECKING:
    from collections.abc import Iterator

START_LIMIT: Final = 4
"""Concurrent requests of the smallest plan, on the models that a daemon for speech uses."""

STEP: Final = 4
"""Probes at once at most, and half the limit: a burst meets a limit with four refusals at the worst."""

REST_S: Final = 10.0
"""After a refusal: several utterances long."""

REST_CAP_S: Final = 320.0
"""The longest: a plan that was raised, or another program that has ended, is noticed within minutes."""

ALONE_S: Final = 0.5
"""Refused with nothing else of ours in use (another program has it all): doubled each time, until served."""

ALONE_CAP_S: Final = 10.0
"""As long as an utterance of that other program."""

MAX_RETRY_S: Final = 60.0
"""Upstream's wish to wait is believed up to here: then one attempt shows."""

MAX_WAITING: Final = 10_000
"""More than the daemon has streams: the queue's bound, not a policy."""

_RANK: Final = {priority: rank for rank, priority in enumerate(get_args(Priority))}


@dataclass(frozen=True, slots=True)
class _Asker:
    name: str
    rank: int
    number: int  # order of arrival
    level: int = 0  # slots in use with it, when it got one


_NUMBER: Final = attrgetter("number")


@dataclass(slots=True, eq=False)
class Admission:
    """Slots and queue.  Inputs return the names that have a slot from now on, in order.

    ``configured``: the account's concurrency where the operator states it; upstream may still lower it.
    """

    configured: int | None = None
    limit: int = field(init=False)
    _told: int | None = None
    _held: dict[str, _Asker] = field(default_factory=dict[str, _Asker])
    _queues: list[list[_Asker]] = field(init=False)
    _waiting: dict[str, _Asker] = field(default_factory=dict[str, _Asker])
    _numbers: int = 0
    _rest_until: float = -inf  # no probes
    _rest_s: float = REST_S
    _shut_until: float = -inf  # no slots at all
    _alone_s: float = ALONE_S
    _now: float = -inf
    _careful: bool = False

    def __post_init__(self) -> None:
        self.limit = START_LIMIT if self.configured is None else max(1, self.configured)
        self._queues = [[] for _ in _RANK]

    @property
    def n_held(self) -> int:
        """Slots in use."""
        return len(self._held)

    @property
    def n_waiting(self) -> int:
        """Names in the queue."""
        return len(self._waiting)

    @property
    def ceiling(self) -> int | None:
        """What is known for certain of the account, None: nothing."""
        known = [max(1, each) for each in (self.configured, self._told) if each is not None]
        return min(known, default=None)

    def room(self, now: float) -> int:
        """Slots that may be in use at *now*: the limit and its probes, never above the ceiling."""
        if now < self._shut_until:
            return 0
        room = self.limit + self._probes(now)
        return room if self.ceiling is None else min(room, self.ceiling)

    def holds(self, name: str) -> bool:
        """Whether *name* has a slot."""
        return name in self._held

    def place(self, name: str) -> int | None:
        """How many are served before *name*, itself counted: 1 is next; None if it does not wait."""
        asker = self._waiting.get(name)
        if asker is None:
            return None
        before = sum(map(len, self._queues[: asker.rank]))
        return before + 1 + bisect_left(self._queues[asker.rank], asker.number, key=_NUMBER)

    def waiting(self) -> Iterator[str]:
        """All who wait, the next one first."""
        return (asker.name for queue in self._queues for asker in queue)

    # -- inputs --------------------------------------------------------------------------------------------
    def ask(self, name: str, priority: Priority, now: float) -> tuple[str, ...]:
        """*name* wants a slot, once.

        Raises:
            TtsStreamdError: ``busy``, the queue is full.
            ValueError: it waits or has one: our bug.
        """
        if name in self._held or name in self._waiting:
            raise ValueError(f"{name} has asked already")
        if len(self._waiting) >= MAX_WAITING:
            raise TtsStreamdError("busy", f"{MAX_WAITING} streams wait for the account; try again later")
        self._numbers += 1
        self._queue(_Asker(name, _RANK[priority], self._numbers))
        return self._give(now)

    def release(self, name: str, now: float) -> tuple[str, ...]:
        """*name* is done, or waits no longer; nothing if it has neither slot nor place."""
        self._held.pop(name, None)
        waiter = self._waiting.pop(name, None)
        if waiter is not None:
            queue = self._queues[waiter.rank]
            del queue[bisect_left(queue, waiter.number, key=_NUMBER)]
        return self._give(now)

    def served(self, name: str, now: float) -> tuple[str, ...]:
        """First audio came: upstream bears as many as were in use with *name*, if they still are."""
        asker = self._held.get(name)
        if asker is not None and (borne := min(asker.level, len(self._held))) > self.limit:
            self.limit = borne
            self._rest_s = REST_S
        if asker is not None:
            self._alone_s = ALONE_S
        return self._give(now)

    def refused(
        self, name: str, now: float, *, retry_ms: int | None = None, words: str = ""
    ) -> tuple[str, ...]:
        """A 429 for *name*, which waits again, at its old place; *words*: upstream's, which may tell a limit."""
        asker = self._held.pop(name, None)
        if asker is None:
            return self._give(now)
        self._queue(asker)
        if now >= self._rest_until:  # else one of a burst that met the same limit
            self._rest_until = now + self._rest_s
            self._rest_s = min(REST_CAP_S, 2 * self._rest_s)
        self._careful = True
        self.limit = max(1, len(self._held))
        self._shut(now, retry_ms)
        return self.told(limit_in(words), now)

    def told(self, maximum: int | None, now: float) -> tuple[str, ...]:
        """Upstream named the account's concurrency (the header, or the words of a refusal)."""
        if maximum is not None and maximum > 0 and maximum != self._told:
            self._told = maximum
            ceiling = self.ceiling or maximum
            self.limit = min(self.limit, ceiling) if self._careful else ceiling
        return self._give(now)

    # -- time ----------------------------------------------------------------------------------------------
    def next_deadline(self) -> float | None:
        """When ``on_time`` may have slots to give out although nothing happened; None: never."""
        until = self._shut_until if self._shut_until > self._now else self._rest_until
        return until if self._waiting and until > self._now else None

    def on_time(self, now: float) -> tuple[str, ...]:
        """Time went on."""
        return self._give(now)

    # -- inside --------------------------------------------------------------------------------------------
    def _probes(self, now: float) -> int:
        if now < self._rest_until:
            return 0
        return 1 if self._careful else min(STEP, max(1, self.limit // 2))

    def _shut(self, now: float, retry_ms: int | None) -> None:
        wait_s = (retry_ms or 0) / 1000
        if not self._held:  # no release of ours will ever say when to try again
            wait_s = max(wait_s, self._alone_s)
            self._alone_s = min(ALONE_CAP_S, 2 * self._alone_s)
        self._shut_until = max(self._shut_until, now + min(MAX_RETRY_S, wait_s))

    def _queue(self, asker: _Asker) -> None:
        self._waiting[asker.name] = asker
        insort(self._queues[asker.rank], asker, key=_NUMBER)

    def _give(self, now: float) -> tuple[str, ...]:
        self._now = now
        room = self.room(now)
        given: list[str] = []
        while self._waiting and len(self._held) < room:
            asker = next(queue for queue in self._queues if queue).pop(0)
            del self._waiting[asker.name]
            level = len(self._held) + 1
            self._held[asker.name] = _Asker(asker.name, asker.rank, asker.number, level)
            given.append(asker.name)
        return tuple(given)


_MAXIMUM: Final = re.compile(r"maximum of (\d{1,6}) concurrent", re.IGNORECASE)


def limit_in(words: str) -> int | None:
    """The concurrency that the message of a 429 names ("... a maximum of 2 concurrent requests ...")."""
    found = _MAXIMUM.search(words)
    return int(found[1]) if found else None
