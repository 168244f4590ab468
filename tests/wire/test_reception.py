import dataclasses

import pytest

from gatewayworld import gateway, until
from tts_streamd_protocol import messages as m


async def start(connect):
    client = connect()
    await client.hello()
    return client


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"format": "wav_1"}, "bad_value"),
        ({"model": "eleven_v3"}, "model_not_supported"),
        ({"voice": "Nobody"}, "voice_not_found"),
    ],
)
async def test_an_open_that_cannot_be_served_opens_nothing(tmp_path, fields, code):
    async with gateway(tmp_path) as (world, connect):
        client = await start(connect)
        refused = await client.ask(op="open", sid=1, **fields)
        assert (refused["code"], refused["sid"], world.slots) == (code, 1, [])
        assert (await client.ask(op="open", sid=1))["op"] == "opened"


async def test_what_is_not_built_says_so(tmp_path):
    async with gateway(tmp_path) as (_, connect):
        client = await start(connect)
        await client.ask(op="open", sid=1)
        assert (await client.ask(op="voice", sid=1, voice="sarah"))["code"] == "unknown_op"


async def test_a_clients_settings_stand_before_the_configurations(tmp_path, monkeypatch):
    async with gateway(tmp_path) as (world, connect):
        configured = dataclasses.replace(
            world.defaults(), settings=m.VoiceSettings(stability=0.3, speed=1.1), share=False
        )
        monkeypatch.setattr(world.reception, "defaults", lambda: configured)
        client = await start(connect)
        await client.ask(
            op="open", sid=1, settings={"stability": 0.9}, language="de", start_cp=5, before="so "
        )
        await client.ask(op="open", sid=2, pace="eager", credit_ms=10**9, schedule="quality", share=True)
        first, second = (slot.spec for slot in world.slots)
        assert first.key.settings == m.VoiceSettings(stability=0.9, speed=1.1)
        assert (first.key.language, first.start_cp, first.before, first.shared) == ("de", 5, "so ", False)
        assert second.key.settings == configured.settings
        assert (second.buffer_ms, second.credit_ms, second.shared) == (600_000, 600_000, True)
        assert second.schedule[0] == 250


async def test_the_daemon_has_room_for_so_many_streams(tmp_path):
    async with gateway(tmp_path) as (_, connect):
        one, other = await start(connect), await start(connect)
        for sid in range(4):
            await one.ask(op="open", sid=sid)
        for sid in range(2):
            await other.ask(op="open", sid=sid)
        refused = await other.ask(op="open", sid=2)
        assert (refused["code"], refused["retry_ms"]) == ("busy", 500)


async def test_text_and_credit_for_a_stream_that_has_ended_are_answered_and_ignored(tmp_path):
    async with gateway(tmp_path) as (world, connect):
        client = await start(connect)
        await client.ask(op="open", sid=1, credit_ms=0)
        world.release(world.slots[0], "word")
        world.slots[0].finish("done")  # and waits for credit
        assert (await client.ask(op="text", sid=1, text="late"))["op"] == "ok"
        await client.ask(op="credit", sid=1, add_ms=1000)
        await until(lambda: world.discarded)
        assert (await client.ask(op="text", sid=1, text="later"))["op"] == "ok"
        assert (await client.ask(op="credit", sid=1, add_ms=1))["op"] == "ok"
        assert (await client.ask(op="cancel", sid=1))["op"] == "ok"
        assert (await client.ask(op="text", sid=2, text="x"))["code"] == "no_such_stream"


async def test_one_user_may_not_touch_or_see_anothers(tmp_path):
    async with gateway(tmp_path) as (world, connect):
        mine, theirs = await start(connect), await start(connect)
        await mine.ask(op="open", sid=1, private=True)
        (first, second) = world.door.sessions.values()
        first.peer, second.peer = (
            dataclasses.replace(one.peer, uid=uid) for one, uid in ((first, 7), (second, 8))
        )
        assert (await theirs.ask(op="streams"))["streams"] == []
        assert (await theirs.ask(op="cancel", sid=1, session=first.id))["code"] == "denied"
        await theirs.ask(op="cancel", scope="all")
        assert (await theirs.ask(op="tap"))["code"] == "denied"
        assert not world.slots[0].ended
        assert (await theirs.ask(op="cancel", sid=1, session=99))["op"] == "ok", (
            "it is gone, and that is fine"
        )
        second.peer = dataclasses.replace(second.peer, uid=7)
        assert (await theirs.ask(op="cancel", sid=1, session=first.id))["op"] == "ok"
        assert world.slots[0].ended


async def test_watching_is_ended_as_it_began(tmp_path):
    async with gateway(tmp_path) as (world, connect):
        client = await start(connect)
        (session,) = world.door.sessions.values()
        await client.ask(op="tap")
        assert session.tap == ""
        await client.ask(op="tap", on=False)
        assert session.tap is None
