"""The control socket and its session: takes messages in and waits for what they change."""

from __future__ import annotations

import time
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, TypeVar

import zmq

from tts_streamd_client import sockets
from tts_streamd_client.errors import RequestLostError
from tts_streamd_client.options import QUIET_S
from tts_streamd_protocol import messages as m

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tts_streamd_client.session import Session

T = TypeVar("T", bound=m.Reply)


class Line:
    """One connection after the other.  ``timeout_s`` bounds each request, and each message that is not taken."""

    def __init__(self, connect: Callable[[], zmq.Socket[bytes]], session: Session, timeout_s: float) -> None:
        self.session = session
        self.timeout_s = timeout_s
        self._connect = connect
        self._open()

    def _open(self) -> None:
        self._socket = self._connect()
        self._socket.sndtimeo = int(self.timeout_s * 1000)

    # -- waiting -------------------------------------------------------------------------------------------
    def step(self, timeout_s: float = 0.0, *, fds: Sequence[int] = ()) -> set[int]:
        """Take in what has arrived; if there is nothing, wait for something at most ``timeout_s``.

        Returns those of ``fds`` that can be read; they end the wait, too.

        Raises:
            SessionLostError: the daemon is gone.
        """
        self._renew()
        self.flush()
        due_s = self.session.wakes_at_s - time.monotonic()
        readable = self._poll(max(0.0, min(timeout_s, due_s)), fds)
        if self._socket in readable:
            self._take_all()
        else:
            self.session.on_time(time.monotonic())
        self._renew()
        self.flush()
        return {ready for ready in readable if isinstance(ready, int)}

    def _renew(self) -> None:
        """Connect anew when the session was lost and it is time to look for the daemon."""
        if self.session.wants_socket(time.monotonic()):
            self._socket.close(0)
            self._open()
            self.session.greet(time.monotonic())

    def await_session(self) -> None:
        """Wait until there is a session to make a request in.

        Raises:
            SessionLostError: there was none in time.
        """
        self.session.check()
        while not self.session.live:
            self.step(inf)

    def _poll(self, timeout_s: float, fds: Sequence[int]) -> set[object]:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        for fd in fds:
            poller.register(fd, zmq.POLLIN)
        timeout_ms = None if timeout_s == inf else int(timeout_s * 1000) + (timeout_s > 0)
        return {ready for ready, _ in poller.poll(timeout_ms)}

    def _take_all(self) -> None:
        with suppress(zmq.Again):
            while True:
                self.session.receive(self._socket.recv_multipart(zmq.NOBLOCK), time.monotonic())

    def until(self, ready: Callable[[], object], *, timeout_s: float, what: str) -> None:
        """Take messages in until ``ready`` says so.

        Raises:
            NoAnswerError: it did not in time; the error calls it ``what``.
        """
        limit_s = time.monotonic() + timeout_s
        while not ready():
            if (left_s := limit_s - time.monotonic()) <= 0:
                raise self.session.no_answer(what, timeout_s)
            self.step(left_s)

    def step_or_probe(self, timeout_s: float) -> None:
        """``step`` for whoever only listens: after ``QUIET_S`` without anything, ask whether the daemon lives."""
        n_received = self.session.statistics().n_received
        self.step(min(timeout_s, QUIET_S))
        if timeout_s >= QUIET_S and self.session.statistics().n_received == n_received:
            self.request(lambda rid: m.Ping(rid=rid), m.Pong, "ping")

    # -- sending -------------------------------------------------------------------------------------------
    def send(self, frame: bytes) -> None:
        """Send one message behind those that wait already."""
        self.session.outbox.append(frame)
        self.flush()

    def flush(self) -> None:
        """Send what waits; only a daemon that takes nothing for ``timeout_s`` delays this.

        Raises:
            SessionLostError: it took nothing.
        """
        self.session.check()
        outbox = self.session.outbox
        try:
            while outbox:
                self._socket.send(outbox[0])
                outbox.popleft()
        except zmq.Again:
            self.session.lose("the daemon takes no messages", time.monotonic())
            self.session.check()

    def flush_nowait(self) -> None:
        """As ``flush``, but what a full socket does not take waits for the next one."""
        with suppress(zmq.Again):
            while self.session.outbox:
                self._socket.send(self.session.outbox[0], zmq.NOBLOCK)
                self.session.outbox.popleft()

    # -- requests ------------------------------------------------------------------------------------------
    def request(self, make: Callable[[int], m.AnyRequest], kind: type[T], what: str) -> T:
        """Send what ``make(rid)`` gives and return its answer, a ``kind``; again if the session is lost over it."""
        while True:
            self.await_session()
            rid = self.session.new_rid()
            self.send(self.session.encode(make(rid)))
            with suppress(RequestLostError):
                return self.answer(rid, kind, what, self.timeout_s)

    def answer(self, rid: int, kind: type[T], what: str, timeout_s: float) -> T:
        """Wait for the answer to a request that has been sent."""
        try:
            self.until(lambda: self.session.has_answer(rid), timeout_s=timeout_s, what=what)
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
