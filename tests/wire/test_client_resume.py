"""A daemon that is killed, stopped or cut off, and clients of both kinds that hear every character once."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
import trio

from daemonprocess import daemon_process
from tts_streamd_client import Audio, End, SessionLostError, State, Words
from tts_streamd_client.blocking import connect
from tts_streamd_client.trio import open_client

pytestmark = pytest.mark.timeout(60)

TEXT = " ".join(f"The {n}. word of all that is said here is heard once, and only once;" for n in range(40))
VOICE = {"voice": "codepoint", "schedule": "speed", "pace": "eager"}


def decoded(pcm):
    """One character for each 120 equal samples."""
    assert len(pcm) % 240 == 0
    units = memoryview(bytes(pcm)).cast("H")
    blocks = [units[i : i + 120] for i in range(0, len(units), 120)]
    assert all(len(set(block)) == 1 for block in blocks)
    return "".join(chr(block[0]) for block in blocks if block[0])


class Heard:
    """What a caller had of one stream, checked as it comes."""

    def __init__(self):
        self.pcm, self.words, self.states, self.end = bytearray(), [], [], None

    def take(self, event):
        match event:
            case Audio():
                assert event.at == len(self.pcm) // 2, "one clock"
                self.pcm += event.data
            case Words():
                self.words += event.words
            case State():
                self.states.append((event.state, event.detail))
            case End():
                self.end = event

    def assert_whole(self, text):
        assert decoded(self.pcm) == text
        assert [word.text for word in self.words] == text.split()
        assert all(text[word.cp_start : word.cp_end] == word.text for word in self.words)
        assert [word.start_ms for word in self.words] == [5 * word.cp_start for word in self.words]
        assert (self.end.reason, self.end.chars, self.end.heard_cp) == ("done", len(text), len(text))
        assert self.end.samples == len(self.pcm) // 2
        assert self.end.source.live + self.end.source.silent == len(text)
        phases = [phase for phase, _ in self.states]
        assert phases.count("recovering") == self.states.count(("speaking", "recovered")) == 1
        assert phases.index("recovering") < self.states.index(("speaking", "recovered"))


@contextlib.contextmanager
def restartable(directory):
    """A daemon; ``restart()`` kills it with -9 (or asks it to stop) and starts the next in its place."""
    with contextlib.ExitStack() as running:
        daemons = []

        def start():
            daemons.append(running.enter_context(daemon_process(directory)))

        def stop(how="kill"):
            getattr(daemons[-1], how)()
            daemons[-1].wait(15)

        def restart(how="kill"):
            stop(how)
            start()

        start()
        yield type("Daemon", (), {"stop": stop, "start": start, "restart": restart})


@pytest.fixture(scope="module")
def daemon():
    with tempfile.TemporaryDirectory(prefix="tts") as top, restartable(Path(top, "run")) as daemon:
        daemon.directory = Path(top, "run")
        yield daemon


def blocking_story(client, interrupt):
    """Half of it heard, then the interruption, then more text, then the rest."""
    heard, other = Heard(), Heard()
    stream = client.open(buffer_ms=2000, **VOICE)
    second = client.open(buffer_ms=2000, **VOICE)
    half = len(TEXT) // 2
    stream.send(TEXT[:half])
    second.send(TEXT)
    second.close_text()
    while len(heard.pcm) < 240 * 300:
        heard.take(stream.next_event(10))
    while len(other.pcm) < 240 * 10:
        other.take(second.next_event(10))
    interrupt()
    stream.send(TEXT[half:])
    stream.close_text()
    for event in stream:
        heard.take(event)
    for event in second:
        other.take(event)
    heard.assert_whole(TEXT)
    other.assert_whole(TEXT)
    assert client.statistics().n_recovered == 1


async def trio_story(client, interrupt):
    """Three streams, each with a task that sends and one that hears, and the interruption in the middle."""
    heard = [Heard() for _ in range(3)]
    begun = [trio.Event() for _ in heard]

    async def send(stream):
        for at in range(0, len(TEXT), 50):
            await stream.send(TEXT[at : at + 50])
            await trio.sleep(0.005)
        await stream.aclose_text()

    async def hear(stream, n):
        async for event in stream:
            heard[n].take(event)
            if len(heard[n].pcm) > 240 * 200:
                begun[n].set()
            await trio.sleep(0.005)

    async with trio.open_nursery() as nursery:
        for n in range(3):
            stream = await client.open(buffer_ms=3000, **VOICE)
            nursery.start_soon(send, stream)
            nursery.start_soon(hear, stream, n)
        for event in begun:
            await event.wait()
        await trio.to_thread.run_sync(interrupt)
        await client.ping()
    for each in heard:
        each.assert_whole(TEXT)


def test_a_killed_daemon_costs_a_blocking_client_nothing(daemon):
    with connect(daemon.directory) as client:
        boot_id = client.welcome.boot_id
        blocking_story(client, daemon.restart)
        assert client.welcome.boot_id != boot_id
        assert client.voices().voices, "and the client is as good as before"


async def test_a_killed_daemon_costs_a_trio_client_nothing(daemon):
    with trio.fail_after(30):
        async with open_client(daemon.directory) as client:
            boot_id = client.welcome.boot_id
            await trio_story(client, daemon.restart)
            assert client.welcome.boot_id != boot_id


def test_a_daemon_that_stops_in_order_and_comes_back_costs_nothing(daemon):
    with connect(daemon.directory) as client:
        heard = Heard()
        stream = client.open(**VOICE)
        stream.send(TEXT[:1000])
        while len(heard.pcm) < 240 * 100:
            heard.take(stream.next_event(10))
        stopping = threading.Thread(target=daemon.restart, args=["terminate"])
        stopping.start()
        while ("speaking", "recovered") not in heard.states:
            heard.take(stream.next_event(20))
        stopping.join()
        stream.send(TEXT[1000:])
        stream.close_text()
        for event in stream:
            heard.take(event)
        heard.assert_whole(TEXT)
        assert "goodbye" in dict(heard.states)["recovering"]


def test_what_is_submitted_while_none_runs_is_spoken_when_one_comes(daemon):
    with connect(daemon.directory) as client:
        heard = Heard()
        stream = client.open(**VOICE)
        stream.send("one two ", flush=True)
        while len(heard.pcm) < 240 * 8:
            heard.take(stream.next_event(10))
        daemon.stop()
        stream.send("three ")
        starting = threading.Timer(0.5, daemon.start)
        starting.start()
        late = client.speak("four", voice="codepoint", schedule="speed")
        stream.send("four")
        stream.close_text()
        for event in stream:
            heard.take(event)
        heard.assert_whole("one two three four")
        assert decoded(late.collect().data) == "four", "one opened meanwhile, too"
        starting.join()


class Forwarder:
    """Stands before the daemon's control socket; ``cut`` drops every connection through it."""

    def __init__(self, directory, behind):
        directory.mkdir(mode=0o700)
        self.directory, self._behind = directory, behind / "control"
        self._sockets, self._threads, self._listener = [], [], socket.socket(socket.AF_UNIX)
        self._listener.bind(str(directory / "control"))
        self._listener.listen()
        self._run(self._accept)

    def _run(self, work, *arguments):
        self._threads.append(threading.Thread(target=work, args=arguments))
        self._threads[-1].start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                self._sockets += [near, far]
                far.connect(str(self._behind))
                self._run(self._pump, near, far)
                self._run(self._pump, far, near)

    @staticmethod
    def _pump(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self):
        for each in tuple(self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(5)
        self.cut()
        for thread in self._threads:
            thread.join(5)
        for each in (self._listener, *self._sockets):
            each.close()


@pytest.fixture
def forwarder(daemon):
    with tempfile.TemporaryDirectory(prefix="tts") as top:
        forwarder = Forwarder(Path(top, "fwd"), daemon.directory)
        yield forwarder
        forwarder.close()


def test_a_cut_connection_to_the_same_daemon_costs_a_blocking_client_nothing(forwarder):
    with connect(forwarder.directory) as client:
        boot_id = client.welcome.boot_id
        blocking_story(client, forwarder.cut)
        assert client.welcome.boot_id == boot_id


async def test_a_cut_connection_to_the_same_daemon_costs_a_trio_client_nothing(forwarder):
    with trio.fail_after(30):
        async with open_client(forwarder.directory) as client:
            await trio_story(client, forwarder.cut)
            assert client.statistics().n_recovered == 1


def test_the_command_goes_on_and_says_so(daemon, tmp_path):
    ctl = Path(sys.executable).with_name("tts-streamctl")
    out = tmp_path / "x.wav"
    with subprocess.Popen(
        [ctl, "--runtime-dir", daemon.directory, "say", "-v", "codepoint", "-s", "speed", "-o", out, "-"],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as saying:  # fmt: skip
        os.write(saying.stdin.fileno(), TEXT[:1500].encode())
        limit = time.monotonic() + 10
        while not out.exists() or out.stat().st_size < 240 * 500:
            assert time.monotonic() < limit
            time.sleep(0.01)
        daemon.restart()
        _, err = saying.communicate(TEXT[1500:].encode(), timeout=30)
    assert saying.returncode == 0, err
    assert decoded(out.read_bytes()[44:]) == TEXT
    assert err.decode().splitlines() == [
        "tts-streamctl: interrupted (the daemon does not know this session any more); it goes on by itself",
        "tts-streamctl: recovered, nothing is lost",
    ]


@pytest.mark.parametrize("resume_within_s", [0, 1.5])
def test_after_the_deadline_the_session_is_lost_with_what_to_do(daemon, monkeypatch, resume_within_s):
    monkeypatch.setattr("tts_streamd_client.session.SILENT_HEARTBEATS", 0.5)
    with connect(daemon.directory, resume_within_s=resume_within_s) as client:
        stream = client.open(**VOICE)
        stream.send("one two ")
        daemon.stop()
        try:
            begun_s = time.monotonic()
            with pytest.raises(SessionLostError, match="connect again, and resume") as lost:
                list(stream)
            assert time.monotonic() - begun_s < resume_within_s + 3
            assert ("systemctl start tts-streamd" in str(lost.value)) == bool(resume_within_s)
        finally:
            daemon.start()
    left = stream.resumption()
    assert left.before + left.text == "one two "
