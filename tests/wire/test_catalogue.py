import json

import pytest
import trio

from tts_streamd_actors import catalogue as module
from tts_streamd_actors.catalogue import Catalogue, CatalogueError
from tts_streamd_actors.voicebook import VoiceBook

VOICES = {
    "voices": [
        {"voice_id": "a", "name": "Anna", "category": "cloned", "description": "calm", "labels": {"x": 1}},
        {"voice_id": "b", "name": "Ben"},
    ]
}


class Server:
    """Answers each request with the next of ``answers`` (bytes after the status), then with the last."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []

    async def serve(self, task_status):
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        task_status.started(f"http://127.0.0.1:{listener.socket.getsockname()[1]}")
        async with trio.open_nursery() as nursery:
            await trio.serve_listeners(self.answer, [listener], handler_nursery=nursery)

    async def answer(self, stream):
        self.requests.append(await stream.receive_some(65_536))
        for part in self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]:
            if part is None:
                await trio.sleep_forever()
            await stream.send_all(part)
        await stream.aclose()


def http(status, body):
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return [head.encode(), body]


GOOD = http("200 OK", json.dumps(VOICES).encode())


@pytest.fixture
async def catalogue(nursery):
    async def catalogue(*answers, headers=None):
        server = Server(*answers)
        base = await nursery.start(server.serve)
        made = Catalogue(VoiceBook("Anna", complete=False), base, lambda: headers or {}, lambda: False)
        return made, server

    return catalogue


async def test_the_voices_are_read(catalogue):
    made, server = await catalogue(GOOD, headers={"xi-api-key": "k"})
    with trio.fail_after(10):
        anna, ben = await made.fetch()
    assert (anna.voice, anna.name, anna.category, anna.description) == ("a", "Anna", "cloned", "calm")
    assert (ben.voice, ben.category) == ("b", "premade")
    request = server.requests[0].lower()
    assert request.startswith(b"get /v1/voices ")
    assert b"xi-api-key: k" in request


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (http("401 Unauthorized", b'{"detail": "no"}'), "401"),
        (http("200 OK", b"<html>"), "malformed"),
        (http("200 OK", b'{"voices": [{"voice_id": 5}]}'), "voice_id"),
        (http("200 OK", b"{}"), "voices"),
        (http("302 Found", b""), "302"),
        ([b"no HTTP at all\r\n\r\n"], "RemoteProtocolError"),
        ([b""], "RemoteProtocolError"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"], "RemoteProtocolError"),
    ],
)
async def test_an_answer_that_is_no_list_is_an_error(catalogue, answer, why):
    made, _ = await catalogue(answer)
    with trio.fail_after(10), pytest.raises(CatalogueError, match=why):
        await made.fetch()


async def test_a_server_that_never_comes_to_an_end_is_given_up(catalogue, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT_S", 0.1)
    made, _ = await catalogue([b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", None])
    with trio.fail_after(10), pytest.raises(CatalogueError):
        await made.fetch()


async def test_a_list_without_end_is_not_read_to_its_end(catalogue, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    made, _ = await catalogue(http("200 OK", b" " * 1000))
    with trio.fail_after(10), pytest.raises(CatalogueError, match="larger"):
        await made.fetch()


async def test_no_server_at_all_is_an_error(catalogue):
    made, _ = await catalogue(GOOD)
    made.http_base = "http://127.0.0.1:1"
    with trio.fail_after(10), pytest.raises(CatalogueError, match="ConnectError"):
        await made.fetch()


async def test_an_address_that_is_none_is_an_error(catalogue):
    made, _ = await catalogue(GOOD)
    made.http_base = "http://[::"
    with pytest.raises(CatalogueError):
        await made.fetch()


async def test_it_tries_again_until_it_has_the_voices_and_keeps_the_old_ones_meanwhile(
    catalogue, monkeypatch, nursery
):
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    made, server = await catalogue(http("500 Oh no", b""), http("200 OK", b"?"), GOOD)
    told = trio.Event()

    async def run():
        await made.run(told.set)

    nursery.start_soon(run)
    with trio.fail_after(10):
        await told.wait()
        while not made.book.voices:  # noqa: ASYNC110 - the socket makes it true
            await trio.sleep(0.005)
    assert made.book.resolve("ben") == "b"
    assert len(server.requests) == 3
