"""Streams in virtual time: whatever becomes of routes, clients and the actor itself, every word is said once."""

import os
import random
from functools import partial

import pytest
import trio

from simupstream import Habits, any_habits
from streamworld import TEXT, Script, World, letters
from tts_streamd_actors import buffering
from tts_streamd_actors.buffering import ASKED_S, OWED_S
from tts_streamd_protocol import signals as s
from tts_streamd_protocol.ledger import Ledger

RUNS = int(os.environ.get("STREAM_RUNS", "150"))
GOOD = Script()


@pytest.fixture(autouse=True)
def _exact(monkeypatch):
    """The voice says a character in 5 ms: the slack for real voices would let whole words pass."""
    monkeypatch.setattr(buffering, "Ledger", partial(Ledger, slack_ms=1))


def only_first(script):
    """The first route fares like this, all others well."""
    return lambda n: script if n == 1 else Script()


async def test_a_text_is_heard_exactly(autojump_clock):
    world = World()
    world.speak(TEXT)
    await world.run()
    world.check_done(TEXT, letters_only=False)
    assert world.states == [("speaking", None)]
    assert len(world.links) == 1
    assert world.end.sent == len(TEXT)
    stamps = world.end.stamps_ms
    assert 0 == stamps.accepted <= stamps.cut <= stamps.sent <= stamps.first_frame <= stamps.delivered


@pytest.mark.parametrize("text", ["", "   ", " \n\n"])
async def test_blanks_alone_are_done_at_once(autojump_clock, text):
    world = World()
    world.speak(text)
    await world.run()
    world.check_done(text)
    assert world.end.samples == 0


async def test_it_resumes_where_the_last_session_stopped(autojump_clock):
    world = World(start_cp=1000, before="as said ")
    world.speak("again and again")
    await world.run()
    world.check_done("again and again")


async def test_a_route_is_asked_for_before_there_is_text(autojump_clock):
    world = World()

    async def user():
        await trio.sleep(5)
        assert len(world.links) == 1
        world.speak("late")

    await world.run(user)
    world.check_done("late")
    assert len(world.links) == 1


async def test_an_idle_route_that_ends_is_opened_again_when_there_is_text(autojump_clock):
    world = World(only_first(Script(breaks_at=0, code="timeout")))

    async def user():
        await trio.sleep(60)
        assert len(world.links) == 1, "nobody needs a route"
        world.speak(TEXT)

    await world.run(user)
    world.check_done(TEXT)
    assert world.states == [("speaking", None)]


@pytest.mark.parametrize("align", ["segment", "frame", "never", "gaps", "lengths", "spelled"])
async def test_a_route_may_break_at_any_frame(autojump_clock, align):
    for frame in range(24):
        world = World(only_first(Script(Habits(align), breaks_at=frame)), seed=frame)
        world.speak(TEXT)
        await world.run()
        world.check_done(TEXT)


async def test_a_break_in_speech_is_told_and_so_is_its_end(autojump_clock):
    world = World(only_first(Script(breaks_at=4)))
    world.speak(TEXT)
    await world.run()
    assert world.states == [
        ("speaking", None),
        ("recovering", "upstream_unreachable"),
        ("speaking", "recovered"),
    ]


async def test_a_break_before_any_speech_is_nobodys_business(autojump_clock):
    world = World(only_first(Script(breaks_at=0)))
    world.speak(TEXT)
    await world.run()
    world.check_done(TEXT)
    assert world.states == [("speaking", None)]


async def test_a_word_that_was_whole_when_its_route_broke_is_heard_at_once(autojump_clock):
    world = World(lambda n: Script(Habits("frame"), breaks_at=3) if n == 1 else Script(opens=False))
    world.speak("Hello " * 20)

    async def user():
        await trio.sleep(1)
        assert world.cp == world.slot.journal.released_cp > 0
        world.slot.finish("cancelled")

    await world.run(user)


