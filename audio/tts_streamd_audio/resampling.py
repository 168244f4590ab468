"""Resampling of 16-bit PCM while it streams: nothing is lost, whatever the sizes of the chunks.

After ``finish`` the samples that came out are the samples that went in times the ratio of the rates, rounded
(libsoxr's own guarantee, tested here within 2).  A resampler serves one stream and ends with ``finish``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tts_streamd_audio.blocks import WholeSamples

if TYPE_CHECKING:
    from tts_streamd_audio.formats import Format


class Resampler(Protocol):
    """PCM at the source's rate in, PCM at the format's rate out."""

    def feed(self, pcm: bytes) -> bytes:
        """Return what can be had so far, maybe nothing: a filter also looks at the samples that follow."""
        ...

    def finish(self) -> bytes:
        """Return what the filter still holds; afterwards the resampler must not be fed."""
        ...


class SameRate:
    """No resampling: bytes pass, cut at whole samples.  Loads neither numpy nor soxr."""

    def __init__(self) -> None:
        self._whole = WholeSamples()

    def feed(self, pcm: bytes) -> bytes:
        """Return *pcm* as whole samples."""
        return self._whole.feed(pcm)

    def finish(self) -> bytes:
        """Return nothing: half a sample is no sound."""
        return b""


class SoxrResampler:
    """libsoxr, quality HQ (passband to 0.91 of the lower rate, 0.2 to 0.5 ms of CPU per second of audio).

    It computes in float32: for int16 libsoxr adds dither seeded by the clock, and the same speech shall give
    the same samples, however it was cut.
    """

    def __init__(self, source_rate_hz: int, rate_hz: int) -> None:
        import soxr  # noqa: PLC0415 - brings numpy; a stream at the source's own rate needs neither

        self._stream = soxr.ResampleStream(source_rate_hz, rate_hz, 1, dtype="float32", quality="HQ")
        self._whole = WholeSamples()

    def feed(self, pcm: bytes) -> bytes:
        """Return the samples at the new rate that *pcm* completes."""
        return self._resample(self._whole.feed(pcm), last=False)

    def finish(self) -> bytes:
        """Return the tail of the filter."""
        return self._resample(b"", last=True)

    def _resample(self, samples: bytes, *, last: bool) -> bytes:
        import numpy as np  # noqa: PLC0415 - see __init__

        if not samples and not last:
            return b""
        levels = np.frombuffer(samples, dtype="<i2").astype(np.float32)
        resampled = np.rint(self._stream.resample_chunk(levels, last=last))
        return resampled.clip(-32768, 32767).astype("<i2").tobytes()


def open_resampler(fmt: Format, source_rate_hz: int = 24_000) -> Resampler:
    """Return a new resampler from *source_rate_hz* to ``fmt.rate_hz``; free of cost when they are equal."""
    if fmt.rate_hz == source_rate_hz:
        return SameRate()
    return SoxrResampler(source_rate_hz, fmt.rate_hz)
