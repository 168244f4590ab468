import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_streamd_protocol import journal as journal_module
from tts_streamd_protocol.journal import KEPT_CP, Journal, TextGapError, TextMismatchError
from tts_streamd_protocol.release import LedgerError, Release, Word, split
from tts_streamd_protocol.transcript import BLOCK_CP, Transcript

SOUND = b"\x01\x02"


def release_next(journal, text, n_samples, *, source="live", skipped=()):
    """Accept and release one unit: its letters sound all the time but for the last tenth."""
    start = journal.released_cp
    end = journal.accept(text)
    word = Word(start, start + len(text.rstrip()), journal.samples, journal.samples + n_samples * 9 // 10)
    at = journal.samples
    words = (word,) if n_samples else ()
    release = Release(SOUND * n_samples, at, start, end, words, cuts=((at + n_samples, end),))
    journal.release(release, source, skipped)
    return release


# -- text ----------------------------------------------------------------------------------------------


def test_text_sent_again_is_dropped_as_far_as_it_was_accepted():
    journal = Journal()
    assert journal.accept("hello ") == 6
    assert journal.check_overlap(6, "world") == "world"
    assert journal.check_overlap(3, "lo world") == "world"
    assert journal.check_overlap(0, "hel") == ""
    assert journal.check_overlap(6, "") == ""
    assert journal.accepted_cp == 6


def test_a_gap_or_other_text_is_refused_and_tells_how_much_was_accepted():
    journal = Journal(start_cp=100, before="so ")
    journal.accept("hello ")
    with pytest.raises(TextGapError) as gap:
        journal.check_overlap(107, "x")
    assert (gap.value.code, gap.value.chars, gap.value.accepted_cp) == ("text_gap", 6, 106)
    with pytest.raises(TextMismatchError) as mismatch:
        journal.check_overlap(104, "x world")
    assert (mismatch.value.code, mismatch.value.chars) == ("bad_value", 6)


def test_text_from_before_the_stream_or_let_go_counts_as_equal():
    journal = Journal(start_cp=10)
    journal.accept("abc")
    assert journal.check_overlap(8, "??abcd") == "d"
    for _ in range(40):
        release_next(journal, "x" * 9_999 + " ", 0)
        journal.hand_over()
    assert journal.check_overlap(10, "?" * 100) == ""
    end = journal.accepted_cp
    with pytest.raises(TextMismatchError):
        journal.check_overlap(end - KEPT_CP, "?")


def test_text_is_kept_as_long_as_its_words_wait_for_the_client():
    journal = Journal()
    for _ in range(20):
        release_next(journal, "x" * 9_999 + " ", 0)
    assert journal.slice(0, 10_000) == "x" * 9_999 + " "
    while journal.hand_over() is not None:
        pass
    release_next(journal, "y ", 0)
    with pytest.raises(LedgerError):
        journal.slice(0, 10)


def test_nothing_is_accepted_after_close():
    journal = Journal()
    journal.close()
    with pytest.raises(LedgerError):
        journal.accept("a")


def test_context_reaches_back_before_the_stream():
    journal = Journal(start_cp=4, before="one ")
    release_next(journal, "two ", 10)
    journal.accept("three")
    assert journal.context(6) == "e two "
    assert journal.context(1000) == "one two "
    assert journal.slice(8, 13) == "three"


@settings(max_examples=50, deadline=None)
@given(
    st.integers(-5, 5),
    st.lists(st.text("ab \n", max_size=50), max_size=6),
    st.integers(1, 5 * BLOCK_CP),
    st.data(),
)
def test_a_transcript_gives_every_slice_back_that_it_has_not_let_go(base, parts, n, data):
    transcript, text = Transcript(base), ""
    for part in (*parts, "x" * n, *parts):
        transcript.append(part)
        text += part
    transcript.forget(base + data.draw(st.integers(0, n)))
    assert transcript.end == base + len(text)
    start = data.draw(st.integers(transcript.base, transcript.end))
    end = data.draw(st.integers(start, transcript.end))
    found = transcript.slice(start, end)
    assert found == text[start - base : end - base]
    assert transcript.is_blank(start, end) == (not found.strip())
    for bad in ((transcript.base - 1, end), (start, transcript.end + 1)):
        with pytest.raises(LedgerError):
            transcript.slice(*bad)


def test_a_transcript_lets_go_of_old_blocks_only():
    transcript = Transcript(0)
    for i in range(100):
        transcript.append(chr(65 + i % 26) * BLOCK_CP)
    transcript.forget(50 * BLOCK_CP + 1)
    assert transcript.base == 50 * BLOCK_CP
    assert transcript.slice(50 * BLOCK_CP, 50 * BLOCK_CP + 2) == chr(65 + 50 % 26) * 2
    transcript.forget(10**9)
    assert transcript.end - transcript.base > 0


# -- speech --------------------------------------------------------------------------------------------


def test_a_release_is_committed_whole():
    journal = Journal()
    release = release_next(journal, "one ", 100)
    release_next(journal, "... ", 0, skipped=[(4, 7)])
    assert (journal.released_cp, journal.samples, journal.pending_samples, journal.spoke) == (
        8,
        100,
        100,
        True,
    )
    assert journal.source == {"live": 4, "cache": 0, "fallback": 0, "silent": 4}
    assert journal.skipped == [(4, 7)]
    assert journal.hand_over() is release
    assert journal.pending_samples == 0


@pytest.mark.parametrize(
    "bad",
    [
        Release(SOUND, 1, 0, 4, cuts=((2, 4),)),  # not where the audio ended
        Release(SOUND, 0, 1, 4, cuts=((1, 4),)),  # not where the text ended
        Release(b"\0", 0, 0, 4, cuts=((0, 4),)),  # half a sample
        Release(SOUND, 0, 0, 4, cuts=((1, 3),)),  # not at a cut
        Release(SOUND, 0, 0, 4),
        Release(SOUND, 0, 0, 5, cuts=((1, 5),)),  # text that is not there
    ],
)
def test_a_release_that_does_not_fit_changes_nothing(bad):
    journal = Journal()
    journal.accept("one ")
    with pytest.raises(LedgerError):
        journal.release(bad, "live")
    assert (journal.released_cp, journal.samples, journal.pending, sum(journal.source.values())) == (
        0,
        0,
        type(journal.pending)(),
        0,
    )


def test_only_blanks_are_passed_over():
    journal = Journal()
    journal.accept("  a")
    journal.pass_blank(2)
    journal.pass_blank(2)
    assert (journal.released_cp, journal.source["silent"], len(journal.pending)) == (2, 2, 1)
    with pytest.raises(LedgerError):
        journal.pass_blank(3)


def test_skipped_spans_with_only_blanks_between_are_one_and_their_number_is_bounded(monkeypatch):
    monkeypatch.setattr(journal_module, "MAX_SKIPPED", 3)
    journal = Journal()
    release_next(journal, "! ! a !", 1, skipped=[(0, 1), (2, 3), (6, 7)])
    release_next(journal, " ! a", 1, skipped=[(8, 9)])
    assert journal.skipped == [(0, 3), (6, 9)]
    for i in range(5):
        release_next(journal, " a !", 1, skipped=[(14 + 4 * i, 15 + 4 * i)])
    assert journal.skipped == [(0, 3), (6, 9), (14, 15)]


def test_skipped_spans_far_apart_are_told_though_the_text_between_is_forgotten():
    journal = Journal()
    release_next(journal, "! ", 1, skipped=[(0, 1)])
    for _ in range(40):
        release_next(journal, "x" * 9_999 + " ", 1)
    release_next(journal, "! ", 1, skipped=[(400_002, 400_003)])
    assert journal.skipped == [(0, 1), (400_002, 400_003)]


def test_a_blank_passed_over_is_no_sign_of_life():
    journal = Journal()
    journal.accept(" one")
    journal.record_loss()
    journal.pass_blank(1)
    assert (journal.losses, journal.losses_since_release) == (1, 1)


def test_a_cancel_drops_what_was_not_handed_over():
    journal = Journal()
    release_next(journal, "one ", 100)
    release_next(journal, "two ", 100)
    journal.hand_over()
    journal.cancel()
    assert journal.hand_over() is None
    assert (journal.pending_samples, journal.handed_samples, journal.handed_cp) == (0, 100, 4)
    assert journal.heard_cp_at() == 3
    assert journal.heard_cp_at(10**9) == 3
    with pytest.raises(LedgerError):
        journal.release(Release(b"", 200, 8, 8, cuts=((200, 8),)), "live")


def test_a_pause_takes_its_place_among_the_speech():
    journal = Journal()
    release_next(journal, "one ", 100)
    assert journal.pad(50) == 100
    release_next(journal, "two ", 100)
    assert [(r.at, r.n_samples) for r in iter(journal.hand_over, None)] == [(0, 100), (100, 50), (150, 100)]


# -- parts ---------------------------------------------------------------------------------------------


def test_parts_end_where_units_end_and_a_word_goes_with_the_part_in_which_it_begins():
    words = (Word(0, 1, 10, 12), Word(2, 3, 15, 18), Word(4, 5, 18, 36))
    release = Release(bytes(range(60)), 10, 0, 6, words, joint=True, cuts=((14, 2), (18, 4), (40, 6)))
    parts = list(split(release, 10))
    assert [(p.at, p.end, p.cp_start, p.cp_end, len(p.words), p.joint) for p in parts] == [
        (10, 18, 0, 4, 2, True),
        (18, 28, 4, 4, 1, False),
        (28, 38, 4, 4, 0, False),
        (38, 40, 4, 6, 0, False),
    ]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 3)), min_size=1, max_size=12), st.integers(1, 12))
