from __future__ import annotations

from tts_streamd_actors.commons import LOOK_S, MAX_WAITING_BYTES, TIGHT_BUFFER_MS, Commons


def test_a_stream_has_what_it_wants_while_there_is_room():
    assert Commons().buffer_ms(600_000, 0) == 600_000
    assert Commons(lambda: MAX_WAITING_BYTES).buffer_ms(600_000, 0) == 600_000


def test_above_the_bound_everybody_buys_little_and_nobody_more_than_wanted():
    full = Commons(lambda: MAX_WAITING_BYTES + 1)
    assert full.buffer_ms(600_000, 0) == TIGHT_BUFFER_MS
    assert full.buffer_ms(500, 0) == 500


def test_the_sum_is_taken_now_and_then():
    sums = iter((MAX_WAITING_BYTES + 1, 0))
    commons = Commons(lambda: next(sums))
    assert commons.buffer_ms(8000, 0) == TIGHT_BUFFER_MS
    assert commons.buffer_ms(8000, LOOK_S / 2) == TIGHT_BUFFER_MS
    assert commons.buffer_ms(8000, LOOK_S) == 8000
