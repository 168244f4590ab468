"""A stream that outlives its session: the machine without I/O, scene after scene."""

from math import inf

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_streamd_client.delivery import Delivery
from tts_streamd_client.errors import RequestLostError, RequestRefusedError, SessionLostError
from tts_streamd_client.events import Audio, End, State, Word, Words
from tts_streamd_client.recovery import HELLO_S, RETRY_S
from tts_streamd_client.session import Session
from tts_streamd_client.testing import Scene, Script
from tts_streamd_protocol import messages as m

pack = msgspec.msgpack.encode
unpack = msgspec.msgpack.decode
WITHIN_S = 30.0


class Play:
    """One client and the daemons that it meets, one after the other; ``None``: nobody is there."""

    def __init__(self, scene=Scene.PLAIN, **limits):
        self.session = Session("a test", WITHIN_S)
        self.now_s = 100.0
        self.requests = []
        self.script = Script(scene, limits=limits)
        rid = self.session.new_rid()
        self.send(self.session.hello(rid))
        self.session.take_answer(rid, m.Welcome)

    def send(self, frame):
        self.requests.append(unpack(frame))
        if self.script is not None:
            self.deliver(self.script.handle(unpack(frame)))

    def deliver(self, messages):
        for head, payload in messages:
            self.session.receive([pack(head)] + ([] if payload is None else [payload]), self.now_s)
        self.flush()

    def flush(self):
        while self.session.outbox:
            self.send(self.session.outbox.popleft())

    def open(self, **options):
        rid = self.session.new_rid()
        book, frame = self.session.open(rid, buffer_ms=30_000, now_s=self.now_s, **options)
        self.send(frame)
        self.session.take_answer(rid, m.Opened)
        return book

    def say(self, book, text, *, close=False):
        while text:
            text = self.session.text(book, text)
            self.flush()
        if close:
            self.session.close_text(book)
            self.flush()

    def meet(self, script):
        """Another daemon is there (or the same, which has forgotten us): connect if the machine wants to."""
        self.script = script
        assert self.session.wants_socket(self.now_s)
        self.session.greet(self.now_s)
        self.flush()

    def hear(self, book):
        events = []
        while (event := self.session.next_event(book)) is not None:
            events.append(event)
            self.flush()
        return events


def kinds(events):
    return [event.state if isinstance(event, State) else type(event).__name__ for event in events]


def said(events):
    return [word.text for event in events if isinstance(event, Words) for word in event.words]


def reborn(**options):
    return Script(session=2, boot_id="another-boot", **options)


def test_the_next_daemon_goes_on_where_the_caller_stopped_hearing():
    play = Play()
    book = play.open(voice="bo", label="x")
    play.say(book, "one two three fo")
    play.session.lose("killed", play.now_s)
    play.meet(reborn())
    play.say(book, "ur five", close=True)
    events = play.hear(book)
    assert said(events) == ["one", "two", "three", "four", "five"]
    audio = [event for event in events if isinstance(event, Audio)]
    assert [event.at for event in audio if event.n] == [0, 2400, 4800, 7200, 9600], "one clock"
    words = [word for event in events if isinstance(event, Words) for word in event.words]
    assert words[3] == Word("four", 300, 400, 14, 18), "in the original text, on the same clock"
    reopened = next(request for request in reversed(play.requests) if request["op"] == "open")
    assert (reopened["start_cp"], reopened["before"]) == (13, "one two three")
    assert (reopened["voice"], reopened["label"]) == ("bo", "x")


def test_recovering_and_recovered_are_told_once():
    play = Play()
    book = play.open()
    play.say(book, "one two ")
    play.hear(book)
    play.session.lose("killed", play.now_s)
    play.meet(reborn())
    play.say(book, "", close=True)
    states = [event for event in play.hear(book) if isinstance(event, State)]
    assert [(state.state, state.detail) for state in states] == [
        ("recovering", "killed"),
        ("speaking", "recovered"),
    ]
    assert all(state.at == 4800 for state in states)


def test_the_end_sums_up_all_parts():
    play = Play()
    book = play.open(start_cp=100)
    text = "one two three four"
    play.say(book, text[:9])
    for _ in range(2):
        play.now_s += 10
        play.session.lose("killed", play.now_s)
        play.meet(reborn())
    play.say(book, text[9:], close=True)
    end = play.hear(book)[-1]
    assert (end.reason, end.chars, end.samples, end.heard_cp) == ("done", len(text), 4 * 2400, 118)
    assert sum(msgspec.structs.astuple(end.source)) == len(text)
    assert end.sent == len(text)
    assert end.ttfa_ms is None, "the daemon that knew is gone"