@pytest.mark.parametrize("frame", [0, 1, 5])
async def test_an_error_that_no_retry_mends_ends_the_stream(autojump_clock, frame):
    script = Script(breaks_at=frame, retryable=False, code="quota_exceeded")
    world = World(lambda _: script)
    world.speak(TEXT)
    end = await world.run()
    assert (end.reason, end.error.code, end.error.retryable) == ("failed", "quota_exceeded", False)
    assert len(world.links) == 1
    world.check_links()


async def test_an_error_after_everything_was_spoken_harms_nobody(autojump_clock):
    text = "one two three. "  # two frames more never come
    for frame in range(1, 9):
        world = World(only_first(Script(Habits("frame"), breaks_at=frame, retryable=False)), seed=frame)
        world.speak(text)
        end = await world.run()
        if world.slot.journal.released_cp == len(text):
            world.check_done(text)
        else:
            assert end.reason == "failed"


async def test_routes_that_always_break_are_given_up(autojump_clock):
    world = World(lambda _: Script(breaks_at=0))
    world.speak(TEXT)
    end = await world.run()
    assert (end.reason, end.error.code, end.error.retryable) == ("failed", "upstream_unreachable", True)
    assert "5 attempts" in end.error.message
    assert len(world.links) == 5


async def test_routes_that_bring_a_little_and_break_are_not_given_up(autojump_clock):
    world = World(lambda _: Script(Habits("frame"), breaks_at=3))
    world.speak(TEXT)
    await world.run()
    world.check_done(TEXT)
    assert len(world.links) > 5


async def test_upstream_is_left_alone_for_as_long_as_it_asks(autojump_clock):
    world = World(only_first(Script(breaks_at=0, code="rate_limited", retry_ms=7000)))
    world.speak(TEXT)
    began = trio.current_time()
    await world.run()
    world.check_done(TEXT)
    assert 7 <= trio.current_time() - began < 9


async def test_a_route_that_is_never_opened_is_asked_for_again(autojump_clock):
    world = World(only_first(Script(opens=False)))
    world.speak(TEXT)
    began = trio.current_time()
    await world.run()
    world.check_done(TEXT)
    assert ASKED_S <= trio.current_time() - began < ASKED_S + 2


async def test_a_connection_that_never_answers_is_given_up(autojump_clock):
    world = World(lambda _: Script(opens=False))
    world.speak(TEXT)
    end = await world.run()
    assert end.error.code == "timeout"


async def test_a_connection_that_takes_no_question_is_busy(autojump_clock, monkeypatch):
    world = World()
    monkeypatch.setattr(world, "open_route", lambda _: False)
    world.speak(TEXT)
    end = await world.run()
    assert end.error.code == "busy"


async def test_a_link_that_takes_nothing_is_replaced(autojump_clock):
    world = World(only_first(Script(takes=False)))
    world.speak(TEXT)
    await world.run()
    world.check_done(TEXT)


async def test_links_that_all_take_nothing_are_given_up(autojump_clock):
    world = World(lambda _: Script(takes=False))
    world.speak(TEXT)
    end = await world.run()
    assert end.error.code == "upstream_unreachable"
    assert len(world.links) == 5


@pytest.mark.parametrize("frame", [0, 1, 6])
async def test_a_route_that_owes_audio_and_brings_none_is_dead(autojump_clock, frame):
    world = World(only_first(Script(stalls_at=frame)))
    world.speak(TEXT)
    began = trio.current_time()
    await world.run()
    world.check_done(TEXT)
    assert OWED_S <= trio.current_time() - began < OWED_S + 5
    assert world.links[1].dropped


async def test_a_final_that_never_comes_is_done_without(autojump_clock):
    world = World(lambda _: Script(final=False))
    world.speak(TEXT)
    began = trio.current_time()
    await world.run()
    world.check_done(TEXT, letters_only=False)
    assert OWED_S <= trio.current_time() - began < OWED_S + 5
    assert len(world.links) == 1
    assert world.end.sent == len(TEXT)


