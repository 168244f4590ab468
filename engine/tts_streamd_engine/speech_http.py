"""The four HTTP endpoints ``POST /v1/text-to-speech/{voice_id}[...]``.

Rule: everything that can be refused is refused before the first byte of audio; then the answer is whole or
cut off, never wrong.  Times in a streamed answer run from the start of the request.
"""

from __future__ import annotations

import json
import math
import secrets
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pybase64
import trio
from starlette.responses import Response, StreamingResponse

from tts_streamd_audio.wav import wav_header
from tts_streamd_engine import accounts, errors
from tts_streamd_engine.alignment import Alignment, joined
from tts_streamd_engine.intake import ProtocolError, parse_settings, split_long
from tts_streamd_engine.query import HTTP_DEFAULT_FORMAT, parse_convert_format, parse_output_format
from tts_streamd_engine.rendering import Frame, Segment
from tts_streamd_engine.voices.interface import VoiceSettings, VoiceUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from starlette.requests import Request

    from tts_streamd_audio.formats import Format
    from tts_streamd_engine.access import Access
    from tts_streamd_engine.catalogue import Catalogue
    from tts_streamd_engine.studio import Studio
    from tts_streamd_engine.voices.interface import Synthesiser

MAX_BODY_BYTES = 1 << 20  # 40,000 characters are at most 480 kB, escaped
BODY_DEADLINE_S = 30.0
_MEDIA_TYPES = {"pcm": "audio/pcm", "ulaw": "audio/basic", "alaw": "audio/x-alaw-basic", "mp3": "audio/mpeg"}


@dataclass(frozen=True, slots=True)
class _Job:
    """A request that passed all checks."""

    voice: Synthesiser
    segments: list[Segment]
    fmt: Format
    wav_rate_hz: int | None
    headers: dict[str, str]

    @property
    def media_type(self) -> str:
        return "audio/wav" if self.wav_rate_hz else _MEDIA_TYPES.get(self.fmt.codec, "audio/ogg")


@dataclass(frozen=True, slots=True)
class SpeechOverHttp:
    """The endpoints; each takes a request and gives its response."""

    catalogue: Catalogue
    studio: Studio
    access: Access

    async def convert(self, request: Request) -> Response:
        """``POST /v1/text-to-speech/{voice_id}``: the audio as one body; also ``wav_*``."""
        job = await self._job(request, whole=True)
        audio = b"".join([frame.audio async for frame in self._frames(job)])
        header = wav_header(job.wav_rate_hz, len(audio)) if job.wav_rate_hz else b""
        return Response(header + audio, media_type=job.media_type, headers=job.headers)

    async def stream(self, request: Request) -> Response:
        """``.../stream``: the audio in chunks, as it is made."""
        job = await self._job(request)
        chunks = _Mapped(self._frames(job), lambda frame: frame.audio)
        return StreamingResponse(chunks, media_type=job.media_type, headers=job.headers)

    async def convert_timed(self, request: Request) -> Response:
        """``.../with-timestamps``: one JSON object."""
        job = await self._job(request)
        frames = [frame async for frame in self._frames(job)]
        whole = joined([frame.alignment for frame in frames if frame.alignment is not None])
        body = _timed(Frame(b"".join(frame.audio for frame in frames), whole))
        return Response(body, media_type="application/json", headers=job.headers)

    async def stream_timed(self, request: Request) -> Response:
        """``.../stream/with-timestamps``: JSON, one object a line; a segment's first carries its timing."""
        job = await self._job(request)
        return StreamingResponse(
            _Mapped(self._frames(job), _timed_line), media_type="application/json", headers=job.headers
        )

    def _frames(self, job: _Job) -> _Frames:
        return _Frames(self.studio, job)

    async def _job(self, request: Request, *, whole: bool = False) -> _Job:
        self.access.check_http(request.headers)
        name = request.query_params.get("output_format", HTTP_DEFAULT_FORMAT)
        fmt, wav_rate_hz = parse_convert_format(name) if whole else (parse_output_format(name), None)
        body = await _body(request)
        text, settings = _text(body), _settings(body)
        voice = await self._voice(request.path_params["voice_id"])
        cost = len(text) * accounts.cost_per_character(str(body.get("model_id") or "eleven_multilingual_v2"))
        headers = {
            "request-id": secrets.token_urlsafe(15),
            "history-item-id": secrets.token_urlsafe(15),
            "character-cost": str(math.ceil(cost)),
            "current-concurrent-requests": str(self.studio.busy_threads),
            "maximum-concurrent-requests": str(self.studio.threads),
            "x-trace-id": secrets.token_hex(16),
            "x-region": "local",
        }
        return _Job(voice, list(_segments(text, settings)), fmt, wav_rate_hz, headers)

    async def _voice(self, voice_id: str) -> Synthesiser:
        try:
            return await self.catalogue.voice(voice_id)
        except KeyError:
            raise errors.voice_not_found(voice_id) from None
        except VoiceUnavailableError as error:
            raise errors.voice_unavailable(str(error)) from error


