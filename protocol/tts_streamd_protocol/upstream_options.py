"""The free-form ``upstream`` map of ``open`` and ``speak``: known names are checked, others are passed on.

Rule: what stands here can never contradict what the daemon itself decides (format, timing, text, secrets):
those names are reserved, and each refusal names the field of ``open`` that serves the purpose.
"""

from __future__ import annotations

from math import isfinite
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from tts_streamd_protocol.errors import TtsStreamdError
from tts_streamd_protocol.explain import Plain, Unusable, explain, shorten
from tts_streamd_protocol.messages import U32, Name

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_OPTIONS: Final = 32
"""Names in one map: ElevenLabs documents nine."""


class DictionaryLocator(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of their pronunciation dictionaries."""

    pronunciation_dictionary_id: Name
    version_id: Name | None = None


class UpstreamOptions(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The names that ElevenLabs documents for ``stream-input``, with the ranges of their reference."""

    seed: U32 | None = None
    language_code: Name | None = None
    apply_text_normalization: Literal["auto", "on", "off"] | None = None
    apply_language_text_normalization: bool | None = None
    enable_logging: bool | None = None
    enable_ssml_parsing: bool | None = None
    optimize_streaming_latency: Annotated[int, Meta(ge=0, le=4)] | None = None
    pronunciation_dictionary_locators: (
        Annotated[list[DictionaryLocator], Meta(min_length=1, max_length=3)] | None
    ) = None


def _struct_type() -> msgspec.inspect.StructType:
    kind = msgspec.inspect.type_info(UpstreamOptions)
    assert isinstance(kind, msgspec.inspect.StructType)
    return kind


_OPTIONS = _struct_type()
KNOWN: Final[Mapping[str, msgspec.inspect.Type]] = MappingProxyType(
    {each.encode_name: each.type for each in _OPTIONS.fields}
)
"""Known names and the types that their values must have."""

_NO_KEYS: Final = "keys belong into the daemon's configuration"
RESERVED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "model_id": "use `model`",
        "output_format": "use `format`",
        "voice_settings": "use `settings`",
        "generation_config": "use `schedule`",
        "generator_config": "use `schedule`",
        "chunk_length_schedule": "use `schedule`",
        "text": "use `text`",
        "flush": "use `flush` of `text`",
        "try_trigger_generation": "the daemon cuts the text",
        "auto_mode": "the daemon cuts the text",
        "sync_alignment": "the daemon chooses it",
        "inactivity_timeout": "the daemon keeps its sockets alive",
        "context_id": "the daemon chooses it",
        "contextId": "the daemon chooses it",
        "close_context": "use `close` or `cancel`",
        "close_socket": "the daemon closes its sockets",
        "authorization": _NO_KEYS,
        "single_use_token": _NO_KEYS,
        "xi_api_key": _NO_KEYS,
        "xi-api-key": _NO_KEYS,
    }
)
"""Names that the daemon itself sends, and what a client uses instead."""


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse what must not be passed on.

    Raises:
        TtsStreamdError: ``bad_value``, naming the option and what is allowed.
    """
    if len(options) > MAX_OPTIONS:
        raise TtsStreamdError("bad_value", f"`upstream` may hold {MAX_OPTIONS} names, not {len(options)}")
    for name, value in options.items():
        _check_name(name)
        if not _is_json(value):
            raise TtsStreamdError(
                "bad_value", f"`upstream.{name}` must be plain JSON data, nested 8 deep at most"
            )
    known = {name: value for name, value in options.items() if name in KNOWN}
    try:
        msgspec.convert(known, UpstreamOptions)
    except msgspec.ValidationError as error:
        raise TtsStreamdError("bad_value", explain(error, _OPTIONS, known, prefix="upstream.")) from error


def _check_name(name: str) -> None:
    if name in RESERVED:
        raise TtsStreamdError("bad_value", f"`upstream.{name}` is not a client's to set: {RESERVED[name]}")
    if not (1 <= len(name) <= 64 and name.isascii() and name.replace("_", "").replace("-", "").isalnum()):  # noqa: PLR2004  the longest known name has 34
        raise TtsStreamdError("bad_value", f"{shorten(name)} in `upstream` must be 1..64 of A-Z a-z 0-9 _ -")


def _is_json(value: Plain) -> bool:
    match value:
        case float():
            return isfinite(value)
        case list():
            return all(map(_is_json, value))
        case dict():
            return all(map(_is_json, value.values()))
        case _:
            return not isinstance(value, Unusable)
