"""Error codes of the wire contract: stable strings, each with what it means for a second try."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

Code: TypeAlias = Literal[
    # protocol
    "bad_message", "bad_encoding", "unknown_op", "unsupported_version", "hello_required", "too_large",
    "bad_value",
    # stream
    "no_such_stream", "duplicate_stream", "text_gap", "text_overrun", "unspeakable_text", "client_stalled",
    "timeout", "internal",
    # resource
    "busy", "too_many_streams", "budget_exceeded", "shutting_down",
    # rights
    "denied",
    # upstream
    "auth_failed", "quota_exceeded", "voice_not_found", "model_not_supported", "rate_limited",
    "upstream_unreachable", "upstream_protocol",
]  # fmt: skip

CODES: tuple[Code, ...] = get_args(Code)

RETRYABLE: frozenset[Code] = frozenset(
    {
        "client_stalled", "timeout", "internal", "busy", "too_many_streams", "shutting_down", "rate_limited",
        "upstream_unreachable", "upstream_protocol",
    }
)  # fmt: skip
"""The same request may succeed later without being changed."""


class TtsStreamdError(Exception):
    """A refusal with a code of the contract, to be told to whoever asked.

    ``message`` says what happened and what to do; it never holds a secret.
    """

    def __init__(self, code: Code, message: str, *, retry_ms: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code: Code = code
        self.message = message
        self.retry_ms = retry_ms

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return self.code in RETRYABLE
