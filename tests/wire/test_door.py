"""Clients that read slowly, not at all, or are gone: each is its own trouble and nobody else's."""

import trio
from structlog.testing import capture_logs

from gatewayworld import gateway, until
from tts_streamd_actors import door as module
from tts_streamd_protocol import messages as m

BIG = 24_000 * 2  # samples of a message that fills a queue of a few soon


async def fill(world, slot, n=40):
    for _ in range(n):
        world.release(slot, "word ", BIG)
    await trio.sleep(0.05)


def small(connect):
    """A client that keeps little in its own queue."""
    return connect(RCVHWM=2)


async def test_a_client_that_does_not_read_is_parked_and_delays_nobody(tmp_path, monkeypatch):
    async with gateway(tmp_path, monkeypatch, hwm=3) as (world, connect):
        lazy, busy = small(connect), connect()
        await lazy.hello()
        await busy.hello()
        await lazy.ask(op="open", sid=1)
        await fill(world, world.slots[0])
        assert len(world.door.parked) == 1
        assert world.slots[0].journal.pending, "its speech waits in its journal"
        assert (await busy.ask(op="ping"))["op"] == "pong"
        world.slots[0].finish("done")
        seen = []
        while not seen or seen[-1]["op"] != "end":
            seen.append(await lazy.take())
        assert [message["seq"] for message in seen if "seq" in message] == list(range(81))
        assert not world.door.parked
        assert world.discarded == world.slots


async def test_a_client_that_takes_nothing_for_long_loses_its_streams(tmp_path, monkeypatch):
    async with gateway(tmp_path, monkeypatch, hwm=3, stall_ms=150) as (world, connect):
        lazy = small(connect)
        await lazy.hello()
        await lazy.ask(op="open", sid=1)
        await lazy.ask(op="open", sid=2)
        await fill(world, world.slots[0])
        await until(lambda: all(slot.ended for slot in world.slots))
        assert not world.slots[0].journal.pending, "and nothing is kept for it"
        ends = [await lazy.until("end"), await lazy.until("end")]
        assert {end["error"]["code"] for end in ends} == {"client_stalled"}
        audio = sum(message["n"] for message in lazy.other if message["op"] == "audio")
        assert sorted(end["samples"] for end in ends) == [0, audio]
        assert (await lazy.ask(op="ping"))["op"] == "pong", "its session lives on"


async def test_a_stream_that_is_done_does_not_wait_for_ever_either(tmp_path, monkeypatch):
    async with gateway(tmp_path, monkeypatch, hwm=3, stall_ms=150) as (world, connect):
        lazy = small(connect)
        await lazy.hello()
        await lazy.ask(op="open", sid=1)
        await fill(world, world.slots[0])
        world.slots[0].finish("done")
        await until(lambda: not world.slots[0].journal.pending)
        assert (await lazy.until("end"))["error"]["code"] == "client_stalled"


async def test_a_client_that_reads_slowly_is_not_taken_for_stalled(tmp_path, monkeypatch):
    """Its queue is always full, and it takes a message now and then, as one that plays in real time."""
    async with gateway(tmp_path, monkeypatch, hwm=2, stall_ms=300) as (world, connect):
        slow = small(connect)
        await slow.hello()
        await slow.ask(op="open", sid=1)
        await fill(world, world.slots[0], 60)
        began = trio.current_time()
        while trio.current_time() - began < 1.2:
            await trio.sleep(0.03)
            await slow.take()
            assert not world.slots[0].ended
        assert world.door.parked
        world.slots[0].finish("cancelled")
        await slow.until("end")


async def test_a_client_that_is_gone_is_dropped_with_its_streams(tmp_path):
    async with gateway(tmp_path) as (world, connect):
        client = connect()
        await client.hello()
        await client.ask(op="open", sid=1)
        client.socket.close()

        def gone():
            if not world.slots[0].ended:
                world.release(world.slots[0], "word ")
            return world.slots[0].ended

        await until(gone)
        assert not world.door.sessions
        assert world.discarded == world.slots
        assert world.door.dropped_sessions == 1
        world.slots[0].on_ready(world.slots[0])
        assert not world.door.busy


async def test_who_asks_and_reads_no_replies_is_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_REPLIES", 50)
    async with gateway(tmp_path, monkeypatch, hwm=3) as (world, connect):
        deaf = small(connect)
        await deaf.hello()
        await deaf.ask(op="open", sid=1)
        await fill(world, world.slots[0])
        with trio.move_on_after(5):
            while world.door.sessions:
                await deaf.send(op="ping", rid=1)
                await trio.lowlevel.checkpoint()
        assert not world.door.sessions
        assert world.slots[0].ended
        assert world.discarded == world.slots


async def test_a_session_that_was_dropped_is_sent_nothing_more(tmp_path):
    async with gateway(tmp_path) as (world, connect):
        client = connect()
        await client.hello()
        (session,) = world.door.sessions.values()
        world.door.reply(session, m.Pong())
        world.door.drop(session, "a test")
        world.door.drop(session, "again")
        assert world.door.dropped_sessions == 1
        await trio.sleep(0.05)
        assert (await client.ask(op="ping"))["code"] == "hello_required"
        assert not client.other


async def test_a_stream_whose_sound_cannot_be_made_ends_alone(tmp_path, monkeypatch):
    async with gateway(tmp_path) as (world, connect):
        client = connect()
        await client.hello()
        for sid in (1, 2):
            await client.ask(op="open", sid=sid)
        bad, good = world.slots
        monkeypatch.setattr(type(bad.outlet), "_draft_audio", None)
        with capture_logs() as logged:
            world.release(bad, "word ")
            end = await client.until("end")
        assert [line["stream"] for line in logged] == ["stream/1-1"]
        assert (end["sid"], end["error"]["code"]) == (1, "internal")
        monkeypatch.undo()
        world.release(good, "word ")
        assert (await client.until("audio"))["sid"] == 2
