"""The session machine: frames in, frames out, no I/O."""

from math import inf

import msgspec
import pytest

from tts_streamd_client.errors import (
    DaemonProtocolError,
    RequestRefusedError,
    SessionLostError,
    StreamFailedError,
)
from tts_streamd_client.events import Audio, End
from tts_streamd_client.session import MAX_TAPPED, Session
from tts_streamd_client.testing import Scene, Script
from tts_streamd_protocol import messages as m

pack = msgspec.msgpack.encode
unpack = msgspec.msgpack.decode


class Pair:
    """A session and a script that hear each other at once; ``now_s`` is the only clock."""

    def __init__(self, scene=Scene.PLAIN, **limits):
        self.session = Session("a test")
        self.script = Script(scene, limits=limits)
        self.now_s = 100.0
        rid = self.session.new_rid()
        self.send(self.session.hello(rid))
        self.welcome = self.session.take_answer(rid, m.Welcome)

    def send(self, frame):
        self.deliver(self.script.handle(unpack(frame)))

    def deliver(self, messages):
        for head, payload in messages:
            self.session.receive([pack(head)] + ([] if payload is None else [payload]), self.now_s)
        while self.session.outbox:
            self.send(self.session.outbox.popleft())

    def open(self, buffer_ms=30_000, **options):
        rid = self.session.new_rid()
        book, frame = self.session.open(rid, buffer_ms=buffer_ms, now_s=self.now_s, **options)
        self.send(frame)
        self.session.take_answer(rid, m.Opened)
        return book

    def say(self, book, text, *, close=False):
        while text:
            text = self.session.text(book, text)
            self.deliver([])
        if close:
            self.session.close_text(book)
            self.deliver([])

    def hear(self, book):
        events = []
        while (event := self.session.next_event(book)) is not None:
            events.append(event)
            self.deliver([])
        return events


def test_hello_is_answered_by_a_welcome():
    pair = Pair()
    assert pair.session.welcome is pair.welcome
    assert pair.welcome.limits.text_window == 65536


def test_text_carries_its_position_and_comes_back_as_speech():
    pair = Pair()
    book = pair.open()
    pair.say(book, "one ")
    assert pair.session.text(book, "two") == ""
    assert unpack(pair.session.outbox[0])["cp"] == 4
    pair.say(book, "", close=True)
    events = pair.hear(book)
    assert [event.at for event in events if isinstance(event, Audio)] == [0, 2400]
    assert isinstance(events[-1], End)
    assert book.text.acked_cp == book.text.wire_cp == 7


def test_a_refused_open_leaves_nothing_behind():
    pair = Pair()
    rid = pair.session.new_rid()
    book, frame = pair.session.open(rid, buffer_ms=0, now_s=0, voice="nobody")
    pair.send(frame)
    with pytest.raises(RequestRefusedError) as refused:
        pair.session.take_answer(rid, m.Opened)
    assert refused.value.code == "voice_not_found"
    assert pair.session.books == {}
    pair.session.abandon(book)
    assert not pair.session.outbox, "a stream that was refused needs no cancel"


def test_an_abandoned_open_is_cancelled():
    session = Session("a test")
    book, _ = session.open(session.new_rid(), buffer_ms=0, now_s=0)
    session.abandon(book)
    assert unpack(session.outbox.popleft()) == {"op": "cancel", "sid": book.sid}


def test_an_answer_of_the_wrong_kind_is_the_daemons_fault():
    pair = Pair()
    rid = pair.session.new_rid()
    pair.session.receive([pack({"op": "pong", "rid": rid})], 0)
    with pytest.raises(DaemonProtocolError):
        pair.session.take_answer(rid, m.VoicesReply)


def test_answers_that_nobody_awaits_are_dropped():
    pair = Pair()
    rid = pair.session.new_rid()
    pair.session.forget(rid)
    pair.session.receive([pack({"op": "pong", "rid": rid})], 0)
    with pytest.raises(KeyError):
        pair.session.has_answer(rid)


def test_a_request_too_large_is_refused_before_it_is_sent():
    pair = Pair(max_message_bytes=100)
    rid = pair.session.new_rid()
    with pytest.raises(RequestRefusedError) as refused:
        pair.session.speak(rid, "x" * 200, buffer_ms=0, now_s=0)
    assert refused.value.code == "too_large"
    assert pair.session.books == {}


def test_text_is_cut_to_what_one_message_holds():
    pair = Pair(max_message_bytes=1256)
    book = pair.open()
    rest = pair.session.text(book, "€" * 400)
    frame = pair.session.outbox.popleft()
    assert len(unpack(frame)["text"]) == 250
    assert len(frame) <= 1256
    assert len(rest) == 150


def test_text_waits_for_room_in_the_window():
    pair = Pair(Scene.SLOW_ACKS, text_window=100)
    book = pair.open()
    rest = pair.session.text(book, "word " * 30)
    pair.deliver([])
    assert (len(rest), book.text.room_cp) == (50, 0)
    pair.deliver(pair.script.tick())
    assert book.text.room_cp == 100


def test_only_the_last_part_of_a_divided_text_is_flushed():
    pair = Pair(text_window=10)
    book = pair.open()
    rest = pair.session.text(book, "0123456789AB", flush=True)
    book.text.acked(10)
    assert pair.session.text(book, rest, flush=True) == ""
    first, last = pair.session.outbox
    assert "flush" not in unpack(first)
    assert unpack(last)["flush"] is True


def test_a_gap_breaks_its_stream_and_cancels_it():
    pair = Pair(Scene.GAP)
    book = pair.open()
    pair.say(book, "one two three", close=True)
    with pytest.raises(DaemonProtocolError, match="stream 1"):
        pair.hear(book)
    assert pair.script.streams == {}, "the daemon was told"


