import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_streamd_protocol.keepalive import (
    FADE,
    LATE_S,
    MAX_ENDPOINTS,
    MAX_INTERVAL_S,
    MAX_WAIT_S,
    MIN_WAIT_S,
    START_WAIT_S,
    Closing,
    Gone,
    Heard,
    KeepAlive,
    KeepAliveDue,
    Opened,
    Pace,
    Sent,
    Settled,
    Stalled,
)


def opened(timeout_s=2.0, line="a", endpoint="e"):
    keepalive = KeepAlive()
    keepalive.feed(Opened(line, endpoint, timeout_s), 0.0)
    return keepalive


def run(keepalive, until, now=0.0):
    """Everything that falls due, with its time."""
    told = []
    while (deadline := keepalive.next_deadline()) is not None and deadline <= until:
        now = max(now, deadline)
        told += [(now, output) for output in keepalive.on_time(now)]
    return told


@pytest.mark.parametrize("timeout_s", [1, 2, 15])
def test_an_idle_line_is_kept_alive_at_no_more_than_half_its_timeout(timeout_s):
    times = [at for at, _ in run(opened(timeout_s), 100)]
    gaps = [b - a for a, b in zip([0, *times], times, strict=False)]
    assert max(gaps) <= timeout_s / 2
    assert min(gaps) > 0.4 * timeout_s


def test_a_long_timeout_is_not_believed():
    assert run(opened(180), 10) == [(MAX_INTERVAL_S, KeepAliveDue("a"))]


def test_a_line_with_traffic_gets_none():
    keepalive = opened(2)
    for tenth in range(1, 100):
        assert keepalive.feed(Sent("a"), tenth / 2) == ()
    assert run(keepalive, 49.6) == []


def test_what_we_hear_is_no_traffic_to_upstream():
    keepalive = opened(2)
    assert keepalive.feed(Heard("a"), 0.8) == ()
    assert keepalive.feed(Heard("a"), 1.0) == (KeepAliveDue("a"),)


def test_a_closing_line_is_not_kept_alive_but_still_watched():
    keepalive = opened(2)
    keepalive.feed(Sent("a", owes=True), 0.1)
    keepalive.feed(Closing("a"), 0.2)
    assert run(keepalive, 50) == [(0.1 + START_WAIT_S, Stalled("a", pytest.approx(START_WAIT_S)))]


def test_a_line_that_is_gone_is_nobodys_business():
    keepalive = opened()
    keepalive.feed(Gone("a"), 0.1)
    assert keepalive.next_deadline() is None
    for event in (Gone("a"), Sent("a", owes=True), Heard("a"), Settled("a"), Closing("a")):
        assert keepalive.feed(event, 0.2) == ()
    assert keepalive.on_time(100) == ()


def test_silence_that_is_owed_is_a_stall_told_once():
    keepalive = opened(180)
    keepalive.feed(Sent("a", owes=True), 1.0)
    assert run(keepalive, 7) == [(1 + START_WAIT_S, Stalled("a", START_WAIT_S))]
    assert keepalive.feed(Heard("a"), 7) == ()


def test_silence_that_is_not_owed_is_none():
    keepalive = opened(180)
    keepalive.feed(Sent("a"), 0.1)
    keepalive.feed(Sent("a", owes=True), 0.2)
    keepalive.feed(Heard("a"), 0.5)
    keepalive.feed(Settled("a"), 0.6)
    assert run(keepalive, 8) == []


def test_more_text_does_not_put_the_verdict_off():
    keepalive = opened(180)
    for tenth in range(15):
        assert keepalive.feed(Sent("a", owes=True), tenth / 10) == ()
    assert keepalive.feed(Sent("a", owes=True), START_WAIT_S) == (Stalled("a", START_WAIT_S),)


