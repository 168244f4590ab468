"""Bad input: each gets its typed error, and nobody else is harmed."""

from __future__ import annotations

import random

import msgpack
import pytest

from busclient import Bus, BusError

WORDS = ("while", "somebody", "else", "sends", "rubbish,", "this", "one", "goes", "on", "and", "on.")


def pack(**message):
    return msgpack.packb(message)


class Sender(Bus):
    def expect(self, code, *frames):
        self.errors.clear()
        self.socket.send_multipart(list(frames))
        for _ in range(20):
            if self.errors:
                break
            self.step(0.5)
        assert self.errors, f"no error for {code}: {frames[0][:40]!r}"
        head = self.errors[0]
        assert head["code"] == code, head
        assert head["message"]
        assert isinstance(head["retryable"], bool)
        return head


@pytest.fixture
def bad(daemon_dir):
    with Sender(daemon_dir) as bus:
        yield bus


def test_hello_comes_first_and_in_a_version_that_is_spoken_here(daemon_dir):
    with Sender(daemon_dir, hello=False) as stranger:
        assert stranger.expect("hello_required", pack(op="speak", rid=1, sid=1, text="hi"))["rid"] == 1
        assert stranger.expect("unsupported_version", pack(op="hello", rid=2, proto=[9, 0], client="x"))[
            "supported"
        ]
        assert stranger.ask(op="hello", proto=[1, 0], client="x")["op"] == "welcome"


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"\xc1"],
        [b"\x93\x01\x02\x03"],
        [pack(rid=1)],
        [b"GET / HTTP/1.1\r\n\r\n"],
        [pack(op="ping"), b"x"],
    ],
)
def test_what_is_no_message_is_told_so(bad, frames):
    bad.expect("bad_message", *frames)


@pytest.mark.parametrize(
    ("code", "frame"),
    [
        ("unknown_op", pack(op="sing", rid=3)),
        ("unknown_op", pack(op="pause", rid=3, sid=1)),
        ("no_such_stream", pack(op="text", sid=77, text="x")),
        ("bad_value", pack(op="open", rid=4, sid=-1)),
        ("bad_value", pack(op="open", rid=5, sid=5, schedule=[1])),
        ("bad_value", pack(op="open", rid=6, sid=6, format="flac_9")),
        ("bad_value", pack(op="open", rid=6, sid=6, label="no/slash")),
        ("bad_value", pack(op="open", rid=6, sid=6, play=False, deliver=False)),
        ("bad_value", pack(op="open", rid=6, sid=6, play=True)),
        ("voice_not_found", pack(op="open", rid=7, sid=7, voice="nobody-has-this-voice")),
        ("model_not_supported", pack(op="open", rid=7, sid=7, model="eleven_v3")),
        ("bad_encoding", b"\x83\xa2op\xa4text\xa3sid\x08\xa4text\xa2\xff\xfe"),
        ("bad_encoding", b"\x83\xa2op\xa4text\xa3sid\x08\xa4text\xc4\x02\xff\xfe"),
        ("too_large", pack(op="text", sid=9, text="x" * 140_000)),
    ],
)
def test_each_wrong_request_gets_its_code(bad, code, frame):
    bad.expect(code, frame)


def test_a_stream_cannot_be_opened_twice_nor_its_text_have_a_gap(bad):
    bad.open(10)
    bad.expect("duplicate_stream", pack(op="open", rid=8, sid=10))
    bad.send(op="text", sid=10, text="Hello ", cp=0)
    assert bad.expect("text_gap", pack(op="text", sid=10, text="there ", cp=50))["chars"] == 6
    bad.expect("bad_value", pack(op="text", sid=10, text="Hella ", cp=0))
    assert bad.ask(op="text", sid=10, text="Hello there, ", cp=0)["chars"] == 13
    bad.send(op="close", sid=10)
    assert bad.until_end(10).end["chars"] == 13


