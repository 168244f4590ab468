"""Signals: SIGTERM and SIGINT stop in order, a second one at once; SIGHUP reloads."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def stop_now(signum: int) -> None:
    """Die of ``signum`` as if nobody had caught it.  The engine sees its pipe close and ends with us."""
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)


async def watch_signals(
    stop: Callable[[str], None],
    reload: Callable[[], None],
    *,
    kill: Callable[[int], None] = stop_now,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Call ``stop(name)`` at the first SIGTERM or SIGINT, ``kill`` at the next, ``reload()`` at each SIGHUP.

    Runs until it is cancelled: keep it through the ordered stop, so that a second signal still counts.
    Started with ``nursery.start`` it returns when signals are caught.  Only in the main thread.
    """
    stopping = False
    with trio.open_signal_receiver(*STOP_SIGNALS, signal.SIGHUP) as arriving:
        task_status.started()
        async for signum in arriving:
            if signum == signal.SIGHUP:
                reload()
            elif stopping:
                kill(signum)
            else:
                stopping = True
                stop(signal.Signals(signum).name)
