import pytest
import trio
import trio.testing

from tts_streamd_actors.connection import WARM_RETRY_S, Connection, Links, LinkSlot
from tts_streamd_actors.mailbox import Mailbox
from tts_streamd_actors.supervisor import TooManyChildrenError
from tts_streamd_protocol import signals as s
from tts_streamd_protocol.messages import VoiceSettings

KEY = s.RouteKey(voice="v", model="m", settings=VoiceSettings(stability=0.5))
OTHER = s.RouteKey(voice="w", model="m", settings=VoiceSettings(stability=0.5))


class World:
    """The connection actor between streams that listen and links that do what the test says."""

    def __init__(self, *, default=KEY, room=100):
        self.default, self.room = default, room
        self.mailbox = Mailbox("connection", s.ConnectionSignal, 64)
        self.told = {}
        self.gone = set()
        self.opened = []  # (time, link)
        self.links = Links(self.new, self.start, self.close, self.to_stream)
        self.actor = Connection(self.mailbox, self.links, lambda: self.default)

    def new(self, key):
        name = f"link/{len(self.opened) + 1}"
        return LinkSlot(name, key, Mailbox(name, s.LinkSignal, 8))

    def start(self, link):
        if len(self.links.live) >= self.room:
            raise TooManyChildrenError("there are enough links")
        self.opened.append((trio.current_time(), link))

    def close(self, link):
        link.mailbox.close()

    def to_stream(self, name, signal):
        if name in self.gone:
            return False
        self.told.setdefault(name, []).append(signal)
        return True

    async def ask(self, stream="stream/1-1", route=1, key=KEY):
        assert self.mailbox.offer(s.OpenRoute(stream=stream, route=route, key=key))
        await trio.testing.wait_all_tasks_blocked()
        return self.told.get(stream, [None])[-1]

    async def end(self, link, code=None):
        self.mailbox.offer(s.LinkEnded(link=link.name, code=code, message="planted"))
        await trio.testing.wait_all_tasks_blocked()

    @property
    def names(self):
        return [link.name for _, link in self.opened]


def signals(link):
    return [delivery.message for delivery in link.mailbox.drain(10)]


@pytest.fixture
async def world(nursery):
    world = World()
    await start(nursery, world)
    return world


async def start(nursery, world):
    async def run(task_status):
        await world.actor.run(task_status.started)

    await nursery.start(run)
    await trio.testing.wait_all_tasks_blocked()


async def test_one_link_is_kept_warm_and_handed_out(world, autojump_clock):
    assert world.names == ["link/1"]
    assert await world.ask() == s.RouteOpened(route=1, link="link/1")
    link = world.links.live["link/1"]
    assert signals(link) == [s.BindRoute(stream="stream/1-1", route=1)]
    assert link.bound == s.BindRoute(stream="stream/1-1", route=1)
    assert world.names == ["link/1", "link/2"], "and the next one is on its way"
    assert world.links.warm.name == "link/2"


async def test_only_a_key_that_is_equal_gets_the_warm_link(world, autojump_clock):
    assert await world.ask(key=OTHER) == s.RouteOpened(route=1, link="link/2")
    assert world.links.live["link/2"].key == OTHER
    assert world.links.warm.name == "link/1"


async def test_without_a_default_none_is_warm(nursery, autojump_clock):
    world = World(default=None)
    await start(nursery, world)
    assert world.names == []
    assert await world.ask() == s.RouteOpened(route=1, link="link/1")
    assert world.links.warm is None
    world.default = KEY
    await trio.sleep(WARM_RETRY_S[-1] + 1)
    assert world.links.warm is not None, "the voice was listed meanwhile"


async def test_a_warm_link_of_an_old_configuration_is_replaced(world, autojump_clock):
    world.default = OTHER
    assert await world.ask() == s.RouteOpened(route=1, link="link/1")
    assert world.links.warm.key == OTHER
    world.default = KEY
    old = world.links.warm
    world.mailbox.offer(s.LinkOpened(link="link/2", took_ms=1.0))
    await trio.testing.wait_all_tasks_blocked()
    assert signals(old) == [s.DropRoute(route=0)]
    assert world.links.warm.key == KEY


