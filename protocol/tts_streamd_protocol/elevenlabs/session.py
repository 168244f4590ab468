"""One ``stream-input`` socket as a machine without I/O: one socket, one utterance, one route of a stream.

Calls that speak return the text frame to send; ``receive`` and ``closed`` return what it means.  Rule: there
is at most one terminal event (``FinalEvent`` or ``FaultEvent``), and nothing after it.  A call out of turn is
our bug and raises ``LocalProtocolError``; what upstream does out of turn is a fault, never an exception.

    IDLE --start--> OPEN --finish--> FINISHING --final--> FINAL --close--> CLOSED
                      any fault, or a close before the final: FAILED
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import quote, urlencode

from tts_streamd_protocol.elevenlabs.faults import (
    MAX_WORDS,
    UpstreamFault,
    classify_close,
    classify_frame,
    redact,
)
from tts_streamd_protocol.elevenlabs.frames import (
    END_OF_TEXT,
    KEEP_ALIVE,
    Frame,
    FrameError,
    decode_frame,
    init_message,
    text_message,
)
from tts_streamd_protocol.units import has_voiced

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tts_streamd_protocol.messages import VoiceSettings
    from tts_streamd_protocol.take import Alignment

INACTIVITY_TIMEOUT_S: Final = 180
"""The longest that upstream allows; keep-alives come much sooner."""


class State(Enum):
    """Where a socket is in its one utterance."""

    IDLE = "idle"
    OPEN = "open"
    FINISHING = "finishing"
    FINAL = "final"
    CLOSED = "closed"
    FAILED = "failed"


class Input(Enum):
    """What can happen to it; the first three are ours."""

    START = "start"
    SPEAK = "speak"
    FINISH = "finish"
    AUDIO = "audio"
    FINAL = "final"
    FAULT = "fault"
    CLOSE = "close"


TRANSITIONS: Final[Mapping[State, Mapping[Input, State]]] = MappingProxyType(
    {
        State.IDLE: MappingProxyType({Input.START: State.OPEN, Input.FAULT: State.FAILED}),
        State.OPEN: MappingProxyType(
            {
                Input.SPEAK: State.OPEN,
                Input.FINISH: State.FINISHING,
                Input.AUDIO: State.OPEN,
                Input.FAULT: State.FAILED,
            }
        ),
        State.FINISHING: MappingProxyType(
            {Input.AUDIO: State.FINISHING, Input.FINAL: State.FINAL, Input.FAULT: State.FAILED}
        ),
        State.FINAL: MappingProxyType({Input.CLOSE: State.CLOSED}),
        State.CLOSED: MappingProxyType({}),
        State.FAILED: MappingProxyType({}),
    }
)
"""What is not here is an error of whose input it is; after a terminal event upstream is not listened to."""

_OVER: Final = frozenset({State.FINAL, State.CLOSED, State.FAILED})


class LocalProtocolError(Exception):
    """We spoke out of turn: a bug of ours."""


@dataclass(frozen=True, slots=True)
class AudioEvent:
    """Audio, alignment, or both, of one frame; ``pcm`` may end inside a sample."""

    pcm: bytes
    alignment: Alignment | None = None
    normalized: Alignment | None = None


@dataclass(frozen=True, slots=True)
class FinalEvent:
    """Upstream says that all was spoken.

    ``without_audio``: although letters or digits were sent, not one byte of sound came: an account without
    credits looks like this, and so does a script that the voice cannot speak.
    """

    without_audio: bool = False


@dataclass(frozen=True, slots=True)
class FaultEvent:
    """The socket is of no more use; close it."""

    fault: UpstreamFault


Event: TypeAlias = AudioEvent | FinalEvent | FaultEvent


class StreamInput:
    """The client's end of one socket.  Not started until ``start``; of no more use once ``is_over``."""

    def __init__(
        self,
        *,
        voice_settings: VoiceSettings | None = None,
        generation_config: Sequence[int] | None = None,
        extra: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> None:
        """*extra*: more fields of the first message; *key* is only kept out of the words of faults."""
        self._init = init_message(voice_settings, generation_config, extra)
        self._key = key
        self._state = State.IDLE
        self._spoke = False
        self._heard = False

    @property
    def state(self) -> State:
        """Where it is."""
        return self._state

    @property
    def is_over(self) -> bool:
        """Whether the terminal event has been given out."""
        return self._state in _OVER

    def start(self) -> str:
        """The first message; voice settings are in no other."""
        self._local(Input.START)
        return self._init

    def speak(self, text: str, *, flush: bool = False) -> str:
        """Text, verbatim.

        Raises:
            LocalProtocolError: not open, or *text* is empty, which would mean the end.
        """
        if not text:
            raise LocalProtocolError("empty text means the end of text: call finish")
        self._local(Input.SPEAK)
        self._spoke = self._spoke or has_voiced(text)
        return text_message(text, flush=flush)

    def keep_alive(self) -> str:
        """What resets upstream's timer and is not heard."""
        self._local(Input.SPEAK)
        return KEEP_ALIVE

    def finish(self) -> str:
        """The end of text: the rest is spoken, then comes the final."""
        self._local(Input.FINISH)
        return END_OF_TEXT

    def receive(self, frame: str | bytes) -> tuple[Event, ...]:
        """One text frame from upstream."""
        if self.is_over:
            return ()
        try:
            decoded = decode_frame(frame)
        except FrameError as error:
            return (self._strange(redact(str(error), self._key)),)
        if decoded.error is not None:
            return (self._fail(classify_frame(decoded.error, key=self._key)),)
        return (*self._audio(decoded), *self._final(decoded))

    def closed(self, code: int, reason: str = "") -> tuple[Event, ...]:
        """The socket is gone (1006: without a word); before the final, even with 1000, that is a fault."""
        if not self.is_over:
            return (self._fail(classify_close(code, reason, key=self._key)),)
        self._state = TRANSITIONS[self._state].get(Input.CLOSE, self._state)
        return ()

    def _local(self, given: Input) -> None:
        after = TRANSITIONS[self._state].get(given)
        if after is None:
            raise LocalProtocolError(f"{given.value} while {self._state.value}")
        self._state = after

    def _audio(self, frame: Frame) -> tuple[Event, ...]:
        if frame.pcm is None and frame.alignment is None and frame.normalized is None:
            return ()
        if Input.AUDIO not in TRANSITIONS[self._state]:
            return (self._strange("audio before the first message"),)
        self._heard = self._heard or frame.pcm is not None
        return (AudioEvent(frame.pcm or b"", frame.alignment, frame.normalized),)

    def _final(self, frame: Frame) -> tuple[Event, ...]:
        if not frame.is_final or self.is_over:
            return ()
        if Input.FINAL not in TRANSITIONS[self._state]:
            return (self._strange("the final frame came before the end of text"),)
        self._state = TRANSITIONS[self._state][Input.FINAL]
        return (FinalEvent(without_audio=self._spoke and not self._heard),)

    def _strange(self, words: str) -> FaultEvent:
        return self._fail(UpstreamFault("upstream_protocol", words[:MAX_WORDS], retryable=True))

    def _fail(self, fault: UpstreamFault) -> FaultEvent:
        self._state = TRANSITIONS[self._state][Input.FAULT]
        return FaultEvent(fault)


def url_path(  # noqa: PLR0913  the query parameters that the daemon decides
    voice_id: str,
    *,
    model: str,
    output_format: str = "pcm_24000",
    language: str | None = None,
    inactivity_timeout_s: int = INACTIVITY_TIMEOUT_S,
    sync_alignment: bool = False,
    auto_mode: bool = False,
    options: Mapping[str, Any] | None = None,
) -> str:
    """Path and query of the socket, percent-encoded; *options* from ``query_options``.

    ``sync_alignment`` stays false: then the first frame of a segment carries the times of the whole segment,
    and they span its audio exactly [recorded].  How frames are sliced with true was never recorded.
    """
    query: dict[str, Any] = {
        "model_id": model,
        "output_format": output_format,
        "inactivity_timeout": inactivity_timeout_s,
        "sync_alignment": sync_alignment,
    }
    if auto_mode:
        query["auto_mode"] = True
    if language is not None:
        query["language_code"] = language
    query |= options or {}
    encoded = urlencode({name: _parameter(value) for name, value in query.items()}, quote_via=quote)
    return f"/v1/text-to-speech/{quote(voice_id, safe='')}/stream-input?{encoded}"


def query_options(upstream: Mapping[str, Any] | None) -> dict[str, Any]:
    """Those of a client's ``upstream`` options that belong into the URL: all that are one value."""
    return {name: value for name, value in (upstream or {}).items() if not isinstance(value, list | dict)}


def init_options(upstream: Mapping[str, Any] | None) -> dict[str, Any]:
    """Those that belong into the first message: lists and maps, as the pronunciation dictionaries are."""
    return {name: value for name, value in (upstream or {}).items() if isinstance(value, list | dict)}


def _parameter(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
