"""One ``stream-input`` socket as a machine without I/O: messages in, segments to speak out.

Owns what is buffered and when it becomes a segment.  Rule: every character of text that a client sent is in
exactly one segment, in the order sent, except keep-alives: a message of blanks without ``flush`` is never
voiced, and only separates what stands before and behind it if nothing else does.

    first message          -> settings, credentials; its text counts like any other's
    {"text": "..."}        -> buffered until the schedule [120, 160, 250, 290] is reached
    {"flush": true}        -> the buffer is a segment now; also with empty text
    {"text": ""}           -> the buffer is a segment, then ``Finish``; later messages are ignored
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from tts_streamd_engine.voices.interface import VoiceSettings

SCHEDULE: tuple[float, ...] = (120, 160, 250, 290)
MIN_CHUNK, MAX_CHUNK = 50, 500
TRY_TRIGGER_MIN = 50  # their minimum for try_trigger_generation is not documented; the schedule's is
SPEEDS = (0.7, 1.2)
MAX_SEGMENT = 2500
"""Longer buffers become several segments: the timing of one, 28 bytes a character, must fit a frame."""

_BOUNDARY = re.compile("[.!?…]+[\"'\u201d\u2019)\\]]*\\s+|\n+")
_CREDENTIALS = ("xi_api_key", "xi-api-key", "authorization", "single_use_token")


class ProtocolError(Exception):
    """The client broke the protocol: what the error frame and the close say."""

    def __init__(self, error: str, message: str, code: int = 1008) -> None:
        super().__init__(message)
        self.error = error
        self.message = message
        self.code = code


@dataclass(frozen=True, slots=True)
class Speak:
    """Voice this text, which is not blank, as one segment."""

    text: str
    settings: VoiceSettings

    @property
    def appended(self) -> str:
        """The blank that the server adds where the text does not end in one."""
        return "" if self.text.endswith(" ") else " "


@dataclass(frozen=True, slots=True)
class Finish:
    """When all before it is voiced, send the final frame and close 1000."""


Order: TypeAlias = Speak | Finish


class Session:
    """The state of one socket.  ``credentials`` are the first message's, known once it was received."""

    def __init__(self, *, auto_mode: bool = False) -> None:
        self._auto_mode = auto_mode
        self._buffer = ""
        self._separate = False
        self._schedule = SCHEDULE
        self._generations = 0
        self._raw_settings: dict[str, Any] | None = None
        self._settings = VoiceSettings()
        self.is_opened = False
        self.is_finished = False
        self.credentials: list[str] = []

    def receive(self, message: str) -> list[Order]:
        """Take one text frame; a failed one leaves no trace worth keeping (the socket closes).

        Raises:
            ProtocolError: it is no message of the protocol, or changes the voice settings.
        """
        if self.is_finished:
            return []
        fields = _parse(message)
        self._configure(fields)
        text, flush = _text(fields, opening=not self.is_opened), fields.get("flush") is True
        is_first, self.is_opened = not self.is_opened, True
        if text == "" and not flush and not (is_first and fields.get("text") is None):
            self.is_finished = True
            return [*self._generate(), Finish()]
        return self._take(text, flush=flush, trigger=fields.get("try_trigger_generation") is True)

    def _configure(self, fields: dict[str, Any]) -> None:
        if not self.is_opened:
            self.credentials = [str(fields[k]) for k in _CREDENTIALS if fields.get(k)]
        settings = fields.get("voice_settings") or None
        if settings is not None and settings != self._raw_settings:
            if self.is_opened:
                raise ProtocolError(
                    "invalid_voice_settings",
                    "voice_settings field must be provided in the first message and then either be not "
                    "provided or not change.",
                )
            self._raw_settings, self._settings = settings, parse_settings(settings)
        config = fields.get("generation_config") or fields.get("generator_config")
        if config is not None:
            self._schedule = _parse_schedule(config) or self._schedule

    def _take(self, text: str, *, flush: bool, trigger: bool) -> list[Order]:
        if not flush and not text.strip():
            self._separate = self._separate or text != ""
            return []
        self._append(text)
        if flush or self._auto_mode or (trigger and len(self._buffer) >= TRY_TRIGGER_MIN):
            return self._generate()
        if len(self._buffer) >= self._schedule[min(self._generations, len(self._schedule) - 1)]:
            return self._generate(keep_torn_word=True)
        return []

    def _append(self, text: str) -> None:
        torn = self._buffer and not self._buffer[-1].isspace() and text and not text[0].isspace()
        self._buffer += f" {text}" if self._separate and torn else text
        self._separate = False

    def _generate(self, *, keep_torn_word: bool = False) -> list[Order]:
        end = len(self._buffer)
        if (
            keep_torn_word
        ):  # a schedule can be reached in mid-word; the rest of the word comes with the next segment
            end = max((i + 1 for i, c in enumerate(self._buffer) if c.isspace()), default=end)
        text, self._buffer = self._buffer[:end], self._buffer[end:]
        self._separate = self._separate and self._buffer != ""
        if not text.strip():
            self._buffer = text + self._buffer if keep_torn_word else ""
            return []
        self._generations += 1
        return [Speak(part, self._settings) for part in split_long(text)]


