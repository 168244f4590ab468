from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from tts_streamd_protocol.journal import Journal
from tts_streamd_protocol.prompter import Prompter


def taken_from(prompter):
    while (piece := prompter.next()) is not None:
        prompter.taken()
        yield piece.start_cp, piece.end_cp


def journal_with(text, *, close=True):
    journal = Journal()
    journal.accept(text)
    if close:
        journal.close()
    return journal


@given(st.text("ab ", max_size=400), st.lists(st.integers(1, 400), max_size=4))
def test_the_pieces_together_are_the_text_but_for_blanks_at_its_end(text, flushes):
    flushes = deque(sorted({cp for cp in flushes if cp <= len(text)}))
    ends = [0]
    for start, end in taken_from(Prompter(journal_with(text), (50,), flushes)):
        assert start == ends[-1]
        ends.append(end)
    assert not text[ends[-1] :].strip()


def test_a_piece_stays_the_next_one_until_it_is_taken():
    prompter = Prompter(journal_with("one two"), (50,), ())
    assert prompter.next() == prompter.next()
    assert prompter.waiting
    prompter.taken()
    assert prompter.next() is None
    assert not prompter.waiting


def test_text_waits_for_its_piece_unless_the_client_asked_for_a_cut():
    journal, flushes = journal_with("one two ", close=False), deque()
    prompter = Prompter(journal, (50,), flushes)
    assert prompter.next() is None
    journal.accept("three")
    flushes.append(8)
    assert list(taken_from(prompter)) == [(0, 8)]
    journal.close()
    assert list(taken_from(prompter)) == [(8, 13)]


def test_lost_text_comes_first_and_in_its_place():
    text = "word " * 40
    prompter = Prompter(journal_with(text), (50,), ())
    prompter.next()
    prompter.taken()
    prompter.say_again(100, 150)
    prompter.say_again(0, 50)
    assert prompter.saying_again
    assert list(taken_from(prompter)) == [(0, 50), (100, 150), (50, 100), (100, 150), (150, 200)]


def test_after_a_crash_a_new_one_begins_where_speech_was_released():
    journal = journal_with("  one two")
    journal.pass_blank(2)
    assert list(taken_from(Prompter(journal, (50,), ()))) == [(2, 9)]
