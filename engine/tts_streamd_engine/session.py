"""One ``stream-input`` socket as a machine without I/O: messages in, segments to speak out.

    first message          -> settings, credentials; its text counts like any other's
    {"text": "..."}        -> buffered until the schedule [120, 160, 250, 290] is reached
    {"flush": true}        -> the buffer is a segment now; also with empty text
    {"text": ""}           -> the buffer is a segment, then ``Finish``; later messages are ignored

Rule: text is never lost or doubled on its way into segments (``intake`` keeps it).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from tts_streamd_engine.intake import Intake, Speak, credentials_in, parse_message, unreadable


@dataclass(frozen=True, slots=True)
class Finish:
    """When all before it is voiced, send the final frame and close 1000."""


Order: TypeAlias = Speak | Finish


class Session:
    """The state of one socket.  ``credentials`` are the first message's, known once it was received."""

    def __init__(self, *, auto_mode: bool = False) -> None:
        self._intake = Intake(auto_mode=auto_mode)
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
        fields = parse_message(message)
        is_first = not self.is_opened
        if is_first:
            self.credentials = credentials_in(fields)
        self._intake.configure(fields, opening=is_first)
        text, flush = _text(fields, opening=is_first), fields.get("flush") is True
        self.is_opened = True
        if text == "" and not flush and not (is_first and fields.get("text") is None):
            self.is_finished = True
            return [*self._intake.generate(), Finish()]
        trigger = fields.get("try_trigger_generation") is True
        return [*self._intake.take(text, flush=flush, trigger=trigger)]


def _text(fields: dict[str, Any], *, opening: bool) -> str:
    text = fields.get("text")
    if isinstance(text, str):
        return text
    if text is None and (opening or fields.get("flush") is True):
        return ""
    raise unreadable()
