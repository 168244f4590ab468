"""What goes over the WebSocket to the client: JSON with every key always present, null where empty."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pybase64

if TYPE_CHECKING:
    from tts_streamd_engine.intake import ProtocolError
    from tts_streamd_engine.rendering import Frame

MAX_REASON_BYTES = 123
"""RFC 6455: a close frame's payload holds 125 bytes, two are the code."""


def audio_fields(frame: Frame, context_id: str | None = None) -> dict[str, object]:
    """Audio in base64, with its timing if it carries one; ``contextId`` only where there is one."""
    alignment = frame.alignment
    fields: dict[str, object] = {
        "audio": pybase64.b64encode_as_string(frame.audio),
        "isFinal": None,
        "normalizedAlignment": alignment and alignment.normalized().to_ws(),
        "alignment": alignment and alignment.to_ws(),
    }
    return fields if context_id is None else {**fields, "contextId": context_id}


def final_fields(context_id: str | None = None) -> dict[str, object]:
    """The end of a stream, or of a context."""
    fields: dict[str, object] = {
        "audio": None,
        "isFinal": True,
        "normalizedAlignment": None,
        "alignment": None,
    }
    return fields if context_id is None else {**fields, "contextId": context_id}


def error_frame(error: ProtocolError) -> str:
    """What precedes a close that is the client's fault."""
    return json.dumps({"message": error.message, "error": error.error, "code": error.code})


def close_reason(message: str) -> str:
    """As much of the message as a close frame holds, cut between characters."""
    return message.encode("utf-8", "replace")[:MAX_REASON_BYTES].decode("utf-8", "ignore")
