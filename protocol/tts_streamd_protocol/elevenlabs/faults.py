"""What upstream's refusals mean: their ids, close codes and HTTP statuses -> our codes, and whether to retry.

Rule: their own words are kept (500 characters at most), a key never is.  ``retryable`` is about another
attempt by the daemon on a new socket: nothing is tried again that would be refused again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tts_streamd_protocol.elevenlabs.frames import UpstreamError
    from tts_streamd_protocol.errors import Code
    from tts_streamd_protocol.explain import Plain

MAX_WORDS: Final = 500
"""Characters of upstream's own words that are kept."""
MAX_RETRY_MS: Final = 3_600_000
"""A longer ``Retry-After`` is not believed."""


@dataclass(frozen=True, slots=True)
class UpstreamFault:
    """Why a route failed.

    ``retryable``: another attempt may succeed without a change; ``retry_ms``: upstream asked to wait so long.
    """

    code: Code
    message: str
    retryable: bool
    retry_ms: int | None = None


def classify_frame(error: UpstreamError, *, key: str | None = None) -> UpstreamFault:
    """An error frame; *key* is taken out of the words."""
    known = _by_id((error.error or "",)) or _by_words(error.message) or _by_close(error.code)
    named = f"{error.error}: " if error.error and error.error not in error.message else ""
    return _fault(known, named + error.message, key)


def classify_close(code: int, reason: str = "", *, key: str | None = None) -> UpstreamFault:
    """A close that was not expected: any before the final frame, 1000 too.  1006: the connection is gone."""
    words = f"the socket was closed with {code}" + (f": {reason}" if reason else "")
    return _fault(_by_words(reason) or _by_close(code), words, key)


def classify_http(
    status: int, body: str | bytes = b"", retry_after: str | None = None, *, key: str | None = None
) -> UpstreamFault:
    """A refused upgrade or request.  *retry_after*: the header; only its form in seconds is read."""
    ids, words = _detail(body)
    by_status = _by_status(status, explained=bool(words))
    known = by_status if by_status == _DOWN else _by_id(ids) or _by_words(words) or by_status
    fault = _fault(known, f"HTTP {status}: {words or 'no explanation'}", key)
    return replace(fault, retry_ms=_retry_ms(retry_after)) if fault.retryable else fault


_Meaning: TypeAlias = "tuple[Code, bool]"

_REFUSED: Final[_Meaning] = ("bad_value", False)
_KEY: Final[_Meaning] = ("auth_failed", False)
_CREDITS: Final[_Meaning] = ("quota_exceeded", False)
_VOICE: Final[_Meaning] = ("voice_not_found", False)
_MODEL: Final[_Meaning] = ("model_not_supported", False)
_BUSY: Final[_Meaning] = ("rate_limited", True)
_DOWN: Final[_Meaning] = ("upstream_unreachable", True)
_STRANGE: Final[_Meaning] = ("upstream_protocol", True)
_OUR_BUG: Final[_Meaning] = ("upstream_protocol", False)

_IDS: Final[Mapping[str, _Meaning]] = MappingProxyType(
    {
        "invalid_api_key": _KEY,
        "authentication_required": _KEY,
        "needs_authorization": _KEY,
        "unauthorized": _KEY,
        "authentication_error": _KEY,
        "missing_permissions": _KEY,
        "detected_unusual_activity": _KEY,
        "quota_exceeded": _CREDITS,
        "insufficient_credits": _CREDITS,
        "payment_required": _CREDITS,
        "voice_id_does_not_exist": _VOICE,
        "voice_not_found": _VOICE,
        "voice_does_not_exist": _VOICE,
        "paid_plan_required": _VOICE,  # "Free users cannot use library voices": other voices still speak
        "unsupported_model": _MODEL,
        "model_not_found": _MODEL,
        "invalid_model_id": _MODEL,
        "subscription_required": _REFUSED,  # an output format, not the account
        "output_format_not_allowed": _REFUSED,
        "only_for_creator+": _REFUSED,
        "max_character_limit_exceeded": _REFUSED,
        "text_too_long": _REFUSED,
        "invalid_input_message": _OUR_BUG,
        "max_active_conversations": _BUSY,
        "too_many_concurrent_requests": _BUSY,
        "concurrent_limit_exceeded": _BUSY,
        "rate_limit_exceeded": _BUSY,
        "system_busy": _BUSY,
        "input_timeout_exceeded": ("timeout", True),
    }
)

