import random
import subprocess
import sys

import pytest
import trio

from tts_streamd_actors.supervisor import (
    Child,
    FatalError,
    Restart,
    RestartLimitError,
    Strategy,
    StuckChildError,
    Supervisor,
)


class Journal(list):
    """Makes actors that record their starts and stops and crash on demand."""

    def actor(self, name, *, crash_at=(), life_s=None):
        count = 0

        async def run(ready):
            nonlocal count
            count += 1
            self.append(f"+{name}")
            try:
                ready()
                if count in crash_at:
                    await trio.sleep(1)
                    raise ValueError(name)
                await trio.sleep(float("inf") if life_s is None else life_s)
            finally:
                self.append(f"-{name}")

        return run


def slow_to_stop(name, stop_s, journal=None):
    async def run(ready):
        ready()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(stop_s)
            if journal is not None:
                journal.append(name)

    return run


async def idle(ready):
    ready()
    await trio.sleep_forever()


def nothing():
    pass


async def run_for(supervisor, seconds):
    with trio.move_on_after(seconds):
        await supervisor.run(nothing)


def states(supervisor):
    return {child.name: child.state for child in supervisor.statistics().children}


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Strategy.ONE, "+a +b +c -b +b -c -b -a"),
        (Strategy.REST, "+a +b +c -b -c +b +c -c -b -a"),
        (Strategy.ALL, "+a +b +c -b -c -a +a +b +c -c -b -a"),
    ],
)
async def test_a_crash_takes_down_the_siblings_the_strategy_names(autojump_clock, strategy, expected):
    journal = Journal()
    children = [
        Child("a", journal.actor("a")),
        Child("b", journal.actor("b", crash_at={1})),
        Child("c", journal.actor("c")),
    ]
    await run_for(Supervisor("s", children, strategy=strategy), 100)
    assert " ".join(journal) == expected


async def test_too_many_restarts_escalate_with_their_cause(autojump_clock):
    journal = Journal()
    child = Child("a", journal.actor("a", crash_at=range(100)))
    with pytest.raises(RestartLimitError, match="s/a: more than 3 restarts in 30 s") as caught:
        await Supervisor("s", [child], max_restarts=3, within_s=30).run(nothing)
    assert isinstance(caught.value.__cause__, ValueError)
    assert journal.count("+a") == 4
    assert trio.current_time() == pytest.approx(4)


async def test_slow_crashes_do_not_escalate(autojump_clock):
    n_starts = 0

    async def run(ready):
        nonlocal n_starts
        n_starts += 1
        ready()
        await trio.sleep(20)
        raise ValueError

    await run_for(Supervisor("s", [Child("a", run)], max_restarts=2, within_s=30), 1000)
    assert n_starts == 50


async def test_escalation_is_restarted_by_the_parent(autojump_clock):
    journal = Journal()
    inner = Supervisor("inner", [Child("a", journal.actor("a", crash_at={1, 2}))], max_restarts=1)
    outer = Supervisor("outer", [Child("inner", inner.run, stop_within_s=6)], max_restarts=1, within_s=60)
    await run_for(outer, 100)
    assert journal.count("+a") == 3
    assert outer.statistics().children == ()


async def test_a_return_is_a_normal_end_only_for_those_restarted_on_crash(autojump_clock):
    journal = Journal()
    await Supervisor("s", [Child("a", journal.actor("a", life_s=1), Restart.ON_CRASH)]).run(nothing)
    assert journal == ["+a", "-a"]
    with pytest.raises(RestartLimitError):
        await Supervisor("s", [Child("a", journal.actor("a", life_s=1))], max_restarts=2).run(nothing)


async def test_a_child_that_is_never_restarted_ends_alone(autojump_clock):
    journal = Journal()
    children = [
        Child("a", journal.actor("a", crash_at={1}), Restart.NEVER),
        Child("b", journal.actor("b")),
    ]
    await run_for(Supervisor("s", children), 10)
    assert journal == ["+a", "+b", "-a", "-b"]


@pytest.mark.parametrize("at_s", [0, 3])
async def test_a_fatal_error_stops_the_tree_at_once(autojump_clock, at_s):
    journal = Journal()

    async def run(ready):
        async with trio.open_nursery():  # so it arrives in a group
            if at_s:
                ready()
            await trio.sleep(at_s)
            raise FatalError("port taken")

    children = [Child("a", journal.actor("a")), Child("b", run)]
    inner = Supervisor("inner", children)
    with pytest.raises(FatalError, match="port taken"):
        await Supervisor("outer", [Child("inner", inner.run)]).run(nothing)
    assert trio.current_time() == at_s
    assert journal == ["+a", "-a"]


async def test_nothing_is_started_after_a_fatal_error_at_the_start(autojump_clock):
    journal = Journal()

    async def run(_ready):
        raise FatalError("port taken")

    with pytest.raises(FatalError):
        await Supervisor("s", [Child("a", run), Child("b", journal.actor("b"))]).run(nothing)
    assert journal == []


