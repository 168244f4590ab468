"""The embedded engine's WebSocket on a real socket: every rule of the protocol as a client sees it."""

from itertools import pairwise

import httpx
import pytest
import trio

from engineserver import SARAH, engine, hear, say, stream_input, voices
from tts_streamd_engine.stream_input import SingleConversation
from tts_streamd_engine.voices.codepoint import decode
from tts_streamd_engine.voices.interface import BYTES_PER_MS, VoiceUnavailableError

FLUSH = {"text": "", "flush": True}


@pytest.fixture
async def address():
    async with engine() as address:
        yield address


async def test_text_is_spoken_and_the_stream_ends_in_order(address):
    async with stream_input(address) as socket:
        await say(socket, " ", "Hello ", "world.", "")
        heard = await hear(socket)
    assert decode(heard.audio) == "Hello world.\0"
    assert (heard.code, heard.reason) == (1000, None)
    first, final = heard.frames
    assert list(first) == list(final) == ["audio", "isFinal", "normalizedAlignment", "alignment"]
    assert first["isFinal"] is None
    assert final == {"audio": None, "isFinal": True, "normalizedAlignment": None, "alignment": None}
    assert first["alignment"] == {
        "chars": [*"Hello world. "],
        "charStartTimesMs": list(range(0, 65, 5)),
        "charDurationsMs": [5] * 13,
    }
    assert first["normalizedAlignment"]["chars"] == [*" Hello world. "]
    assert first["normalizedAlignment"]["charDurationsMs"][:3] == [2, 3, 5]


async def test_an_empty_session_ends_in_order(address):
    async with stream_input(address) as socket:
        await say(socket, " ", "")
        heard = await hear(socket)
    assert (heard.audio, heard.code, len(heard.frames)) == (b"", 1000, 1)


async def test_a_flush_speaks_and_the_socket_stays_open(address):
    async with stream_input(address) as socket:
        await say(socket, " ", {"text": "One. ", "flush": True})
        assert decode((await hear(socket, 1)).audio) == "One. "
        await say(socket, "Two", FLUSH)
        assert decode((await hear(socket, 1)).audio) == "Two\0"
        await say(socket, "Three", "")
        heard = await hear(socket)
    assert decode(heard.audio) == "Three\0"
    assert heard.code == 1000


async def test_keep_alives_are_not_voiced(address):
    async with stream_input(address) as socket:
        await say(socket, " ", " ", "Hi", " ", " there.", " ", "")
        heard = await hear(socket)
    assert decode(heard.audio) == "Hi there.\0"
    assert heard.frames[0]["alignment"]["chars"] == [*"Hi there. "]


async def test_only_the_first_frame_of_a_segment_is_timed(address):
    async with stream_input(address) as socket:
        await say(socket, {"text": "x" * 450, "flush": True}, "")
        heard = await hear(socket)
    assert [bool(frame["alignment"]) for frame in heard.audio_frames] == [True, False, False]
    assert len(heard.frames[0]["alignment"]["chars"]) == 451


async def test_in_step_every_frame_is_timed(address):
    async with stream_input(address, sync_alignment="true") as socket:
        await say(socket, {"text": "x" * 450, "flush": True}, "")
        heard = await hear(socket)
    assert [len(frame["alignment"]["chars"]) for frame in heard.audio_frames] == [200, 200, 51]
    assert all(frame["alignment"]["charStartTimesMs"][0] == 0 for frame in heard.audio_frames)
    assert decode(heard.audio) == "x" * 450 + "\0"


async def test_auto_mode_speaks_each_message(address):
    async with stream_input(address, auto_mode="true") as socket:
        await say(socket, " ", "Hel", "lo. ", "")
        heard = await hear(socket)
    assert [frame["alignment"]["chars"] for frame in heard.audio_frames] == [[*"Hel "], [*"lo. "]]


async def test_lone_surrogates_do_no_harm(address):
    async with stream_input(address) as socket:
        await socket.send_message('{"text":"a\\ud800b","flush":true}')
        await say(socket, "")
        heard = await hear(socket)
    assert heard.frames[0]["alignment"]["chars"] == ["a", "\ud800", "b", " "]
    assert decode(heard.audio) == "a\0b\0"


