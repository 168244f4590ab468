"""The daemon's configuration: one frozen ``Config`` out of six layers; every error is one clear line.

defaults < /etc/tts-streamd/config.toml < $XDG_CONFIG_HOME/tts-streamd/config.toml < ``--config`` FILE
< ``TTS_STREAMD_SECTION_KEY`` < flags.  Nothing is read from the process by itself: the environment comes in.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from tts_streamd.config import layers
from tts_streamd.config.errors import ConfigError
from tts_streamd.config.secret import Secret
from tts_streamd.config.sections import (
    KEYS,
    RELOADABLE,
    SECTIONS,
    GatewaySection,
    LogSection,
    StreamsSection,
    UpstreamSection,
    VoiceSection,
)
from tts_streamd.config.upstream import Upstream, find_api_key, resolve_upstream

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "KEYS",
    "RELOADABLE",
    "Config",
    "ConfigError",
    "GatewaySection",
    "LogSection",
    "Reload",
    "Secret",
    "StreamsSection",
    "Upstream",
    "UpstreamSection",
    "VoiceSection",
    "explain",
    "load_config",
    "reload",
]


class Config(Struct, frozen=True, kw_only=True):
    """The whole effective configuration.  ``endpoint`` is what ``upstream`` and the key come to."""

    runtime_dir: str | None
    upstream: UpstreamSection
    voice: VoiceSection
    streams: StreamsSection
    gateway: GatewaySection
    log: LogSection
    endpoint: Upstream
    api_key: Secret | None
    origins: Mapping[str, str]
    """Where each dotted key (and ``api_key``) came from: "default", a file, a variable, "command line"."""

    def value(self, key: str) -> Any:  # noqa: ANN401 - each key has its own type
        """Return the value of one dotted key."""
        section, _, name = key.rpartition(".")
        return getattr(getattr(self, section) if section else self, name)


class Reload(Struct, frozen=True):
    """What a reload did: dotted keys, and the configuration that is now in force."""

    applied: tuple[str, ...]
    needs_restart: tuple[str, ...]
    config: Config


def load_config(
    *,
    environ: Mapping[str, str],
    argv_overrides: Mapping[str, str] | None = None,
    config_file: Path | None = None,
    system_file: Path = layers.SYSTEM_FILE,
) -> Config:
    """Read every layer and resolve the upstream.

    Args:
        environ: the process's environment.
        argv_overrides: flags, by dotted key.
        config_file: ``--config``: must exist, and goes on top of the two standard files.
        system_file: the administrator's file; need not exist.

    Raises:
        ConfigError: names place, key, what is wrong and the remedy.
    """
    files = [layers.file_layer(system_file, required=False)]
    if (own := layers.user_file(environ)) is not None:
        files.append(layers.file_layer(own, required=False))
    if config_file is not None:
        files.append(layers.file_layer(config_file, required=True))
    values = {name: key.default for name, key in KEYS.items()}
    origins = dict.fromkeys(KEYS, "default")
    for layer in [*files, layers.environment_layer(environ), layers.flags_layer(argv_overrides or {})]:
        values |= layer.values
        origins |= {key: layer.labels.get(key, layer.label) for key in layer.values}
    return _resolved(values, origins, environ)


def _resolved(values: Mapping[str, Any], origins: dict[str, str], environ: Mapping[str, str]) -> Config:
    _check_together(values, origins)
    found = find_api_key(environ, values["upstream.api_key_file"], origins["upstream.api_key_file"])
    endpoint = resolve_upstream(values["upstream.url"], origins["upstream.url"], has_key=found is not None)
    return Config(
        runtime_dir=values["runtime_dir"],
        endpoint=endpoint,
        api_key=found.secret if found else None,
        origins=MappingProxyType(origins | {"api_key": found.source if found else "default"}),
        **_sections(values),
    )


def _sections(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: section(**{key: values[f"{name}.{key}"] for key in section.__struct_fields__})
        for name, section in SECTIONS.items()
    }


def _check_together(values: Mapping[str, Any], origins: Mapping[str, str]) -> None:
    for low, high in (
        ("streams.max_per_session", "streams.max_total"),
        ("streams.realtime_buffer_ms", "streams.eager_buffer_ms"),
    ):
        if values[low] > values[high]:
            guilty = low if origins[low] != "default" else high
            raise ConfigError(
                origins[guilty],
                f"{low} ({values[low]}) is above {high} ({values[high]})",
                "lower the one or raise the other",
                key=guilty,
            )


def reload(old: Config, new: Config) -> Reload:
    """Say what changed, and return the old configuration with all of it that a running daemon can take."""
    changed = [key for key in KEYS if old.value(key) != new.value(key)]
    applied = tuple(key for key in changed if key in RELOADABLE)
    waiting = [key for key in changed if key not in RELOADABLE]
    if old.api_key != new.api_key:
        waiting.append("api_key")
    values = {key: (new if key in RELOADABLE else old).value(key) for key in KEYS}
    origins = {key: (new if key in RELOADABLE else old).origins[key] for key in [*KEYS, "api_key"]}
    config = replace(old, origins=MappingProxyType(origins), **_sections(values))
    return Reload(applied, tuple(waiting), config)


def explain(config: Config) -> str:
    """Return the effective configuration as TOML, each value with its layer; the API key is not in it."""
    lines = [_line("runtime_dir", config.runtime_dir, config.origins["runtime_dir"])]
    for name, section in SECTIONS.items():
        lines += ["", f"[{name}]"]
        lines += [
            _line(key, config.value(f"{name}.{key}"), config.origins[f"{name}.{key}"])
            for key in section.__struct_fields__
        ]
    key = f"key from {config.origins['api_key']}" if config.api_key else "no key"
    return "\n".join(
        [*lines, "", f"# speaks through: {config.endpoint.kind} {_where(config.endpoint)}({key})"]
    )


def _where(endpoint: Upstream) -> str:
    return "" if endpoint.kind == "embedded" else f"{endpoint.ws_base} "


def _line(key: str, value: object, origin: str) -> str:
    shown = f"# {key} is not set" if value is None else f"{key} = {_toml(value)}"
    return f"{shown:<44} # {origin}"


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case tuple():
            return str(list(value))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - ints
        case _:
            return str(value)
