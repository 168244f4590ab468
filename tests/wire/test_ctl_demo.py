"""``tts-streamctl demo``: with the real daemon and the embedded voice, and what it says when no speech came."""

import json
import os
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from tts_streamd_client.testing import Scene, ScriptedDaemon

CTL = Path(sys.executable).with_name("tts-streamctl")

pytestmark = pytest.mark.timeout(110)


def run(*arguments, **options):
    ctl = subprocess.run(
        [CTL, *arguments], check=False, capture_output=True, text=True, timeout=100, **options
    )
    return ctl.returncode, ctl.stdout, ctl.stderr


def test_the_demo_speaks_with_a_daemon_of_its_own(tmp_path):
    out = tmp_path / "demo.wav"
    environ = {name: value for name, value in os.environ.items() if name != "ELEVENLABS_API_KEY"}
    status, drawn, err = run("demo", "--out", out, "--no-play", env=environ)
    assert status == 0, err
    for row in ("text in", "pieces sent", "first audio", "audio in", "words", "end"):
        assert row in drawn
    with wave.open(str(out)) as sound:
        assert sound.getnframes() / sound.getframerate() > 10
    assert "first audio after the first word" in drawn


def test_the_demo_draws_against_any_daemon(tmp_path):
    with ScriptedDaemon(tmp_path):
        status, drawn, err = run("--runtime-dir", tmp_path, "demo", "--out", tmp_path / "d.wav", "--no-play")
    assert (status, err) == (0, "")
    assert "written to" in drawn


def test_the_demo_answers_in_json(tmp_path):
    with ScriptedDaemon(tmp_path):
        status, out, _ = run(
            "--runtime-dir", tmp_path, "demo", "--json", "--out", tmp_path / "d.wav", "--no-play"
        )
    answer = json.loads(out)
    assert status == 0
    assert answer["end"]["reason"] == "done"
    assert answer["first_audio_s"] >= answer["first_piece_s"] >= 0


@pytest.mark.parametrize("scene", [Scene.FAILING, Scene.SILENT])
def test_the_demo_fails_if_no_speech_came(tmp_path, scene):
    with ScriptedDaemon(tmp_path, scene, heartbeat_ms=100):
        status, out, err = run("--runtime-dir", tmp_path, "demo", "--out", tmp_path / "d.wav", "--no-play")
    assert (status, out) == (1, "")
    assert err.count("\n") == 1


def test_the_demo_fails_if_silence_came(tmp_path, monkeypatch):
    monkeypatch.setattr("tts_streamd_client.testing.script.TONE", bytes(96))
    with ScriptedDaemon(tmp_path):
        status, _, err = run("--runtime-dir", tmp_path, "demo", "--out", tmp_path / "d.wav", "--no-play")
    assert status == 1
    assert "silence" in err


def test_a_daemon_that_does_not_start_is_shown_with_its_log(tmp_path):
    environ = os.environ | {"TTS_STREAMD_STREAMS_SCHEDULE": "no-such-schedule"}
    status, _, err = run("demo", "--out", tmp_path / "d.wav", "--no-play", env=environ)
    assert status == 1
    assert "tts-streamd ended at once" in err
    assert "log ends so" in err
    assert "Traceback" not in err
