"""The rules one by one; the storms are in test_ledger_storm.py."""

import pytest

from simupstream import heard, voice
from tts_streamd_protocol.journal import Journal
from tts_streamd_protocol.ledger import Blind, Ledger, Lost
from tts_streamd_protocol.release import LedgerError
from tts_streamd_protocol.take import Alignment


def times(chars, starts=None):
    return Alignment(list(chars), starts or [5.0 * i for i in range(len(chars))], [5.0] * len(chars))


def ledger_with(text, *, slack_ms=1, close=True, **options):
    ledger = Ledger(Journal(**options), slack_ms=slack_ms)
    ledger.journal.accept(text)
    if close:
        ledger.close()
    return ledger


def releases(ledger):
    return list(iter(ledger.journal.hand_over, None))


def said(ledger):
    """What was released since the last look."""
    return [heard(release.pcm) for release in releases(ledger)]


def speak(ledger, text):
    """All of a text on one route, as spoken."""
    ledger.send(1, 0, len(text))
    ledger.audio(1, voice(text), times(text))
    ledger.final(1)


def test_alignment_of_the_whole_segment_in_the_first_frame_releases_word_by_word_as_audio_comes():
    ledger = ledger_with("one two three")
    ledger.send(1, 0, 13)
    pcm = voice("one two three")
    found = []
    for part, alignment in (
        (pcm[: 240 * 5], times("one two three")),
        (pcm[240 * 5 : 240 * 9], None),
        (pcm[240 * 9 :], None),
    ):
        assert ledger.audio(1, part, alignment) == []
        found.append(said(ledger))
    assert found == [["one "], ["two "], ["three"]]
    assert not ledger.done  # the final may bring a pause
    assert ledger.final(1) == []
    assert ledger.done


def test_a_fault_costs_the_unfinished_word_and_every_later_piece_of_that_route():
    ledger = ledger_with("one two three four")
    ledger.send(1, 0, 8)
    ledger.send(1, 8, 18)
    ledger.audio(1, voice("one tw"), times("one two "))
    assert ledger.fault(1) == [Lost(1, 4, 18, "fault")]
    assert ledger.unsent() == [(4, 18)]
    assert ledger.audio(1, voice("o ")) == []
    assert ledger.late_frames == 1
    with pytest.raises(LedgerError):
        ledger.send(1, 4, 18)


def test_a_word_is_whole_when_its_letters_sounded_even_if_the_blank_behind_them_is_missing():
    ledger = ledger_with("one two")
    ledger.send(1, 0, 7)
    ledger.audio(1, voice("one"), times("one two"))
    assert said(ledger) == []
    ledger.fault(1)
    assert said(ledger) == ["one"]
    assert ledger.unsent() == [(4, 7)]


def test_without_alignment_only_the_final_says_that_a_piece_was_spoken():
    ledger = ledger_with("one two")
    ledger.send(1, 0, 7, "fallback")
    ledger.audio(1, voice("one two"))
    assert said(ledger) == []
    ledger.final(1)
    (release,) = releases(ledger)
    assert [(w.cp_start, w.cp_end) for w in release.words] == [(0, 7)]
    assert ledger.statistics().source["fallback"] == 7


def test_a_final_without_audio_is_a_loss_unless_there_was_nothing_to_voice():
    ledger = ledger_with("one")
    ledger.send(1, 0, 3)
    assert ledger.final(1) == [Lost(1, 0, 3, "no_audio")]
    assert ledger.losses_since_release == 1
    smile = ledger_with("\U0001f600 !")
    smile.send(1, 0, 3)
    smile.final(1)
    assert smile.done
    assert smile.statistics().source["silent"] == 3
    assert smile.journal.skipped == [(0, 3)]
    assert not smile.journal.spoke


def test_a_final_is_believed_only_as_far_as_the_audio_shows():
    ledger = ledger_with("one two")
    ledger.send(1, 0, 7)
    ledger.audio(1, voice("one t"), times("one two"))
    assert ledger.final(1) == [Lost(1, 4, 7, "short")]


def test_a_segment_that_begins_before_the_last_ones_words_have_sounded_shows_that_they_never_will():
    ledger = ledger_with("one two three four")
    ledger.send(1, 0, 8)
    ledger.send(1, 8, 18)
    ledger.audio(1, voice("one t"), times("one two "))
    assert ledger.audio(1, voice("three "), times("three four")) == [Lost(1, 4, 18, "short")]
    assert said(ledger) == ["one "]


def test_a_word_that_alignment_puts_behind_the_audio_is_timed_within_it():
    ledger = ledger_with("one a", slack_ms=60)
    ledger.send(1, 0, 5)
    ledger.audio(1, voice("one"), times("one a"))
    assert ledger.final(1) == []
    words = [word for release in releases(ledger) for word in release.words]
    assert [(w.cp_start, w.cp_end, w.start, w.end) for w in words] == [(0, 3, 0, 360), (4, 5, 360, 360)]