async def test_a_stall_of_many_routes_is_one_failure(autojump_clock):
    """Blind routes pile up: each is ended, and each owes the rest of its audio."""
    world = World(lambda n: Script(Habits("spelled"), stalls_at=2) if n <= 6 else Script())

    async def user():
        for sentence in TEXT.split(". ")[:1] * 6:
            world.accept(sentence + ". ", flush=True)
            await trio.sleep(1)
        world.slot.close()

    await world.run(user)
    world.check_done((TEXT.split(". ")[0] + ". ") * 6)


async def test_an_open_route_that_owes_nothing_may_be_silent_for_ever(autojump_clock):
    world = World()

    async def user():
        world.accept("One sentence. ", flush=True)
        await trio.sleep(200)
        world.speak("And another one.")

    await world.run(user)
    world.check_done("One sentence. And another one.", letters_only=False)
    assert len(world.links) == 1


async def test_a_voice_that_tells_no_times_speaks_without_waiting_for_the_end_of_text(autojump_clock):
    world = World(lambda _: Script(Habits("never")))

    async def user():
        world.accept("One sentence. ", flush=True)
        await trio.sleep(3)
        assert letters(world.heard) == "Onesentence"
        world.speak("And another one.")

    await world.run(user)
    world.check_done("One sentence. And another one.", letters_only=False)


async def test_a_route_that_goes_blind_is_ended_and_another_one_goes_on(autojump_clock):
    world = World(only_first(Script(Habits("spelled"))))
    world.speak(TEXT)
    await world.run()
    world.check_done(TEXT)
    assert world.links[1].ended
    assert world.end.sent == len(TEXT), "nothing was said again"


async def test_a_flush_cuts_exactly_there(autojump_clock):
    world = World(schedule=(500,))

    async def user():
        world.accept("Hel", flush=True)
        await trio.sleep(1)
        assert world.links[1].given == [(0, 3)]
        world.speak("lo there.")

    await world.run(user)
    assert world.links[1].given == [(0, 3), (3, 12)]
    world.check_done("Hello there.")


