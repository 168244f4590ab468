"""The WebSocket ``/v1/text-to-speech/{voice_id}/multi-stream-input``: the shell around ``contexts``.

One task reads; each context has one that speaks, so contexts interleave and each keeps its order.  A context
whose id was used before waits for the final frame of the earlier one.  Rule: the inactivity clock stands
while nothing is read, so a client is never punished for our being slow.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import trio
from starlette.websockets import WebSocketDisconnect

from tts_streamd_engine.contexts import Context, ContextOrder, Contexts, FinishContext, SpeakIn
from tts_streamd_engine.conversation import GONE, Conversation
from tts_streamd_engine.faults import find
from tts_streamd_engine.intake import ProtocolError

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

    from tts_streamd_engine.conversation import House
    from tts_streamd_engine.faults import Fault
    from tts_streamd_engine.query import StreamQuery

MAX_WAITING_ORDERS = 64


class _Speaker:
    """One context's queue of orders and what becomes of it."""

    def __init__(self, context: Context, predecessor: _Speaker | None) -> None:
        self.context = context
        self.predecessor = predecessor
        self.orders_in, self.orders_out = trio.open_memory_channel[ContextOrder](MAX_WAITING_ORDERS)
        self.is_closing = trio.Event()
        self.is_done = trio.Event()


class MultiConversation(Conversation):
    """One accepted socket."""

    def __init__(self, house: House, socket: WebSocket, query: StreamQuery, plan: list[Fault]) -> None:
        super().__init__(house, socket, query, plan)
        self._contexts = Contexts(query.inactivity_s, auto_mode=query.auto_mode)
        self._speakers: dict[str, _Speaker] = {}
        self._latest_serial = 0
        self._not_reading_s = 0.0
        self._changed = trio.Event()

    async def _converse(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, nursery)
            nursery.start_soon(self._close_when_spent)

    def _clock(self) -> float:
        return trio.current_time() - self._not_reading_s

    async def _read(self, nursery: trio.Nursery) -> None:
        try:
            while not self._contexts.is_finished:
                was_opened = self._contexts.is_opened
                message = await self._timely_message(nursery)
                orders = self._contexts.receive(message, self._clock())
                if not was_opened:
                    self._admit(self._contexts.credentials)
                await self._hand_over(orders, nursery)
                self._tell_changed()
            await self._ignore()  # to notice when the client goes
        except WebSocketDisconnect:
            self._scope.cancel()
        except ProtocolError as failure:
            self._fail(failure)

    async def _timely_message(self, nursery: trio.Nursery) -> str:
        """The next message; contexts that are idle are closed meanwhile."""
        silent_at_s = self._clock() + self._query.inactivity_s
        while self._clock() < silent_at_s:
            expires_at_s = self._contexts.expires_at_s
            wake_at_s = silent_at_s if expires_at_s is None else min(silent_at_s, expires_at_s)
            with trio.move_on_at(wake_at_s + self._not_reading_s):
                return await self._message()
            if self._clock() < silent_at_s:
                await self._hand_over(self._contexts.expire(self._clock()), nursery)
        raise self._timed_out()

    async def _hand_over(self, orders: list[ContextOrder], nursery: trio.Nursery) -> None:
        started = trio.current_time()
        for order in orders:
            speaker = self._speakers.get(order.context.context_id)
            if order.context.serial > self._latest_serial:
                self._latest_serial = order.context.serial
                speaker = self._speakers[order.context.context_id] = _Speaker(order.context, speaker)
                nursery.start_soon(self._speak, speaker)
            if speaker is None or speaker.context != order.context:
                continue  # it ended early, as a silent quota makes it
            if isinstance(order, FinishContext):
                speaker.is_closing.set()
            with suppress(trio.BrokenResourceError):  # it ends at this moment
                await speaker.orders_in.send(order)
        self._not_reading_s += trio.current_time() - started

    async def _speak(self, speaker: _Speaker) -> None:
        context_id = speaker.context.context_id
        try:
            if speaker.predecessor is not None:
                await speaker.predecessor.is_done.wait()
                speaker.predecessor = None
            async with speaker.orders_out:
                await self._speak_orders(speaker)
            await self._send(lambda: self._mangler.final(context_id))
        except GONE:
            self._scope.cancel()
            return
        except ProtocolError as failure:
            self._fail(failure)
            return
        self._forget(speaker)

    async def _speak_orders(self, speaker: _Speaker) -> None:
        is_mute = find(self._plan, "quota_silent") is not None
        is_first = True
        async for order in speaker.orders_out:
            if is_mute or not isinstance(order, SpeakIn):
                return
            if is_first and await self._loses_the_race(speaker):
                return
            is_first = False
            await self._voice(order.speak, speaker.context.context_id)

    async def _loses_the_race(self, speaker: _Speaker) -> bool:
        """Whether ``close_context`` overtakes the first audio, as a fault wants it to where it can."""
        race = find(self._plan, "close_context_race")
        if race is None:
            return False
        with trio.move_on_after(race.delay_s):
            await speaker.is_closing.wait()
        return speaker.is_closing.is_set()

    def _forget(self, speaker: _Speaker) -> None:
        speaker.is_done.set()
        if not self._mangler.is_silent:
            self._contexts.finished(speaker.context)
        if self._speakers.get(speaker.context.context_id) is speaker:
            del self._speakers[speaker.context.context_id]
        self._tell_changed()

    def _tell_changed(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _close_when_spent(self) -> None:
        while not self._contexts.is_spent:
            await self._changed.wait()
        try:
            await self._close()
        except GONE:
            self._scope.cancel()
