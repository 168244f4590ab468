import random

import pytest
import trio
import trio.testing

from tts_streamd_actors.supervisor import (
    Child,
    DynamicSupervisor,
    FatalError,
    Restart,
    StuckChildError,
    Supervisor,
    TooManyChildrenError,
)


def nothing():
    pass


async def idle(ready):
    ready()
    await trio.sleep_forever()


async def crash(ready):
    ready()
    await trio.sleep(1)
    raise ValueError("poison")


def stubborn(stop_s):
    async def run(ready):
        ready()
        with trio.CancelScope(shield=True):
            await trio.sleep(stop_s)

    return run


class Ward(DynamicSupervisor):
    """Remembers who was given up."""

    def __init__(self, **options):
        self.given_up = []
        self.stuck = []
        options = {"max_children": 1000, "on_stuck": self.stuck.append} | options
        super().__init__(
            "ward", on_give_up=lambda name, error: self.given_up.append((name, error)), **options
        )


@pytest.fixture
async def ward(nursery):
    ward = Ward()
    await start(nursery, ward)
    return ward


async def start(nursery, ward):
    up = trio.Event()
    nursery.start_soon(ward.run, up.set)
    await up.wait()


def names(ward):
    return [child.name for child in ward.statistics().children]


async def test_a_child_that_fails_is_restarted_once_then_given_up_exactly_once(autojump_clock, ward):
    n_starts = 0

    async def run(ready):
        nonlocal n_starts
        n_starts += 1
        await crash(ready)

    ward.start_child(Child("good", idle))
    ward.start_child(Child("bad", run))
    await trio.sleep(1.5)
    assert [child.restarts for child in ward.statistics().children] == [0, 1]
    await trio.sleep(100)
    assert n_starts == 2
    ((name, error),) = ward.given_up
    assert (name, str(error)) == ("bad", "poison")
    assert names(ward) == ["good"]


async def test_a_return_ends_a_child_whatever_its_restart_says(autojump_clock, ward):
    async def run(ready):
        ready()
        await trio.sleep(1)

    for restart in Restart:
        ward.start_child(Child(restart.value, run, restart))
    await trio.sleep(2)
    assert names(ward) == []
    assert ward.given_up == []


@pytest.mark.parametrize(("restart", "error"), [(Restart.NEVER, ValueError), (Restart.ALWAYS, FatalError)])
async def test_some_failures_are_given_up_at_once_and_alone(autojump_clock, ward, restart, error):
    async def run(_ready):
        raise error

    ward.start_child(Child("good", idle))
    ward.start_child(Child("bad", run, restart))
    await trio.sleep(1)
    assert [(name, type(error)) for name, error in ward.given_up] == [("bad", error)]
    assert names(ward) == ["good"]


async def test_a_thousand_children_live_fail_and_end_without_harm_to_each_other(autojump_clock, ward):
    rng = random.Random(1)
    alive = set()

    def actor(i):
        async def run(ready):
            assert i not in alive
            alive.add(i)
            try:
                await trio.sleep(rng.random())
                ready()
                await trio.sleep(rng.random() * 10)
                if i % 3 == 0:
                    raise ValueError(i)
                if i % 3 == 1:
                    return
                await trio.sleep_forever()
            finally:
                alive.discard(i)

        return run

    for i in range(1000):
        ward.start_child(Child(str(i), actor(i)))
    with pytest.raises(TooManyChildrenError):
        ward.start_child(Child("one more", idle))
    await trio.sleep(100)
    assert alive == set(range(2, 1000, 3))
    assert sorted(int(name) for name, _error in ward.given_up) == list(range(0, 1000, 3))
    assert len(names(ward)) == len(alive) == 333
    ward.start_child(Child("there is room again", idle))