def test_blank_text_needs_no_route():
    ledger = ledger_with(" \n ", close=False)
    assert ledger.unsent() == []
    assert not ledger.done
    with pytest.raises(LedgerError):
        ledger.send(1, 0, 3)
    ledger.close()
    assert ledger.done
    assert said(ledger) == [""]
    assert ledger.journal.heard_cp_at() == 3
    assert ledger.statistics().source["silent"] == 3


def test_parallel_routes_are_heard_in_order_and_a_gap_between_them_is_filled_first():
    ledger = ledger_with("one two six")
    ledger.send(1, 0, 4)
    ledger.send(2, 4, 8)
    ledger.send(3, 8, 11)
    ledger.audio(3, voice("six"), times("six"))
    ledger.final(3)
    assert said(ledger) == []
    ledger.audio(1, voice("one "), times("one "))
    assert said(ledger) == ["one "]
    ledger.final(1)
    assert ledger.fault(2) == [Lost(2, 4, 8, "fault")]
    assert ledger.unsent() == [(4, 8)]
    ledger.send(4, 4, 8)
    ledger.audio(4, voice("two "), times("two "))
    assert said(ledger) == ["two "]
    ledger.final(4)
    assert said(ledger) == ["six"]
    assert ledger.done


def test_a_segment_that_ends_inside_a_word_holds_it_back_in_spite_of_the_servers_extra_space():
    ledger = ledger_with("too many ")
    ledger.send(1, 0, 9)
    ledger.audio(1, voice("too m "), times("too m "))
    assert said(ledger) == ["too "]
    ledger.audio(1, voice("any "), times("any "))
    assert said(ledger) == ["m any "]


def test_blanks_swallowed_at_the_end_of_a_piece_do_not_hold_its_last_word_back():
    ledger = ledger_with("one\n\n\ntwo")
    ledger.send(1, 0, 6)
    ledger.audio(1, voice("one "), times("one "))
    assert said(ledger) == ["one "]
    assert ledger.journal.released_cp == 6


def test_normalized_times_serve_when_the_letters_agree_and_make_the_route_blind_when_not():
    ledger = ledger_with("a $5 b")
    ledger.send(1, 0, 6)
    normalized = times(" a five b", [0, *(5.0 * i for i in range(8))])
    assert ledger.audio(1, voice("a five b"), None, normalized) == [Blind(1)]
    assert said(ledger) == []
    with pytest.raises(LedgerError):
        ledger.journal.accept("more")
    ledger.final(1)
    assert said(ledger) == ["a five b"]
    assert ledger.done
    agreed = ledger_with("a b")
    agreed.send(1, 0, 3)
    assert agreed.audio(1, voice("a b"), None, times(" a b", [0, 0, 5.0, 10.0])) == []
    assert said(agreed) == ["a b"]


def test_a_blind_route_carries_no_more_text():
    ledger = ledger_with("one two")
    ledger.send(1, 0, 4)
    assert ledger.audio(1, voice("uno "), times("uno ")) == [Blind(1)]
    with pytest.raises(LedgerError):
        ledger.send(1, 4, 7)
    assert ledger.send(2, 4, 7) == "two"


@pytest.mark.parametrize(
    "alignment",
    [
        Alignment(["o"], [0, 1], [5]),  # lists of unequal length
        Alignment(list("one two"), [0] * 7, [0] * 7),  # words that last no time
        Alignment(list("one two"), [0, 1, 2, 3, 9, 8, 10], [1] * 7),  # back in time
        Alignment(list("one two"), [-1, 1, 2, 3, 8, 9, 10], [1] * 7),
        Alignment(list("one two"), [0, 1, 2, 3, 8, 9, 10], [1, 1, 1, 1, 1, -1, 1]),
        Alignment(list("one two"), [0, 1, 2, 3, 8, 9, 10], [1, 1, 1, float("nan"), 1, 1, 1]),
        Alignment(list("one two"), [0, 1, 2, 3, 8, 9, 10], [1] * 6 + [float("inf")]),
        Alignment(list("one two"), [float("nan")] * 7, [1] * 7),
    ],
)
def test_a_broken_alignment_makes_the_route_blind(alignment):
    ledger = ledger_with("one two")
    ledger.send(1, 0, 7)
    assert ledger.audio(1, voice("one two"), alignment) == [Blind(1)]
    ledger.final(1)
    assert said(ledger) == ["one two"]


