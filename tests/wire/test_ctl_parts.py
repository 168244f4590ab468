"""The parts of ``tts-streamctl`` that need no daemon: the player, the rhythm of the demo, its timeline."""

import random
import time

import pytest

from tts_streamd.ctl.demo import PARAGRAPH, SEED, Record, token_times
from tts_streamd.ctl.player import ENOUGH_MS, Player
from tts_streamd.ctl.timeline import Axis
from tts_streamd_protocol import messages as m


class PulledDevice:
    """A device that plays when it is told to."""

    def __init__(self):
        self.closed = False

    def start(self, callback_generator):
        self.pull = callback_generator.send

    def close(self):
        self.closed = True


def silent_player(rate_hz=24_000):
    device = PulledDevice()
    return Player(rate_hz, lambda _: device), device


def test_the_device_gets_the_sound_in_order_and_silence_where_there_is_none():
    player, device = silent_player()
    player.write(b"\1\0\2\0\3\0")
    player.write(b"\4\0")
    assert device.pull(2) == b"\1\0\2\0"
    assert device.pull(4) == b"\3\0\4\0\0\0\0\0"
    assert device.pull(1) == b"\0\0"


def test_the_clock_of_what_is_heard_stands_while_nothing_is_played():
    player, device = silent_player()
    player.write(bytes(4800))
    device.pull(1200)
    assert (player.played_ms, player.buffered_ms) == (50, 50)
    device.pull(2400)
    assert (player.played_ms, player.buffered_ms) == (100, 0)


def test_no_more_is_fetched_than_is_needed():
    player, device = silent_player()
    assert player.wants_more
    player.write(bytes(48 * ENOUGH_MS))
    assert not player.wants_more
    device.pull(2400)
    assert player.wants_more


def test_draining_waits_until_all_has_been_played():
    player, device = silent_player()
    player.write(bytes(4800))
    player.drain(lambda: device.pull(480))
    assert player.buffered_ms == 0


def test_a_device_that_stands_still_is_given_up(monkeypatch):
    monkeypatch.setattr("tts_streamd.ctl.player.DRAIN_GRACE_S", 0.05)
    player, _ = silent_player()
    player.write(bytes(480))
    started = time.monotonic()
    player.drain(lambda: None)
    assert player.buffered_ms == 10
    assert time.monotonic() - started < 5


def test_the_demos_rhythm_is_always_the_same_and_about_25_words_a_second():
    tokens = list(token_times(random.Random(SEED)))
    assert tokens == list(token_times(random.Random(SEED)))
    assert "".join(text for _, text in tokens) == PARAGRAPH
    assert len(tokens) / tokens[-1][0] == pytest.approx(25, rel=0.2)


def test_the_axis_puts_times_into_columns():
    axis = Axis(10.0, 20)
    assert axis.marks([0.0, 5.0, 10.0], "x") == "x         x        x"
    assert axis.span(5.0, 6.0) == " " * 10 + "███"
    assert axis.labels([(0.0, "one"), (1.0, "two"), (3.0, "three"), (12.0, "never")]) == "one   three"
    assert axis.density([(0.0, 1.0), (5.0, 8.0)])[0] == "▁"


def test_the_pieces_end_tells_when_it_was_written():
    record = Record(texts=[(0.0, "one "), (0.1, "two "), (0.2, "three")], pieces=[(0.15, "one two ")])
    assert record.first_piece_written_s == 0.1
    assert record.first_piece_s == 0.15


def test_without_a_tap_the_daemons_own_stamps_serve():
    end = m.End(
        session=1, sid=1, seq=0, reason="done", chars=0, samples=0, heard_cp=0, skipped=[],
        stamps_ms=m.Stamps(accepted=5, sent=25), source=m.Source(), sent=0,
    )  # fmt: skip
    assert Record(end=end).first_piece_s == 0.02
    assert Record().first_piece_s is None
