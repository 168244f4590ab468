"""The deterministic voice: what is heard decodes to what was said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_streamd_engine.voices.codepoint import SAMPLES_PER_CHARACTER, CodepointVoice, decode, sample_of
from tts_streamd_engine.voices.interface import BYTES_PER_MS, VoiceSettings


def utter(text, appended=" "):
    utterance = CodepointVoice().utter(text, appended, VoiceSettings())
    return utterance.bounds_ms, b"".join(utterance.blocks)


@given(st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7FFF), min_size=1, max_size=500))
def test_audio_decodes_to_the_text(text):
    bounds, pcm = utter(text)
    assert decode(pcm) == text + "\0"
    assert bounds == tuple(range(0, 5 * (len(text) + 2), 5))
    assert len(pcm) == bounds[-1] * BYTES_PER_MS


@given(st.text(min_size=1, max_size=50))
def test_every_character_has_its_time_whether_it_sounds_or_not(text):
    bounds, pcm = utter(text, "")
    assert len(pcm) == 2 * SAMPLES_PER_CHARACTER * len(text) == bounds[-1] * BYTES_PER_MS
    assert [ord(c) for c in decode(pcm)] == [sample_of(c) for c in text]


def test_blanks_of_the_text_sound_but_not_the_server_s_own():
    _, pcm = utter("a b ", "")
    assert decode(pcm) == "a b "
    _, pcm = utter("a", " ")
    assert decode(pcm) == "a\0"


@pytest.mark.parametrize("character", ["\n", "\x1f", "\u8000", "\ud800", "\U0001f642"])
def test_what_has_no_sample_is_silent(character):
    assert sample_of(character) == 0


def test_torn_audio_is_noticed():
    _, pcm = utter("ab")
    with pytest.raises(ValueError, match="torn"):
        decode(pcm[2:])