def test_a_gap_costs_no_other_stream():
    pair = Pair(Scene.GAP)
    broken, sound = pair.open(), pair.open()
    pair.say(broken, "one two three", close=True)
    pair.say(sound, "one", close=True)
    assert pair.hear(sound)[-1].reason == "done"


def test_unknown_ops_and_fields_are_ignored():
    pair = Pair(Scene.UNKNOWN)
    book = pair.open()
    pair.say(book, "one two", close=True)
    assert pair.hear(book)[-1].reason == "done"
    assert pair.session.statistics().n_unknown == 2


def test_what_comes_after_the_end_of_a_cancelled_stream_is_ignored():
    pair = Pair(Scene.LATE)
    book = pair.open()
    pair.say(book, "one two ")
    pair.session.cancel(book)
    pair.deliver([])
    assert [event.reason for event in pair.hear(book)] == ["cancelled"], "its sound concerns nobody any more"
    assert pair.session.statistics().n_late == 1


def test_reports_of_another_session_are_late():
    pair = Pair()
    book = pair.open()
    audio = {"op": "audio", "session": 99, "sid": book.sid, "seq": 0, "at": 0, "n": 1, "cp": 0}
    pair.session.receive([pack(audio), b"\0\0"], 0)
    assert pair.session.statistics().n_late == 1
    assert not book.events


def test_credit_goes_back_as_sound_is_consumed():
    pair = Pair()
    book = pair.open(buffer_ms=400)
    pair.say(book, "a b c d e f g h i j", close=True)
    assert len(book.events) == 8, "four words of 100 ms, and their times"
    assert book.end is None
    assert pair.hear(book)[-1].samples == 24_000


def test_a_failed_stream_raises_with_its_books():
    pair = Pair(Scene.FAILING)
    book = pair.open()
    pair.say(book, "one ")
    with pytest.raises(StreamFailedError) as failed:
        pair.hear(book)
    assert (failed.value.code, failed.value.retryable) == ("upstream_unreachable", True)
    assert failed.value.end.reason == "failed"


def test_an_error_about_a_stream_ends_it():
    pair = Pair()
    book = pair.open()
    pair.session.receive(
        [pack({"op": "error", "sid": book.sid, "code": "text_gap", "message": "x", "retryable": False})], 0
    )
    with pytest.raises(RequestRefusedError):
        pair.hear(book)
    assert unpack(pair.session.outbox.popleft()) == {"op": "cancel", "sid": book.sid}


def test_an_error_about_nothing_we_know_is_counted():
    pair = Pair()
    error = {"op": "error", "sid": 77, "code": "no_such_stream", "message": "x", "retryable": False}
    pair.session.receive([pack(error)], 0)
    assert pair.session.statistics().n_stray_errors == 1


# -- the daemon's life --------------------------------------------------------------------------------------


def test_three_silent_heartbeats_are_the_limit_while_a_stream_is_open():
    pair = Pair()
    assert pair.session.silent_at_s == inf, "without streams there are no ticks"
    pair.now_s = 500.0
    book = pair.open()
    assert pair.session.silent_at_s == 506.0
    pair.now_s = 503.0
    pair.deliver(pair.script.tick())
    assert pair.session.silent_at_s == 509.0
    pair.say(book, "one", close=True)
    assert pair.session.silent_at_s == inf


def test_a_long_pause_before_the_first_stream_is_no_silence():
    pair = Pair()
    session, now_s = pair.session, 10_000.0
    session.open(session.new_rid(), buffer_ms=0, now_s=now_s)
    assert session.silent_at_s == now_s + 6


def test_hello_required_means_that_the_session_is_gone():
    pair = Pair(Scene.FORGETFUL)
    book = pair.open()
    pair.say(book, "one ")
    with pytest.raises(SessionLostError):
        pair.session.check()
    with pytest.raises(SessionLostError):
        pair.hear(book)


def test_a_tick_of_another_daemon_means_that_the_session_is_gone():
    pair = Pair(Scene.REBORN)
    pair.open()
    pair.deliver(pair.script.tick())
    with pytest.raises(SessionLostError, match="started anew"):
        pair.session.check()


def test_a_daemon_that_said_goodbye_is_not_waited_for():
    pair = Pair(Scene.GOODBYE)
    book = pair.open()
    pair.say(book, "one two three ")
    assert pair.session.silent_at_s == pytest.approx(pair.now_s + 0.1 + 1.0)
    pair.session.lose("silence", pair.now_s)
    with pytest.raises(SessionLostError, match="as scripted"):
        pair.session.check()
    kinds = [type(pair.session.next_event(book)).__name__ for _ in range(2)]
    assert kinds == ["Words", "Audio"], "what had come is still given"
    with pytest.raises(SessionLostError):
        pair.session.next_event(book)


def test_rubbish_from_the_daemon_ends_the_session():
    pair = Pair()
    pair.session.receive([b"\xc1"], 0)
    with pytest.raises(DaemonProtocolError):
        pair.session.check()


def test_tapped_messages_are_kept_within_a_bound():
    pair = Pair()
    for n in range(MAX_TAPPED + 5):
        pair.session.receive([pack({"op": "tapped", "actor": "link", "t_ms": n})], 0)
    assert pair.session.tapped[0].t_ms == 5
    assert pair.session.statistics().tapped_dropped == 5


def test_the_farewell_cancels_every_open_stream():
    pair = Pair()
    pair.open()
    pair.open()
    assert [unpack(frame)["sid"] for frame in pair.session.farewell()] == [1, 2]
