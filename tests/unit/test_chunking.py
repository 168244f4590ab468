import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_streamd_protocol.chunking import SCHEDULES, Chunker, Piece, pieces, schedule
from tts_streamd_protocol.errors import TtsStreamdError
from tts_streamd_protocol.release import LedgerError
from tts_streamd_protocol.units import MAX_UNIT_CP, is_cut

TEN = "ten chars "


def drain(chunker):
    return list(iter(chunker.cut, None))


def run(figures, parts, *, start_cp=0, close=True):
    """*parts*: texts to feed, None is a flush; returns the pieces and the positions of the flushes."""
    chunker, found, flushes = Chunker(figures, start_cp=start_cp), [], set()
    for part in parts:
        if part is None:
            chunker.flush()
            flushes.add(chunker.end_cp)
        else:
            chunker.feed(part)
        found += drain(chunker)
    if close:
        chunker.close()
    return found + drain(chunker), flushes


def spans(found):
    return [(piece.start_cp, piece.end_cp) for piece in found]


def test_schedules_are_the_guides_and_adaptive_is_speed_until_it_is_built():
    assert schedule("quality") == (250, 350, 450, 500)
    assert schedule("aggressive")[0] == 50
    assert schedule(None) == schedule("adaptive") == SCHEDULES["speed"]
    assert schedule([50, 500]) == (50, 500)


@pytest.mark.parametrize("value", ["fast", "", [], [49], [50, 501]])
def test_a_schedule_out_of_range_is_refused(value):
    with pytest.raises(TtsStreamdError) as caught:
        schedule(value)
    assert caught.value.code == "bad_value"


def test_pieces_end_at_the_first_cut_at_or_behind_the_figure_and_the_last_figure_repeats():
    found, _ = run((50, 75, 100), [TEN * 60])
    assert [piece.end_cp - piece.start_cp for piece in found] == [50, 80, 100, 100, 100, 100, 70]


def test_a_piece_is_ready_as_soon_as_a_blank_ends_its_unit():
    chunker = Chunker((50,))
    chunker.feed(TEN * 4 + "and ten so")
    assert chunker.cut() is None
    chunker.feed("on")
    assert chunker.cut() is None
    chunker.feed(" ")
    assert chunker.cut() == Piece(0, 53)


def test_a_flush_cuts_inside_a_word_and_the_rest_is_another_piece():
    found, _ = run((50,), ["hel", None, "lo"])
    assert spans(found) == [(0, 3), (3, 5)]


def test_blanks_by_themselves_are_no_piece_and_go_with_the_next():
    found, _ = run((50,), ["  ", None, " ", None, "one", None, "\n", None, " two ", None, "  "])
    assert spans(found) == [(0, 6), (6, 12)]
    assert run((50,), [" \n "])[0] == []


def test_leading_blanks_do_not_count_towards_the_figure():
    found, _ = run((50,), [" " * 200 + TEN * 6])
    assert spans(found) == [(0, 250), (250, 260)]


def test_text_without_blanks_is_cut_behind_its_clauses():
    found, _ = run((50,), ["今日は、いい天気。" * 12])
    assert spans(found) == [(0, 54), (54, 108)]


def test_a_unit_longer_than_any_piece_is_cut_between_graphemes():
    found, _ = run((50,), ["x" * 499 + "e\u0301" + "y" * 700 + " z"])
    assert spans(found) == [(0, 499), (499, 999), (999, 1202), (1202, 1203)]
    assert spans(run((50,), ["x" * 500 + " z"])[0]) == [(0, 501), (501, 502)]


def test_a_long_unit_behind_short_ones_is_cut_at_its_own_limit():
    found, _ = run((500,), ["a " * 240 + "x" * 501])
    assert spans(found) == [(0, 980), (980, 981)]


def test_a_long_unit_is_measured_from_its_own_cut_without_blanks_too():
    found, _ = run((500,), ["語。" * 240 + "語" * 99 + "。" + "語" * 450])
    assert spans(found) == [(0, 580), (580, 1030)]


def test_a_long_run_of_blanks_is_no_long_unit():
    found, _ = run((50,), ["x" * 50 + " " * 2000 + "word word"])
    assert spans(found) == [(0, 2050), (2050, 2059)]


