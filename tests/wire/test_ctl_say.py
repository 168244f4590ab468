"""``tts-streamctl say`` as a program: real exit statuses, real pipes, a scripted daemon."""

import json
import os
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path

import pytest

from tts_streamd_client.testing import Scene, ScriptedDaemon

CTL = Path(sys.executable).with_name("tts-streamctl")

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def daemon(tmp_path):
    with ScriptedDaemon(tmp_path, heartbeat_ms=200) as daemon:
        yield daemon


def start(*arguments, runtime_dir, **options):
    return subprocess.Popen(
        [CTL, "--runtime-dir", runtime_dir, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=options.pop("text", True), **options,
    )  # fmt: skip


def run(*arguments, runtime_dir, stdin="", **options):
    ctl = start(*arguments, runtime_dir=runtime_dir, stdin=subprocess.PIPE, **options)
    out, err = ctl.communicate(stdin, timeout=30)
    return ctl.returncode, out, err


def texts(daemon):
    return [request["text"] for request in daemon.requests if "text" in request]


def assert_one_line(err):
    assert err.startswith("tts-streamctl: "), err
    assert err.count("\n") == 1, err


def test_text_is_written_to_a_true_wav_file(daemon, tmp_path):
    out = tmp_path / "x.wav"
    assert run("say", "--out", out, "Hello", "there.", runtime_dir=tmp_path) == (0, "", "")
    with wave.open(str(out)) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getnframes()) == (24_000, 1, 4800)
    assert texts(daemon) == ["Hello there."]
    assert daemon.requests[-1]["pace"] == "eager", "nobody listens: there is no reason to wait"


def test_a_wav_stream_goes_to_standard_output(daemon, tmp_path):
    status, out, err = run("say", "-o", "-", "one", runtime_dir=tmp_path, stdin=b"", text=False)
    assert (status, err) == (0, b"")
    assert out[:4] == b"RIFF"
    assert len(out) == 44 + 4800


def test_text_piped_in_is_spoken_while_it_is_still_coming(daemon, tmp_path):
    ctl = start("say", "--words", "--no-play", runtime_dir=tmp_path, stdin=subprocess.PIPE)
    ctl.stdin.write("one two")
    ctl.stdin.flush()
    assert ctl.stdout.readline().split() == ["0.000", "0.100", "one"], "the rest is not written yet"
    ctl.stdin.write(" three\n")
    ctl.stdin.close()
    assert [line.split()[2] for line in ctl.stdout] == ["two", "three"]
    assert ctl.wait(10) == 0
    ctl.stdout.close()
    ctl.stderr.close()


def test_a_character_cut_in_two_by_the_pipe_stays_whole(daemon, tmp_path):
    ctl = start("say", "-", "--words", "--no-play", runtime_dir=tmp_path, stdin=subprocess.PIPE, text=False)
    euro = "€ ".encode()
    ctl.stdin.write(b"one " + euro[:2])
    ctl.stdin.flush()
    time.sleep(0.3)
    _, err = ctl.communicate(euro[2:] + b"two", timeout=10)
    assert (ctl.returncode, err) == (0, b"")
    assert "".join(texts(daemon)) == "one € two"