async def test_a_name_is_taken_until_its_child_has_gone(autojump_clock, ward):
    ward.start_child(Child("a", stubborn(1)))
    await trio.sleep(0.1)
    with pytest.raises(ValueError, match="already"):
        ward.start_child(Child("a", idle))
    ward.stop_child("a")
    (child,) = ward.statistics().children
    assert (child.state, child.since_s) == ("stopping", pytest.approx(0.1))
    with pytest.raises(ValueError, match="already"):
        ward.start_child(Child("a", idle))
    await trio.sleep(1)
    ward.start_child(Child("a", idle))
    assert names(ward) == ["a"]


async def test_a_stopped_child_ends_and_is_neither_restarted_nor_given_up(autojump_clock, ward, caplog):
    async def run(ready):
        ready()
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("in cleanup")

    ward.start_child(Child("a", run))
    await trio.sleep(1)
    ward.stop_child("a")
    ward.stop_child("a")
    ward.stop_child("unknown")
    await trio.sleep(1)
    assert names(ward) == ward.given_up == []
    assert "in cleanup" in caplog.text


async def test_a_child_stopped_before_it_began_never_begins(autojump_clock, ward):
    async def run(_ready):
        pytest.fail("it was stopped")

    ward.start_child(Child("a", run))
    ward.stop_child("a")
    await trio.sleep(1)
    assert names(ward) == []


async def test_a_child_that_does_not_get_ready_in_time_has_failed(autojump_clock, ward):
    async def run(_ready):
        await trio.sleep_forever()

    ward.start_child(Child("a", run, start_within_s=3))
    await trio.sleep(5.9)
    assert ward.given_up == []
    await trio.sleep(0.2)
    ((_name, error),) = ward.given_up
    assert isinstance(error, TimeoutError)


async def test_a_child_may_take_its_time_once_it_is_ready(autojump_clock, ward):
    ward.start_child(Child("a", idle, start_within_s=1))
    await trio.sleep(1000)
    assert names(ward) == ["a"]
    assert ward.given_up == []


async def test_an_owner_that_fails_to_hear_of_a_failure_harms_nobody(autojump_clock, nursery, caplog):
    def on_give_up(name, error):
        raise KeyError(name)

    ward = DynamicSupervisor("ward", max_children=5, restarts_per_child=0, on_give_up=on_give_up)
    await start(nursery, ward)
    ward.start_child(Child("good", idle))
    ward.start_child(Child("bad", crash))
    await trio.sleep(5)
    assert names(ward) == ["good"]
    assert "failed to hear" in caplog.text


async def test_given_up_a_child_may_be_replaced_by_its_owner_at_once(autojump_clock, nursery):
    ward = DynamicSupervisor(
        "ward",
        max_children=1,
        restarts_per_child=0,
        on_give_up=lambda name, _error: ward.start_child(Child(name, idle)),
    )
    await start(nursery, ward)
    ward.start_child(Child("a", crash))
    await trio.sleep(5)
    assert names(ward) == ["a"]


async def test_failures_of_children_never_count_against_the_parent(autojump_clock, nursery):
    ward = Ward()
    root = Supervisor("root", [Child("ward", ward.run)], max_restarts=0)
    await start(nursery, root)
    for i in range(100):
        ward.start_child(Child(str(i), crash))
    await trio.sleep(10)
    assert len(ward.given_up) == 100
    assert root.statistics().children[0].restarts == 0


async def test_children_asked_for_while_it_does_not_run_start_with_its_next_run(autojump_clock, nursery):
    ward = Ward(max_children=2)
    ward.start_child(Child("early", idle))
    ward.start_child(Child("withdrawn", idle))
    ward.stop_child("withdrawn")
    assert [(child.name, child.state) for child in ward.statistics().children] == [("early", "starting")]
    await start(nursery, ward)
    await trio.sleep(1)
    assert [(child.name, child.state) for child in ward.statistics().children] == [("early", "running")]


