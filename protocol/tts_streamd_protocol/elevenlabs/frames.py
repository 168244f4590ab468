"""ElevenLabs' JSON frames, seen from the client: what is sent, and what comes back, typed.

Rule: the shapes differ between their documents, their SDK and recordings; every spelling that any of them
shows is read, unknown keys are ignored, and alignment that makes no sense costs itself only, never its audio.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pybase64
from msgspec import Raw, Struct, field

from tts_streamd_protocol.take import Alignment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tts_streamd_protocol.messages import VoiceSettings

KEEP_ALIVE: Final = '{"text":" "}'
"""Resets upstream's timer; never voiced, not even as a pause [recorded]."""
END_OF_TEXT: Final = '{"text":""}'
"""Speak what is buffered, then the final frame, then close 1000."""


class FrameError(ValueError):
    """A frame that no version of their protocol sends."""


@dataclass(frozen=True, slots=True)
class UpstreamError:
    """An error frame ``{"message", "error", "code"}``: ``error`` is a stable id, ``code`` the close code."""

    message: str
    error: str | None = None
    code: int | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame from upstream.

    ``pcm``: decoded audio bytes as they came (perhaps half a sample at the end), None without audio.  Times
    of ``alignment`` (text as sent) and ``normalized`` (as spoken) are ms from the first sample of this frame;
    alignment that cannot be read is there, and not ``sound``.  ``is_final``: nothing more comes for this
    socket, or this context.
    """

    pcm: bytes | None = None
    alignment: Alignment | None = None
    normalized: Alignment | None = None
    is_final: bool = False
    context_id: str | None = None
    error: UpstreamError | None = None


def init_message(
    voice_settings: VoiceSettings | None = None,
    generation_config: Sequence[int] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> str:
    """The first message of a socket, the only one that may hold voice settings.

    *generation_config* is the chunk length schedule (1 to 16 numbers of 50..500 characters); *extra* goes in
    as it is (``pronunciation_dictionary_locators``).
    """
    message: dict[str, Any] = {"text": " "}
    if voice_settings is not None and (settings := msgspec.to_builtins(voice_settings)):
        message["voice_settings"] = settings
    if generation_config is not None:
        message["generation_config"] = {"chunk_length_schedule": list(generation_config)}
    return _json({**(extra or {}), **message})


def text_message(text: str, *, flush: bool = False) -> str:
    """More text, verbatim; *flush* has everything buffered spoken now.

    ``text`` empty without *flush* would be the end of text: ``END_OF_TEXT``.
    """
    return _json({"text": text, "flush": True} if flush else {"text": text})


def decode_frame(frame: str | bytes) -> Frame:
    """Read one text frame.

    Raises:
        FrameError: it is no JSON object, a key that matters has another type, or its audio is not base64.
    """
    wire = _decode(frame)
    return Frame(
        pcm=_audio(wire.audio),
        alignment=_alignment(wire.alignment),
        normalized=_alignment(wire.normalized_camel) or _alignment(wire.normalized),
        is_final=bool(wire.is_final_camel or wire.is_final),
        context_id=wire.context_id_camel or wire.context_id,
        error=_error(wire),
    )


class _Wire(Struct):
    """Both spellings of everything; what needs a second look, or is rare, stays raw."""

    audio: str | None = None
    alignment: Raw = Raw()
    normalized_camel: Raw = field(default=Raw(), name="normalizedAlignment")
    normalized: Raw = field(default=Raw(), name="normalized_alignment")
    is_final_camel: bool | None = field(default=None, name="isFinal")
    is_final: bool | None = None
    context_id_camel: str | None = field(default=None, name="contextId")
    context_id: str | None = None
    message: Raw = Raw()
    error: Raw = Raw()
    detail: Raw = Raw()
    code: Raw = Raw()


class _Times(Struct):
    """``charStartTimesMs`` in recordings, ``charsStartTimesMs`` in old documents, snake case on dialogue."""

    chars: list[str] | None = None
    starts: list[float] | None = field(default=None, name="charStartTimesMs")
    durations: list[float] | None = field(default=None, name="charDurationsMs")
    chars_starts: list[float] | None = field(default=None, name="charsStartTimesMs")
    chars_durations: list[float] | None = field(default=None, name="charsDurationsMs")
    snake_starts: list[float] | None = field(default=None, name="char_start_times_ms")
    snake_durations: list[float] | None = field(default=None, name="char_durations_ms")


_WIRE: Final = msgspec.json.Decoder(_Wire)
_TIMES: Final = msgspec.json.Decoder(_Times)
_UNREADABLE: Final = Alignment(("?",), (), ())
_NULL: Final = (b"", b"null")
_FIRST_CLOSE_CODE: Final = 1000
_HALF: Final = re.compile(
    r"\\u[dD][89abAB][\da-fA-F]{2}(?!\\u[dD][c-fC-F])"
    r"|(?<!\\u[dD][89abAB][\da-fA-F][\da-fA-F])\\u[dD][c-fC-F][\da-fA-F]{2}"
)


def _json(message: Mapping[str, Any]) -> str:
    return msgspec.json.encode(message).decode()


def _decode(frame: str | bytes) -> _Wire:
    try:
        return _WIRE.decode(frame)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        mended = _mend(frame)
        if mended is None:
            raise FrameError(f"not a frame: {error}") from error
    return _decode(mended)


def _mend(frame: str | bytes) -> str | None:
    """Half an emoji, escaped, is JSON that strict readers refuse; a list of characters may hold one."""
    text = frame if isinstance(frame, str) else frame.decode(errors="replace")
    mended = _HALF.sub(r"\\ufffd", text)
    return mended if mended != text else None


def _audio(encoded: str | None) -> bytes | None:
    if not encoded:
        return None
    try:
        return pybase64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise FrameError(f"audio is not base64: {error}") from error


def _alignment(raw: Raw) -> Alignment | None:
    if bytes(raw) in _NULL:
        return None
    try:
        times = _TIMES.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _UNREADABLE
    return Alignment(
        times.chars or (),
        times.starts or times.chars_starts or times.snake_starts or (),
        times.durations or times.chars_durations or times.snake_durations or (),
    )


def _error(wire: _Wire) -> UpstreamError | None:
    """``error``, or ``detail`` as over HTTP, or a message beside a code; a bare message is none."""
    error, detail, code = _loads(wire.error), _loads(wire.detail), _loads(wire.code)
    number = int(code) if isinstance(code, int | float) else None
    if not error and not detail and (number or 0) < _FIRST_CLOSE_CODE:
        return None
    name = error if isinstance(error, str) else None
    return UpstreamError(_words(_loads(wire.message), error, detail, name), name, number)


def _words(*candidates: object) -> str:
    """The first that says something, in one string."""
    said = next((each for each in candidates if each), "no explanation")
    return said if isinstance(said, str) else _json_text(said)


def _json_text(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _loads(raw: Raw) -> Any:  # noqa: ANN401  any JSON
    if bytes(raw) in _NULL:
        return None
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return bytes(raw).decode(errors="replace")
