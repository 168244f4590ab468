"""The engine's process is a real one, small; only what it does is scripted."""

import os
import signal
import subprocess
from itertools import pairwise

import pytest
import trio

from tts_streamd_actors import engine as module
from tts_streamd_actors.engine import SECRETS, Engine, engine_command

WAITS = "read x; exit 0"  # until the end of its input, as the real one does


@pytest.fixture
def listener():
    read, write = os.pipe()
    yield read
    os.close(read)
    os.close(write)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(module, "RESPAWN_S", (0.0, 0.01, 0.02))


def shell(*scripts):
    """The n-th process runs the n-th script, or the last."""
    left = list(scripts)
    return lambda fd: ["sh", "-c", left.pop(0) if len(left) > 1 else left[0], "sh", str(fd)]


async def until(condition):
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - another process makes it true
            await trio.sleep(0.005)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_it_ends_with_its_standard_input_when_the_daemon_stops(listener):
    engine = Engine(listener, os.environ, shell(WAITS))
    async with trio.open_nursery() as nursery:
        await nursery.start(run_engine, engine)
        await until(lambda: engine.pid)
        pid = engine.pid
        nursery.cancel_scope.cancel()
    assert not alive(pid)
    assert (engine.pid, engine.deaths) == (None, 0)


async def run_engine(engine, task_status):
    await engine.run(task_status.started)


async def test_one_that_does_not_end_is_killed(listener, monkeypatch):
    monkeypatch.setattr(module, "STOP_S", 0.1)
    engine = Engine(listener, os.environ, shell("trap '' TERM; while :; do sleep 1; done"))
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(run_engine, engine)
            await until(lambda: engine.pid)
            pid = engine.pid
            nursery.cancel_scope.cancel()
    assert not alive(pid)


async def test_a_dead_engine_is_started_again(listener, quick):
    engine = Engine(listener, os.environ, shell("exit 3", "kill -9 $$", WAITS))
    async with trio.open_nursery() as nursery:
        await nursery.start(run_engine, engine)
        await until(lambda: engine.deaths == 2 and engine.pid)
        first = engine.pid
        os.kill(first, signal.SIGKILL)
        await until(lambda: engine.deaths == 3 and engine.pid not in {first, None})
        nursery.cancel_scope.cancel()


async def test_the_waits_grow_with_the_deaths_in_a_row(autojump_clock, listener, monkeypatch):
    starts, lives = [], iter([0, 0, 0, 0, 0, 0, 0, 0, 100, 0])

    async def once(engine):
        starts.append(trio.current_time())
        await trio.sleep(next(lives, 10_000))
        return 1

    monkeypatch.setattr(Engine, "_run_once", once)
    engine = Engine(listener, {})
    with trio.move_on_after(5000):
        await engine.run(lambda: None)
    gaps = [round(b - a, 3) for a, b in pairwise(starts)]
    assert gaps == [0, 0.5, 1, 2, 5, 10, 30, 30, 100, 0.5]


async def test_a_process_that_cannot_be_had_is_waited_for(listener, quick):
    commands = iter([["/nonexistent/engine"], ["/nonexistent/engine"]])
    engine = Engine(listener, os.environ, lambda fd: next(commands, ["sh", "-c", WAITS]))
    async with trio.open_nursery() as nursery:
        await nursery.start(run_engine, engine)
        await until(lambda: engine.deaths == 2 and engine.pid)
        nursery.cancel_scope.cancel()


async def test_it_gets_the_listener_and_none_of_the_secrets(listener, tmp_path):
    told = tmp_path / "told"
    script = f"test -e /proc/self/fd/$1 && env > {told}.new && mv {told}.new {told}; {WAITS}"
    environ = os.environ | dict.fromkeys(SECRETS, "do not tell") | {"HARMLESS": "yes"}
    engine = Engine(listener, environ, shell(script))
    async with trio.open_nursery() as nursery:
        await nursery.start(run_engine, engine)
        await until(told.exists)
        nursery.cancel_scope.cancel()
    lines = told.read_text()
    assert "HARMLESS=yes" in lines
    assert "do not tell" not in lines


def test_the_engine_itself_is_a_module_of_this_python():
    command = engine_command(7)
    assert command[1:] == ["-m", "tts_streamd_engine", "--fd", "7"]
    shown = subprocess.run([*command[:-2], "--help"], capture_output=True, text=True, check=True, timeout=30)
    assert "--fd" in shown.stdout


async def test_an_engine_that_hangs_is_killed_and_started_again(listener, quick):
    engine = Engine(listener, os.environ, shell(WAITS))
    async with trio.open_nursery() as nursery:
        await nursery.start(run_engine, engine)
        await until(lambda: engine.pid)
        hanging = engine.pid
        for _ in range(module.UNANSWERED - 1):
            engine.unanswered()
        engine.answered()
        for _ in range(module.UNANSWERED - 1):
            engine.unanswered()
        assert engine.pid == hanging, "it answered in between"
        engine.unanswered()
        await until(lambda: engine.deaths == 1 and engine.pid)
        assert engine.pid != hanging
        nursery.cancel_scope.cancel()
