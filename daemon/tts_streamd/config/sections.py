"""Every key of the configuration: its type, range and default.  docs/configuration.md gives the reasons.

A section is one TOML table and one frozen Struct; a key's dotted name is ``section.key``.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias, get_type_hints

from msgspec import Meta, Struct
from msgspec.structs import fields

if TYPE_CHECKING:
    from collections.abc import Mapping

Milliseconds: TypeAlias = Annotated[int, Meta(ge=100, le=3_600_000)]
Count: TypeAlias = Annotated[int, Meta(ge=1, le=100_000)]
Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256)]
Level: TypeAlias = Literal["debug", "info", "warning", "error"]
LogFormat: TypeAlias = Literal["auto", "console", "json"]
Schedule: TypeAlias = (
    Literal["aggressive", "speed", "balanced", "quality"]
    | Annotated[tuple[Annotated[int, Meta(ge=50, le=500)], ...], Meta(min_length=1, max_length=16)]
)


class UpstreamSection(Struct, frozen=True, kw_only=True):
    """Who makes the sound, and how patient the daemon is with it."""

    url: Name | None = None
    api_key_file: Name | None = None
    connect_timeout_s: Annotated[float, Meta(ge=0.1, le=60)] = 10.0
    inactivity_timeout_s: Annotated[int, Meta(ge=20, le=180)] = 180


class VoiceSection(Struct, frozen=True, kw_only=True):
    """How a stream sounds that does not say so itself."""

    default: Name = "EXAVITQu4vr4xnSDxMaL"
    model: Name = "eleven_flash_v2_5"
    stability: Share = 0.65
    similarity_boost: Share = 0.75
    style: Share = 0.30
    speed: Annotated[float, Meta(ge=0.7, le=1.2)] = 1.0


class StreamsSection(Struct, frozen=True, kw_only=True):
    """How text becomes pieces, and how many streams there may be."""

    schedule: Schedule = "speed"
    realtime_buffer_ms: Milliseconds = 8_000
    eager_buffer_ms: Milliseconds = 600_000
    max_per_session: Count = 64
    max_total: Count = 500
    stall_ms: Milliseconds = 30_000


class GatewaySection(Struct, frozen=True, kw_only=True):
    """What clients and observers may count on."""

    heartbeat_ms: Annotated[int, Meta(ge=100, le=60_000)] = 2_000
    text_window: Annotated[int, Meta(ge=1_024, le=16_777_216)] = 65_536
    max_message_bytes: Annotated[int, Meta(ge=4_096, le=1_048_576)] = 65_536
    max_sessions: Count = 1_000
    share_default: bool = False


class LogSection(Struct, frozen=True, kw_only=True):
    """What the daemon says on standard error."""

    level: Level = "info"
    format: LogFormat = "auto"


SECTIONS: Final[Mapping[str, type[Struct]]] = MappingProxyType(
    {
        "upstream": UpstreamSection,
        "voice": VoiceSection,
        "streams": StreamsSection,
        "gateway": GatewaySection,
        "log": LogSection,
    }
)


class Key(Struct, frozen=True):
    """One key: what it accepts, and what it is when nobody says anything."""

    type: Any
    default: Any


def _section_keys(name: str, section: type[Struct]) -> dict[str, Key]:
    hints = get_type_hints(section, include_extras=True)
    return {f"{name}.{field.name}": Key(hints[field.name], field.default) for field in fields(section)}


KEYS: Final[Mapping[str, Key]] = MappingProxyType(
    {"runtime_dir": Key(Name | None, None)}
    | {
        dotted: key
        for name, section in SECTIONS.items()
        for dotted, key in _section_keys(name, section).items()
    }
)
"""Every key by its dotted name, in the order of the documentation."""

RELOADABLE: Final[frozenset[str]] = frozenset(
    {key for key in KEYS if key.startswith(("voice.", "streams."))} | {"log.level"}
)
"""What SIGHUP changes in a running daemon: what only new streams read, and the log's level.  The rest was
promised to clients in ``welcome``, or is bound to a socket, a connection or a process."""
