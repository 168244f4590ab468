"""One ZeroMQ socket for any number of Trio tasks: cancel-safe, and without a task of its own.

libzmq gives a file descriptor that is readable while unread *commands* wait, not while messages do, and only
as an edge: every call on the socket reads the commands and silences it, whoever they concerned.  So:

1. The first task that must wait (the leader) waits for the descriptor; the others park, and retry with it.
2. Whoever else calls into the socket may have taken the edge the waiting tasks needed, so it wakes the leader
   (``_hand_on_edge``).  For readers ``EVENTS`` says exactly whether one is needed.  For senders nothing does:
   a ROUTER has POLLOUT set while the peer in question is full.  So waiting senders retry after each *first*
   attempt of others, and every 20 ms; waking one another after each failed retry would be a busy loop.
3. A message is taken or sent in one synchronous call, and after it only a checkpoint that cannot be cancelled
   follows: a cancelled call has taken and sent nothing.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, overload

import trio
import zmq

if TYPE_CHECKING:
    from collections.abc import Sequence

    Part: TypeAlias = bytes | memoryview | zmq.Frame

_RETRY_S = 0.02  # beside a blocked sender an edge may be lost: heard of by no one, seen by no call


class PeerGoneError(Exception):
    """A ROUTER with ROUTER_MANDATORY has no connection of that identity (any more): nothing was sent."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a Unix socket, as the kernel says."""

    uid: int
    gid: int
    pid: int


@dataclass(frozen=True, slots=True)
class SocketStatistics:
    """Counters since the socket was opened, in messages unless said otherwise; a snapshot."""

    sent: int
    received: int
    refused: int  # sends that found the peer full
    waits: int  # times a task went to sleep
    wakes: int  # times a waiting task was woken because another one used the socket
    readers_waiting: int  # tasks now
    senders_waiting: int  # tasks now


def peer(frame: zmq.Frame) -> Peer | None:
    """Return who sent *frame*, received with ``copy=False`` over ipc; None over any other transport."""
    try:
        address = frame.get("Peer-Address")
    except zmq.ZMQError:  # inproc has no such property
        return None
    _, *numbers = str(address).split(":")
    if len(numbers) != 3 or not all(number.isdecimal() for number in numbers):  # noqa: PLR2004 - uid, gid, pid
        return None
    uid, gid, pid = map(int, numbers)
    return Peer(uid, gid, pid)


