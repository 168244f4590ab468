"""The daemon's sockets in the runtime directory, with the limits that libzmq can enforce by itself."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import zmq

from tts_streamd_sockets.trio_zmq import TrioSocket

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

CONTROL_HWM = 200
"""Messages libzmq may hold for one client: 20 s of speech in 100 ms messages; more waits in the journal."""

EVENTS_HWM = 2000
"""Speech comes in bursts far faster than real time; an observer that keeps up must not lose any."""

MAX_FRAME_BYTES = 2 * 2**20
"""Above this libzmq closes the connection by itself; below, an oversized message gets a proper refusal."""

HANDSHAKE_MS = 3_000
"""A connection that does not say what it is within this time is closed."""

HEARTBEAT_TIMES = 3
"""Unanswered ZMTP heartbeats after which a client is taken for dead."""

SOCKET_MODE = 0o600
"""Clients of the same user; the group's rights come with the system service's own socket unit."""

ENGINE_BACKLOG = 4096
"""A burst of streams must find room; the kernel caps it at net.core.somaxconn."""


@contextmanager
def open_sockets(
    control: Path, events: Path, *, heartbeat_ms: int
) -> Generator[tuple[TrioSocket, TrioSocket]]:
    """Bind the ROUTER and the XPUB; they and their files go away at the end."""
    context = zmq.Context()
    try:
        router, xpub = context.socket(zmq.ROUTER), context.socket(zmq.XPUB)
        router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        xpub.setsockopt(zmq.XPUB_VERBOSER, 1)
        for sock, hwm in ((router, CONTROL_HWM), (xpub, EVENTS_HWM)):
            sock.setsockopt(
                zmq.LINGER, 200
            )  # the last `end`s still leave; a dead client holds the stop up no longer
            sock.setsockopt(zmq.SNDHWM, hwm)
            sock.setsockopt(zmq.RCVHWM, 1000)
            sock.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
            sock.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
            sock.setsockopt(zmq.HEARTBEAT_IVL, heartbeat_ms)
            sock.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMES * heartbeat_ms)
        _bind(router, control)
        _bind(xpub, events)
        yield TrioSocket(router), TrioSocket(xpub)
    finally:
        context.destroy(linger=200)
        control.unlink(missing_ok=True)
        events.unlink(missing_ok=True)


def _bind(sock: zmq.Socket[bytes], path: Path) -> None:
    old = os.umask(0o777 & ~SOCKET_MODE)  # the file must not be open to others even for a moment
    try:
        sock.bind(f"ipc://{path}")
    finally:
        os.umask(old)


@contextmanager
def open_engine_listener(path: Path) -> Generator[socket.socket]:
    """The socket that the engine will accept on; connections wait in its backlog while there is no engine."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        old = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(old)
        listener.listen(ENGINE_BACKLOG)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)
