"""The embedded engine on a free port of this process, and a client that speaks to its WebSocket."""

from __future__ import annotations

import base64
import json
from contextlib import asynccontextmanager
from functools import cache, partial

import trio
from trio_websocket import ConnectionClosed, open_websocket_url

from tts_streamd_engine import server
from tts_streamd_engine.catalogue import Catalogue, load_hibari

SARAH, ADAM = "EXAVITQu4vr4xnSDxMaL", "pNInz6obpgDQGcFmaJgB"


@cache
def voices():
    """The real voices, loaded once for all tests."""
    return load_hibari()


@asynccontextmanager
async def engine(*, required_key=None, loader=dict, warn=None):
    """The address (``127.0.0.1:PORT``) of an engine whose voices ``loader`` gives; ``codepoint`` is always there."""
    told, lines = trio.open_memory_channel(1)
    async with trio.open_nursery() as nursery:
        options = server.Options(required_key=required_key)
        serving = partial(server.serve, server.listen("127.0.0.1", 0), options, catalogue=Catalogue(loader))
        nursery.start_soon(partial(serving, tell=told.send_nowait, warn=warn or (lambda _: None)))
        with trio.fail_after(10):
            line = await lines.receive()
        yield line.removeprefix("listening on http://")
        nursery.cancel_scope.cancel()


class Heard:
    """Everything that came over one socket."""

    def __init__(self):
        self.frames = []
        self.code = self.reason = None

    @property
    def audio(self):
        return b"".join(base64.b64decode(frame["audio"]) for frame in self.frames if frame.get("audio"))

    @property
    def audio_frames(self):
        return [frame for frame in self.frames if frame.get("audio")]

    @property
    def error(self):
        return self.frames[-1].get("error")


@asynccontextmanager
async def stream_input(address, voice_id="codepoint", *, endpoint="stream-input", headers=(), **query):
    """A socket, by default of ``codepoint`` at pcm_24000."""
    query = {"output_format": "pcm_24000", **query}
    text = "&".join(f"{name}={value}" for name, value in query.items())
    url = f"ws://{address}/v1/text-to-speech/{voice_id}/{endpoint}?{text}"
    async with open_websocket_url(url, extra_headers=list(headers)) as socket:
        try:
            yield socket
        finally:
            await trio.aclose_forcefully(
                socket._stream
            )  # trio-websocket leaves it open where the server closed first


async def say(socket, *messages):
    """Send messages: a string is text, a dictionary goes as it is."""
    for message in messages:
        await socket.send_message(json.dumps({"text": message} if isinstance(message, str) else message))


async def hear(socket, n_frames=None, within_s=20):
    """Frames until the server closes, or ``n_frames`` of them."""
    heard = Heard()
    with trio.fail_after(within_s):
        try:
            while n_frames is None or len(heard.frames) < n_frames:
                heard.frames.append(json.loads(await socket.get_message()))
        except ConnectionClosed as closed:
            heard.code, heard.reason = closed.reason.code, closed.reason.reason
    return heard
