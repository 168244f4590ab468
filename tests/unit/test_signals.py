import os
import signal

import pytest
import trio
import trio.testing

from tts_streamd.signals import watch_signals


@pytest.fixture
def told():
    return []


async def send(signum):
    os.kill(os.getpid(), signum)
    await trio.testing.wait_all_tasks_blocked(0.05)


@pytest.fixture
async def watching(told, nursery):
    def kill(signum):
        told.append(("kill", signum))

    await nursery.start(
        lambda task_status: watch_signals(
            lambda name: told.append(("stop", name)),
            lambda: told.append(("reload",)),
            kill=kill,
            task_status=task_status,
        )
    )


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_stops_in_order_and_the_second_at_once(watching, told, signum):
    await send(signum)
    assert told == [("stop", signum.name)]
    await send(signal.SIGTERM)
    assert told[1:] == [("kill", signal.SIGTERM)]


async def test_hangup_reloads_each_time_and_stops_nothing(watching, told):
    await send(signal.SIGHUP)
    await send(signal.SIGHUP)
    assert told == [("reload",), ("reload",)]