@pytest.mark.parametrize("opens", [True, False])
async def test_a_warm_link_that_fails_is_opened_again_ever_more_seldom(world, autojump_clock, opens):
    for wait_s in (*WARM_RETRY_S, WARM_RETRY_S[-1]):
        link = world.links.warm
        if opens:  # a socket that opens and is refused in its first frame is a failure as well
            world.mailbox.offer(s.LinkOpened(link=link.name, took_ms=1.0))
        await world.end(link, "upstream_unreachable")
        await trio.sleep(0.9 * wait_s)
        assert world.links.warm is None
        await trio.sleep(0.2 * wait_s)
        assert world.links.warm is not None


async def test_what_no_retry_mends_is_hardly_tried(world, autojump_clock):
    for _ in range(3):
        await world.end(world.links.warm, "auth_failed")
        await trio.sleep(WARM_RETRY_S[-1] - 1)
        assert world.links.warm is None
        await trio.sleep(1.5)
    assert len(world.opened) == 4


async def test_a_warm_link_that_lived_long_starts_the_count_anew(world, autojump_clock):
    for _ in range(5):
        await world.end(world.links.warm, "upstream_unreachable")
        await trio.sleep(WARM_RETRY_S[-1])
    await trio.sleep(180)
    await world.end(world.links.warm, "timeout")
    await trio.sleep(WARM_RETRY_S[0])
    await trio.testing.wait_all_tasks_blocked()
    assert world.links.warm is not None


async def test_too_many_links_is_busy_for_the_stream_and_no_news_for_the_warm_one(nursery, autojump_clock):
    world = World(room=1)
    await start(nursery, world)
    assert (await world.ask()).link == "link/1"
    told = await world.ask(route=2)
    assert (told.route, told.code, told.retryable) == (2, "busy", True)
    await world.end(world.links.live["link/1"])
    await trio.sleep(WARM_RETRY_S[-1])
    assert world.links.warm is not None


async def test_a_stream_learns_of_a_link_that_ended_before_it_was_bound(world, autojump_clock):
    """Its `LinkEnded` was on its way when the link was handed out as warm."""
    world.mailbox.offer(s.OpenRoute(stream="stream/1-1", route=1, key=KEY))
    await world.end(world.links.warm, "rate_limited")
    opened, broken = world.told["stream/1-1"]
    assert opened == s.RouteOpened(route=1, link="link/1")
    assert (broken.route, broken.code, broken.retryable) == (1, "rate_limited", True)


async def test_a_link_that_told_its_stream_itself_is_not_told_of_again(world, autojump_clock):
    await world.ask()
    link = world.links.live["link/1"]
    link.bound = None
    await world.end(link, "rate_limited")
    assert len(world.told["stream/1-1"]) == 1
    assert (world.links.ended, "link/1" in world.links.live) == (1, False)
    await world.end(link, "rate_limited")
    assert world.links.ended == 1


async def test_a_link_for_a_stream_that_has_ended_is_dropped(world, autojump_clock):
    world.gone.add("stream/1-1")
    link = world.links.warm
    await world.ask()
    assert signals(link)[-1] == s.DropRoute(route=1)


async def test_a_link_given_up_by_its_supervisor_ends_its_route(world, autojump_clock):
    await world.ask()
    world.links.retire("link/1", "internal", "it failed twice")
    broken = world.told["stream/1-1"][-1]
    assert (broken.code, broken.message, broken.retryable) == ("internal", "it failed twice", True)


async def test_a_new_incarnation_finds_the_warm_link(autojump_clock):
    world = World()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            await start(nursery, world)
            scope.cancel()
    async with trio.open_nursery() as nursery:
        await start(nursery, world)
        assert (await world.ask()).link == "link/1"
        nursery.cancel_scope.cancel()
