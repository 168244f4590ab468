"""Keep actors alive: restart those that crash, in order, and give up when they crash too often.

For the few actors that are always there; ``DynamicSupervisor`` is for those that come and go.  A
supervisor's ``run`` is itself a valid child.  It ends with a plain ``FatalError``, ``RestartLimitError`` or
``StuckChildError``, never in a group, and only after all its children have stopped.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING

import trio

from tts_streamd_actors.child import (
    Child,
    ChildStatistics,
    FatalError,
    Incarnation,
    OnStuck,
    Ready,
    Restart,
    RestartLimitError,
    StuckChildError,
    SupervisorStatistics,
    end_process,
    fatal_in,
    house,
    log_failure,
)
from tts_streamd_actors.dynamic_supervisor import DynamicSupervisor, TooManyChildrenError
from tts_streamd_actors.strategy import Strategy, casualties

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Child",
    "ChildStatistics",
    "DynamicSupervisor",
    "FatalError",
    "Ready",
    "Restart",
    "RestartLimitError",
    "Strategy",
    "StuckChildError",
    "Supervisor",
    "SupervisorStatistics",
    "TooManyChildrenError",
    "end_process",
]

_LAST_CALL = 0.1
"""The share of the stop's deadline kept for children whose turn did not come: they are cancelled together."""


