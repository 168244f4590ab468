"""Observing without I/O."""

import msgspec
import pytest

from tts_streamd_client.observation import Observation

pack = msgspec.msgpack.encode


@pytest.mark.parametrize("topic", ["audio/1", "", "x" * 200 + "/"])
def test_a_topic_ends_in_a_slash_and_is_short(topic):
    with pytest.raises(ValueError, match="a topic ends in"):
        Observation([topic])


def test_a_subscription_stands_when_its_own_topic_answers():
    observation = Observation(["audio/", "end/"])
    observation.receive([b"audio/-/1-1/", pack({"op": "subscribed"})])
    assert observation.pending == {b"audio/", b"end/", b"tick/"}, "that was somebody else's"
    for topic in (b"audio/", b"end/", b"tick/"):
        observation.receive([topic, pack({"op": "subscribed"})])
    assert not observation.pending
    assert observation.next_message() is None


def test_what_is_published_comes_out_in_order_with_its_sound():
    observation = Observation(["audio/"])
    for seq in range(2):
        head = {"op": "audio", "session": 1, "sid": 1, "seq": seq, "at": 0, "n": 1, "cp": 0}
        observation.receive([b"audio/-/1-1/", pack(head), bytes([seq, 0])])
    assert [observation.next_message().data for _ in range(2)] == [b"\0\0", b"\1\0"]


def test_unknown_kinds_are_passed_over():
    observation = Observation(["audio/"])
    observation.receive([b"audio/-/1-1/", pack({"op": "weather"})])
    assert observation.next_message() is None


@pytest.mark.parametrize(("topics", "n_told"), [(["audio/"], 0), (["audio/", "tick/"], 1)])
def test_ticks_are_told_only_to_those_who_asked_for_them(topics, n_told):
    observation = Observation(topics)
    observation.receive([b"tick/", pack({"op": "tick", "boot_id": "b"})])
    assert (observation.next_message() is not None) == bool(n_told)