def test_refused_text_without_its_place_ends_the_stream(bad):
    bad.open(1)
    bad.send(op="text", sid=1, text="x" * 60_000)
    bad.send(op="text", sid=1, text="y" * 60_000)
    end = bad.until_end(1).end
    assert (end["reason"], end["error"]["code"]) == ("failed", "text_overrun")


def test_text_behind_close_is_refused(bad):
    bad.open(1)
    bad.send(op="text", sid=1, text="Hello there. ")
    bad.send(op="close", sid=1)
    bad.expect("bad_value", pack(op="text", sid=1, cp=13, text="more"))
    assert bad.until_end(1).end["reason"] == "done"


def test_what_comes_for_an_ended_stream_is_ignored(bad):
    bad.speak(1, "Hello.")
    bad.until_end(1)
    for op, more in (("text", {"text": "x"}), ("close", {}), ("credit", {"add_ms": 1}), ("cancel", {})):
        bad.send(op=op, sid=1, **more)
    assert bad.ask(op="ping")["op"] == "pong"
    assert not bad.errors


def test_too_many_streams_are_refused_and_the_others_live(bad):
    limit = bad.welcome["limits"]["max_streams"]
    for sid in range(limit):
        bad.open(sid)
    with pytest.raises(BusError, match="too_many_streams"):
        bad.open(limit)
    bad.send(op="cancel", scope="mine")
    bad.until_ended(range(limit))
    bad.open(limit + 1)


def test_the_habits_of_other_languages_libraries_are_understood(bad):
    body = {
        b"op": b"speak",
        b"rid": 9.0,
        b"sid": 11,
        b"text": "Größe zählt, said the fox.".encode(),
        b"voice": None,
        b"colour": "red",
    }
    bad._new(11, {})
    bad.socket.send(b"\xde\x00\x06" + msgpack.packb(body)[1:])
    assert bad.until_end(11).end["reason"] == "done"


def test_two_thousand_mangled_messages_harm_nobody(daemon_dir, bad):
    rng = random.Random(7)
    with Bus(daemon_dir) as good:
        good.open(1, schedule="speed")
        spoken = ""
        for n in range(2000):
            op = rng.choice(("text", "credit", "cancel", "ping", "voice", "open", "speak"))
            base = bytearray(
                pack(op=op, sid=rng.randrange(100, 120), text=" ".join(WORDS)[: rng.randrange(50)])
            )
            for _ in range(rng.randrange(1, 6)):
                base[rng.randrange(len(base))] = rng.randrange(256)
            bad.socket.send_multipart([bytes(base)] * rng.choice((1, 1, 1, 2, 3)))
            while bad.socket.poll(0):
                bad.socket.recv_multipart()
            if n % 50 == 0:
                text = WORDS[n // 50 % len(WORDS)] + " "
                good.send(op="text", sid=1, text=text, cp=len(spoken))
                spoken += text
                good.drain(0.01)
        while bad.socket.poll(300):
            bad.socket.recv_multipart()
        bad.streams.clear()
        assert bad.ask(op="ping")["op"] == "pong"
        good.send(op="close", sid=1)
        heard = good.until_end(1)
    assert heard.end["reason"] == "done"
    assert heard.end["chars"] == len(spoken)
    letters = "".join(c for w in heard.words for c in w[0] if c.isalnum())
    assert letters == "".join(c for c in spoken if c.isalnum())


def test_a_client_that_reads_nothing_delays_nobody(daemon_dir):
    with Bus(daemon_dir) as deaf, Bus(daemon_dir) as good:
        deaf.socket.setsockopt(__import__("zmq").RCVHWM, 1)
        for sid in range(20):
            deaf.send(
                op="speak",
                sid=sid,
                text="Nobody listens to this, and it goes on and on. " * 40,
                voice="codepoint",
            )
        for sid in range(3):
            good.speak(sid, "But I do.", voice="codepoint")
            assert good.until_end(sid, within_s=10).end["reason"] == "done"
