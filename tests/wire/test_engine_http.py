"""The embedded engine's HTTP endpoints on a real socket."""

import base64
import json
import wave
from contextlib import asynccontextmanager
from io import BytesIO

import httpx
import pytest
import trio

from engineserver import SARAH, engine, voices
from tts_streamd_engine import speech_http
from tts_streamd_engine.voices.codepoint import decode
from tts_streamd_engine.voices.interface import VoiceUnavailableError

SPEECH = "/v1/text-to-speech/codepoint"
PCM = {"output_format": "pcm_24000"}


@asynccontextmanager
async def engine_client(**options):
    async with (
        engine(**options) as address,
        httpx.AsyncClient(base_url=f"http://{address}", timeout=20) as client,
    ):
        yield client


@pytest.fixture
async def client():
    async with engine_client() as client:
        yield client


async def test_convert_gives_the_whole_audio_and_tells_its_cost(client):
    body = {"text": "Hello.", "model_id": "eleven_flash_v2_5", "voice_settings": None}
    answer = await client.post(SPEECH, params=PCM, json=body)
    assert answer.status_code == 200
    assert decode(answer.content) == "Hello.\0"
    assert answer.headers["content-type"] == "audio/pcm"
    assert answer.headers["character-cost"] == "3"
    assert {"request-id", "history-item-id", "x-trace-id", "x-region", "content-length"} <= set(
        answer.headers
    )
    assert {"current-concurrent-requests", "maximum-concurrent-requests"} <= set(answer.headers)


async def test_wav_has_a_true_header(client):
    answer = await client.post(SPEECH, params={"output_format": "wav_24000"}, json={"text": "Hello."})
    with wave.open(BytesIO(answer.content)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (24_000, 1, 7 * 120)
        assert decode(file.readframes(7 * 120)) == "Hello.\0"
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.headers["character-cost"] == "6"


@pytest.mark.parametrize(
    ("name", "media_type"),
    [("mp3_44100_128", "audio/mpeg"), ("ulaw_8000", "audio/basic"), ("opus_48000_64", "audio/ogg")],
)
async def test_other_formats_come_with_their_media_type(client, name, media_type):
    answer = await client.post(SPEECH, params={"output_format": name}, json={"text": "Hello. " * 30})
    assert answer.headers["content-type"] == media_type
    assert len(answer.content) > 1000


async def test_the_default_is_mp3(client):
    answer = await client.post(SPEECH + "/stream", json={"text": "Hello. " * 30})
    assert answer.headers["content-type"] == "audio/mpeg"


async def test_stream_comes_in_chunks(client):
    text = "Hello there. " * 400
    async with client.stream("POST", SPEECH + "/stream", params=PCM, json={"text": text}) as answer:
        assert answer.headers["transfer-encoding"] == "chunked"
        chunks = [chunk async for chunk in answer.aiter_raw()]
    assert len(chunks) > 10
    assert decode(b"".join(chunks)) == text


async def test_timestamps_cover_the_whole_text(client):
    text = "Hello there. " * 300 + "End."
    answer = await client.post(SPEECH + "/with-timestamps", params=PCM, json={"text": text})
    told = answer.json()
    assert decode(base64.b64decode(told["audio_base64"])) == text + "\0"
    assert "".join(told["alignment"]["characters"]) == text + " "
    starts, ends = (
        told["alignment"]["character_start_times_seconds"],
        told["alignment"]["character_end_times_seconds"],
    )
    assert starts[1:] == ends[:-1]
    assert ends[-1] == pytest.approx(0.005 * len(text + " "))
    assert told["normalized_alignment"]["characters"][:2] == [" ", "H"]


async def test_streamed_timestamps_are_one_object_a_line_and_run_from_the_start(client):
    text = "Hello there. " * 300
    answer = await client.post(SPEECH + "/stream/with-timestamps", params=PCM, json={"text": text})
    assert answer.headers["content-type"] == "application/json"
    objects = [json.loads(line) for line in answer.text.splitlines()]
    assert decode(b"".join(base64.b64decode(told["audio_base64"]) for told in objects)) == text
    timed = [told["alignment"] for told in objects if told["alignment"]]
    assert len(timed) == 2
    assert "".join(c for alignment in timed for c in alignment["characters"]) == text
    assert timed[1]["character_start_times_seconds"][0] == timed[0]["character_end_times_seconds"][-1]


async def test_an_unknown_voice_is_404(client):
    answer = await client.post("/v1/text-to-speech/nobody", json={"text": "x"})
    detail = answer.json()["detail"]
    assert answer.status_code == 404
    assert (detail["code"], detail["message"]) == (
        "voice_not_found",
        "A voice with voice_id 'nobody' was not found.",
    )
    assert detail["request_id"]
    assert "x-trace-id" in answer.headers


async def test_missing_text_is_422(client):
    answer = await client.post(SPEECH, json={"model_id": "x"})
    assert answer.status_code == 422
    assert answer.json() == {
        "detail": [{"type": "missing", "loc": ["body", "text"], "msg": "Field required", "input": None}]
    }


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 422),
        (b"[]", 422),
        (b"[" * 100_000, 422),
        (b'{"text": 3}', 422),
        (b'{"text": " "}', 422),
        (b'{"text": "x", "voice_settings": {"speed": 9}}', 422),
        (b'{"text": "x", "voice_settings": 9}', 422),
        (json.dumps({"text": "x" * 40_001}).encode(), 400),
        (b" " * (speech_http.MAX_BODY_BYTES + 1), 413),
    ],
)
async def test_a_bad_body_is_refused(client, content, status):
    answer = await client.post(SPEECH, content=content)
    assert answer.status_code == status
    assert answer.json()["detail"]


