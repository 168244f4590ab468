"""What outlives the gateway: the two sockets, the sessions behind them, and who has something to send.

Queues streams, not messages: speech stays in its journal until the socket takes it.  A client that does not
read is parked by itself and delays nobody.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

import structlog
import trio

from tts_streamd_actors.slot import Slot
from tts_streamd_protocol import messages as m
from tts_streamd_protocol.codec import encode
from tts_streamd_protocol.topics import report_topic
from tts_streamd_sockets.trio_zmq import Peer, PeerGoneError, TrioSocket

log = structlog.get_logger("tts_streamd.gateway")

MAX_REPLIES = 1024
"""Replies that may wait for one client; one that sends so many requests and reads nothing is dropped."""

BURST = 32
"""Messages sent to one client before the next has its turn."""


@dataclass(slots=True, eq=False)
class Session:
    """One connection of one client."""

    id: int
    routing_id: bytes
    client: str
    peer: Peer | None
    streams: dict[int, Slot] = field(default_factory=dict[int, Slot])
    last_sid: int = -1
    replies: deque[bytes] = field(default_factory=deque[bytes])
    ready: deque[Slot] = field(default_factory=deque[Slot])
    queued: bool = False
    parked_s: float | None = None  # since when it has taken nothing, its queue being full
    ticked_s: float = 0.0
    tap: str | None = None  # the actors whose messages it watches, by prefix
    gone: bool = False

    @property
    def uid(self) -> int:
        """Whose program it is; -1 where the socket does not tell."""
        return -1 if self.peer is None else self.peer.uid


@dataclass(slots=True, eq=False)
class Door:
    """Both sockets and all sessions."""

    control: TrioSocket
    events: TrioSocket
    boot_id: str
    sessions: dict[bytes, Session] = field(default_factory=dict[bytes, Session])
    next_session: int = 1
    stopping: bool = False
    parked: set[Session] = field(default_factory=set[Session])
    dropped_sessions: int = 0
    _ready: deque[Session] = field(default_factory=deque[Session])
    _wake: trio.Event = field(default_factory=trio.Event)
    _some_parked: trio.Event = field(default_factory=trio.Event)

    # -- who has something to send ---------------------------------------------------------------------------
    def reply(self, session: Session, reply: m.AnyReply) -> None:
        """Queue a reply."""
        self.reply_head(session, encode(reply))

    def reply_head(self, session: Session, head: bytes) -> None:
        """Queue an encoded reply."""
        if len(session.replies) >= MAX_REPLIES:
            self.drop(session, "it sends requests and reads no replies")
            return
        session.replies.append(head)
        self._mark(session)

    def stream_ready(self, session: Session, slot: Slot) -> None:
        """The stream has something for its client."""
        if session.gone:
            return
        if not slot.queued:
            slot.queued = True
            session.ready.append(slot)
        self._mark(session)

    def _mark(self, session: Session) -> None:
        if not session.queued and session.parked_s is None:
            session.queued = True
            self._ready.append(session)
            self._wake.set()

    async def next_ready(self) -> Session:
        """Wait for a session that has something to send."""
        while not self._ready:
            self._wake = trio.Event()
            await self._wake.wait()
        session = self._ready.popleft()
        session.queued = False
        return session

    # -- sending ---------------------------------------------------------------------------------------------
    def serve(self, session: Session, now_s: float) -> None:
        """Send one client what is there for it, at most a burst; park it when its queue is full."""
        if session.gone:
            return
        try:
            if self._serve(session, now_s):
                session.parked_s = None
                self.parked.discard(session)
                if session.replies or session.ready:
                    self._mark(session)
            else:
                if session.parked_s is None:
                    session.parked_s = now_s
                self.parked.add(session)
                self._some_parked.set()
        except PeerGoneError:
            self.drop(session, "it has gone away")

    def _serve(self, session: Session, now_s: float) -> bool:
        for _ in range(BURST):
            if session.replies:
                if not self._send(session, [session.replies[0]]):
                    return False
                session.replies.popleft()
            elif session.ready:
                if not self._serve_stream(session, session.ready[0], now_s):
                    return False
            else:
                return True
        return True

    def _send(self, session: Session, frames: list[bytes]) -> bool:
        if not self.control.send_nowait([session.routing_id, *frames]):
            return False
        session.parked_s = None  # slow is not stalled: whoever takes a message has its full time again
        return True

    def _serve_stream(self, session: Session, slot: Slot, now_s: float) -> bool:
        """One message of one stream; then the next stream has its turn."""
        if slot.acked_cp > slot.told_cp and not slot.ended:
            slot.told_cp = slot.acked_cp
            ack = m.Ack(sid=slot.spec.sid, chars=slot.acked_cp - slot.spec.start_cp)
            session.replies.append(encode(ack))
            return True
        try:
            parcel = slot.outlet.peek()
        except Exception:  # a bug in one stream's sound must not stop everybody's
            log.exception("a stream's sound could not be made ready", stream=slot.spec.name)
            slot.spoil("the daemon failed on this stream's sound; its log says why")
            return True
        if parcel is None:
            session.ready.popleft().queued = False
            return True
        frames = [parcel.head] if parcel.payload is None else [parcel.head, parcel.payload]
        if not self._send(session, frames):
            return False
        slot.outlet.taken(now_s)
        if slot.spec.shared:
            topic = report_topic(parcel.kind, session=session.id, sid=slot.spec.sid, label=slot.spec.label)
            self.events.send_nowait([topic, *frames])
        session.ready.rotate(-1)
        if parcel.kind == "end":
            self._forget(session, slot)
        elif parcel.kind == "audio":
            slot.relieve()
        return True

    def send_stranger(self, routing_id: bytes, head: bytes) -> None:
        """Answer somebody without a session, if it can take it now."""
        with suppress(PeerGoneError):
            self.control.send_nowait([routing_id, head])

    async def wait_parked(self) -> None:
        """Wait until a client is parked."""
        while not self.parked:
            self._some_parked = trio.Event()
            await self._some_parked.wait()

    def retry_parked(self) -> None:
        """Give parked clients another chance."""
        for session in self.parked:
            if not session.queued:
                session.queued = True
                self._ready.append(session)
                self._wake.set()

    # -- coming and going --------------------------------------------------------------------------------------
    def enter(self, routing_id: bytes, client: str, peer: Peer | None) -> Session:
        """A client has said hello."""
        session = Session(self.next_session, routing_id, client, peer)
        self.next_session += 1
        self.sessions[routing_id] = session
        return session

    def drop_vanished(self, now_s: float) -> None:
        """Ask all sessions without streams whether they are still there: only a send tells."""
        for session in tuple(self.sessions.values()):
            if session.streams:
                continue
            session.ticked_s = now_s
            tick = encode(m.Tick(session=session.id, boot_id=self.boot_id))
            try:
                self.control.send_nowait([session.routing_id, tick])
            except PeerGoneError:
                self.drop(session, "it has gone away")

    def drop(self, session: Session, why: str) -> None:
        """Forget a session; its streams end, since nobody would hear them."""
        if session.gone:
            return
        session.gone = True
        self.dropped_sessions += 1
        self.sessions.pop(session.routing_id, None)
        self.parked.discard(session)
        for slot in tuple(session.streams.values()):
            slot.fail("client_stalled", f"the client is gone: {why}")
            self._forget(session, slot)

    def _forget(self, session: Session, slot: Slot) -> None:
        session.streams.pop(slot.spec.sid, None)
        if slot.queued:
            session.ready.remove(slot)
        slot.discard(slot)

    @property
    def n_streams(self) -> int:
        """Streams whose ``end`` has not been handed over."""
        return sum(len(session.streams) for session in self.sessions.values())

    @property
    def busy(self) -> bool:
        """Whether anything waits for a client that takes messages."""
        return bool(self._ready)