def split_long(text: str, limit: int = MAX_SEGMENT) -> list[str]:
    """Cut a text into parts of at most ``limit`` characters: behind a sentence, a blank or anywhere."""
    parts: list[str] = []
    while len(text) > limit:
        ends = [m.end() for m in _BOUNDARY.finditer(text, 0, limit)] or [
            m.end() for m in re.finditer(r"\s", text[:limit])
        ]
        cut = ends[-1] if ends else limit
        parts.append(text[:cut])
        text = text[cut:]
    return [*parts, text]


def _parse(message: str) -> dict[str, Any]:
    try:
        fields = json.loads(message)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise _unreadable()
    return fields  # pyright: ignore[reportUnknownVariableType] -- JSON object keys are strings


def _text(fields: dict[str, Any], *, opening: bool) -> str:
    text = fields.get("text")
    if isinstance(text, str):
        return text
    if text is None and (opening or fields.get("flush") is True):
        return ""
    raise _unreadable()


def parse_settings(settings: object) -> VoiceSettings:
    """The settings that an embedded voice obeys; unknown fields and nulls are ignored.

    Raises:
        ProtocolError: ``speed`` is no number from 0.7 to 1.2, or the settings are no object.
    """
    if not isinstance(settings, dict):
        raise ProtocolError("invalid_voice_settings", "voice_settings must be an object.")
    speed: object = settings.get("speed")  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    if speed is None:
        return VoiceSettings()
    low, high = SPEEDS
    if isinstance(speed, bool) or not isinstance(speed, int | float) or not low <= speed <= high:
        raise ProtocolError(
            "invalid_voice_settings", f"voice_settings.speed must be within {low} and {high}."
        )
    return VoiceSettings(float(speed))


def _parse_schedule(config: object) -> tuple[float, ...] | None:
    schedule: object = config.get("chunk_length_schedule") if isinstance(config, dict) else [0]  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    if schedule is None:
        return None
    items = cast("list[object]", schedule) if isinstance(schedule, list) else []
    numbers = [n for n in items if isinstance(n, int | float) and MIN_CHUNK <= n <= MAX_CHUNK]
    if not numbers or len(numbers) != len(items):
        raise ProtocolError(
            "invalid_chunk_length_schedule",
            f"chunk_length_schedule must be a list of numbers, each within {MIN_CHUNK} and {MAX_CHUNK}.",
        )
    return tuple(numbers)


def _unreadable() -> ProtocolError:
    return ProtocolError(
        "invalid_input_message",
        "Could not parse input message, make sure it is a json and follows the schema outlined in protocol.",
    )