@pytest.mark.parametrize("n_parts", [1, 2])
def test_a_unit_that_came_in_part_is_heard_once_only(n_parts):
    play = Play()
    book = play.open()
    book.text.add("one looooong ")
    play.flush()
    list(book.text.requests(book.sid, 1000))
    unit = {"op": "audio", "session": 1, "sid": book.sid}
    words = {"op": "words", "session": 1, "sid": book.sid, "seq": 1, "words": [["looooong", 0, 9000, 4, 12]]}
    play.deliver([({**unit, "seq": 0, "at": 0, "n": 0, "cp": 4}, b""), (words, None)])
    for n in range(n_parts):
        play.deliver([({**unit, "seq": 2 + n, "at": 48_000 * n, "n": 48_000, "cp": 4}, b"..")])
    assert kinds(play.hear(book)) == ["Audio"], "neither the word nor its sound"
    assert book.credit_due_ms() == 0, "what is held was given back with the events"
    play.session.lose("killed", play.now_s)
    play.meet(reborn())
    play.say(book, "", close=True)
    events = play.hear(book)
    assert said(events) == ["looooong"]
    assert next(event.at for event in events if isinstance(event, Audio)) == 0


def test_a_unit_longer_than_the_credit_still_comes_to_its_end():
    play = Play()
    rid = play.session.new_rid()
    book, frame = play.session.open(rid, buffer_ms=1000, now_s=0)
    play.send(frame)
    book.text.add("looooong ")
    list(book.text.requests(book.sid, 1000))
    head = {"op": "audio", "session": 1, "sid": book.sid, "seq": 0, "at": 0, "n": 48_000, "cp": 0}
    play.session.receive([pack(head), b""], 0)
    assert play.session.next_event(book) is None
    assert unpack(play.session.outbox[-1]) == {"op": "credit", "sid": book.sid, "add_ms": 2000}


def test_text_given_while_nobody_is_there_is_said_when_somebody_is():
    play = Play(text_window=20)
    book = play.open()
    play.say(book, "one ")
    play.session.lose("killed", play.now_s)
    play.script = None
    rest = play.session.text(book, "two three four five six")
    assert len(rest) == len("two three four five six") - 17 - 2, (
        "within the window, counted from what was heard"
    )
    assert not play.session.outbox
    play.meet(reborn())
    play.say(book, rest, close=True)
    assert said(play.hear(book)) == ["one", "two", "three", "four", "five", "six"]


def test_the_texts_that_are_said_again_keep_within_the_window():
    play = Play(text_window=1000)
    book = play.open()
    play.session.say_all(book, "word " * 100)
    play.flush()
    play.session.lose("killed", play.now_s)
    play.meet(reborn(limits={"text_window": 10}))
    assert play.hear(book)[-1].chars == 500
    assert play.hear(book) == []


def test_flushes_and_voices_stand_where_they_stood():
    play = Play(Scene.SILENT)
    book = play.open(voice="ada")
    play.session.text(book, "one ", flush=True)
    play.session.text(book, "two ")
    book.text.voice_changed("bo", None)
    play.session.text(book, "three")
    play.session.close_text(book)
    play.flush()
    play.session.lose("killed", play.now_s)
    play.requests.clear()
    play.meet(reborn())
    told = [(r["op"], r.get("text", r.get("voice")), r.get("flush")) for r in play.requests[2:6]]
    assert told == [
        ("text", "one ", True),
        ("text", "two ", None),
        ("voice", "bo", None),
        ("text", "three", None),
    ]
    assert said(play.hear(book)) == ["one", "two", "three"]


def test_scene_forgetful():
    play = Play(Scene.FORGETFUL)
    book = play.open()
    play.say(book, "one two", close=True)
    assert not play.session.live
    play.meet(Script(session=2))
    assert said(play.hear(book)) == ["one", "two"]
    assert play.session.statistics().n_recovered == 1


def test_scene_reborn():
    play = Play(Scene.REBORN)
    first, second = play.open(), play.open()
    play.say(first, "one two ")
    play.say(second, "three ")
    play.deliver(play.script.tick())
    play.meet(reborn())
    play.say(second, "four", close=True)
    play.say(first, "", close=True)
    assert said(play.hear(first)) == ["one", "two"]
    assert said(play.hear(second)) == ["three", "four"], "each stream goes on"
    assert (first.sid, second.sid) == (3, 4)


def test_what_a_stopping_daemon_ends_is_no_end():
    play = Play()
    book = play.open()
    play.say(book, "one two ")
    error = {"code": "shutting_down", "message": "bye", "retryable": True}
    play.deliver([play.script._end(play.script.streams[book.sid], "failed", error)])
    assert not book.over
    play.meet(reborn())
    play.say(book, "three", close=True)
    assert said(play.hear(book)) == ["one", "two", "three"]


def test_a_daemon_that_answers_and_fails_over_and_over_is_given_up_in_time():
    play = Play(Scene.FORGETFUL)
    book = play.open()
    play.say(book, "one ")
    n_met = 0
    while play.session.lost is None:
        play.now_s = max(play.now_s, play.session.wakes_at_s)
        play.session.on_time(play.now_s)
        if play.session.wants_socket(play.now_s):
            play.meet(Script(Scene.FORGETFUL, session=n_met + 2))
            n_met += 1
    assert play.now_s == 100.0 + WITHIN_S
    assert n_met <= WITHIN_S / RETRY_S + 1
    with pytest.raises(SessionLostError):
        play.session.check()


