"""Who makes the sound: the resolved upstream and its key.

The rules: a key found and no URL given means ElevenLabs, no key means the embedded engine; plain text goes to
this machine only.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct

from tts_streamd.config.errors import ConfigError
from tts_streamd.config.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

ELEVENLABS_URL: Final = "https://api.elevenlabs.io"
EMBEDDED: Final = "embedded"
CREDENTIAL_NAME: Final = "elevenlabs-api-key"
_SECURE: Final = {"ws": "wss", "http": "https"}
_KEY_FORM: Final = re.compile(r"[A-Za-z0-9._~+/=:-]{1,512}\Z")


class Upstream(Struct, frozen=True, kw_only=True):
    """Base URLs without a trailing slash, of one host and one path prefix.

    For ``embedded`` they name ``localhost``: the connection itself goes to the engine's own socket.
    """

    kind: Literal["elevenlabs", "embedded"]
    ws_base: str
    http_base: str


class FoundKey(Struct, frozen=True):
    """The API key and the place it came from."""

    secret: Secret
    source: str


def resolve_upstream(url: str | None, source: str, *, has_key: bool) -> Upstream:
    """Decide who makes the sound.  ``source`` is where ``url`` was said, for the error.

    Raises:
        ConfigError: not a usable base URL, plain text to another machine, or ElevenLabs without a key.
    """
    chosen = url or (ELEVENLABS_URL if has_key else EMBEDDED)
    if chosen == EMBEDDED:
        return Upstream(kind="embedded", ws_base="ws://localhost", http_base="http://localhost")
    parts = _parsed(chosen, source)
    host = parts.hostname or ""
    secure = parts.scheme in {"wss", "https"}
    if not secure and not _is_this_machine(host):
        remedy = f"use {_SECURE[parts.scheme]}://, or a server at 127.0.0.1"
        raise _url_error(
            source, f"plain {parts.scheme}:// to {host} would show texts and key to the network", remedy
        )
    if host.endswith("elevenlabs.io") and not has_key:
        remedy = f"set ELEVENLABS_API_KEY or upstream.api_key_file, or use {EMBEDDED!r}"
        raise _url_error(source, f"{host} needs an API key", remedy)
    rest = parts.netloc + parts.path.rstrip("/")
    ws, http = ("wss", "https") if secure else ("ws", "http")
    return Upstream(kind="elevenlabs", ws_base=f"{ws}://{rest}", http_base=f"{http}://{rest}")


def _url_error(source: str, problem: str, remedy: str) -> ConfigError:
    return ConfigError(source, problem, remedy, key="upstream.url")


def _parsed(url: str, source: str) -> SplitResult:
    """The URL's parts.  Its own words are not repeated in an error: it may hold a password."""
    remedy = f"give {EMBEDDED!r} or a base such as wss://host or http://127.0.0.1:8080"
    try:
        parts = urlsplit(url)
        _ = parts.port  # a port out of range shows only when it is asked for
    except ValueError as error:
        raise _url_error(source, f"is not a URL ({error})", remedy) from None
    if parts.scheme not in {"ws", "wss", "http", "https"} or not parts.hostname:
        raise _url_error(source, "is not a ws://, wss://, http:// or https:// base", remedy)
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise _url_error(source, "holds more than host and path (user, query or fragment)", remedy)
    if re.search(r"[\s\x00-\x1f]", url):
        raise _url_error(source, "holds blanks or control characters", remedy)
    return parts


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def find_api_key(environ: Mapping[str, str], key_file: str | None, source: str) -> FoundKey | None:
    """Look in systemd's credential directory, then in ``key_file``, then in ``ELEVENLABS_API_KEY``.

    ``source`` is where ``key_file`` was said, for the error.

    Raises:
        ConfigError: a file that is named but missing, readable by others, or does not hold one key.
    """
    if directory := environ.get("CREDENTIALS_DIRECTORY"):
        credential = Path(directory) / CREDENTIAL_NAME
        if credential.exists():
            return FoundKey(
                _key_in(credential, "systemd credential"), f"systemd credential {CREDENTIAL_NAME}"
            )
    if key_file is not None:
        path = _key_path(key_file, source, environ.get("HOME"))
        _refuse_readable_by_others(path, source)
        return FoundKey(_key_in(path, source), f"file {path}")
    if value := environ.get("ELEVENLABS_API_KEY", "").strip():
        return FoundKey(_secret(value, "environment: ELEVENLABS_API_KEY"), "environment ELEVENLABS_API_KEY")
    return None


def _key_file_error(source: str, problem: str, remedy: str) -> ConfigError:
    return ConfigError(source, problem, remedy, key="upstream.api_key_file")


def _key_path(key_file: str, source: str, home: str | None) -> Path:
    path = Path(home, key_file[2:]) if home and key_file.startswith("~/") else Path(key_file)
    if not path.is_absolute():
        raise _key_file_error(source, f"{key_file} is relative", "give a path from / or from ~/")
    return path


def _refuse_readable_by_others(path: Path, source: str) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise _key_file_error(
            source, f"{path} cannot be read ({error.strerror})", "put the key there"
        ) from None
    if mode & 0o077:
        raise _key_file_error(source, f"{path} is open to other users", f"run: chmod 600 {path}")


def _key_in(path: Path, source: str) -> Secret:
    try:
        value = path.read_text("ascii", errors="replace").strip()
    except OSError as error:
        problem = f"{path} cannot be read ({error.strerror})"
        raise _key_file_error(source, problem, "give the daemon's user the right to read it") from None
    return _secret(value, f"{source}: {path}")


def _secret(value: str, source: str) -> Secret:
    """A key goes into a header: what cannot stand there is refused here, without showing it."""
    if not _KEY_FORM.match(value):
        raise ConfigError(source, "does not hold an API key", "put the key there, alone on one line")
    return Secret(value)
