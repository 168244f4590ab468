"""A stream heard to its end: all of its sound, all of its words."""

from __future__ import annotations

from dataclasses import dataclass

from tts_streamd_client.events import Audio, End, Event, Word, Words


@dataclass(frozen=True, slots=True)
class Speech:
    """``data`` is one valid stream of the format asked for; ``n_samples`` are counted at ``rate_hz``."""

    data: bytes
    words: tuple[Word, ...]
    rate_hz: int
    end: End

    @property
    def n_samples(self) -> int:
        """Samples received."""
        return self.end.samples


class Gathering:
    """Puts a ``Speech`` together from a stream's events."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._data: list[bytes] = []
        self._words: list[Word] = []

    def add(self, event: Event) -> Speech | None:
        """Take one event; the speech is there with the last."""
        match event:
            case Audio():
                self._data.append(event.data)
            case Words():
                self._words.extend(event.words)
            case End():
                return Speech(b"".join(self._data), tuple(self._words), self._rate_hz, event)
            case _:
                pass
        return None
