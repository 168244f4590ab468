"""The bus: every message between the daemon and its clients, wire contract version 1 (docs/PROTOCOL.md).

Requests come from clients, replies and reports go to them; ``codec`` turns both into msgpack.  Text offsets
(``cp``) are Unicode code points of the stream's text as the client sent it; audio positions (``at``, ``n``)
are samples at ``Opened.rate_hz``; every other duration says its unit.  ``None`` is absent on the wire.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, Struct, field

from tts_streamd_protocol.errors import Code

PROTO: tuple[int, int] = (1, 0)
"""Major, minor.  Another major is refused; a minor only adds."""

U32: TypeAlias = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Label: TypeAlias = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9._-]{1,64}\Z")]
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256)]

Priority: TypeAlias = Literal["important", "message", "text", "notification", "progress"]
Pace: TypeAlias = Literal["realtime", "eager"]
NamedSchedule: TypeAlias = Literal["aggressive", "speed", "balanced", "quality", "adaptive"]
ExplicitSchedule: TypeAlias = Annotated[
    list[Annotated[int, Meta(ge=50, le=500)]], Meta(min_length=1, max_length=16)
]
Phase: TypeAlias = Literal["queued", "speaking", "paused", "recovering", "degraded"]
Reason: TypeAlias = Literal["done", "cancelled", "superseded", "failed"]
Scope: TypeAlias = Literal["mine", "all"]


class Request(Struct, frozen=True, kw_only=True, tag_field="op", omit_defaults=True):
    """What a client sends: one frame, one map.  ``rid`` asks for exactly one reply that echoes it."""

    rid: U32 | None = None


class VoiceSettings(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """ElevenLabs' voice settings; ranges as their API documents them."""

    stability: Annotated[float, Meta(ge=0, le=1)] | None = None
    similarity_boost: Annotated[float, Meta(ge=0, le=1)] | None = None
    style: Annotated[float, Meta(ge=0, le=1)] | None = None
    speed: Annotated[float, Meta(ge=0.7, le=1.2)] | None = None
    use_speaker_boost: bool | None = None


class Hello(Request, frozen=True, kw_only=True, tag="hello"):
    """The first message of a session."""

    proto: Annotated[list[U32], Meta(min_length=2, max_length=2)]
    client: Name
    lang: Name | None = None


class StreamOptions(Request, frozen=True, kw_only=True):
    """How a stream shall sound and be delivered (contract section 5)."""

    sid: U32
    voice: Name | None = None
    model: Name | None = None
    language: Name | None = None
    settings: VoiceSettings | None = None
    upstream: dict[str, Any] | None = None
    format: Name = "pcm_24000"
    schedule: NamedSchedule | ExplicitSchedule | None = None
    pace: Pace = "realtime"
    priority: Priority = "message"
    play: bool = False
    deliver: bool = True
    credit_ms: U32 | None = None
    cache: bool = True
    label: Label | None = None
    share: bool | None = None
    private: bool = False
    start_cp: U32 = 0
    before: Annotated[str, Meta(max_length=1000)] | None = None


class Open(StreamOptions, frozen=True, kw_only=True, tag="open"):
    """Open a stream whose text follows."""


class Speak(StreamOptions, frozen=True, kw_only=True, tag="speak"):
    """``open``, ``text`` and ``close`` in one."""

    text: str


class Text(Request, frozen=True, kw_only=True, tag="text"):
    """More text.  ``cp`` = code points of this stream sent before this message: makes a resend safe."""

    sid: U32
    text: str
    cp: U32 | None = None
    flush: bool = False


class Voice(Request, frozen=True, kw_only=True, tag="voice"):
    """Following text in another voice."""

    sid: U32
    voice: Name
    settings: VoiceSettings | None = None


class Close(Request, frozen=True, kw_only=True, tag="close"):
    """No more text: the rest is spoken, then ``end``."""

    sid: U32


class Credit(Request, frozen=True, kw_only=True, tag="credit"):
    """The client can take so many more milliseconds of audio."""

    sid: U32
    add_ms: U32


