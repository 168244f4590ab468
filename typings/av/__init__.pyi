from collections.abc import Sequence
from fractions import Fraction
from typing import Literal, Protocol

class _File(Protocol):
    def write(self, piece: bytes, /) -> int: ...

class Plane:
    def update(self, data: bytes) -> None: ...

class AudioFrame:
    planes: tuple[Plane, ...]
    sample_rate: int
    time_base: Fraction
    pts: int | None
    samples: int
    def __init__(self, format: str, layout: str, samples: int) -> None: ...

class Packet: ...

class AudioStream:
    layout: str
    format: str
    bit_rate: int
    def encode(self, frame: AudioFrame | None) -> list[Packet]: ...

class OutputContainer:
    def add_stream(self, codec_name: Literal["libopus"], rate: int, options: dict[str, str]) -> AudioStream: ...
    def mux(self, packets: Sequence[Packet]) -> None: ...
    def close(self) -> None: ...

def open(
    file: _File, mode: Literal["w"], format: str, container_options: dict[str, str]
) -> OutputContainer: ...
