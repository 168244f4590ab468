"""The real voice: exact timing, honest silence, the same samples as hibari itself makes."""

import array
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hibari import dsp
from hibari.voices import voice_path
from hypothesis import given, settings
from hypothesis import strategies as st

from engineserver import ADAM, SARAH, voices
from tts_streamd_engine.voices.hibari import DURATIONS, Hibari
from tts_streamd_engine.voices.interface import BYTES_PER_MS, VoiceSettings
from tts_streamd_engine.voices.onnx_graph import GraphError, only_output, with_output
from tts_streamd_engine.voices.reading import Spoken, Unspeakable, spaced
from tts_streamd_engine.voices.vocoder import Timbre, rows

SENTENCE = "The quick brown fox jumps over the lazy dog, and the dog does not mind at all."


def utter(text, voice_id=SARAH, speed=1.0, appended=" "):
    utterance = voices()[voice_id].utter(text, appended, VoiceSettings(speed))
    return utterance.bounds_ms, list(utterance.blocks)


def loudness(pcm):
    samples = array.array("h", pcm)
    return (sum(s * s for s in samples) / max(1, len(samples))) ** 0.5


@pytest.fixture(scope="module")
def hibari():
    return Hibari()


scraps = st.sampled_from([*"aeIx 1.,?!'\n-$", "日", "🙂", "é", "the ", "5th ", "Dr. ", "3:30", "1" * 20])


@settings(max_examples=25, deadline=None)
@given(st.lists(scraps, min_size=1, max_size=30).map("".join))
def test_timing_spans_the_audio_of_any_text(text):
    bounds, blocks = utter(text)
    assert len(bounds) == len(text) + 2
    assert bounds[0] == 0
    assert all(a <= b for a, b in pairwise(bounds))
    assert sum(map(len, blocks)) == bounds[-1] * BYTES_PER_MS
    assert all(blocks)


def test_it_speaks_at_a_natural_pace():
    bounds, blocks = utter(SENTENCE)
    assert len(SENTENCE) / 25 < bounds[-1] / 1000 < len(SENTENCE) / 6
    assert loudness(b"".join(blocks)) > 300


def test_the_first_block_is_short_and_sound_begins_at_once():
    _, blocks = utter(SENTENCE)
    assert len(blocks[0]) <= 200 * BYTES_PER_MS
    pcm = array.array("h", b"".join(blocks))
    begins = next(i for i, sample in enumerate(pcm) if abs(sample) > 300)
    assert begins < 0.1 * 24_000


def test_every_letter_has_time_and_the_rest_behind_a_sentence_is_the_blank_s():
    text = "Hello there, on Jan. 5th at 3:30pm. I said no. "
    bounds, _ = utter(text, appended="")
    lengths = [b - a for a, b in pairwise(bounds)]
    assert all(length > 0 for c, length in zip(text, lengths, strict=True) if c.isalnum())
    assert lengths[-1] > 200


def test_a_piece_cut_at_a_comma_or_in_mid_phrase_rests_shorter():
    rests = []
    for end in (". ", ", ", " "):
        bounds, _ = utter("we went there" + end, appended="")
        rests.append(bounds[-1] - bounds[-2])
    assert rests == sorted(rests, reverse=True)
    assert rests[-1] == pytest.approx(90, abs=1)


def test_the_same_text_gives_the_same_samples_and_other_timbres_others():
    assert utter(SENTENCE) == utter(SENTENCE)
    bounds, blocks = utter(SENTENCE, ADAM)
    assert bounds == utter(SENTENCE)[0]
    assert blocks != utter(SENTENCE)[1]
    assert loudness(b"".join(blocks)) > 300


def test_speed_is_obeyed():
    slow, natural, fast = (utter(SENTENCE, speed=speed)[0][-1] for speed in (0.7, 1.0, 1.2))
    assert slow > natural > fast


