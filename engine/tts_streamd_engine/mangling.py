"""The frames of one connection as the client gets them: the protocol's, and what scripted faults make of them.

Sans-I/O.  Rule: without faults the frames are exactly the protocol's; a fault of one frame hits the audio frame
with its number, counted from 1 over the connection, once.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeAlias

from tts_streamd_engine.faults import find
from tts_streamd_engine.frames import audio_fields, final_fields
from tts_streamd_engine.intake import ProtocolError
from tts_streamd_engine.rendering import Frame

if TYPE_CHECKING:
    from tts_streamd_engine.faults import Fault, Kind

Fields: TypeAlias = "dict[str, object]"

_SNAKE = {"contextId": "context_id", "isFinal": "is_final"}
_UNKNOWN = '{"type":"flush_done","done":false,"status_code":206}'


class Mangler:
    """Writes the frames of one connection whose faults are ``plan``."""

    def __init__(self, plan: list[Fault]) -> None:
        self._plan = plan
        self._n_frames = 0
        self._last: dict[str | None, str] = {}
        self.is_silent = False
        """Nothing more is sent on this connection, which stays up."""

    def audio(self, frame: Frame, context_id: str | None = None) -> list[str]:
        """What is sent for a frame of audio; ``context_id`` only on the multi socket.

        Raises:
            ProtocolError: the connection is to be closed instead, as a fault wants it.
        """
        self._n_frames += 1
        if close := self._here("close"):
            raise ProtocolError("", close.message, close.code)
        self.is_silent = self.is_silent or self._here("silence") is not None
        if self.is_silent:
            return []
        sent = [self._audio(part, context_id) for part in self._parts(frame)]
        if self._has("late_audio"):
            self._last[context_id] = sent[-1]
        return [*self._out_of_turn(context_id), *sent]

    def final(self, context_id: str | None = None) -> list[str]:
        """What is sent at the end of a stream or context."""
        if self.is_silent:
            return []
        late = self._last.pop(context_id, None)
        return [self._written(final_fields(context_id)), *([late] if late else [])]

    def _has(self, kind: Kind) -> bool:
        return find(self._plan, kind) is not None

    def _here(self, kind: Kind) -> Fault | None:
        here = (fault for fault in self._plan if fault.kind == kind and fault.frame == self._n_frames)
        return next(here, None)

    def _parts(self, frame: Frame) -> list[Frame]:
        """The frame, or with split samples two frames of which the first ends within a sample."""
        if not self._has("split_samples") or len(frame.audio) < 2:  # noqa: PLR2004 -- one byte cannot be split
            return [frame]
        cut = (len(frame.audio) // 2) | 1
        parts = [Frame(frame.audio[:cut], frame.alignment), Frame(frame.audio[cut:], None)]
        return [part for part in parts if part.audio]

    def _audio(self, frame: Frame, context_id: str | None) -> str:
        if self._has("no_alignment"):
            frame = Frame(frame.audio, None)
        fields = audio_fields(frame, context_id)
        if self._here("bad_base64"):
            fields["audio"] = "*no base64*"
        text = self._written(fields)
        if fault := self._here("oversize"):
            text = text[:-1] + " " * (fault.size - len(text)) + "}"  # blanks: still the same JSON
        return text[: len(text) // 2] if self._here("bad_json") else text

    def _out_of_turn(self, context_id: str | None) -> list[str]:
        extra: list[str] = []
        if self._here("unknown_frame"):
            extra.append(_UNKNOWN)
        if self._here("early_final"):
            extra.append(self._written(final_fields(context_id)))
        if self._here("foreign_context"):
            foreign = audio_fields(Frame(bytes(480), None), "a-context-nobody-opened")
            extra.append(self._written(foreign))
        return extra

    def _written(self, fields: Fields) -> str:
        if self._has("snake_case"):
            fields = {_SNAKE.get(name, name): value for name, value in fields.items()}
        text = json.dumps(fields, separators=(",", ":"))
        # base64 and single characters cannot hold the name
        return (
            text.replace('"charDurationsMs"', '"charsDurationsMs"')
            if self._has("chars_durations_ms")
            else text
        )
