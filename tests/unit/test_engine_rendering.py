"""Timing and frames of a segment: contiguous, spanning the audio exactly, cut between characters."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_streamd_audio.encoders import open_encoder
from tts_streamd_audio.formats import parse_format
from tts_streamd_engine.alignment import Alignment, joined
from tts_streamd_engine.frames import MAX_REASON_BYTES, close_reason
from tts_streamd_engine.rendering import MAX_AUDIO_BYTES, Segment, render
from tts_streamd_engine.voices.codepoint import CodepointVoice, decode
from tts_streamd_engine.voices.interface import (
    BYTES_PER_MS,
    SAMPLES_PER_MS,
    Utterance,
    VoiceSettings,
    silence,
)


class Uneven:
    """A voice whose characters last differently, some not at all, in blocks that end anywhere."""

    def __init__(self, durations, block_samples):
        self.durations, self.block_samples = durations, block_samples

    def utter(self, text, appended, settings):
        bounds = [0]
        for i in range(len(text + appended)):
            bounds.append(bounds[-1] + self.durations[i % len(self.durations)])
        pcm = silence(bounds[-1] * SAMPLES_PER_MS)
        size = 2 * self.block_samples
        return Utterance(tuple(bounds), (pcm[at : at + size] for at in range(0, len(pcm), size)))


def frames(voice, text, *, fmt="pcm_24000", sync=False, appended=" "):
    encoder = partial(open_encoder, parse_format(fmt))
    return list(render(voice, Segment(text, appended, VoiceSettings()), encoder, sync_alignment=sync))


uneven = st.builds(Uneven, st.lists(st.integers(0, 90), min_size=1).filter(any), st.integers(1, 5000))
texts = st.text(min_size=1, max_size=60)


@given(uneven, texts)
def test_the_first_frame_alone_times_the_whole_segment(voice, text):
    got = frames(voice, text)
    if not got:  # every character of this segment lasts 0 ms
        return
    assert [frame.alignment is None for frame in got] == [False] + [True] * (len(got) - 1)
    alignment = got[0].alignment
    assert alignment.chars == text + " "
    assert alignment.bounds_ms[0] == 0
    assert alignment.bounds_ms[-1] * BYTES_PER_MS == sum(len(frame.audio) for frame in got)


@given(uneven, texts)
def test_in_step_each_frame_times_exactly_its_own_audio(voice, text):
    got = frames(voice, text, sync=True)
    if not got:
        return
    assert "".join(frame.alignment.chars for frame in got) == text + " "
    for frame in got:
        assert frame.audio
        assert frame.alignment.bounds_ms[0] == 0
        assert frame.alignment.bounds_ms[-1] * BYTES_PER_MS == len(frame.audio)


@pytest.mark.parametrize("fmt", ["mp3_22050_32", "opus_48000_32", "ulaw_8000", "pcm_48000"])
@pytest.mark.parametrize("text", ["a", "Some words in a row. " * 20])
def test_in_step_no_character_is_lost_to_a_codec_that_holds_audio_back(fmt, text):
    got = frames(CodepointVoice(), text, fmt=fmt, sync=True)
    assert "".join(frame.alignment.chars for frame in got) == text + " "
    assert sum(frame.alignment.bounds_ms[-1] for frame in got) == 5 * len(text + " ")
    assert all(frame.audio for frame in got)


def test_codepoint_in_step_decodes_frame_by_frame():
    got = frames(CodepointVoice(), "Hello world. " * 40, sync=True, appended="")
    assert len(got) == 3
    assert [decode(frame.audio) for frame in got] == [frame.alignment.chars for frame in got]


def test_no_frame_is_too_large_for_a_client():
    got = frames(Uneven([1000], 24_000 * 60), "x" * 60)
    assert max(len(frame.audio) for frame in got) <= MAX_AUDIO_BYTES
    assert sum(len(frame.audio) for frame in got) == 61_000 * BYTES_PER_MS


@st.composite
def alignments(draw):
    chars = draw(st.text(min_size=1, max_size=20))
    steps = draw(st.lists(st.integers(0, 300), min_size=len(chars), max_size=len(chars)))
    bounds = [0]
    for step in steps:
        bounds.append(bounds[-1] + step)
    return Alignment(chars, tuple(bounds))


@given(alignments())
def test_times_on_the_wire_are_contiguous_integers(alignment):
    for told in (alignment.to_ws(), alignment.normalized().to_ws()):
        starts, durations = told["charStartTimesMs"], told["charDurationsMs"]
        assert len(told["chars"]) == len(starts) == len(durations)
        assert starts[1:] == [s + d for s, d in zip(starts, durations, strict=True)][:-1]
        assert starts[0] == 0
        assert starts[-1] + durations[-1] == alignment.bounds_ms[-1]
        assert all(isinstance(t, int) and t >= 0 for t in starts + durations)


@given(alignments())
def test_the_normalized_leading_blank_takes_its_time_from_the_first_character(alignment):
    normalized = alignment.normalized()
    assert normalized.chars == f" {alignment.chars}"
    assert (normalized.bounds_ms[0], *normalized.bounds_ms[2:]) == alignment.bounds_ms
    assert Alignment("", (0,)).normalized() == Alignment("", (0,))


@given(alignments(), alignments())
def test_http_times_are_seconds_and_parts_join(first, second):
    both = joined([first, second.shifted(first.bounds_ms[-1])])
    told = both.to_http()
    assert "".join(told["characters"]) == first.chars + second.chars
    starts, ends = told["character_start_times_seconds"], told["character_end_times_seconds"]
    assert starts[1:] == ends[:-1]
    assert ends[-1] == (first.bounds_ms[-1] + second.bounds_ms[-1]) / 1000


@given(st.text(max_size=200))
def test_a_close_reason_fits_and_is_the_message_s_beginning(message):
    reason = close_reason(message)
    assert len(reason.encode()) <= MAX_REASON_BYTES
    assert message.encode("utf-8", "replace").decode().startswith(reason)
    assert len(message.encode("utf-8", "replace")) - len(reason.encode()) == 0 or len(reason.encode()) > 119
