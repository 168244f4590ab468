"""What one utterance has buffered and when it becomes a segment; shared by the single and the multi socket.

Rule: every character of text that was taken is in exactly one segment, in the order taken, except keep-alives:
a message of blanks without ``flush`` is never voiced, and only separates what stands before and behind it if
nothing else does.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, cast

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


class Intake:
    """The buffer, the schedule and the settings of one utterance; ``inherited`` settings hold until it has own."""

    def __init__(self, *, auto_mode: bool, inherited: VoiceSettings | None = None) -> None:
        self._auto_mode = auto_mode
        self._buffer = ""
        self._separate = False
        self._schedule = SCHEDULE
        self._generations = 0
        self._raw_settings: dict[str, Any] | None = None
        self.settings = inherited or VoiceSettings()

    def configure(self, fields: dict[str, Any], *, opening: bool) -> None:
        """Take the settings and the schedule of a message, which is the first one or not.

        Raises:
            ProtocolError: they are wrong, or the settings differ from those of the first message.
        """
        settings = fields.get("voice_settings") or None
        if settings is not None and settings != self._raw_settings:
            if not opening:
                raise ProtocolError(
                    "invalid_voice_settings",
                    "voice_settings field must be provided in the first message and then either be not "
                    "provided or not change.",
                )
            self._raw_settings, self.settings = settings, parse_settings(settings)
        config = fields.get("generation_config") or fields.get("generator_config")
        if config is not None:
            self._schedule = _parse_schedule(config) or self._schedule

    def take(self, text: str, *, flush: bool, trigger: bool) -> list[Speak]:
        """Buffer a message's text; the segments that it completes."""
        if not flush and not text.strip():
            self._separate = self._separate or text != ""
            return []
        self._append(text)
        if flush or self._auto_mode or (trigger and len(self._buffer) >= TRY_TRIGGER_MIN):
            return self.generate()
        if len(self._buffer) >= self._schedule[min(self._generations, len(self._schedule) - 1)]:
            return self.generate(keep_torn_word=True)
        return []

    def _append(self, text: str) -> None:
        torn = self._buffer and not self._buffer[-1].isspace() and text and not text[0].isspace()
        self._buffer += f" {text}" if self._separate and torn else text
        self._separate = False

    def generate(self, *, keep_torn_word: bool = False) -> list[Speak]:
        """What is buffered, as segments.  ``keep_torn_word``: up to the last blank, as when a schedule is reached."""
        end = len(self._buffer)
        if keep_torn_word:  # the rest of the word comes with the next segment
            end = max((m.end() for m in re.finditer(r"\s", self._buffer)), default=end)
        text, self._buffer = self._buffer[:end], self._buffer[end:]
        self._separate = self._separate and self._buffer != ""
        if not text.strip():
            self._buffer = text + self._buffer if keep_torn_word else ""
            return []
        self._generations += 1
        return [Speak(part, self.settings) for part in split_long(text)]


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


def parse_message(message: str) -> dict[str, Any]:
    """A text frame's fields.

    Raises:
        ProtocolError: it is no JSON object.
    """
    try:
        fields = json.loads(message)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise unreadable()
    return fields  # pyright: ignore[reportUnknownVariableType] -- JSON object keys are strings


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


def unreadable() -> ProtocolError:
    """What is said of a message that is none."""
    return ProtocolError(
        "invalid_input_message",
        "Could not parse input message, make sure it is a json and follows the schema outlined in protocol.",
    )


def credentials_in(fields: dict[str, Any]) -> list[str]:
    """The credentials of a first message, in any of their spellings."""
    return [str(fields[name]) for name in _CREDENTIALS if fields.get(name)]
