from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_streamd_protocol.units import (
    boundaries,
    grapheme_cut,
    has_voiced,
    is_cut,
    last_boundary,
    stripped,
    unspoken,
    voiced,
    word_span,
)

TEXT = st.text(st.sampled_from("aé5 \n\u3000。」、!—😀\u0301\u200d\ufe0f\r"), max_size=40)


def units(text):
    return [text[a:b] for a, b in pairwise([0, *boundaries(text), len(text)])]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("one two  three ", ["one ", "two  ", "three "]),
        (" one", [" ", "one"]),
        ("a\n\n\tb", ["a\n\n\t", "b"]),
        ("你好、世界。再见", ["你好、", "世界。", "再见"]),
        ("「はい。」と言う", ["「はい。」", "と言う"]),
        ("a。!b", ["a。!b"]),  # not behind a clause's end but behind the mark: no letter follows it there
        ("3.14,2 well-known", ["3.14,2 ", "well-known"]),
        ("", [""]),
    ],
)
def test_text_is_cut_before_runs_between_blanks_and_behind_clause_punctuation(text, parts):
    assert units(text) == parts


@given(TEXT)
def test_the_two_ways_to_find_cuts_agree(text):
    assert list(boundaries(text)) == [cp for cp in range(len(text) + 1) if is_cut(text, cp)]


@given(TEXT, st.data())
def test_the_last_boundary_is_where_the_unit_begins(text, data):
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, len(text)))
    inside = [cp for cp in boundaries(text) if start < cp < stop]
    assert last_boundary(text, start, stop) == (inside[-1] if inside else start)


def test_letters_digits_and_their_marks_are_voiced_and_nothing_else():
    assert all(map(voiced, "aé5你नि\u0301"))
    assert not any(map(voiced, " ,—😀\ufe0f\u200d"))
    assert has_voiced("... a")
    assert has_voiced("\u0301")
    assert not has_voiced("… — 😀\ufe0f !")


@pytest.mark.parametrize(
    ("text", "start", "stop", "cut"),
    [
        ("abcdef", 0, 4, 4),
        ("abcd", 0, 4, 4),
        ("abe\u0301f", 0, 3, 2),
        ("ab👍🏽c", 0, 3, 2),
        ("a👩\u200d💻b", 0, 3, 1),
        ("a👩\u200d💻b", 0, 2, 1),
        ("❤\ufe0fx", 0, 1, 1),  # nothing better
        ("🇩🇪🇫🇷🇮🇹", 0, 3, 2),
        ("🇩🇪🇫🇷🇮🇹", 0, 4, 4),
        ("x\u1112\u1161\u11ab", 0, 3, 1),
        ("a\r\nb", 0, 2, 1),
        ("\u0301\u0301\u0301\u0301", 0, 3, 3),
    ],
)
def test_a_long_unit_is_cut_between_characters_as_readers_see_them(text, start, stop, cut):
    assert grapheme_cut(text, start, stop) == cut


@given(TEXT, st.data())
def test_a_grapheme_cut_is_in_range_and_never_before_a_mark_if_there_is_another_place(text, data):
    stop = data.draw(st.integers(1, max(1, len(text))))
    cut = grapheme_cut(text, 0, stop)
    assert 0 < cut <= stop
    assert cut == stop or not any(text[cut:].startswith(c) for c in "\u0301\u200d\ufe0f")


@given(TEXT, st.data())
def test_stripping_a_span_takes_the_blanks_at_its_edges_only(text, data):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    first, last = stripped(text, start, end)
    assert start <= first <= last <= end
    assert text[first:last] == text[start:end].strip()


def test_a_word_is_the_units_that_it_touches_without_the_blanks():
    text = "say (hello)! now "
    assert word_span(text, 5, 10) == (4, 12)
    assert word_span(text, 5, 14) == (4, 16)
    assert word_span(" a", 1, 2) == (1, 2)
    assert word_span("one — two ", 0, 3) == (0, 3)


def test_units_without_a_letter_are_unspoken():
    assert list(unspoken(" — one ... 😀! 2, — ")) == [(1, 2), (7, 10), (11, 13), (17, 18)]
    assert list(unspoken(" \n ")) == []
    assert list(unspoken("")) == []
