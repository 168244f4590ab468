import random
from typing import TypeAlias

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from tts_streamd_actors.mailbox import ActorGoneError, Mailbox
from tts_streamd_actors.supervisor import Child, Restart, Supervisor


class Number(msgspec.Struct, frozen=True, tag_field="op", tag="number"):
    n: int


class Double(msgspec.Struct, frozen=True, tag_field="op", tag="double"):
    n: int


class Doubled(msgspec.Struct, frozen=True):
    n: int


class Stranger(msgspec.Struct, frozen=True, tag_field="op", tag="stranger"):
    pass


Kind: TypeAlias = Number | Double


def box(capacity=10, **options):
    return Mailbox[Kind]("box", Kind, capacity, **options)


def numbers(deliveries):
    return [delivery.message.n for delivery in deliveries]


async def doubler(inbox, ready):
    ready()
    with inbox.incarnation():
        async for delivery in inbox:
            if delivery.message.n == 13:
                raise ValueError("unlucky")
            if delivery.message.n == 14:
                await trio.sleep_forever()
            delivery.answer(Doubled(delivery.message.n * 2))


def ask(inbox, n, within_s=5):
    return inbox.ask(Double(n), reply=Doubled, within_s=within_s)


# -- telling -------------------------------------------------------------------------------------------------


async def test_a_message_and_its_payload_arrive_as_they_were():
    inbox = box()
    assert inbox.offer(Number(1), b"pcm")
    await inbox.tell(Double(2))
    first, second = await inbox.receive(), await inbox.receive()
    assert (first.message, first.payload, first.reply) == (Number(1), b"pcm", None)
    assert (second.message, second.payload) == (Double(2), b"")


async def test_a_mailbox_carries_bytes_not_objects():
    message = Number(1)
    inbox = box()
    inbox.offer(message)
    received = inbox.receive_nowait().message
    assert received == message
    assert received is not message


async def test_full_offer_refuses_and_queues_nothing_and_tell_waits():
    inbox = box(2)
    assert inbox.offer(Number(1))
    assert inbox.offer(Number(2))
    assert not inbox.offer(Number(3))
    assert inbox.depth == 2
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbox.tell, Number(4))
        await trio.testing.wait_all_tasks_blocked()
        assert inbox.depth == 2
        assert (await inbox.receive()).message.n == 1
    assert numbers(inbox.drain(10)) == [2, 4]
    assert inbox.statistics().refused == 1


async def test_a_cancelled_tell_has_queued_nothing_and_lets_the_next_one_in(nursery):
    inbox = box(1)
    inbox.offer(Number(0))
    with trio.CancelScope() as scope:
        nursery.start_soon(cancel_when_blocked, scope)
        await inbox.tell(Number(1))
    assert scope.cancelled_caught
    nursery.start_soon(inbox.tell, Number(2))
    await trio.testing.wait_all_tasks_blocked()
    assert numbers(inbox.drain(10)) == [0]
    await trio.testing.wait_all_tasks_blocked()
    assert numbers(inbox.drain(10)) == [2]


async def cancel_when_blocked(scope):
    await trio.testing.wait_all_tasks_blocked()
    scope.cancel()


async def test_the_urgent_lane_is_read_first_and_has_its_own_bound():
    inbox = box(3, urgent_capacity=1)
    for n in range(3):
        assert inbox.offer(Number(n))
    assert not inbox.offer(Number(3))
    assert inbox.offer(Number(100), urgent=True)
    assert not inbox.offer(Number(101), urgent=True)
    assert (inbox.statistics().depth, inbox.statistics().urgent_depth) == (4, 1)
    assert numbers(inbox.drain(2)) == [100, 0]
    assert numbers(inbox.drain(10)) == [1, 2]
    assert inbox.drain(10) == []


