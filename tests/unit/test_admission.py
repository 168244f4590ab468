from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_streamd_protocol import admission
from tts_streamd_protocol.admission import (
    ALONE_CAP_S,
    ALONE_S,
    REST_CAP_S,
    REST_S,
    START_LIMIT,
    STEP,
    Admission,
    limit_in,
)
from tts_streamd_protocol.errors import TtsStreamdError
from tts_streamd_protocol.messages import Priority

PRIORITIES = get_args(Priority)
WORDS = (
    "Too many concurrent requests. Your current subscription is associated with a maximum of 2 concurrent "
    "requests (running in parallel)."
)


def asked(slots, *names, priority="message", now=0.0):
    return [given for name in names for given in slots.ask(name, priority, now)]


def full(configured=1):
    slots = Admission(configured)
    asked(slots, *(f"h{n}" for n in range(configured)))
    return slots


def test_up_to_the_configured_limit_everybody_is_served_at_once():
    slots = Admission(2)
    assert asked(slots, "a", "b", "c") == ["a", "b"]
    assert (slots.holds("a"), slots.holds("c")) == (True, False)
    assert (slots.n_held, slots.n_waiting) == (2, 1)
    assert slots.release("a", 1) == ("c",)
    assert slots.release("b", 1) == ()


def test_priority_goes_before_arrival_and_arrival_decides_within_it():
    slots = full()
    for n, priority in enumerate(("progress", "text", "message", "important", "notification", "text")):
        asked(slots, f"{priority}{n}", priority=priority)
    order = ["important3", "message2", "text1", "text5", "notification4", "progress0"]
    assert list(slots.waiting()) == order
    assert [slots.place(name) for name in order] == [1, 2, 3, 4, 5, 6]
    served, holder = [], "h0"
    while slots.n_waiting:
        (holder,) = slots.release(holder, 1)
        served.append(holder)
    assert served == order


def test_one_that_does_not_wait_has_no_place():
    slots = full()
    assert (slots.place("h0"), slots.place("nobody")) == (None, None)


def test_a_waiter_that_gives_up_moves_the_others_up():
    slots = full()
    asked(slots, "a", "b", "c")
    assert slots.release("b", 1) == ()
    assert slots.place("c") == 2
    assert slots.release("nobody", 1) == ()
    assert slots.release("h0", 1) == ("a",)


def test_asking_twice_is_our_bug():
    slots = full()
    asked(slots, "a")
    for name in ("a", "h0"):
        with pytest.raises(ValueError, match="already"):
            slots.ask(name, "text", 1)


def test_the_queue_is_bounded(monkeypatch):
    monkeypatch.setattr(admission, "MAX_WAITING", 2)
    slots = full()
    asked(slots, "a", "b")
    with pytest.raises(TtsStreamdError, match="busy"):
        slots.ask("c", "important", 1)
    assert (slots.n_waiting, slots.place("c")) == (2, None)


