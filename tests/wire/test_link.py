"""Links against small servers: however a socket fails, the stream is told once, truly, and the link is gone."""

import base64
import json
import socket as sockets
import struct
from contextlib import asynccontextmanager, suppress

import pytest
import trio
import trio.testing
import trio_websocket as tws

from tts_streamd_actors import link as module
from tts_streamd_actors.connection import LinkSlot
from tts_streamd_actors.link import Endpoint, Link
from tts_streamd_actors.mailbox import Mailbox
from tts_streamd_protocol import signals as s
from tts_streamd_protocol.elevenlabs.session import LocalProtocolError
from tts_streamd_protocol.messages import VoiceSettings

KEY = s.RouteKey(
    voice="v o",
    model="m",
    settings=VoiceSettings(stability=0.5),
    language="en",
    upstream={"seed": 7, "dicts": []},
)
BOUND = s.BindRoute(stream="stream/1-1", route=3)
PIECE = s.SpeakPiece(route=3, cp_start=0, cp_end=6, text="Hello ")


class Ends:
    """One link, the stream and the connection actor that hear of it, and a way to reach it."""

    def __init__(self, base, *, timeout_s=5.0, unix_path=None, bound=BOUND):
        self.slot = LinkSlot("link/1", KEY, Mailbox("link/1", s.LinkSignal, 256), bound=bound)
        self.endpoint = Endpoint(
            base=base,
            unix_path=unix_path,
            headers={"xi-api-key": "topsecret"},
            tls=None,
            connect_timeout_s=timeout_s,
            inactivity_timeout_s=180,
        )
        self.stream, self.connection = [], []
        self.takes = True

    def link(self):
        return Link(
            self.slot,
            self.endpoint,
            to_stream=self.to_stream,
            to_connection=lambda signal: bool(self.connection.append(signal)) or True,
        )

    def to_stream(self, name, signal, payload):
        assert name == BOUND.stream
        if self.takes:
            self.stream.append((signal, payload))
        return self.takes

    def tell(self, *signals):
        for signal in signals:
            assert self.slot.mailbox.offer(signal)

    async def run(self, *signals):
        self.tell(*signals)
        with trio.fail_after(10):
            await self.link().run(lambda: None)
        assert isinstance(self.connection[-1], s.LinkEnded)
        assert [type(told) for told in self.connection].count(s.LinkEnded) == 1
        return self.broken

    @property
    def broken(self):
        broken = [signal for signal, _ in self.stream if isinstance(signal, s.RouteBroken)]
        assert len(broken) <= 1
        assert all("topsecret" not in signal.message for signal in broken)
        return broken[0] if broken else None

    @property
    def pcm(self):
        return b"".join(payload for _, payload in self.stream)


@asynccontextmanager
async def tcp(handler):
    """Raw connections, one after the other; gives the base address."""
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, handler, 0)
        yield f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


def upstream(talk):
    """A handler that accepts the upgrade and lets ``talk`` speak."""

    async def handler(stream):
        async with trio.open_nursery() as nursery:
            request = await tws.wrap_server_stream(nursery, stream)
            socket = await request.accept()
            socket.requested = request
            with suppress(tws.ConnectionClosed):
                await talk(socket)
            nursery.cancel_scope.cancel()

    return handler


def frame(pcm=b"", *, final=None, chars=None):
    alignment = None
    if chars is not None:
        alignment = {
            "chars": [*chars],
            "charStartTimesMs": [5 * i for i in range(len(chars))],
            "charDurationsMs": [5] * len(chars),
        }
    audio = base64.b64encode(pcm).decode() or None
    return json.dumps({"audio": audio, "isFinal": final, "alignment": alignment, "normalizedAlignment": None})


async def reset(stream):
    stream.socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
    await stream.aclose()


# -- what goes well -----------------------------------------------------------------------------------------


async def test_text_goes_out_and_audio_comes_in():
    heard = []

    async def talk(socket):
        heard.append(socket.requested.path)
        heard.append(dict(socket.requested.headers)[b"xi-api-key"])
        while heard[-1] != {"text": ""}:
            heard.append(json.loads(await socket.get_message()))
        await socket.send_message(frame(b"\1\2\3", chars="Hello "))
        await socket.send_message(frame(b"\4"))
        await socket.send_message(frame(final=True))
        await socket.aclose(1000)

    async with tcp(upstream(talk)) as base:
        ends = Ends(base)
        await ends.run(BOUND, PIECE, s.EndRoute(route=3))
    path, key, init, piece, end = heard
    assert path.startswith("/v1/text-to-speech/v%20o/stream-input?model_id=m&output_format=pcm_24000")
    assert "seed=7" in path
    assert "language_code=en" in path
    assert key == b"topsecret"
    assert (init["text"], init["voice_settings"], init["dicts"]) == (" ", {"stability": 0.5}, [])
    assert (piece["text"], piece["flush"], end) == ("Hello ", True, {"text": ""})
    first, second, final = (signal for signal, _ in ends.stream)
    assert first.alignment.chars == [*"Hello "]
    assert second.alignment is None
    assert final == s.RouteFinal(route=3)
    assert ends.pcm == b"\1\2\3\4"
    opened, ended = ends.connection
    assert (opened.link, ended.code) == ("link/1", None)