async def test_text_is_acknowledged_when_it_is_cut(autojump_clock):
    world = World(client=False)
    window = world.slot.text_window
    text = "word " * (window // 5)

    async def user():
        world.accept(text)
        assert world.slot.acked_cp == window // 2
        await trio.sleep(30)
        assert world.slot.acked_cp == len(text), "all is cut but what half a window may hold"
        world.slot.finish("cancelled")
        world.takes = True

    await world.run(user)


async def test_the_buffer_holds_no_more_than_its_bound_and_one_piece(autojump_clock):
    buffer_ms, piece_cp = 200, 60
    world = World(buffer_ms=buffer_ms, credit_ms=0)
    world.speak(TEXT)
    fullest_ms = 0

    async def user():
        nonlocal fullest_ms
        while not world.slot.ended:
            await trio.sleep(0.003)
            fullest_ms = max(fullest_ms, world.slot.journal.pending_samples / 24)
            if world.slot.throttled and not world.rng.randrange(10):
                world.slot.outlet.add_credit(50, 50)
                world.ready.set()

    await world.run(user, user_of_credit(world))
    world.check_done(TEXT, letters_only=False)
    assert buffer_ms / 2 < fullest_ms <= buffer_ms + 5 * piece_cp


def user_of_credit(world):
    async def give():
        while True:
            await trio.sleep(0.5)
            if world.slot.ended:
                world.slot.outlet.add_credit(1000, 60_000)
                world.ready.set()

    return give


async def test_a_stream_that_may_send_nothing_sleeps(autojump_clock, monkeypatch):
    """Its route has ended and its buffer is full: it waits for the client, not for the clock."""
    world = World(only_first(Script(breaks_at=12)), buffer_ms=100, credit_ms=0)
    world.speak(TEXT)
    thoughts = 0
    advance = buffering.Stream._advance

    def counted(stream):
        nonlocal thoughts
        thoughts += 1
        advance(stream)

    monkeypatch.setattr(buffering.Stream, "_advance", counted)

    async def user():
        await trio.sleep(100)
        assert world.slot.throttled
        assert thoughts < 100
        world.slot.outlet.add_credit(600_000, 600_000)
        world.ready.set()

    await world.run(user)
    world.check_done(TEXT)


async def test_what_waits_for_lost_text_does_not_keep_it_from_being_said(autojump_clock):
    """Route 1 goes blind and stalls while later routes bring more audio than the buffer may hold."""
    world = World(lambda n: Script(Habits("spelled"), stalls_at=1) if n == 1 else Script(), buffer_ms=12_000)
    world.speak(TEXT)
    await world.run()
    world.check_done(TEXT)


async def test_a_cancel_at_any_moment_ends_it(autojump_clock):
    for moment_ms in range(0, 400, 7):
        world = World(
            only_first(Script(breaks_at=moment_ms % 5)) if moment_ms % 2 else lambda _: Script(),
            seed=moment_ms,
        )
        world.speak(TEXT)
        await world.run(partial(cancel_after, world, moment_ms / 1000))
        if world.end.reason != "done":
            assert world.end.reason == "cancelled"
            assert world.end.heard_cp <= world.cp
        world.check_links()


async def cancel_after(world, seconds):
    await trio.sleep(seconds)
    world.slot.finish("cancelled")


async def test_a_cancel_together_with_a_deadline_is_no_bug(autojump_clock):
    world = World(only_first(Script(stalls_at=3)))
    world.speak(TEXT)

    async def user():
        await trio.sleep(OWED_S)
        await trio.sleep(0.021)  # the last frame came after 0.02 s and a millisecond
        world.slot.finish("cancelled")

    await world.run(user)
    assert world.end.reason in {"cancelled", "done"}
    assert not world.crashes


async def test_a_stream_that_ends_before_its_route_comes_gives_it_back(autojump_clock):
    world = World(lambda _: Script(answer_s=0.5))
    await world.run(partial(cancel_after, world, 0.1))
    assert world.end.reason == "cancelled"
    assert world.links[1].dropped


async def test_a_stream_whose_route_never_comes_ends_all_the_same(autojump_clock):
    world = World(lambda _: Script(opens=False))
    await world.run(partial(cancel_after, world, 0.1))
    assert trio.current_time() < ASKED_S + 1


async def test_a_route_refused_after_the_end_is_waited_for_no_longer(autojump_clock):
    world = World(lambda _: Script(opens=False))

    async def user():
        await cancel_after(world, 0.1)
        world.to_stream(s.TextAccepted(cp=0))
        world.to_stream(s.RouteBroken(route=1, code="busy", message="", retryable=True))

    await world.run(user)
    assert trio.current_time() < 1


async def test_a_route_that_comes_too_late_is_let_go(autojump_clock):
    world = World(only_first(Script(answer_s=ASKED_S + 0.5)))

    async def user():
        world.accept("One sentence. ", flush=True)
        await trio.sleep(10)
        world.slot.close()

    await world.run(user)
    world.check_done("One sentence. ")
    assert world.links[1].dropped


async def test_news_of_routes_that_were_given_up_changes_nothing(autojump_clock):
    world = World()
    world.speak(TEXT)
    strange = 99
    world.to_stream(s.FrameArrived(route=strange), b"\1\1" * 100)
    world.to_stream(s.RouteFinal(route=strange))
    world.to_stream(s.RouteBroken(route=strange, code="internal", message="", retryable=False))
    await world.run()
    world.check_done(TEXT, letters_only=False)


@pytest.mark.parametrize("phase", ["at_once", "mid"])
async def test_a_new_incarnation_goes_on_where_the_last_one_fell(autojump_clock, phase):
    for step in range(40):
        world = World(seed=step)
        world.speak(TEXT)

        async def user(world=world, step=step):
            await trio.sleep(step / 100)
            world.crash()

        if phase == "at_once":
            world.crashes_in = step + 1
            await world.run()
        else:
            await world.run(user)
        world.check_done(TEXT)


async def test_a_crash_drops_what_was_under_way_and_says_cut_text_again_at_once(autojump_clock):
    world = World(lambda n: Script(stalls_at=0) if n == 1 else Script(), schedule=(50,))

    async def user():
        world.accept("Not yet at the end of any", flush=True)
        await trio.sleep(1)
        world.crash()
        await trio.sleep(1)
        assert world.links[1].dropped
        assert letters(world.heard) == "Notyetattheendofany"
        world.slot.close()

    await world.run(user)
    world.check_done("Not yet at the end of any")


async def test_an_actor_started_for_a_stream_that_has_ended_opens_nothing(autojump_clock):
    world = World()
    world.slot.finish("cancelled")
    await world.run()
    assert not world.links


async def test_anything_may_happen_to_any_stream(autojump_clock):
    for seed in range(RUNS):
        await Storm(seed).run()


class Storm:
    """One stream, with text in any portions, faults of all kinds, slow clients and crashes."""

    def __init__(self, seed):
        rng = self.rng = random.Random(seed)
        self.faults = rng.choice((0, 1, 3, 8))
        self.world = World(
            self.script,
            seed=seed,
            buffer_ms=rng.choice((100, 8000, 600_000)),
            schedule=rng.choice(((50,), (50, 75, 100, 150), (250, 350))),
            credit_ms=rng.choice((None, 0, 500)),
            start_cp=rng.choice((0, 0, 17)),
        )
        words = ["Oh", "the", "3.14", "don't", "naïve", "你好，世界。", "😀", "...", "x" * 40]  # noqa: RUF001 - meant
        blanks = [" ", " ", " ", "  ", "\n\n"]
        self.text = "".join(
            rng.choice(words) + rng.choice(blanks) for _ in range(rng.choice((1, 5, 40, 120)))
        )

    def script(self, n):
        rng = self.rng
        habits = any_habits(rng)
        script = Script(habits, answer_s=rng.random() / 10, pace_s=rng.random() / 50)
        if self.faults <= 0:
            script.habits = Habits(habits.align)
        elif rng.random() < 0.6:
            self.faults -= 1
            fault = rng.choice(("breaks_at", "breaks_at", "stalls_at", "opens", "takes", "final"))
            setattr(script, fault, rng.randrange(12) if fault.endswith("_at") else False)
        else:
            self.faults -= habits.truncate
        return script

    async def type(self):
        at, rng, world = 0, self.rng, self.world
        while at < len(self.text):
            n = rng.randint(1, 60)
            world.accept(self.text[at : at + n], flush=rng.random() < 0.1)
            at += n
            if rng.random() < 0.5:
                await trio.sleep(rng.random() * rng.choice((0.01, 0.1, 5)))
        await trio.sleep(rng.random())
        world.slot.close()

    async def give_credit(self):
        while True:
            await trio.sleep(self.rng.random())
            self.world.slot.outlet.add_credit(2000, 60_000)
            self.world.ready.set()

    async def crash(self):
        if self.faults and self.rng.random() < 0.5:
            await trio.sleep(self.rng.random() * 3)
            if self.rng.random() < 0.5:
                self.world.crash()
            else:
                self.world.crashes_in = self.rng.randint(1, 5)

    async def run(self):
        world = self.world
        await world.run(self.type, self.give_credit, self.crash, within_s=2000)
        if world.end.reason == "failed" and not letters(self.text):
            assert world.end.error.code == "unspeakable_text"
            return
        if world.end.reason == "failed":  # five faults in a row before any speech came
            assert "attempts" in world.end.error.message, world.end
            return
        world.check_done(self.text)
