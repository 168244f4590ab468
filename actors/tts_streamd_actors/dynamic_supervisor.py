"""Keep actors alive that come and go (streams, links): each in its own task, and none can harm another.

A child that fails is restarted in its task, ``restarts_per_child`` times; then its owner is told, once, and
it is forgotten.  None of that counts against the supervisor above, so no client can end the daemon.  A
child that returns has ended.  Children outlive the supervisor's own incarnations: those it had to stop, and
those asked for while it does not run, start with its next run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import TypeAlias

import trio

from tts_streamd_actors.child import (
    Child,
    ChildStatistics,
    Incarnation,
    OnStuck,
    Ready,
    Restart,
    StuckChildError,
    SupervisorStatistics,
    end_process,
    fatal_in,
    house,
    log,
    log_failure,
)

OnGiveUp: TypeAlias = Callable[[str, Exception], None]


class TooManyChildrenError(Exception):
    """The supervisor has as many children as it may have; the new one was not taken."""


@dataclass(eq=False, slots=True)
class _Tenant:
    child: Child
    incarnation: Incarnation
    restarts: int = 0
    dismissed: bool = False  # by stop_child: it shall not live again


class DynamicSupervisor:
    """Run whatever ``start_child`` is given, up to *max_children* at a time.

    Args:
        name: for logs and statistics.
        max_children: living ones, those being stopped included.
        restarts_per_child: in its whole life.
        on_give_up: called with the name and last error of a child that failed once more, or fatally.
        stop_within_s: the one deadline for all when ``run`` is cancelled; they are cancelled together.
        on_stuck: called with the names of the children that did not stop in time.  By default it ends the
            process; if it returns, ``run`` waits for them for ever, and then raises ``StuckChildError``.
    """

    def __init__(  # noqa: PLR0913 - a policy has so many numbers, given by name
        self,
        name: str,
        *,
        max_children: int,
        on_give_up: OnGiveUp,
        restarts_per_child: int = 1,
        stop_within_s: float = 1.5,
        on_stuck: OnStuck = end_process,
    ) -> None:
        self.name = name
        self._max_children = max_children
        self._restarts_per_child = restarts_per_child
        self._on_give_up = on_give_up
        self._stop_within_s = stop_within_s
        self._on_stuck = on_stuck
        self._tenants: dict[str, _Tenant] = {}
        self._house: trio.Nursery | None = None
        self._due: dict[
            Incarnation, float
        ] = {}  # when those that start or stop must be done with it, or gone
        self._next_due = inf
        self._due_sooner = trio.Event()

    async def run(self, ready: Ready) -> None:
        """Supervise until cancelled.

        Raises:
            StuckChildError: a child did not stop in time; raised when all have stopped after all.
        """
        stuck: list[str] = []
        failure: StuckChildError | None = None
        try:
            async with trio.open_nursery() as host:
                nursery: trio.Nursery = await host.start(house)
                self._house = nursery
                try:
                    self._start_tenants(nursery)
                    ready()
                    await self._watch_deadlines()
                except StuckChildError as error:
                    failure = error
                finally:
                    self._house = None
                    with trio.CancelScope(shield=True):
                        stuck = await self._stop_all()
                    nursery.cancel_scope.cancel()
        finally:
            self._due.clear()
            if stuck:
                raise StuckChildError(stuck)
        if failure is not None:
            raise failure

    def start_child(self, child: Child) -> None:
        """Start *child*, or have the next ``run`` start it; returns at once.

        Raises:
            TooManyChildrenError: there are ``max_children``.
            ValueError: a child of this name is there, or is still stopping.
        """
        if child.name in self._tenants:
            raise ValueError(f"{self.name} has a child {child.name!r} already")
        if len(self._tenants) >= self._max_children:
            raise TooManyChildrenError(f"{self.name} has {self._max_children} children, which is its limit")
        tenant = self._tenants[child.name] = _Tenant(child, Incarnation(child))
        if self._house is not None:
            self._house.start_soon(self._live, tenant, name=f"{self.name}/{child.name}")

    def stop_child(self, name: str) -> None:
        """Cancel a child, which then has its ``stop_within_s`` to end; returns at once.  Unknown is fine."""
        tenant = self._tenants.get(name)
        if tenant is None:
            return
        tenant.dismissed = True
        if self._house is None:
            self._forget(tenant)
        elif tenant.incarnation.state != "stopping":
            tenant.incarnation.stop()
            self._expect(tenant.incarnation, tenant.child.stop_within_s)

    def statistics(self) -> SupervisorStatistics:
        """Return the state of each child; one that waits for ``run`` is starting."""
        return SupervisorStatistics(self.name, tuple(map(_statistics, self._tenants.values())))

    # -- one child, in its own task ------------------------------------------------------------------------
    async def _live(self, tenant: _Tenant) -> None:
        while True:
            one = tenant.incarnation
            if one.state != "stopping":
                self._expect(one, tenant.child.start_within_s + tenant.child.stop_within_s)
            one.on_ready = partial(self._met, one)
            await one.live()
            self._met(one)
            if not self._shall_live_again(tenant, one):
                return
            tenant.incarnation = Incarnation(tenant.child)
            await (
                trio.lowlevel.checkpoint()
            )  # a child that fails without one must not keep the loop to itself

    def _shall_live_again(self, tenant: _Tenant, one: Incarnation) -> bool:
        path = f"{self.name}/{tenant.child.name}"
        if one.state == "stopping":
            if one.error is not None:
                log_failure(path, one.error, "while it was being stopped")
            if tenant.dismissed:
                self._forget(tenant)
            return False
        if one.error is None:
            self._forget(tenant)
            return False
        if tenant.restarts < self._allowed_restarts(tenant, one.error):
            tenant.restarts += 1
            log_failure(path, one.error, "restarting")
            return True
        log_failure(path, one.error, "giving up")
        self._forget(tenant)
        self._give_up(path, tenant.child.name, one.error)
        return False

    def _allowed_restarts(self, tenant: _Tenant, error: Exception) -> int:
        if tenant.child.restart is Restart.NEVER or fatal_in(error) is not None:
            return 0
        return self._restarts_per_child

    def _give_up(self, path: str, name: str, error: Exception) -> None:
        try:
            self._on_give_up(name, error)
        except Exception:  # noqa: BLE001 - a bug of one child's owner must not take the others down
            log.exception("%s: its owner failed to hear that it is given up", path)

    # -- all of them ---------------------------------------------------------------------------------------
    def _start_tenants(self, nursery: trio.Nursery) -> None:
        """Start who was asked for before this run, and again who lived when the last one ended."""
        for tenant in self._tenants.values():
            tenant.incarnation = Incarnation(tenant.child)
            nursery.start_soon(self._live, tenant, name=f"{self.name}/{tenant.child.name}")

    async def _stop_all(self) -> list[str]:
        """Stop all under one deadline; return the names of those that did not."""
        living = [tenant.incarnation for tenant in self._tenants.values()]
        for one in living:
            one.stop()
        with trio.move_on_after(self._stop_within_s):
            for one in living:
                await one.gone.wait()
        stuck = [one.child.name for one in living if not one.gone.is_set()]
        if stuck:
            self._on_stuck(stuck)
        return stuck

    def _forget(self, tenant: _Tenant) -> None:
        if self._tenants.get(tenant.child.name) is tenant:  # a successor may have its name already
            del self._tenants[tenant.child.name]

    # -- deadlines: one watcher, not one task more for each child ------------------------------------------
    def _expect(self, one: Incarnation, within_s: float) -> None:
        self._due[one] = at = trio.current_time() + within_s
        if at < self._next_due:
            self._due_sooner.set()

    def _met(self, one: Incarnation) -> None:
        self._due.pop(one, None)

    async def _watch_deadlines(self) -> None:
        while True:
            self._due_sooner = trio.Event()
            self._next_due = min(self._due.values(), default=inf)
            with trio.move_on_at(self._next_due):
                await self._due_sooner.wait()
            now = trio.current_time()
            if late := [one.child.name for one, at in self._due.items() if at <= now]:
                raise StuckChildError(late)


def _statistics(tenant: _Tenant) -> ChildStatistics:
    return tenant.incarnation.statistics(tenant.restarts)
