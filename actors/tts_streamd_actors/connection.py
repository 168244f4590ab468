"""Opens links, keeps one warm for the default voice, hands them out.

A link is one upstream socket and serves one route.  The actor never waits for upstream: a link that is still
connecting is handed out as well, and says itself when it cannot be opened.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

import trio

from tts_streamd_actors.supervisor import TooManyChildrenError
from tts_streamd_protocol import signals as s
from tts_streamd_protocol.errors import RETRYABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tts_streamd_actors.mailbox import Mailbox
    from tts_streamd_protocol.errors import Code

WARM_RETRY_S = (0.1, 0.5, 1, 2, 5, 10, 30)
"""Waits before the warm link is opened again, by failures in a row; the last one for what no retry mends."""

STEADY_S = 30.0
"""A warm link that stayed so long starts the count of failures anew: that one opened says little."""


@dataclass(slots=True, eq=False)
class LinkSlot:
    """What is kept of one link while it lives: whom it serves outlasts a crash of its actor."""

    name: str
    key: s.RouteKey
    mailbox: Mailbox[s.LinkSignal]
    started: bool = False
    bound: s.BindRoute | None = None


@dataclass(slots=True, eq=False)
class Links:
    """All links.  ``start`` (wiring's) runs the actor of a new one; it may raise ``TooManyChildrenError``."""

    new: Callable[[s.RouteKey], LinkSlot]
    start: Callable[[LinkSlot], None]
    close: Callable[[LinkSlot], None]
    to_stream: Callable[[str, s.StreamSignal], bool]
    live: dict[str, LinkSlot] = field(default_factory=dict[str, LinkSlot])
    warm: LinkSlot | None = None
    opened: int = 0
    ended: int = 0

    def open(self, key: s.RouteKey) -> LinkSlot:
        """A new link, on its way to upstream."""
        link = self.new(key)
        self.start(link)
        self.live[link.name] = link
        self.opened += 1
        return link

    def retire(
        self, name: str, code: Code | None = None, message: str | None = None, *, retryable: bool = True
    ) -> None:
        """A link is gone, whoever says so first; a stream that it still served (or never got to) learns it."""
        link = self.live.pop(name, None)
        if link is None:
            return
        self.ended += 1
        self.close(link)
        if self.warm is link:
            self.warm = None
        if link.bound is not None:
            broken = s.RouteBroken(
                route=link.bound.route,
                code=code or "upstream_unreachable",
                message=message or "the link ended",
                retryable=retryable,
            )
            self.to_stream(link.bound.stream, broken)


@dataclass(slots=True, eq=False)
class Connection:
    """The actor; ``default`` is the key that a warm link is kept for (None: none)."""

    mailbox: Mailbox[s.ConnectionSignal]
    links: Links
    default: Callable[[], s.RouteKey | None]
    _failures: int = 0
    _warm_at: float = -inf
    _warmed_s: float = -inf

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until cancelled."""
        ready()
        with self.mailbox.incarnation():
            while True:
                self._keep_warm()
                with trio.move_on_at(inf if self.links.warm is not None else self._warm_at):
                    self._on((await self.mailbox.receive()).message)

    def _on(self, signal: s.ConnectionSignal) -> None:
        match signal:
            case s.OpenRoute():
                self._open_route(signal)
            case s.LinkOpened():
                pass  # for the tap: how long it took
            case s.LinkEnded():
                was_warm = self.links.warm is not None and self.links.warm.name == signal.link
                self.links.retire(signal.link, signal.code, signal.message)
                if was_warm:
                    self._warm_later(signal.code)

    def _open_route(self, asked: s.OpenRoute) -> None:
        bound = s.BindRoute(stream=asked.stream, route=asked.route)
        try:
            link = self._take(asked.key)
        except TooManyChildrenError as error:
            self.links.to_stream(
                asked.stream,
                s.RouteBroken(route=asked.route, code="busy", message=str(error), retryable=True),
            )
            return
        link.bound = bound
        link.mailbox.offer(bound)
        if not self.links.to_stream(asked.stream, s.RouteOpened(route=asked.route, link=link.name)):
            link.mailbox.offer(s.DropRoute(route=asked.route))  # the stream has ended meanwhile

    def _take(self, key: s.RouteKey) -> LinkSlot:
        """The warm link if it fits, else a new one."""
        warm = self.links.warm
        if warm is None or warm.key != key:
            return self.links.open(key)
        self.links.warm = None
        self._warm_at = -inf
        return warm

    def _keep_warm(self) -> None:
        key, warm = self.default(), self.links.warm
        if warm is not None and warm.key != key:  # the configuration has changed
            warm.mailbox.offer(s.DropRoute(route=0))
            self.links.warm = None
        now = trio.current_time()
        if self.links.warm is not None or now < self._warm_at:
            return
        if key is None:  # no such voice: it may be listed later, or configured
            self._warm_at = now + WARM_RETRY_S[-1]
            return
        self._warmed_s = now
        try:
            self.links.warm = self.links.open(key)
        except TooManyChildrenError:
            self._warm_later("busy")

    def _warm_later(self, code: Code | None) -> None:
        now = trio.current_time()
        if now - self._warmed_s >= STEADY_S:
            self._failures = 0
        last = len(WARM_RETRY_S) - 1
        hopeless = code is not None and code not in RETRYABLE
        self._warm_at = now + WARM_RETRY_S[last if hopeless else min(self._failures, last)]
        self._failures += 1
