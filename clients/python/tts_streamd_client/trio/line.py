"""The control socket and its session, shared by the tasks of a program.

Rule: one task at a time (the reader) waits for messages, books what comes for everybody, and wakes the
others. There is no background task: while nobody waits, messages wait in the socket.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, TypeVar

import trio

from tts_streamd_client import sockets
from tts_streamd_client.options import QUIET_S
from tts_streamd_protocol import messages as m

if TYPE_CHECKING:
    from collections.abc import Callable

    from tts_streamd_client.session import Session
    from tts_streamd_sockets.trio_zmq import TrioSocket

T = TypeVar("T", bound=m.Reply)


class Line:
    """One connection.  ``timeout_s`` bounds each request, and each message that the daemon will not take."""

    def __init__(self, socket: TrioSocket, session: Session, timeout_s: float) -> None:
        self.session = session
        self.timeout_s = timeout_s
        self._socket = socket
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
        self.flush_nowait()
        if self.session.outbox:
            await self.flush()
        elif self._reading is None:
            await self._read()
        else:
            await self._others.park()
        self.session.check()

    async def step_or_probe(self) -> None:
        """``step`` for whoever only listens: after ``QUIET_S`` without anything, ask whether the daemon lives."""
        with trio.move_on_after(QUIET_S) as quiet:
            await self.step()
        if quiet.cancelled_caught:
            await self.request(lambda rid: m.Ping(rid=rid), m.Pong, "ping")

    async def _read(self) -> None:
        with trio.CancelScope(deadline=self.session.silent_at_s) as scope:
            self._reading = scope
            try:
                for frames in await self._socket.recv_batch():
                    self.session.receive(frames, trio.current_time())
            finally:
                self._reading = None
                self._others.unpark_all()
        if self._silent():
            self.session.lose("the daemon has fallen silent")

    def _silent(self) -> bool:
        return trio.current_time() >= self.session.silent_at_s

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
            self._reading.deadline = self.session.silent_at_s

    async def _send_first(self) -> None:
        with trio.move_on_after(self.timeout_s) as patience:
            await self._socket.send([self.session.outbox[0]])
            self.session.outbox.popleft()
        if patience.cancelled_caught:
            self.session.lose("the daemon takes no messages")
            self.session.check()

    def flush_nowait(self) -> None:
        """Send what can be sent at once, without a checkpoint; the rest waits for the next ``flush``."""
        if self._sending.locked():
            return  # somebody waits with the first of them: nothing may overtake it
        while self.session.outbox and self._socket.send_nowait([self.session.outbox[0]]):
            self.session.outbox.popleft()

    # -- requests ------------------------------------------------------------------------------------------
    async def request(self, make: Callable[[int], m.AnyRequest], kind: type[T], what: str) -> T:
        """Send what ``make(rid)`` gives and return its answer, which must be a ``kind``."""
        rid = self.session.new_rid()
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