def test_nobody_within_the_deadline_says_what_to_do_and_what_is_left():
    play = Play()
    book = play.open()
    play.say(book, "one two thr")
    play.session.lose("the daemon has fallen silent", play.now_s)
    play.script = None
    attempts = 0
    while play.session.lost is None:
        play.now_s = max(play.now_s, play.session.wakes_at_s)
        play.session.on_time(play.now_s)
        if play.session.wants_socket(play.now_s):
            play.meet(None)
            attempts += 1
    assert play.now_s == 100.0 + WITHIN_S
    assert attempts == WITHIN_S / HELLO_S
    with pytest.raises(SessionLostError, match=r"silent.* within 30 s: start it \(`tts-streamd`.*resume"):
        play.hear(book)
    assert book.resumption().text == " thr"


def test_a_refused_resumption_ends_its_stream_only():
    play = Play()
    doomed, sound = play.open(voice="bo"), play.open()
    play.session.lose("killed", play.now_s)
    script = reborn()
    opening = script._on_open
    script = type("Picky", (), {"handle": lambda _, r: picky(r)})()

    def picky(request):
        if request.get("voice") == "bo":
            return iter([inner._error("voice_not_found", request)])
        return inner.handle(request)

    inner = opening.__self__
    play.meet(script)
    with pytest.raises(RequestRefusedError, match="voice_not_found"):
        play.hear(doomed)
    play.say(sound, "one", close=True)
    assert said(play.hear(sound)) == ["one"]


def test_a_request_under_way_is_to_be_made_again():
    play = Play()
    rid = play.session.new_rid()
    play.session.lose("killed", play.now_s)
    assert play.session.has_answer(rid)
    with pytest.raises(RequestLostError):
        play.session.take_answer(rid, m.Pong)


def test_a_stream_cancelled_while_nobody_is_there_ends_at_once():
    play = Play()
    book = play.open()
    play.say(book, "one two three four ")
    play.session.lose("killed", play.now_s)
    play.session.cancel(book, at=4900)
    (end,) = play.hear(book)
    assert isinstance(end, End)
    assert (end.reason, end.heard_cp, end.samples) == ("cancelled", 7, 9600)
    assert end.source.live == 18
    play.meet(reborn())
    assert "open" not in [request["op"] for request in play.requests[-1:]]


def test_a_cancel_counts_samples_from_the_beginning():
    play = Play()
    book = play.open()
    play.say(book, "one two ")
    play.session.lose("killed", play.now_s)
    play.meet(reborn())
    play.say(book, "three four ")
    play.session.cancel(book, at=4800 + 2400)
    play.flush()
    assert play.requests[-1]["at"] == 2400


def test_a_quiet_daemon_is_asked_before_it_is_given_up():
    play = Play()
    play.open()
    assert play.session.wakes_at_s == 102.5
    play.session.on_time(102.5)
    assert unpack(play.session.outbox.popleft()) == {"op": "ping"}
    assert play.session.wakes_at_s == 106.0
    assert Session("idle").wakes_at_s == inf


def test_frames_of_the_lost_session_are_not_heard():
    play = Play()
    book = play.open()
    play.say(book, "one ")
    play.hear(book)
    play.session.lose("killed", play.now_s)
    head = {"op": "audio", "session": 1, "sid": 1, "seq": 2, "at": 2400, "n": 1, "cp": 4}
    play.session.receive([pack(head), b"\0\0"], play.now_s)
    assert kinds(play.hear(book)) == ["recovering"]


@given(st.lists(st.integers(1, 8), min_size=1, max_size=12), st.integers(0, 12), st.data())
def test_where_filters_delay_the_sound_no_word_is_given_in_part(lengths, n_messages, data):
    """A unit's message lacks the filter's last samples, and its cp comes with the next one."""
    delivery = Delivery(0, filtered=True, rate_hz=1000)
    at, fed, cp, told, sounds = 0, 0, 0, 0, []
    for n, length in enumerate(lengths[: n_messages + 1]):
        start, fed, end_cp = fed, fed + 100 * length, told + length + 1
        delivery.take_words(m.Words(session=1, sid=1, seq=0, words=[("w", start, fed, told, told + length)]))
        n_samples = fed - data.draw(st.integers(0, 30)) - at
        events = delivery.take_audio(m.Audio(session=1, sid=1, seq=0, at=at, n=n_samples, cp=cp), b"", 1000)
        sounds += [event for event in events if isinstance(event, Audio)]
        at, cp, told = at + n_samples, end_cp, end_cp
        assert len(sounds) == n + 1, "nothing waits for a message that may be long in coming"
        assert delivery.released_cp >= told - 1, "and the word is not said again"
