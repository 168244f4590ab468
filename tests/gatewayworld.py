"""The door and the gateway on real sockets in this process; streams have slots, and no actors but the test."""

from __future__ import annotations

import itertools
from contextlib import asynccontextmanager

import msgpack
import trio
import zmq

from tts_streamd import doors
from tts_streamd_actors.door import Door
from tts_streamd_actors.gateway import Gateway
from tts_streamd_actors.mailbox import Mailbox
from tts_streamd_actors.reception import Defaults, Reception
from tts_streamd_actors.slot import Slot
from tts_streamd_actors.voicebook import VoiceBook
from tts_streamd_protocol import messages as m
from tts_streamd_protocol import signals as s
from tts_streamd_protocol.release import Release, Word
from tts_streamd_sockets.trio_zmq import TrioSocket


class World:
    def __init__(self, sockets, *, stall_ms=30_000, heartbeat_ms=10_000, max_sessions=3):
        self.max_sessions = max_sessions
        self.door = Door(*sockets, boot_id="b00t")
        voices = VoiceBook("Sarah", complete=True)
        voices.replace([m.VoiceInfo(voice="sarah", name="Sarah")])
        self.slots = []
        self.discarded = []
        self.reception = Reception(self.door, voices, self.defaults, self.start, self.status, lambda: None)
        self.gateway = Gateway(self.door, self.reception, heartbeat_ms, stall_ms, 65_536)

    def defaults(self):
        return Defaults(
            daemon="tts-streamd/test",
            upstream="embedded",
            events="ipc://events",
            model="eleven_flash_v2_5",
            settings=m.VoiceSettings(),
            schedule="speed",
            buffer_ms={"realtime": 8000, "eager": 600_000},
            share=True,
            heartbeat_ms=self.gateway.heartbeat_ms,
            limits=m.Limits(max_streams=4),
            max_streams=6,
            max_sessions=self.max_sessions,
            uid=0,
        )

    def status(self):
        return m.StatusReply(
            daemon="d", pid=1, uptime_ms=1, boot_id="b00t", upstream="u", sessions=1, streams=1, actors=[]
        )

    def start(self, session, spec):
        slot = Slot(
            spec=spec,
            mailbox=Mailbox(spec.name, s.StreamSignal, 64),
            on_ready=lambda slot: self.door.stream_ready(session, slot),
            discard=self.discarded.append,
            opened_s=trio.current_time(),
            text_window=65_536,
        )
        self.slots.append(slot)
        return slot

    def release(self, slot, text, n_samples=240):
        """As the stream's actor would, when speech has come."""
        journal = slot.journal
        if journal.accepted_cp < journal.released_cp + len(text):
            journal.accept(text)
        at, cp = journal.samples, journal.released_cp
        end, end_cp = at + n_samples, cp + len(text)
        words = (Word(cp, end_cp, at, end),)
        journal.release(Release(bytes(2 * n_samples), at, cp, end_cp, words, cuts=((end, end_cp),)), "live")
        slot.on_ready(slot)


class Client:
    """A connection; ``take`` checks nothing, ``ask`` waits for the reply to its rid."""

    def __init__(self, socket):
        self.socket = socket
        self.rids = itertools.count(1)
        self.other = []

    async def send(self, **message):
        await self.socket.send([msgpack.packb(message)])

    async def take(self, within_s=5):
        with trio.fail_after(within_s):
            head, *payload = await self.socket.recv()
        return msgpack.unpackb(head) | ({"payload": payload[0]} if payload else {})

    async def until(self, op, **fields):
        while True:
            message = await self.take()
            if message["op"] == op and fields.items() <= message.items():
                return message
            self.other.append(message)

    async def ask(self, **message):
        rid = next(self.rids)
        await self.send(rid=rid, **message)
        while True:
            reply = await self.take()
            if reply.get("rid") == rid:
                return reply
            self.other.append(reply)

    async def hello(self):
        return await self.ask(op="hello", proto=[1, 0], client="tests/1")


@asynccontextmanager
async def gateway(directory, monkeypatch=None, *, hwm=None, **options):
    """A running gateway; gives the world and a function that connects a client."""
    if hwm is not None:
        monkeypatch.setattr(doors, "CONTROL_HWM", hwm)
    control, events = directory / "control", directory / "events"
    opened = []
    with zmq.Context() as context, doors.open_sockets(control, events, heartbeat_ms=200) as sockets:
        world = World(sockets, **options)

        def connect(kind=zmq.DEALER, **sockopts):
            socket = context.socket(kind)
            socket.setsockopt(zmq.LINGER, 0)
            for name, value in sockopts.items():
                socket.setsockopt(getattr(zmq, name), value)
            socket.connect(f"ipc://{events if kind == zmq.SUB else control}")
            wrapped = TrioSocket(socket)
            opened.append(wrapped)
            return Client(wrapped)

        try:
            async with trio.open_nursery() as nursery:

                async def run(task_status):
                    await world.gateway.run(task_status.started)

                world.scope = nursery.cancel_scope
                await nursery.start(run)
                yield world, connect
                nursery.cancel_scope.cancel()
        finally:
            for socket in (*opened, *sockets):
                socket.close()


async def until(condition, within_s=5):
    with trio.fail_after(within_s):
        while not condition():  # noqa: ASYNC110 - the kernel makes it true
            await trio.sleep(0.005)
