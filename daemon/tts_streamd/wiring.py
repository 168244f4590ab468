"""Puts the daemon together: the only file that knows every actor.

It owns what outlives an actor (mailboxes, sockets and sessions, the slots of streams and links) and gives each
actor the addresses it needs.  Start order is list order, stop is the reverse.
"""

from __future__ import annotations

import itertools
import os
import secrets
import ssl
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

import msgspec
import structlog
import trio

from tts_streamd.files import raise_file_limit, room_for_sessions
from tts_streamd_actors.buffering import Stream
from tts_streamd_actors.bus import Bus
from tts_streamd_actors.catalogue import Catalogue
from tts_streamd_actors.commons import Commons
from tts_streamd_actors.connection import Connection, Links, LinkSlot
from tts_streamd_actors.door import Door, Session
from tts_streamd_actors.engine import Engine
from tts_streamd_actors.gateway import Gateway
from tts_streamd_actors.link import Endpoint, Link
from tts_streamd_actors.reception import Defaults, Reception
from tts_streamd_actors.slot import MAILBOX_BYTES, MAILBOX_CAPACITY, Slot, StreamSpec
from tts_streamd_actors.supervisor import Child, DynamicSupervisor, Restart, Supervisor, TooManyChildrenError
from tts_streamd_actors.voicebook import VoiceBook
from tts_streamd_protocol import messages as m
from tts_streamd_protocol import signals as s
from tts_streamd_protocol.codec import encode
from tts_streamd_protocol.elevenlabs.premade import PREMADE
from tts_streamd_protocol.errors import TtsStreamdError

if TYPE_CHECKING:
    import socket

    from tts_streamd.config import Config
    from tts_streamd.runtime import RuntimeDir
    from tts_streamd_sockets.trio_zmq import TrioSocket

log = structlog.get_logger("tts_streamd")

CONNECTION_MAILBOX = 1024
"""Twice the streams there may be: each asks for one route at a time."""

LINK_MAILBOX = 256
"""Pieces that may wait for one socket: a stream has seldom more than two under way."""

MAX_CHILDREN = 100_000
"""The most that `streams.max_total` may be told: the gateway keeps that bound, and every stream has a link or two."""

STOP_S = 5.0
"""The whole ordered stop; systemd's own deadline is far above it."""

MAX_TAPPED = 512
"""Tapped messages that may wait for a watcher; one that cannot keep up misses some."""

Wrap = Callable[[Child], Child]


def unwrapped(child: Child) -> Child:
    """Every actor as it is; tests plant faults instead."""
    return child


