"""Sentences, pauses and the way back from rewritten text to what the client wrote."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_streamd_engine.voices.sentences import MAX_CHARACTERS, split_sentences
from tts_streamd_engine.voices.spans import Ramp, whole_ms, word_ramp


def parts(text):
    return [text[s.start : s.end] for s in split_sentences(text)]


@given(st.text(alphabet="aB1.,!? \n\"'(日…", max_size=900))
def test_sentences_cover_the_text(text):
    assert "".join(parts(text)) == text
    assert all(len(part.rstrip()) <= MAX_CHARACTERS for part in parts(text))


@pytest.mark.parametrize(
    "text",
    [
        "He came on Jan. 5th to see Dr. Smith.",
        "J. K. Rowling wrote it, e.g. this and that.",
        "Go to St. Paul, then on.",
        "See no. 5 in the list.",
        "At 5 p.m. we left.",
        'It was "good." or so.',
        "Version 2.0.1 is out.",
        "and so it went\nover the line",
    ],
)
def test_these_are_one_sentence(text):
    assert parts(text) == [text]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four…", ["One. ", "Two! ", "Three? ", "Four…"]),
        ("It was Jan. The snow fell.", ["It was Jan. ", "The snow fell."]),
        ("I said no. You went.", ["I said no. ", "You went."]),
        ('"Stop." He ran.', ['"Stop." ', "He ran."]),
        ("A line\nAnother line", ["A line\n", "Another line"]),
        ("first\n\nsecond", ["first\n\n", "second"]),
        ("  lead. Tail", ["  lead. ", "Tail"]),
    ],
)
def test_these_are_several(text, expected):
    assert parts(text) == expected


def test_a_long_sentence_is_cut_at_a_clause_then_at_a_blank_then_anywhere():
    clause = "a" * 200 + ", " + "b" * 200
    assert parts(clause) == ["a" * 200 + ", ", "b" * 200]
    assert parts("a" * 200 + " " + "b" * 200) == ["a" * 200 + " ", "b" * 200]
    assert parts("a" * 400) == ["a" * MAX_CHARACTERS, "a" * (400 - MAX_CHARACTERS)]


@pytest.mark.parametrize(
    ("text", "pause_ms"),
    [
        ("End. ", 350),
        ("End?” ", 350),
        ("So, ", 150),
        ("So: ", 250),
        ("so ", 30),
        ("A line\n", 350),
        ("P.\n\n", 600),
    ],
)
def test_the_pause_follows_the_punctuation(text, pause_ms):
    assert split_sentences(text)[-1].pause_ms == pause_ms


points = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1)


@given(points, st.lists(st.floats(-10, 110), min_size=2))
def test_a_ramp_never_falls(given_points, places):
    ramp = Ramp(given_points)
    values = [ramp(x) for x in sorted(places)]
    assert values == pytest.approx(sorted(values))


def test_a_ramp_is_linear_between_and_constant_outside():
    ramp = Ramp([(1, 10), (3, 20), (3, 25)])
    assert [ramp(x) for x in (0, 1, 2, 3, 4)] == [10, 10, 15, 25, 25]
    with pytest.raises(ValueError, match="point"):
        Ramp([])


def test_replaced_words_map_onto_what_they_replaced():
    ramp = word_ramp("at three thirty now", "at 3:30 now")
    assert [ramp(x) for x in (0, 2, 3, 15, 16, 19)] == [0, 2, 3, 7, 8, 11]


@given(st.text(alphabet="ab ", max_size=40), st.text(alphabet="ab ", max_size=40))
def test_places_map_into_the_source_and_keep_their_order(rewritten, source):
    ramp = word_ramp(rewritten, source)
    values = [ramp(x) for x in range(len(rewritten) + 1)]
    assert values == sorted(values)
    assert all(0 <= value <= len(source) for value in values)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5000)), max_size=10), st.integers(1, 20))
def test_bounds_begin_at_zero_and_end_with_the_audio(inner, n):
    bounds = whole_ms([(0, 0), *sorted(inner), (n, 24_000)], n, 24)
    assert len(bounds) == n + 1
    assert (bounds[0], bounds[-1]) == (0, 1000)
    assert list(bounds) == sorted(bounds)