async def test_payloads_have_a_bound_of_their_own_that_news_without_one_passes():
    inbox = box(10, max_payload_bytes=100)
    assert inbox.offer(Number(1), bytes(60))
    assert not inbox.offer(Number(2), bytes(41))
    assert not inbox.offer(Number(2), bytes(41), urgent=True)
    assert inbox.offer(Number(3), bytes(40))
    assert inbox.offer(Number(4))
    assert inbox.statistics().payload_bytes == 100
    inbox.drain(1)
    assert inbox.offer(Number(5), bytes(60))
    with pytest.raises(ValueError, match="never fit"):
        await inbox.tell(Number(6), bytes(101))


async def test_tellers_of_payloads_of_all_sizes_get_through():
    inbox = box(4, max_payload_bytes=100)
    rng = random.Random(1)
    sizes = [rng.randrange(101) for _ in range(300)]
    got = []
    async with trio.open_nursery() as nursery:
        for n, size in enumerate(sizes):
            nursery.start_soon(inbox.tell, Number(n), bytes(size))
        with trio.fail_after(10):
            while len(got) < len(sizes):
                got.append(await inbox.receive())
    assert sorted(numbers(got)) == list(range(300))
    assert inbox.statistics().payload_bytes == 0


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=60), st.integers(1, 5))
def test_what_was_taken_in_comes_out_in_the_order_of_its_lane(offers, capacity):
    inbox = box(capacity, max_payload_bytes=100)
    lanes = {True: [], False: []}
    for n, (urgent, size) in enumerate(offers):
        room = len(lanes[urgent]) < capacity
        room &= not size or size + sum(size for lane in lanes.values() for _n, size in lane) <= 100
        assert inbox.offer(Number(n), bytes(size), urgent=urgent) == room
        if room:
            lanes[urgent].append((n, size))
        if n % 3 == 0:
            lane = lanes[True] or lanes[False]
            assert numbers(inbox.drain(1)) == [n for n, _size in lane[:1]]
            del lane[:1]
    assert numbers(inbox.drain(100)) == [n for lane in (lanes[True], lanes[False]) for n, _size in lane]


# -- receiving -----------------------------------------------------------------------------------------------


async def test_receive_waits_and_a_cancelled_one_has_taken_nothing(nursery):
    inbox = box()
    with trio.CancelScope() as scope:
        nursery.start_soon(cancel_when_blocked, scope)
        await inbox.receive()
    assert scope.cancelled_caught
    inbox.offer(Number(1))
    with trio.CancelScope() as scope:
        scope.cancel()
        await inbox.receive()
    assert scope.cancelled_caught
    assert numbers(inbox.drain(10)) == [1]


async def test_a_thousand_cancelled_receives_lose_nothing(autojump_clock):
    inbox = box(100)
    rng = random.Random(1)
    got = []
    n_cancelled = 0

    async def send():
        for n in range(1000):
            await inbox.tell(Number(n))
            await trio.sleep(rng.random())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        while len(got) < 1000 or n_cancelled < 1000:
            with trio.move_on_after(rng.random()) as scope:
                got.append(await inbox.receive())
            n_cancelled += scope.cancelled_caught
    assert numbers(got) == list(range(1000))


async def test_receive_nowait_says_that_there_is_nothing():
    inbox = box()
    with pytest.raises(trio.WouldBlock):
        inbox.receive_nowait()
    inbox.close()
    with pytest.raises(trio.EndOfChannel):
        inbox.receive_nowait()


async def test_every_wait_is_a_checkpoint():
    inbox = box()
    with trio.testing.assert_checkpoints():
        await inbox.tell(Number(1))
    with trio.testing.assert_checkpoints():
        await inbox.receive()


async def test_two_readers_share_what_comes(autojump_clock):
    inbox = box()
    got = []

    async def read():
        got.append((await inbox.receive()).message.n)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        inbox.offer(Number(1))
        inbox.offer(Number(2))
    assert sorted(got) == [1, 2]


async def test_a_message_that_cannot_be_read_is_counted_logged_and_dropped(caplog):
    inbox = box()
    inbox.offer(Stranger())
    inbox.offer(Number(1))
    assert (await inbox.receive()).message == Number(1)
    assert inbox.statistics().undecodable == 1
    assert "box dropped a message it cannot read" in caplog.text


