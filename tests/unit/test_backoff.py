from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_streamd_protocol.backoff import (
    PROBE_S,
    REST_CAP_S,
    REST_S,
    TRIP_AFTER,
    Backoff,
    BackoffPolicy,
    Breaker,
    Circuit,
)

CHANCES = st.floats(0, 1, exclude_max=True)


def tripped(chance=0.0, at=10.0):
    breaker = Breaker(lambda: chance)
    for n in range(TRIP_AFTER):
        breaker.ended(
            breaker.begin(at - TRIP_AFTER + n + 0.5), at - TRIP_AFTER + n + 1, "upstream_unreachable"
        )
    assert breaker.state is Circuit.OPEN
    return breaker


def test_waits_grow_double_until_the_cap():
    backoff = Backoff(lambda: 1.0, BackoffPolicy(first_s=1, cap_s=5, attempts=9))
    assert [backoff.failed() for _ in range(5)] == [1, 2, 4, 5, 5]


def test_attempts_are_bounded_and_a_success_starts_anew():
    backoff = Backoff(lambda: 0.5, BackoffPolicy(attempts=3))
    assert backoff.failed() is not None
    assert backoff.failed() is not None
    backoff.succeeded()
    assert backoff.failed() is not None
    assert backoff.failed() is not None
    assert backoff.failed() is None
    assert backoff.failed() is None


def test_what_no_retry_mends_is_given_up_at_once():
    assert Backoff(lambda: 0.5).failed(retryable=False, retry_ms=5) is None


def test_the_jitter_comes_on_top_of_what_upstream_asked_for():
    assert Backoff(lambda: 0.5, BackoffPolicy(first_s=1)).failed(retry_ms=3000) == 3.5


@given(st.lists(st.tuples(CHANCES, st.none() | st.integers(0, 10**7)), max_size=300))
def test_a_wait_is_never_shorter_than_asked_nor_longer_than_the_cap_beyond_it(failures):
    draws = iter([chance for chance, _ in failures])
    policy = BackoffPolicy(first_s=0.2, cap_s=30, attempts=1000)
    backoff = Backoff(lambda: next(draws), policy)
    for n, (_, retry_ms) in enumerate(failures):
        asked = (retry_ms or 0) / 1000
        wait = backoff.failed(retry_ms=retry_ms)
        assert asked <= wait <= asked + min(30, 0.2 * 2**n)


def test_the_default_is_over_within_seven_seconds():
    backoff, waits = Backoff(lambda: 1.0), []
    while (wait := backoff.failed()) is not None:
        waits.append(wait)
    assert len(waits) == 5
    assert sum(waits) < 7


def test_a_few_failures_do_not_open_the_circuit():
    breaker = Breaker(lambda: 0)
    for now in range(TRIP_AFTER - 1):
        breaker.ended(breaker.begin(now), now + 0.5, "timeout")
    assert breaker.state is Circuit.CLOSED
    breaker.ended(breaker.begin(50), 51)
    for now in range(60, 60 + TRIP_AFTER - 1):
        breaker.ended(breaker.begin(now), now + 0.5, "timeout")
    assert breaker.state is Circuit.CLOSED
    assert breaker.next_deadline() is None


def test_connections_that_break_together_are_one_outage():
    breaker = Breaker(lambda: 0)
    attempts = [breaker.begin(n / 100) for n in range(50)]
    for n, attempt in enumerate(attempts):
        breaker.ended(attempt, 1 + n / 100, "upstream_unreachable")
    assert breaker.state is Circuit.CLOSED


def test_attempts_of_one_moment_that_fail_in_it_are_one_outage():
    breaker = Breaker(lambda: 0)
    for attempt in [breaker.begin(5.0) for _ in range(50)]:
        breaker.ended(attempt, 5.0, "upstream_unreachable")
    assert breaker.state is Circuit.CLOSED


def test_an_open_circuit_lets_nobody_through_until_its_rest_is_over_and_then_one():
    breaker = tripped()
    assert breaker.next_deadline() == 10 + REST_S / 2
    assert breaker.begin(10.5) is None
    breaker.on_time(10 + REST_S / 2)
    assert breaker.state is Circuit.HALF_OPEN
    assert breaker.begin(12) is not None
    assert breaker.begin(12) is None
    assert breaker.next_deadline() == 12 + PROBE_S


def test_a_probe_that_is_served_closes_the_circuit():
    breaker = tripped()
    breaker.ended(breaker.begin(12), 13)
    assert breaker.state is Circuit.CLOSED
    assert breaker.begin(13) is not None
    assert breaker.begin(13) is not None