_WORDS: Final[tuple[tuple[str, _Meaning], ...]] = (
    ("voice_settings field must be provided", _OUR_BUG),
    ("api key", _KEY),
    ("authentication methods", _KEY),
    ("unusual activity", _KEY),
    ("exceeds your quota", _CREDITS),
    ("a voice with voice_id", _VOICE),
    ("maximum simultaneous contexts", _BUSY),
    ("too many concurrent requests", _BUSY),
    ("have not received a new text input", ("timeout", True)),
    ("could not parse input message", _OUR_BUG),
    ("something went wrong", _DOWN),
)
"""How recorded messages begin or go on: a close reason is cut at 123 bytes and may be all that arrives."""

_CLOSES: Final[Mapping[int, _Meaning]] = MappingProxyType(
    dict.fromkeys((1001, 1005, 1006, 1011, 1012, 1013, 1014, 1015), _DOWN) | {1009: _OUR_BUG, 1003: _OUR_BUG}
)
"""1009 is our own limit [reference 6.2]; every other policy or protocol close is worth one more socket."""

_STATUSES: Final[Mapping[int, _Meaning]] = MappingProxyType(
    {400: _REFUSED, 401: _KEY, 402: _CREDITS, 403: _KEY, 404: _VOICE, 422: _REFUSED, 429: _BUSY}
    | dict.fromkeys((408, 409, 425), _DOWN)
)


def _by_id(ids: Iterable[str]) -> _Meaning | None:
    return next((_IDS[each] for each in ids if each in _IDS), None)


def _by_words(words: str) -> _Meaning | None:
    lower = words.lower()
    return next((meaning for part, meaning in _WORDS if part in lower), None)


def _by_close(code: int | None) -> _Meaning:
    return _CLOSES.get(code or 0, _STRANGE)


def _by_status(status: int, *, explained: bool) -> _Meaning:
    if status == HTTPStatus.FORBIDDEN and not explained:
        return _VOICE  # seen at the upgrade for an unknown voice; keys are not checked there
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _DOWN
    if status >= HTTPStatus.BAD_REQUEST:
        return _STATUSES.get(status, _OUR_BUG)
    return _STRANGE  # a redirect, or success where an upgrade was due


def _fault(meaning: _Meaning, words: str, key: str | None) -> UpstreamFault:
    code, retryable = meaning
    return UpstreamFault(code, redact(words, key)[:MAX_WORDS], retryable)


def redact(words: str, key: str | None = None) -> str:
    """Without *key*, the beginning of it, and whatever else has the form of a key of theirs."""
    if key:
        words = re.sub(re.escape(key[:_TELLING]) + r"[\w-]*", _REDACTED, words)
    return _KEY_SHAPED.sub(_REDACTED, words)


_TELLING: Final = 8
"""So many characters give a key away, even where a close reason was cut."""
_REDACTED: Final = "[key]"
_KEY_SHAPED: Final = re.compile(r"\bsk_[0-9a-zA-Z]{8,}|\b[0-9a-f]{32,}\b")


def _detail(body: str | bytes) -> tuple[list[str], str]:
    """Ids, most telling first, and words of ``{"detail": {...}}``, of validation errors, of plain text."""
    text = body if isinstance(body, str) else body.decode(errors="replace")
    try:
        parsed: Plain = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return [], text.strip()
    detail = parsed.get("detail", parsed) if isinstance(parsed, dict) else parsed
    match detail:
        case dict():
            ids = [str(detail[name]) for name in ("status", "code", "error", "type") if detail.get(name)]
            return ids, str(detail.get("message") or ", ".join(ids))
        case list():
            return [], "; ".join(map(_validation, detail))
        case _:
            return [], "" if detail is None else str(detail)


def _validation(error: Plain) -> str:
    match error:
        case {"loc": list(where), "msg": what}:
            return f"{'.'.join(map(str, where))}: {what}"
        case _:
            return str(error)


def _retry_ms(header: str | None) -> int | None:
    try:
        seconds = float(header or "")
    except ValueError:
        return None  # a date: there is no clock here, and nobody was seen to send one
    return round(min(seconds * 1000, MAX_RETRY_MS)) if seconds >= 0 else None
