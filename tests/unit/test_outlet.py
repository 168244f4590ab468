"""Whatever is released, whatever credit comes and whenever it is cut off, the client's books balance."""

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_streamd_actors.outlet import MESSAGE_MS, Outlet, Stamps
from tts_streamd_audio.formats import parse_format
from tts_streamd_protocol import messages as m
from tts_streamd_protocol.journal import Journal
from tts_streamd_protocol.release import Release, Word

FORMATS = ("pcm_24000", "pcm_16000", "ulaw_8000", "mp3_22050_32")
ERROR = m.StreamError(code="internal", message="x", retryable=True)


def open_outlet(fmt="pcm_24000", *, text="", start_cp=0, credit_ms=None):
    journal = Journal(start_cp=start_cp)
    journal.accept(text)
    return Outlet(1, 2, parse_format(fmt), journal, Stamps(0.0), credit_ms)


def release(journal, units):
    """Release units (code points, samples, whether they are words) of the accepted text as one take."""
    at, cp = journal.samples, journal.released_cp
    sample, words, cuts = at, [], []
    for n_cp, n_samples, is_word in units:
        if is_word and n_samples:
            words.append(Word(cp, cp + n_cp, sample, sample + n_samples))
        sample, cp = sample + n_samples, cp + n_cp
        cuts.append((sample, cp))
    pcm = b"\x11\x01" * (sample - at)
    journal.release(Release(pcm, at, journal.released_cp, cp, tuple(words), cuts=tuple(cuts)), "live")


class Client:
    """Takes what may leave and checks each message as it comes."""

    def __init__(self, outlet):
        self.outlet = outlet
        self.rate_hz = outlet.format.rate_hz
        self.n = self.seq = 0
        self.cp = outlet.journal.start_cp
        self.words, self.states, self.payload = [], [], b""
        self.end = None
        self.balance_ms = None

    def take(self, limit=1_000_000):
        for _ in range(limit):
            parcel = self.outlet.peek()
            if parcel is None:
                return
            assert self.outlet.peek() is parcel, "the same one until it is taken"
            assert self.outlet.taken(1.0) is parcel
            self.check(parcel)

    def check(self, parcel):
        report = parcel.report
        assert self.end is None, "something after the end"
        assert report.seq == self.seq
        assert msgpack.unpackb(parcel.head)["op"] == parcel.kind
        self.seq += 1
        getattr(self, f"check_{parcel.kind}")(report, parcel.payload)

    def check_audio(self, audio, payload):
        assert audio.at == self.n
        assert audio.cp >= self.cp
        assert audio.n * 1000 <= (MESSAGE_MS + 20) * self.rate_hz
        if self.outlet.format.codec == "pcm":
            assert len(payload) == 2 * audio.n
        if self.balance_ms is not None and audio.n:
            assert self.balance_ms > 0
            self.balance_ms -= 1000 * audio.n / self.rate_hz
        self.n, self.cp = self.n + audio.n, audio.cp
        self.payload += payload
        assert self.n >= self.spoken_by(self.cp) - 3, "the text runs ahead of its sound"

    def spoken_by(self, cp):
        """The sample, at the client's rate, by which all text before cp has sounded."""
        ends = [word[2] for word in self.ends if word[1] <= cp]
        return max(ends, default=0) * self.rate_hz // 24_000

    def check_words(self, words, _):
        for word in words.words:
            assert word[1] * self.rate_hz // 1000 + self.rate_hz // 500 >= self.n, "a word after its sound"
        self.words += words.words

    def check_state(self, state, _):
        assert state.at == self.n
        self.states.append(state.state)

    def check_end(self, end, _):
        self.end = end
        assert end.samples == self.n
        assert end.heard_cp <= self.outlet.journal.released_cp


