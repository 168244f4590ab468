"""Plays 16-bit mono PCM as it arrives, where there is a sound device.

The device's own thread pulls; what is not there yet is silence.  ``played_ms`` is the clock of what is heard.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

import miniaudio

from tts_streamd.ctl.failures import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

SAMPLE_BYTES = 2
PERIOD_MS = 40
"""What the device asks for at a time: short, so that speech starts at once."""

ENOUGH_MS = 5_000
"""Sound kept ready; more than that is not taken from the stream, which then buys no more."""

DRAIN_GRACE_S = 2.0
"""How much longer than its sound lasts the device may take to play it."""

NO_DEVICE = "Discard all samples"
"""How ALSA names its null device, the only one on a machine without sound."""

_BACKENDS = [miniaudio.Backend.PULSEAUDIO, miniaudio.Backend.ALSA, miniaudio.Backend.JACK]


class Device(Protocol):
    """What plays: miniaudio's device, or a stand-in."""

    def start(self, callback_generator: Generator[bytes, int, None]) -> None:
        """Begin to pull."""
        ...

    def close(self) -> None:
        """Stop pulling."""
        ...


def has_sound_device() -> bool:
    """Whether anything here makes sound."""
    try:
        playbacks = miniaudio.Devices(_BACKENDS).get_playbacks()
    except miniaudio.MiniaudioError:
        return False
    return any(not str(playback["name"]).startswith(NO_DEVICE) for playback in playbacks)


def open_device(rate_hz: int) -> Device:
    """The default device at ``rate_hz``, mono."""
    try:
        return miniaudio.PlaybackDevice(
            miniaudio.SampleFormat.SIGNED16,
            1,
            rate_hz,
            PERIOD_MS,
            backends=_BACKENDS,
            app_name="tts-streamctl",
        )
    except miniaudio.MiniaudioError as error:
        raise CommandError(f"the sound device cannot be opened: {error}") from None


class Player:
    """``write`` never waits; ``drain`` waits until all has been heard."""

    def __init__(self, rate_hz: int, open_device: Callable[[int], Device] = open_device) -> None:
        self._rate_hz = rate_hz
        self._lock = threading.Lock()
        self._chunks: deque[bytes] = deque()
        self._buffered_bytes = 0
        self._played_bytes = 0
        self._device = open_device(rate_hz)
        pulled = self._pulled()
        next(pulled)
        self._device.start(pulled)

    def write(self, pcm: bytes) -> None:
        """Play ``pcm`` after what is already there."""
        with self._lock:
            self._chunks.append(pcm)
            self._buffered_bytes += len(pcm)

    @property
    def buffered_ms(self) -> int:
        """Sound that waits to be played."""
        return self._ms(self._buffered_bytes)

    @property
    def played_ms(self) -> int:
        """Sound that the device has taken."""
        return self._ms(self._played_bytes)

    @property
    def wants_more(self) -> bool:
        """Whether more sound should be fetched."""
        return self.buffered_ms < ENOUGH_MS

    def drain(self, meanwhile: Callable[[], None]) -> None:
        """Wait until all has been played, calling ``meanwhile`` often; a stuck device is given up."""
        limit_s = time.monotonic() + self.buffered_ms / 1000 + DRAIN_GRACE_S
        while self._buffered_bytes and time.monotonic() < limit_s:
            time.sleep(PERIOD_MS / 2000)
            meanwhile()
        time.sleep(2 * PERIOD_MS / 1000)  # what the device has taken but not yet sounded

    def close(self) -> None:
        """Stop at once."""
        self._device.close()

    def _ms(self, n_bytes: int) -> int:
        return 1000 * n_bytes // (SAMPLE_BYTES * self._rate_hz)

    def _pulled(self) -> Generator[bytes, int, None]:
        """What the device's thread pulls: so many samples as it asks for, silence where there are none."""
        n_samples = yield b""
        while True:
            wanted = n_samples * SAMPLE_BYTES
            data = self._take(wanted)
            n_samples = yield data + bytes(wanted - len(data))

    def _take(self, wanted: int) -> bytes:
        with self._lock:
            parts: list[bytes] = []
            left = wanted
            while left and self._chunks:
                chunk = self._chunks.popleft()
                parts.append(chunk[:left])
                if len(chunk) > left:
                    self._chunks.appendleft(chunk[left:])
                left -= len(parts[-1])
            taken = wanted - left
            self._buffered_bytes -= taken
            self._played_bytes += taken
            return b"".join(parts)
