"""Every scripted fault as a client meets it on a real socket."""

import base64
import json
import subprocess
import sys

import httpx
import pytest
import trio
from trio_websocket import ConnectionClosed, open_websocket_url

from engineserver import hear, say, stream_input
from tts_streamd_engine.testing import Fault, Transport, decode, open_emulator

TALK = [" ", {"text": "x" * 500, "flush": True}, ""]  # 500 characters are three frames
MULTI = {"endpoint": "multi-stream-input"}
WS_MAX = 4_000_000


async def talk(service, *messages, **query):
    async with stream_input(service.address, **query) as socket:
        await say(socket, *(messages or TALK))
        return await hear(socket)


async def raw(service, n=None, *messages):
    """What comes, as text, not parsed."""
    url = f"{service.ws_url}/v1/text-to-speech/codepoint/stream-input?output_format=pcm_24000"
    texts = []
    with trio.fail_after(10):
        async with open_websocket_url(url, max_message_size=WS_MAX) as socket:
            try:
                await say(socket, *(messages or TALK))
                while n is None or len(texts) < n:
                    texts.append(await socket.get_message())
            except ConnectionClosed:
                pass
            await trio.aclose_forcefully(socket._stream)
    return texts


async def refused_upgrade(service, endpoint="stream-input"):
    """The answer to an upgrade, by a client that closes its socket when it is refused."""
    upgrade = {
        "connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }  # fmt: skip
    async with httpx.AsyncClient() as client:
        return await client.get(f"{service.url}/v1/text-to-speech/codepoint/{endpoint}", headers=upgrade)


async def post(service, path="stream"):
    url = f"{service.url}/v1/text-to-speech/codepoint/{path}?output_format=pcm_24000"
    async with httpx.AsyncClient() as client:
        return await client.post(url, json={"text": "Hello."})


@pytest.fixture
async def service():
    async with open_emulator() as service:
        yield service


async def test_a_fault_hits_the_connection_it_is_meant_for_and_no_other(service):
    service.faults.add(Fault(kind="bad_key", on="stream-input", connection=2, times=2))
    assert (await post(service)).status_code == 200
    codes = [(await talk(service)).code for _ in range(4)]
    assert codes == [1000, 1008, 1008, 1000]
    (counted,) = service.faults.counted
    assert (counted.seen, counted.hits) == (4, 2)


@pytest.mark.parametrize(("kind", "error"), [("bad_key", "invalid_api_key"), ("quota", "quota_exceeded")])
@pytest.mark.parametrize("query", [{}, MULTI])
async def test_a_refused_account_is_a_frame_a_close_and_a_401(service, kind, error, query):
    service.faults.add(Fault(kind=kind, times=0))
    heard = await talk(service, **query)
    assert (heard.error, heard.code) == (error, 1008)
    refused = await post(service)
    assert (refused.status_code, refused.json()["detail"]["status"]) == (401, error)


async def test_a_silent_quota_is_a_final_without_audio_and_a_401_over_http(service):
    service.faults.add(Fault(kind="quota_silent", times=0))
    heard = await talk(service)
    assert (heard.audio, heard.code, heard.frames[-1]["isFinal"]) == (b"", 1000, True)
    async with stream_input(service.address, **MULTI) as socket:
        for name in "ab":
            await say(socket, {"context_id": name, "text": "Hi", "flush": True})
            heard = await hear(socket, 1)
            assert (heard.frames[0]["contextId"], heard.frames[0]["isFinal"]) == (name, True)
        await say(socket, {"close_socket": True})
        assert (await hear(socket)).code == 1000
    assert (await post(service)).json()["detail"]["status"] == "quota_exceeded"


@pytest.mark.parametrize("endpoint", ["stream-input", "multi-stream-input"])
async def test_429_with_retry_after_at_the_upgrade(service, endpoint):
    service.faults.add(Fault(kind="refuse", retry_after_s=7))
    refused = await refused_upgrade(service, endpoint)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")
    assert refused.json()["detail"]["code"] == "rate_limit_exceeded"
    assert (await talk(service)).code == 1000


@pytest.mark.parametrize("status", [429, 402, 503])
async def test_a_refusal_over_http_has_its_status_and_words(service, status):
    service.faults.add(Fault(kind="refuse", status=status, retry_after_s=2.5, message="Not now."))
    refused = await post(service)
    assert (refused.status_code, refused.headers["retry-after"]) == (status, "2.5")
    assert refused.json()["detail"]["message"] == "Not now."
    assert (await post(service)).status_code == 200


@pytest.mark.parametrize("frame", [0, 1, 2, 3])
async def test_a_close_falls_in_the_place_of_its_frame(service, frame):
    service.faults.add(Fault(kind="close", frame=frame, message="broken"))
    heard = await talk(service)
    assert (len(heard.frames), heard.code, heard.reason) == (max(0, frame - 1), 1011, "broken")


@pytest.mark.parametrize("query", [{}, MULTI])
async def test_silence_leaves_the_line_up(service, query):
    service.faults.add(Fault(kind="silence", frame=2))
    async with stream_input(service.address, **query) as socket:
        await say(socket, TALK[1], {"text": "", "close_socket": True})
        assert len((await hear(socket, 1)).audio_frames) == 1
        with trio.move_on_after(0.3) as waiting:
            await socket.get_message()
        assert waiting.cancelled_caught
        with trio.fail_after(5):
            await socket.ping()


async def test_the_first_audio_is_late_and_only_the_first(service):
    service.faults.add(Fault(kind="slow_first_audio", delay_s=0.4, times=0))
    for speak in (talk, post):
        started = trio.current_time()
        await speak(service)
        assert 0.4 <= trio.current_time() - started < 0.8


async def test_the_close_is_late(service):
    service.faults.add(Fault(kind="late_close", delay_s=0.4))
    async with stream_input(service.address) as socket:
        await say(socket, *TALK)
        heard = await hear(socket, 4)
        assert heard.frames[-1]["isFinal"] is True
        started = trio.current_time()
        assert (await hear(socket)).code == 1000
        assert trio.current_time() - started > 0.3


async def test_samples_are_split_and_none_is_lost(service):
    service.faults.add(Fault(kind="split_samples"))
    heard = await talk(service)
    sizes = [len(base64.b64decode(frame["audio"])) for frame in heard.audio_frames]
    assert all(size % 2 for size in sizes)
    assert decode(heard.audio) == "x" * 500 + "\0"
    assert [bool(frame["alignment"]) for frame in heard.audio_frames] == [True, *[False] * 5]


async def test_a_close_context_that_overtakes_the_audio_silences_it_and_one_that_waits_does_not(service):
    service.faults.add(Fault(kind="close_context_race", delay_s=0.3))
    async with stream_input(service.address, **MULTI) as socket:
        await say(
            socket,
            {"context_id": "a", "text": "Hi", "flush": True},
            {"context_id": "a", "close_context": True},
        )
        assert (await hear(socket, 1)).frames[0]["isFinal"] is True
        await say(socket, {"context_id": "b", "text": "Hi", "flush": True})
        assert decode((await hear(socket, 1)).audio) == "Hi\0"
        await say(socket, {"context_id": "b", "close_context": True})
        assert (await hear(socket, 1)).frames[0]["isFinal"] is True


async def test_an_oversize_frame_is_larger_than_most_clients_take_and_means_the_same(service):
    service.faults.add(Fault(kind="oversize", frame=2, size=1_100_000))
    texts = await raw(service)
    assert [len(text) > 1 << 20 for text in texts] == [False, True, False, False]
    audio = b"".join(base64.b64decode(json.loads(text)["audio"]) for text in texts[:-1])
    assert decode(audio) == "x" * 500 + "\0"


async def test_keys_come_in_snake_case(service):
    service.faults.add(Fault(kind="snake_case"))
    async with stream_input(service.address, **MULTI) as socket:
        await say(
            socket,
            {"context_id": "a", "text": "Hi", "flush": True},
            {"context_id": "a", "close_context": True},
        )
        audio, final = (await hear(socket, 2)).frames
    assert (audio["context_id"], final["context_id"], final["is_final"]) == ("a", "a", True)
    assert not {"contextId", "isFinal"} & {*audio, *final}


async def test_durations_come_in_their_old_spelling_or_not_at_all(service):
    service.faults.add(Fault(kind="chars_durations_ms"), Fault(kind="no_alignment", connection=2))
    first = (await talk(service)).frames[0]
    assert (
        len(first["alignment"]["charsDurationsMs"])
        == len(first["normalizedAlignment"]["charsDurationsMs"]) - 1
    )
    assert "charDurationsMs" not in first["alignment"]
    second = await talk(service)
    assert all(frame["alignment"] is frame["normalizedAlignment"] is None for frame in second.frames)


async def test_a_frame_is_no_json(service):
    service.faults.add(Fault(kind="bad_json", frame=2))
    texts = await raw(service)
    with pytest.raises(json.JSONDecodeError):
        json.loads(texts[1])
    assert [json.loads(texts[n])["isFinal"] for n in (0, 2, 3)] == [None, None, True]


async def test_a_frame_is_no_base64(service):
    service.faults.add(Fault(kind="bad_base64", frame=2))
    frames = [json.loads(text) for text in await raw(service)]
    for n in (0, 2):
        base64.b64decode(frames[n]["audio"], validate=True)
    with pytest.raises(ValueError, match="base64"):
        base64.b64decode(frames[1]["audio"], validate=True)


async def test_frames_come_out_of_turn(service):
    kinds = ("unknown_frame", "foreign_context", "early_final", "late_audio")
    service.faults.add(*[Fault(kind=kind, connection=n + 1, frame=2) for n, kind in enumerate(kinds)])
    heard = [await talk(service) for _ in kinds]
    assert heard[0].frames[1]["type"] == "flush_done"
    assert heard[1].frames[1]["contextId"] == "a-context-nobody-opened"
    assert [frame["isFinal"] for frame in heard[2].frames] == [None, True, None, None, True]
    assert [frame["isFinal"] for frame in heard[3].frames] == [None, None, None, True, None]
    assert heard[3].frames[4] == heard[3].frames[2]


async def test_an_account_s_limit_queues_and_then_refuses_with_its_headers():
    async with open_emulator(
        Fault(kind="slow_first_audio", times=1, delay_s=0.6), account_limit=1
    ) as service:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(post, service)
            await trio.sleep(0.2)
            refused = await post(service)
            upgrade = await refused_upgrade(service)
        after = await post(service)
    assert (refused.status_code, upgrade.status_code, after.status_code) == (429, 429, 200)
    assert refused.json()["detail"]["code"] == "concurrent_limit_exceeded"
    assert "maximum of 1 concurrent" in refused.json()["detail"]["message"]
    for answer in (refused, upgrade, after):
        assert answer.headers["maximum-concurrent-requests"] == "1"
        assert answer.headers["current-concurrent-requests"] == "1"


async def test_a_socket_counts_only_while_it_generates():
    async with open_emulator(account_limit=1) as service, stream_input(service.address) as idle:
        await say(idle, " ")
        assert dict(idle.handshake_headers)[b"maximum-concurrent-requests"] == b"1"
        assert (await talk(service)).code == 1000
        service.faults.add(Fault(kind="slow_first_audio", on="http", delay_s=0.6))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(post, service)
            await trio.sleep(0.2)
            await say(idle, *TALK[1:])
            heard = await hear(idle)
    assert (heard.error, heard.code) == ("concurrent_limit_exceeded", 1008)


async def test_faults_are_scripted_over_http(service):
    async with httpx.AsyncClient(base_url=service.url) as client:
        script = {
            "fault": [{"kind": "bad_key", "on": "http"}],
            "transport": [{"kind": "reset", "connection": 9}],
        }
        assert (await client.post("/fault-control", json=script)).status_code == 200
        assert (await post(service)).status_code == 401
        rules = (await client.get("/fault-control")).json()
        assert [(rule["rule"]["kind"], rule["hits"]) for rule in rules] == [("bad_key", 1), ("reset", 0)]
        assert (await client.post("/fault-control", json={"fault": [{"kind": "typo"}]})).status_code == 422
        assert (await client.post("/fault-control", content=b"{")).status_code == 422
        assert (await client.delete("/fault-control")).json() == []


@pytest.mark.parametrize("frame", [1, 2, 3])
async def test_a_reset_falls_in_the_place_of_its_frame(service, frame):
    service.faults.add(Transport(kind="reset", frame=frame))
    heard = await talk(service)
    assert (len(heard.frames), heard.code) == (frame - 1, 1006)
    assert (await talk(service)).code == 1000


@pytest.mark.parametrize(("kind", "error"), [("reset", ConnectionResetError), ("eof", None)])
@pytest.mark.parametrize("n_bytes", [0, 1, 500])
async def test_a_line_ends_after_its_bytes(service, kind, error, n_bytes):
    service.faults.add(Transport(kind=kind, byte=n_bytes, on="http"))
    host, port = service.address.split(":")
    got = b""
    with trio.fail_after(5):
        stream = await trio.open_tcp_stream(host, int(port))
        async with stream:
            body = json.dumps({"text": "x" * 500})
            head = "POST /v1/text-to-speech/codepoint/stream HTTP/1.1\r\nhost: x\r\ncontent-length:"
            await stream.send_all(f"{head} {len(body)}\r\n\r\n{body}".encode())
            try:
                while block := await stream.receive_some():
                    got += block
                ended = None
            except trio.BrokenResourceError as broken:
                ended = type(broken.__cause__)
    assert ended is error
    assert len(got) == n_bytes if error is None else len(got) <= n_bytes


async def test_a_reset_falls_while_the_line_is_idle(service):
    service.faults.add(Transport(kind="reset", idle_s=0.3))
    async with stream_input(service.address) as socket:
        await say(socket, " ", {"text": "Hi", "flush": True})
        heard = await hear(socket)
    assert (decode(heard.audio), heard.code) == ("Hi\0", 1006)


async def is_dead(socket):
    """It takes what is sent, and answers nothing."""
    with trio.move_on_after(0.4) as waiting:
        await say(socket, " ")
        await socket.ping()
    return waiting.cancelled_caught


@pytest.mark.parametrize("kind", ["silence", "half_open"])
async def test_a_dead_line_looks_alive(service, kind):
    service.faults.add(Transport(kind=kind, frame=2))
    async with stream_input(service.address) as socket:
        await say(socket, *TALK)
        assert len((await hear(socket, 1)).frames) == 1
        with trio.fail_after(10):
            while not await is_dead(socket):  # the second frame may still be on its way
                pass
    assert (await talk(service)).code == 1000


SCRIPT = """
[[fault]]
kind = "close"
frame = 2

[[transport]]
kind = "reset"
connection = 2
"""


async def test_the_command_obeys_a_faults_file(tmp_path):
    (tmp_path / "faults.toml").write_text(SCRIPT)
    command = [
        sys.executable,
        "-m",
        "tts_streamd_engine",
        "--port",
        "0",
        "--faults",
        tmp_path / "faults.toml",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: ASYNC220 -- it only forks
        try:
            line = await trio.to_thread.run_sync(process.stdout.readline)
            address = line.strip().removeprefix("listening on http://")
            async with stream_input(address) as socket:
                await say(socket, *TALK)
                heard = await hear(socket)
            async with httpx.AsyncClient(base_url=f"http://{address}") as client:
                with pytest.raises(httpx.TransportError):
                    await client.get("/v1/voices")
                assert (await client.get("/fault-control")).status_code == 404
        finally:
            process.kill()
    assert (len(heard.frames), heard.code) == (1, 1011)
