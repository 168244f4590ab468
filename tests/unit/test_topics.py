from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_streamd_protocol import messages as m
from tts_streamd_protocol.topics import (
    METRICS,
    TICK,
    Topic,
    TopicError,
    is_valid_subscription,
    parse_topic,
    report_topic,
    topic_of,
)

u32 = st.integers(0, 2**32 - 1)
kinds = st.sampled_from(["audio", "words", "state", "heard", "end"])
labels = st.none() | st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)


@given(kinds, u32, u32, labels)
def test_a_topic_comes_back_as_it_was_built(kind, session, sid, label):
    topic = report_topic(kind, session=session, sid=sid, label=label)
    assert parse_topic(topic) == Topic(kind, label or "-", session, sid)
    assert is_valid_subscription(topic)


@given(kinds, st.tuples(u32, u32), st.tuples(u32, u32), labels, labels)
def test_no_topic_is_the_prefix_of_another(kind, one, other, label, other_label):
    first = report_topic(kind, session=one[0], sid=one[1], label=label)
    second = report_topic(kind, session=other[0], sid=other[1], label=other_label)
    assert second.startswith(first) == (first == second)


def test_topics_have_the_form_of_the_contract():
    assert report_topic("audio", session=3, sid=7) == b"audio/-/3-7/"
    assert report_topic("end", session=3, sid=7, label="kitchen") == b"end/kitchen/3-7/"
    assert parse_topic(METRICS) == Topic("metrics")
    assert parse_topic(TICK) == Topic("tick")


def test_each_report_has_the_topic_of_its_kind():
    audio = m.Audio(session=1, sid=2, seq=0, at=0, n=0, cp=0)
    state = m.State(session=1, sid=2, seq=0, state="queued", at=0)
    words = m.Words(session=1, sid=2, seq=0, words=[])
    end = m.End(
        session=1, sid=2, seq=0, reason="done", chars=0, samples=0, heard_cp=0, skipped=[], sent=0,
        stamps_ms=m.Stamps(), source=m.Source(),
    )  # fmt: skip
    topics = [topic_of(each, "x") for each in (audio, words, state, end)]
    assert topics == [b"audio/x/1-2/", b"words/x/1-2/", b"state/x/1-2/", b"end/x/1-2/"]


@pytest.mark.parametrize("label", ["", "a/b", "ä", "a b", "x" * 65, "a\n"])
def test_a_label_is_one_plain_path_element(label):
    with pytest.raises(TopicError):
        report_topic("audio", session=1, sid=1, label=label)


@pytest.mark.parametrize(
    "topic", [b"", b"audio/", b"audio/-/1-7", b"audio/-/01-7/", b"audio/-/1-7/x", b"sing/-/1-7/", b"\xff"]
)
def test_what_is_no_whole_topic_is_not_read_as_one(topic):
    with pytest.raises(TopicError):
        parse_topic(topic)


@given(st.binary(max_size=40))
def test_arbitrary_bytes_are_a_topic_or_a_topic_error(topic):
    with suppress(TopicError):
        assert parse_topic(topic).kind


@pytest.mark.parametrize("prefix", [b"", b"audio/", b"audio", b"audio/-/1-", "größe/".encode(), b"x" * 200])
def test_any_printable_prefix_may_be_subscribed_to(prefix):
    assert is_valid_subscription(prefix)


@pytest.mark.parametrize("prefix", [b"x" * 201, b"\xff", b"audio/\x00", b"audio/\n", b"\x1b[2J"])
def test_long_or_unprintable_subscriptions_are_not_answered(prefix):
    assert not is_valid_subscription(prefix)
