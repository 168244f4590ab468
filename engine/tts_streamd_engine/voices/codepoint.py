"""The deterministic test voice: any audio received from it decodes back to the exact text heard.

Each character lasts 120 samples (5 ms).  U+0020 to U+7FFF sound as 120 samples of their own value (int16,
little endian); the control characters below U+0020 and everything above U+7FFF, surrogates too, are 120 zero
samples: such characters are timed, but cannot be told apart.  Speed is not obeyed: exactness is the point.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tts_streamd_engine.voices.interface import SAMPLES_PER_MS, Utterance, VoiceSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

MS_PER_CHARACTER = 5
SAMPLES_PER_CHARACTER = MS_PER_CHARACTER * SAMPLES_PER_MS
_CHARACTERS_PER_BLOCK = 200  # one second


def sample_of(character: str) -> int:
    """The value of each of the character's samples; 0 where it does not sound."""
    code = ord(character)
    return code if 0x20 <= code <= 0x7FFF else 0  # noqa: PLR2004 -- the range of the docstring above


def decode(pcm: bytes) -> str:
    """The text heard in samples of this voice; U+0000 stands for silent characters.

    Raises:
        ValueError: the audio is not made of whole characters of this voice.
    """
    size = 2 * SAMPLES_PER_CHARACTER
    cells = [pcm[at : at + size] for at in range(0, len(pcm), size)]
    for number, cell in enumerate(cells):
        if cell != cell[:2] * SAMPLES_PER_CHARACTER:
            raise ValueError(f"character {number} is torn")
    return "".join(chr(struct.unpack("<h", cell[:2])[0]) for cell in cells)


class CodepointVoice:
    """The voice ``codepoint``."""

    def utter(self, text: str, appended: str, settings: VoiceSettings) -> Utterance:
        """Speak every character of ``text``, blanks too; the appended blank is 120 zero samples."""
        del settings
        n = len(text) + len(appended)
        bounds = tuple(range(0, MS_PER_CHARACTER * (n + 1), MS_PER_CHARACTER))
        return Utterance(bounds, _blocks([*map(sample_of, text), *(0 for _ in appended)]))


def _blocks(values: list[int]) -> Iterator[bytes]:
    for start in range(0, len(values), _CHARACTERS_PER_BLOCK):
        cut = values[start : start + _CHARACTERS_PER_BLOCK]
        yield b"".join(struct.pack("<h", value) * SAMPLES_PER_CHARACTER for value in cut)
