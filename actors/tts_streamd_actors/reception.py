"""What each request means: one method a request, none of them waits.

A refusal is raised as ``TtsStreamdError`` and goes to whoever asked; it harms no other stream or session.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio
from msgspec import structs

from tts_streamd_actors.outlet import RATE_HZ
from tts_streamd_actors.slot import Slot, StreamSpec
from tts_streamd_audio.formats import FormatError, available_formats, parse_format
from tts_streamd_protocol import messages as m
from tts_streamd_protocol.chunking import schedule
from tts_streamd_protocol.codec import Refusal
from tts_streamd_protocol.errors import TtsStreamdError
from tts_streamd_protocol.journal import TextGapError
from tts_streamd_protocol.signals import RouteKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from tts_streamd_actors.door import Door, Session
    from tts_streamd_actors.voicebook import VoiceBook
    from tts_streamd_sockets.trio_zmq import Peer

FEATURES = (
    "open", "text", "speak", "close", "credit", "cancel",
    "ping", "status", "voices", "streams", "tap", "words", "events",
)  # fmt: skip
"""What works; an operation that is not here answers ``unknown_op``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What a stream gets when its ``open`` does not say, and the bounds it must keep."""

    daemon: str
    upstream: str
    events: str
    model: str
    settings: m.VoiceSettings
    schedule: str | tuple[int, ...]
    buffer_ms: dict[m.Pace, int]
    share: bool
    heartbeat_ms: int
    limits: m.Limits
    max_streams: int
    max_sessions: int
    uid: int


@dataclass(slots=True, eq=False)
class Reception:
    """``start`` makes a slot and sets its actor going; ``status`` gathers what the daemon is doing."""

    door: Door
    voices: VoiceBook
    defaults: Callable[[], Defaults]
    start: Callable[[Session, StreamSpec], Slot]
    status: Callable[[], m.StatusReply]
    tapping: Callable[[], None]

    # -- sessions ------------------------------------------------------------------------------------------
    def hello(self, hello: m.Hello, session: Session | None, routing_id: bytes, peer: Peer | None) -> Session:
        """The first message of a connection; said again it changes nothing."""
        defaults = self.defaults()
        if session is None:
            if self.door.stopping:
                raise TtsStreamdError(
                    "shutting_down", "the daemon is stopping; try again in a moment", retry_ms=1000
                )
            if len(self.door.sessions) >= defaults.max_sessions:
                self.door.drop_vanished(trio.current_time())
            if len(self.door.sessions) >= defaults.max_sessions:
                raise TtsStreamdError(
                    "busy", f"{defaults.max_sessions} clients are connected already", retry_ms=1000
                )
            session = self.door.enter(routing_id, hello.client, peer)
            session.ticked_s = trio.current_time()
        welcome = m.Welcome(
            rid=hello.rid,
            proto=m.PROTO,
            daemon=defaults.daemon,
            boot_id=self.door.boot_id,
            session=session.id,
            features=list(FEATURES),
            limits=defaults.limits,
            formats=list(available_formats()),
            rate_hz=RATE_HZ,
            heartbeat_ms=defaults.heartbeat_ms,
            events=defaults.events,
            upstream="elevenlabs" if defaults.upstream == "elevenlabs" else "embedded",
            share_default=defaults.share,
        )
        self.door.reply(session, welcome)
        return session

    def request(self, session: Session, request: m.AnyRequest) -> None:
        """Serve one request of a session; raises ``TtsStreamdError``."""
        try:
            self._serve(session, request)
        except TtsStreamdError as error:
            sid = getattr(request, "sid", None)
            raise Refusal(
                error.code,
                error.message,
                rid=request.rid,
                sid=sid,
                retry_ms=error.retry_ms,
                chars=error.chars if isinstance(error, TextGapError) else None,
                leaves_hole=isinstance(request, m.Text) and request.cp is None,
            ) from error

    def refused(self, session: Session, refusal: Refusal) -> None:
        """Text that was refused and cannot be sent again without a hole ends its stream (contract 5.3)."""
        if refusal.leaves_hole and refusal.sid is not None:
            slot = session.streams.get(refusal.sid)
            if slot is not None:
                slot.fail(refusal.code, refusal.message)

    def _serve(self, session: Session, request: m.AnyRequest) -> None:
        match request:
            case m.Text():
                self._text(session, request)
            case m.Open() | m.Speak():
                self._open(session, request)
            case m.Close():
                self._with(session, request.sid, Slot.close)
                self._ok(session, request)
            case m.Credit():
                self._with(session, request.sid, lambda slot: self._credit(slot, request.add_ms))
                self._ok(session, request)
            case m.Cancel():
                self._cancel(session, request)
            case m.Voice():
                raise TtsStreamdError(
                    "unknown_op", "`voice` is not built yet: open another stream in the other voice"
                )
            case _:
                self._tell(session, request)

    def _tell(self, session: Session, request: m.AnyRequest) -> None:
        """Requests about the daemon."""
        match request:
            case m.Ping():
                self.door.reply(session, m.Pong(rid=request.rid))
            case m.Voices():
                voices = list(self.voices.voices.values())
                reply = m.VoicesReply(rid=request.rid, voices=voices, default=self.voices.default)
                self.door.reply(session, reply)
            case m.Streams():
                self._streams(session, request)
            case m.Status():
                self.door.reply(session, structs.replace(self.status(), rid=request.rid))
            case m.Tap():
                self._tap(session, request)
            case _:
                pass  # `hello` again: the gateway has answered it

    def _ok(self, session: Session, request: m.Request) -> None:
        if request.rid is not None:
            self.door.reply(session, m.Ok(rid=request.rid))

    def _with(self, session: Session, sid: int, act: Callable[[Slot], None]) -> bool:
        """Act on a stream; one that has ended is passed over (False), one that never was is an error."""
        slot = session.streams.get(sid)
        if slot is not None:
            act(slot)
        elif sid > session.last_sid:
            raise TtsStreamdError(
                "no_such_stream", f"no stream {sid} was opened in this session; send `open` first"
            )
        return slot is not None

    # -- streams -------------------------------------------------------------------------------------------
    def _open(self, session: Session, request: m.Open | m.Speak) -> None:
        defaults = self.defaults()
        self._check_room(session, request.sid, defaults)
        spec = self._spec(session, request, defaults)
        slot = self.start(session, spec)
        session.last_sid = request.sid
        session.streams[request.sid] = slot
        opened = m.Opened(
            rid=request.rid,
            sid=request.sid,
            voice=spec.key.voice,
            model=spec.key.model,
            format=spec.format.name,
            rate_hz=spec.format.rate_hz,
            channels=1,
        )
        self.door.reply(session, opened)
        if isinstance(request, m.Speak):
            slot.accept(request.text, None, flush=False, now_s=trio.current_time())
            slot.told_cp = slot.acked_cp  # `opened` is the one reply to `speak`
            slot.close()

    def _check_room(self, session: Session, sid: int, defaults: Defaults) -> None:
        if self.door.stopping:
            raise TtsStreamdError(
                "shutting_down", "the daemon is stopping; try again in a moment", retry_ms=1000
            )
        if sid <= session.last_sid:
            raise TtsStreamdError(
                "duplicate_stream",
                f"sid {sid} is not above {session.last_sid}, the last one opened in this session",
            )
        if len(session.streams) >= defaults.limits.max_streams:
            raise TtsStreamdError(
                "too_many_streams",
                f"{defaults.limits.max_streams} streams are open in this session; end one first",
            )
        if self.door.n_streams >= defaults.max_streams:
            raise TtsStreamdError("busy", f"the daemon has {defaults.max_streams} streams open", retry_ms=500)

    def _spec(self, session: Session, request: m.Open | m.Speak, defaults: Defaults) -> StreamSpec:
        try:
            fmt = parse_format(request.format)
        except FormatError as error:
            raise TtsStreamdError("bad_value", f"format: {error}") from error
        if request.format not in available_formats() and fmt.codec == "opus":
            raise TtsStreamdError(
                "bad_value", "format: Opus needs the extra: pip install 'tts-streamd[opus]'"
            )
        key = RouteKey(
            voice=self.voices.resolve(request.voice),
            model=_model(request.model or defaults.model),
            settings=_merge(defaults.settings, request.settings),
            language=request.language,
            upstream=request.upstream,
        )
        credit = request.credit_ms
        return StreamSpec(
            session=session.id,
            sid=request.sid,
            client=session.client,
            uid=session.uid,
            key=key,
            format=fmt,
            schedule=schedule(request.schedule if request.schedule is not None else defaults.schedule),
            buffer_ms=defaults.buffer_ms[request.pace],
            credit_ms=None if credit is None else min(credit, defaults.limits.max_credit_ms),
            label=request.label,
            shared=(defaults.share if request.share is None else request.share) and not request.private,
            private=request.private,
            start_cp=request.start_cp,
            before=request.before or "",
        )

    def _text(self, session: Session, request: m.Text) -> None:
        def accept(slot: Slot) -> None:
            if slot.ended:
                self._ok(session, request)
                return
            slot.accept(request.text, request.cp, flush=request.flush, now_s=trio.current_time())
            if request.rid is not None:
                slot.told_cp = slot.acked_cp
                chars = slot.acked_cp - slot.spec.start_cp
                self.door.reply(session, m.Ack(rid=request.rid, sid=request.sid, chars=chars))
            else:
                slot.on_ready(slot)

        if not self._with(session, request.sid, accept):
            self._ok(session, request)

    def _credit(self, slot: Slot, add_ms: int) -> None:
        if not slot.outlet.add_credit(add_ms, self.defaults().limits.max_credit_ms):
            raise TtsStreamdError("bad_value", "credit: this stream was opened without credit_ms")
        slot.on_ready(slot)

    def _cancel(self, session: Session, request: m.Cancel) -> None:
        if request.sid is not None:
            owner = session if request.session is None else self._session(session, request.session)
            if owner is not None:
                self._with(owner, request.sid, lambda slot: slot.finish("cancelled", at=request.at))
        else:
            for other in tuple(self.door.sessions.values()):
                if other is session or (request.scope == "all" and self._may_touch(session, other)):
                    for slot in tuple(other.streams.values()):
                        slot.finish("cancelled")
        self._ok(session, request)

    def _session(self, session: Session, number: int) -> Session | None:
        """Another session, by its number; None if it is gone.  Raises ``denied``."""
        found = next((other for other in self.door.sessions.values() if other.id == number), None)
        if found is not None and found is not session and not self._may_touch(session, found):
            raise TtsStreamdError("denied", f"session {number} is another user's")
        return found

    def _may_touch(self, session: Session, other: Session) -> bool:
        """One's own user's streams; root and the daemon's user may stop everybody's."""
        return session.uid in {0, self.defaults().uid, other.uid}

    # -- looking in ----------------------------------------------------------------------------------------
    def _streams(self, session: Session, request: m.Streams) -> None:
        now = trio.current_time()
        streams = [
            slot.info(now, with_text=session.uid in {0, slot.spec.uid})
            for other in self.door.sessions.values()
            for slot in other.streams.values()
            if other is session or slot.spec.shared or self._may_touch(session, other)
        ]
        self.door.reply(session, m.StreamsReply(rid=request.rid, streams=streams))

    def _tap(self, session: Session, request: m.Tap) -> None:
        if session.uid not in {0, self.defaults().uid}:
            raise TtsStreamdError(
                "denied", "only root and the daemon's own user may watch the actors' messages"
            )
        session.tap = (request.actor or "") if request.on else None
        self.tapping()
        self.door.reply(session, m.Tapped(rid=request.rid, actor=request.actor, on=request.on))


def _model(model: str) -> str:
    if model.startswith(("eleven_v3", "eleven_v4")):
        raise TtsStreamdError(
            "model_not_supported",
            f"{model[:80]} is not served over the text-to-speech WebSocket; use eleven_flash_v2_5",
        )
    return model


def _merge(defaults: m.VoiceSettings, own: m.VoiceSettings | None) -> m.VoiceSettings:
    """What the client leaves out is the configuration's."""
    if own is None:
        return defaults
    fields = m.VoiceSettings.__struct_fields__
    chosen = {name: getattr(own, name) for name in fields if getattr(own, name) is not None}
    return m.VoiceSettings(**{name: getattr(defaults, name) for name in fields} | chosen)