class Cancel(Request, frozen=True, kw_only=True, tag="cancel"):
    """Stop at once.  ``at``: samples the client has really played; ``session``: whose, if not one's own."""

    sid: U32 | None = None
    session: U32 | None = None
    scope: Scope | None = None
    at: U32 | None = None


class Ping(Request, frozen=True, kw_only=True, tag="ping"):
    """Are you there?"""


class Status(Request, frozen=True, kw_only=True, tag="status"):
    """How is the daemon: actors, restarts, mailboxes, links, upstream."""


class Voices(Request, frozen=True, kw_only=True, tag="voices"):
    """Which voices are there."""


class Streams(Request, frozen=True, kw_only=True, tag="streams"):
    """Which streams are open."""


class Tap(Request, frozen=True, kw_only=True, tag="tap"):
    """Show the actors' own messages to this session (the daemon's user or root only)."""

    actor: Name | None = None
    on: bool = True


AnyRequest: TypeAlias = (
    Hello | Open | Speak | Text | Voice | Close | Credit | Cancel | Ping | Status | Voices | Streams | Tap
)


# -- daemon -> client ---------------------------------------------------------------------------------------


class Reply(Struct, frozen=True, kw_only=True, tag_field="op", omit_defaults=True):
    """What the daemon answers."""


class Limits(Struct, frozen=True, kw_only=True):
    """What a client may count on, and must keep."""

    max_message_bytes: int = 65_536
    text_window: int = 65_536
    max_streams: int = 64
    max_credit_ms: int = 600_000
    stall_ms: int = 30_000


class Welcome(Reply, frozen=True, kw_only=True, tag="welcome"):
    """Answer to ``hello``."""

    rid: U32 | None = None
    proto: tuple[int, int]
    daemon: str
    boot_id: str
    session: U32
    features: list[str]
    limits: Limits
    formats: list[str]
    rate_hz: int
    heartbeat_ms: int
    events: str
    upstream: Literal["elevenlabs", "embedded"]
    share_default: bool


class Opened(Reply, frozen=True, kw_only=True, tag="opened"):
    """The stream is open; audio positions are samples at ``rate_hz``."""

    rid: U32 | None = None
    sid: U32
    voice: str
    model: str
    format: str
    rate_hz: int
    channels: int


class Ok(Reply, frozen=True, kw_only=True, tag="ok"):
    """Done."""

    rid: U32


class Ack(Reply, frozen=True, kw_only=True, tag="ack"):
    """Text up to ``chars`` is taken; may be merged."""

    rid: U32 | None = None
    sid: U32
    chars: U32


class Pong(Reply, frozen=True, kw_only=True, tag="pong"):
    """Answer to ``ping``."""

    rid: U32 | None = None


class Error(Reply, frozen=True, kw_only=True, tag="error"):
    """Refused: what happened, and what to do about it.

    ``sid`` and ``rid`` are there where they could be read.  ``retryable``: the same may succeed later.
    ``chars`` (``text_gap``): what the stream has accepted.
    """

    rid: U32 | None = None
    sid: U32 | None = None
    code: Code
    message: str
    retryable: bool
    retry_ms: U32 | None = None
    supported: list[list[int]] | None = None
    chars: U32 | None = None


