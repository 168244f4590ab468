"""Which voices there are, by id and by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches

from tts_streamd_protocol.errors import TtsStreamdError
from tts_streamd_protocol.messages import VoiceInfo

UPSTREAM_ID_LENGTH = 20
"""ElevenLabs' voice ids are 20 letters and digits; such a one may exist without being in the account's list."""


@dataclass(slots=True, eq=False)
class VoiceBook:
    """``complete``: a voice that is not listed does not exist."""

    default: str
    complete: bool
    voices: dict[str, VoiceInfo] = field(default_factory=dict[str, VoiceInfo])

    def replace(self, voices: list[VoiceInfo]) -> None:
        """A fresh list from upstream."""
        self.voices = {voice.voice: voice for voice in voices}

    def resolve(self, wanted: str | None) -> str:
        """The id of a voice given by id or, whatever the case, by name; raises ``voice_not_found``."""
        name = self.default if wanted is None else wanted
        if name in self.voices:
            return name
        for voice in self.voices.values():
            if voice.name.casefold() == name.casefold():
                return voice.voice
        if not self.complete and (not self.voices or _looks_like_an_id(name)):
            return name  # upstream will say
        raise TtsStreamdError("voice_not_found", self._not_found(name))

    def _not_found(self, name: str) -> str:
        names = [voice.name for voice in self.voices.values()]
        close = get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names[:12])}"
        return f"no voice {name[:80]!r}; {hint}"


def _looks_like_an_id(name: str) -> bool:
    return len(name) == UPSTREAM_ID_LENGTH and name.isascii() and name.isalnum()