UNITS = st.lists(
    st.tuples(st.integers(1, 12), st.sampled_from((0, 1, 7, 240, 2400, 24_000, 60_000)), st.booleans()),
    min_size=1,
    max_size=5,
)
EVENTS = st.one_of(
    UNITS,
    st.integers(1, 3000).map(lambda ms: ("credit", ms)),
    st.integers(1, 4).map(lambda n: ("take", n)),
    st.sampled_from((("note", "speaking"), ("note", "recovering"))),
)


@settings(deadline=None, max_examples=150)
@given(
    fmt=st.sampled_from(FORMATS),
    start_cp=st.sampled_from((0, 17)),
    credit_ms=st.sampled_from((None, None, 0, 100, 5000)),
    events=st.lists(EVENTS, max_size=12),
    ending=st.sampled_from(("done", "cancelled", "failed", "overtaken")),
    left=st.integers(0, 3),
)
def test_the_books_of_the_client_balance(*, fmt, start_cp, credit_ms, events, ending, left):
    chars = sum(n_cp for units in events if isinstance(units, list) for n_cp, _, _ in units)
    outlet = open_outlet(fmt, text="x" * chars, start_cp=start_cp, credit_ms=credit_ms)
    client = Client(outlet)
    client.balance_ms, client.ends = credit_ms, []
    for event in events:
        match event:
            case ("credit", ms):
                assert outlet.add_credit(ms, 10_000) is (credit_ms is not None)
                if credit_ms is not None:
                    client.balance_ms = min(client.balance_ms + ms, 10_000)
            case ("take", n):
                client.take(n)
            case ("note", phase):
                outlet.note(phase)
            case units:
                cp, at = outlet.journal.released_cp, outlet.journal.samples
                for n_cp, n_samples, _ in units:
                    cp, at = cp + n_cp, at + n_samples
                    client.ends.append((cp - n_cp, cp, at))
                release(outlet.journal, units)
    outlet.journal.close()
    finish(outlet, client, ending, left)
    check_end(client, start_cp, chars)


def finish(outlet, client, ending, left):
    overtaken = ending == "overtaken"
    outlet.end("done" if overtaken else ending, ERROR if ending == "failed" else None)
    assert outlet.finishing is (ending in {"done", "overtaken"})
    if overtaken:  # a cancel comes while the rest waits, at whatever message
        client.take(left)
        if client.end is None:
            outlet.end("cancelled")
    while client.end is None:
        client.take()
        if client.end is None:  # the rest still waits for credit
            assert client.balance_ms <= 1e-6
            outlet.add_credit(1000, 10_000)
            client.balance_ms += 1000
    client.take()
    assert outlet.closed
    assert client.end.reason in {"done", "cancelled"} if overtaken else client.end.reason == ending


def check_end(client, start_cp, chars):
    end, journal = client.end, client.outlet.journal
    assert end.chars == chars
    assert [word[3] for word in client.words] == sorted(word[3] for word in client.words)
    if end.reason == "done":
        assert end.heard_cp == client.cp == start_cp + chars
        assert abs(client.n - journal.samples * client.rate_hz / 24_000) <= 2


def test_a_word_is_told_before_its_sound():
    outlet = open_outlet(text="one two")
    release(outlet.journal, [(4, 240, True), (3, 480, True)])
    words, audio = outlet.peek(), None
    assert words.report.words == [("one ", 0, 10, 0, 4), ("two", 10, 30, 4, 7)]
    outlet.taken(1.0)
    audio = outlet.peek()
    assert (audio.report.seq, audio.report.at, audio.report.n, audio.report.cp) == (1, 0, 720, 7)
    assert outlet.taken(1.0).heard_to == 720
    assert outlet.peek() is None


def test_a_balance_is_overdrawn_by_one_message_at_most():
    outlet = open_outlet(text="abc", credit_ms=100)
    for _ in range(3):
        release(outlet.journal, [(1, 800, False)])  # 33.3 ms, thrice 100 exactly
    release(outlet.journal, [(0, 800, False)])
    taken = []
    while outlet.peek() is not None:
        taken.append(outlet.taken(1.0).n_samples)
    assert taken == [800, 800, 800]
    outlet.add_credit(1, 10)
    assert outlet.peek() is not None


