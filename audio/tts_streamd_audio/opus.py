"""Opus in Ogg by PyAV, which comes with the extra ``tts-streamd[opus]``.

One Ogg page per Opus packet of 20 ms: a page is what a player can start on, and the muxer's own choice, one
page a second, would hold back the first sound by as much.  It costs 28 bytes per packet, 11 kbps.
"""

from __future__ import annotations

from fractions import Fraction

from tts_streamd_audio.blocks import SAMPLE_BYTES, WholeSamples
from tts_streamd_audio.formats import FormatError

try:
    import av
except ModuleNotFoundError as error:
    raise FormatError(
        "Opus needs PyAV: pip install 'tts-streamd[opus]', or ask for mp3 or pcm instead"
    ) from error

_PACKET_MS = 20
_OGG_OPTIONS = {"page_duration": str(_PACKET_MS * 1000)}  # microseconds


class _Written:
    """The muxer's output file: what it writes waits here to be taken.  It cannot seek, like a pipe."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: bytes) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


class OpusCodec:
    """Opus packets of 20 ms, tuned for speech, in an Ogg stream; the last page carries the exact length."""

    def __init__(self, rate_hz: int, bitrate_kbps: int) -> None:
        self._rate_hz = rate_hz
        self._packet_bytes = rate_hz * _PACKET_MS // 1000 * SAMPLE_BYTES
        self._written = _Written()
        self._container = av.open(self._written, "w", format="ogg", container_options=_OGG_OPTIONS)
        self._track = self._container.add_stream("libopus", rate=rate_hz, options={"application": "voip"})
        self._track.layout = "mono"
        self._track.format = "s16"
        self._track.bit_rate = bitrate_kbps * 1000
        self._whole = WholeSamples()
        self._waiting = b""
        self._n_samples = 0

    def encode(self, pcm: bytes) -> bytes:
        """Return the pages that are complete; the first come with the stream's headers."""
        samples = self._waiting + self._whole.feed(pcm)
        whole = len(samples) - len(samples) % self._packet_bytes
        for start in range(0, whole, self._packet_bytes):
            self._mux(samples[start : start + self._packet_bytes])
        self._waiting = samples[whole:]
        return self._written.take()

    def finish(self) -> bytes:
        """Return the last pages; nothing if no sample ever came."""
        if self._waiting:
            self._mux(self._waiting)
        if self._n_samples:
            self._container.mux(self._track.encode(None))
            self._container.close()
        return self._written.take()

    def _mux(self, samples: bytes) -> None:
        frame = av.AudioFrame("s16", "mono", len(samples) // SAMPLE_BYTES)
        frame.planes[0].update(samples)
        frame.sample_rate = self._rate_hz
        frame.time_base = Fraction(1, self._rate_hz)
        frame.pts = self._n_samples
        self._n_samples += frame.samples
        self._container.mux(self._track.encode(frame))
