"""The query parameters of the text-to-speech endpoints: parsed, checked, unknown ones ignored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tts_streamd_audio.formats import Format, FormatError, available_formats, parse_format
from tts_streamd_engine.errors import invalid_parameter, unsupported_format, unsupported_model

if TYPE_CHECKING:
    from collections.abc import Mapping

WS_DEFAULT_FORMAT, HTTP_DEFAULT_FORMAT = "mp3_44100", "mp3_44100_128"
WAV_RATES_HZ = (8000, 16000, 22050, 24000, 32000, 44100, 48000)
MIN_INACTIVITY_S, MAX_INACTIVITY_S, DEFAULT_INACTIVITY_S = 1.0, 180.0, 20.0
_DIALOGUE_MODELS = ("eleven_v3", "eleven_v4")


@dataclass(frozen=True, slots=True)
class StreamQuery:
    """What the URL of a ``stream-input`` socket asks for."""

    fmt: Format
    inactivity_s: float
    sync_alignment: bool
    auto_mode: bool
    credentials: tuple[str, ...]


def parse_stream_query(query: Mapping[str, str]) -> StreamQuery:
    """Check the parameters of a WebSocket.

    Raises:
        RefusalError: one is wrong; the upgrade is refused with HTTP 400.
    """
    model_id = query.get("model_id", "")
    if model_id.startswith(_DIALOGUE_MODELS):
        raise unsupported_model(model_id)
    return StreamQuery(
        fmt=parse_output_format(query.get("output_format", WS_DEFAULT_FORMAT)),
        inactivity_s=_inactivity_s(query.get("inactivity_timeout")),
        sync_alignment=_flag(query, "sync_alignment"),
        auto_mode=_flag(query, "auto_mode"),
        credentials=tuple(query[k] for k in ("authorization", "single_use_token") if query.get(k)),
    )


def parse_output_format(name: str) -> Format:
    """The format, if it exists and this installation can make it.

    Raises:
        RefusalError: it does not, or cannot.
    """
    try:
        fmt = parse_format(name)
    except FormatError as error:
        raise unsupported_format(str(error)) from None
    if fmt.name not in available_formats():
        raise unsupported_format(f"{name} needs the extra: pip install 'tts-streamd[opus]'")
    return fmt


def parse_convert_format(name: str) -> tuple[Format, int | None]:
    """The format of a whole body: also ``wav_RATE``, which is PCM behind a header (its rate, else None).

    Raises:
        RefusalError: there is no such format.
    """
    codec, _, rate = name.partition("_")
    if codec != "wav":
        return parse_output_format(name), None
    if rate not in {str(hz) for hz in WAV_RATES_HZ}:
        raise unsupported_format(
            f"no audio format {name!r}; WAV rates are {', '.join(map(str, WAV_RATES_HZ))}"
        )
    return parse_format(f"pcm_{rate}"), int(rate)


def _flag(query: Mapping[str, str], name: str) -> bool:
    value = query.get(name, "false").lower()
    if value not in {"true", "false", "1", "0"}:
        raise invalid_parameter(name, f"{name} must be true or false, not {value!r}.")
    return value in {"true", "1"}


def _inactivity_s(value: str | None) -> float:
    if value is None:
        return DEFAULT_INACTIVITY_S
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not MIN_INACTIVITY_S <= seconds <= MAX_INACTIVITY_S:
        raise invalid_parameter("inactivity_timeout", "inactivity_timeout must be within 1 and 180 seconds.")
    return seconds
