"""One segment from text to frames: voice, timing, encoding.  Blocking code; ``studio`` runs it in threads.

Rule: frames come as soon as their audio exists; without ``sync_alignment`` the first one carries the timing
of the whole segment, with it each carries the timing of its own audio, cut between characters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tts_streamd_engine.alignment import Alignment
from tts_streamd_engine.voices.interface import BYTES_PER_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tts_streamd_audio.encoders import Encoder
    from tts_streamd_engine.voices.interface import Synthesiser, Utterance, VoiceSettings

MAX_AUDIO_BYTES = 450_000
"""Of one frame: 600 kB in base64, below the 1 MiB at which many WebSocket clients hang up."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Encoded audio, never empty, and the timing that it carries."""

    audio: bytes
    alignment: Alignment | None


@dataclass(frozen=True, slots=True)
class Segment:
    """What to say and how; ``appended`` is a blank of the server's own behind the text, or nothing."""

    text: str
    appended: str
    settings: VoiceSettings


def render(
    voice: Synthesiser, segment: Segment, open_encoder: Callable[[], Encoder], *, sync_alignment: bool
) -> Iterator[Frame]:
    """The frames of one segment, encoded as a stream of its own: nothing of it waits for the next one."""
    utterance = voice.utter(segment.text, segment.appended, segment.settings)
    alignment = Alignment(segment.text + segment.appended, utterance.bounds_ms)
    encoder = open_encoder()
    if sync_alignment:
        yield from _in_step(utterance, alignment, encoder)
        return
    carried: Alignment | None = alignment
    for audio in _encoded(utterance.blocks, encoder):
        yield Frame(audio, carried)
        carried = None


def _encoded(blocks: Iterator[bytes], encoder: Encoder) -> Iterator[bytes]:
    for block in blocks:
        yield from _fitting(encoder.encode(block))
    yield from _fitting(encoder.finish())


def _fitting(audio: bytes) -> Iterator[bytes]:
    for start in range(0, len(audio), MAX_AUDIO_BYTES):
        yield audio[start : start + MAX_AUDIO_BYTES]


def _in_step(utterance: Utterance, alignment: Alignment, encoder: Encoder) -> Iterator[Frame]:
    """Frames that end where a character ends.  A codec may hold audio back: its timing waits with it."""
    first = last = 0
    for last, pcm in _at_characters(utterance):
        audio = encoder.encode(pcm)
        if audio and last < len(alignment.chars):
            yield Frame(audio, alignment.sliced(first, last))
            first = last
        elif audio:
            yield Frame(audio + encoder.finish(), alignment.sliced(first, last))
            return
    if rest := encoder.finish():
        yield Frame(rest, alignment.sliced(first, last))


def _at_characters(utterance: Utterance) -> Iterator[tuple[int, bytes]]:
    """(characters done, the PCM up to their end), so that every cut lies between characters."""
    bounds, done, at_ms, pending = utterance.bounds_ms, 0, 0, b""
    n_characters = len(bounds) - 1
    for block in utterance.blocks:
        pending += block
        until = done
        while until < n_characters and (bounds[until + 1] - at_ms) * BYTES_PER_MS <= len(pending):
            until += 1
        size = (bounds[until] - at_ms) * BYTES_PER_MS
        if size:
            yield until, pending[:size]
            done, at_ms, pending = until, bounds[until], pending[size:]