async def test_a_bad_format_is_400(client):
    answer = await client.post(SPEECH + "/stream", params={"output_format": "wav_24000"}, json={"text": "x"})
    assert (answer.status_code, answer.json()["detail"]["param"]) == (400, "output_format")


async def test_a_body_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr(speech_http, "BODY_DEADLINE_S", 0.1)
    async with engine() as address:
        host, port = address.split(":")
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(
                b"POST " + SPEECH.encode() + b" HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{"
            )
            with trio.fail_after(4):
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 422")


async def test_a_required_key_is_required_everywhere():
    async with engine_client(required_key="secret") as client:
        key = {"xi-api-key": "secret"}
        assert (await client.post(SPEECH, json={"text": "x"})).status_code == 401
        assert (await client.post(SPEECH, json={"text": "x"}, headers=key)).status_code == 200
        for path in (
            "/v1/voices",
            "/v2/voices",
            "/v1/models",
            "/v1/user/subscription",
            "/v1/voices/codepoint",
        ):
            assert (await client.get(path)).json()["detail"]["status"] == "invalid_api_key"
            assert (await client.get(path, headers=key)).status_code == 200
        assert (await client.post("/v1/single-use-token/tts_websocket")).status_code == 401


async def test_accounts_answer_in_the_service_s_shape(client):
    told = (await client.get("/v1/voices")).json()["voices"]
    assert {voice["voice_id"] for voice in told} >= {SARAH, "21m00Tcm4TlvDq8ikWAM", "codepoint"}
    assert all(voice["name"] and voice["category"] in {"premade", "generated"} for voice in told)
    models = (await client.get("/v1/models")).json()
    assert models[0]["model_id"] == "eleven_flash_v2_5"
    assert models[0]["model_rates"] == {"character_cost_multiplier": 0.5}
    subscription = (await client.get("/v1/user/subscription")).json()
    assert subscription["character_limit"] > subscription["character_count"]
    assert (await client.get(f"/v1/voices/{SARAH}")).json()["name"] == "Sarah"
    assert (await client.get("/v1/voices/nobody")).status_code == 404
    assert (await client.get("/v2/voices", params={"search": "sarah"})).json()["total_count"] == 1
    assert (await client.get("/v2/voices", params={"page_size": "0"})).status_code == 400


async def test_tokens_are_minted(client):
    tokens = [(await client.post("/v1/single-use-token/tts_websocket")).json()["token"] for _ in range(2)]
    assert tokens[0] != tokens[1]


async def test_a_client_that_vanishes_stops_its_speech():
    body = json.dumps({"text": "Go on. " * 5000}).encode()
    async with engine_client(loader=voices) as client:
        host, port = client.base_url.host, client.base_url.port
        async with await trio.open_tcp_stream(host, port) as stream:
            head = f"POST /v1/text-to-speech/{SARAH}/stream HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
            await stream.send_all(head.encode() + body)
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
        idle = 0
        with trio.fail_after(10):
            while idle < 5:
                await trio.sleep(0.05)
                answer = await client.post(SPEECH, params=PCM, json={"text": "x"})
                idle = idle + 1 if answer.headers["current-concurrent-requests"] == "0" else 0


async def test_a_voice_that_did_not_load_is_503():
    def broken():
        raise VoiceUnavailableError("no model here")

    async with engine_client(loader=broken) as client:
        answer = await client.post(f"/v1/text-to-speech/{SARAH}", json={"text": "x"})
    assert (answer.status_code, answer.json()["detail"]["message"]) == (503, "no model here")