async def test_closed_a_mailbox_takes_nothing_and_its_reader_drains_it():
    inbox = box(3)
    for n in range(3):
        inbox.offer(Number(n))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(refused_tell, inbox)
        await trio.testing.wait_all_tasks_blocked()
        inbox.close()
        inbox.close()
    assert not inbox.offer(Number(3))
    assert [delivery.message.n async for delivery in inbox] == [0, 1, 2]
    with pytest.raises(trio.EndOfChannel):
        await inbox.receive()


async def refused_tell(inbox):
    with pytest.raises(trio.ClosedResourceError):
        await inbox.tell(Number(9))


async def test_closing_wakes_a_waiting_reader(autojump_clock):
    inbox = box()

    async def read():
        assert [delivery async for delivery in inbox] == []

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        inbox.close()


# -- asking --------------------------------------------------------------------------------------------------


async def test_an_answer_comes_a_crash_wakes_the_asker_and_the_next_incarnation_answers(
    autojump_clock, nursery
):
    inbox = box(4)
    nursery.start_soon(Supervisor("s", [Child("d", lambda ready: doubler(inbox, ready))]).run, lambda: None)
    assert await ask(inbox, 2) == Doubled(4)
    with pytest.raises(ActorGoneError):
        await ask(inbox, 13)
    assert await ask(inbox, 3) == Doubled(6)
    assert trio.current_time() == 0
    assert inbox.statistics().questions == 0


async def test_a_question_nobody_answers_fails_at_its_deadline(autojump_clock, nursery):
    inbox = box(4)
    nursery.start_soon(doubler, inbox, lambda: None)
    with pytest.raises(trio.TooSlowError):
        await ask(inbox, 14, within_s=2)
    assert trio.current_time() == 2
    assert inbox.statistics().questions == 0


async def test_a_question_nobody_takes_is_taken_back_at_its_deadline(autojump_clock):
    inbox = box(1)
    with pytest.raises(trio.TooSlowError):
        await ask(inbox, 1, within_s=2)
    assert inbox.depth == 0
    assert inbox.offer(Number(1))


async def test_a_question_to_a_full_mailbox_fails_at_its_deadline(autojump_clock):
    inbox = box(1)
    inbox.offer(Number(1))
    with pytest.raises(trio.TooSlowError):
        await ask(inbox, 1, within_s=2)
    assert trio.current_time() == 2
    assert numbers(inbox.drain(10)) == [1]


async def test_a_question_waits_for_room_and_for_the_next_incarnation(autojump_clock, nursery):
    inbox = box(1)
    inbox.offer(Number(13))

    async def later():
        await trio.sleep(1)
        await Supervisor("s", [Child("d", lambda ready: doubler(inbox, ready))]).run(lambda: None)

    nursery.start_soon(later)
    assert await ask(inbox, 2) == Doubled(4)
    assert trio.current_time() == 1


async def test_an_actor_that_ends_normally_or_is_cancelled_fails_what_it_took(autojump_clock, nursery):
    inbox = box()

    async def taker(ready):
        ready()
        with inbox.incarnation():
            await inbox.receive()
            await trio.sleep(1)

    nursery.start_soon(Supervisor("s", [Child("t", taker, Restart.ON_CRASH)]).run, lambda: None)
    with pytest.raises(ActorGoneError):
        await ask(inbox, 1)
    with trio.CancelScope() as scope:
        nursery.start_soon(cancel_later, scope)
        nursery.start_soon(expect_gone, inbox)
        await taker(lambda: None)
    await trio.testing.wait_all_tasks_blocked()
    assert inbox.statistics().questions == 0


async def cancel_later(scope):
    await trio.sleep(0.5)
    scope.cancel()


async def expect_gone(inbox):
    with pytest.raises(ActorGoneError):
        await ask(inbox, 1)


