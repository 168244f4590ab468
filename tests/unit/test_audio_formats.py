import subprocess
import sys
from importlib import util

import pytest

from tts_streamd_audio import formats
from tts_streamd_audio.formats import FORMATS, Format, FormatError, available_formats, parse_format


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pcm_24000", Format("pcm_24000", "pcm", 24000, None)),
        ("ulaw_8000", Format("ulaw_8000", "ulaw", 8000, None)),
        ("alaw_8000", Format("alaw_8000", "alaw", 8000, None)),
        ("mp3_22050_32", Format("mp3_22050_32", "mp3", 22050, 32)),
        ("opus_48000_192", Format("opus_48000_192", "opus", 48000, 192)),
        ("mp3_44100", Format("mp3_44100_128", "mp3", 44100, 128)),
    ],
)
def test_a_name_says_codec_rate_and_bit_rate(name, expected):
    assert parse_format(name) == expected


def test_every_listed_format_parses_to_its_own_name():
    assert [parse_format(name).name for name in FORMATS] == list(FORMATS)
    assert len(set(FORMATS)) == len(FORMATS) == 21


@pytest.mark.parametrize(
    "name", ["", "pcm", "pcm_24001", "mp3_44100_127", "PCM_24000", "opus_48000", "_ALIASES"]
)
def test_an_unknown_name_is_refused_with_the_names_there_are(name):
    with pytest.raises(FormatError, match="pcm_24000"):
        parse_format(name)


def test_opus_is_offered_only_where_its_package_is(monkeypatch):
    assert available_formats() == FORMATS
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name == "av" else util.find_spec(name))
    assert available_formats() == FORMATS[:16]


def test_asking_for_formats_and_passing_pcm_through_loads_no_heavy_package():
    code = (
        "import sys\n"
        "from tts_streamd_audio.formats import available_formats, parse_format\n"
        "from tts_streamd_audio.encoders import open_encoder\n"
        "available_formats()\n"
        "open_encoder(parse_format('pcm_24000')).encode(bytes(480))\n"
        "print([name for name in ('numpy', 'soxr', 'lameenc', 'av') if name in sys.modules])\n"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert loaded.stdout.strip() == "[]"
