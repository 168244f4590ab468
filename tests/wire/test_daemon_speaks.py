"""Speech from a running daemon with the embedded engine's real voice, in true books."""

from __future__ import annotations

import array
import re
import subprocess
import sys
import time
from pathlib import Path

import msgpack
import pytest
import zmq

from busclient import Bus
from daemonprocess import environ

TEXT = "Good morning. The quick brown fox jumps over the lazy dog, and the dog does not mind at all."


@pytest.fixture
def bus(daemon_dir):
    with Bus(daemon_dir) as bus:
        yield bus


def rms(pcm):
    samples = array.array("h", bytes(pcm))
    return (sum(s * s for s in samples) / max(1, len(samples))) ** 0.5


def voiced(text):
    return re.sub(r"[\W_]", "", text)


def check_books(heard, text):
    end, seconds = heard.end, heard.next_at / heard.rate_hz
    assert end["reason"] == "done", end
    assert end["chars"] == end["heard_cp"] == heard.cp == sum(end["source"].values()) == len(text)
    assert end["sent"] >= len(text.strip())
    assert end["samples"] == heard.next_at == len(heard.audio) // 2
    assert rms(heard.audio) > 300
    assert len(text) / 25 < seconds < len(text) / 6
    assert [w[0] for w in heard.words] == [text[w[3] : w[4]] for w in heard.words]
    assert voiced("".join(w[0] for w in heard.words)) == voiced(text)
    assert all(w[1] < w[2] <= 1000 * seconds + 1 for w in heard.words)
    starts = [w[1] for w in heard.words]
    assert starts == sorted(starts)


def test_one_request_is_spoken_whole_with_true_books(bus):
    bus.speak(1, TEXT)
    check_books(bus.until_end(1), TEXT)


def test_text_that_comes_word_by_word_sounds_before_it_is_finished(bus):
    text = TEXT + " " + TEXT.replace("morning", "evening")
    bus.open(1, label="piecewise", schedule="speed")
    for word in re.findall(r"\S+\s*", text):
        bus.send(op="text", sid=1, text=word)
        bus.drain(0.05)
    assert bus.streams[1].audio
    bus.send(op="close", sid=1)
    check_books(bus.until_end(1), text)
    assert bus.streams[1].states == [("speaking", None)]


def test_credit_holds_audio_back_and_cancel_tells_what_was_heard(bus):
    bus.open(1, credit_ms=500)
    for _ in range(20):
        bus.send(op="text", sid=1, text=TEXT + " ")
    while bus.streams[1].cp == 0:
        assert bus.step(5) is not None
    bus.drain(1.5)
    held = bus.streams[1].next_at
    bus.drain(0.5)
    assert bus.streams[1].next_at == held < 4 * 24_000
    bus.send(op="credit", sid=1, add_ms=1000)
    bus.drain(0.5)
    assert bus.streams[1].next_at > held
    bus.send(op="cancel", sid=1)
    end, cp, text = bus.until_end(1, within_s=5).end, bus.streams[1].cp, (TEXT + " ") * 20
    assert end["reason"] == "cancelled"
    assert 0 < end["heard_cp"] <= cp < end["chars"]
    assert not text[end["heard_cp"] : cp].strip()
    assert end["samples"] == bus.streams[1].next_at


def test_cancel_with_at_tells_the_last_word_that_had_been_played(bus):
    bus.open(1, schedule="speed")
    bus.send(op="text", sid=1, text=TEXT + " ", flush=True)
    while bus.streams[1].cp < len(TEXT):
        assert bus.step(5) is not None
    words = bus.streams[1].words
    at = words[5][2] * 24 + 240
    bus.send(op="cancel", sid=1, at=at)
    assert bus.until_end(1).end["heard_cp"] == words[5][4]


@pytest.mark.parametrize("text", ["   ", "", "\n\t "])
def test_blank_text_is_done_without_a_sample(bus, text):
    bus.speak(1, text)
    end = bus.until_end(1).end
    assert (end["reason"], end["samples"], end["chars"]) == ("done", 0, len(text))


@pytest.mark.parametrize("text", ["\U0001f600\U0001f680", "!!! ...", "\u4f60\u597d\u4e16\u754c"])
def test_text_in_which_nothing_can_be_spoken_fails_and_says_so(bus, text):
    bus.speak(1, text)
    end = bus.until_end(1).end
    assert (end["reason"], end["error"]["code"], end["error"]["retryable"]) == (
        "failed",
        "unspeakable_text",
        False,
    )


def test_what_cannot_be_spoken_inside_other_text_is_skipped_and_told(bus):
    text = "Hello \U0001f600 there, my friend."
    bus.speak(1, text)
    end = bus.until_end(1).end
    assert end["reason"] == "done"
    assert end["skipped"] == [[6, 7]]
    assert sum(end["source"].values()) == len(text)