@pytest.mark.parametrize("first_s", [0.1, 0.3, 0.6, 0.95])
def test_after_one_utterance_a_stall_is_noticed_within_two_seconds(first_s):
    keepalive = opened(180)
    keepalive.feed(Sent("a", owes=True), 0)
    keepalive.feed(Heard("a"), first_s)
    for sent_s in (None, 4):
        if sent_s is not None:
            keepalive.feed(Sent("a", owes=True), sent_s)
        ((at, told),) = run(keepalive, 7, sent_s or first_s)
        assert isinstance(told, Stalled)
        assert MIN_WAIT_S <= at - (sent_s or first_s) < 2
        keepalive.pace("e").first(first_s)


def test_lines_of_one_endpoint_learn_together_and_others_apart():
    keepalive = opened(180)
    keepalive.feed(Opened("b", "e", 180), 0)
    keepalive.feed(Opened("c", "other", 180), 0)
    keepalive.feed(Sent("a", owes=True), 0)
    keepalive.feed(Heard("a"), 1.4)
    assert keepalive.pace("e").first_wait_s == 2.8
    assert keepalive.pace("other").first_wait_s == START_WAIT_S
    keepalive.feed(Sent("b", owes=True), 2)
    keepalive.feed(Settled("a"), 2)
    keepalive.feed(Sent("c", owes=True), 2)
    assert run(keepalive, 7, 2) == [
        (2 + START_WAIT_S, Stalled("c", START_WAIT_S)),
        (4.8, Stalled("b", pytest.approx(2.8))),
    ]


def test_lines_that_stall_together_are_one_stall():
    keepalive = KeepAlive()
    for n in range(5):
        keepalive.feed(Opened(f"l{n}", "e", 180), 0)
        keepalive.feed(Sent(f"l{n}", owes=True), n / 10)
    assert len(run(keepalive, 7)) == 5
    assert keepalive.pace("e").first_wait_s == 2 * START_WAIT_S


def test_audio_after_a_stall_ends_the_longer_waits():
    pace = Pace()
    pace.first(1)
    pace.stalled(0, 2)
    assert pace.first_wait_s == 4
    pace.gap(0.1)
    assert pace.first_wait_s == 2
    pace.stalled(3, 5)
    pace.first(1)
    assert pace.first_wait_s == 2


def test_the_next_stretch_of_speech_waits_for_its_first_audio_anew():
    keepalive = opened(180)
    keepalive.pace("e").gap(3)
    keepalive.feed(Sent("a", owes=True), 0)
    keepalive.feed(Heard("a"), 0.2)
    keepalive.feed(Settled("a"), 0.3)
    keepalive.feed(Sent("a", owes=True), 1)
    assert run(keepalive, 7, 1) == [(1 + MIN_WAIT_S, Stalled("a", MIN_WAIT_S))]


def test_long_gaps_between_frames_are_learnt():
    pace = Pace()
    pace.first(0.2)
    pace.gap(1.2)
    pace.gap(0.01)
    assert pace.gap_wait_s == 2.4
    assert pace.first_wait_s == MIN_WAIT_S


def test_a_gap_is_waited_for_as_long_as_gaps_have_taken():
    keepalive = opened(180)
    keepalive.feed(Sent("a", owes=True), 0)
    for at in (0.2, 1.1, 1.2):
        assert keepalive.feed(Heard("a"), at) == ()
    assert keepalive.pace("e").first_s == 0.2
    assert run(keepalive, 7, 1.2) == [(pytest.approx(3.0), Stalled("a", pytest.approx(1.8)))]


def test_a_bad_minute_is_forgotten():
    pace = Pace()
    pace.first(3)
    for _ in range(30):
        pace.first(0.2)
    assert pace.first_wait_s == MIN_WAIT_S
    assert 3 * FADE**30 < MIN_WAIT_S / 2


