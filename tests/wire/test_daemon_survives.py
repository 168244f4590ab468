"""Crashes: of any actor, of the engine, of the daemon's neighbours; nothing ends silently."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from busclient import Bus
from daemonprocess import daemon_process

TEXT = "Every actor may fail, and yet the people who listen shall hear each of these words exactly once. " * 3


def plant(process, name):
    process.stdin.write(f"{name}\n".encode())
    process.stdin.flush()
    return process.stdout.readline().decode().split()


def actors(bus):
    return {actor["name"]: actor for actor in bus.ask(op="status")["actors"]}


def wait_for(condition, within_s=10):
    limit = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < limit, "it did not come true"
        time.sleep(0.02)


@pytest.fixture
def planted(fresh_dir):
    with daemon_process(fresh_dir, planted=True) as process:
        process.directory = fresh_dir
        yield process


def speak_a_little(bus, sid):
    bus.open(sid, voice="codepoint", schedule="speed")
    bus.send(op="text", sid=sid, text=TEXT)
    while not bus.streams[sid].audio:
        assert bus.step(10) is not None


def test_every_actor_survives_an_exception_in_any_of_them(planted):
    """Over the whole tree as `status` shows it, so that a new actor joins by itself."""
    with Bus(planted.directory) as bus, Bus(planted.directory) as other:
        speak_a_little(other, 1)
        names = [name for name in actors(bus) if "/" not in name]
        assert {"gateway", "connection", "links", "streams", "engine"} <= set(names)
        for n, name in enumerate(names):
            before = actors(bus)[name]["restarts"]
            assert plant(planted, name) == ["fired", name]
            wait_for(lambda name=name, before=before: actors(bus)[name]["restarts"] == before + 1)
            speak_a_little(bus, n + 10)
            bus.send(op="close", sid=n + 10)
            assert bus.until_end(n + 10).end["reason"] == "done", name
        other.send(op="close", sid=1)
        heard = other.until_end(1)
    assert heard.end["reason"] == "done"
    assert heard.end["chars"] == heard.cp == len(TEXT)
    log = planted.log.read_text()
    for name in names:
        assert len(re.findall(rf"PlantedError: {re.escape(name)}\b", log)) == 1, name


@pytest.mark.parametrize("kind", ["stream/", "link/"])
def test_a_stream_goes_on_when_its_own_actor_or_link_fails(planted, kind):
    with Bus(planted.directory) as bus:
        bus.open(1, voice="codepoint", schedule="speed", credit_ms=10)
        bus.send(op="text", sid=1, text=TEXT)
        while not bus.streams[1].audio:
            assert bus.step(10) is not None
        assert plant(planted, kind)[0] == "fired"
        bus.drain(0.5)
        bus.send(op="credit", sid=1, add_ms=600_000)
        bus.send(op="close", sid=1)
        heard = bus.until_end(1)
    assert heard.end["reason"] == "done"
    text = "".join(chr(unit) for unit in memoryview(bytes(heard.audio)).cast("H")[60::120] if unit)
    assert text.split() == TEXT.split()


def test_a_stream_that_fails_twice_ends_as_failed_and_harms_nobody(planted):
    with Bus(planted.directory) as bus, Bus(planted.directory) as other:
        speak_a_little(other, 1)
        speak_a_little(bus, 1)
        name = f"stream/{bus.welcome['session']}-1"
        assert plant(planted, f"{name}!") == ["fired", name]
        end = bus.until_end(1, within_s=10).end
        assert (end["reason"], end["error"]["code"]) == ("failed", "internal")
        other.send(op="close", sid=1)
        assert other.until_end(1).end["reason"] == "done"
        assert actors(bus)["streams"]["restarts"] == 0


def test_over_the_limit_of_restarts_the_daemon_gives_up_and_says_so(planted):
    plant(planted, "connection!")
    assert planted.wait(20) == 1
    assert "giving up" in planted.log.read_text()


def test_a_killed_engine_is_started_again_and_the_text_is_heard_whole(daemon_dir):
    with Bus(daemon_dir) as bus:
        bus.speak(1, "Hello.")
        bus.until_end(1)
        bus.open(2, schedule="speed", credit_ms=200)
        bus.send(op="text", sid=2, text=TEXT)
        while not bus.streams[2].audio:
            assert bus.step(10) is not None
        pid = bus.ask(op="status")["details"]["engine"]["pid"]
        os.kill(pid, signal.SIGKILL)
        bus.send(op="credit", sid=2, add_ms=600_000)
        bus.send(op="close", sid=2)
        heard = bus.until_end(2)
        assert heard.end["reason"] == "done", heard.end
        assert [w[0] for w in heard.words] == TEXT.split()
        bus.speak(3, "And the next one works.")
        assert bus.until_end(3).end["reason"] == "done"
        assert bus.ask(op="status")["details"]["engine"]["pid"] not in {pid, None}


def test_a_killed_daemon_takes_its_engine_with_it(fresh_dir):
    with daemon_process(fresh_dir) as process:
        with Bus(fresh_dir) as bus:
            engine = bus.ask(op="status")["details"]["engine"]["pid"]
        process.kill()
        process.wait()

        def gone():
            try:
                return Path(f"/proc/{engine}/stat").read_text().split()[2] == "Z"
            except FileNotFoundError:
                return True

        wait_for(gone, within_s=3)
    with daemon_process(fresh_dir) as process, Bus(fresh_dir) as bus:
        bus.speak(1, "A stale socket is no obstacle.", voice="codepoint")
        assert bus.until_end(1).end["reason"] == "done"


def test_sigterm_says_goodbye_and_ends_what_runs(fresh_dir):
    with daemon_process(fresh_dir) as process, Bus(fresh_dir) as bus:
        bus.open(1, voice="codepoint")
        bus.send(op="text", sid=1, text="This stream is never closed. ")
        process.send_signal(signal.SIGTERM)
        end = bus.until_end(1, within_s=10).end
        assert [m["op"] for m in bus.other if m["op"] == "goodbye"] == ["goodbye"]
        assert (end["reason"], end["error"]["code"]) == ("failed", "shutting_down")
        assert process.wait(10) == 0
        assert not list(fresh_dir.glob("*")) if fresh_dir.exists() else True


def test_a_directory_that_is_taken_is_named_with_its_holder(fresh_dir):
    with daemon_process(fresh_dir) as process:
        second = subprocess.run(
            [sys.executable, "-m", "tts_streamd", "--runtime-dir", str(fresh_dir)],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert second.returncode == 1
        assert str(process.pid) in second.stderr
        assert second.stderr.count("\n") == 1
        with Bus(fresh_dir) as bus:
            assert bus.ask(op="ping")["op"] == "pong"
