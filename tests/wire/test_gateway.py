import os

import msgpack
import pytest
import trio
import zmq
from structlog.testing import capture_logs

from gatewayworld import gateway, until
from tts_streamd_actors import gateway as module
from tts_streamd_protocol import messages as m


async def test_hello_opens_a_session_and_again_changes_nothing(tmp_path):
    async with gateway(tmp_path) as (world, connect):
        client = connect()
        welcome = await client.hello()
        assert (welcome["op"], welcome["session"], welcome["boot_id"]) == ("welcome", 1, "b00t")
        assert (await client.hello())["session"] == 1
        (session,) = world.door.sessions.values()
        assert session.uid == os.getuid()


async def test_a_stranger_is_told_to_say_hello(tmp_path):
    async with gateway(tmp_path) as (world, connect):
        client = connect()
        refused = await client.ask(op="ping")
        assert (refused["op"], refused["code"]) == ("error", "hello_required")
        assert not world.door.sessions
        assert world.gateway.bad_messages == 1
        await client.hello()
        assert (await client.ask(op="ping"))["op"] == "pong"


async def test_another_major_version_is_refused_with_what_is_spoken(tmp_path):
    async with gateway(tmp_path) as (_, connect):
        refused = await connect().ask(op="hello", proto=[9, 0], client="x")
        assert (refused["code"], refused["supported"]) == ("unsupported_version", [[1, 0]])


async def test_clients_beyond_the_limit_are_told_that_it_is_busy(tmp_path):
    async with gateway(tmp_path, max_sessions=1) as (_, connect):
        await connect().hello()
        refused = await connect().hello()
        assert (refused["code"], refused["retryable"], refused["retry_ms"]) == ("busy", True, 1000)


async def test_a_daemon_that_stops_takes_nobody_in(tmp_path):
    async with gateway(tmp_path) as (world, connect):
        known = connect()
        await known.hello()
        world.door.stopping = True
        assert (await connect().hello())["code"] == "shutting_down"
        assert (await known.ask(op="open", sid=1))["code"] == "shutting_down"


async def test_a_routing_id_of_ones_own_is_denied(tmp_path):
    async with gateway(tmp_path) as (_, connect):
        assert (await connect(ROUTING_ID=b"mine").hello())["code"] == "denied"


@pytest.mark.parametrize(
    "said", [[b"\xff"], [b""], [b"\x80"], [b"a", b"b", b"c"], [msgpack.packb({"op": "fly", "rid": 7})]]
)
async def test_what_is_no_request_is_answered_and_harms_nobody(tmp_path, said):
    async with gateway(tmp_path) as (_, connect):
        client = connect()
        await client.hello()
        await client.socket.send(said)
        assert (await client.take())["op"] == "error"
        assert (await client.ask(op="ping"))["op"] == "pong"


async def test_a_bug_in_a_request_is_an_internal_error_of_that_request(tmp_path):
    async with gateway(tmp_path) as (world, connect):
        client = connect()
        await client.hello()
        world.reception.status = lambda: 1 / 0
        with capture_logs() as logged:
            await client.send(op="status", rid=99)
            assert (await client.take())["code"] == "internal"
        assert [line["event"] for line in logged] == ["a request could not be served"]
        assert (await client.ask(op="ping"))["op"] == "pong"


async def test_a_stream_is_opened_spoken_to_and_heard(tmp_path):
    async with gateway(tmp_path) as (world, connect):
        client = connect()
        await client.hello()
        opened = await client.ask(op="open", sid=1, voice="sarah", format="pcm_24000")
        assert (opened["op"], opened["voice"], opened["rate_hz"]) == ("opened", "sarah", 24_000)
        assert await client.ask(op="text", sid=1, text="Hello ") == {
            "op": "ack",
            "rid": 3,
            "sid": 1,
            "chars": 6,
        }
        await client.send(op="text", sid=1, text="there")
        assert await client.take() == {"op": "ack", "sid": 1, "chars": 11}
        (slot,) = world.slots
        world.release(slot, "Hello there")
        words, audio = await client.take(), await client.take()
        assert (words["op"], words["seq"], words["words"]) == ("words", 0, [["Hello there", 0, 10, 0, 11]])
        assert (audio["op"], audio["seq"], audio["cp"], len(audio["payload"])) == ("audio", 1, 11, 480)
        assert (await client.ask(op="close", sid=1))["op"] == "ok"
        slot.finish("done")
        end = await client.until("end")
        assert (end["reason"], end["seq"], end["samples"]) == ("done", 2, 240)
        assert world.discarded == [slot]
        assert (await client.ask(op="close", sid=1))["op"] == "ok", "it has ended, and that is fine"
        assert (await client.ask(op="close", sid=2))["code"] == "no_such_stream"


async def test_text_that_leaves_a_hole_ends_its_stream(tmp_path):
    async with gateway(tmp_path) as (world, connect):
        client = connect()
        await client.hello()
        await client.ask(op="open", sid=1)
        gap = await client.ask(op="text", sid=1, text="late", cp=9)
        assert (gap["code"], gap["chars"]) == ("text_gap", 0)
        assert not world.slots[0].ended, "it may be sent again"
        await client.ask(op="close", sid=1)
        await client.send(op="text", sid=1, text="more")
        end = await client.until("end")
        assert end["error"]["code"] == "bad_value"


async def test_each_client_hears_its_own_stream_in_turn(tmp_path):
    async with gateway(tmp_path) as (world, connect):
        client = connect()
        await client.hello()
        for sid in (1, 2):
            await client.ask(op="open", sid=sid)
        for slot in world.slots:
            for _ in range(3):
                world.release(slot, "word ")
        heard = [await client.take() for _ in range(12)]
        assert {1, 2} == {message["sid"] for message in heard[:3]}, "nobody waits for the other's end"


