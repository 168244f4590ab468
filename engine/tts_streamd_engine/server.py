"""The listening socket, the server on it, and the three ways to end: a signal, the parent's death, a failure.

Rule: the socket listens before anything heavy is imported, so a client that comes early waits instead of
failing.  With a socket handed over by the daemon, end of file on standard input ends the process at once,
whatever it does.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from hypercorn.config import Config

    from tts_streamd_engine.catalogue import Catalogue
    from tts_streamd_engine.faults import FaultBook

BACKLOG = 128
GRACE_S = 3.0
"""How long conversations may go on after SIGTERM; one second later the process ends in any case."""


class ListenError(Exception):
    """The socket cannot be had; the message says which and why."""


class CertificateError(Exception):
    """The certificate or its key cannot be used."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificate chain and key, both PEM files."""

    cert: Path
    key: Path

    def check(self) -> None:
        """Raise ``CertificateError`` if the two are not readable or do not belong together."""
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.cert, self.key)
        except (OSError, ssl.SSLError) as error:
            raise CertificateError(
                f"cannot use certificate {self.cert} with key {self.key}: {error}"
            ) from error


@dataclass(frozen=True, slots=True)
class Options:
    """How to serve.

    ``threads`` None is one per processor, ``required_key`` None lets anybody speak, ``account_limit`` None
    counts nobody.  With ``faults`` a proxy stands in front; ``fault_control`` needs them.
    """

    tls: Tls | None = None
    threads: int | None = None
    required_key: str | None = None
    account_limit: int | None = None
    faults: FaultBook | None = None
    fault_control: bool = False


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket; port 0 takes any free one.

    Raises:
        ListenError: the address is taken, unknown or forbidden.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        raise ListenError(f"cannot listen on {host}:{port}: {_reason(error)}") from error


def _reason(error: OSError | UnicodeError) -> str:
    """What the system says, without what Python adds."""
    if isinstance(error, OSError) and not isinstance(error, socket.gaierror) and error.errno is not None:
        return os.strerror(error.errno)
    return str(error)


def adopt(fd: int) -> socket.socket:
    """The listening socket, TCP or Unix, that the daemon left open as ``fd``.

    Raises:
        ListenError: it is no listening stream socket.
    """
    try:
        adopted = socket.socket(fileno=fd)
        listening = adopted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise ListenError(f"file descriptor {fd} is no socket: {error.strerror}") from error
    if not listening:
        raise ListenError(f"file descriptor {fd} is a socket that does not listen")
    return adopted


def describe(listener: socket.socket, *, tls: bool) -> str:
    """The address for people and for ``base_url``."""
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def end_with_stdin() -> None:
    """Watch standard input from a thread of its own; its end ends the process, even in the middle of a word.

    No task can do this: the event loop may be behind, and cancelled work would still be waited for.
    """

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=watch, name="stdin", daemon=True).start()


async def serve(  # noqa: PLR0913 -- two places to speak to, two things that tests replace
    listener: socket.socket,
    options: Options,
    *,
    tell: Callable[[str], None],
    warn: Callable[[str], None],
    catalogue: Catalogue | None = None,
    stop: trio.Event | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, or until ``stop``, with which signals are left alone.

    ``tell`` gets the one line that says where, as soon as requests are taken; ``warn`` gets what an operator
    must know.
    """
    # the listener queues connections while these are imported
    from hypercorn.config import Config  # noqa: PLC0415
    from hypercorn.trio import serve as serve_asgi  # noqa: PLC0415

    from tts_streamd_engine.app import make_app  # noqa: PLC0415
    from tts_streamd_engine.catalogue import Catalogue  # noqa: PLC0415
    from tts_streamd_engine.proxy import Proxy  # noqa: PLC0415
    from tts_streamd_engine.studio import Studio  # noqa: PLC0415

    address = describe(listener, tls=options.tls is not None)
    on_signal = stop is None
    catalogue, stop = catalogue or Catalogue(), trio.Event() if stop is None else stop
    app = make_app(
        catalogue,
        Studio(options.threads),
        required_key=options.required_key,
        account_limit=options.account_limit,
        faults=options.faults,
        fault_control=options.fault_control,
    )
    async with trio.open_nursery() as nursery:
        if on_signal:
            await nursery.start(_stop_on_signal, stop)
        nursery.start_soon(_load, catalogue, warn)
        if options.faults is not None:
            behind = listen("127.0.0.1", 0)
            nursery.start_soon(Proxy(behind.getsockname(), options.faults).serve, listener)
            listener = behind
        config = _configure(Config(), listener, options.tls)
        serving = partial(serve_asgi, app, config, shutdown_trigger=stop.wait, mode="asgi")
        await nursery.start(_until_done, serving, nursery.cancel_scope)
        tell(f"listening on {address}")


def _configure(config: Config, listener: socket.socket, tls: Tls | None) -> Config:
    config.bind = [f"fd://{listener.detach()}"]
    config.loglevel = "WARNING"
    config.keep_alive_timeout = 75.0
    config.graceful_timeout = GRACE_S
    config.alpn_protocols = ["http/1.1"]
    config.backlog = BACKLOG
    if tls is not None:
        config.certfile, config.keyfile = str(tls.cert), str(tls.key)
    return config


async def _until_done(
    serving: Callable[..., Awaitable[None]],
    scope: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    await serving(task_status=task_status)
    scope.cancel()


async def _load(catalogue: Catalogue, warn: Callable[[str], None]) -> None:
    await catalogue.load()
    if catalogue.failure is not None:
        warn(f"{catalogue.failure}; only the voice 'codepoint' can speak")


async def _stop_on_signal(
    stop: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            stop.set()
            # a client that takes no more data could hold up the end: hypercorn shields its sends
            last_resort = threading.Timer(GRACE_S + 1, os._exit, (0,))
            last_resort.daemon = True
            last_resort.start()
