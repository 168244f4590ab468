"""What the single and the multi socket share: the upgrade, the admission, the way to fail, the voice.

Rule: an error is one frame and then the close; what is being spoken is dropped first.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import trio
from starlette.responses import JSONResponse
from starlette.websockets import WebSocketDisconnect

from tts_streamd_engine.access import shown_in
from tts_streamd_engine.account import BusyError
from tts_streamd_engine.catalogue import VOICE_IDS
from tts_streamd_engine.errors import RefusalError, quota_words, scripted_refusal, too_busy, with_request_id
from tts_streamd_engine.faults import find
from tts_streamd_engine.frames import close_reason, error_frame
from tts_streamd_engine.intake import ProtocolError, Speak
from tts_streamd_engine.mangling import Mangler
from tts_streamd_engine.query import StreamQuery, parse_stream_query
from tts_streamd_engine.rendering import Segment
from tts_streamd_engine.voices.interface import VoiceUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.websockets import WebSocket

    from tts_streamd_engine.access import Access
    from tts_streamd_engine.account import Account
    from tts_streamd_engine.catalogue import Catalogue
    from tts_streamd_engine.faults import Fault, FaultBook, Route
    from tts_streamd_engine.studio import Studio
    from tts_streamd_engine.voices.interface import Synthesiser

LINGER_S = 0.1
"""Between an error frame and the close (theirs: 0.8 s): a client in mid-send reads the frame first."""
CLOSE_DEADLINE_S = 2.0
"""For the client's answer to our close."""


@dataclass(frozen=True, slots=True)
class House:
    """What every endpoint of one server shares."""

    catalogue: Catalogue
    studio: Studio
    access: Access
    account: Account
    faults: FaultBook


GONE = (WebSocketDisconnect, OSError, trio.BusyResourceError)
"""The client has left.  Busy: hypercorn's reader is answering the client's close while we send something."""


class Conversation(ABC):
    """One accepted socket."""

    def __init__(self, house: House, socket: WebSocket, query: StreamQuery, plan: list[Fault]) -> None:
        self._house = house
        self._socket = socket
        self._query = query
        self._plan = plan
        self._mangler = Mangler(plan)
        self._sending = trio.Lock()
        self._voice_id: str = socket.path_params["voice_id"]
        self._failure: ProtocolError | None = None
        self._scope = trio.CancelScope()
        self._first_delay_s = slow.delay_s if (slow := find(plan, "slow_first_audio")) else 0.0

    async def run(self) -> None:
        """Until the client has left, the last frame is sent, or something failed and the client was told."""
        with self._scope:
            await self._converse()
        if self._failure is not None:
            await self._refuse(self._failure)

    @abstractmethod
    async def _converse(self) -> None:
        """Read and speak; ended by cancelling ``_scope``."""

    def _admit(self, credentials: list[str]) -> None:
        self._meet_faults_of_admission()
        shown = [*shown_in(self._socket.headers), *self._query.credentials, *credentials]
        self._house.access.check_socket(shown)
        if self._voice_id not in VOICE_IDS:
            raise ProtocolError(
                "voice_id_does_not_exist", f"A voice with voice_id {self._voice_id} does not exist."
            )

    def _meet_faults_of_admission(self) -> None:
        if find(self._plan, "bad_key"):
            raise ProtocolError("invalid_api_key", "Invalid API key")
        if find(self._plan, "quota"):
            raise ProtocolError("quota_exceeded", quota_words())
        for fault in self._plan:
            if fault.kind == "close" and fault.frame == 0:
                raise ProtocolError("", fault.message, fault.code)

    def _timed_out(self) -> ProtocolError:
        return ProtocolError(
            "input_timeout_exceeded",
            f"Have not received a new text input within the timeout of {self._query.inactivity_s:g} seconds. "
            "Streaming input terminated. Please make sure to either feed the input in the timely manner, or "
            'to send the end of input text (empty string "") when done.',
        )

    async def _voice(self, speak: Speak, context_id: str | None = None) -> None:
        """Speak one segment.

        Raises:
            ProtocolError: the account's places are all taken, the voice did not load, or a fault wants it.
        """
        try:
            async with self._house.account.place():
                voice = await self._house.catalogue.voice(self._voice_id)
                await self._speak_with(voice, speak, context_id)
        except BusyError as error:
            raise ProtocolError("concurrent_limit_exceeded", str(error)) from None
        except VoiceUnavailableError as error:
            raise ProtocolError("internal_error", str(error), 1011) from error

    async def _speak_with(self, voice: Synthesiser, speak: Speak, context_id: str | None) -> None:
        segment = Segment(speak.text, speak.appended, speak.settings)
        sync = self._query.sync_alignment
        async for frame in self._house.studio.frames(voice, segment, self._query.fmt, sync_alignment=sync):
            await trio.sleep(self._first_delay_s)
            self._first_delay_s = 0.0
            await self._send(partial(self._mangler.audio, frame, context_id))

    async def _send(self, frames: Callable[[], list[str]]) -> None:
        """Send what ``frames`` gives, together and in the order of the calls."""
        async with self._sending:
            for text in frames():
                await self._socket.send_text(text)

    async def _close(self) -> None:
        """Everything is said."""
        if self._mangler.is_silent:
            await trio.sleep_forever()
        if late := find(self._plan, "late_close"):
            await trio.sleep(late.delay_s)
        await self._socket.close(1000)
        self._scope.deadline = trio.current_time() + CLOSE_DEADLINE_S

    def _fail(self, failure: ProtocolError) -> None:
        self._failure = self._failure or failure
        self._scope.cancel()

    async def _refuse(self, failure: ProtocolError) -> None:
        try:
            if failure.error:  # a close alone has none
                await self._socket.send_text(error_frame(failure))
                with trio.move_on_after(LINGER_S):
                    await self._ignore()  # what the client still sends
            await self._socket.close(failure.code, close_reason(failure.message))
            with trio.move_on_after(CLOSE_DEADLINE_S):
                await self._ignore()
        except GONE:
            return  # there is nobody left to tell

    async def _ignore(self) -> None:
        while True:
            await self._message()

    async def _message(self) -> str:
        """The next text frame; a binary one reads as nonsense.

        Raises:
            WebSocketDisconnect: the client is gone.
        """
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1006))
        text: str | None = message.get("text")
        return "" if text is None else text


async def upgrade(house: House, route: Route, converse: type[Conversation], socket: WebSocket) -> None:
    """Serve a WebSocket that is still asking for its upgrade, to its end."""
    trace = {"x-trace-id": secrets.token_hex(16), "x-region": "local"}
    plan = house.faults.plan(route)
    try:
        if fault := find(plan, "refuse"):
            raise scripted_refusal(fault)
        query = parse_stream_query(socket.query_params)
        await _pass_the_account(house.account)
    except RefusalError as refusal:
        body = with_request_id(refusal, trace["x-trace-id"])
        headers = {**trace, **refusal.headers}
        await socket.send_denial_response(JSONResponse(body, refusal.status, headers))
        return
    headers = {**trace, **house.account.headers}
    await socket.accept(headers=[(name.encode(), value.encode()) for name, value in headers.items()])
    await converse(house, socket, query, plan).run()


async def _pass_the_account(account: Account) -> None:
    """A socket holds no place while it is silent, but with none free it is refused."""
    try:
        async with account.place():
            return
    except BusyError as error:
        raise too_busy(str(error), account.headers) from None