async def test_a_session_with_streams_hears_ticks(tmp_path):
    async with gateway(tmp_path, heartbeat_ms=30) as (_, connect):
        idle, client = connect(), connect()
        await idle.hello()
        await client.hello()
        await client.ask(op="open", sid=1)
        for _ in range(2):
            assert await client.until("tick") == {"op": "tick", "session": 2, "boot_id": "b00t"}
        assert (await idle.ask(op="ping"))["op"] == "pong"
        assert not idle.other, "a session without streams hears none"


async def test_an_idle_session_is_probed_for_its_client(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "IDLE_PROBE_S", 0.05)
    async with gateway(tmp_path, heartbeat_ms=20) as (world, connect):
        client = connect()
        await client.hello()
        await client.until("tick")
        client.socket.close()
        await until(lambda: not world.door.sessions)
        assert world.door.dropped_sessions == 1


async def test_an_observer_is_told_from_when_on_it_hears(tmp_path):
    async with gateway(tmp_path) as (world, connect):
        observer, client = connect(zmq.SUB), connect()
        observer.socket._socket.setsockopt(zmq.SUBSCRIBE, b"audio/-/1-1/")
        with trio.fail_after(5):
            assert await observer.socket.recv() == [b"audio/-/1-1/", msgpack.packb({"op": "subscribed"})]
        await client.hello()
        await client.ask(op="open", sid=1)
        await client.ask(op="open", sid=2, share=False)
        await client.ask(op="open", sid=3, private=True, share=True)
        for slot in world.slots:
            world.release(slot, "word")
        with trio.fail_after(5):
            topic, head, payload = await observer.socket.recv()
        assert (topic, msgpack.unpackb(head)["sid"], len(payload)) == (b"audio/-/1-1/", 1, 480)
        await client.until("audio", sid=3)
        assert [slot.spec.shared for slot in world.slots] == [True, False, False]
        observer.socket._socket.setsockopt(zmq.UNSUBSCRIBE, b"audio/-/1-1/")
        world.release(world.slots[0], "gone ")
        assert (await client.ask(op="ping"))["op"] == "pong"


async def test_observers_hear_ticks(tmp_path):
    async with gateway(tmp_path) as (_, connect):
        observer = connect(zmq.SUB)
        observer.socket._socket.setsockopt(zmq.SUBSCRIBE, b"tick/")
        with trio.fail_after(5):
            told = [msgpack.unpackb((await observer.socket.recv())[1])["op"] for _ in range(2)]
        assert {*told} == {"subscribed", "tick"}


async def test_a_new_incarnation_serves_the_sessions_of_the_last(tmp_path):
    async with gateway(tmp_path) as (world, connect):
        client = connect()
        await client.hello()
        await client.ask(op="open", sid=1)
        world.scope.cancel()
        with trio.CancelScope(shield=True):
            world.release(world.slots[0], "word")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(world.gateway.run, lambda: None)
                assert (await client.until("audio"))["seq"] == 1
                assert (await client.ask(op="ping"))["op"] == "pong"
                nursery.cancel_scope.cancel()


async def test_credit_is_asked_for_and_given(tmp_path):
    async with gateway(tmp_path) as (world, connect):
        client = connect()
        await client.hello()
        await client.ask(op="open", sid=1, credit_ms=0)
        await client.ask(op="open", sid=2)
        world.release(world.slots[0], "word")
        assert (await client.ask(op="ping"))["op"] == "pong"
        assert not client.other, "not even the word: it belongs to its sound"
        assert (await client.ask(op="credit", sid=1, add_ms=5))["op"] == "ok"
        await client.until("audio")
        assert (await client.ask(op="credit", sid=2, add_ms=5))["code"] == "bad_value"


async def test_a_cancel_ends_one_stream_or_all_of_mine(tmp_path):
    async with gateway(tmp_path) as (world, connect):
        client, other = connect(), connect()
        await client.hello()
        await other.hello()
        for sid in (1, 2, 3):
            await client.ask(op="open", sid=sid)
        await other.ask(op="open", sid=1)
        await client.ask(op="cancel", sid=2)
        assert [slot.ended for slot in world.slots] == [False, True, False, False]
        await client.ask(op="cancel", scope="mine")
        assert [slot.ended for slot in world.slots] == [True, True, True, False]
        await client.ask(op="cancel", scope="all")
        assert (await other.until("end"))["reason"] == "cancelled"


async def test_it_tells_what_is_there(tmp_path):
    async with gateway(tmp_path) as (_, connect):
        client = connect()
        await client.hello()
        await client.ask(op="speak", sid=5, text="Hello", label="a")
        assert [voice["name"] for voice in (await client.ask(op="voices"))["voices"]] == ["Sarah"]
        (stream,) = (await client.ask(op="streams"))["streams"]
        assert (stream["sid"], stream["text"], stream["label"]) == (5, "Hello", "a")
        assert (await client.ask(op="status"))["boot_id"] == "b00t"
        assert (await client.ask(op="tap", actor="stream/"))["on"]


async def test_the_same_stream_is_not_opened_twice_nor_too_many(tmp_path):
    async with gateway(tmp_path) as (world, connect):
        client = connect()
        await client.hello()
        for sid in range(4):
            assert (await client.ask(op="open", sid=sid))["op"] == "opened"
        assert (await client.ask(op="open", sid=3))["code"] == "duplicate_stream"
        assert (await client.ask(op="open", sid=9))["code"] == "too_many_streams"
        assert isinstance(world.door.n_streams, int)
        assert world.door.n_streams == m.Limits(max_streams=4).max_streams