async def test_it_also_reaches_a_unix_socket(tmp_path):
    async def talk(socket):
        await socket.get_message()
        await socket.get_message()
        await socket.send_message(frame(final=True))

    path = str(tmp_path / "engine")
    listener = trio.socket.socket(trio.socket.AF_UNIX)
    await listener.bind(path)
    listener.listen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, upstream(talk), [trio.SocketListener(listener)])
        ends = Ends("ws://nowhere", unix_path=path)
        assert await ends.run(s.EndRoute(route=3)) is None
        nursery.cancel_scope.cancel()
    assert ends.stream == [(s.RouteFinal(route=3), b"")]


async def test_a_route_that_is_dropped_is_told_nothing_more():
    closed = trio.Event()

    async def talk(socket):
        await socket.get_message()
        try:
            await socket.get_message()
        finally:
            closed.set()

    async with tcp(upstream(talk)) as base:
        ends = Ends(base)
        await ends.run(s.DropRoute(route=3))
        with trio.fail_after(5):
            await closed.wait()
    assert ends.stream == []
    assert ends.connection[-1].code is None


async def test_a_warm_link_waits_and_is_bound_later():
    async def talk(socket):
        await socket.get_message()
        await socket.send_message(frame(b"\1\1"))  # nobody asked for it
        await socket.get_message()
        await socket.send_message(frame(b"\2\2"))
        await socket.send_message(frame(final=True))
        await trio.sleep_forever()

    async with tcp(upstream(talk)) as base, trio.open_nursery() as nursery:
        ends = Ends(base, bound=None)
        nursery.start_soon(ends.run)
        with trio.fail_after(5):
            while not ends.connection:  # noqa: ASYNC110 - the socket makes it true
                await trio.sleep(0.005)
            await trio.sleep(0.05)
            ends.slot.bound = BOUND
            ends.tell(BOUND, s.EndRoute(route=3))
    assert ends.pcm == b"\2\2"


# -- what fails before it is open -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "headers", "body", "code", "retryable", "retry_ms"),
    [
        (
            "403 Forbidden",
            "",
            b'{"detail": {"status": "x", "message": "topsecret is wrong"}}',
            "auth_failed",
            False,
            None,
        ),
        ("401 Unauthorized", "", b"", "auth_failed", False, None),
        ("404 Not Found", "", b"", "voice_not_found", False, None),
        ("429 Too Many Requests", "Retry-After: 3\r\n", b"", "rate_limited", True, 3000),
        ("503 Service Unavailable", "", b"", "upstream_unreachable", True, None),
    ],
)
async def test_a_refusal_at_the_upgrade_says_why(*, status, headers, body, code, retryable, retry_ms):
    async def handler(stream):
        await stream.receive_some(65_536)
        head = f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
        await stream.send_all(head.encode() + body)
        await stream.aclose()

    async with tcp(handler) as base:
        ends = Ends(base)
        broken = await ends.run(PIECE)
    assert (broken.route, broken.code, broken.retryable, broken.retry_ms) == (3, code, retryable, retry_ms)
    assert ends.connection == [s.LinkEnded(link="link/1", code=code, message=broken.message)]


async def test_a_server_that_is_silent_at_the_upgrade_is_given_up():
    async def handler(stream):
        await trio.sleep_forever()

    async with tcp(handler) as base:
        broken = await Ends(base, timeout_s=0.1).run(PIECE)
    assert (broken.code, broken.retryable) == ("timeout", True)
    assert "within 0.1 s" in broken.message


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"S",
        b"HTTP/1.1 nonsense\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_a_server_that_is_no_websocket_is_unreachable(answer):
    async def handler(stream):
        await stream.receive_some(65_536)
        if answer:
            await stream.send_all(answer)
        await stream.aclose()

    async with tcp(handler) as base:
        broken = await Ends(base).run(PIECE)
    assert broken.retryable
    assert broken.code in {"upstream_unreachable", "upstream_protocol"}


async def test_a_server_that_resets_at_the_upgrade_is_unreachable():
    async with tcp(reset) as base:
        broken = await Ends(base).run(PIECE)
    assert (broken.code, broken.retryable) == ("upstream_unreachable", True)


async def test_nobody_listening_is_unreachable(tmp_path):
    broken = await Ends("ws://127.0.0.1:1").run(PIECE)
    assert (broken.code, broken.retryable) == ("upstream_unreachable", True)
    broken = await Ends("ws://x", unix_path=str(tmp_path / "none")).run(PIECE)
    assert (broken.code, broken.retryable) == ("upstream_unreachable", True)


