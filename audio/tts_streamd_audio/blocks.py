"""Re-blocking of 16-bit PCM: bytes come in any sizes, whole samples go out.

Networks cut anywhere.  Half a sample is kept until its other half arrives, so that nobody behind this class
ever sees an odd number of bytes, which would turn everything after it into noise.
"""

from __future__ import annotations

SAMPLE_BYTES = 2
"""Bytes of one sample of the inner currency: 16-bit mono PCM, little-endian."""


class WholeSamples:
    """Give back what was fed, cut at samples: joined, the outputs are the inputs."""

    def __init__(self) -> None:
        self._half = b""

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the incomplete sample held back: 0 or 1."""
        return len(self._half)

    def feed(self, chunk: bytes) -> bytes:
        """Take any number of bytes, return whole samples; what is whole already is not copied."""
        joined = self._half + chunk if self._half else chunk
        if len(joined) % SAMPLE_BYTES == 0:
            self._half = b""
            return joined
        self._half = joined[-1:]
        return joined[:-1]