def test_a_probe_that_fails_doubles_the_rest_up_to_the_cap():
    breaker, rests = tripped(chance=1.0), []
    for _ in range(8):
        now = breaker.next_deadline()
        breaker.ended(breaker.begin(now), now, "upstream_protocol")
        rests.append(breaker.next_deadline() - now)
    assert rests == [4, 8, 16, 32, REST_CAP_S, REST_CAP_S, REST_CAP_S, REST_CAP_S]


def test_a_probe_without_an_answer_has_failed():
    breaker = tripped()
    breaker.begin(12)
    breaker.on_time(12 + PROBE_S)
    assert breaker.state is Circuit.OPEN


@pytest.mark.parametrize("end", ["abandoned", "internal"])
def test_a_probe_that_says_nothing_leaves_room_for_the_next(end):
    breaker = tripped()
    probe = breaker.begin(12)
    if end == "abandoned":
        breaker.abandoned(probe)
    else:
        breaker.ended(probe, 12.5, "internal")
    assert breaker.state is Circuit.HALF_OPEN
    assert breaker.next_deadline() is None
    assert breaker.begin(13) is not None


@pytest.mark.parametrize("code", ["rate_limited", "auth_failed", "voice_not_found", "quota_exceeded"])
def test_an_endpoint_that_refuses_is_well(code):
    breaker = tripped()
    breaker.ended(breaker.begin(12), 13, code)
    assert breaker.state is Circuit.CLOSED


def test_stragglers_neither_prolong_the_rest_nor_stand_for_the_probe():
    breaker = Breaker(lambda: 0)
    straggler = breaker.begin(0)
    for n in range(TRIP_AFTER):
        breaker.ended(breaker.begin(n + 1), n + 1.5, "timeout")
    until = breaker.next_deadline()
    breaker.ended(straggler, until - 0.1, "timeout")
    assert breaker.next_deadline() == until
    probe = breaker.begin(until)
    breaker.ended(straggler, until + 1, "timeout")
    breaker.abandoned(straggler)
    assert breaker.state is Circuit.HALF_OPEN
    assert breaker.begin(until + 2) is None
    breaker.ended(probe, until + 3)
    assert breaker.state is Circuit.CLOSED


def test_news_from_a_straggler_that_is_served_closes_an_open_circuit():
    breaker = Breaker(lambda: 0)
    straggler = breaker.begin(0)
    for n in range(TRIP_AFTER):
        breaker.ended(breaker.begin(n + 1), n + 1.5, "timeout")
    breaker.ended(straggler, 5)
    assert breaker.state is Circuit.CLOSED


def test_a_rest_lasts_as_long_as_upstream_asked():
    breaker = Breaker(lambda: 0)
    for n in range(TRIP_AFTER):
        breaker.ended(breaker.begin(n), n + 0.5, "upstream_unreachable", retry_ms=40_000)
    assert breaker.next_deadline() == TRIP_AFTER - 0.5 + 40


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["begin", "good", "bad", "refused", "ours", "gone", "time"]),
            st.integers(0, 9),
            st.floats(0.01, 20),
        ),
        max_size=80,
    ),
    CHANCES,
)
def test_an_open_circuit_passes_nobody_and_a_half_open_one_a_single_probe(walk, chance):
    breaker, now, out, probes = Breaker(lambda: chance), 0.0, [], 0
    for what, n, dt in walk:
        now += dt
        breaker.on_time(now)
        before = breaker.state
        if before is not Circuit.HALF_OPEN:
            probes = 0
        if what == "begin":
            attempt = breaker.begin(now)
            assert (attempt is None) == (
                before is Circuit.OPEN or (before is Circuit.HALF_OPEN and probes == 1)
            )
            if attempt is not None:
                out.append(attempt)
                probes += before is Circuit.HALF_OPEN
        elif out and what != "time":
            attempt = out.pop(n % len(out))
            was_probe = attempt == breaker._probe
            if what == "gone":
                breaker.abandoned(attempt)
            else:
                code = {"good": None, "bad": "timeout", "refused": "rate_limited", "ours": "busy"}[what]
                breaker.ended(attempt, now, code)
            probes -= was_probe
        deadline = breaker.next_deadline()
        assert deadline is None or now < deadline < now + REST_CAP_S + PROBE_S < inf
        assert breaker.state is not Circuit.OPEN or deadline is not None, "it would never open again"
    for _ in range(200):
        if breaker.state is Circuit.CLOSED:
            break
        now = breaker.next_deadline() or now
        attempt = breaker.begin(now)
        if attempt is not None:
            breaker.ended(attempt, now)
    assert breaker.state is Circuit.CLOSED, "a healthy endpoint is found again"
