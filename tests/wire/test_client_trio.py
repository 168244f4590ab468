"""The Trio client against a scripted daemon, over real sockets."""

import pytest
import trio

from tts_streamd_client import (
    Audio,
    DaemonProtocolError,
    DaemonUnreachableError,
    End,
    NoAnswerError,
    RequestRefusedError,
    SessionLostError,
    StreamFailedError,
    Words,
)
from tts_streamd_client.testing import Scene, ScriptedDaemon
from tts_streamd_client.trio import open_client


@pytest.fixture
def daemon(tmp_path):
    with ScriptedDaemon(tmp_path, heartbeat_ms=200) as daemon:
        yield daemon


@pytest.fixture(autouse=True)
async def deadline():
    with trio.fail_after(20):
        yield


def scripted(tmp_path, scene, **options):
    return ScriptedDaemon(tmp_path, scene, heartbeat_ms=100, **options)


def ops(daemon):
    return [request["op"] for request in daemon.requests]


async def test_one_task_sends_while_another_hears(daemon):
    events = []

    async def hear(stream):
        events.extend([event async for event in stream])

    async with open_client(daemon.runtime_dir) as client, trio.open_nursery() as nursery:
        stream = await client.open(schedule="speed")
        nursery.start_soon(hear, stream)
        for piece in ("Hello ", "there, my ", "friend."):
            await stream.send(piece)
            await trio.sleep(0.01)
        await stream.aclose_text()
    words = [word.text for event in events if isinstance(event, Words) for word in event.words]
    assert words == ["Hello", "there,", "my", "friend."]
    assert isinstance(events[-1], End)
    assert sum(event.n for event in events if isinstance(event, Audio)) == events[-1].samples


async def test_many_streams_of_many_tasks_do_not_mix(daemon):
    speeches = {}

    async def speak(client, n):
        stream = await client.speak(f"number {n}")
        speeches[n] = await stream.collect()

    async with open_client(daemon.runtime_dir) as client, trio.open_nursery() as nursery:
        for n in range(20):
            nursery.start_soon(speak, client, n)
    assert {n: speech.words[1].text for n, speech in speeches.items()} == {n: str(n) for n in range(20)}


async def test_requests_about_the_daemon(daemon):
    async with open_client(daemon.runtime_dir) as client:
        assert (await client.voices()).default == "ada"
        assert (await client.status()).pid == 1
        await client.ping()
        stream = await client.open()
        assert [info.sid for info in await client.streams()] == [stream.sid]
        await client.cancel_all()
        assert [event.reason async for event in stream] == ["cancelled"]


async def test_errors_arrive_bare(daemon):
    with pytest.raises(RequestRefusedError):
        async with open_client(daemon.runtime_dir) as client:
            await client.open(voice="nobody")
    with pytest.raises(StreamFailedError):
        async with open_client(daemon.runtime_dir) as client:
            await (await client.speak("...")).collect()


async def test_a_cancelled_reader_loses_no_event(daemon):
    async with open_client(daemon.runtime_dir) as client:
        stream = await client.open()
        sums, n_cancelled = 0, 0
        for _ in range(50):
            await stream.send("word ")
            with trio.move_on_after(0.0005) as scope:
                async for event in stream:
                    sums += event.n if isinstance(event, Audio) else 0
            n_cancelled += scope.cancelled_caught
        await stream.aclose_text()
        speech = await stream.collect()
    assert n_cancelled > 0
    assert sums + len(speech.data) // 2 == speech.end.samples == 50 * 2400


async def test_when_the_reading_task_is_cancelled_another_takes_over(daemon):
    async with open_client(daemon.runtime_dir) as client, trio.open_nursery() as nursery:
        first, second = await client.open(), await client.open()
        heard = trio.Event()

        async def hear(stream):
            async for _ in stream:
                heard.set()

        async def hear_in_vain():
            with trio.move_on_after(0.05):
                await hear(first)

        nursery.start_soon(hear_in_vain)
        await trio.sleep(0.01)
        nursery.start_soon(hear, second)
        await trio.sleep(0.1)
        await second.send("one ")
        await heard.wait()
        nursery.cancel_scope.cancel()


async def test_a_cancelled_open_leaves_no_stream(tmp_path):
    with scripted(tmp_path, Scene.MUTE) as daemon:
        async with open_client(tmp_path) as client:
            with trio.move_on_after(0.05):
                await client.open()
            assert client.statistics().streams_open == 0
        while "cancel" not in ops(daemon):  # noqa: ASYNC110 - the daemon is a thread
            await trio.sleep(0.01)


async def test_leaving_the_block_cancels_what_is_left(daemon):
    async with open_client(daemon.runtime_dir) as client:
        async with await client.open() as stream:
            await stream.send("one two ")
        await client.ping()
        assert ops(daemon)[-2:] == ["cancel", "ping"]


async def test_cancel_says_how_far_it_got(daemon):
    async with open_client(daemon.runtime_dir) as client:
        stream = await client.open()
        await stream.send("one two three")
        end = await stream.cancel(at=2400)
        assert (end.reason, end.heard_cp) == ("cancelled", 7)
        assert daemon.requests[-1]["at"] == 2400


