"""The scripted daemon's sockets: a real ROUTER and a real XPUB, in a thread of their own."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import msgspec
import zmq

from tts_streamd_client.testing.script import Head, Message, Scene, Script

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

POLL_MS = 10
"""How soon it notices that it shall stop."""

STOP_S = 5.0


class ScriptedDaemon:
    """``with ScriptedDaemon(directory) as daemon:`` any client finds it there.

    ``requests`` is what clients sent, in order; read it when they are done.  ``limits`` replaces fields of
    ``welcome.limits``.
    """

    def __init__(
        self, runtime_dir: Path, scene: Scene = Scene.PLAIN, *, heartbeat_ms: int = 2000, **limits: int
    ) -> None:
        self.runtime_dir = runtime_dir
        self.requests: list[Head] = []
        self._scene = scene
        self._heartbeat_ms = heartbeat_ms
        self._limits = limits
        self._scripts: dict[bytes, Script] = {}
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scripted-daemon", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(STOP_S):
            raise TimeoutError("the scripted daemon could not bind its sockets")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(STOP_S)

    @property
    def _events_endpoint(self) -> str:
        return f"ipc://{self.runtime_dir / 'events'}"

    def _run(self) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        with context, context.socket(zmq.ROUTER) as control, context.socket(zmq.XPUB) as events:
            control.linger = events.linger = 0
            events.xpub_verboser = True
            control.bind(f"ipc://{self.runtime_dir / 'control'}")
            events.bind(self._events_endpoint)
            self._ready.set()
            self._serve(control, events)

    def _serve(self, control: zmq.Socket[bytes], events: zmq.Socket[bytes]) -> None:
        poller = zmq.Poller()
        poller.register(control, zmq.POLLIN)
        poller.register(events, zmq.POLLIN)
        next_tick_s = time.monotonic() + self._heartbeat_ms / 1000
        while not self._stop.is_set():
            readable = dict(poller.poll(POLL_MS))
            if events in readable:
                self._subscribe(events)
            if control in readable:
                peer, head, *_ = control.recv_multipart()
                self._answer(control, events, peer, head)
            if time.monotonic() >= next_tick_s:
                next_tick_s += self._heartbeat_ms / 1000
                events.send_multipart(
                    [b"tick/", msgspec.msgpack.encode({"op": "tick", "boot_id": "scripted-boot"})]
                )
                for peer, script in self._scripts.items():
                    self._send(control, events, peer, script.tick())

    def _answer(
        self, control: zmq.Socket[bytes], events: zmq.Socket[bytes], peer: bytes, head: bytes
    ) -> None:
        request: dict[str, Any] = msgspec.msgpack.decode(head, type=dict[str, Any])
        self.requests.append(request)
        if peer not in self._scripts:
            self._scripts[peer] = Script(
                self._scene,
                session=len(self._scripts) + 1,
                heartbeat_ms=self._heartbeat_ms,
                limits=dict(self._limits),
                events=self._events_endpoint,
            )
        self._send(control, events, peer, self._scripts[peer].handle(request))

    def _send(
        self, control: zmq.Socket[bytes], events: zmq.Socket[bytes], peer: bytes, messages: Iterable[Message]
    ) -> None:
        for head, payload in messages:
            frames = [msgspec.msgpack.encode(head)] + ([] if payload is None else [payload])
            control.send_multipart([peer, *frames])
            if "seq" in head:
                topic = f"{head['op']}/-/{head['session']}-{head['sid']}/".encode()
                events.send_multipart([topic, *frames])

    def _subscribe(self, events: zmq.Socket[bytes]) -> None:
        with suppress(zmq.Again):
            change = events.recv(zmq.NOBLOCK)
            if change[:1] == b"\x01":
                events.send_multipart([change[1:], msgspec.msgpack.encode({"op": "subscribed"})])