def test_an_unknown_limit_is_probed_by_a_few_and_raised_by_who_is_served():
    slots = Admission()
    names = [f"s{n}" for n in range(30)]
    given = asked(slots, *names)
    assert given == names[: START_LIMIT + START_LIMIT // 2]
    assert slots.served(names[0], 1) == ()
    assert slots.limit == START_LIMIT
    assert slots.served(names[5], 1) == tuple(names[6:9])
    assert slots.limit == 6
    assert slots.served(names[8], 2) == tuple(names[9:13])
    assert slots.room(2) == 9 + STEP


def test_who_is_served_after_others_have_left_proves_less():
    slots = Admission()
    asked(slots, *(f"s{n}" for n in range(6)))
    for n in range(4):
        slots.release(f"s{n}", 1)
    slots.served("s5", 1)
    assert slots.limit == START_LIMIT


def test_a_refused_one_waits_at_its_old_place_and_the_limit_is_what_was_borne():
    slots = Admission()
    asked(slots, *(f"s{n}" for n in range(9)))
    assert slots.refused("s5", 1) == ()
    assert (slots.limit, slots.room(1)) == (5, 5)
    assert slots.place("s5") == 1
    assert slots.refused("s4", 1) == ()
    assert slots.limit == 4
    assert list(slots.waiting())[:2] == ["s4", "s5"]
    assert slots.release("s0", 2) == ("s4",)
    assert slots.served("s4", 2) == ()
    assert slots.next_deadline() == 1 + REST_S
    assert slots.on_time(1 + REST_S) == ("s5",)
    assert slots.served("s5", 12) == ("s6",)


def test_the_rest_doubles_with_each_probe_in_vain_and_ends_with_one_that_is_served():
    slots, now, rests = Admission(), 0.0, []
    asked(slots, *(f"s{n}" for n in range(30)))
    slots.refused("s5", now)
    slots.refused("s4", now)
    while len(rests) < 7:
        rests.append(slots.next_deadline() - now)
        now = slots.next_deadline()
        (probe,) = slots.on_time(now)
        slots.refused(probe, now)
    assert rests == [10, 20, 40, 80, 160, 320, REST_CAP_S]
    now = slots.next_deadline()
    (probe,) = slots.on_time(now)
    (another,) = slots.served(probe, now)
    slots.refused(another, now)
    assert slots.next_deadline() == now + REST_S


def test_a_refusal_of_somebody_without_a_slot_means_nothing():
    slots = full()
    asked(slots, "a")
    assert slots.refused("a", 1) == ()
    assert slots.served("a", 1) == ()
    assert slots.limit == 1
    assert slots.place("a") == 1


def test_upstreams_wish_to_wait_is_kept_by_all_and_believed_for_a_minute():
    slots = full(2)
    asked(slots, "a")
    slots.refused("h1", 1, retry_ms=2000)
    assert slots.release("h0", 2) == ()
    assert slots.next_deadline() == 3
    assert slots.on_time(3) == ("h1",)
    slots.refused("h1", 4, retry_ms=10**8)
    assert slots.on_time(63.9) == ()
    assert slots.on_time(64) == ("h1", "a")


def test_refused_with_nothing_else_in_use_the_pause_grows_until_somebody_is_served():
    slots, now, pauses = Admission(1), 0.0, []
    asked(slots, "a")
    for _ in range(7):
        assert slots.refused("a", now) == ()
        pauses.append(slots.next_deadline() - now)
        now = slots.next_deadline()
        assert slots.on_time(now) == ("a",)
    assert pauses == [0.5, 1, 2, 4, 8, ALONE_CAP_S, ALONE_CAP_S]
    slots.served("a", now)
    slots.refused("a", now)
    assert slots.next_deadline() - now == pytest.approx(ALONE_S)


def test_what_upstream_tells_is_the_limit():
    slots = Admission()
    asked(slots, *(f"s{n}" for n in range(30)))
    assert len(slots.told(10, 1)) == 4
    assert (slots.ceiling, slots.limit, slots.room(1)) == (10, 10, 10)
    slots.told(10, 2)
    slots.told(None, 2)
    slots.told(0, 2)
    assert slots.ceiling == 10
    assert len(slots.told(12, 3)) == 2
    slots.told(3, 4)
    assert slots.room(4) == 3


def test_what_is_configured_is_never_exceeded_and_upstream_may_lower_it():
    slots = Admission(5)
    asked(slots, *(f"s{n}" for n in range(9)))
    slots.told(20, 1)
    assert (slots.limit, slots.room(1)) == (5, 5)
    slots.told(2, 1)
    assert slots.room(1) == 2


def test_a_refusal_may_name_the_limit():
    slots = Admission()
    asked(slots, *(f"s{n}" for n in range(9)))
    slots.refused("s5", 1, words=WORDS)
    assert (slots.ceiling, slots.limit) == (2, 2)


def test_after_a_refusal_a_told_limit_is_come_near_step_by_step():
    slots = Admission()
    asked(slots, *(f"s{n}" for n in range(9)))
    slots.refused("s5", 1)
    slots.told(8, 2)
    assert (slots.limit, slots.room(2), slots.room(99)) == (5, 5, 6)


def test_limits_are_read_from_words():
    assert limit_in(WORDS) == 2
    assert limit_in("The system is busy") is None


@pytest.mark.parametrize("nonsense", [0, -3])
def test_a_limit_below_one_is_one(nonsense):
    assert asked(Admission(nonsense), "a", "b") == ["a"]


@pytest.mark.parametrize("account", [2, 4, 7, 10, 15, 30])
def test_two_hundred_at_once_meet_few_refusals_and_are_served_in_order(account):
    """Streams of 1.3 s whose first audio comes after 0.3 s, or a 429 after 0.05 s."""
    slots, now, refusals, served, upstream = Admission(), 0.0, 0, [], {}
    begun = [name for n in range(200) for name in slots.ask(f"s{n:03}", "message", 0.0)]
    events = []  # (at, what, name)
    while begun or events:
        for name in begun:
            if len(upstream) < account:
                upstream[name] = now
                events += [(now + 0.3, "served", name), (now + 1.3, "release", name)]
            else:
                events.append((now + 0.05, "refused", name))
        events.sort()
        deadline = slots.next_deadline()
        if deadline is not None and (not events or deadline < events[0][0]):
            now, begun = deadline, slots.on_time(deadline)
            continue
        if not events:
            break
        now, what, name = events.pop(0)
        if what == "release":
            del upstream[name]
            served.append(name)
        refusals += what == "refused"
        begun = getattr(slots, what)(name, now)
    assert sorted(served) == [f"s{n:03}" for n in range(200)]
    assert refusals <= 10
    overtaken = max(abs(n - int(name[1:])) for n, name in enumerate(served))
    assert overtaken <= STEP, "only the refused are overtaken, by those who started at the same time"
    assert (slots.n_held, slots.n_waiting) == (0, 0)


STEPS = st.tuples(
    st.sampled_from(["ask", "ask", "ask", "release", "cancel", "served", "refused", "told", "time"]),
    st.integers(0, 11),
    st.sampled_from(PRIORITIES),
    st.floats(0, 15),
)


@settings(max_examples=300)
@given(st.none() | st.integers(1, 8), st.lists(STEPS, max_size=120))
def test_never_above_the_limit_fair_within_a_priority_and_no_slot_lost(configured, walk):  # noqa: PLR0915  one walk
    slots, now, numbers = Admission(configured), 0.0, 0
    held, waiting = set(), {}  # waiting: name -> (rank, arrival)
    arrivals = {}

    def check(given):
        for name in given:
            assert waiting[name] == min(waiting.values()), "somebody was passed over"
            del waiting[name]
            held.add(name)
        if given:
            assert len(held) <= slots.room(now)
            assert len(held) <= slots.limit + STEP
            assert configured is None or len(held) <= configured
        assert held == {name for name in arrivals if slots.holds(name)}
        assert list(slots.waiting()) == sorted(waiting, key=waiting.get)
        assert (slots.n_held, slots.n_waiting) == (len(held), len(waiting))
        assert slots.limit >= 1
        for place, name in enumerate(slots.waiting(), 1):
            assert slots.place(name) == place
        assert not waiting or len(held) >= slots.room(now), "a slot is free and somebody waits"

    for what, n, priority, dt in walk:
        now += dt
        holder = sorted(held)[n % len(held)] if held else None
        match what:
            case "ask":
                numbers += 1
                name = f"s{numbers}"
                arrivals[name] = waiting[name] = (PRIORITIES.index(priority), numbers)
                check(slots.ask(name, priority, now))
            case "release" if held:
                held.discard(holder)
                check(slots.release(holder, now))
            case "cancel" if waiting:
                name = sorted(waiting)[n % len(waiting)]
                del waiting[name]
                check(slots.release(name, now))
            case "served" if held:
                check(slots.served(holder, now))
            case "refused" if held:
                held.discard(holder)
                waiting[holder] = arrivals[holder]
                check(slots.refused(holder, now, retry_ms=n * 500 if n % 2 else None))
            case "told":
                check(slots.told(n, now))
            case _:
                check(slots.on_time(now))
        assert slots.next_deadline() is None or slots.next_deadline() > now
    for _ in range(3 * numbers):  # everybody is served in the end
        if held:
            holder = min(held)
            held.discard(holder)
            check(slots.release(holder, now))
        elif (deadline := slots.next_deadline()) is not None:
            now = deadline
            check(slots.on_time(now))
    assert not held
    assert not waiting
