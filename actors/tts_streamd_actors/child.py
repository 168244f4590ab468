"""A supervised child: how to run it, one life of it, and the errors that end supervisors.

A child is any ``async def run(ready) -> None``.  It must call ``ready()`` once it can serve, and it must
build all its state inside ``run``, so that a restart begins clean.  Expected trouble (a dropped link, a
refused voice) is the child's own business; an exception that escapes ``run`` is a bug, and the answer to a
bug is a fresh start.
"""

from __future__ import annotations

import enum
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Literal, TypeAlias, cast

import trio

Ready: TypeAlias = Callable[[], None]
State: TypeAlias = Literal["starting", "running", "stopping"]
OnStuck: TypeAlias = Callable[[Sequence[str]], None]

EX_SOFTWARE = 70
"""The exit status of a daemon that a stuck child has ended (sysexits.h)."""

log = logging.getLogger("tts_streamd.supervisor")


class FatalError(Exception):
    """A restart cannot help (bad configuration, port taken): the whole tree stops."""


class RestartLimitError(Exception):
    """More restarts than allowed within the window; the next supervisor up decides."""


class StuckChildError(FatalError):
    """A child did not stop in time.  It is never restarted beside itself: the tree, and the process, end."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"did not stop in time: {', '.join(names)}")
        self.names = tuple(names)


class Restart(enum.Enum):
    """What to do when a child ends."""

    ALWAYS = "always"  # a return is as wrong as a crash
    ON_CRASH = "on-crash"  # a return is a normal end
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Child:
    """How to start one actor, and how many seconds it may take to start and to stop.

    A supervisor that is itself a child must be given more time here than it gives its own children.
    """

    name: str
    run: Callable[[Ready], Awaitable[None]]
    restart: Restart = Restart.ALWAYS
    start_within_s: float = 5.0
    stop_within_s: float = 2.0


@dataclass(frozen=True, slots=True)
class ChildStatistics:
    """A snapshot of one child; ``since_s`` is the time on Trio's clock when it entered ``state``."""

    name: str
    state: State
    restarts: int
    since_s: float


@dataclass(frozen=True, slots=True)
class SupervisorStatistics:
    """A snapshot of one supervisor: its living children, in the order they were started."""

    name: str
    children: tuple[ChildStatistics, ...]


@dataclass(eq=False, slots=True)
class Incarnation:
    """One life of a child: ``live`` runs it and, whatever happens, sets ``gone`` when it is over.

    ``error`` then says what was wrong with it; an end that ``stop`` asked for is not wrong.
    """

    child: Child
    on_ready: Callable[[], None] = lambda: None
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    settled: trio.Event = field(default_factory=trio.Event)  # ready, or already gone
    gone: trio.Event = field(default_factory=trio.Event)
    error: Exception | None = None
    state: State = "starting"
    since_s: float = field(default_factory=trio.current_time)

    @property
    def serves(self) -> bool:
        """Whether it said that it is ready, and goes on."""
        return self.state == "running" and not self.gone.is_set()

    async def live(self) -> None:
        """Run the child to its end; it is cancelled if it is not ready within ``start_within_s``."""
        self.scope.deadline = min(self.scope.deadline, trio.current_time() + self.child.start_within_s)
        try:
            with self.scope:
                if self.state != "stopping":  # it may have been stopped before it began
                    await self.child.run(self._ready)
        except Exception as error:  # noqa: BLE001 - the one place that may: what escapes an actor is a bug
            self.error = error
        finally:
            if self.error is None and self.scope.cancel_called and self.state == "starting":
                self.error = TimeoutError(f"not ready within {self.child.start_within_s:g} s")
            self.settled.set()
            self.gone.set()

    def stop(self) -> None:
        """Cancel it: its end is no news from now on."""
        self._enter("stopping")
        self.scope.cancel()

    def _ready(self) -> None:
        if self.state == "starting" and not self.scope.cancel_called:
            self.scope.deadline = inf
            self._enter("running")
            self.settled.set()
            self.on_ready()

    def _enter(self, state: State) -> None:
        self.state, self.since_s = state, trio.current_time()

    def statistics(self, restarts: int) -> ChildStatistics:
        """Return what it does now; its supervisor counts the restarts."""
        return ChildStatistics(self.child.name, self.state, restarts, self.since_s)


def end_process(names: Sequence[str]) -> None:
    """End this process at once, naming who would not stop: the supervisors' way out of a stuck child.

    Trio cannot leave a nursery whose child ignores its cancellation, so no exception would get out.  Whoever
    started the daemon starts it again.
    """
    log.critical("did not stop in time: %s; the process ends now", ", ".join(names))
    logging.shutdown()
    os._exit(EX_SOFTWARE)  # sys.exit would wait for the stuck child


def fatal_in(error: BaseException | None) -> FatalError | None:
    """Return the ``FatalError`` that *error* is or, as children have nurseries, that its groups hold."""
    if isinstance(error, FatalError):
        return error
    if isinstance(error, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", error)
        return next((found for one in inner.exceptions if (found := fatal_in(one)) is not None), None)
    return None


def log_failure(name: str, error: Exception | None, verdict: str) -> None:
    """Log the end of a child, once, with its cause; what a supervisor below has logged already, without."""
    told = isinstance(error, RestartLimitError | StuckChildError)
    if told or error is None:
        log.error("%s %s, %s", name, error or "ended by itself", verdict)
    else:
        log.error("%s failed, %s", name, verdict, exc_info=error)


async def house(task_status: trio.TaskStatus[trio.Nursery]) -> None:
    """Keep a nursery that outside cancellation cannot reach, for children that are stopped one by one.

    Cancelling a nursery cancels everything in it at once; whoever started this cancels it when it is empty.
    """
    with trio.CancelScope(shield=True):
        async with trio.open_nursery() as nursery:
            task_status.started(nursery)
            await trio.sleep_forever()
