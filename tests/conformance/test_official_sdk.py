"""The official Python package against the embedded engine, over TLS, by base URL and certificate alone.

It runs in a process of its own: that is how its user runs it, and its WebSocket client is a blocking one.
"""

import json
import os
import subprocess
import sys
import time
import wave
from contextlib import contextmanager
from io import BytesIO

import pytest
import trustme

from tts_streamd_engine.voices.codepoint import decode

pytest.importorskip("elevenlabs")

SARAH = "EXAVITQu4vr4xnSDxMaL"
PROLOGUE = """
import base64, json, os, sys
from elevenlabs.client import ElevenLabs
from elevenlabs.core.api_error import ApiError
client = ElevenLabs(base_url=os.environ["ENGINE"], api_key=os.environ.get("KEY", "any"))
"""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    directory, authority = tmp_path_factory.mktemp("tls"), trustme.CA()
    server = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    server.private_key_pem.write_to_path(str(directory / "key.pem"))
    chain = b"".join(blob.bytes() for blob in server.cert_chain_pems)
    (directory / "cert.pem").write_bytes(chain)
    return directory


@contextmanager
def engine(certificates, *arguments):
    command = [sys.executable, "-m", "tts_streamd_engine", "--port", "0", *arguments]
    tls = ["--cert", str(certificates / "cert.pem"), "--key", str(certificates / "key.pem")]
    with subprocess.Popen([*command, *tls], stdout=subprocess.PIPE, text=True) as started:
        try:
            line = started.stdout.readline()
            assert line.startswith("listening on https://127.0.0.1:"), line
            yield line.removeprefix("listening on ").strip()
        finally:
            started.kill()


@pytest.fixture(scope="module")
def address(certificates):
    with engine(certificates) as address:
        yield address


@pytest.fixture
def sdk(certificates, address):
    """Run code with a ``client`` of the package; what it writes to stdout."""

    def run(code, *, at=address, **more):
        place = {**os.environ, "ENGINE": at, "SSL_CERT_FILE": str(certificates / "ca.pem"), **more}
        command = [sys.executable, "-W", "ignore", "-c", PROLOGUE + code]
        done = subprocess.run(command, env=place, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return run


def test_convert_realtime_speaks_a_stream_of_text(sdk):
    code = """
parts = iter(["Hello there, ", "how are you ", "on this fine day? ", "I am well. "])
audio = client.text_to_speech.convert_realtime(
    "codepoint", text=parts, model_id="eleven_flash_v2_5", output_format="pcm_24000")
sys.stdout.buffer.write(b"".join(audio))
"""
    started = time.monotonic()
    spoken = decode(sdk(code)).replace("\0", "")
    assert "".join(spoken.split()) == "Hellothere,howareyouonthisfineday?Iamwell."
    assert time.monotonic() - started < 30  # it reads until the server closes


def test_convert_realtime_tells_an_unknown_voice(sdk):
    code = """
try:
    list(client.text_to_speech.convert_realtime("nobody", text=iter(["Hi. "]), model_id="eleven_flash_v2_5"))
except ApiError as error:
    print(json.dumps([error.status_code, str(error.body)]))
"""
    status, body = json.loads(sdk(code))
    assert status == 1008
    assert "nobody" in body


def test_stream_and_convert_speak(sdk):
    code = """
audio = client.text_to_speech.stream("codepoint", text="Hello there.", output_format="pcm_24000")
sys.stdout.buffer.write(b"".join(audio))
audio = client.text_to_speech.convert("codepoint", text="And again.", output_format="pcm_24000")
sys.stdout.buffer.write(b"".join(audio))
"""
    assert decode(sdk(code)) == "Hello there.\0And again.\0"


def test_the_default_voice_speaks_wav(sdk):
    code = f"""
audio = client.text_to_speech.convert("{SARAH}", text="Good morning.", output_format="wav_24000")
sys.stdout.buffer.write(b"".join(audio))
"""
    with wave.open(BytesIO(sdk(code))) as file:
        assert 0.5 < file.getnframes() / 24_000 < 3


def test_stream_with_timestamps_is_understood(sdk):
    code = """
chunks = list(client.text_to_speech.stream_with_timestamps("codepoint", text="Hi you.", output_format="pcm_24000"))
timing = chunks[0].alignment
print(json.dumps([timing.characters, timing.character_start_times_seconds, timing.character_end_times_seconds]))
"""
    characters, starts, ends = json.loads(sdk(code))
    assert "".join(characters) == "Hi you. "
    assert ends[:-1] == starts[1:]
    assert ends[-1] == 0.04


def test_the_account_is_understood(sdk):
    code = """
print(json.dumps([
    [voice.voice_id for voice in client.voices.get_all().voices],
    [voice.voice_id for voice in client.voices.search(search="rachel").voices],
    client.voices.get("EXAVITQu4vr4xnSDxMaL").name,
    [model.model_id for model in client.models.list()],
    client.user.subscription.get().tier,
]))
"""
    voices, found, name, models, tier = json.loads(sdk(code))
    assert SARAH in voices
    assert found == ["21m00Tcm4TlvDq8ikWAM"]
    assert name == "Sarah"
    assert "eleven_flash_v2_5" in models
    assert tier == "embedded"


def test_headers_and_errors_are_understood(sdk):
    code = """
with client.text_to_speech.with_raw_response.convert("codepoint", text="Hello.") as answer:
    cost = answer.headers["character-cost"], bool(answer.headers["request-id"])
    list(answer.data)
statuses = []
for voice, text, fmt in (("nobody", "x", "pcm_24000"), ("codepoint", " ", "pcm_24000"), ("codepoint", "x", "flac")):
    try:
        list(client.text_to_speech.convert(voice, text=text, output_format=fmt))
    except ApiError as error:
        statuses.append(error.status_code)
print(json.dumps([cost, statuses]))
"""
    assert json.loads(sdk(code)) == [["6", True], [404, 422, 400]]


def test_a_required_key_is_shown_by_the_package(sdk, certificates):
    code = """
try:
    print(b"".join(client.text_to_speech.convert_realtime(
        "codepoint", text=iter(["Hi. "]), model_id="eleven_flash_v2_5", output_format="pcm_24000"))[:2].hex())
except ApiError as error:
    print(error.status_code)
"""
    with engine(certificates, "--require-key", "secret") as guarded:
        assert sdk(code, at=guarded, KEY="secret").strip() == b"4800"
        assert sdk(code, at=guarded, KEY="wrong").strip() == b"1008"