async def test_observers_hear_everything_after_their_subscription(daemon):
    async with open_client(daemon.runtime_dir) as client, client.listen("audio/", "end/") as observer:
        await (await client.speak("one two")).collect()
        topics = [(await anext(observer)).topic for _ in range(3)]
    assert topics == ["audio/-/1-1/", "audio/-/1-1/", "end/-/1-1/"]


async def test_tapped_messages_come_in_order(daemon):
    async with open_client(daemon.runtime_dir) as client, client.tap() as tap:
        await (await client.speak("one two")).collect()
        assert [(await anext(tap)).message["text"] for _ in range(2)] == ["one", " two"]


async def test_scene_gap(tmp_path):
    with scripted(tmp_path, Scene.GAP):
        async with open_client(tmp_path) as client:
            with pytest.raises(DaemonProtocolError):
                await (await client.speak("one two three")).collect()


async def test_scene_late_frame_after_cancel(tmp_path):
    with scripted(tmp_path, Scene.LATE):
        async with open_client(tmp_path) as client:
            stream = await client.open()
            await stream.send("one two ")
            await stream.cancel()
            await client.ping()
            assert client.statistics().n_late == 1


async def test_scene_lost_session(tmp_path):
    with scripted(tmp_path, Scene.SILENT):
        async with open_client(tmp_path, resume_within_s=0) as client:
            stream = await client.open()
            await stream.send("one two")
            with pytest.raises(SessionLostError, match="silent"):
                await anext(stream)
            assert stream.resumption().text == "one two"


async def test_a_task_that_waits_already_notices_the_silence_of_a_stream_opened_later(tmp_path):
    with scripted(tmp_path, Scene.SILENT):
        async with (
            open_client(tmp_path, resume_within_s=0) as client,
            client.tap() as tap,
            trio.open_nursery() as nursery,
        ):

            async def watch():
                with pytest.raises(SessionLostError):
                    await anext(tap)

            nursery.start_soon(watch)
            await trio.sleep(0.05)
            await client.open()


async def test_scene_goodbye(tmp_path):
    with scripted(tmp_path, Scene.GOODBYE):
        async with open_client(tmp_path, resume_within_s=0) as client:
            stream = await client.open()
            await stream.send("one two three ")
            with pytest.raises(SessionLostError, match="goodbye"):
                await stream.collect()
            assert client.goodbye.in_ms == 100


async def test_scene_slow_acks_hold_the_sender_back(tmp_path):
    with scripted(tmp_path, Scene.SLOW_ACKS, text_window=100) as daemon:
        async with open_client(tmp_path) as client, trio.open_nursery() as nursery:
            stream = await client.open()
            nursery.start_soon(stream.collect)
            await stream.send("word " * 60)
            await stream.aclose_text()
        assert max(len(request.get("text", "")) for request in daemon.requests) <= 100


async def test_scene_slow_credit(tmp_path):
    with scripted(tmp_path, Scene.PLAIN) as daemon:
        async with open_client(tmp_path) as client:
            stream = await client.speak("a b c d e f g h i j k l", buffer_ms=300)
            await trio.sleep(0.1)
            await client.ping()
            assert sum(isinstance(event, Audio) for event in stream._book.events) == 3
            assert (await stream.collect()).end.samples == 12 * 2400
        assert daemon.requests[1]["credit_ms"] == 300


async def test_a_daemon_that_answers_nothing_is_given_up_in_time(tmp_path):
    with scripted(tmp_path, Scene.MUTE):
        async with open_client(tmp_path, timeout_s=0.1) as client:
            with pytest.raises(NoAnswerError, match="voices"):
                await client.voices()


async def test_no_daemon_is_told_with_what_was_tried(tmp_path):
    with pytest.raises(DaemonUnreachableError, match="systemctl start tts-streamd"):
        async with open_client(tmp_path):
            pass


@pytest.mark.parametrize("scene", [Scene.MUTE, Scene.TAPPED])
async def test_whoever_only_listens_notices_that_the_daemon_is_gone(tmp_path, monkeypatch, scene):
    monkeypatch.setattr("tts_streamd_client.trio.stream.QUIET_S", 0.2)
    monkeypatch.setattr("tts_streamd_client.trio.line.QUIET_S", 0.2)
    daemon = scripted(tmp_path, scene)
    daemon.__enter__()
    async with open_client(tmp_path, timeout_s=0.3) as client:
        if scene is Scene.TAPPED:
            async with client.tap() as tap:
                daemon.__exit__(None, None, None)
                with pytest.raises(NoAnswerError, match="ping"):
                    await tap_to_the_end(tap)
        else:
            async with client.listen("audio/") as observer:
                daemon.__exit__(None, None, None)
                with pytest.raises(SessionLostError, match="nothing was published"):
                    await anext(observer)


async def tap_to_the_end(tap):
    async for _ in tap:
        pass