@pytest.mark.parametrize(
    ("name", "bytes_per_s"),
    [
        ("pcm_8000", 16_000),
        ("pcm_48000", 96_000),
        ("ulaw_8000", 8_000),
        ("mp3_44100", 16_000),
        ("opus_48000_32", 4_000),
    ],
)
async def test_formats_last_as_long_as_their_timing_says(address, name, bytes_per_s):
    async with stream_input(address, output_format=name) as socket:
        await say(socket, {"text": "word " * 120, "flush": True}, "")
        heard = await hear(socket)
    alignment = heard.frames[0]["alignment"]
    seconds = (alignment["charStartTimesMs"][-1] + alignment["charDurationsMs"][-1]) / 1000
    assert seconds == 3.0
    assert len(heard.audio) == pytest.approx(
        bytes_per_s * seconds, rel=0.3 if "_" in name[3:] else 0.01, abs=3000
    )
    assert heard.code == 1000


@pytest.mark.parametrize(
    ("messages", "error", "start"),
    [
        (["{"], "invalid_input_message", "Could not parse"),
        (['{"text":1}'], "invalid_input_message", "Could not parse"),
        (
            ['{"text":" "}', '{"text":"x","voice_settings":{"speed":1}}'],
            "invalid_voice_settings",
            "voice_settings",
        ),
        (
            ['{"text":" ","generation_config":{"chunk_length_schedule":[1]}}'],
            "invalid_chunk_length_schedule",
            "chunk_length",
        ),
    ],
)
async def test_a_broken_rule_is_an_error_frame_and_then_a_close(address, messages, error, start):
    async with stream_input(address) as socket:
        for message in messages:
            await socket.send_message(message)
        heard = await hear(socket)
    assert heard.frames == [{"message": heard.frames[0]["message"], "error": error, "code": 1008}]
    assert heard.frames[0]["message"].startswith(start)
    assert heard.code == 1008
    assert heard.frames[0]["message"].startswith(heard.reason)


async def test_a_binary_message_is_no_message(address):
    async with stream_input(address) as socket:
        await socket.send_message(b'{"text":" "}')
        heard = await hear(socket)
    assert (heard.error, heard.code) == ("invalid_input_message", 1008)


async def test_an_unknown_voice_is_told_after_the_first_message(address):
    async with stream_input(address, "nobody") as socket:
        await say(socket, " ", "later messages are ignored")
        heard = await hear(socket)
    assert heard.frames == [
        {
            "message": "A voice with voice_id nobody does not exist.",
            "error": "voice_id_does_not_exist",
            "code": 1008,
        }
    ]
    assert (heard.code, heard.reason) == (1008, "A voice with voice_id nobody does not exist.")


async def test_a_silent_client_is_told_and_closed(address):
    async with stream_input(address, inactivity_timeout="1") as socket:
        await say(socket, " ", "unfinished")
        started = trio.current_time()
        heard = await hear(socket)
    assert trio.current_time() - started > 0.9
    assert heard.error == "input_timeout_exceeded"
    assert "within the timeout of 1 seconds" in heard.frames[0]["message"]
    assert heard.code == 1008
    assert len(heard.reason.encode()) == 123


async def test_keep_alives_hold_the_socket_open(address):
    async with stream_input(address, inactivity_timeout="1") as socket:
        await say(socket, " ")
        for _ in range(4):
            await trio.sleep(0.4)
            await say(socket, " ")
        await say(socket, "")
        assert (await hear(socket)).code == 1000


