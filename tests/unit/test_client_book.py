"""The books of one stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_streamd_client.book import CONTEXT_CP, StreamBook
from tts_streamd_client.errors import DaemonProtocolError, RequestRefusedError, StreamFailedError
from tts_streamd_client.events import Audio
from tts_streamd_protocol import messages as m


def open_book(*, buffer_ms=1000, text_window=100, **options):
    book = StreamBook(m.Open(sid=1, **options), 1, buffer_ms=buffer_ms, text_window=text_window)
    book.opened = m.Opened(sid=1, voice="ada", model="m", format="pcm_24000", rate_hz=24_000, channels=1)
    return book


def send(book, text):
    book.text.add(text)
    return list(book.text.requests(book.sid, 1000))


def audio(seq, at, n, cp):
    return m.Audio(session=1, sid=1, seq=seq, at=at, n=n, cp=cp)


def end(seq, reason="done", error=None):
    return m.End(
        session=1, sid=1, seq=seq, reason=reason, chars=0, samples=0, heard_cp=0, skipped=[],
        stamps_ms=m.Stamps(), source=m.Source(), sent=0, error=error,
    )  # fmt: skip


@given(st.lists(st.integers(1, 40), max_size=20), st.data())
def test_the_window_is_never_overrun_and_always_opens_again(pieces, data):
    book = open_book()
    for n_cp in pieces:
        take = min(n_cp, book.text.room_cp)
        send(book, "x" * take)
        assert book.text.known_cp - book.text.acked_cp <= 100
        book.text.acked(data.draw(st.integers(0, book.text.wire_cp)))
    book.text.acked(book.text.wire_cp)
    assert book.text.room_cp == 100


def test_an_ack_counts_from_the_streams_own_start():
    book = open_book(start_cp=1000)
    send(book, "hello")
    book.text.acked(3)
    assert book.text.acked_cp == 1003


def test_an_ack_beyond_what_was_sent_opens_no_window():
    book = open_book()
    send(book, "hello")
    book.text.acked(5000)
    assert book.text.acked_cp == 5


@pytest.mark.parametrize(
    "report",
    [audio(1, 0, 10, 0), audio(0, 5, 10, 0), audio(0, 0, -1, 0), audio(0, 0, 10, 99), end(3)],
    ids=["a message is missing", "samples are missing", "negative", "text never sent", "end too early"],
)
def test_what_breaks_the_order_breaks_the_stream(report):
    book = open_book()
    send(book, "hello")
    book.take(report, b"")
    assert isinstance(book.failure, DaemonProtocolError)
    assert not book.events


def test_cp_never_goes_back():
    book = open_book()
    send(book, "hello you")
    book.take(audio(0, 0, 10, 5), b"")
    book.take(audio(1, 10, 10, 4), b"")
    assert isinstance(book.failure, DaemonProtocolError)


def test_cancelling_drops_what_waits_but_not_the_end():
    book = open_book()
    send(book, "hello you")
    book.take(audio(0, 0, 10, 5), b"")
    book.cancel()
    book.take(audio(1, 10, 10, 9), b"")
    book.take(end(2, "cancelled"), b"")
    assert [event.reason for event in book.events] == ["cancelled"]
    assert book.delivery.next_at == 20, "the order is still watched"


def test_a_stream_that_is_over_takes_no_text():
    book = open_book()
    book.take(end(0), b"")
    with pytest.raises(RequestRefusedError):
        book.check_open()
    failed = open_book()
    error = m.StreamError(code="internal", message="x", retryable=True)
    failed.take(end(0, "failed", error), b"")
    with pytest.raises(StreamFailedError, match="internal: x"):
        failed.check_open()


def test_credit_comes_back_in_fourths_of_the_buffer():
    book = open_book(buffer_ms=1000)
    send(book, "a b c d e f g h i j ")
    granted = []
    for n in range(10):
        book.take(audio(n, 2400 * n, 2400, 2 * n + 2), b"")
        assert isinstance(book.next_event(), Audio)
        granted.append(book.credit_due_ms())
    assert [ms for ms in granted if ms] == [300, 300, 300]


@given(st.lists(st.integers(0, 5000), max_size=30))
def test_no_millisecond_of_credit_is_lost_or_invented(sizes):
    book = open_book(buffer_ms=100)
    send(book, "x" * 50)
    at = granted_ms = 0
    for seq, n in enumerate(sizes):
        book.take(audio(seq, at, n, seq + 1), b"")
        at += n
        book.next_event()
        granted_ms += book.credit_due_ms()
        assert granted_ms * 24 <= at
        assert at - granted_ms * 24 <= 25 * 24 + 24


def test_the_resumption_goes_on_behind_the_last_whole_unit():
    book = open_book(voice="ada")
    send(book, "Hello there, ")
    book.text.voice_changed("bo", None)
    send(book, "my friend. Bye.")
    book.take(audio(0, 0, 10, 6), b"")
    book.text.close()
    first = book.resumption()
    assert (first.start_cp, first.before, first.text, first.voice) == (
        6,
        "Hello ",
        "there, my friend. Bye.",
        "ada",
    )
    assert first.closed
    book.take(audio(1, 10, 10, 16), b"")
    second = book.resumption()
    assert (second.start_cp, second.text, second.voice) == (16, "friend. Bye.", "bo")


def test_a_resumed_stream_counts_from_the_original_text():
    book = open_book(start_cp=6, before="Hello ")
    send(book, "there, my friend.")
    book.take(audio(0, 0, 10, 13), b"")
    resumption = book.resumption()
    assert (resumption.start_cp, resumption.before, resumption.text) == (13, "Hello there, ", "my friend.")


def test_the_context_of_a_resumption_is_bounded():
    book = open_book(text_window=5000)
    send(book, "x" * 3000)
    book.take(audio(0, 0, 10, 2500), b"")
    assert len(book.resumption().before) == CONTEXT_CP


def test_text_is_kept_until_the_end_and_no_longer():
    book = open_book()
    send(book, "hello")
    assert book.resumption().text == "hello"
    book.take(end(0), b"")
    assert book.resumption().text == ""
