"""Where speech is made: a bounded number of worker threads beside the event loop.

Rule: each stream is rendered in order, one step at a time, and the next step begins when the last one was
taken; so a slow listener costs no memory, and a cancelled one costs at most one step (some 50 ms).
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from tts_streamd_audio.encoders import open_encoder
from tts_streamd_engine.rendering import Frame, Segment, render

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tts_streamd_audio.formats import Format
    from tts_streamd_engine.voices.interface import Synthesiser

T = TypeVar("T")


class Threaded(Generic[T]):
    """The items of a blocking iterator, each computed in a worker thread."""

    def __init__(self, items: Iterator[T], limiter: trio.CapacityLimiter) -> None:
        self._items = items
        self._limiter = limiter

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        item = await trio.to_thread.run_sync(next, self._items, None, limiter=self._limiter)
        if item is None:
            raise StopAsyncIteration
        return item


class Studio:
    """Renders segments.  ``threads`` bounds how many are computed at once, over all clients."""

    def __init__(self, threads: int | None = None) -> None:
        self._limiter = trio.CapacityLimiter(threads or os.cpu_count() or 1)

    @property
    def threads(self) -> int:
        """How many segments are computed at once at most."""
        return int(self._limiter.total_tokens)

    @property
    def busy_threads(self) -> int:
        """How many are being computed now."""
        return self._limiter.borrowed_tokens

    def frames(
        self, voice: Synthesiser, segment: Segment, fmt: Format, *, sync_alignment: bool = False
    ) -> Threaded[Frame]:
        """The frames of one segment, as they are made."""
        encoder = partial(open_encoder, fmt)
        return Threaded(render(voice, segment, encoder, sync_alignment=sync_alignment), self._limiter)
