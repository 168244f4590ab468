"""A minimal blocking client of the bus, from docs/PROTOCOL.md alone: pyzmq and msgpack, nothing of the project."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from typing import Any, Self

import msgpack
import zmq


class BusError(Exception):
    def __init__(self, head: dict[str, Any]) -> None:
        super().__init__(f"{head['code']}: {head['message']}")
        self.head = head


@dataclass
class Heard:
    """All that came for one stream, checked as it arrives (16-bit mono PCM formats)."""

    rate_hz: int = 24_000
    audio: bytearray = field(default_factory=bytearray)
    words: list[list[Any]] = field(default_factory=list)
    states: list[tuple[str, str | None]] = field(default_factory=list)
    end: dict[str, Any] | None = None
    first_audio_s: float | None = None
    next_seq: int = 0
    next_at: int = 0
    cp: int = 0
    is_pcm: bool = True

    def take(self, head: dict[str, Any], payload: bytes, now_s: float) -> None:
        assert self.end is None, f"a message after end: {head}"
        assert head["seq"] == self.next_seq, f"seq {head['seq']}, expected {self.next_seq}"
        self.next_seq += 1
        match head["op"]:
            case "audio":
                self._take_audio(head, payload, now_s)
            case "words":
                for word in head["words"]:
                    start = word[1] * self.rate_hz // 1000
                    assert start + self.rate_hz // 50 >= self.next_at, (
                        f"{word} told after its audio ({self.next_at})"
                    )
                self.words += head["words"]
            case "state":
                self.states.append((head["state"], head.get("detail")))
            case "end":
                self.end = head

    def _take_audio(self, head: dict[str, Any], payload: bytes, now_s: float) -> None:
        assert head["at"] == self.next_at, f"audio at {head['at']}, expected {self.next_at}"
        assert not self.is_pcm or len(payload) == 2 * head["n"], (
            f"{len(payload)} bytes for {head['n']} samples"
        )
        assert head["cp"] >= self.cp
        self.cp, self.next_at = head["cp"], head["at"] + head["n"]
        self.audio += payload
        if head["n"] and self.first_audio_s is None:
            self.first_audio_s = now_s


class Bus:
    def __init__(self, directory: object, *, hello: bool = True) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(f"ipc://{directory}/control")
        self.directory = directory
        self.rids = itertools.count(1)
        self.streams: dict[int, Heard] = {}
        self.errors: list[dict[str, Any]] = []
        self.other: list[dict[str, Any]] = []
        self.welcome = self.ask(op="hello", proto=[1, 0], client="tests/1") if hello else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.context.destroy(linger=0)

    def send(self, **message: Any) -> None:
        self.socket.send(msgpack.packb(message))

    def ask(self, *, within_s: float = 10.0, **message: Any) -> dict[str, Any]:
        rid = next(self.rids)
        self.send(rid=rid, **message)
        limit = time.monotonic() + within_s
        while (left := limit - time.monotonic()) > 0:
            head = self.step(left)
            if head is not None and head.get("rid") == rid:
                if head["op"] == "error":
                    raise BusError(head)
                return head
        raise TimeoutError(f"no answer to {message['op']} in {within_s} s")

    def open(self, sid: int, **fields: Any) -> dict[str, Any]:
        return self._opened(sid, self.ask(op="open", sid=sid, **self._new(sid, fields)))

    def speak(self, sid: int, text: str, **fields: Any) -> dict[str, Any]:
        return self._opened(sid, self.ask(op="speak", sid=sid, text=text, **self._new(sid, fields)))

    def _new(self, sid: int, fields: dict[str, Any]) -> dict[str, Any]:
        self.streams[sid] = Heard(is_pcm=fields.get("format", "pcm_24000").startswith("pcm"))
        return fields

    def _opened(self, sid: int, reply: dict[str, Any]) -> dict[str, Any]:
        assert reply["op"] == "opened", reply
        assert reply["sid"] == sid
        self.streams[sid].rate_hz = reply["rate_hz"]
        return reply

    def step(self, within_s: float) -> dict[str, Any] | None:
        """Take one message, waiting at most so long; None if there was none."""
        if not self.socket.poll(max(0, int(within_s * 1000))):
            return None
        frames = self.socket.recv_multipart()
        assert len(frames) in {1, 2}
        head = msgpack.unpackb(frames[0])
        assert isinstance(head, dict)
        if head["op"] == "error":
            self.errors.append(head)
        if "seq" in head:
            self.streams[head["sid"]].take(head, frames[1] if len(frames) == 2 else b"", time.monotonic())
        else:
            self.other.append(head)
        return head

    def drain(self, seconds: float) -> None:
        limit = time.monotonic() + seconds
        while (left := limit - time.monotonic()) > 0:
            self.step(left)

    def until_end(self, sid: int, *, within_s: float = 60.0) -> Heard:
        limit = time.monotonic() + within_s
        while self.streams[sid].end is None:
            left = limit - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"stream {sid} did not end in {within_s} s: {self.streams[sid]}"[:500])
            self.step(left)
        return self.streams[sid]

    def until_ended(self, sids: Any, *, within_s: float = 60.0) -> None:
        limit = time.monotonic() + within_s
        while any(self.streams[sid].end is None for sid in sids):
            left = limit - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"streams did not end in {within_s} s")
            self.step(left)