class _Frames:
    """The frames of a job's segments, in order, each segment's timing moved behind the last one's.

    A class, not a generator: one that a vanishing client leaves unfinished needs no cleaning up.
    """

    def __init__(self, studio: Studio, job: _Job) -> None:
        self._studio = studio
        self._job = job
        self._left = iter(job.segments)
        self._current: AsyncIterator[Frame] | None = None
        self._begun_ms = self._end_ms = 0

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self

    async def __anext__(self) -> Frame:
        while True:
            if self._current is None:
                segment = next(self._left, None)
                if segment is None:
                    raise StopAsyncIteration
                self._current = aiter(self._studio.frames(self._job.voice, segment, self._job.fmt))
                self._begun_ms = self._end_ms
            frame = await anext(self._current, None)
            if frame is not None:
                return self._placed(frame)
            self._current = None

    def _placed(self, frame: Frame) -> Frame:
        if frame.alignment is None:
            return frame
        self._end_ms = self._begun_ms + frame.alignment.bounds_ms[-1]
        return replace(frame, alignment=frame.alignment.shifted(self._begun_ms))


class _Mapped:
    """What ``make`` makes of each frame."""

    def __init__(self, frames: _Frames, make: Callable[[Frame], bytes]) -> None:
        self._frames = frames
        self._make = make

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return self._make(await anext(self._frames))


def _timed(frame: Frame) -> bytes:
    alignment: Alignment | None = frame.alignment
    return json.dumps(
        {
            "audio_base64": pybase64.b64encode_as_string(frame.audio),
            "alignment": alignment and alignment.to_http(),
            "normalized_alignment": alignment and alignment.normalized().to_http(),
        },
        separators=(",", ":"),
    ).encode()


def _timed_line(frame: Frame) -> bytes:
    return _timed(frame) + b"\n"


def _segments(text: str, settings: VoiceSettings) -> Iterator[Segment]:
    """As one voice would read it: only the end gets the server's blank."""
    parts = split_long(text)
    for number, part in enumerate(parts, 1):
        yield Segment(part, " " if number == len(parts) and not part.endswith(" ") else "", settings)


async def _body(request: Request) -> dict[str, Any]:
    raw = bytearray()
    with trio.move_on_after(BODY_DEADLINE_S) as deadline:
        async with aclosing(request.stream()) as chunks:
            async for chunk in chunks:
                raw += chunk
                if len(raw) > MAX_BODY_BYTES:
                    raise errors.body_too_large(MAX_BODY_BYTES)
    try:
        body = None if deadline.cancelled_caught else json.loads(raw)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise errors.invalid_body(["body"], "The body must be a JSON object.", "json_invalid")
    return body  # pyright: ignore[reportUnknownVariableType] -- JSON object keys are strings


def _text(body: dict[str, Any]) -> str:
    text = body.get("text")
    if text is None:
        raise errors.missing_field("text")
    if not isinstance(text, str):
        raise errors.invalid_body(["body", "text"], "Input should be a valid string", "string_type")
    if not text.strip():
        raise errors.invalid_body(["body", "text"], "The text must not be blank.")
    if len(text) > accounts.MAX_TEXT:
        raise errors.text_too_long(len(text), accounts.MAX_TEXT)
    return text


def _settings(body: dict[str, Any]) -> VoiceSettings:
    try:
        return parse_settings(body.get("voice_settings") or {})
    except ProtocolError as error:
        raise errors.invalid_body(["body", "voice_settings"], error.message) from None
