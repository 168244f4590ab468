"""The door to the machine: reads requests, answers them, and pumps what the streams have for their clients.

It never awaits a stream and never waits for one client; the sockets and sessions (``door``) outlive it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
import trio

from tts_streamd_protocol import messages as m
from tts_streamd_protocol.codec import Refusal, check_hello, decode_request, encode
from tts_streamd_protocol.errors import TtsStreamdError
from tts_streamd_protocol.topics import is_valid_subscription
from tts_streamd_sockets.trio_zmq import peer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import zmq

    from tts_streamd_actors.door import Door, Session
    from tts_streamd_actors.reception import Reception
    from tts_streamd_sockets.trio_zmq import Peer

log = structlog.get_logger("tts_streamd.gateway")

BATCH = 64
"""Requests read before the loop lets others run."""

PARKED_RETRY_S = 0.02
"""How often a full client is tried again: libzmq does not say when a single peer's queue has room."""

IDLE_PROBE_S = 30.0
"""A session without streams gets a tick so often: only a send tells that a client has gone away."""

EVENTS_TICK_S = 1.0


@dataclass(slots=True, eq=False)
class Gateway:
    """The actor; ``reception`` knows what each request means."""

    door: Door
    reception: Reception
    heartbeat_ms: int
    stall_ms: int
    max_message_bytes: int
    bad_messages: int = field(default=0, init=False)

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            for task in (
                self._receive,
                self._pump,
                self._observers,
                self._heartbeat,
                self._events_tick,
                self._parked,
            ):
                nursery.start_soon(task)
            ready()

    # -- requests ------------------------------------------------------------------------------------------
    async def _receive(self) -> None:
        while True:
            for frames in await self.door.control.recv_batch(BATCH, copy=False):
                self._take(frames)

    def _take(self, frames: Sequence[zmq.Frame]) -> None:
        routing_id = frames[0].bytes
        session = self.door.sessions.get(routing_id)
        try:
            request = decode_request(
                [frame.bytes for frame in frames[1:]], max_message_bytes=self.max_message_bytes
            )
            _check_routing_id(routing_id, request.rid)
            check_hello(request, has_session=session is not None)
            if isinstance(request, m.Hello):
                self._hello(request, session, routing_id, peer(frames[-1]))
            elif session is not None:
                self.reception.request(session, request)
        except Refusal as refusal:
            self._refuse(routing_id, session, refusal)
        except Exception:  # the one edge where a bug in a request must not reach the other clients
            log.exception("a request could not be served", session=session and session.id)
            self._refuse(
                routing_id,
                session,
                Refusal("internal", "the daemon failed on this request; its log says why"),
            )

    def _hello(self, hello: m.Hello, session: Session | None, routing_id: bytes, client: Peer | None) -> None:
        try:
            self.reception.hello(hello, session, routing_id, client)
        except TtsStreamdError as error:
            raise Refusal(error.code, error.message, rid=hello.rid, retry_ms=error.retry_ms) from error

    def _refuse(self, routing_id: bytes, session: Session | None, refusal: Refusal) -> None:
        self.bad_messages += 1
        error = encode(refusal.reply())
        if session is None:
            self.door.send_stranger(routing_id, error)
            return
        self.reception.refused(session, refusal)
        self.door.reply_head(session, error)

    # -- what goes out -------------------------------------------------------------------------------------
    async def _pump(self) -> None:
        while True:
            session = await self.door.next_ready()
            self.door.serve(session, trio.current_time())
            await trio.lowlevel.checkpoint()

    async def _parked(self) -> None:
        while True:
            await self.door.wait_parked()
            await trio.sleep(PARKED_RETRY_S)
            self.door.retry_parked()
            self._end_stalled(trio.current_time() - self.stall_ms / 1000)

    def _end_stalled(self, since_s: float) -> None:
        for session in tuple(self.door.parked):
            if session.parked_s is not None and session.parked_s < since_s:
                for slot in session.streams.values():
                    slot.fail(
                        "client_stalled",
                        f"the client took no message for {self.stall_ms} ms; read faster or use credit",
                    )

    async def _heartbeat(self) -> None:
        while True:
            await trio.sleep(self.heartbeat_ms / 1000)
            now = trio.current_time()
            for session in tuple(self.door.sessions.values()):
                if session.streams or now - session.ticked_s >= IDLE_PROBE_S:
                    session.ticked_s = now
                    self.door.reply(session, m.Tick(session=session.id, boot_id=self.door.boot_id))

    # -- observers -----------------------------------------------------------------------------------------
    async def _observers(self) -> None:
        """Acknowledge each subscription on its topic: what is published from then on arrives."""
        while True:
            for frames in await self.door.events.recv_batch(BATCH):
                begins, wanted = frames[0][:1] == b"\x01", frames[0][1:]
                if begins and is_valid_subscription(wanted):
                    self.door.events.send_nowait([wanted, encode(m.Subscribed())])

    async def _events_tick(self) -> None:
        head = encode(m.Tick(boot_id=self.door.boot_id))
        while True:
            self.door.events.send_nowait([b"tick/", head])
            await trio.sleep(EVENTS_TICK_S)


def _check_routing_id(routing_id: bytes, rid: int | None) -> None:
    """Libzmq's own begin with 0; two clients that set the same one would silently be taken for one."""
    if routing_id[:1] != b"\0":
        raise Refusal("denied", "set no routing id: the daemon gives every connection its own", rid=rid)
