"""The embedded engine's multi-stream-input on a real socket."""

import base64
import json

import pytest
import trio

from engineserver import engine, hear, say, stream_input
from tts_streamd_engine.voices.codepoint import decode


@pytest.fixture
async def address():
    async with engine() as address:
        yield address


def multi(address, **query):
    return stream_input(address, endpoint="multi-stream-input", **query)


def text_of(heard, context_id):
    audio = [base64.b64decode(f["audio"]) for f in heard.audio_frames if f["contextId"] == context_id]
    return decode(b"".join(audio))


def within(context_id, *messages):
    return [{"context_id": context_id, **({"text": m} if isinstance(m, str) else m)} for m in messages]


FLUSH, CLOSE = {"flush": True}, {"close_context": True}


async def test_a_turn_is_spoken_and_ends_with_one_final_and_the_socket_stays(address):
    async with multi(address) as socket:
        for turn in ("one", "two"):
            await say(socket, *within(turn, " ", "Hello ", "there.", FLUSH))
            first = await hear(socket, 1)
            await say(socket, *within(turn, CLOSE))
            last = await hear(socket, 1)
            assert decode(first.audio) == "Hello there.\0"
            assert last.frames == [
                {
                    "audio": None,
                    "isFinal": True,
                    "normalizedAlignment": None,
                    "alignment": None,
                    "contextId": turn,
                }
            ]
        assert list(first.frames[0]) == ["audio", "isFinal", "normalizedAlignment", "alignment", "contextId"]
        assert first.frames[0]["alignment"]["chars"] == [*"Hello there. "]
        await say(socket, {"close_socket": True})
        heard = await hear(socket)
    assert (heard.frames, heard.code) == ([], 1000)


async def test_contexts_interleave_and_each_keeps_its_order(address):
    async with multi(address) as socket:
        texts = {name: [f"{name}{n} " * 60 for n in range(6)] for name in "abc"}
        for name in "abc":
            await say(socket, *within(name, *[{"text": text, "flush": True} for text in texts[name]], CLOSE))
        heard = await hear(socket, 3 + 3 * 6)  # 180 characters are one frame
        assert all(text_of(heard, name) == "".join(texts[name]) for name in "abc")
        order = [frame["contextId"] for frame in heard.audio_frames]
        assert order != sorted(order)


async def test_unflushed_text_dies_with_its_context_and_auto_mode_has_none(address):
    for auto_mode, n_frames in (("false", 1), ("true", 2)):
        async with multi(address, auto_mode=auto_mode) as socket:
            await say(socket, *within("a", " ", "Lost or not. ", CLOSE))
            heard = await hear(socket, n_frames)
            assert heard.frames[-1]["isFinal"] is True
            assert len(heard.audio_frames) == n_frames - 1


async def test_close_socket_speaks_the_rest_and_closes(address):
    async with multi(address) as socket:
        await say(socket, *within("a", "One."), *within("b", "Two."), {"close_socket": True})
        heard = await hear(socket)
    assert (text_of(heard, "a"), text_of(heard, "b"), heard.code) == ("One.\0", "Two.\0", 1000)
    assert sum(frame["isFinal"] is True for frame in heard.frames) == 2


async def test_the_sixth_context_is_an_error_and_the_reason_fits(address):
    async with multi(address) as socket:
        for n in range(6):
            await say(socket, *within(f"c{n}", " "))
        heard = await hear(socket)
    assert (heard.error, heard.code) == ("max_active_conversations", 1008)
    assert heard.frames[0]["message"].startswith(heard.reason)
    assert len(heard.reason) == 123


async def test_an_idle_context_is_ended_while_another_lives(address):
    async with multi(address, inactivity_timeout="1") as socket:
        await say(socket, *within("idle", " "), *within("kept", " "))
        for _ in range(4):
            await trio.sleep(0.4)
            await say(socket, *within("kept", ""))
        heard = await hear(socket, 1)
        assert (heard.frames[0]["contextId"], heard.frames[0]["isFinal"]) == ("idle", True)
        await say(socket, *within("kept", "Still here.", FLUSH))
        assert text_of(await hear(socket, 1), "kept") == "Still here.\0"


async def test_a_silent_client_is_told_and_closed(address):
    async with multi(address, inactivity_timeout="1") as socket:
        await say(socket, *within("a", " "))
        heard = await hear(socket)
    assert (heard.frames[-1]["error"], heard.code) == ("input_timeout_exceeded", 1008)


async def test_empty_texts_without_id_hold_the_socket_open(address):
    async with multi(address, inactivity_timeout="1") as socket:
        for _ in range(4):
            await say(socket, "")
            await trio.sleep(0.4)
        await say(socket, {"close_socket": True})
        assert (await hear(socket)).code == 1000


async def test_an_id_used_again_before_its_final_comes_keeps_the_order(address):
    async with multi(address) as socket:
        await say(socket, *within("a", {"text": "first " * 400, "flush": True}, CLOSE))
        await say(socket, *within("a", {"text": "second", "flush": True}, CLOSE))
        frames = []
        while sum(frame["isFinal"] is True for frame in frames) < 2:
            frames += (await hear(socket, 1)).frames
    at = [n for n, frame in enumerate(frames) if frame["isFinal"]]
    assert at[1] == at[0] + 2
    assert frames[at[1] - 1]["alignment"]["chars"] == [*"second "]


async def test_an_unknown_voice_and_a_wrong_key_are_told(address):
    async with stream_input(address, "nobody", endpoint="multi-stream-input") as socket:
        await say(socket, " ")
        assert (await hear(socket)).error == "voice_id_does_not_exist"
    async with engine(required_key="secret") as guarded, multi(guarded) as socket:
        await say(socket, json.loads('{"text":" ","context_id":"a","xi_api_key":"wrong"}'))
        assert (await hear(socket)).error == "invalid_api_key"