class Supervisor:
    """Run *children* in order, stop them in reverse, restart them by *strategy*.

    Args:
        name: for logs and statistics.
        children: in the order of their dependencies.
        strategy: who is restarted together with a child that failed.
        max_restarts: failures tolerated ...
        within_s: ... in so many seconds.
        stop_within_s: the one deadline of the whole stop, whatever the children's own ones add up to.
        on_stuck: called with the names of the children that did not stop in time.  By default it ends the
            process; if it returns, ``run`` waits for them for ever, and then raises ``StuckChildError``.
    """

    def __init__(  # noqa: PLR0913 - a policy has so many numbers, given by name
        self,
        name: str,
        children: Sequence[Child],
        *,
        strategy: Strategy = Strategy.ONE,
        max_restarts: int = 5,
        within_s: float = 30.0,
        stop_within_s: float = 5.0,
        on_stuck: OnStuck = end_process,
    ) -> None:
        self.name = name
        self._children = tuple(children)
        self._strategy = strategy
        self._max_restarts = max_restarts
        self._within_s = within_s
        self._stop_within_s = stop_within_s
        self._on_stuck = on_stuck
        self._living: dict[str, Incarnation] = {}
        self._ended: deque[Incarnation] = deque()  # of the living: whose end waits to be handled
        self._some_ended = trio.Event()
        self._restarts_at: deque[float] = deque()
        self._n_restarts = dict.fromkeys((child.name for child in self._children), 0)

    async def run(self, ready: Ready) -> None:
        """Supervise until cancelled, or until every child has ended for good.

        ``ready`` is called when all children are.

        Raises:
            FatalError: a child raised it.
            RestartLimitError: too many failures in the window.
            StuckChildError: a child did not stop in time; raised when all have stopped after all.
        """
        self._restarts_at.clear()
        failure: Exception | None = None
        stuck: list[str] = []
        try:
            async with trio.open_nursery() as host:
                nursery: trio.Nursery = await host.start(house)
                try:
                    await self._supervise(nursery, ready)
                except (FatalError, RestartLimitError, StuckChildError) as error:
                    failure = error
                finally:
                    with trio.CancelScope(shield=True):
                        stuck = await self._stop_all()
                    nursery.cancel_scope.cancel()
        finally:
            self._living.clear()
            self._ended.clear()
            if stuck:
                raise StuckChildError(stuck)
        if failure is not None:
            raise failure

    def statistics(self) -> SupervisorStatistics:
        """Return the state of each child that lives or is being restarted."""
        living = [self._living[child.name] for child in self._children if child.name in self._living]
        return SupervisorStatistics(
            self.name, tuple(one.statistics(self._n_restarts[one.child.name]) for one in living)
        )

    # -- keeping alive -------------------------------------------------------------------------------------
    async def _supervise(self, nursery: trio.Nursery, ready: Ready) -> None:
        await self._start(self._children, nursery)
        told = False
        while self._living:
            if not told and all(one.serves for one in self._living.values()):
                told = True
                ready()
            await self._handle(await self._next_end(), nursery)

    async def _next_end(self) -> Incarnation:
        while not self._ended:
            self._some_ended = trio.Event()
            await self._some_ended.wait()
        return self._ended.popleft()

    async def _handle(self, ended: Incarnation, nursery: trio.Nursery) -> None:
        child = ended.child
        path = f"{self.name}/{child.name}"
        crashed = ended.error is not None
        del self._living[child.name]
        if (fatal := fatal_in(ended.error)) is not None:
            raise fatal
        if child.restart is Restart.NEVER or (child.restart is Restart.ON_CRASH and not crashed):
            if crashed:
                log_failure(path, ended.error, "not restarted")
            return
        if not self._may_restart():
            log_failure(path, ended.error, "giving up")
            limit = f"more than {self._max_restarts} restarts in {self._within_s:g} s"
            raise RestartLimitError(f"{path}: {limit}") from ended.error
        log_failure(path, ended.error, "restarting")
        self._n_restarts[child.name] += 1
        struck = casualties(self._strategy, self._children, child)
        if stuck := await self._stop(struck, deadline=inf):
            raise StuckChildError(stuck)
        await self._start(struck, nursery)

    def _may_restart(self) -> bool:
        now = trio.current_time()
        self._restarts_at.append(now)
        while now - self._restarts_at[0] > self._within_s:
            self._restarts_at.popleft()
        return len(self._restarts_at) <= self._max_restarts

    async def _start(self, children: Sequence[Child], nursery: trio.Nursery) -> None:
        """Start one after the other; the next one follows when the last is ready, or has failed to be."""
        for child in children:
            started = Incarnation(child)
            self._living[child.name] = started
            nursery.start_soon(self._live, started, name=f"{self.name}/{child.name}")
            with trio.move_on_after(child.start_within_s + child.stop_within_s) as late:
                await started.settled.wait()
            if late.cancelled_caught:  # it was cancelled when its time to start was over, and does not mind
                raise StuckChildError([child.name])
            if (fatal := fatal_in(started.error)) is not None:
                del self._living[child.name]
                raise fatal

    async def _live(self, one: Incarnation) -> None:
        await one.live()
        if one.state != "stopping":
            self._ended.append(one)
            self._some_ended.set()

    # -- stopping ------------------------------------------------------------------------------------------
    async def _stop_all(self) -> list[str]:
        """Stop all in reverse order under one deadline; return the names of those that did not."""
        now = trio.current_time()
        deadline = now + self._stop_within_s
        await self._stop(self._children, deadline - _LAST_CALL * self._stop_within_s)
        for one in self._living.values():
            if one.state != "stopping":
                one.stop()
        with trio.move_on_at(deadline):
            for one in self._living.values():
                await one.gone.wait()
        stuck = [name for name, one in self._living.items() if not one.gone.is_set()]
        if stuck:
            self._on_stuck(stuck)
        return stuck

    async def _stop(self, children: Sequence[Child], deadline: float) -> list[str]:
        """Stop *children* in reverse order; return who was still there when its time was over."""
        stuck: list[str] = []
        for child in reversed(children):
            one = self._living.get(child.name)
            if one is None or trio.current_time() >= deadline:
                continue
            one.stop()
            with trio.move_on_at(min(deadline, trio.current_time() + child.stop_within_s)):
                await one.gone.wait()
            if not one.gone.is_set():
                stuck.append(child.name)
                continue
            del self._living[child.name]
            if one in self._ended:
                self._ended.remove(one)  # it had failed by itself, just before
            if one.error is not None:
                log_failure(f"{self.name}/{child.name}", one.error, "while it was being stopped")
        return stuck
