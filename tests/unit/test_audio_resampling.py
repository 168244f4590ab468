import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_streamd_audio.formats import parse_format
from tts_streamd_audio.resampling import SameRate, open_resampler

RATES_HZ = [8000, 16000, 22050, 24000, 32000, 44100, 48000]


def tone(n_samples, rate_hz=24000, pitch_hz=440.0, level=16000):
    at = np.arange(n_samples)
    return (level * np.sin(2 * np.pi * pitch_hz * at / rate_hz)).astype("<i2").tobytes()


def resample(rate_hz, chunks, source_rate_hz=24000):
    resampler = open_resampler(parse_format(f"pcm_{rate_hz}"), source_rate_hz)
    return b"".join([resampler.feed(chunk) for chunk in chunks]) + resampler.finish()


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("n_samples", [0, 1, 100, 24001, 55555])
def test_no_sample_is_lost_or_added(rate_hz, n_samples):
    pcm = tone(n_samples)
    out = resample(rate_hz, [pcm[i : i + 999] for i in range(0, len(pcm), 999)])
    assert len(out) % 2 == 0
    assert abs(len(out) // 2 - n_samples * rate_hz / 24000) <= 2


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_tone_stays_the_same_tone(rate_hz):
    out = np.frombuffer(resample(rate_hz, [tone(24000)]), "<i2").astype(float)
    expected = np.frombuffer(tone(len(out), rate_hz), "<i2").astype(float)
    middle = slice(rate_hz // 10, -rate_hz // 10)
    assert np.abs(out[middle] - expected[middle]).max() < 40  # 0.25 % of the level


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(RATES_HZ), st.lists(st.integers(1, 2500), min_size=1, max_size=12))
def test_the_sizes_of_the_chunks_change_nothing(rate_hz, sizes):
    pcm = tone(sum(sizes) // 2)
    chunks, at = [], 0
    for size in sizes:
        chunks.append(pcm[at : at + size])
        at += size
    assert resample(rate_hz, chunks) == resample(rate_hz, [pcm])


def test_a_signal_at_full_scale_is_clipped_and_does_not_wrap():
    square = (np.sign(np.sin(np.arange(24000) / 10 + 0.01)) * 32767).astype("<i2")
    out = np.frombuffer(resample(48000, [square.tobytes()]), "<i2").astype(int)
    before = np.repeat(square, 2).astype(int)
    assert out.max() == 32767
    assert out.min() == -32768
    assert np.mean(np.sign(out) == np.sign(before)) > 0.98


def test_an_equal_rate_is_passed_through():
    resampler = open_resampler(parse_format("mp3_44100_128"), 44100)
    assert isinstance(resampler, SameRate)
    assert resampler.feed(b"abc") + resampler.feed(b"d") + resampler.finish() == b"abcd"