class VoiceInfo(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One voice that ``open`` accepts, by id or by name."""

    voice: str
    name: str
    category: str = "premade"
    description: str | None = None


class VoicesReply(Reply, frozen=True, kw_only=True, tag="voices"):
    """Answer to ``voices``."""

    rid: U32 | None = None
    voices: list[VoiceInfo]
    default: str


class StreamInfo(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One open stream; ``text`` (the last of it) only to the same user, never of a private one."""

    session: U32
    sid: U32
    client: str
    uid: int
    voice: str
    format: str
    phase: Phase
    chars: U32
    released_cp: U32
    samples: U32
    age_ms: U32
    label: str | None = None
    text: str | None = None


class StreamsReply(Reply, frozen=True, kw_only=True, tag="streams"):
    """Answer to ``streams``."""

    rid: U32 | None = None
    streams: list[StreamInfo]


class ActorInfo(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One supervised actor."""

    name: str
    state: Literal["starting", "running", "stopping"]
    restarts: U32
    mailbox: U32 = 0
    mailbox_capacity: U32 = 0


class StatusReply(Reply, frozen=True, kw_only=True, tag="status"):
    """Answer to ``status``.  ``uptime_ms`` stops at 2**32 - 1 (49 days): no integer on the bus is larger."""

    rid: U32 | None = None
    daemon: str
    pid: int
    uptime_ms: int
    boot_id: str
    upstream: str
    sessions: U32
    streams: U32
    actors: list[ActorInfo]
    details: dict[str, Any] = field(default_factory=dict[str, Any])


class Tapped(Reply, frozen=True, kw_only=True, tag="tapped"):
    """One message between actors, as they saw it (``message`` is its decoded head)."""

    rid: U32 | None = None
    actor: str | None = None
    on: bool | None = None
    t_ms: U32 | None = None
    message: dict[str, Any] | None = None
    payload_bytes: U32 = 0


class Goodbye(Reply, frozen=True, kw_only=True, tag="goodbye"):
    """The daemon stops in ``in_ms``."""

    in_ms: U32
    reason: str


class Tick(Reply, frozen=True, kw_only=True, tag="tick"):
    """The daemon lives: each ``heartbeat_ms`` while a session has open streams, each second to observers."""

    session: U32 | None = None
    boot_id: str


class Subscribed(Reply, frozen=True, kw_only=True, tag="subscribed"):
    """Every message on this topic from now on reaches the subscriber."""


# -- a stream's own messages: numbered, in one order, on one socket -----------------------------------------


class Report(Reply, frozen=True, kw_only=True):
    """The five kinds of message that make up a stream; ``seq`` counts them from 0 without a gap."""

    session: U32
    sid: U32
    seq: U32


class Audio(Report, frozen=True, kw_only=True, tag="audio"):
    """``n`` samples from sample ``at`` as payload; once they are heard, all text before ``cp`` has been."""

    at: int
    n: int
    cp: int


Word: TypeAlias = tuple[str, int, int, int, int]
"""text, start_ms, end_ms, cp_start, cp_end"""


class Words(Report, frozen=True, kw_only=True, tag="words"):
    """Word times, never later than the audio in which the words begin."""

    words: list[Word]


class State(Report, frozen=True, kw_only=True, tag="state"):
    """The stream's phase, from sample ``at`` on."""

    state: Phase
    at: int
    detail: str | None = None


class Stamps(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Milliseconds from the arrival of ``open`` to the first of each.

    Text accepted, piece cut, piece sent, frame from upstream, audio handed over, audio out of the device
    (``play`` streams only).
    """

    accepted: int | None = None
    cut: int | None = None
    sent: int | None = None
    first_frame: int | None = None
    delivered: int | None = None
    audible: int | None = None


class Source(Struct, frozen=True, kw_only=True):
    """Where the released code points came from; their sum is what was released."""

    live: int = 0
    cache: int = 0
    fallback: int = 0
    silent: int = 0


class StreamError(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a stream failed."""

    code: Code
    message: str
    retryable: bool
    retry_ms: U32 | None = None


class End(Report, frozen=True, kw_only=True, tag="end"):
    """Exactly one per opened sid; nothing after it.

    ``chars`` = last accepted cp - start_cp; ``samples`` = audio handed over; ``heard_cp`` = end of the last
    word heard whole; ``skipped`` = text in which nothing could be spoken; ``sent`` = code points sent
    upstream (what it may charge: text said again counts again); ``ttfa_ms`` = accepted to delivered.
    """

    reason: Reason
    chars: int
    samples: int
    heard_cp: int
    skipped: list[tuple[int, int]]
    ttfa_ms: int | None = None
    stamps_ms: Stamps
    source: Source
    sent: int
    error: StreamError | None = None


AnyReport: TypeAlias = Audio | Words | State | End
AnyReply: TypeAlias = (
    Welcome | Opened | Ok | Ack | Pong | Error | VoicesReply | StreamsReply | StatusReply | Tapped | Goodbye
    | Tick | Subscribed | Audio | Words | State | End
)  # fmt: skip
