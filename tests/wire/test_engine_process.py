"""The command as its user and the daemon meet it: one line, an exit status, an end that never hangs."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "tts_streamd_engine"]
LONG = json.dumps({"text": "This sentence is said again and again and again. " * 800}).encode()


@contextmanager
def process(*arguments, **more):
    started = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def address(engine):
    line = engine.stdout.readline()
    assert line.startswith("listening on http://127.0.0.1:"), line
    return line.removeprefix("listening on ").strip()


def speak(url, content=LONG, voice="EXAVITQu4vr4xnSDxMaL"):
    request = urllib.request.Request(
        f"{url}/v1/text-to-speech/{voice}/stream?output_format=pcm_24000",
        content,
        {"content-type": "application/json"},
    )
    return urllib.request.urlopen(request, timeout=40)


def test_it_says_where_it_listens_and_ends_in_order_on_a_signal():
    with process("--port", "0") as engine:
        with speak(address(engine), b'{"text": "Hello."}', "codepoint") as answer:
            assert len(answer.read()) == 7 * 240
        engine.send_signal(signal.SIGTERM)
        out, err = engine.communicate(timeout=10)
    assert (engine.returncode, out, err) == (0, "", "")


def test_a_signal_ends_it_even_while_a_client_takes_nothing():
    with process("--port", "0") as engine, speak(address(engine)) as answer:
        answer.read(1000)
        engine.send_signal(signal.SIGINT)
        engine.wait(timeout=10)
    assert engine.returncode == 0


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_the_end_of_its_standard_input_ends_it_while_it_speaks(family, tmp_path):
    place = ("127.0.0.1", 0) if family == socket.AF_INET else str(tmp_path / "engine")
    with socket.socket(family) as listener:
        listener.bind(place)
        listener.listen()
        with process("--fd", str(listener.fileno()), pass_fds=[listener.fileno()]) as engine:
            with socket.socket(family) as client:
                client.settimeout(40)
                client.connect(listener.getsockname())  # before it has said that it listens
                path = "/v1/text-to-speech/EXAVITQu4vr4xnSDxMaL/stream"
                head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(LONG)}\r\n\r\n"
                client.sendall(head.encode() + LONG)
                assert client.recv(100).startswith(b"HTTP/1.1 200")
                assert engine.stdout.readline().startswith("listening on ")
                engine.stdin.close()
                closed_at = time.monotonic()
                assert engine.wait(timeout=5) == 0
                assert time.monotonic() - closed_at < 1
            engine.stdin = None


def test_a_taken_port_is_one_line_and_status_1():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [*COMMAND, "--port", str(port)], capture_output=True, text=True, timeout=20, check=False
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"tts-streamd-engine: cannot listen on 127.0.0.1:{port}: Address already in use\n"


@pytest.mark.parametrize("arguments", [["--host", "no.such.host.invalid"], ["--host", "x" * 300]])
def test_an_impossible_address_is_one_line_and_status_1(arguments):
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_a_descriptor_that_is_no_listening_socket_is_one_line_and_status_1():
    with socket.socket() as silent, Path(os.devnull).open() as file:
        for descriptor in (silent.fileno(), file.fileno(), 999):
            done = subprocess.run(
                [*COMMAND, "--fd", str(descriptor)],
                pass_fds=[silent.fileno(), file.fileno()], capture_output=True, text=True, timeout=20, check=False,
            )  # fmt: skip
            assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
            assert f"descriptor {descriptor} is" in done.stderr
