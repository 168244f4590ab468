"""Codecs: PCM at a format's own rate in, the payload of a stream out.

The payloads of one codec joined in order, those of ``finish`` included, are one valid stream of the format.
The delay a codec adds is its own: no codec counts samples.  A codec serves one stream, to its ``finish``.
Third-party encoders are imported when the first stream asks for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tts_streamd_audio.blocks import WholeSamples
from tts_streamd_audio.g711 import compress

if TYPE_CHECKING:
    from tts_streamd_audio.formats import Format
    from tts_streamd_audio.g711 import Law

_LAME_QUALITY = 5  # 4.4 ms of CPU per second of audio; 2 takes twice that and speech does not sound better


class Codec(Protocol):
    """PCM at the format's rate in, encoded bytes out."""

    def encode(self, pcm: bytes) -> bytes:
        """Return the encoded bytes that are complete, maybe none: most codecs wait for a whole frame."""
        ...

    def finish(self) -> bytes:
        """Return the last bytes of the stream; afterwards the codec must not be used."""
        ...


class PcmCodec:
    """16-bit little-endian PCM as it is, cut at whole samples."""

    def __init__(self) -> None:
        self._whole = WholeSamples()

    def encode(self, pcm: bytes) -> bytes:
        """Return *pcm* as whole samples."""
        return self._whole.feed(pcm)

    def finish(self) -> bytes:
        """Return nothing."""
        return b""


class G711Codec:
    """µ-law or A-law: one byte for each sample, without delay."""

    def __init__(self, law: Law) -> None:
        self._law: Law = law
        self._whole = WholeSamples()

    def encode(self, pcm: bytes) -> bytes:
        """Return one byte for each whole sample."""
        samples = self._whole.feed(pcm)
        return compress(samples, self._law) if samples else b""

    def finish(self) -> bytes:
        """Return nothing."""
        return b""


class Mp3Codec:
    """MP3 by LAME at a constant bit rate, without a Xing header: it would have to be written last."""

    def __init__(self, rate_hz: int, bitrate_kbps: int) -> None:
        import lameenc  # noqa: PLC0415 - only who asks for MP3 shall load it

        self._lame = lameenc.Encoder()
        self._lame.silence()
        self._lame.set_channels(1)
        self._lame.set_in_sample_rate(rate_hz)
        self._lame.set_out_sample_rate(rate_hz)
        self._lame.set_bit_rate(bitrate_kbps)
        self._lame.set_quality(_LAME_QUALITY)
        self._whole = WholeSamples()
        self._begun = False

    def encode(self, pcm: bytes) -> bytes:
        """Return the frames that are complete."""
        samples = self._whole.feed(pcm)
        if not samples:
            return b""
        self._begun = True
        return bytes(self._lame.encode(samples))

    def finish(self) -> bytes:
        """Return the last frames, padded with silence; nothing if no sample ever came."""
        return bytes(self._lame.flush()) if self._begun else b""


def open_codec(fmt: Format) -> Codec:
    """Return a new codec for *fmt*.

    Raises:
        FormatError: the format is Opus and PyAV is not installed.
    """
    if fmt.codec == "pcm":
        return PcmCodec()
    if fmt.codec == "ulaw" or fmt.codec == "alaw":  # noqa: PLR1714 - a membership test does not narrow the type
        return G711Codec(fmt.codec)
    assert fmt.bitrate_kbps is not None  # parse_format gives every lossy format one
    if fmt.codec == "mp3":
        return Mp3Codec(fmt.rate_hz, fmt.bitrate_kbps)
    from tts_streamd_audio.opus import OpusCodec  # noqa: PLC0415 - an extra: the package may be missing

    return OpusCodec(fmt.rate_hz, fmt.bitrate_kbps)
