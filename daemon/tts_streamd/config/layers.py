"""Where values come from: defaults < system file < user file < ``--config`` < environment < flags.

Each layer is checked by itself, so that an error names the place where the wrong value stands.
"""

from __future__ import annotations

import re
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
from msgspec import Struct

from tts_streamd.config.errors import ConfigError
from tts_streamd.config.expectations import describe
from tts_streamd.config.sections import KEYS, SECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ENV_PREFIX: Final = "TTS_STREAMD_"
SYSTEM_FILE: Final = Path("/etc/tts-streamd/config.toml")
_VARIABLES: Final = {f"{ENV_PREFIX}{key.replace('.', '_').upper()}": key for key in KEYS}


class Layer(Struct, frozen=True):
    """One place's values, by dotted key, already of the right type."""

    label: str
    values: dict[str, Any]
    labels: dict[str, str]
    """Where one key came from, if more exactly known than ``label`` (a variable, a flag)."""


def file_layer(path: Path, *, required: bool) -> Layer:
    """Read a TOML file; a missing one is empty unless ``required``.

    Raises:
        ConfigError: unreadable, not TOML, an unknown key, a value that does not fit.
    """
    source = str(path)
    values = {
        key: _checked(source, key, raw) for key, raw in _flatten(source, _read(path, required=required))
    }
    return Layer(source, values, {})


def environment_layer(environ: Mapping[str, str]) -> Layer:
    """Take ``TTS_STREAMD_SECTION_KEY``; an empty variable counts as not set.

    Raises:
        ConfigError: an unknown variable with the prefix, or a value that does not fit.
    """
    values: dict[str, Any] = {}
    labels: dict[str, str] = {}
    for variable in sorted(name for name in environ if name.startswith(ENV_PREFIX) and environ[name]):
        if variable not in _VARIABLES:
            hint = _did_you_mean(variable, list(_VARIABLES))
            raise ConfigError(
                "environment",
                "no such setting",
                hint or "unset it, or see docs/configuration.md",
                key=variable,
            )
        key = _VARIABLES[variable]
        values[key] = _checked(f"environment: {variable}", key, environ[variable], text=True)
        labels[key] = f"environment {variable}"
    return Layer("environment", values, labels)


def flags_layer(overrides: Mapping[str, str]) -> Layer:
    """Take the command line's values, by dotted key.

    Raises:
        ConfigError: a value that does not fit.
    """
    values = {key: _checked("command line", key, raw, text=True) for key, raw in overrides.items()}
    return Layer("command line", values, {})


def user_file(environ: Mapping[str, str]) -> Path | None:
    """Return the user's own file, or nothing where there is no home."""
    if xdg := environ.get("XDG_CONFIG_HOME"):
        return Path(xdg) / "tts-streamd" / "config.toml"
    home = environ.get("HOME")
    return Path(home) / ".config" / "tts-streamd" / "config.toml" if home else None


def _read(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        if not required:
            return {}
        raise ConfigError(str(path), "there is no such file", "create it, or leave --config out") from None
    except OSError as error:
        if not required and isinstance(error, NotADirectoryError):
            return {}
        problem = f"cannot be read ({error.strerror})"
        raise ConfigError(str(path), problem, "give the daemon's user the right to read it") from None
    except UnicodeDecodeError:
        raise ConfigError(str(path), "is not UTF-8 text", "save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(path, str(error)) from None


def _syntax_error(path: Path, message: str) -> ConfigError:
    """Tomllib tells the line only in its words: "... (at line 3, column 9)" or "... (at end of document)"."""
    found = re.search(r" ?\(at line (\d+), column \d+\)", message)
    line = int(found[1]) if found else None
    problem = message.replace(found[0], "") if found else message
    return ConfigError(str(path), f"not TOML: {problem}", "mend that line", line=line)


def _flatten(source: str, tables: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in tables.items():
        if name in SECTIONS and isinstance(value, dict):
            for key, inner in cast("dict[str, Any]", value).items():
                yield _known(source, f"{name}.{key}"), inner
        elif name in SECTIONS:
            raise ConfigError(source, "is a section, not a value", f"write it as [{name}]", key=name)
        else:
            yield _known(source, name), value


def _known(source: str, key: str) -> str:
    if key in KEYS:
        return key
    if key.rpartition(".")[2] in {"api_key", "apikey", "key", "token"}:
        remedy = "keep the key in a file of mode 0600 and name that file in upstream.api_key_file"
    else:
        remedy = _did_you_mean(key, [*KEYS, *SECTIONS]) or "remove it, or see docs/configuration.md"
    raise ConfigError(source, "no such setting", remedy, key=key)


def _did_you_mean(word: str, choices: list[str]) -> str:
    """Compare whole names first, then the last part alone: ``[gateway] stall_ms`` belongs to ``streams``."""
    tail = word.rpartition(".")[2]
    same_tail = [choice for choice in choices if choice.rpartition(".")[2] == tail]
    near = same_tail or get_close_matches(word, choices, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else ""


def _checked(source: str, key: str, raw: object, *, text: bool = False) -> Any:  # noqa: ANN401 - the key's type
    wanted = KEYS[key].type
    given = _split(raw) if text and key == "streams.schedule" and isinstance(raw, str) else raw
    try:
        return msgspec.convert(given, wanted, strict=not text)
    except msgspec.ValidationError:
        shown = "the given value" if "@" in str(raw) else repr(raw)  # an "@" may stand behind a password
        raise ConfigError(source, f"{shown} does not fit", f"give {describe(wanted)}", key=key) from None


def _split(raw: str) -> str | list[str]:
    """Variables and flags write a schedule's sizes as ``50,75,100``."""
    return [size.strip() for size in raw.split(",")] if raw[:1].isdigit() else raw