@pytest.mark.parametrize("text", ["日本語です。", "🙂", "...", "\n\n", "?"])
def test_text_without_a_speakable_word_is_a_short_digital_silence(text):
    bounds, blocks = utter(text)
    assert 0 < bounds[-1] < 700
    assert not any(b"".join(blocks))
    assert all(b > a for c, (a, b) in zip(text, pairwise(bounds), strict=False) if c.isalnum())


def test_words_of_another_script_are_silent_and_timed_among_spoken_ones():
    text = "I love 日本語 and food."
    bounds, blocks = utter(text)
    start, end = bounds[text.index("日")], bounds[text.index("語") + 1]
    pcm = b"".join(blocks)
    assert end - start == 60
    assert not any(pcm[start * BYTES_PER_MS : end * BYTES_PER_MS])
    assert loudness(pcm[: start * BYTES_PER_MS]) > 300
    assert loudness(pcm[end * BYTES_PER_MS :]) > 300


def test_blanks_are_added_only_where_scripts_meet_and_in_endless_numbers():
    assert spaced("I love日本語food, café 1,234,567") == "I love 日本語 food, café 1,234,567"
    assert spaced("no 1234567890123456.") == "no 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6."


def test_a_word_that_ends_a_sentence_is_not_taken_for_an_abbreviation(hibari):
    (plain,) = hibari.reader.read("I said no")
    (ended,) = hibari.reader.read("I said no. ")
    assert ended.ids[: len(plain.ids) - 1] == plain.ids[:-1]


def test_very_long_words_are_cut_for_the_model(hibari):
    runs = hibari.reader.read("supercalifragilistic" * 60 + " " + "7" * 200 + " end.")
    assert all(len(run.ids) <= 402 for run in runs if isinstance(run, Spoken))
    bounds, blocks = utter("7" * 300)
    assert sum(map(len, blocks)) == bounds[-1] * BYTES_PER_MS


def test_unspeakable_neighbours_are_one_run(hibari):
    assert hibari.reader.read("日本 🙂") == [Unspeakable(0, 4)]
    assert hibari.reader.read('..."') == []


class NoNoise:
    def standard_normal(self, shape, dtype):
        return np.zeros(shape, dtype)


def test_blocks_equal_hibari_s_own_synthesis(hibari, monkeypatch):
    monkeypatch.setattr(np.random, "default_rng", lambda _: NoNoise())
    (run,) = hibari.reader.read(SENTENCE)
    spectra, durations = hibari.model.spectra(run.ids, 1.0)
    stock = dsp.synth(
        spectra.harmonic_log, spectra.harmonic_phase, spectra.noise_log, spectra.free_log, spectra.free_phase,
        spectra.pitch_hz, NoNoise(),
    )  # fmt: skip
    assert sum(durations) * 600 == len(stock)
    for first, last in ((0, spectra.n_rows), (17, 50), (3, 4), (100, 10_000)):
        made = np.concatenate([block.reshape(-1) for block in rows(spectra, Timbre(), first, last, 0)])
        assert np.allclose(made, stock[first * 300 : last * 300], atol=1e-6)
    assert list(rows(spectra, Timbre(), spectra.n_rows, spectra.n_rows + 5, 0)) == []


@pytest.mark.parametrize("speed", [0.7, 1.0, 1.2])
def test_the_small_duration_network_agrees_with_the_whole_model(hibari, speed):
    (run,) = hibari.reader.read(SENTENCE)
    _, durations = hibari.model.spectra(run.ids, speed)
    assert hibari.model.durations(run.ids, speed) == durations


def test_the_pinned_tensor_is_in_the_model_and_others_are_not():
    model = Path(voice_path("heart", download_missing=False)).read_bytes()
    assert len(only_output(model, DURATIONS)) < len(model) / 4
    assert with_output(model, DURATIONS).startswith(model)
    with pytest.raises(GraphError, match="no node"):
        only_output(model, "/Nothing")


@pytest.mark.parametrize(
    "junk", [b"", b"\x08\x01", b"\x3f", b"\xff\xff", b"\x3d\0\0\0\0", b"\x39" + bytes(8)]
)
def test_what_is_no_model_is_refused(junk):
    with pytest.raises(GraphError):
        only_output(junk, DURATIONS)
