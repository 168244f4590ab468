import pytest

from tts_streamd_actors.mailbox import Mailbox
from tts_streamd_actors.slot import Slot, StreamSpec
from tts_streamd_audio.formats import parse_format
from tts_streamd_protocol import signals as s
from tts_streamd_protocol.errors import TtsStreamdError
from tts_streamd_protocol.journal import TextGapError, TextMismatchError
from tts_streamd_protocol.messages import VoiceSettings
from tts_streamd_protocol.release import Release, Word


def make_slot(*, text_window=100, on_ready=lambda _: None, **fields):
    spec = StreamSpec(
        **{
            "session": 1,
            "sid": 7,
            "client": "tests/1",
            "uid": 1000,
            "key": s.RouteKey(voice="v", model="m", settings=VoiceSettings()),
            "format": parse_format("pcm_24000"),
            "schedule": (50,),
            "buffer_ms": 8000,
        }
        | fields
    )
    return Slot(
        spec=spec,
        mailbox=Mailbox(spec.name, s.StreamSignal, 64),
        on_ready=on_ready,
        discard=lambda _: None,
        opened_s=0.0,
        text_window=text_window,
    )


def signals(slot):
    return [delivery.message for delivery in slot.mailbox.drain(100)]


def speak(slot, text, n_samples=240, *, silent=False):
    journal = slot.journal
    at, cp = journal.samples, journal.released_cp
    end, end_cp = at + n_samples, cp + len(text)
    words = () if silent else (Word(cp, end_cp, at, end),)
    skipped = [(cp, end_cp)] if silent else ()
    journal.release(
        Release(bytes(2 * n_samples), at, cp, end_cp, words, cuts=((end, end_cp),)), "live", skipped
    )


def sent(slot):
    reports = []
    while (parcel := slot.outlet.peek()) is not None:
        reports.append(parcel.report)
        slot.outlet.taken(1.0)
    return reports


def accept(slot, text, cp=None, *, flush=False):
    slot.accept(text, cp, flush=flush, now_s=0.5)


def test_text_is_taken_into_the_journal_and_wakes_the_stream():
    slot = make_slot()
    accept(slot, "Hello ")
    accept(slot, "world.", 6)
    assert slot.journal.slice(0, 12) == "Hello world."
    assert signals(slot) == [s.TextAccepted(cp=6), s.TextAccepted(cp=12)]
    assert slot.outlet.stamps.accepted_s == 0.5


def test_positions_count_from_where_the_stream_resumes():
    slot = make_slot(start_cp=1000, before="as said ")
    accept(slot, "again", 1000)
    assert (slot.acked_cp, slot.journal.chars) == (1005, 5)


def test_text_sent_again_is_dropped_where_it_is_equal():
    slot = make_slot()
    accept(slot, "Hello ", 0)
    accept(slot, "Hello world", 0)
    assert slot.journal.slice(0, slot.journal.accepted_cp) == "Hello world"


def test_text_sent_again_with_nothing_new_takes_no_time_stamp():
    slot = make_slot()
    accept(slot, "", 0)
    assert slot.outlet.stamps.accepted_s is None


@pytest.mark.parametrize(
    ("text", "cp", "error"),
    [("gap", 7, TextGapError), ("Jello", 0, TextMismatchError), ("x" * 200, 5, TtsStreamdError)],
)
def test_refused_text_changes_nothing(text, cp, error):
    slot = make_slot()
    accept(slot, "Hello")
    signals(slot)
    with pytest.raises(error):
        accept(slot, text, cp)
    assert (slot.journal.accepted_cp, slot.acked_cp, signals(slot)) == (5, 5, [])


def test_text_after_close_is_refused():
    slot = make_slot()
    slot.close()
    slot.close()
    assert signals(slot) == [s.TextAccepted(cp=0, closed=True)]
    with pytest.raises(TtsStreamdError, match="closed"):
        accept(slot, "more")


def test_text_is_acknowledged_until_half_a_window_waits_to_be_cut():
    slot = make_slot(text_window=100)
    accept(slot, "x" * 80)
    assert slot.acked_cp == 50
    with pytest.raises(TtsStreamdError, match="text_overrun"):
        accept(slot, "x" * 71)
    accept(slot, "x" * 70)
    slot.cut_cp = 80
    slot.advance_ack()
    assert slot.acked_cp == 130
    slot.cut_cp = 150
    slot.advance_ack()
    assert slot.acked_cp == 150
    slot.cut_cp = 90
    slot.advance_ack()
    assert slot.acked_cp == 150, "what was acknowledged stays so"