class Daemon:
    """Everything, put together; ``root.run`` makes it live."""

    def __init__(
        self,
        config: Config,
        runtime: RuntimeDir,
        sockets: tuple[TrioSocket, TrioSocket],
        engine_listener: socket.socket | None,
        wrap: Wrap = unwrapped,
    ) -> None:
        self.config = config
        self.runtime = runtime
        self._wrap = wrap
        self._started_s = trio.current_time()
        self._link_numbers = itertools.count(1)
        self._tls: ssl.SSLContext | None = None
        self._stream_slots: dict[str, Slot] = {}
        self._commons = Commons(self._waiting_bytes)
        self._max_sessions = room_for_sessions(raise_file_limit(), config.gateway.max_sessions)
        self._version = f"tts-streamd/{version('tts-streamd')}"
        self.bus = Bus()
        self.door = Door(*sockets, boot_id=secrets.token_hex(8))
        self.voices = self._voice_book()
        self.streams = DynamicSupervisor(
            "streams", max_children=MAX_CHILDREN, on_give_up=self._stream_given_up
        )
        self.link_actors = DynamicSupervisor(
            "links", max_children=MAX_CHILDREN, on_give_up=self._link_given_up
        )
        self.links = Links(self._new_link, self._start_link, self._close_link, self._to_stream)
        self._connection_box = self.bus.create("connection", s.ConnectionSignal, CONNECTION_MAILBOX)
        self.engine = None if engine_listener is None else Engine(engine_listener.fileno(), os.environ)
        self.root = Supervisor("daemon", [wrap(child) for child in self._children()], stop_within_s=STOP_S)

    def _children(self) -> list[Child]:
        upstream = (
            Child(
                "catalogue",
                Catalogue(self.voices, self.config.endpoint.http_base, self._headers, self._tls_context).run,
            )
            if self.engine is None
            else Child("engine", self.engine.run)
        )
        connection = Connection(self._connection_box, self.links, self._default_key)
        return [
            upstream,
            Child("links", self.link_actors.run),
            Child("connection", connection.run),
            Child("streams", self.streams.run),
            Child("gateway", self._gateway().run),
        ]

    def _gateway(self) -> Gateway:
        reception = Reception(
            self.door, self.voices, self._defaults, self._start_stream, self._status, self._tapping
        )
        gateway = self.config.gateway
        return Gateway(
            self.door,
            reception,
            gateway.heartbeat_ms,
            self.config.streams.stall_ms,
            gateway.max_message_bytes,
        )

    # -- streams -------------------------------------------------------------------------------------------
    def _start_stream(self, session: Session, spec: StreamSpec) -> Slot:
        mailbox = self.bus.create(
            spec.name, s.StreamSignal, MAILBOX_CAPACITY, max_payload_bytes=MAILBOX_BYTES
        )
        slot = Slot(
            spec=spec,
            mailbox=mailbox,
            on_ready=partial(self.door.stream_ready, session),
            discard=self._discard_stream,
            opened_s=trio.current_time(),
            text_window=self.config.gateway.text_window,
        )
        try:
            self.streams.start_child(
                self._wrap(Child(spec.name, partial(self._run_stream, slot), Restart.ON_CRASH))
            )
        except TooManyChildrenError as error:
            self.bus.remove(spec.name)
            raise TtsStreamdError("busy", str(error), retry_ms=500) from error
        self._stream_slots[spec.name] = slot
        return slot

    async def _run_stream(self, slot: Slot, ready: Callable[[], None]) -> None:
        """A new incarnation each time: whatever the last one had in its head is gone."""
        stream = Stream(
            slot, open_route=self._connection_box.offer, tell=self._tell_link, commons=self._commons
        )
        await stream.run(ready)

    def _waiting_bytes(self) -> int:
        """Speech that waits for clients: 16-bit samples."""
        return 2 * sum(slot.journal.pending_samples for slot in self._stream_slots.values())

    def _discard_stream(self, slot: Slot) -> None:
        self._stream_slots.pop(slot.spec.name, None)
        self.bus.remove(slot.spec.name)

    def _stream_given_up(self, name: str, error: Exception) -> None:
        slot = self._stream_slots.get(name)
        if slot is not None:
            slot.fail(
                "internal",
                f"the stream's actor failed twice ({type(error).__name__}); the daemon's log says why",
            )

    # -- links ---------------------------------------------------------------------------------------------
    def _new_link(self, key: s.RouteKey) -> LinkSlot:
        name = f"link/{next(self._link_numbers)}"
        return LinkSlot(name, key, self.bus.create(name, s.LinkSignal, LINK_MAILBOX))

    def _start_link(self, link: LinkSlot) -> None:
        self.link_actors.start_child(
            self._wrap(Child(link.name, partial(self._run_link, link), Restart.ON_CRASH))
        )

    async def _run_link(self, link: LinkSlot, ready: Callable[[], None]) -> None:
        actor = Link(link, self._endpoint(), to_stream=self._to_stream, to_connection=self._to_connection)
        await actor.run(ready)

    def _close_link(self, link: LinkSlot) -> None:
        self.bus.remove(link.name)

    def _link_given_up(self, name: str, error: Exception) -> None:
        self.links.retire(name, "internal", f"the link's actor failed twice ({type(error).__name__})")

    def _tell_link(self, name: str, signal: s.LinkSignal) -> bool:
        link = self.links.live.get(name)
        return link is not None and link.mailbox.offer(signal)

    def _to_stream(self, name: str, signal: s.StreamSignal, pcm: bytes = b"") -> bool:
        slot = self._stream_slots.get(name)
        if slot is None:
            return False
        # A full mailbox may lose audio (the route is then broken and its text said again), never the news of a route.
        news = not isinstance(signal, s.FrameArrived)
        return slot.mailbox.offer(signal, pcm) or (news and slot.mailbox.offer(signal, urgent=True))

    def _to_connection(self, signal: s.ConnectionSignal) -> bool:
        if self.engine is not None and isinstance(signal, s.LinkOpened):
            self.engine.answered()
        elif self.engine is not None and isinstance(signal, s.LinkEnded) and _unanswered(signal):
            self.engine.unanswered()
        taken = self._connection_box.offer(signal)
        if not taken and isinstance(signal, s.LinkEnded):
            self.links.retire(signal.link)
        return taken

    # -- upstream ------------------------------------------------------------------------------------------
    def _endpoint(self) -> Endpoint:
        upstream = self.config.upstream
        return Endpoint(
            base=self.config.endpoint.ws_base,
            unix_path=str(self.runtime.engine) if self.engine is not None else None,
            headers=self._headers(),
            tls=self._tls_context() if self.config.endpoint.ws_base.startswith("wss:") else None,
            connect_timeout_s=upstream.connect_timeout_s,
            inactivity_timeout_s=upstream.inactivity_timeout_s,
        )

    def _headers(self) -> dict[str, str]:
        key = self.config.api_key
        return {} if key is None or self.engine is not None else {"xi-api-key": key.reveal()}

    def _tls_context(self) -> ssl.SSLContext:
        """One for all connections: making it reads the whole trust store, and sessions are resumed from it."""
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls

    def _voice_book(self) -> VoiceBook:
        premade = [
            m.VoiceInfo(voice=v.voice_id, name=v.name, category=v.category, description=v.description)
            for v in PREMADE
        ]
        embedded = self.config.endpoint.kind == "embedded"
        book = VoiceBook(self.config.voice.default, complete=embedded)
        book.replace(premade)
        return book

    def _default_key(self) -> s.RouteKey | None:
        """What the warm link is opened with."""
        try:
            voice = self.voices.resolve(None)
        except TtsStreamdError:
            return None  # streams are told so when they ask for it
        return s.RouteKey(voice=voice, model=self.config.voice.model, settings=self._settings())

    def _settings(self) -> m.VoiceSettings:
        voice = self.config.voice
        return m.VoiceSettings(
            stability=voice.stability,
            similarity_boost=voice.similarity_boost,
            style=voice.style,
            speed=voice.speed,
        )

    # -- what the gateway tells ----------------------------------------------------------------------------
    def _defaults(self) -> Defaults:
        config = self.config
        streams, gateway = config.streams, config.gateway
        return Defaults(
            daemon=self._version,
            upstream=config.endpoint.kind,
            events=f"ipc://{self.runtime.events}",
            model=config.voice.model,
            settings=self._settings(),
            schedule=streams.schedule,
            buffer_ms={"realtime": streams.realtime_buffer_ms, "eager": streams.eager_buffer_ms},
            share=gateway.share_default,
            heartbeat_ms=gateway.heartbeat_ms,
            limits=m.Limits(
                max_message_bytes=gateway.max_message_bytes,
                text_window=gateway.text_window,
                max_streams=streams.max_per_session,
                stall_ms=streams.stall_ms,
            ),
            max_streams=streams.max_total,
            max_sessions=self._max_sessions,
            uid=os.getuid(),
        )

    def _status(self) -> m.StatusReply:
        return m.StatusReply(
            daemon=self._version,
            pid=os.getpid(),
            uptime_ms=min(2**32 - 1, round(1000 * (trio.current_time() - self._started_s))),
            boot_id=self.door.boot_id,
            upstream=f"{self.config.endpoint.kind} {self.config.endpoint.ws_base}",
            sessions=len(self.door.sessions),
            streams=self.door.n_streams,
            actors=[*self._actors()],
            details={
                "links": {
                    "open": len(self.links.live),
                    "warm": self.links.warm is not None,
                    "opened": self.links.opened,
                    "ended": self.links.ended,
                },
                "engine": {"pid": self.engine.pid, "deaths": self.engine.deaths}
                if self.engine is not None
                else None,
                "parked_clients": len(self.door.parked),
                "dropped_sessions": self.door.dropped_sessions,
            },
        )

    def _actors(self) -> list[m.ActorInfo]:
        """The supervision tree as it stands: every actor with its restarts and, where it has one, its mailbox."""
        boxes = {box.name: box for box in self.bus.statistics().mailboxes}
        children = [*self.root.statistics().children]
        for group in (self.link_actors, self.streams):
            children += group.statistics().children
        return [
            m.ActorInfo(
                name=child.name,
                state=child.state,
                restarts=child.restarts,
                mailbox=boxes[child.name].depth if child.name in boxes else 0,
                mailbox_capacity=boxes[child.name].capacity if child.name in boxes else 0,
            )
            for child in children
        ]

    # -- tapping -------------------------------------------------------------------------------------------
    def _tapping(self) -> None:
        """Somebody began or stopped to watch: nobody watching costs nothing."""
        watched = any(session.tap is not None for session in self.door.sessions.values())
        self.bus.tap(self._on_tap if watched else None)

    def _on_tap(self, actor: str, head: bytes, payload: bytes) -> None:
        watchers = [
            session
            for session in tuple(self.door.sessions.values())
            if session.tap is not None and actor.startswith(session.tap) and len(session.replies) < MAX_TAPPED
        ]
        if not watchers:
            self._tapping()
            return
        tapped = encode(
            m.Tapped(
                actor=actor,
                t_ms=round(1000 * (trio.current_time() - self._started_s)),
                message=msgspec.msgpack.decode(head),
                payload_bytes=len(payload),
            )
        )
        for session in watchers:
            self.door.reply_head(session, tapped)


def _unanswered(ended: s.LinkEnded) -> bool:
    """The engine did not answer at all; a socket that it closed for want of text was answered."""
    return ended.code == "timeout" and not ended.opened
