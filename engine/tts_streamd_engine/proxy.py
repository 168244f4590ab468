"""A TCP proxy in front of the server that breaks the line as scripted: what an ASGI server cannot do itself.

It can also stand in front of any other server.  Rule: a connection without a fault passes unchanged, byte for
byte, the end of either direction included; what a fault leaves of a connection stays until the
client goes, half-open until the proxy ends.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from tts_streamd_engine.faults import FaultBook, Route, Transport

BLOCK = 65_536
CONNECT_DEADLINE_S = 10.0


class Proxy:
    """Passes connections on to ``target`` (host, port) as ``faults`` has it."""

    def __init__(self, target: tuple[str, int], faults: FaultBook) -> None:
        self._target = target
        self._faults = faults

    async def serve(self, listener: socket.socket) -> None:
        """Serve a listening socket until cancelled."""
        own = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
        await trio.serve_listeners(self._pass, [own])

    async def _pass(self, client: trio.SocketStream) -> None:
        async with client:
            try:
                head = await client.receive_some(BLOCK)
                fault = self._faults.line(route_of(head)) if head else None
                with trio.fail_after(CONNECT_DEADLINE_S):
                    server = await trio.open_tcp_stream(*self._target)
                async with server:
                    await server.send_all(head)
                    await _Line(client, server, fault).run()
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
                return


class _Line:
    """One connection through the proxy."""

    def __init__(self, client: trio.SocketStream, server: trio.SocketStream, fault: Transport | None) -> None:
        self._client = client
        self._server = server
        self._fault = fault
        self._cut = Cut(fault) if fault is not None else None
        self._has_fallen = False
        self._stopped = trio.CancelScope()
        self._moved_at = trio.current_time()

    async def run(self) -> None:
        """Until both directions have ended, or the fault has taken its course."""
        with self._stopped:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._upwards)
                nursery.start_soon(self._downwards)
                if self._fault is not None and self._fault.idle_s is not None:
                    nursery.start_soon(self._watch_idleness, self._fault.idle_s)
        if self._has_fallen and self._fault is not None:
            await self._break(self._fault)

    async def _upwards(self) -> None:
        while block := await self._client.receive_some(BLOCK):
            self._moved_at = trio.current_time()
            await self._server.send_all(block)
        if self._has_fallen:  # a silent line whose client has gone
            self._stopped.cancel()
        await self._server.send_eof()

    async def _downwards(self) -> None:
        if self._cut is not None and self._cut.is_due and self._fall():
            return
        while block := await self._server.receive_some(BLOCK):
            self._moved_at = trio.current_time()
            if self._has_fallen:
                continue  # silence
            passed = block if self._cut is None else self._cut.passed(block)
            if passed:
                await self._client.send_all(passed)
            if self._cut is not None and self._cut.is_due and self._fall():
                return
        if not self._has_fallen:
            await self._client.send_eof()

    async def _watch_idleness(self, idle_s: float) -> None:
        while (until := self._moved_at + idle_s) > trio.current_time():  # noqa: ASYNC110 -- the deadline moves
            await trio.sleep_until(until)
        self._fall()

    def _fall(self) -> bool:
        """The fault falls; whether that is the end of both directions (silence leaves the client's open)."""
        self._has_fallen = True
        if self._fault is None or self._fault.kind == "silence":
            return False
        self._stopped.cancel()
        return True

    async def _break(self, fault: Transport) -> None:
        if fault.kind == "reset":
            # zero linger: the close sends RST, and what the client has not read yet may be lost to it, as in life
            self._client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif fault.kind == "half_open":
            await trio.aclose_forcefully(self._server)
            await trio.sleep_forever()  # nothing is read, nothing sent, nothing closed


@dataclass(slots=True)
class Cut:
    """Finds the place of a fault in what the server sends.  Sans-I/O."""

    fault: Transport
    is_due: bool = field(default=False)
    """The fault falls now, behind what was passed."""
    _n_bytes: int = field(default=0)
    _seen: bytearray = field(default_factory=bytearray)
    _is_upgraded: bool = field(default=False)
    _n_frames: int = field(default=0)

    def __post_init__(self) -> None:
        places = (self.fault.frame, self.fault.byte, self.fault.idle_s)
        self.is_due = self.fault.byte == 0 or all(place is None for place in places)

    def passed(self, block: bytes) -> bytes:
        """What of this block the client still gets."""
        if self.fault.byte is not None:
            left = self.fault.byte - self._n_bytes
            self._n_bytes += len(block)
            self.is_due = len(block) >= left
            return block[:left]
        return block if self.fault.frame is None else self._whole_frames(block, self.fault.frame)

    def _whole_frames(self, block: bytes, until: int) -> bytes:
        """The upgrade's answer, then whole frames: a frame waits until all of it is here."""
        self._seen += block
        out = bytearray()
        if not self._is_upgraded:
            end = self._seen.find(b"\r\n\r\n")
            if end < 0:
                return b""
            out += self._take(end + 4)
            self._is_upgraded = True
        while (size := _frame_size(self._seen)) is not None and size <= len(self._seen):
            self._n_frames += self._seen[0] & 0x0F in (1, 2)  # text or binary; control frames do not count
            if self._n_frames >= until:
                self.is_due = True
                break
            out += self._take(size)
        return bytes(out)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._seen[:size])
        del self._seen[:size]
        return taken


def _frame_size(data: bytearray) -> int | None:
    """Of the unmasked WebSocket frame that begins here (RFC 6455, 5.2); None: more must come to tell."""
    if len(data) < 2:  # noqa: PLR2004 -- the shortest header
        return None
    length = data[1] & 0x7F
    extra = {126: 2, 127: 8}.get(length, 0)
    if len(data) < 2 + extra:
        return None
    return 2 + extra + (int.from_bytes(data[2 : 2 + extra], "big") if extra else length)


def route_of(head: bytes) -> Route | None:
    """Which route the first bytes of a connection ask for; None through TLS and for anything else."""
    line = head.split(b"\r\n", 1)[0].split(b" ")
    if len(line) < 2 or b"/v1/text-to-speech/" not in line[1]:  # noqa: PLR2004 -- method and path
        return None
    last = line[1].split(b"?", 1)[0].rsplit(b"/", 1)[-1].decode("ascii", "replace")
    if last in ("stream-input", "multi-stream-input"):
        return "stream-input" if last == "stream-input" else "multi-stream-input"
    return "http"
