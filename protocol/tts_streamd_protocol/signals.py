"""What the actors tell each other: typed messages, carried as msgpack, so that anything inside can be tapped.

Audio never enters msgpack: it travels as the payload beside the message.  ``route`` numbers are used once per
stream.  A route is one upstream context, socket or request that carries one unbroken run of a stream's text.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec import Struct

from tts_streamd_protocol.errors import Code
from tts_streamd_protocol.messages import VoiceSettings


class Signal(Struct, frozen=True, kw_only=True, tag_field="op", omit_defaults=True):
    """A message between actors."""


class RouteKey(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a socket must have been opened with to serve a stream: only equal keys share a warm one."""

    voice: str
    model: str
    settings: VoiceSettings
    language: str | None = None
    upstream: dict[str, Any] | None = None


class Times(Struct, frozen=True, kw_only=True, array_like=True):
    """Upstream's character times, ms from the first sample of the frame that carries them."""

    chars: list[str]
    starts_ms: list[float]
    durations_ms: list[float]


# -- gateway -> stream ------------------------------------------------------------------------------------


class TextAccepted(Signal, frozen=True, kw_only=True, tag="text_accepted"):
    """The journal holds text up to ``cp`` (``closed``: and no more will come)."""

    cp: int
    closed: bool = False


class AudioTaken(Signal, frozen=True, kw_only=True, tag="audio_taken"):
    """The client took audio that a throttled stream was waiting to get rid of."""


class StopStream(Signal, frozen=True, kw_only=True, tag="stop_stream"):
    """The stream has ended in its slot: give its route back and end."""


# -- stream -> connection, connection -> stream -----------------------------------------------------------


class OpenRoute(Signal, frozen=True, kw_only=True, tag="open_route"):
    """``stream`` (a mailbox name) needs a route."""

    stream: str
    route: int
    key: RouteKey


class RouteOpened(Signal, frozen=True, kw_only=True, tag="route_opened"):
    """Pieces for ``route`` may be told to ``link`` (a mailbox name) from now on."""

    route: int
    link: str


class RouteBroken(Signal, frozen=True, kw_only=True, tag="route_broken"):
    """The route is dead; ``retryable``: another one may fare better."""

    route: int
    code: Code
    message: str
    retryable: bool
    retry_ms: int | None = None


# -- stream -> link ---------------------------------------------------------------------------------------


class SpeakPiece(Signal, frozen=True, kw_only=True, tag="speak_piece"):
    """One piece of text: one upstream message, one generated segment."""

    route: int
    cp_start: int
    cp_end: int
    text: str


class EndRoute(Signal, frozen=True, kw_only=True, tag="end_route"):
    """No more text on this route: upstream shall say what is left and end it."""

    route: int


class DropRoute(Signal, frozen=True, kw_only=True, tag="drop_route"):
    """Nobody listens to this route any more."""

    route: int


# -- connection -> link, link -> connection ---------------------------------------------------------------


class BindRoute(Signal, frozen=True, kw_only=True, tag="bind_route"):
    """The link serves this stream from now on."""

    stream: str
    route: int


class LinkOpened(Signal, frozen=True, kw_only=True, tag="link_opened"):
    """The socket is open; opening it took so long."""

    link: str
    took_ms: float


class LinkEnded(Signal, frozen=True, kw_only=True, tag="link_ended"):
    """The link is gone; ``code`` says why, where it was no ordinary end; ``opened``: it had reached upstream."""

    link: str
    opened: bool = False
    code: Code | None = None
    message: str | None = None


# -- link -> stream ---------------------------------------------------------------------------------------


class FrameArrived(Signal, frozen=True, kw_only=True, tag="frame_arrived"):
    """Audio of the route (the payload: 16-bit mono PCM, 24 kHz, perhaps ending in half a sample)."""

    route: int
    alignment: Times | None = None
    normalized: Times | None = None


class RouteFinal(Signal, frozen=True, kw_only=True, tag="route_final"):
    """Upstream says that all of the route's text has been spoken."""

    route: int


StreamSignal: TypeAlias = (
    TextAccepted | AudioTaken | StopStream | RouteOpened | RouteBroken | FrameArrived | RouteFinal
)
ConnectionSignal: TypeAlias = OpenRoute | LinkOpened | LinkEnded
LinkSignal: TypeAlias = SpeakPiece | EndRoute | DropRoute | BindRoute