async def test_children_survive_a_restart_of_their_supervisor(autojump_clock, nursery):
    ward = Ward()
    journal = []

    async def child(ready):
        journal.append("+")
        try:
            await idle(ready)
        finally:
            journal.append("-")

    n_lives = 0

    async def sibling(ready):
        nonlocal n_lives
        n_lives += 1
        ready()
        await trio.sleep(1 if n_lives == 1 else 1000)
        ward.start_child(Child("meanwhile", idle))
        raise ValueError

    root = Supervisor("root", [Child("ward", ward.run), Child("sibling", sibling)])
    root._strategy = type(root._strategy).ALL
    ward.start_child(Child("a", child))
    ward.start_child(Child("dismissed", idle))
    await start(nursery, root)
    ward.stop_child("dismissed")
    await trio.sleep(2)
    assert journal == ["+", "-", "+"]
    assert names(ward) == ["a", "meanwhile"]
    assert {child.state for child in ward.statistics().children} == {"running"}


async def test_a_cancelled_run_stops_all_together_within_one_deadline(autojump_clock):
    ward = Ward(stop_within_s=1.5)
    n_clean = 0

    async def run(ready):
        nonlocal n_clean
        ready()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            n_clean += 1

    for i in range(100):
        ward.start_child(Child(str(i), run))
    with trio.move_on_after(10):
        await ward.run(nothing)
    assert n_clean == 100
    assert trio.current_time() == pytest.approx(11)
    assert ward.stuck == []


async def test_who_does_not_stop_with_the_supervisor_is_named(autojump_clock):
    ward = Ward(stop_within_s=1.5)
    ward.start_child(Child("good", idle))
    ward.start_child(Child("bad", stubborn(60)))
    with pytest.raises(StuckChildError, match="bad"), trio.move_on_after(10):
        await ward.run(nothing)
    assert ward.stuck == [["bad"]]


@pytest.mark.parametrize("how", ["stopped", "late to start"])
async def test_a_single_child_that_does_not_stop_ends_the_tree(autojump_clock, nursery, how):
    async def run(ready):
        if how == "stopped":
            ready()
        with trio.CancelScope(shield=True):
            await trio.sleep(60)

    ward = Ward()
    root = Supervisor("root", [Child("ward", ward.run)])
    ward.start_child(Child("good", idle))
    ward.start_child(Child("bad", run, start_within_s=3, stop_within_s=2))
    if how == "stopped":
        nursery.start_soon(stop_later, ward, "bad")
    with pytest.raises(StuckChildError):
        await root.run(nothing)
    assert ward.stuck == [["bad"]]


async def stop_later(ward, name):
    await trio.sleep(1)
    ward.stop_child(name)


@pytest.mark.parametrize("seed", range(10))
async def test_a_storm_of_starts_stops_and_crashes_ends_with_nobody_left(autojump_clock, seed):
    rng = random.Random(seed)
    ward = Ward(max_children=20, restarts_per_child=2)
    alive = {}

    def actor(name):
        async def run(ready):
            assert name not in alive
            alive[name] = True
            try:
                await trio.sleep(rng.random() * 0.05)
                ready()
                await trio.sleep(rng.random() * 0.5)
                if rng.random() < 0.9:
                    raise ValueError(name)
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(rng.random() * 0.05)
                del alive[name]

        return run

    async def churn():
        while True:
            name = str(rng.randrange(30))
            if name in names(ward):
                ward.stop_child(name)
            elif len(names(ward)) < 20:
                ward.start_child(Child(name, actor(name)))
            await trio.sleep(rng.random() * 0.02)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(churn)
        for _ in range(5):  # the supervisor itself comes and goes, too
            with trio.move_on_after(rng.random() * 5):
                await ward.run(nothing)
            assert alive == {}
            await trio.sleep(rng.random() * 0.1)
        nursery.cancel_scope.cancel()
    assert alive == {}
    assert len(ward.given_up) > 0
    assert ward.stuck == []


async def test_a_child_that_stops_too_late_ends_the_tree_but_not_the_process(autojump_clock, nursery):
    ward = Ward(stop_within_s=5)
    ward.start_child(Child("late", stubborn(6), stop_within_s=2))
    nursery.start_soon(stop_later, ward, "late")
    with pytest.raises(StuckChildError, match="late"):
        await ward.run(nothing)
    assert trio.current_time() == 6
    assert ward.stuck == []