def test_positions_count_from_where_the_text_begins():
    assert spans(pieces(TEN * 6, (50,), start_cp=1000)) == [(1000, 1050), (1050, 1060)]


def test_no_text_is_taken_after_close():
    chunker = Chunker((50,))
    chunker.close()
    with pytest.raises(LedgerError):
        chunker.feed("a")


def test_memory_is_the_piece_in_making():
    chunker = Chunker((500,))
    for _ in range(200):
        chunker.feed("   " * 50)
        chunker.feed("word " * 37 + "x" * 333 + "語。" * 30)
        drain(chunker)
        assert len(chunker._text) <= 2 * MAX_UNIT_CP + 2
    chunker.flush()
    drain(chunker)
    chunker.feed(" " * 100_000)
    assert chunker._text == ""


WORD = st.text(st.sampled_from("abé3,.—😀\u0301。「」語"), min_size=1, max_size=12)
LONG = st.builds(lambda char, n: char * n, st.sampled_from(["x", "e\u0301", "語"]), st.integers(200, 900))
BLANK = st.sampled_from([" ", " ", " ", "  ", "\n\n", "\u3000"])
TEXT = st.lists(st.one_of(WORD, WORD, WORD, BLANK, BLANK, BLANK, LONG), max_size=80).map("".join)
FIGURES = st.lists(st.integers(50, 500), min_size=1, max_size=4).map(tuple)


@st.composite
def feeds(draw, *, flushes=True):
    text = draw(TEXT)
    ends = [*sorted(draw(st.sets(st.integers(0, len(text)), max_size=20))), len(text)]
    parts, at = [], 0
    for end in ends:
        parts.append(text[at:end])
        if flushes and draw(st.integers(0, 4)) == 0:
            parts.append(None)
        at = end
    return text, parts


@settings(max_examples=150, deadline=None)
@given(FIGURES, feeds())
def test_pieces_cover_the_text_and_end_only_where_they_may(figures, fed):
    text, parts = fed
    found, flushes = run(figures, parts, start_cp=7)
    end = 7
    feed_ends = {7 + len("".join(p or "" for p in parts[: i + 1])) for i in range(len(parts))}
    for n, piece in enumerate(found):
        start, end, before = piece.start_cp - 7, piece.end_cp - 7, end
        assert piece.start_cp == before
        said = text[start:end]
        assert said.strip()
        end = piece.end_cp
        at = end - 7
        figure = figures[min(n, len(figures) - 1)]
        counted = len(said) - (len(said) - len(said.lstrip()))
        if end in flushes or at == len(text):
            continue
        long_unit = not any(c.isspace() for c in text[max(start, at - MAX_UNIT_CP + 8) : at + 1])
        if not (is_cut(text, at) or (end in feed_ends and text[at - 1].isspace())):
            assert long_unit, "inside a unit that is not too long"
            continue
        assert counted >= figure, "early"
        first = start + len(said) - counted + figure
        assert not any(is_cut(text, cp) for cp in range(first, at)), "late"
    assert text[end - 7 :].strip() == ""


@settings(max_examples=100, deadline=None)
@given(FIGURES, feeds(flushes=False))
def test_how_text_is_split_into_feeds_moves_only_blanks_between_pieces(figures, fed):
    text, parts = fed
    whole, _ = run(figures, [text])
    by_parts, _ = run(figures, parts)
    assert [text[p.start_cp : p.end_cp].strip() for p in by_parts] == [
        text[p.start_cp : p.end_cp].strip() for p in whole
    ]


@settings(max_examples=100, deadline=None)
@given(FIGURES, TEXT)
def test_feeds_that_end_in_no_run_of_blanks_give_the_very_same_pieces(figures, text):
    whole, _ = run(figures, [text])
    parts, at = [], 0
    for cp in range(1, len(text) + 1):
        if cp == len(text) or not (text[cp - 1].isspace() and text[cp].isspace()):
            parts.append(text[at:cp])
            at = cp
    assert run(figures, parts)[0] == whole


@settings(max_examples=50, deadline=None)
@given(FIGURES, TEXT)
def test_a_gap_is_cut_as_the_whole_text_would_be(figures, text):
    assert list(pieces(text, figures)) == run(figures, [text])[0]
