"""Which timbre of the one model stands in for which premade voice: figures, no model is loaded.

(pitch, warp) pairs; each was heard by a recogniser as well as the natural voice (word error rate within .03).
Warping upwards beyond 1.05 breaks words, so brighter voices differ in pitch.
"""

from __future__ import annotations

from tts_streamd_protocol.elevenlabs.premade import PREMADE

_NATURAL, _BRIGHT, _LIGHT = (1.0, 1.0), (1.12, 1.03), (1.1, 1.0)
_SOFT, _MATURE, _NEUTRAL, _TENOR = (0.9, 0.98), (0.88, 0.97), (0.8, 0.95), (0.7, 0.93)
_MAN, _STEADY, _DEEP, _BASS = (0.65, 0.9), (0.6, 0.87), (0.55, 0.85), (0.5, 0.85)

_BY_NAME: dict[str, tuple[float, float]] = {
    "Rachel": _SOFT, "Laura": _LIGHT, "Jessica": _BRIGHT, "Bella": _MATURE, "Alice": _SOFT, "Lily": _MATURE,
    "Charlotte": _SOFT, "River": _NEUTRAL, "Emily": _SOFT, "Elli": _LIGHT, "Gigi": _BRIGHT, "Mimi": _BRIGHT,
    "Glinda": _MATURE, "Nicole": _SOFT, "Roger": _STEADY, "Charlie": _MAN, "George": _STEADY, "Callum": _DEEP,
    "Liam": _TENOR, "Harry": _MAN, "Will": _TENOR, "Eric": _MAN, "Chris": _MAN, "Brian": _BASS, "Daniel":
    _STEADY, "Bill": _DEEP, "Adam": _DEEP, "Antoni": _MAN, "Arnold": _STEADY, "Josh": _STEADY, "Sam": _MAN,
    "Clyde": _BASS, "Drew": _MAN, "Paul": _STEADY, "Dave": _MAN, "Fin": _DEEP, "Thomas": _MAN, "Patrick":
    _DEEP, "James": _STEADY, "Joseph": _DEEP, "Jeremy": _TENOR, "Michael": _BASS, "Ethan": _TENOR, "Giovanni":
    _STEADY,
}  # fmt: skip

TIMBRES: dict[str, tuple[float, float]] = {
    voice.voice_id: _BY_NAME.get(voice.name, _NATURAL) for voice in PREMADE if voice.category == "premade"
}
"""(pitch, warp) by voice id."""
