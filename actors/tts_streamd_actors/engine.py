"""Keeps the embedded engine's process alive.  A dead engine is a state with backoff, not a crash.

The listening socket stays in the daemon, so connections made while the engine starts again wait in its backlog.
The engine's stdin is a pipe from here: when this process dies, however it dies, the engine reads EOF and ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

log = structlog.get_logger("tts_streamd.engine")

RESPAWN_S = (0.0, 0.5, 1, 2, 5, 10, 30)
"""Waits before a new process, by deaths in a row."""

STEADY_S = 10.0
"""A process that lived so long starts the count of deaths anew."""

UNANSWERED = 2
"""Connections in a row that a living process did not answer within their deadline: it hangs."""

STOP_S = 1.5
"""The engine promises to end within 1 s of EOF; then it is killed."""

SECRETS = ("ELEVENLABS_API_KEY", "CREDENTIALS_DIRECTORY", "TTS_STREAMD_UPSTREAM_API_KEY")
"""Not for child processes: the engine needs no key."""


def engine_command(fd: int) -> list[str]:
    """How the engine is started on a listening socket."""
    return [sys.executable, "-m", "tts_streamd_engine", "--fd", str(fd)]


@dataclass(slots=True, eq=False)
class Engine:
    """The actor; ``listener_fd`` is the listening socket to hand over."""

    listener_fd: int
    environ: Mapping[str, str]
    command: Callable[[int], Sequence[str]] = engine_command
    pid: int | None = field(default=None, init=False)
    deaths: int = field(default=0, init=False)
    _unanswered: int = field(default=0, init=False)

    async def run(self, ready: Callable[[], None]) -> None:
        """Run the engine until cancelled; whenever it dies, start it again."""
        ready()
        in_a_row = 0
        while True:
            started = trio.current_time()
            status: int | str
            try:
                status = await self._run_once()
            except OSError as error:  # no process to be had, for want of memory or of a limit
                status = str(error)
            self.deaths += 1
            in_a_row = 1 if trio.current_time() - started >= STEADY_S else in_a_row + 1
            wait_s = RESPAWN_S[min(in_a_row, len(RESPAWN_S)) - 1]
            log.warning("the engine died; starting it again", status=status, again_in_s=wait_s)
            await trio.sleep(wait_s)

    def answered(self) -> None:
        """A connection to the engine was opened."""
        self._unanswered = 0

    def unanswered(self) -> None:
        """A connection waited for the engine in vain: a process that hangs is killed, and started again."""
        self._unanswered += 1
        if self._unanswered >= UNANSWERED and self.pid is not None:
            log.error("the engine hangs; killing it", pid=self.pid, unanswered=self._unanswered)
            self._unanswered = 0
            os.kill(self.pid, signal.SIGKILL)

    async def _run_once(self) -> int:
        environ = {name: value for name, value in self.environ.items() if name not in SECRETS}
        process = await trio.lowlevel.open_process(
            list(self.command(self.listener_fd)),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=environ,
            pass_fds=(self.listener_fd,),
            start_new_session=True,  # Ctrl-C at the terminal is the daemon's to handle, in its order
        )
        self.pid = process.pid
        log.info("the engine starts", pid=process.pid)
        try:
            return await process.wait()
        finally:
            self.pid, self._unanswered = None, 0
            await _stop(process)


async def _stop(process: trio.Process) -> None:
    with trio.CancelScope(shield=True):
        if process.stdin is not None:
            await process.stdin.aclose()
        with trio.move_on_after(STOP_S):
            await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()
