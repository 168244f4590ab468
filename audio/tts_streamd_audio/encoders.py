"""From the inner currency, 16-bit mono PCM at one rate, to any format: a resampler and a codec in a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tts_streamd_audio.codecs import Codec, open_codec
from tts_streamd_audio.resampling import Resampler, open_resampler

if TYPE_CHECKING:
    from tts_streamd_audio.formats import Format

__all__ = ["Codec", "Encoder", "Resampler", "open_codec", "open_encoder", "open_resampler"]


class Encoder(Protocol):
    """PCM at the source's rate in, the payload of a stream out."""

    def encode(self, pcm: bytes) -> bytes:
        """Return the encoded bytes that are complete, maybe none."""
        ...

    def finish(self) -> bytes:
        """Return the last bytes of the stream; afterwards the encoder must not be used."""
        ...


class ResamplingEncoder:
    """A resampler whose samples go straight into a codec."""

    def __init__(self, resampler: Resampler, codec: Codec) -> None:
        self._resampler = resampler
        self._codec = codec

    def encode(self, pcm: bytes) -> bytes:
        """Return the encoded bytes that are complete, maybe none."""
        return self._codec.encode(self._resampler.feed(pcm))

    def finish(self) -> bytes:
        """Return the rest of both stages."""
        return self._codec.encode(self._resampler.finish()) + self._codec.finish()


def open_encoder(fmt: Format, source_rate_hz: int = 24_000) -> Encoder:
    """Return a new encoder for one stream of *fmt* from 16-bit mono PCM at *source_rate_hz*.

    Raises:
        FormatError: the format is Opus and PyAV is not installed.
    """
    return ResamplingEncoder(open_resampler(fmt, source_rate_hz), open_codec(fmt))
