"""The control socket and its session, shared by the tasks of a program.

Rule: one task at a time (the reader) waits for messages, books what comes for everybody, and wakes the
others. There is no background task: while nobody waits, messages wait in the socket.
"""

from __future__ import annotations

from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, TypeVar

import trio

from tts_streamd_client import sockets
from tts_streamd_client.errors import RequestLostError
from tts_streamd_client.options import QUIET_S
from tts_streamd_protocol import messages as m

if TYPE_CHECKING:
    from collections.abc import Callable

    from tts_streamd_client.session import Session
    from tts_streamd_sockets.trio_zmq import TrioSocket

T = TypeVar("T", bound=m.Reply)


class Line:
    """One connection after the other.  ``timeout_s`` bounds each request, and each message that is not taken."""

    def __init__(self, connect: Callable[[], TrioSocket], session: Session, timeout_s: float) -> None:
        self.session = session
        self.timeout_s = timeout_s
        self._connect = connect
        self._socket = connect()
        self._reading: trio.CancelScope | None = None
        self._others = trio.lowlevel.ParkingLot()
        self._sending = trio.Lock()

    # -- waiting -------------------------------------------------------------------------------------------
    async def until(self, ready: Callable[[], object], *, timeout_s: float, what: str) -> None:
        """Take messages in until ``ready`` says so; always a checkpoint.

        Raises:
            NoAnswerError: it did not in time; the error calls it ``what``.
            SessionLostError: the daemon is gone.
        """
        with trio.move_on_after(timeout_s):
            await trio.lowlevel.checkpoint()
            while not ready():
                await self.step()
            return
        raise self.session.no_answer(what, timeout_s)

    async def step(self) -> None:
        """Wait until something may have changed; it may also return for nothing.

        Between the caller's look at what it waits for and the wait itself nobody else runs: no wake-up is lost.

        Raises:
            SessionLostError: the daemon is gone.
        """
        self.session.check()
        self._renew()
        self.flush_nowait()
        if self.session.outbox:
            await self.flush()
        elif self._reading is None:
            await self._read()
        else:
            await self._others.park()
        self.session.check()

    def _renew(self) -> None:
        """Connect anew when the session was lost and it is time to look for the daemon; not under a reader."""
        if self._reading is None and self.session.wants_socket(trio.current_time()):
            self._socket.close()
            self._socket = self._connect()
            self.session.greet(trio.current_time())

    async def await_session(self) -> None:
        """Wait until there is a session to make a request in; the caller goes on without a checkpoint.

        Raises:
            SessionLostError: there was none in time.
        """
        self.session.check()
        while not self.session.live:
            await self.step()

    async def step_or_probe(self) -> None:
        """``step`` for whoever only listens: after ``QUIET_S`` without anything, ask whether the daemon lives."""
        with trio.move_on_after(QUIET_S) as quiet:
            await self.step()
        if quiet.cancelled_caught:
            await self.request(lambda rid: m.Ping(rid=rid), m.Pong, "ping")

    async def _read(self) -> None:
        with trio.CancelScope(deadline=self.session.wakes_at_s) as scope:
            self._reading = scope
            try:
                for frames in await self._socket.recv_batch():
                    self.session.receive(frames, trio.current_time())
            finally:
                self._reading = None
                self._others.unpark_all()
        self.session.on_time(trio.current_time())

    def _wake_reader(self) -> None:
        """What it waits for has changed."""
        if self._reading is not None:
            self._reading.cancel()

    # -- sending -------------------------------------------------------------------------------------------
    async def send(self, frame: bytes) -> None:
        """Send one message behind those that wait already; cancelled while it waits, it is sent later."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self.session.outbox.append(frame)
        await self.flush()

    async def flush(self) -> None:
        """Send what waits, in order; always a checkpoint.

        Raises:
            SessionLostError: the daemon took nothing for ``timeout_s``.
        """
        await trio.lowlevel.checkpoint()
        self.session.check()
        self.flush_nowait()
        async with self._sending:
            while self.session.outbox:
                await self._send_first()
        if self._reading is not None:  # a stream that was just opened makes it listen for ticks
            self._reading.deadline = self.session.wakes_at_s

    async def _send_first(self) -> None:
        socket, frame = self._socket, self.session.outbox[0]
        with trio.move_on_after(self.timeout_s) as patience:
            try:
                await socket.send([frame])
            except trio.ClosedResourceError:
                if socket is self._socket:
                    raise
                return  # the session was lost meanwhile, and its messages with it
            if socket is self._socket and self.session.outbox and self.session.outbox[0] is frame:
                self.session.outbox.popleft()
        if patience.cancelled_caught and socket is self._socket:
            self.session.lose("the daemon takes no messages", trio.current_time())
            self._wake_reader()
            self.session.check()

    def flush_nowait(self) -> None:
        """Send what can be sent at once, without a checkpoint; the rest waits for the next ``flush``."""
        if self._sending.locked():
            return  # somebody waits with the first of them: nothing may overtake it
        while self.session.outbox and self._socket.send_nowait([self.session.outbox[0]]):
            self.session.outbox.popleft()

    # -- requests ------------------------------------------------------------------------------------------
    async def request(self, make: Callable[[int], m.AnyRequest], kind: type[T], what: str) -> T:
        """Send what ``make(rid)`` gives and return its answer, a ``kind``; again if the session is lost over it."""
        while True:
            await self.await_session()
            rid = self.session.new_rid()
            with suppress(RequestLostError):
                return await self.answer(rid, self.session.encode(make(rid)), kind, what, self.timeout_s)

    async def answer(self, rid: int, frame: bytes, kind: type[T], what: str, timeout_s: float = inf) -> T:
        """Send a request and wait for its answer."""
        try:
            await self.send(frame)
            await self.until(lambda: self.session.has_answer(rid), timeout_s=timeout_s, what=what)
            return self.session.take_answer(rid, kind)
        finally:
            self.session.forget(rid)

    def close(self, *, linger_ms: int = sockets.LINGER_MS) -> None:
        """Cancel what is open, and close."""
        if self._socket.closed:
            return
        self.session.outbox.extend(self.session.farewell())
        self.flush_nowait()
        self._socket.close(linger_ms)