async def test_the_upgrade_carries_a_trace_id(address):
    async with stream_input(address) as socket:
        headers = dict(socket.handshake_headers)
    assert len(headers[b"x-trace-id"]) == 32
    assert headers[b"x-region"] == b"local"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("output_format=flac_9", "unsupported_output_format"),
        ("model_id=eleven_v3", "unsupported_model"),
        ("inactivity_timeout=0", "invalid_parameters"),
    ],
)
async def test_a_wrong_query_is_refused_at_the_upgrade(address, query, code):
    upgrade = {
        "connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }  # fmt: skip
    url = f"http://{address}/v1/text-to-speech/codepoint/stream-input?{query}"
    async with httpx.AsyncClient() as client:
        refused = await client.get(url, headers=upgrade)
    assert refused.status_code == 400
    detail = refused.json()["detail"]
    assert (detail["type"], detail["code"], detail["status"]) == ("validation_error", code, code)
    assert detail["request_id"] == refused.headers["x-trace-id"]


KEYED = [
    ({"headers": [("xi-api-key", "secret")]}, {}),
    ({"headers": [("authorization", "Bearer secret")]}, {}),
    ({"authorization": "secret"}, {}),
    ({}, {"xi_api_key": "secret"}),
    ({}, {"xi-api-key": "secret"}),
    ({}, {"authorization": "Bearer secret"}),
]


@pytest.mark.parametrize(("where", "fields"), KEYED)
async def test_a_required_key_is_taken_wherever_it_is_shown(where, fields):
    async with engine(required_key="secret") as address, stream_input(address, **where) as socket:
        await say(socket, {"text": " ", **fields}, "x", "")
        assert (await hear(socket)).code == 1000


@pytest.mark.parametrize(("key", "error"), [("wrong", "invalid_api_key"), (None, "authentication_required")])
async def test_a_wrong_or_missing_key_is_told_after_the_first_message(key, error):
    async with engine(required_key="secret") as address, stream_input(address) as socket:
        await say(socket, {"text": " ", "xi_api_key": key})
        heard = await hear(socket)
    assert (heard.error, heard.code) == (error, 1008)


async def test_a_flood_of_messages_waits_and_none_is_lost(address):
    async with stream_input(address) as socket:
        heard = None

        async def listen():
            nonlocal heard
            heard = await hear(socket)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            for n in range(300):
                await say(socket, {"text": f"{n} ", "flush": True})
            await say(socket, "")
    assert decode(heard.audio) == "".join(f"{n} " for n in range(300))


async def test_a_client_that_vanishes_stops_its_speech(address, monkeypatch):
    ended, run = trio.Event(), SingleConversation.run

    async def watched(self):
        await run(self)
        ended.set()

    monkeypatch.setattr(SingleConversation, "run", watched)
    async with stream_input(address) as socket:
        await say(socket, *[{"text": "word " * 400, "flush": True}] * 20)
        await hear(socket, 1)
    with trio.fail_after(5):
        await ended.wait()


async def test_the_real_voice_speaks_with_honest_timing():
    async with engine(loader=voices) as address, stream_input(address, SARAH) as socket:
        text = "Good morning. I love 日本語 and food."
        await say(socket, {"text": " ", "voice_settings": {"speed": 1.1}}, {"text": text, "flush": True}, "")
        heard = await hear(socket)
    alignment = heard.frames[0]["alignment"]
    starts, durations = alignment["charStartTimesMs"], alignment["charDurationsMs"]
    assert "".join(alignment["chars"]) == text + " "
    assert [a + d for a, d in zip(starts, durations, strict=True)][:-1] == starts[1:]
    assert (starts[-1] + durations[-1]) * BYTES_PER_MS == len(heard.audio)
    assert all(d > 0 for c, d in zip(alignment["chars"], durations, strict=True) if c.isalnum())


async def test_in_step_the_real_voice_s_slices_join_to_the_same_timing():
    async with engine(loader=voices) as address:
        heard = []
        for sync in ("false", "true"):
            async with stream_input(address, SARAH, sync_alignment=sync) as socket:
                await say(socket, {"text": "One two three. Four five six.", "flush": True}, "")
                heard.append(await hear(socket))
    whole, slices = heard
    assert slices.audio == whole.audio
    joined = [d for frame in slices.audio_frames for d in frame["alignment"]["charDurationsMs"]]
    assert joined == whole.frames[0]["alignment"]["charDurationsMs"]
    assert all(a["alignment"]["charStartTimesMs"][0] == b["alignment"]["charStartTimesMs"][0] == 0
               for a, b in pairwise(slices.audio_frames))  # fmt: skip


async def test_a_voice_that_did_not_load_is_an_internal_error():
    def broken():
        raise VoiceUnavailableError("no model here")

    warnings = []
    async with engine(loader=broken, warn=warnings.append) as address, stream_input(address, SARAH) as socket:
        await say(socket, " ", "Hello.", "")
        heard = await hear(socket)
    assert (heard.error, heard.code, heard.reason) == ("internal_error", 1011, "no model here")
    assert warnings == ["no model here; only the voice 'codepoint' can speak"]