def test_a_cut_is_asked_for_once_and_only_where_there_is_something_to_cut():
    slot = make_slot()
    accept(slot, "", flush=True)
    accept(slot, "one ", flush=True)
    accept(slot, "", flush=True)
    accept(slot, "two")
    accept(slot, "", flush=True)
    assert list(slot.flushes) == [4, 7]


def test_only_a_stream_that_holds_text_back_hears_that_audio_was_taken():
    slot = make_slot()
    slot.relieve()
    assert signals(slot) == []
    slot.throttled = True
    slot.relieve()
    assert signals(slot) == [s.AudioTaken()]


def test_the_end_comes_once_and_stops_the_stream():
    told = []
    slot = make_slot(on_ready=told.append)
    slot.finish("done")
    slot.finish("done")
    assert signals(slot) == [s.StopStream()]
    assert told == [slot]
    assert [report.reason for report in sent(slot)] == ["done"]
    slot.fail("internal", "too late")
    slot.finish("cancelled")
    assert (signals(slot), sent(slot)) == ([], [])


def test_what_waits_of_a_stream_that_is_done_still_goes_out():
    slot = make_slot()
    accept(slot, "Hello")
    slot.close()
    speak(slot, "Hello")
    slot.finish("done")
    *_, audio, end = sent(slot)
    assert (audio.n, end.reason, end.samples, end.heard_cp) == (240, "done", 240, 5)


@pytest.mark.parametrize(("reason", "code"), [("cancelled", None), ("failed", "client_stalled")])
def test_a_done_that_waits_for_its_client_is_overtaken(reason, code):
    slot = make_slot()
    accept(slot, "Hello")
    slot.close()
    speak(slot, "Hello")
    slot.finish("done")
    if code is None:
        slot.finish("cancelled", at=0)
    else:
        slot.fail(code, "the client took nothing")
    (end,) = sent(slot)
    assert (end.reason, end.samples, end.heard_cp) == (reason, 0, 0)
    assert (end.error and end.error.code) == code


def test_a_failure_that_waits_for_its_client_keeps_its_reason():
    slot = make_slot()
    slot.fail("auth_failed", "the key is wrong")
    slot.finish("cancelled")
    slot.finish("done")
    slot.fail("internal", "another")
    (end,) = sent(slot)
    assert (end.error.code, end.error.retryable) == ("auth_failed", False)


def test_an_error_says_when_to_come_back():
    slot = make_slot()
    slot.fail("rate_limited", "slow down", retry_ms=1500)
    (end,) = sent(slot)
    assert (end.error.retryable, end.error.retry_ms) == (True, 1500)


def test_a_stream_in_which_nothing_could_be_spoken_has_failed():
    slot = make_slot()
    accept(slot, "...")
    slot.close()
    speak(slot, "...", 0, silent=True)
    slot.finish("done")
    end = sent(slot)[-1]
    assert (end.reason, end.error.code) == ("failed", "unspeakable_text")
    assert end.skipped == [(0, 3)]


def test_blanks_alone_are_done_without_a_sample():
    slot = make_slot()
    accept(slot, "   ")
    slot.close()
    slot.journal.pass_blank(3)
    slot.finish("done")
    end = sent(slot)[-1]
    assert (end.reason, end.samples, end.heard_cp) == ("done", 0, 3)


def test_what_cannot_be_sent_ends_even_a_stream_that_was_done():
    slot = make_slot()
    slot.finish("done")
    slot.spoil("a bug")
    (end,) = sent(slot)
    assert (end.reason, end.error.code) == ("failed", "internal")


def test_a_phase_is_told_once_and_never_after_the_end():
    slot = make_slot()
    slot.enter("queued")
    slot.enter("speaking")
    slot.enter("speaking")
    slot.enter("recovering", "timeout")
    assert [(r.state, r.detail) for r in sent(slot)] == [("speaking", None), ("recovering", "timeout")]
    slot.finish("done")
    slot.enter("speaking")
    assert [report.__struct_config__.tag for report in sent(slot)] == ["end"]


def test_it_tells_of_itself_and_keeps_private_text_to_itself():
    slot = make_slot(start_cp=10, label="a")
    accept(slot, "Hello")
    speak(slot, "Hello", 480)
    told = slot.info(2.0, with_text=True)
    assert (told.chars, told.released_cp, told.samples, told.age_ms) == (5, 15, 480, 2000)
    assert (told.text, told.label, told.sid) == ("Hello", "a", 7)
    assert slot.info(2.0, with_text=False).text is None
    private = make_slot(private=True)
    accept(private, "secret")
    assert private.info(2.0, with_text=True).text is None
