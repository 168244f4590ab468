"""Refusals over HTTP, in ElevenLabs' words: ``{"detail": {...}}`` (422: an array).

Also used for a WebSocket upgrade that is refused before it is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from tts_streamd_engine.faults import Fault

Body: TypeAlias = "dict[str, object]"


class RefusalError(Exception):
    """A request that is answered with ``status`` and ``body``."""

    def __init__(self, status: int, body: Body, headers: dict[str, str] | None = None) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body
        self.headers = headers or {}


def _refusal(http_status: int, kind: str, code: str, message: str, **more: str) -> RefusalError:
    detail: Body = {"type": kind, "code": code, "message": message, "status": code, "request_id": "", **more}
    return RefusalError(http_status, {"detail": detail})


def with_request_id(refusal: RefusalError, request_id: str) -> Body:
    """The body with the request's id where it has a place for one."""
    detail = refusal.body["detail"]
    return {"detail": {**detail, "request_id": request_id}} if isinstance(detail, dict) else refusal.body


def unsupported_model(model_id: str) -> RefusalError:
    """A model that the text-to-speech WebSocket does not serve."""
    message = (
        f"Model '{model_id}' is not supported on the text-to-speech websocket endpoint. "
        "Use the text-to-dialogue websocket endpoint instead."
    )
    return _refusal(400, "validation_error", "unsupported_model", message, param="model_id")


def invalid_parameter(name: str, message: str) -> RefusalError:
    """A query parameter or field outside its range."""
    return _refusal(400, "validation_error", "invalid_parameters", message, param=name)


def unsupported_format(message: str) -> RefusalError:
    """An ``output_format`` that does not exist or cannot be made here."""
    return _refusal(400, "validation_error", "unsupported_output_format", message, param="output_format")


def text_too_long(n: int, limit: int) -> RefusalError:
    """More text than one request may have."""
    message = f"A maximum of {limit} characters is allowed for this request, the text has {n}."
    return _refusal(
        400, "validation_error", "text_too_long", message, status="max_character_limit_exceeded", param="text"
    )


def invalid_api_key(*, looks_real: bool) -> RefusalError:
    """A wrong key; one that looks like a key is answered 400, anything else 401 (recorded)."""
    if looks_real:
        message = "API key is invalid."
        return _refusal(400, "authentication_error", "invalid_api_key", message, param="api_key")
    return _refusal(401, "authentication_error", "unauthorized", "Invalid API key", status="invalid_api_key")


def voice_not_found(voice_id: str) -> RefusalError:
    """No voice has this id."""
    message = f"A voice with voice_id '{voice_id}' was not found."
    return _refusal(404, "not_found", "voice_not_found", message)


def missing_field(name: str) -> RefusalError:
    """A body without a field that it needs."""
    problem = {"type": "missing", "loc": ["body", name], "msg": "Field required", "input": None}
    return RefusalError(422, {"detail": [problem]})


def invalid_body(loc: list[str], message: str, kind: str = "value_error") -> RefusalError:
    """A body that is no JSON object, or a field of the wrong type."""
    return RefusalError(422, {"detail": [{"type": kind, "loc": loc, "msg": message, "input": None}]})


def body_too_large(limit: int) -> RefusalError:
    """More bytes than any text that would be accepted."""
    message = f"The request's body is larger than {limit} bytes."
    return _refusal(413, "validation_error", "request_too_large", message)


def voice_unavailable(message: str) -> RefusalError:
    """The voice exists, but its model did not load."""
    return _refusal(503, "internal_error", "voice_unavailable", message)


def too_busy(message: str, headers: dict[str, str]) -> RefusalError:
    """More requests at once than the account may have."""
    refusal = _refusal(
        429,
        "rate_limit_error",
        "concurrent_limit_exceeded",
        message,
        status="too_many_concurrent_requests",
    )
    return RefusalError(429, refusal.body, headers)


def quota_words() -> str:
    """What the service says when the credits are spent."""
    return (
        "This request exceeds your quota of 10000. You have 0 credits remaining, while 91 credits are "
        "required for this request."
    )


def quota_exceeded() -> RefusalError:
    """The credits are spent."""
    return RefusalError(401, {"detail": {"status": "quota_exceeded", "message": quota_words()}})


_SCRIPTED = {
    401: ("authentication_error", "unauthorized"),
    402: ("payment_required", "insufficient_credits"),
    403: ("authorization_error", "subscription_required"),
    404: ("not_found", "voice_not_found"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
}


def scripted_refusal(fault: Fault) -> RefusalError:
    """The refusal that a fault of kind ``refuse`` asks for."""
    kind, code = _SCRIPTED.get(fault.status, ("internal_error", "system_busy"))
    wait = {} if fault.retry_after_s is None else {"retry-after": f"{fault.retry_after_s:g}"}
    return RefusalError(fault.status, _refusal(fault.status, kind, code, fault.message).body, wait)