def test_parts_cover_the_release_exactly(units, max_samples):
    cuts, words, sample, cp = [], [], 7, 3
    for n_samples, n_cp in units:
        words.append(Word(cp, cp + n_cp, sample, sample + n_samples // 2))
        sample, cp = sample + n_samples, cp + n_cp
        cuts.append((sample, cp))
    pcm = bytes(i % 256 for i in range(2 * (sample - 7)))
    release = Release(pcm, 7, 3, cp, tuple(words), cuts=tuple(cuts))
    parts = list(split(release, max_samples))
    assert b"".join(p.pcm for p in parts) == pcm
    assert [w for p in parts for w in p.words] == words
    assert [c for p in parts for c in p.cuts] == cuts
    at, at_cp = 7, 3
    for part in parts:
        assert (part.at, part.cp_start) == (at, at_cp)
        assert part.n_samples <= max_samples
        at, at_cp = part.end, part.cp_end
        assert part.end in {s for s, _ in cuts} or part.n_samples == max_samples
        assert all(w.start < part.end or part.cp_end > w.cp_start for w in part.words)
        assert all(w.start >= part.at for w in part.words)
        assert at_cp >= max((c for s, c in cuts if s < at), default=3)
    assert (at, at_cp) == (sample, cp)


def test_long_speech_is_handed_over_in_parts():
    journal = Journal()
    release_next(journal, "one ", 25)
    release_next(journal, "two ", 5)
    parts = [journal.hand_over(10) for _ in range(4)]
    assert [(p.n_samples, p.cp_end) for p in parts] == [(10, 0), (10, 0), (5, 4), (5, 8)]
    assert journal.hand_over(10) is None


def test_a_word_that_was_handed_over_only_in_part_was_not_heard():
    journal = Journal()
    release_next(journal, "one ", 100)
    journal.hand_over(95)
    assert journal.handed_samples == 95
    assert journal.heard_cp_at() == 0  # its cp moves with the last part
    journal.hand_over(95)
    assert journal.heard_cp_at() == 3


# -- listening -----------------------------------------------------------------------------------------


def test_heard_is_the_last_unit_that_sounded_whole_without_the_blanks_behind_it():
    journal = Journal(start_cp=50)
    assert journal.heard_cp_at() == 50
    release_next(journal, "one  ", 100)
    release_next(journal, "two ", 100)
    while journal.hand_over():
        pass
    assert [journal.heard_cp_at(n) for n in (0, 89, 90, 189, 190, 200)] == [50, 50, 53, 53, 58, 58]
    journal.close()
    assert [journal.heard_cp_at(n) for n in (199, 200, 10**9)] == [58, 59, 59]


def test_the_oldest_words_are_let_go_and_presumed_heard(monkeypatch):
    monkeypatch.setattr(journal_module, "MAX_HEARD_WORDS", 16)
    journal = Journal()
    for _ in range(1000):
        release_next(journal, "a ", 10)
        journal.hand_over()
    assert len(journal._heard._cps) == len(journal._heard._samples) <= 16
    assert journal.heard_cp_at(10_000) == 1999
    assert journal.heard_cp_at(9_990) == 1997
    assert 1900 < journal.heard_cp_at(0) < 1999


def test_ids_of_routes_rise_over_the_whole_stream():
    journal = Journal()
    assert journal.next_route == 0
    journal.record_sent(4, 10)
    assert (journal.next_route, journal.sent) == (5, 10)
