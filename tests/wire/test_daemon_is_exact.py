"""With the `codepoint` voice, what is heard decodes to exactly the text that was sent."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from busclient import Bus

SCHEDULES = ("aggressive", "speed", "balanced", "quality", [50], [60, 500, 77])
CHARACTERS = st.characters(
    min_codepoint=0x21, max_codepoint=0x7FFF, exclude_categories=["Zs", "Zl", "Zp", "Cc"]
)
TEXTS = st.lists(
    st.text(CHARACTERS | st.just("e") | st.just("n"), min_size=1, max_size=40), min_size=1, max_size=40
).map(" ".join)


def decoded(pcm):
    """One character for each 120 equal samples (5 ms at 24 kHz)."""
    assert len(pcm) % 240 == 0
    units = memoryview(bytes(pcm)).cast("H")
    blocks = [units[i : i + 120] for i in range(0, len(units), 120)]
    assert all(len(set(block)) == 1 for block in blocks)
    return "".join(chr(block[0]) for block in blocks if block[0])


@pytest.fixture(scope="module")
def bus(daemon_dir):
    with Bus(daemon_dir) as bus:
        bus.sids = itertools.count(1)
        yield bus


def send_in_pieces(bus, sid, text, cuts):
    at = 0
    for cut in [*sorted(cuts), len(text)]:
        bus.send(op="text", sid=sid, text=text[at:cut], cp=at)
        at = cut
    bus.send(op="close", sid=sid)


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.data(), TEXTS, st.sampled_from(SCHEDULES))
def test_any_text_in_any_pieces_at_any_schedule_is_heard_exactly(bus, data, text, schedule):
    text = "a" + text
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=8))
    sid = next(bus.sids)
    bus.open(sid, voice="codepoint", schedule=schedule)
    send_in_pieces(bus, sid, text, cuts)
    heard = bus.until_end(sid)
    assert heard.end["reason"] == "done", heard.end
    assert decoded(heard.audio) == text
    assert heard.end["chars"] == heard.end["heard_cp"] == sum(heard.end["source"].values()) == len(text)


def test_fifty_streams_at_once_are_each_heard_exactly(daemon_dir):
    rng = random.Random(5)
    with Bus(daemon_dir) as bus:
        texts = {}
        for sid in range(50):
            words = [
                "".join(
                    chr(rng.choice((rng.randrange(0x61, 0x7B), rng.randrange(0x400, 0x450))))
                    for _ in range(rng.randrange(1, 12))
                )
                for _ in range(rng.randrange(20, 120))
            ]
            texts[sid] = " ".join(words)
            bus.open(sid, voice="codepoint", schedule=rng.choice(SCHEDULES))
        given = dict.fromkeys(texts, 0)
        while given:
            sid = rng.choice(list(given))
            n = rng.randrange(1, 30)
            bus.send(op="text", sid=sid, text=texts[sid][given[sid] : given[sid] + n], cp=given[sid])
            given[sid] += n
            if given[sid] >= len(texts[sid]):
                bus.send(op="close", sid=sid)
                del given[sid]
            bus.step(0)
        bus.until_ended(texts)
        for sid, text in texts.items():
            assert bus.streams[sid].end["reason"] == "done"
            assert decoded(bus.streams[sid].audio) == text