def test_a_slow_endpoint_is_measured_at_last_instead_of_stalling_for_ever():
    keepalive, now, stalls = KeepAlive(), 0.0, 0
    for n in range(10):
        keepalive.feed(Opened(f"l{n}", "e", 180), now)
        keepalive.feed(Sent(f"l{n}", owes=True), now)
        told = [output for _, output in run(keepalive, now + 5, now) if isinstance(output, Stalled)]
        now += 5
        stalls += len(told)
        if not told:
            keepalive.feed(Heard(f"l{n}"), now)  # five seconds: slow, and alive
        keepalive.feed(Gone(f"l{n}"), now)
    assert stalls == 2
    assert keepalive.pace("e").first_wait_s == MAX_WAIT_S


def test_woken_late_we_accuse_nobody():
    keepalive = opened(180)
    keepalive.feed(Sent("a", owes=True), 0)
    assert keepalive.on_time(START_WAIT_S + LATE_S + 0.1) == ()
    assert keepalive.feed(Heard("a"), START_WAIT_S + LATE_S + 0.2) == ()
    keepalive.feed(Settled("a"), 3)
    assert run(keepalive, 7) == []


def test_a_line_due_for_both_is_told_both():
    keepalive = opened(START_WAIT_S / 0.45)
    keepalive.feed(Sent("a", owes=True), 0)
    assert keepalive.on_time(START_WAIT_S + 0.01) == (KeepAliveDue("a"), Stalled("a", START_WAIT_S + 0.01))


def test_measurements_are_bounded():
    keepalive = KeepAlive()
    keepalive.pace("first").first(0.5)
    for n in range(MAX_ENDPOINTS - 1):
        keepalive.pace(f"e{n}")
    keepalive.pace("first")
    keepalive.pace("new")
    assert keepalive.pace("first").first_s == 0.5
    assert len(keepalive._paces) == MAX_ENDPOINTS


STEPS = st.tuples(
    st.sampled_from(["open", "sent", "owing", "heard", "settled", "closing", "gone", "wait"]),
    st.integers(0, 3),
    st.floats(0, 4),
)


@settings(max_examples=200)
@given(st.lists(STEPS, max_size=80))
def test_no_line_is_left_alone_for_half_its_timeout_and_none_is_accused_without_cause(walk):
    keepalive, now = KeepAlive(), 0.0
    sent, owed, closing = {}, {}, set()
    timeouts = (1.0, 2.0, 20.0, 180.0)

    def take(outputs):
        for output in outputs:
            line = output.line
            assert line in sent
            if isinstance(output, KeepAliveDue):
                assert line not in closing
                assert now - sent[line] >= min(MAX_INTERVAL_S, 0.4 * timeouts[int(line)]) - 1e-6
                sent[line] = now
            else:
                since = owed.pop(line)
                assert now - since >= MIN_WAIT_S - 1e-6
                assert output.silent_s == pytest.approx(now - since)

    for what, n, dt in walk:
        target = now + dt
        while (deadline := keepalive.next_deadline()) is not None and deadline <= target:
            now = max(now, deadline)
            take(keepalive.on_time(now))
            assert keepalive.next_deadline() is None or keepalive.next_deadline() > now
        now = target
        line = str(n)
        event = {
            "open": Opened(line, "e", timeouts[n]),
            "sent": Sent(line),
            "owing": Sent(line, owes=True),
            "heard": Heard(line),
            "settled": Settled(line),
            "closing": Closing(line),
            "gone": Gone(line),
        }.get(what)
        if event is None or (what == "open" and line in sent) or (what != "open" and line not in sent):
            continue
        match what:
            case "open":
                sent[line] = now
            case "sent":
                sent[line] = now
            case "owing":
                sent[line] = now
                owed.setdefault(line, now)
            case "heard" if line in owed:
                owed[line] = now
            case "settled":
                owed.pop(line, None)
            case "closing":
                closing.add(line)
            case "gone":
                sent.pop(line), owed.pop(line, None), closing.discard(line)
        take(keepalive.feed(event, now))
        for each, at in sent.items():
            assert each in closing or now - at <= timeouts[int(each)] / 2 + 1e-6
        assert all(now - since <= MAX_WAIT_S + 1e-6 for since in owed.values())