@pytest.mark.parametrize(
    ("name", "rate_hz", "low", "high"),
    [
        ("pcm_16000", 16_000, 2, 2),
        ("ulaw_8000", 8000, 1, 1),
        ("alaw_8000", 8000, 1, 1),
        ("mp3_44100_128", 44_100, 0.15, 0.5),
    ],
)
def test_every_format_counts_samples_at_its_own_rate(bus, name, rate_hz, low, high):
    opened = bus.speak(1, TEXT, format=name)
    heard = bus.until_end(1)
    assert opened["rate_hz"] == rate_hz
    assert heard.end["reason"] == "done"
    assert heard.end["samples"] == heard.next_at
    assert heard.cp == len(TEXT)
    assert low <= len(heard.audio) / heard.next_at <= high


def test_a_flush_is_spoken_at_once(bus):
    bus.open(1, schedule="quality")
    bus.send(op="text", sid=1, text="Yes.", flush=True)
    while not bus.streams[1].audio:
        assert bus.step(5) is not None
    assert bus.streams[1].cp == 4
    bus.send(op="close", sid=1)
    assert bus.until_end(1).end["reason"] == "done"


def test_a_flush_may_come_after_its_text(bus):
    bus.open(1, schedule="quality")
    bus.send(op="text", sid=1, text="Yes, of course. ")
    bus.drain(0.1)
    bus.send(op="text", sid=1, text="", flush=True)
    while not bus.streams[1].audio:
        assert bus.step(5) is not None
    bus.send(op="cancel", sid=1)
    bus.until_end(1)


def test_observers_hear_shared_streams_and_only_those(daemon_dir, bus):
    with zmq.Context() as context, context.socket(zmq.SUB) as sub:
        sub.linger = 0
        sub.connect(f"ipc://{daemon_dir}/events")
        sub.subscribe(b"audio/show/")
        assert sub.poll(5000)
        topic, head = sub.recv_multipart()
        assert (topic, msgpack.unpackb(head)) == (b"audio/show/", {"op": "subscribed"})
        bus.speak(1, TEXT, label="show", share=True)
        bus.speak(2, TEXT, label="show", share=False)
        bus.speak(3, TEXT, label="show", share=True, private=True)
        for sid in (1, 2, 3):
            bus.until_end(sid)
        seen, audio = set(), b""
        while sub.poll(300):
            topic, head, payload = sub.recv_multipart()
            seen.add(topic)
            audio += payload
        assert seen == {f"audio/show/{bus.welcome['session']}-1/".encode()}
        assert audio == bytes(bus.streams[1].audio)


def test_ticks_come_while_a_stream_is_open(bus):
    bus.open(1)
    bus.drain(bus.welcome["heartbeat_ms"] / 1000 + 1)
    assert [m for m in bus.other if m["op"] == "tick" and m["boot_id"] == bus.welcome["boot_id"]]
    bus.send(op="cancel", sid=1)
    bus.until_end(1)


def test_status_streams_and_voices_tell_what_is_there(bus):
    bus.open(1, label="here")
    status = bus.ask(op="status")
    assert {"gateway", "connection", "engine", f"stream/{bus.welcome['session']}-1"} <= {
        a["name"] for a in status["actors"]
    }
    (stream,) = [s for s in bus.ask(op="streams")["streams"] if s["session"] == bus.welcome["session"]]
    assert (stream["sid"], stream["label"]) == (1, "here")
    voices = {v["name"] for v in bus.ask(op="voices")["voices"]}
    assert {"Rachel", "Sarah"} <= voices
    bus.send(op="cancel", scope="mine")
    assert bus.until_end(1).end["reason"] == "cancelled"


def test_two_voices_sound_different(bus):
    for sid, voice in ((1, "Sarah"), (2, "Adam")):
        bus.speak(sid, "This is my own voice.", voice=voice)
    assert bus.until_end(1).audio != bus.until_end(2).audio


def test_first_audio_does_not_wait_for_the_end_of_the_text(bus):
    bus.open(1)
    began = time.monotonic()
    bus.send(op="text", sid=1, text="The quick brown fox jumps over the lazy dog and runs away. ")
    while bus.streams[1].first_audio_s is None:
        assert time.monotonic() < began + 10
        bus.step(1)
    bus.send(op="cancel", sid=1)
    bus.until_end(1)


def test_the_command_cancels_one_stream_of_another_program(daemon_dir, bus):
    bus.open(1)
    bus.open(2)
    name = f"{bus.welcome['session']}-2"
    command = [
        str(Path(sys.executable).with_name("tts-streamctl")),
        "--runtime-dir",
        str(daemon_dir),
        "cancel",
        name,
    ]
    subprocess.run(command, env=environ(), check=True, timeout=20)
    assert bus.until_end(2).end["reason"] == "cancelled"
    assert bus.streams[1].end is None
    bus.send(op="cancel", sid=1)
    bus.until_end(1)
