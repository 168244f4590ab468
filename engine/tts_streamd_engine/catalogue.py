"""Which voices there are, and the wait for the one that takes a second to load.

Rule: ``codepoint`` never waits; a request for any other voice waits for the model, but never past its
deadline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from tts_streamd_engine.voices.codepoint import CodepointVoice
from tts_streamd_engine.voices.interface import Synthesiser, VoiceUnavailableError
from tts_streamd_engine.voices.timbres import TIMBRES
from tts_streamd_protocol.elevenlabs.premade import CODEPOINT, PREMADE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

VOICE_IDS = frozenset(voice.voice_id for voice in PREMADE)
LOAD_DEADLINE_S = 30.0
"""The model takes 1 s on an idle machine, some 10 s on one that is swapping."""


def load_hibari() -> dict[str, Synthesiser]:
    """Every timbre of the model, ready to speak.  Blocks for about a second.

    Raises:
        VoiceUnavailableError: the package or its model is missing or broken.
    """
    try:
        from tts_streamd_engine.voices.hibari import Hibari, HibariVoice  # noqa: PLC0415 -- numpy and the runtime
        from tts_streamd_engine.voices.vocoder import Timbre  # noqa: PLC0415 -- as above

        hibari = Hibari()
        hibari.warm_up()
    except (ImportError, OSError, ValueError, RuntimeError) as error:
        raise VoiceUnavailableError(f"the voice model did not load: {error}") from error
    return {voice_id: HibariVoice(hibari, Timbre(*figures)) for voice_id, figures in TIMBRES.items()}


class Catalogue:
    """The voices by id.  ``load`` runs beside the server and is what ``voice`` waits for."""

    def __init__(self, loader: Callable[[], Mapping[str, Synthesiser]] = load_hibari) -> None:
        self._loader = loader
        self._voices: dict[str, Synthesiser] = {CODEPOINT.voice_id: CodepointVoice()}
        self._loaded = trio.Event()
        self.failure: str | None = None
        """Why the model could not be loaded, once that is known."""

    @property
    def is_loaded(self) -> bool:
        """Whether loading has ended, well or not."""
        return self._loaded.is_set()

    async def load(self) -> None:
        """Load the model in a thread; a failure is kept and told to whoever asks for a voice.

        Cancelled, it leaves the thread behind: the process is ending then.
        """
        try:
            self._voices.update(await trio.to_thread.run_sync(self._loader, abandon_on_cancel=True))
        except VoiceUnavailableError as error:
            self.failure = str(error)
        self._loaded.set()

    async def voice(self, voice_id: str) -> Synthesiser:
        """The voice, as soon as it can speak.

        Raises:
            KeyError: there is no such voice.
            VoiceUnavailableError: its model did not load, or not within 30 s.
        """
        if voice_id not in VOICE_IDS:
            raise KeyError(voice_id)
        if voice_id not in self._voices:
            with trio.move_on_after(LOAD_DEADLINE_S):
                await self._loaded.wait()
        try:
            return self._voices[voice_id]
        except KeyError:
            raise VoiceUnavailableError(self.failure or "the voice model is still loading") from None
