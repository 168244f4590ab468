"""What tts-streamd uses of miniaudio 1.71."""

from collections.abc import Generator
from enum import Enum

class MiniaudioError(Exception): ...

class Backend(Enum):
    PULSEAUDIO = 7
    ALSA = 8
    JACK = 9
    NULL = 14

class SampleFormat(Enum):
    SIGNED16 = 2

class Devices:
    def __init__(self, backends: list[Backend] | None = None) -> None: ...
    def get_playbacks(self) -> list[dict[str, object]]: ...

class PlaybackDevice:
    def __init__(
        self,
        output_format: SampleFormat = ...,
        nchannels: int = ...,
        sample_rate: int = ...,
        buffersize_msec: int = ...,
        *,
        backends: list[Backend] | None = None,
        app_name: str = ...,
    ) -> None: ...
    def start(self, callback_generator: Generator[bytes, int, None]) -> None: ...
    def close(self) -> None: ...
