"""The WebSocket ``/v1/text-to-speech/{voice_id}/stream-input``: the shell around ``session``.

Two tasks: one reads (it alone keeps the inactivity clock), one speaks, in order.  Between them lies a queue
of orders with a bound: while it is full nothing is read, so a client that floods waits.  Rule: an error is
one frame and then the close; what is being spoken is dropped first.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio
from starlette.responses import JSONResponse
from starlette.websockets import WebSocketDisconnect

from tts_streamd_engine.access import shown_in
from tts_streamd_engine.catalogue import VOICE_IDS
from tts_streamd_engine.errors import RefusalError, with_request_id
from tts_streamd_engine.frames import FINAL, audio_frame, close_reason, error_frame
from tts_streamd_engine.query import StreamQuery, parse_stream_query
from tts_streamd_engine.rendering import Segment
from tts_streamd_engine.session import Order, ProtocolError, Session, Speak
from tts_streamd_engine.voices.interface import VoiceUnavailableError

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

    from tts_streamd_engine.access import Access
    from tts_streamd_engine.catalogue import Catalogue
    from tts_streamd_engine.studio import Studio

MAX_WAITING_ORDERS = 64
LINGER_S = 0.1
"""Between an error frame and the close (theirs: 0.8 s): a client in mid-send reads the frame first."""
CLOSE_DEADLINE_S = 2.0
"""For the client's answer to our close."""


@dataclass(frozen=True, slots=True)
class StreamInput:
    """The endpoint; ``serve`` takes a WebSocket that is still asking for its upgrade."""

    catalogue: Catalogue
    studio: Studio
    access: Access

    async def serve(self, socket: WebSocket) -> None:
        """Serve one socket to its end."""
        trace_id = secrets.token_hex(16)
        try:
            query = parse_stream_query(socket.query_params)
        except RefusalError as refusal:
            body = with_request_id(refusal, trace_id)
            headers = {"x-trace-id": trace_id, "x-region": "local"}
            await socket.send_denial_response(JSONResponse(body, refusal.status, headers))
            return
        await socket.accept(headers=[(b"x-trace-id", trace_id.encode()), (b"x-region", b"local")])
        await _Conversation(self, socket, query).run()


class _Conversation:
    """One accepted socket."""

    def __init__(self, endpoint: StreamInput, socket: WebSocket, query: StreamQuery) -> None:
        self._endpoint = endpoint
        self._socket = socket
        self._query = query
        self._session = Session(auto_mode=query.auto_mode)
        self._voice_id: str = socket.path_params["voice_id"]
        self._failure: ProtocolError | None = None
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Until the client has left, the last frame is sent, or something failed and the client was told."""
        orders_in, orders_out = trio.open_memory_channel[Order](MAX_WAITING_ORDERS)
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, orders_in)
                nursery.start_soon(self._speak, orders_out)
        if self._failure is not None:
            await self._refuse(self._failure)

    async def _read(self, orders: trio.MemorySendChannel[Order]) -> None:
        try:
            while not self._session.is_finished:
                was_opened = self._session.is_opened
                received = self._session.receive(await self._message())
                if not was_opened:
                    self._admit()
                for order in received:
                    await orders.send(order)
            while True:  # to notice when the client goes
                await _message(self._socket)
        except WebSocketDisconnect:
            self._scope.cancel()
        except ProtocolError as failure:
            self._fail(failure)

    async def _message(self) -> str:
        with trio.move_on_after(self._query.inactivity_s):
            return await _message(self._socket)
        raise ProtocolError(
            "input_timeout_exceeded",
            f"Have not received a new text input within the timeout of {self._query.inactivity_s:g} seconds. "
            "Streaming input terminated. Please make sure to either feed the input in the timely manner, or "
            'to send the end of input text (empty string "") when done.',
        )

    def _admit(self) -> None:
        shown = [*shown_in(self._socket.headers), *self._query.credentials, *self._session.credentials]
        self._endpoint.access.check_socket(shown)
        if self._voice_id not in VOICE_IDS:
            raise ProtocolError(
                "voice_id_does_not_exist", f"A voice with voice_id {self._voice_id} does not exist."
            )

    async def _speak(self, orders: trio.MemoryReceiveChannel[Order]) -> None:
        try:
            async for order in orders:
                if isinstance(order, Speak):
                    await self._voice(order)
                else:
                    break
            await self._socket.send_text(FINAL)
            await self._socket.close(1000)
            self._scope.deadline = trio.current_time() + CLOSE_DEADLINE_S
        except (WebSocketDisconnect, OSError):
            self._scope.cancel()
        except VoiceUnavailableError as error:
            self._fail(ProtocolError("internal_error", str(error), 1011))

    async def _voice(self, order: Speak) -> None:
        voice = await self._endpoint.catalogue.voice(self._voice_id)
        segment = Segment(order.text, order.appended, order.settings)
        sync = self._query.sync_alignment
        async for frame in self._endpoint.studio.frames(voice, segment, self._query.fmt, sync_alignment=sync):
            await self._socket.send_text(audio_frame(frame))

    def _fail(self, failure: ProtocolError) -> None:
        self._failure = failure
        self._scope.cancel()

    async def _refuse(self, failure: ProtocolError) -> None:
        try:
            await self._socket.send_text(error_frame(failure))
            with trio.move_on_after(LINGER_S):
                while True:  # what the client still sends is ignored
                    await _message(self._socket)
            await self._socket.close(failure.code, close_reason(failure.message))
            with trio.move_on_after(CLOSE_DEADLINE_S):
                while True:
                    await _message(self._socket)
        except (WebSocketDisconnect, OSError):
            return  # there is nobody left to tell


async def _message(socket: WebSocket) -> str:
    """The next text frame; a binary one reads as nonsense.

    Raises:
        WebSocketDisconnect: the client is gone.
    """
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1006))
    text: str | None = message.get("text")
    return "" if text is None else text