def test_a_route_carries_one_unbroken_run_and_no_text_is_on_two_routes():
    ledger = ledger_with("one two six")
    ledger.send(1, 0, 4)
    for start, end in ((0, 4), (2, 8), (8, 11)):
        with pytest.raises(LedgerError):
            ledger.send(1, start, end)
    assert ledger.statistics().sent == 4


def test_audio_that_no_alignment_accounts_for_makes_the_route_blind():
    ledger = ledger_with("no no no ")
    ledger.send(1, 0, 9)
    ledger.audio(1, voice("no "), times("no "))
    assert said(ledger) == ["no "]
    assert ledger.audio(1, voice("no ")) == []
    assert ledger.audio(1, voice("no "), times("no ")) == [Blind(1)]
    assert ledger.fault(1) == [Lost(1, 3, 9, "fault")]


def test_text_without_spaces_is_cut_behind_its_clauses():
    ledger = ledger_with("你好、世界。")
    ledger.send(1, 0, 6)
    ledger.audio(1, voice("你好、世"), times("你好、世界。"))
    assert said(ledger) == ["你好、"]


def test_half_a_sample_waits_for_its_other_half():
    ledger = ledger_with("ab")
    ledger.send(1, 0, 2)
    ledger.audio(1, voice("ab")[:479], times("ab"))
    assert said(ledger) == []
    ledger.audio(1, voice("ab")[479:])
    assert said(ledger) == ["ab"]


def test_heard_is_the_end_of_the_last_word_played_whole_and_everything_once_all_was_played():
    ledger = ledger_with("one two ")
    speak(ledger, "one two ")
    releases(ledger)
    assert [ledger.journal.heard_cp_at(n) for n in (359, 360, 480, 839, 840, 960)] == [0, 3, 3, 3, 7, 8]


def test_cancel_releases_nothing_more_and_tells_what_was_heard():
    ledger = ledger_with("one two three")
    ledger.send(1, 0, 13)
    ledger.audio(1, voice("one two "), times("one two three"))
    releases(ledger)
    ledger.cancel()
    assert ledger.audio(1, voice("three")) == []
    assert ledger.journal.heard_cp_at(400) == 3
    assert ledger.unsent() == []
    with pytest.raises(LedgerError):
        ledger.send(2, 8, 13)
    books = ledger.statistics()
    assert (books.released, books.chars, books.sent, books.done) == (8, 13, 13, False)


@pytest.mark.parametrize("text", ["one  ", "  "])
def test_a_cancelled_stream_stays_cancelled_for_the_next_ledger(text):
    ledger = ledger_with(text, close=False)
    ledger.cancel()
    after = Ledger(ledger.journal)
    assert after.unsent() == []
    assert not after.done
    after.close()
    assert ledger.journal.released_cp == 0


def test_a_pause_moves_the_clock_and_is_handed_over_in_its_place():
    ledger = ledger_with("one two six")
    ledger.send(1, 0, 4)
    ledger.audio(1, voice("one "), times("one "))
    ledger.final(1)
    assert ledger.journal.pad(100) == 480
    ledger.send(2, 4, 11)
    ledger.audio(2, voice("two "), times("two six"))
    ledger.audio(2, voice("six"))
    first, pause, second, third = releases(ledger)
    assert not first.joint
    assert not third.joint
    assert (pause.at, pause.pcm, pause.cp_start, pause.cp_end) == (480, bytes(200), 4, 4)
    assert second.joint
    assert second.at == 580 == second.words[0].start


def test_a_fresh_ledger_goes_on_where_the_last_one_released():
    ledger = ledger_with("one two three")
    ledger.send(0, 0, 13)
    ledger.audio(0, voice("one tw"), times("one two three"))
    after = Ledger(ledger.journal, slack_ms=1)
    assert after.unsent() == [(4, 13)]
    assert after.audio(0, voice("o ")) == []  # a frame for the old one's route
    with pytest.raises(LedgerError):
        after.send(0, 4, 13)
    after.send(after.journal.next_route, 4, 13)
    after.audio(1, voice("two three"), times("two three"))
    after.final(1)
    assert said(after) == ["one ", "two three"]
    assert after.done
    assert after.statistics().sent == 13 + 9


def test_losses_since_the_last_release_survive_a_crash_and_end_with_speech():
    ledger = ledger_with("one two")
    for route in (1, 2):
        ledger.send(route, 0, 7)
        ledger.fault(route)
        ledger = Ledger(ledger.journal, slack_ms=1)
    assert ledger.losses_since_release == 2
    ledger.send(3, 0, 7)
    ledger.audio(3, voice("one "), times("one two"))
    assert ledger.losses_since_release == 0
    assert ledger.statistics().losses == 2


