"""One upstream WebSocket, one route: drives the session machine, moves its bytes, tells the stream what came.

The reader never waits for a listener (a stalled reader answers no pings): what the stream's mailbox cannot take
breaks the route.  Every wait on the network has a deadline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
import trio
import trio_websocket as tws

from tts_streamd_actors.dialling import carry
from tts_streamd_protocol import signals as s
from tts_streamd_protocol.elevenlabs.faults import UpstreamFault, classify_http
from tts_streamd_protocol.elevenlabs.session import (
    AudioEvent,
    Event,
    FaultEvent,
    FinalEvent,
    StreamInput,
    init_options,
    query_options,
    url_path,
)  # fmt: skip

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from tts_streamd_actors.connection import LinkSlot
    from tts_streamd_protocol.take import Alignment

log = structlog.get_logger("tts_streamd.link")

SEND_S = 5.0
"""A socket that takes no text for so long is dead."""

CLOSE_S = 1.0
"""The peer's part in closing is waited for no longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where upstream is: a ws(s):// base, or the embedded engine's Unix socket behind it."""

    base: str
    unix_path: str | None
    headers: dict[str, str]
    tls: ssl.SSLContext | None
    connect_timeout_s: float
    inactivity_timeout_s: int


class Link:
    """The actor of one link."""

    def __init__(
        self,
        slot: LinkSlot,
        endpoint: Endpoint,
        *,
        to_stream: Callable[[str, s.StreamSignal, bytes], bool],
        to_connection: Callable[[s.ConnectionSignal], bool],
    ) -> None:
        self._slot = slot
        self._endpoint = endpoint
        self._to_stream = to_stream
        self._to_connection = to_connection
        self._session = StreamInput(
            voice_settings=slot.key.settings,
            extra=init_options(slot.key.upstream),
            key=endpoint.headers.get("xi-api-key"),
        )
        self._fault: UpstreamFault | None = None
        self._dropped = False
        self._opened = False

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve one route, or wait for one; returns when the socket is done for, whatever the reason."""
        ready()
        if self._slot.started:  # the socket died with an earlier incarnation
            self._fault = UpstreamFault(
                "internal", "the link's actor failed; the daemon's log says why", retryable=True
            )
            self._tell_stream()
        else:
            self._slot.started = True
            with self._slot.mailbox.incarnation():
                await self._serve()
        self._tell_connection()

    async def _serve(self) -> None:
        async with trio.open_nursery() as nursery:
            socket = await self._connect(nursery)
            if socket is not None:
                async with trio.open_nursery() as talking:
                    talking.start_soon(self._read, socket, talking.cancel_scope)
                    await self._write(socket)
                    talking.cancel_scope.cancel()
            self._tell_stream()  # at once: closing takes a round trip
            if socket is not None:
                with trio.move_on_after(CLOSE_S):
                    await socket.aclose()
            nursery.cancel_scope.cancel()

    # -- opening -------------------------------------------------------------------------------------------
    async def _connect(self, nursery: trio.Nursery) -> tws.WebSocketConnection | None:
        began = trio.current_time()
        timeout_s = self._endpoint.connect_timeout_s
        try:
            with trio.fail_after(timeout_s):
                socket: tws.WebSocketConnection = await nursery.start(self._carry)
                await socket.send_message(self._session.start())
        except trio.TooSlowError:
            message = f"upstream did not answer within {timeout_s:g} s"
            self._fault = UpstreamFault("timeout", message, retryable=True)
        except (OSError, tws.HandshakeError, tws.ConnectionClosed) as error:
            self._refused(error)
        else:
            self._opened = True
            self._to_connection(
                s.LinkOpened(link=self._slot.name, took_ms=1000 * (trio.current_time() - began))
            )
            return socket
        return None

    async def _carry(self, task_status: trio.TaskStatus[tws.WebSocketConnection]) -> None:
        endpoint, key = self._endpoint, self._slot.key
        path = url_path(
            key.voice,
            model=key.model,
            language=key.language,
            inactivity_timeout_s=endpoint.inactivity_timeout_s,
            options=query_options(key.upstream),
        )
        await carry(
            endpoint.base,
            path,
            endpoint.headers,
            unix_path=endpoint.unix_path,
            tls=endpoint.tls,
            task_status=task_status,
        )

    def _refused(self, error: Exception) -> None:
        if isinstance(error, tws.ConnectionRejected):
            retry_after = dict(error.headers or ()).get(b"retry-after")
            self._fault = classify_http(
                error.status_code,
                error.body or b"",
                retry_after.decode("latin-1") if retry_after else None,
                key=self._endpoint.headers.get("xi-api-key"),
            )
        else:
            self._unreachable(f"upstream cannot be reached: {error or type(error).__name__}")

    def _unreachable(self, message: str) -> None:
        self._fault = UpstreamFault("upstream_unreachable", message, retryable=True)

    # -- text out ------------------------------------------------------------------------------------------
    async def _write(self, socket: tws.WebSocketConnection) -> None:
        """Send what the stream wants said, until the route is dropped (the reader ends us by cancelling)."""
        while True:
            signal = (await self._slot.mailbox.receive()).message
            if self._session.is_over:
                return  # the reader knows why, and was about to say so
            match signal:
                case s.BindRoute():
                    continue  # the slot knows
                case s.SpeakPiece():
                    text = self._session.speak(signal.text, flush=True)
                case s.EndRoute():
                    text = self._session.finish()
                case s.DropRoute():
                    self._dropped, self._slot.bound = True, None  # nobody is to be told how it ends
                    return
            if not await self._send(socket, text):
                return

    async def _send(self, socket: tws.WebSocketConnection, text: str) -> bool:
        try:
            with trio.fail_after(SEND_S):
                await socket.send_message(text)
        except trio.TooSlowError:
            self._unreachable(f"upstream took no text for {SEND_S:g} s")
        except tws.ConnectionClosed:
            await trio.sleep(SEND_S)  # the reader knows why and cancels us
        else:
            return True
        return False

    # -- audio in: the hot path ----------------------------------------------------------------------------
    async def _read(self, socket: tws.WebSocketConnection, done: trio.CancelScope) -> None:
        try:
            while self._deliver(self._session.receive(await socket.get_message())):
                pass
        except tws.ConnectionClosed as closed:
            reason = closed.reason
            self._deliver(
                self._session.closed(reason.code if reason else 1006, (reason.reason if reason else "") or "")
            )
        done.cancel()

    def _deliver(self, events: tuple[Event, ...]) -> bool:
        """Tell the stream; False once nothing more can come."""
        bound = self._slot.bound
        for event in events:
            match event:
                case AudioEvent():
                    if bound is None:
                        continue
                    frame = s.FrameArrived(
                        route=bound.route,
                        alignment=_times(event.alignment),
                        normalized=_times(event.normalized),
                    )
                    if not self._to_stream(bound.stream, frame, event.pcm):
                        self._unreachable("the stream is gone, or takes no more audio")
                        return False
                case FinalEvent():
                    if bound is not None:
                        self._to_stream(bound.stream, s.RouteFinal(route=bound.route), b"")
                        self._slot.bound = None
                    return False
                case FaultEvent():
                    self._fault = event.fault
                    return False
        return True

    def _tell_stream(self) -> None:
        """If it still waits for something, it learns that nothing will come."""
        bound, self._slot.bound = self._slot.bound, None
        if bound is None:
            return
        why = self._fault or UpstreamFault("upstream_unreachable", "the link ended", retryable=True)
        broken = s.RouteBroken(
            route=bound.route,
            code=why.code,
            message=why.message,
            retryable=why.retryable,
            retry_ms=why.retry_ms,
        )
        self._to_stream(bound.stream, broken, b"")

    def _tell_connection(self) -> None:
        """It forgets the link."""
        fault = None if self._dropped else self._fault
        if fault is not None:
            log.info("a link failed", link=self._slot.name, code=fault.code, reason=fault.message)
        code, message = (None, None) if fault is None else (fault.code, fault.message)
        ended = s.LinkEnded(link=self._slot.name, opened=self._opened, code=code, message=message)
        self._to_connection(ended)


def _times(alignment: Alignment | None) -> s.Times | None:
    if alignment is None:
        return None
    return s.Times(
        chars=list(alignment.chars),
        starts_ms=list(alignment.starts_ms),
        durations_ms=list(alignment.durations_ms),
    )