# -- what fails later ---------------------------------------------------------------------------------------------


async def test_an_error_frame_says_more_than_the_close_behind_it():
    async def talk(socket):
        await socket.get_message()
        error = {
            "message": "This request exceeds your quota. topsecret",
            "error": "quota_exceeded",
            "code": 1008,
        }
        await socket.send_message(json.dumps(error))
        await socket.aclose(1008, "This request exceeds your quota")

    async with tcp(upstream(talk)) as base:
        broken = await Ends(base).run(PIECE)
    assert (broken.code, broken.retryable) == ("quota_exceeded", False)


@pytest.mark.parametrize(
    ("code", "reason", "told"),
    [
        (1000, "", "upstream_protocol"),
        (1008, "You have exceeds your quota", "quota_exceeded"),
        (1011, "", "upstream_unreachable"),
    ],
)
async def test_a_close_before_the_final_breaks_the_route(code, reason, told):
    async def talk(socket):
        await socket.get_message()
        await socket.get_message()
        await socket.send_message(frame(b"\1\1"))
        await socket.aclose(code, reason)

    async with tcp(upstream(talk)) as base:
        ends = Ends(base)
        broken = await ends.run(PIECE)
    assert broken.code == told
    assert ends.pcm == b"\1\1"


async def test_a_reset_breaks_the_route():
    async def talk(socket):
        await socket.get_message()
        await reset(socket._stream)
        await trio.sleep_forever()

    async with tcp(upstream(talk)) as base:
        broken = await Ends(base).run(PIECE)
    assert (broken.code, broken.retryable) == ("upstream_unreachable", True)


@pytest.mark.parametrize("said", ["no json", '{"audio": 5}', '{"audio": null, "isFinal": true}'])
async def test_what_is_no_frame_breaks_the_route(said):
    async def talk(socket):
        await socket.get_message()
        await socket.send_message(said)
        await trio.sleep_forever()

    async with tcp(upstream(talk)) as base:
        broken = await Ends(base).run(PIECE)
    assert (broken.code, broken.retryable) == ("upstream_protocol", True)


async def test_a_server_that_takes_no_text_is_dead(monkeypatch):
    monkeypatch.setattr(module, "SEND_S", 0.2)
    monkeypatch.setattr(module, "CLOSE_S", 0.2)

    async def handler(stream):
        request = await stream.receive_some(65_536)
        key = next(line for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
        accept = tws_accept(key.split(b": ")[1])
        await stream.send_all(
            b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
            + accept
            + b"\r\n\r\n"
        )
        await trio.sleep_forever()

    async with tcp(handler) as base:
        ends = Ends(base)
        big = s.SpeakPiece(route=3, cp_start=0, cp_end=1, text="x" * 2_000_000)
        broken = await ends.run(*[big] * 10)
    assert (broken.code, broken.retryable) == ("upstream_unreachable", True)
    assert "took no text" in broken.message


def tws_accept(key):
    from wsproto.utilities import generate_accept_token  # noqa: PLC0415 - its only use

    return generate_accept_token(key)


async def test_a_stream_that_takes_no_audio_breaks_its_route_and_the_reader_goes_on():
    async def talk(socket):
        await socket.get_message()
        for _ in range(100):
            await socket.send_message(frame(bytes(10_000)))
        await trio.sleep_forever()

    async with tcp(upstream(talk)) as base:
        ends = Ends(base)
        ends.takes = False
        await ends.run(PIECE)
    assert ends.connection[-1].code == "upstream_unreachable"


async def test_text_that_crosses_a_fault_does_not_hide_it():
    """The piece is in the writer's hands when the reader learns that the key is refused."""

    async def talk(socket):
        await socket.get_message()
        await socket.send_message(json.dumps({"message": "no", "error": "invalid_api_key", "code": 1008}))
        await trio.sleep_forever()

    class Racing(Link):
        def _deliver(self, events):
            ends.tell(PIECE)  # wakes the writer, which runs before it can be cancelled
            return super()._deliver(events)

    async with tcp(upstream(talk)) as base:
        ends = Ends(base)
        ends.link = lambda: Racing(
            ends.slot, ends.endpoint, to_stream=ends.to_stream, to_connection=ends.connection.append
        )
        broken = await ends.run()
    assert (broken.code, broken.retryable) == ("auth_failed", False)


async def test_a_new_incarnation_says_that_the_socket_is_gone():
    async def talk(socket):
        await socket.get_message()
        await trio.sleep_forever()

    async with tcp(upstream(talk)) as base:
        ends = Ends(base)
        ends.tell(s.EndRoute(route=3), PIECE)  # out of turn: a bug of ours
        with trio.fail_after(5), pytest.RaisesGroup(LocalProtocolError, flatten_subgroups=True):
            await ends.link().run(lambda: None)
        assert ends.stream == []
        broken = await ends.run()
    assert (broken.code, broken.retryable) == ("internal", True)
    assert ends.slot.bound is None