class TrioSocket:
    """Wrap *socket*, which nobody else may use from now on; set options, bind and connect it before."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self._fd = socket.fileno()
        self._leader: trio.CancelScope | None = None
        self._parked = trio.lowlevel.ParkingLot()
        self._readers = 0
        self._senders = 0
        self._sent = self._received = self._refused = self._waits = self._wakes = 0

    @overload
    async def recv(self, *, copy: Literal[True] = True) -> list[bytes]: ...
    @overload
    async def recv(self, *, copy: Literal[False]) -> list[zmq.Frame]: ...
    async def recv(self, *, copy: bool = True) -> list[bytes] | list[zmq.Frame]:
        """Wait for one message and return its frames; cancelled, it has taken none.

        Raises:
            trio.ClosedResourceError: the socket is closed, or was closed meanwhile.
        """
        batch = await (self.recv_batch(1) if copy else self.recv_batch(1, copy=False))
        return batch[0]

    @overload
    async def recv_batch(self, limit: int = 64, *, copy: Literal[True] = True) -> list[list[bytes]]: ...
    @overload
    async def recv_batch(self, limit: int = 64, *, copy: Literal[False]) -> list[list[zmq.Frame]]: ...
    async def recv_batch(
        self, limit: int = 64, *, copy: bool = True
    ) -> list[list[bytes]] | list[list[zmq.Frame]]:
        """Wait for a message; return it and those behind it, 1 to *limit*.  Batches of 64 halve the CPU.

        ``copy=False`` gives frames, which know their ``peer``.  Cancelled, it has taken none.

        Raises:
            trio.ClosedResourceError: the socket is closed, or was closed meanwhile.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        batch = self._take(limit, copy=copy)
        if batch:
            self._hand_on_edge()
        else:
            batch = await self._take_later(limit, copy=copy)
        self._received += len(batch)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return batch

    async def send(self, frames: Sequence[Part], *, copy: bool = True) -> None:
        """Send one message, waiting while its peer is full; cancelled, it has sent nothing.

        Raises:
            PeerGoneError: see ``send_nowait``.
            trio.ClosedResourceError: the socket is closed, or was closed meanwhile.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self.send_nowait(frames, copy=copy):
            await self._put_later(frames, copy=copy)
        await trio.lowlevel.cancel_shielded_checkpoint()

    def send_nowait(self, frames: Sequence[Part], *, copy: bool = True) -> bool:
        """Send one message at once and return True, or False if its peer is full: then nothing was sent.

        Raises:
            PeerGoneError: the socket is a ROUTER with ROUTER_MANDATORY, and its first frame names nobody.
            trio.ClosedResourceError: the socket is closed.
        """
        try:
            done = self._put(frames, copy=copy)
            self._refused += not done
        finally:
            self._hand_on_edge()
        return done

    def close(self, linger_ms: int = 0) -> None:
        """Close the socket; *linger_ms* is how long libzmq may go on sending what is queued.  Twice is fine.

        Whoever waits on it gets ``trio.ClosedResourceError``.
        """
        if self._socket.closed:
            return
        trio.lowlevel.notify_closing(self._fd)
        self._socket.close(linger_ms)
        self._parked.unpark_all()

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._socket.closed

    def statistics(self) -> SocketStatistics:
        """Return what was counted so far, and who waits."""
        return SocketStatistics(
            sent=self._sent,
            received=self._received,
            refused=self._refused,
            waits=self._waits,
            wakes=self._wakes,
            readers_waiting=self._readers,
            senders_waiting=self._senders,
        )

    async def _take_later(self, limit: int, *, copy: bool) -> list[list[bytes]]:
        self._readers += 1
        try:
            self._hand_on_edge()
            while True:
                await self._wait()
                if batch := self._take(limit, copy=copy):
                    return batch
                self._hand_on_reading()
        finally:
            self._readers -= 1
            self._hand_on_edge()

    async def _put_later(self, frames: Sequence[Part], *, copy: bool) -> None:
        self._senders += 1
        try:
            await self._wait()
            while not self._put(frames, copy=copy):
                self._hand_on_reading()
                await self._wait()
        finally:
            self._senders -= 1
            self._hand_on_edge()

    def _take(self, limit: int, *, copy: bool) -> list[list[bytes]]:
        """Take up to *limit* messages without waiting; after an empty list all commands were read, too."""
        self._check_open()
        batch: list[list[bytes]] = []
        try:
            while len(batch) < limit:
                # pyzmq's overloads know literals only; those of recv_batch say what copy=False gives
                batch.append(self._socket.recv_multipart(zmq.NOBLOCK, copy))  # type: ignore[arg-type]  # see above
        except zmq.Again:
            pass
        return batch

    def _put(self, frames: Sequence[Part], *, copy: bool) -> bool:
        self._check_open()
        return self._try_put(frames, copy=copy) or self._try_put_refreshed(frames, copy=copy)

    def _try_put_refreshed(self, frames: Sequence[Part], *, copy: bool) -> bool:
        # EAGAIN may be stale: send reads commands at most once a millisecond, EVENTS always does.
        self._events()
        return self._try_put(frames, copy=copy)

    def _try_put(self, frames: Sequence[Part], *, copy: bool) -> bool:
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK, copy)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno == errno.EHOSTUNREACH:
                raise PeerGoneError("no connection has this identity") from error
            raise
        self._sent += 1
        return True

    def _check_open(self) -> None:
        if self._socket.closed:
            raise trio.ClosedResourceError("this ZeroMQ socket was closed")

    def _hand_on_edge(self) -> None:
        """After a call: wake the waiting tasks if it may have taken the edge one of them needs."""
        if self._senders:
            self._wake_leader()
        else:
            self._hand_on_reading()

    def _hand_on_reading(self) -> None:
        """Wake the others if there is something to read: the only thing that can be known for certain."""
        if self._leader is None or not self._readers or self._socket.closed:
            return
        if self._events() & zmq.POLLIN:
            self._wake_leader()

    def _events(self) -> int:
        return int(self._socket.getsockopt(zmq.EVENTS))

    def _wake_leader(self) -> None:
        if self._leader is not None and not self._leader.cancel_called:
            self._wakes += 1
            self._leader.cancel()

    async def _wait(self) -> None:
        """Sleep until a retry may succeed; it may also wake for nothing."""
        self._waits += 1
        if self._leader is not None:
            self._leader.deadline = min(self._leader.deadline, self._retry_at())
            await self._parked.park()
            return
        with trio.CancelScope(deadline=self._retry_at()) as scope:
            self._leader = scope
            try:
                await trio.lowlevel.wait_readable(self._fd)
            finally:
                self._leader = None
                self._parked.unpark_all()

    def _retry_at(self) -> float:
        """Return when to retry without being told: never, unless a sender and somebody else wait."""
        if self._senders and self._senders + self._readers > 1:
            return trio.current_time() + _RETRY_S
        return float("inf")
