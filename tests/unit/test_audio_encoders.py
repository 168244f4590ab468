import io
import sys

import av
import miniaudio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_streamd_audio.encoders import open_codec, open_encoder
from tts_streamd_audio.formats import FORMATS, FormatError, parse_format
from tts_streamd_audio.g711 import compress

LAME_DELAY = 576 + 529 + 1152  # samples: encoder, decoder, and the last frame's padding
MP3 = [name for name in FORMATS if name.startswith("mp3_")]
OPUS = [name for name in FORMATS if name.startswith("opus_")]


def tone(n_samples, rate_hz=24000, pitch_hz=440.0, level=16000):
    at = np.arange(n_samples)
    return (level * np.sin(2 * np.pi * pitch_hz * at / rate_hz)).astype("<i2").tobytes()


def encode(name, pcm, chunk_bytes=4801):
    encoder = open_encoder(parse_format(name))
    pieces = [encoder.encode(pcm[i : i + chunk_bytes]) for i in range(0, len(pcm), chunk_bytes)]
    return b"".join(pieces) + encoder.finish()


def pitch_hz(samples, rate_hz):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return np.argmax(spectrum) * rate_hz / len(samples)


def decode_opus(payload):
    with av.open(io.BytesIO(payload)) as container:
        return np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(audio=0)])


@pytest.mark.parametrize("name", MP3)
def test_joined_mp3_payloads_are_one_stream_of_the_same_length_and_sound(name):
    fmt = parse_format(name)
    sound = miniaudio.mp3_read_s16(encode(name, tone(48000)))
    n_samples = 2 * fmt.rate_hz
    assert (sound.sample_rate, sound.nchannels) == (fmt.rate_hz, 1)
    assert n_samples <= sound.num_frames <= n_samples + LAME_DELAY
    assert pitch_hz(np.array(sound.samples), fmt.rate_hz) == pytest.approx(440, abs=1)


@pytest.mark.parametrize("name", MP3)
def test_mp3_has_the_bit_rate_of_its_name(name):
    payload = encode(name, tone(24000 * 4))
    assert len(payload) * 8 / 4 == pytest.approx(parse_format(name).bitrate_kbps * 1000, rel=0.05)


@pytest.mark.parametrize("name", OPUS)
def test_joined_opus_payloads_are_one_ogg_stream_of_the_same_length_and_sound(name):
    payload = encode(name, tone(48000))
    samples = decode_opus(payload)
    assert payload.startswith(b"OggS")
    assert payload.count(b"OpusHead") == 1
    assert abs(len(samples) - 96000) <= 960  # the last packet is whole
    assert pitch_hz(samples, 48000) == pytest.approx(440, abs=1)


def test_the_first_sound_of_opus_is_not_held_back():
    codec = open_codec(parse_format("opus_48000_64"))
    headers = codec.encode(tone(1920, 48000))
    sound = codec.encode(tone(1920, 48000))
    assert headers.startswith(b"OggS")
    assert sound.count(b"OggS") == 2  # 40 ms in, two pages of 20 ms out


def test_the_last_page_of_opus_ends_the_stream():
    payload = encode("opus_48000_32", tone(24001))
    end_of_stream = 4
    assert payload[payload.rindex(b"OggS") + 5] & end_of_stream


@pytest.mark.parametrize("name", FORMATS)
def test_a_stream_without_sound_is_empty(name):
    assert encode(name, b"") == b""


@pytest.mark.parametrize("name", FORMATS)
def test_the_shortest_streams_can_be_encoded(name):
    assert encode(name, tone(10)) != b""


@pytest.mark.parametrize("law", ["ulaw", "alaw"])
def test_g711_is_one_byte_for_each_sample_at_8_khz(law):
    payload = encode(f"{law}_8000", tone(24000))
    assert len(payload) == 8000
    assert payload == compress(encode("pcm_8000", tone(24000)), law)


@pytest.mark.parametrize("name", ["pcm_24000", "ulaw_8000", "alaw_8000"])
@settings(deadline=None)
@given(chunks=st.lists(st.binary(max_size=50), max_size=20))
def test_any_chunking_gives_the_codec_the_same_result_as_one_call(name, chunks):
    split, whole = open_codec(parse_format(name)), open_codec(parse_format(name))
    payload = b"".join([split.encode(chunk) for chunk in chunks]) + split.finish()
    assert payload == whole.encode(b"".join(chunks)) + whole.finish()


@pytest.mark.parametrize("name", ["mp3_24000_48", "opus_48000_64"])
def test_lossy_streams_do_not_depend_on_the_chunking_either(name):
    codec_at_once = open_codec(parse_format(name))
    pcm = tone(30000, parse_format(name).rate_hz)
    at_once = codec_at_once.encode(pcm) + codec_at_once.finish()
    codec = open_codec(parse_format(name))
    split = b"".join([codec.encode(pcm[i : i + 777]) for i in range(0, len(pcm), 777)]) + codec.finish()
    if name.startswith("opus"):  # each Ogg stream carries its own random serial number
        assert np.array_equal(decode_opus(split), decode_opus(at_once))
    else:
        assert split == at_once


def test_opus_without_its_package_names_the_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "tts_streamd_audio.opus", raising=False)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(FormatError, match=r"tts-streamd\[opus\]"):
        open_encoder(parse_format("opus_48000_64"))
