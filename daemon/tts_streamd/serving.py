"""The daemon's life: open the sockets, run the tree, stop in order when asked."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import structlog
import trio

from tts_streamd.doors import open_engine_listener, open_sockets
from tts_streamd.signals import watch_signals
from tts_streamd.wiring import Daemon, Wrap, unwrapped
from tts_streamd_actors.supervisor import FatalError, RestartLimitError, StuckChildError
from tts_streamd_protocol import messages as m

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tts_streamd.config import Config
    from tts_streamd.runtime import RuntimeDir

log = structlog.get_logger("tts_streamd")

DRAIN_S = 2.0
"""How long open streams may go on after the daemon was asked to stop."""

FLUSH_S = 0.3
"""How long the last messages have to leave."""

POLL_S = 0.02


async def run_daemon(
    config: Config,
    runtime: RuntimeDir,
    *,
    ready: Callable[[], None] = lambda: None,
    reload: Callable[[Config], Config] | None = None,
    wrap: Wrap = unwrapped,
) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status: 0, or 1 if the supervisors gave up.

    ``reload`` gives the configuration to go on with at SIGHUP; what needs a restart it leaves as it was.
    """
    wishes = _Wishes()
    async with trio.open_nursery() as nursery:
        await nursery.start(
            watch_signals, wishes.stop, wishes.reload
        )  # first: from here on no signal just kills
        with _assembled(config, runtime, wrap) as daemon:
            if reload is not None:
                wishes.on_reload = partial(_reload, daemon, reload)
            status = await _live(daemon, wishes, ready)
        nursery.cancel_scope.cancel()
    return status


@dataclass(slots=True)
class _Wishes:
    """What signals have asked for."""

    stopping: trio.Event = field(default_factory=trio.Event)
    reason: str = ""
    on_reload: Callable[[], None] = lambda: None

    def stop(self, signal: str) -> None:
        self.reason = signal
        self.stopping.set()

    def reload(self) -> None:
        self.on_reload()


@contextmanager
def _assembled(config: Config, runtime: RuntimeDir, wrap: Wrap) -> Generator[Daemon]:
    """The daemon with its sockets, which are closed when it has stopped."""
    with ExitStack() as stack:
        sockets = stack.enter_context(
            open_sockets(runtime.control, runtime.events, heartbeat_ms=config.gateway.heartbeat_ms)
        )
        embedded = config.endpoint.kind == "embedded"
        listener = stack.enter_context(open_engine_listener(runtime.engine)) if embedded else None
        for sock in sockets:
            stack.callback(sock.close)
        yield Daemon(config, runtime, sockets, listener, wrap)


async def _live(daemon: Daemon, wishes: _Wishes, ready: Callable[[], None]) -> int:
    def on_ready() -> None:
        log.info("ready", control=str(daemon.runtime.control), upstream=daemon.config.endpoint.kind)
        ready()

    status = 0
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(daemon.root.run, on_ready)
            await wishes.stopping.wait()
            log.info("stopping", reason=wishes.reason)
            await _farewell(daemon, wishes.reason)
            nursery.cancel_scope.cancel()
    except* (RestartLimitError, FatalError, StuckChildError) as errors:
        log.critical("giving up", error="; ".join(str(error) for error in errors.exceptions))
        status = 1
    return status


def _reload(daemon: Daemon, reload: Callable[[Config], Config]) -> None:
    daemon.config = reload(daemon.config)


async def _farewell(daemon: Daemon, reason: str) -> None:
    """Two phases: refuse what is new and let streams end, then end them."""
    door = daemon.door
    door.stopping = True
    for session in tuple(door.sessions.values()):
        door.reply(session, m.Goodbye(in_ms=round(1000 * DRAIN_S), reason=reason))
    with trio.move_on_after(DRAIN_S):
        while door.n_streams:  # noqa: ASYNC110 - once in a daemon's life; an event for it would be kept all along
            await trio.sleep(POLL_S)
    for session in tuple(door.sessions.values()):
        for slot in tuple(session.streams.values()):
            slot.fail(
                "shutting_down", "the daemon stops; open the stream again when it is back", retry_ms=1000
            )
    with trio.move_on_after(FLUSH_S):
        while door.busy:  # noqa: ASYNC110 - as above
            await trio.sleep(POLL_S)