def test_positions_count_from_the_start_of_the_clients_text():
    ledger = ledger_with("two three", start_cp=1004, before="one ")
    assert ledger.unsent() == [(1004, 1013)]
    assert ledger.send(1, 1004, 1008) == "two "
    ledger.audio(1, voice("two "), times("two "))
    ledger.final(1)
    (release,) = releases(ledger)
    assert (release.cp_start, release.cp_end, release.at) == (1004, 1008, 0)
    assert [(w.cp_start, w.cp_end) for w in release.words] == [(1004, 1007)]
    assert ledger.journal.context(6) == "e two "
    assert ledger.journal.context(100) == "one two "


def test_outstanding_text_shrinks_word_by_word_and_held_audio_takes_its_place():
    ledger = ledger_with("one two three four")
    ledger.send(1, 0, 8)
    ledger.send(2, 8, 18)
    assert (ledger.outstanding_cp, ledger.held_samples) == (18, 0)
    ledger.audio(2, voice("three "), times("three four"))
    assert (ledger.outstanding_cp, ledger.held_samples) == (12, 720)
    ledger.audio(1, voice("one t"), times("one two "))
    assert (ledger.outstanding_cp, ledger.held_samples) == (8, 720)
    ledger.audio(1, voice("wo "))
    ledger.final(1)
    assert (ledger.outstanding_cp, ledger.held_samples) == (4, 0)
    assert ledger.live_routes == (2,)
    assert ledger.journal.pending_samples == 14 * 120


def test_a_route_that_lacks_only_its_final_can_be_told_from_one_that_lacks_words():
    ledger = ledger_with("one two six")
    ledger.send(1, 0, 4)
    ledger.send(2, 4, 8)
    ledger.audio(2, voice("two"), times("two "))  # not at the head: held
    ledger.audio(1, voice("on"), times("one "))
    assert [ledger.has_spoken(route) for route in (1, 2, 3)] == [False, True, False]
    ledger.audio(1, voice("e "))
    assert ledger.has_spoken(1)
    ledger.final(1)
    assert not ledger.has_spoken(1)


def test_audio_without_alignment_counts_as_come_at_its_final():
    ledger = ledger_with("one")
    ledger.send(1, 0, 3)
    ledger.audio(1, voice("on"))
    assert ledger.outstanding_cp == 3
    ledger.audio(1, voice("e"))
    ledger.final(1)
    assert ledger.outstanding_cp == 0


def test_words_are_whole_units_even_if_upstream_leaves_out_their_punctuation():
    ledger = ledger_with("(one) — two! ")
    ledger.send(1, 0, 13)
    ledger.audio(1, voice("one two "), times("one two "))
    ledger.final(1)
    words = [word for release in releases(ledger) for word in release.words]
    assert [(w.cp_start, w.cp_end) for w in words] == [(0, 5), (8, 12)]
    assert ledger.journal.skipped == [(6, 7)]


def test_a_word_of_digital_silence_is_skipped_and_no_word():
    ledger = ledger_with("one two six ")
    ledger.send(1, 0, 12)
    ledger.audio(1, voice("one ") + bytes(960) + voice("six "), times("one two six "))
    ledger.final(1)
    released = releases(ledger)
    assert [(w.cp_start, w.cp_end) for release in released for w in release.words] == [(0, 3), (8, 11)]
    assert ledger.journal.skipped == [(4, 7)]
    assert ledger.journal.spoke
    assert ledger.journal.heard_cp_at(959) == 3
    assert ledger.journal.heard_cp_at(960) == 7  # it counts as heard with its unit
    assert ledger.statistics().source["live"] == 12


def test_a_stream_that_was_all_digital_silence_did_not_speak():
    ledger = ledger_with("नमस्ते दुनिया")
    ledger.send(1, 0, 13)
    ledger.audio(1, bytes(240 * 13), times("नमस्ते दुनिया"))
    ledger.final(1)
    assert ledger.done
    assert not ledger.journal.spoke
    assert ledger.journal.skipped == [(0, 13)]


def test_a_long_stream_keeps_a_bounded_part_of_its_text_and_of_its_routes():
    journal = Journal()
    ledger = Ledger(journal, slack_ms=1)
    text = "many words " * 40
    for _ in range(600):
        start = journal.accepted_cp
        journal.accept(text)
        ledger.send(1, start, start + len(text))
        ledger.audio(
            1, bytes(2 * 24 * len(text)), Alignment(list(text), list(range(len(text))), [1] * len(text))
        )
        while journal.hand_over():
            pass
    take = ledger._live[1]
    assert journal.released_cp == 600 * len(text)
    assert len(take._text) <= 2 * len(text)
    assert len(take._ends) <= 2
    assert journal._text.end - journal._text.base < 3 * 65_536
    assert len(journal._heard._cps) <= 8192
