"""Opens a WebSocket on a stream of its own, and says at once why it cannot be opened.

trio-websocket waits for ever when the peer goes away before the upgrade is done, and leaves the socket open
where the peer closed first; ``Dialled`` makes the one an error and ``carry`` closes in every case.
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import trio
import trio_websocket as tws

if TYPE_CHECKING:
    import ssl

MAX_MESSAGE_BYTES = 16 * 2**20
"""ElevenLabs sends frames above 1 MiB, which is trio-websocket's own limit."""

RECEIVE_BYTES = 65_536
"""trio-websocket reads 4 KiB at a time unless told; this halves its CPU."""

BACKLOG_RETRY_S = 0.01
"""How often a full backlog is tried again; the caller has the deadline."""

PORTS = {"ws": 80, "wss": 443}


class UpgradeError(OSError):
    """The connection ended before it was a WebSocket."""


class Dialled(trio.abc.Stream):
    """A stream on which an end is an ``UpgradeError`` until it is ``open``."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.open = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send."""
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError as error:
            raise self._explained(error) from error

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive."""
        try:
            data = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError as error:
            raise self._explained(error) from error
        if not data and not self.open:
            raise UpgradeError("the connection was closed")
        return data

    async def aclose(self) -> None:
        """Close; trio-websocket does it before the upgrade where the answer is not HTTP."""
        await self._stream.aclose()
        if not self.open:
            raise UpgradeError("no WebSocket answered")

    def _explained(self, error: trio.BrokenResourceError) -> Exception:
        return error if self.open else UpgradeError(f"the connection broke: {error.__cause__ or error}")


async def carry(  # noqa: PLR0913 - where, what, and how to get there
    base: str,
    path: str,
    headers: dict[str, str],
    *,
    unix_path: str | None,
    tls: ssl.SSLContext | None,
    task_status: trio.TaskStatus[tws.WebSocketConnection],
) -> None:
    """Open the WebSocket at *base* + *path*, hand it out as started, and carry it until cancelled or gone.

    For ``nursery.start``, which raises what kept it from opening: ``tws.HandshakeError`` (refused), or
    ``OSError``.  The connection is closed in every case.
    """
    url = urlsplit(base)
    port = url.port or PORTS[url.scheme]
    host = url.hostname or ""
    if unix_path is not None:
        raw: trio.abc.Stream = await dial_unix(unix_path)
    elif tls is not None:
        raw = await trio.open_ssl_over_tcp_stream(host, port, ssl_context=tls, https_compatible=True)
    else:
        raw = await trio.open_tcp_stream(host, port)
    stream = Dialled(raw)
    try:
        async with trio.open_nursery() as nursery:
            opened = await tws.wrap_client_stream(
                nursery,
                stream,  # type: ignore[arg-type]  # it says SocketStream, and takes any
                url.netloc.rpartition("@")[2],
                url.path + path,
                extra_headers=[(name.encode(), value.encode()) for name, value in headers.items()],
                max_message_size=MAX_MESSAGE_BYTES,
                receive_buffer_size=RECEIVE_BYTES,
            )
            stream.open = True
            task_status.started(opened)
    except ExceptionGroup as group:
        if stream.open:
            raise
        raise _why(group) from group
    finally:
        await trio.aclose_forcefully(raw)


async def dial_unix(path: str) -> trio.SocketStream:
    """Connect to a Unix socket, waiting for room in its backlog; raises ``OSError``.

    A full backlog says EAGAIN, which Trio's own function takes for a connection under way.
    """
    with ExitStack() as undo:
        plain = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        plain.setblocking(False)  # noqa: FBT003 - the standard library's name
        while (code := plain.connect_ex(path)) == errno.EAGAIN:  # noqa: ASYNC110 - nothing tells that there is room
            await trio.sleep(BACKLOG_RETRY_S)
        if code:
            raise OSError(code, os.strerror(code))
        undo.pop_all()
    return trio.SocketStream(trio.socket.from_stdlib_socket(plain))


def _why(group: ExceptionGroup[Exception]) -> Exception:
    """Before the upgrade, all that trio-websocket's task may raise is about what the peer answered."""
    for error in group.exceptions:
        if isinstance(error, OSError | tws.HandshakeError):
            return error
    return UpgradeError(f"no WebSocket answered: {group.exceptions[0]}")