def test_credit_is_clipped():
    outlet = open_outlet(text="abc", credit_ms=0)
    outlet.add_credit(10_000, 20)
    for _ in range(3):
        release(outlet.journal, [(1, 480, False)])
    assert outlet.peek() is not None
    outlet.taken(1.0)
    assert outlet.peek() is None


def test_words_states_and_the_end_cost_nothing():
    outlet = open_outlet(text="a b", credit_ms=0)
    release(outlet.journal, [(2, 0, False)])
    outlet.note("speaking")
    kinds = []
    outlet.end("done")
    while (parcel := outlet.peek()) is not None:
        kinds.append(parcel.kind)
        outlet.taken(1.0)
    assert kinds == ["state", "audio", "end"]


def test_no_credit_is_taken_from_whom_never_asked_for_any():
    assert not open_outlet().add_credit(100, 100)


def test_a_state_waits_for_the_sound_before_it():
    outlet = open_outlet(text="one two", credit_ms=5)
    release(outlet.journal, [(4, 240, False)])
    outlet.note("recovering", "timeout")
    release(outlet.journal, [(3, 240, False)])
    kinds = []
    outlet.add_credit(1000, 1000)
    while (parcel := outlet.peek()) is not None:
        kinds.append((parcel.kind, parcel.report.at))
        outlet.taken(1.0)
    assert kinds == [("audio", 0), ("state", 240), ("audio", 240)]


def test_a_cancel_forgets_what_the_socket_has_not_taken():
    outlet = open_outlet(text="one two")
    release(outlet.journal, [(4, 240, True), (3, 240, True)])
    assert outlet.peek().kind == "words"
    outlet.taken(1.0)
    assert outlet.peek().kind == "audio"
    outlet.end("cancelled")
    end = outlet.peek().report
    assert (end.seq, end.samples, end.heard_cp) == (1, 0, 0)


@pytest.mark.parametrize(
    ("at", "heard"), [(0, 0), (239, 0), (240, 3), (400, 3), (480, 7), (9999, 7), (None, 7)]
)
def test_what_was_heard_is_the_last_word_played_whole(at, heard):
    outlet = open_outlet(text="one two")
    release(outlet.journal, [(4, 240, False), (3, 240, False)])
    while outlet.peek() is not None:
        outlet.taken(1.0)
    outlet.journal.close()
    outlet.end("cancelled", None, at)
    assert outlet.peek().report.heard_cp == heard


def test_what_was_heard_counts_the_samples_of_the_format():
    outlet = open_outlet("ulaw_8000", text="one two")
    release(outlet.journal, [(4, 24_000, False), (3, 24_000, False)])
    while outlet.peek() is not None:
        outlet.taken(1.0)
    assert outlet.heard_cp(8000) == 3
    assert outlet.heard_cp(7999) == 0


def test_the_stamps_are_milliseconds_from_the_opening():
    stamps = Stamps(10.0, accepted_s=10.001, cut_s=10.002, sent_s=10.003, first_frame_s=10.1)
    assert stamps.in_ms() == m.Stamps(accepted=1, cut=2, sent=3, first_frame=100)


def test_the_time_to_first_sound_runs_from_text_to_hand_over():
    outlet = open_outlet(text="one")
    outlet.stamps.accepted_s = 0.25
    release(outlet.journal, [(3, 240, False)])
    outlet.peek()
    outlet.taken(0.5)
    outlet.end("done")
    assert outlet.peek().report.ttfa_ms == 250


def test_messages_follow_each_other_without_a_hole():
    outlet = open_outlet("mp3_22050_32", text="x" * 10)
    client = Client(outlet)
    client.ends = []
    for _ in range(10):
        release(outlet.journal, [(1, 3000, False)])
        client.take()
    outlet.end("done")
    client.take()
    assert client.payload[:1] == b"\xff"
    assert client.end.samples == pytest.approx(30_000 * 22_050 / 24_000, abs=2)