async def test_a_closed_mailbox_fails_questions_queued_and_new(autojump_clock, nursery):
    inbox = box()
    nursery.start_soon(expect_gone, inbox)
    await trio.testing.wait_all_tasks_blocked()
    inbox.close()
    await expect_gone(inbox)
    assert trio.current_time() == 0


async def test_a_mailbox_closed_while_its_reader_lives_fails_the_rest_when_it_ends(autojump_clock, nursery):
    inbox = box()
    with inbox.incarnation():
        nursery.start_soon(expect_gone, inbox)
        await trio.testing.wait_all_tasks_blocked()
        inbox.close()
        await trio.sleep(1)
        assert inbox.depth == 1  # the reader may still answer it
    await trio.testing.wait_all_tasks_blocked()
    assert trio.current_time() == 1
    assert inbox.depth == 0


async def test_a_question_that_cannot_be_read_fails_at_once(autojump_clock, nursery):
    inbox = box()
    nursery.start_soon(doubler, inbox, lambda: None)
    with pytest.raises(ActorGoneError):
        await inbox.ask(Stranger(), reply=Doubled, within_s=5)
    assert trio.current_time() == 0


async def test_an_answer_of_another_type_is_the_askers_error(nursery):
    inbox = box()
    nursery.start_soon(doubler, inbox, lambda: None)
    with pytest.raises(msgspec.ValidationError):
        await inbox.ask(Double(1), reply=int, within_s=5)


async def test_an_answer_is_given_at_most_once_and_to_whoever_still_waits(autojump_clock):
    inbox = box()
    with trio.move_on_after(1), inbox.incarnation():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, inbox, 1)
            await trio.testing.wait_all_tasks_blocked()
            taken = inbox.receive_nowait()
            nursery.cancel_scope.cancel()
        taken.answer(Doubled(2))  # nobody waits: no harm
        with pytest.raises(RuntimeError, match="twice"):
            taken.answer(Doubled(2))
    inbox.offer(Double(1))
    told = inbox.receive_nowait()
    told.answer(Doubled(2))  # nobody asked


async def test_an_answer_after_the_incarnation_has_ended_comes_too_late(autojump_clock, nursery):
    inbox = box()
    nursery.start_soon(expect_gone, inbox)
    await trio.testing.wait_all_tasks_blocked()
    with inbox.incarnation():
        taken = inbox.receive_nowait()
    taken.answer(Doubled(2))


async def test_two_incarnations_at_once_are_a_bug():
    inbox = box()
    with inbox.incarnation(), pytest.raises(RuntimeError, match="twice at once"), inbox.incarnation():
        pass
    with inbox.incarnation():
        pass


@pytest.mark.parametrize("seed", range(10))
async def test_in_a_storm_of_crashes_every_question_ends_by_its_deadline(autojump_clock, seed):
    rng = random.Random(seed)
    inbox = box(5)
    outcomes = []

    async def actor(ready):
        ready()
        with inbox.incarnation():
            async for delivery in inbox:
                await trio.sleep(rng.random() * 0.1)
                if rng.random() < 0.2:
                    raise ValueError
                if rng.random() < 0.8:
                    delivery.answer(Doubled(delivery.message.n * 2))

    async def asker(n):
        await trio.sleep(rng.random() * 10)
        began = trio.current_time()
        try:
            assert await ask(inbox, n, within_s=1) == Doubled(2 * n)
        except (ActorGoneError, trio.TooSlowError) as error:
            outcomes.append(type(error))
        else:
            outcomes.append(Doubled)
        assert trio.current_time() - began <= 1.000001

    supervisor = Supervisor("s", [Child("a", actor)], max_restarts=10**9)
    async with trio.open_nursery() as supervision:
        supervision.start_soon(supervisor.run, lambda: None)
        async with trio.open_nursery() as askers:
            for n in range(200):
                askers.start_soon(asker, n)
        supervision.cancel_scope.cancel()
    assert len(outcomes) == 200
    assert {Doubled, ActorGoneError} <= set(outcomes)
    assert inbox.depth == inbox.statistics().questions == 0