async def test_a_child_that_never_gets_ready_counts_as_a_crash(autojump_clock, caplog):
    async def run(_ready):
        await trio.sleep_forever()

    with pytest.raises(RestartLimitError):
        await Supervisor("s", [Child("a", run, start_within_s=1)], max_restarts=2).run(nothing)
    assert trio.current_time() == pytest.approx(3)
    assert "not ready within 1 s" in caplog.text


async def test_the_next_child_starts_when_the_last_is_ready_and_all_are_before_the_supervisor_is(
    autojump_clock,
):
    journal = []

    def slow(name):
        async def run(ready):
            journal.append(f"+{name}")
            await trio.sleep(1)
            journal.append(f"{name} ready")
            ready()
            await trio.sleep_forever()

        return run

    supervisor = Supervisor("s", [Child("a", slow("a")), Child("b", slow("b"))])
    with trio.move_on_after(10):
        await supervisor.run(lambda: journal.append("all ready"))
    assert journal == ["+a", "a ready", "+b", "b ready", "all ready"]


async def test_a_supervisor_is_not_ready_while_a_child_fails_to_start(autojump_clock):
    n_starts = 0
    ready_at = []

    async def run(ready):
        nonlocal n_starts
        n_starts += 1
        await trio.sleep(1)
        if n_starts < 3:
            raise ValueError
        ready()
        await trio.sleep_forever()

    supervisor = Supervisor("s", [Child("a", run), Child("b", idle)])
    with trio.move_on_after(10):
        await supervisor.run(lambda: ready_at.append(trio.current_time()))
    assert ready_at == [pytest.approx(3)]


async def test_a_stop_is_reversed_and_lets_each_child_finish(autojump_clock):
    journal = []
    children = [Child(name, slow_to_stop(name, 0.5, journal)) for name in "abc"]
    await run_for(Supervisor("s", children), 1)
    assert journal == ["c", "b", "a"]
    assert trio.current_time() == pytest.approx(2.5)


async def test_messages_queued_at_a_crash_are_read_by_the_next_incarnation(autojump_clock):
    send, receive = trio.open_memory_channel(10)
    got = []

    async def run(ready):
        ready()
        async for n in receive:
            if n == 2:
                raise ValueError("poison")
            got.append(n)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_for, Supervisor("s", [Child("a", run)]), 10)
        for n in (1, 2, 3):
            await send.send(n)
    assert got == [1, 3]


async def test_a_keyboard_interrupt_in_a_child_escapes_and_stops_all(autojump_clock):
    journal = Journal()

    async def run(ready):
        ready()
        await trio.sleep(1)
        raise KeyboardInterrupt

    with pytest.raises(BaseExceptionGroup) as caught:
        await Supervisor("s", [Child("a", journal.actor("a")), Child("b", run)]).run(nothing)
    assert pytest.RaisesGroup(KeyboardInterrupt, flatten_subgroups=True).matches(caught.value)
    assert journal == ["+a", "-a"]


async def test_an_error_raised_while_stopping_is_not_lost(autojump_clock, caplog):
    async def run(ready):
        ready()
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("in cleanup")

    await run_for(Supervisor("s", [Child("a", run)]), 1)
    assert "in cleanup" in caplog.text


async def test_each_failure_is_logged_once_with_its_cause(autojump_clock, caplog):
    journal = Journal()
    inner = Supervisor("inner", [Child("a", journal.actor("poison", crash_at={1, 2}))], max_restarts=1)
    await run_for(Supervisor("outer", [Child("inner", inner.run)]), 100)
    traces = [record for record in caplog.records if record.exc_info]
    assert len(traces) == 2
    assert "ValueError: poison" in caplog.text
    assert [record.name for record in caplog.records] == ["tts_streamd.supervisor"] * 3


# -- stuck children ------------------------------------------------------------------------------------------


async def test_a_stuck_child_is_named_and_never_restarted_beside_itself(autojump_clock):
    stuck = []
    n_lives = n_starts = 0

    async def stubborn(ready):
        nonlocal n_lives, n_starts
        n_lives += 1
        n_starts += 1
        assert n_lives == 1
        ready()
        with trio.CancelScope(shield=True):
            await trio.sleep(30)
        n_lives -= 1

    journal = Journal()
    children = [
        Child("a", journal.actor("a")),
        Child("b", journal.actor("b", crash_at={1})),
        Child("stubborn", stubborn),
    ]
    supervisor = Supervisor(
        "s",
        children,
        strategy=Strategy.REST,
        on_stuck=lambda names: stuck.append((trio.current_time(), names)),
    )
    with pytest.raises(StuckChildError, match="stubborn"):
        await supervisor.run(nothing)
    assert stuck == [(pytest.approx(1 + 2 + 5), ["stubborn"])]  # its crash, its own time, the whole stop
    assert journal == ["+a", "+b", "-b", "-a"]
    assert n_starts == 1


async def test_a_stuck_child_ends_the_whole_tree(autojump_clock):
    stuck = []
    inner = Supervisor(
        "inner",
        [Child("a", Journal().actor("a", crash_at={1})), Child("stubborn", slow_to_stop("stubborn", 10))],
        strategy=Strategy.ALL,
        stop_within_s=2,
        on_stuck=stuck.append,
    )
    outer = Supervisor("outer", [Child("inner", inner.run)])
    with pytest.raises(StuckChildError):
        await outer.run(nothing)
    assert stuck == [["stubborn"]]


