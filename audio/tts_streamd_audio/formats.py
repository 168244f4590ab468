"""The audio formats a client may ask for: their names, rates and bit rates, and nothing that encodes.

A name says codec, rate in Hz and, for the lossy ones, bit rate in kbps: ``mp3_44100_128``.  The names are
those of ElevenLabs' ``output_format``, so a client may use the strings it knows.  Nothing here loads a codec.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal, TypeAlias, get_args

CodecName: TypeAlias = Literal["pcm", "ulaw", "alaw", "mp3", "opus"]

FORMATS: tuple[str, ...] = (
    "pcm_8000", "pcm_16000", "pcm_22050", "pcm_24000", "pcm_32000", "pcm_44100", "pcm_48000",
    "ulaw_8000", "alaw_8000",
    "mp3_22050_32", "mp3_24000_48",
    "mp3_44100_32", "mp3_44100_64", "mp3_44100_96", "mp3_44100_128", "mp3_44100_192",
    "opus_48000_32", "opus_48000_64", "opus_48000_96", "opus_48000_128", "opus_48000_192",
)  # fmt: skip
"""Every format that can be named; ``available_formats`` says which of them this installation can make."""

_ALIASES = {"mp3_44100": "mp3_44100_128"}  # the name from before bit rates were part of it


class FormatError(ValueError):
    """There is no such format, or this installation cannot make it; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Format:
    """One mono format: ``rate_hz`` of the encoded audio, ``bitrate_kbps`` of the lossy codecs (else None)."""

    name: str
    codec: CodecName
    rate_hz: int
    bitrate_kbps: int | None


def parse_format(name: str) -> Format:
    """Return the format called *name*; the older ``mp3_44100`` gives ``mp3_44100_128`` under its full name.

    It does not check that the codec's package is there: ``available_formats`` and ``open_codec`` do.

    Raises:
        FormatError: no format has this name.
    """
    full_name = _ALIASES.get(name, name)
    if full_name not in FORMATS:
        raise FormatError(f"no audio format {name!r}; there are {', '.join(FORMATS)}")
    codec, rate_hz, *bitrate_kbps = full_name.split("_")
    codecs: tuple[CodecName, ...] = get_args(CodecName)
    kbps = int(bitrate_kbps[0]) if bitrate_kbps else None
    return Format(full_name, next(known for known in codecs if known == codec), int(rate_hz), kbps)


def available_formats() -> tuple[str, ...]:
    """Return the names this installation can make: all, less Opus where PyAV is missing.  Imports nothing."""
    if find_spec("av") is not None:
        return FORMATS
    return tuple(name for name in FORMATS if not name.startswith("opus_"))
