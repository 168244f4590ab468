import msgspec
import pytest
import trio

from tts_streamd_actors.bus import Bus


class Ping(msgspec.Struct, frozen=True, tag_field="op", tag="ping"):
    n: int


def watch(bus, prefix=""):
    seen = []
    bus.tap(
        lambda name, head, payload: seen.append((name, msgspec.msgpack.decode(head), payload)), prefix=prefix
    )
    return seen


def test_a_mailbox_is_found_by_its_name_until_it_is_removed():
    bus = Bus()
    mailbox = bus.create("a", Ping, 2)
    assert bus.get("a") is mailbox
    with pytest.raises(ValueError, match="already"):
        bus.create("a", Ping, 2)
    bus.remove("a")
    bus.remove("a")
    assert bus.get("a") is None
    assert not mailbox.offer(Ping(1))
    assert bus.create("a", Ping, 2) is not mailbox


def test_a_removed_mailbox_may_still_be_read_by_its_actor():
    bus = Bus()
    mailbox = bus.create("a", Ping, 2)
    mailbox.offer(Ping(1))
    bus.remove("a")
    assert mailbox.receive_nowait().message == Ping(1)
    with pytest.raises(trio.EndOfChannel):
        mailbox.receive_nowait()


def test_the_bounds_of_a_mailbox_are_passed_on():
    mailbox = Bus().create("a", Ping, 3, urgent_capacity=1, max_payload_bytes=10)
    assert mailbox.capacity == 3
    assert not mailbox.offer(Ping(1), bytes(11))
    assert mailbox.offer(Ping(1), urgent=True)
    assert not mailbox.offer(Ping(1), urgent=True)


def test_a_tap_sees_what_is_queued_at_old_and_new_mailboxes():
    bus = Bus()
    a = bus.create("a", Ping, 1)
    seen = watch(bus)
    b = bus.create("b", Ping, 1)
    assert a.offer(Ping(1), b"pcm")
    assert not a.offer(Ping(2))
    assert b.offer(Ping(3))
    assert seen == [("a", {"op": "ping", "n": 1}, b"pcm"), ("b", {"op": "ping", "n": 3}, b"")]


def test_a_tap_may_be_limited_to_actors_by_prefix():
    bus = Bus()
    stream, link = bus.create("stream/1", Ping, 5), bus.create("link/1", Ping, 5)
    seen = watch(bus, "stream/")
    stream.offer(Ping(1))
    link.offer(Ping(2))
    bus.create("stream/2", Ping, 5).offer(Ping(3))
    assert [name for name, _message, _payload in seen] == ["stream/1", "stream/2"]


def test_nobody_taps_nothing_is_called_and_the_next_tap_replaces_the_last():
    bus = Bus()
    a = bus.create("a", Ping, 10)
    assert a.tap is None
    first = watch(bus)
    second = watch(bus)
    a.offer(Ping(1))
    bus.tap(None)
    assert a.tap is None
    a.offer(Ping(2))
    assert first == []
    assert len(second) == 1


async def test_a_tap_sees_questions_and_answers(nursery):
    bus = Bus()
    a = bus.create("a", Ping, 10)
    seen = watch(bus)

    async def answer():
        (await a.receive()).answer(["pong"])

    nursery.start_soon(answer)
    assert await a.ask(Ping(1), reply=list[str], within_s=5) == ["pong"]
    assert [message for _name, message, _payload in seen] == [
        {"op": "ping", "n": 1},
        {"op": "answer", "id": 1, "value": ["pong"]},
    ]


def test_statistics_tell_of_every_mailbox_in_order():
    bus = Bus()
    for name in "ab":
        bus.create(name, Ping, 2)
    mailbox = bus.get("b")
    for n in range(3):
        mailbox.offer(Ping(n), b"1234")
    mailbox.drain(1)
    a, b = bus.statistics().mailboxes
    assert (a.name, a.depth, a.capacity) == ("a", 0, 2)
    assert (b.name, b.depth, b.received, b.refused, b.payload_bytes) == ("b", 1, 1, 1, 4)
    assert not bus.statistics().tapped
    watch(bus)
    assert bus.statistics().tapped
