"""The account's limit of requests that run at the same time: a short queue, then a refusal.

HTTP counts a request for its whole answer, a WebSocket only while it generates (that is how the service counts).
Rule: a place is given back however its holder ends.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

QUEUE_S = 0.05
"""How long the service lets an excess request wait before it says 429."""


class BusyError(Exception):
    """No place became free in time; the message is the service's."""


class Account:
    """``limit`` None: as many as like."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self._places = None if limit is None else trio.CapacityLimiter(limit)

    @property
    def headers(self) -> dict[str, str]:
        """The concurrency headers of a response; none without a limit."""
        if self._places is None:
            return {}
        return {
            "current-concurrent-requests": str(self._places.borrowed_tokens),
            "maximum-concurrent-requests": str(self.limit),
            "workspace-concurrent-requests": str(self._places.borrowed_tokens),
        }

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[None]:
        """Hold one of the places.

        Raises:
            BusyError: none became free within 50 ms.
        """
        if self._places is None:
            yield
            return
        holder = object()
        with trio.move_on_after(QUEUE_S) as waiting:
            await self._places.acquire_on_behalf_of(holder)
        if waiting.cancelled_caught:
            raise BusyError(
                "Too many concurrent requests. Your current subscription is associated with a maximum of "
                f"{self.limit} concurrent requests (running in parallel)."
            )
        try:
            yield
        finally:
            self._places.release_on_behalf_of(holder)
