"""WAV files of 16-bit mono PCM, written while the sound is still being made.

A WAV header says how long the file is, which a stream does not know.  Into a pipe the largest size goes,
which players read as "until the end"; in a file that can seek, the header is put right when it is closed.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO, Self

from tts_streamd_audio.blocks import SAMPLE_BYTES, WholeSamples

if TYPE_CHECKING:
    from types import TracebackType

HEADER_BYTES = 44
_UNKNOWN = 0xFFFFFFFF
_LARGEST_DATA = _UNKNOWN - (HEADER_BYTES - 8)  # the RIFF size counts the header too, and must fit


def wav_header(rate_hz: int, data_bytes: int | None = None) -> bytes:
    """Return the 44 bytes before the samples; None, or 4 GiB and more, means "until the end"."""
    known = data_bytes is not None and data_bytes <= _LARGEST_DATA
    data = data_bytes if known else _UNKNOWN
    riff = data_bytes + HEADER_BYTES - 8 if data_bytes is not None and known else _UNKNOWN
    pcm_mono = (16, 1, 1, rate_hz, rate_hz * SAMPLE_BYTES, SAMPLE_BYTES, SAMPLE_BYTES * 8)
    return struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", riff, b"WAVE", b"fmt ", *pcm_mono, b"data", data)


class WavWriter:
    """Write PCM to *file* behind a header; ``close`` mends the header where it can, *file* stays open."""

    def __init__(self, file: BinaryIO, rate_hz: int) -> None:
        self._file = file
        self._rate_hz = rate_hz
        self._whole = WholeSamples()
        self._data_bytes = 0
        self._start = file.tell() if file.seekable() else None
        self._closed = False
        file.write(wav_header(rate_hz))

    def write(self, pcm: bytes) -> None:
        """Append 16-bit little-endian samples; half a sample waits for its other half."""
        samples = self._whole.feed(pcm)
        self._file.write(samples)
        self._data_bytes += len(samples)

    def close(self) -> None:
        """Write the true sizes into the header if the file can seek, and stay at its end.  Twice is fine."""
        if self._closed or self._start is None:
            return
        self._closed = True
        end = self._file.tell()
        self._file.seek(self._start)
        self._file.write(wav_header(self._rate_hz, self._data_bytes))
        self._file.seek(end)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
