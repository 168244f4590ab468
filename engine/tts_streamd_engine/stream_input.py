"""The WebSocket ``/v1/text-to-speech/{voice_id}/stream-input``: the shell around ``session``.

Two tasks: one reads (it alone keeps the inactivity clock), one speaks, in order.  Between them lies a queue
of orders with a bound: while it is full nothing is read, so a client that floods waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from starlette.websockets import WebSocketDisconnect

from tts_streamd_engine.conversation import GONE, Conversation
from tts_streamd_engine.faults import find
from tts_streamd_engine.intake import ProtocolError, Speak
from tts_streamd_engine.session import Order, Session

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

    from tts_streamd_engine.conversation import House
    from tts_streamd_engine.faults import Fault
    from tts_streamd_engine.query import StreamQuery

MAX_WAITING_ORDERS = 64


class SingleConversation(Conversation):
    """One accepted socket."""

    def __init__(self, house: House, socket: WebSocket, query: StreamQuery, plan: list[Fault]) -> None:
        super().__init__(house, socket, query, plan)
        self._session = Session(auto_mode=query.auto_mode)

    async def _converse(self) -> None:
        orders_in, orders_out = trio.open_memory_channel[Order](MAX_WAITING_ORDERS)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, orders_in)
            nursery.start_soon(self._speak, orders_out)

    async def _read(self, orders: trio.MemorySendChannel[Order]) -> None:
        try:
            while not self._session.is_finished:
                was_opened = self._session.is_opened
                received = self._session.receive(await self._timely_message())
                if not was_opened:
                    self._admit(self._session.credentials)
                for order in received:
                    await orders.send(order)
            await self._ignore()  # to notice when the client goes
        except WebSocketDisconnect:
            self._scope.cancel()
        except ProtocolError as failure:
            self._fail(failure)

    async def _timely_message(self) -> str:
        with trio.move_on_after(self._query.inactivity_s):
            return await self._message()
        raise self._timed_out()

    async def _speak(self, orders: trio.MemoryReceiveChannel[Order]) -> None:
        is_mute = find(self._plan, "quota_silent") is not None
        try:
            async for order in orders:
                if not isinstance(order, Speak):
                    break
                if not is_mute:
                    await self._voice(order)
            await self._send(self._mangler.final)
            await self._close()
        except GONE:
            self._scope.cancel()
        except ProtocolError as failure:
            self._fail(failure)