def test_a_file_is_spoken(daemon, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("word " * 3000)
    out = tmp_path / "x.wav"
    assert run("say", "--file", text, "--out", out, runtime_dir=tmp_path)[0] == 0
    assert "".join(texts(daemon)) == "word " * 3000
    with wave.open(str(out)) as sound:
        assert sound.getnframes() == 3000 * 2400


def test_much_text_never_outruns_the_daemon(tmp_path):
    with ScriptedDaemon(tmp_path, Scene.SLOW_ACKS, heartbeat_ms=20, text_window=5000) as daemon:
        status, out, err = run("say", "--words", "--no-play", runtime_dir=tmp_path, stdin="word " * 1500)
        assert (status, err) == (0, "")
        assert out.count("word") == 1500
        assert "".join(texts(daemon)) == "word " * 1500


def test_options_reach_the_daemon(daemon, tmp_path):
    arguments = (
        "--voice",
        "bo",
        "--schedule",
        "50,120",
        "--speed",
        "1.1",
        "--language",
        "de",
        "--no-play",
        "--json",
    )
    status, out, _ = run("say", *arguments, "eins zwei", runtime_dir=tmp_path)
    request = daemon.requests[-1]
    assert status == 0
    assert (request["voice"], request["schedule"], request["language"]) == ("bo", [50, 120], "de")
    assert request["settings"] == {"speed": 1.1}
    answer = json.loads(out)
    assert answer["end"]["reason"] == "done"
    assert answer["seconds"] == 0.2
    assert [word["text"] for word in answer["words"]] == ["eins", "zwei"]


def test_the_runtime_directory_may_stand_behind_the_command(daemon, tmp_path):
    ctl = subprocess.run(
        [CTL, "say", "--runtime-dir", tmp_path, "--no-play", "--words", "hi"],
        check=False,
        capture_output=True,
    )
    assert ctl.returncode == 0


# -- what goes wrong ----------------------------------------------------------------------------------------


def test_no_daemon_is_one_clear_line(tmp_path):
    status, out, err = run("say", "--no-play", "--words", "hi", runtime_dir=tmp_path)
    assert (status, out) == (1, "")
    assert_one_line(err)
    assert "systemctl start tts-streamd" in err


def test_an_unknown_voice_leaves_no_file(daemon, tmp_path):
    out = tmp_path / "x.wav"
    status, _, err = run("say", "--voice", "nobody", "--out", out, "hi", runtime_dir=tmp_path)
    assert status == 1
    assert_one_line(err)
    assert "voice_not_found" in err
    assert not out.exists()


def test_an_unknown_voice_leaves_an_old_file_as_it_was(daemon, tmp_path):
    out = tmp_path / "x.wav"
    out.write_bytes(b"precious")
    assert run("say", "--voice", "nobody", "--out", out, "hi", runtime_dir=tmp_path)[0] == 1
    assert out.read_bytes() == b"precious"


@pytest.mark.parametrize("out", ["/nonexistent/x.wav", "/"])
def test_a_file_that_cannot_be_written_is_told_before_anything_is_said(daemon, tmp_path, out):
    status, _, err = run("say", "--out", out, "hi", runtime_dir=tmp_path)
    assert status == 1
    assert_one_line(err)
    assert daemon.requests == []


def test_a_full_disk_is_one_clear_line(daemon, tmp_path):
    status, _, err = run("say", "--out", "/dev/full", "hi", runtime_dir=tmp_path)
    assert status == 1
    assert_one_line(err)
    assert "/dev/full: No space left" in err


def test_a_full_disk_behind_standard_output_is_one_clear_line(daemon, tmp_path):
    for arguments in (("say", "--out", "-", "hi"), ("say", "--words", "--no-play", "hi"), ("voices",)):
        with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
            ctl = subprocess.run(
                [CTL, "--runtime-dir", tmp_path, *arguments],
                check=False, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30,
            )  # fmt: skip
        assert ctl.returncode == 1
        assert_one_line(ctl.stderr)


def test_unspeakable_text_fails(daemon, tmp_path):
    status, _, err = run("say", "--words", "--no-play", "...", runtime_dir=tmp_path)
    assert status == 1
    assert_one_line(err)
    assert "unspeakable_text" in err


def test_a_stream_that_fails_upstream_fails_the_command(tmp_path):
    with ScriptedDaemon(tmp_path, Scene.FAILING):
        status, _, err = run("say", "--words", "--no-play", "hi", runtime_dir=tmp_path)
    assert status == 1
    assert_one_line(err)
    assert "the line is cut" in err


def test_a_daemon_that_says_goodbye_after_each_word_is_followed_from_one_to_the_next(tmp_path):
    with ScriptedDaemon(tmp_path, Scene.GOODBYE, heartbeat_ms=100):
        status, out, err = run("say", "--words", "--no-play", "one two three", runtime_dir=tmp_path)
    assert (status, [line.split()[-1] for line in out.splitlines()]) == (0, ["one", "two", "three"])
    assert err.count("interrupted (the daemon said goodbye") == err.count("recovered") > 0


def test_blank_text_is_no_failure(daemon, tmp_path):
    status, _, err = run("say", "--no-play", "--words", runtime_dir=tmp_path, stdin="  \n")
    assert status == 0
    assert "nothing to say" in err


def test_text_that_is_not_utf_8_is_told(daemon, tmp_path):
    status, _, err = run("say", "--no-play", "--words", runtime_dir=tmp_path, stdin=b"one \xff", text=False)
    assert status == 1
    assert_one_line(err.decode())
    assert b"not UTF-8" in err
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"abc\xff")
    status, _, err = run("say", "--no-play", "--words", "--file", bad, runtime_dir=tmp_path)
    assert (status, "bad.txt is not UTF-8 (byte 3" in err) == (1, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--speed", "3", "hi"),
        ("--sped", "1", "hi"),
        ("--schedule", "5x", "--words", "hi"),
        ("--file", "x", "hi"),
        ("--out", "-", "--json", "hi"),
        ("--format", "mp3_44100_128", "--play", "hi"),
    ],
)
def test_wrong_usage_is_status_2(daemon, tmp_path, arguments):
    status, _, err = run("say", *arguments, runtime_dir=tmp_path)
    assert status == 2
    assert err
    assert "Traceback" not in err
    assert daemon.requests == []


def test_nothing_to_play_and_nothing_to_write_is_said(daemon, tmp_path):
    status, _, err = run("say", "--no-play", "hi", runtime_dir=tmp_path)
    assert status == 1
    assert_one_line(err)
    assert "nothing would come of it" in err


def test_a_missing_file_is_one_clear_line(daemon, tmp_path):
    status, _, err = run("say", "--file", tmp_path / "none.txt", "--words", runtime_dir=tmp_path)
    assert status == 1
    assert_one_line(err)
    assert "none.txt" in err


def test_ctrl_c_cancels_the_stream(daemon, tmp_path):
    out = tmp_path / "x.wav"
    ctl = start("say", "--words", "--out", out, runtime_dir=tmp_path, stdin=subprocess.PIPE)
    ctl.stdin.write("one two three ")
    ctl.stdin.flush()
    ctl.stdout.readline()
    ctl.send_signal(signal.SIGINT)
    assert ctl.wait(10) == 130
    assert ctl.stderr.read() == ""
    for pipe in (ctl.stdin, ctl.stdout, ctl.stderr):
        pipe.close()
    limit = time.monotonic() + 5
    while daemon.requests[-1]["op"] != "cancel":
        assert time.monotonic() < limit, "the stream was not cancelled"
        time.sleep(0.01)
    with wave.open(str(out)) as sound:
        assert sound.getnframes() >= 2400, "what was heard is a valid file"


@pytest.mark.parametrize("arguments", [("--out", "-"), ("--words", "--no-play")])
def test_a_reader_that_goes_away_is_no_noise(daemon, tmp_path, arguments):
    ctl = start("say", *arguments, runtime_dir=tmp_path, stdin=subprocess.PIPE, text=False)
    ctl.stdin.write(b"one two ")
    ctl.stdin.flush()
    assert os.read(ctl.stdout.fileno(), 20)
    ctl.stdout.close()
    ctl.stdin.write(b"three four five ")
    ctl.stdin.close()
    assert ctl.wait(10) == 141
    assert ctl.stderr.read() == b""
    ctl.stderr.close()