async def test_a_child_that_ignores_the_end_of_its_time_to_start_is_stuck(autojump_clock):
    async def run(_ready):
        with trio.CancelScope(shield=True):
            await trio.sleep(60)

    stuck = []
    supervisor = Supervisor("s", [Child("a", run, start_within_s=1)], on_stuck=stuck.append)
    with pytest.raises(StuckChildError):
        await supervisor.run(nothing)
    assert stuck == [["a"]]


async def test_the_whole_stop_has_one_deadline_and_names_who_did_not_stop(autojump_clock):
    journal, stuck = [], []
    children = [
        Child("polite", slow_to_stop("polite", 0, journal)),
        *(Child(f"stubborn{n}", slow_to_stop("stubborn", 60), stop_within_s=10) for n in range(3)),
        Child("last", slow_to_stop("last", 1, journal)),
    ]

    def on_stuck(names):
        stuck.append((trio.current_time(), tuple(names), tuple(journal)))

    supervisor = Supervisor("s", children, stop_within_s=4, on_stuck=on_stuck)
    with pytest.raises(StuckChildError):
        await run_for(supervisor, 10)
    # "polite" stopped, although its turn never came
    assert stuck == [(pytest.approx(14), ("stubborn0", "stubborn1", "stubborn2"), ("last", "polite"))]


def test_by_default_a_stuck_child_ends_the_process():
    code = """
import logging, trio
from tts_streamd_actors.supervisor import Child, Supervisor
logging.basicConfig()
async def stubborn(ready):
    ready()
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()
async def main():
    with trio.move_on_after(0.1):
        await Supervisor("s", [Child("stubborn", stubborn)], stop_within_s=0.2).run(lambda: None)
trio.run(main)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 70
    assert "CRITICAL:tts_streamd.supervisor:did not stop in time: stubborn" in ended.stderr


# -- statistics and storms -----------------------------------------------------------------------------------


async def test_statistics_say_who_starts_runs_and_stops_since_when_and_how_often(autojump_clock):
    async def late(ready):
        await trio.sleep(2)
        ready()
        await trio.sleep_forever()

    children = [
        Child("a", Journal().actor("a", crash_at={1})),
        Child("late", late),
        Child("slow", slow_to_stop("slow", 1)),
    ]
    supervisor = Supervisor("s", children)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run, nothing)
        await trio.sleep(1.5)
        assert states(supervisor) == {"a": "running", "late": "starting"}
        await trio.sleep(1.5)
        assert states(supervisor) == {"a": "running", "late": "running", "slow": "running"}
        a, late_one, _slow = supervisor.statistics().children
        assert (a.restarts, late_one.restarts) == (1, 0)
        assert (a.since_s, late_one.since_s) == (pytest.approx(2), pytest.approx(2))
        nursery.cancel_scope.cancel()
        await trio.lowlevel.cancel_shielded_checkpoint()
        with trio.CancelScope(shield=True):
            await trio.sleep(0.5)
        assert states(supervisor) == {"a": "running", "late": "running", "slow": "stopping"}
    assert supervisor.statistics().children == ()


@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.parametrize("seed", range(10))
async def test_a_crash_storm_leaves_every_child_running_once(autojump_clock, strategy, seed):
    rng = random.Random(seed)
    alive = dict.fromkeys(range(5), 0)

    def actor(i):
        async def run(ready):
            alive[i] += 1
            assert alive[i] == 1
            try:
                if rng.random() < 0.8 or trio.current_time() > 50:
                    ready()
                await trio.sleep(rng.choice([0, 0, 0.1, 1]) if trio.current_time() < 50 else float("inf"))
                raise ValueError
            finally:
                alive[i] -= 1

        return run

    children = [Child(str(i), actor(i), start_within_s=0.5) for i in range(5)]
    supervisor = Supervisor("s", children, strategy=strategy, max_restarts=10**9)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run, nothing)
        await trio.sleep(200)
        assert alive == dict.fromkeys(range(5), 1)
        nursery.cancel_scope.cancel()
    assert alive == dict.fromkeys(range(5), 0)


@pytest.mark.parametrize("seed", range(20))
async def test_cancelled_at_any_moment_a_supervisor_leaves_nobody_behind(autojump_clock, seed):
    rng = random.Random(seed)
    alive = 0

    async def run(ready):
        nonlocal alive
        alive += 1
        try:
            await trio.sleep(rng.random() * 0.1)
            ready()
            await trio.sleep(rng.random())
            raise ValueError
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(rng.random() * 0.1)
            alive -= 1

    inner = Supervisor("inner", [Child(str(i), run) for i in range(3)], max_restarts=1000)
    outer = Supervisor("outer", [Child("inner", inner.run), Child("x", run)], max_restarts=1000)
    await run_for(outer, rng.random() * 5)
    assert alive == 0
