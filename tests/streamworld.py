"""One stream's actor between a make-believe connection, upstream and client, over its real slot and mailbox."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import pairwise

import trio

from simupstream import Habits, Upstream, heard, solid
from tts_streamd_actors.buffering import Stream
from tts_streamd_actors.mailbox import Mailbox
from tts_streamd_actors.slot import Slot, StreamSpec
from tts_streamd_audio.formats import parse_format
from tts_streamd_protocol import messages as m
from tts_streamd_protocol import signals as s
from tts_streamd_protocol.units import voiced

TEXT = (
    "The quick brown fox jumps over the lazy dog, and then it sleeps for an hour or two in the warm sun. " * 3
)


class PlantedError(Exception):
    """The planted bug."""


@dataclass
class Script:
    """What becomes of one route."""

    habits: Habits = field(default_factory=Habits)
    opens: bool = True  # else the connection never answers
    takes: bool = True  # else the link's mailbox refuses
    breaks_at: int | None = None  # this frame does not come, but news of a fault
    stalls_at: int | None = None  # from this frame on nothing comes
    final: bool = True  # else all is said, but never that it was all
    retryable: bool = True
    code: str = "upstream_unreachable"
    retry_ms: int | None = None
    answer_s: float = 0.001
    pace_s: float = 0.01


class Link:
    def __init__(self, world, asked, script):
        self.world, self.route, self.script = world, asked.route, script
        self.upstream = Upstream(world.rng, script.habits)
        self.given = []  # (cp_start, cp_end)
        self.ended = self.dropped = self.broken = False
        self.news = trio.Event()

    def tell(self, signal):
        if not self.script.takes or self.dropped or self.broken:
            return False
        assert signal.route == self.route
        match signal:
            case s.SpeakPiece():
                assert not self.ended, "text behind the end of text"
                assert not self.given or self.given[-1][1] == signal.cp_start
                assert signal.text.strip()
                self.given.append((signal.cp_start, signal.cp_end))
                self.upstream.send(signal.text)
            case s.EndRoute():
                assert not self.ended
                self.ended = True
                self.upstream.close()
            case s.DropRoute():
                self.dropped = True
        self.news.set()
        return True

    async def run(self):
        script, frames, n = self.script, self.upstream.frames, 0
        await trio.sleep(script.answer_s)
        self.world.to_stream(s.RouteOpened(route=self.route, link=f"link/{self.route}"))
        while not self.dropped:
            if n == script.breaks_at:
                self.break_now()
                return
            while not frames or n == script.stalls_at:
                self.news = trio.Event()
                await self.news.wait()
                if self.dropped:
                    return
            await trio.sleep(script.pace_s)
            frame = frames.popleft()
            n += 1
            if frame is None:
                if script.final:
                    self.world.to_stream(s.RouteFinal(route=self.route))
                    return
            else:
                self.deliver(*frame)

    def break_now(self):
        self.broken, script = True, self.script
        self.world.to_stream(
            s.RouteBroken(
                route=self.route,
                code=script.code,
                message="planted",
                retryable=script.retryable,
                retry_ms=script.retry_ms,
            )
        )

    def deliver(self, pcm, alignment, normalized):
        arrived = s.FrameArrived(route=self.route, alignment=times(alignment), normalized=times(normalized))
        self.world.to_stream(arrived, pcm)


def times(alignment):
    if alignment is None:
        return None
    parts = (alignment.chars, alignment.starts_ms, alignment.durations_ms)
    return s.Times(**dict(zip(("chars", "starts_ms", "durations_ms"), map(list, parts), strict=True)))


class World:
    """``script(n)`` says what becomes of the n-th route (from 1); the client takes what it can get."""

    def __init__(self, script=lambda _: Script(), *, seed=1, client=True, **fields):
        self.rng = random.Random(seed)
        self.script = script
        self.links = {}
        self.crashes_in = None  # calls until the actor's next breath raises
        self.crashes = 0
        self.given_up = False
        self.ready, self.heard_all = trio.Event(), trio.Event()
        self.reports, self.pcm = [], bytearray()
        self.n = 0
        self.cp = fields.get("start_cp", 0)
        self.takes = client
        self.busy_s = 0
        spec = StreamSpec(
            **{
                "session": 1,
                "sid": 1,
                "client": "tests/1",
                "uid": 1000,
                "key": s.RouteKey(voice="v", model="m", settings=m.VoiceSettings()),
                "format": parse_format("pcm_24000"),
                "schedule": (50,),
                "buffer_ms": 600_000,
            }
            | fields
        )
        self.slot = Slot(
            spec=spec,
            mailbox=Mailbox(spec.name, s.StreamSignal, 1024),
            on_ready=self.on_ready,
            discard=lambda _: None,
            opened_s=trio.current_time(),
            text_window=65_536,
        )

    # -- what the actor is given -----------------------------------------------------------------------------
    def open_route(self, asked):
        self.breathe()
        assert asked.route not in self.links, "a route id is used once"
        script = self.script(len(self.links) + 1)
        link = self.links[asked.route] = Link(self, asked, script)
        if script.opens:
            self.nursery.start_soon(link.run)
        return True

    def tell(self, name, signal):
        self.breathe()
        return self.links[int(name.removeprefix("link/"))].tell(signal)

    def on_ready(self, slot):
        self.ready.set()

    def breathe(self):
        if self.crashes_in is not None:
            self.crashes_in -= 1
            if self.crashes_in <= 0:
                self.crashes_in = None
                raise PlantedError

    def to_stream(self, signal, pcm=b""):
        assert self.slot.mailbox.offer(signal, pcm)

    # -- the actor, and who uses it ----------------------------------------------------------------------------
    async def live(self):
        """As its supervisor does: one restart, or as many as the test plants."""
        while True:
            stream = Stream(self.slot, open_route=self.open_route, tell=self.tell)
            with trio.CancelScope() as self.life:
                try:
                    await stream.run(lambda: None)
                except PlantedError:
                    self.crashes += 1
                    continue
            if not self.life.cancelled_caught:
                return
            self.crashes += 1

    def crash(self):
        self.life.cancel()

    async def listen(self):
        slot = self.slot
        while not slot.outlet.closed:
            parcel = slot.outlet.peek() if self.takes else None
            if parcel is None:
                self.ready = trio.Event()
                await self.ready.wait()
                continue
            slot.outlet.taken(trio.current_time())
            self.check(parcel)
            if parcel.kind == "audio":
                slot.relieve()
            await trio.lowlevel.checkpoint()
        self.heard_all.set()

    def check(self, parcel):
        report = parcel.report
        assert report.seq == len(self.reports)
        assert not self.end
        self.reports.append(report)
        if parcel.kind == "audio":
            assert report.at == self.n
            assert report.cp >= self.cp
            self.n, self.cp = self.n + report.n, report.cp
            self.pcm += parcel.payload

    def accept(self, text, *, flush=False):
        self.slot.accept(text, None, flush=flush, now_s=trio.current_time())

    def speak(self, text):
        self.accept(text)
        self.slot.close()

    async def run(self, *users, within_s=300):
        """Let everybody live until the client has the end and the actor is gone."""
        with trio.fail_after(within_s):
            async with trio.open_nursery() as nursery:
                self.nursery = nursery
                for user in users:
                    nursery.start_soon(user)
                nursery.start_soon(self.listen)
                await self.live()
                await self.heard_all.wait()
                nursery.cancel_scope.cancel()
        return self.end

    # -- what came of it -----------------------------------------------------------------------------------------
    @property
    def end(self):
        last = self.reports[-1] if self.reports else None
        return last if isinstance(last, m.End) else None

    @property
    def states(self):
        return [(r.state, r.detail) for r in self.reports if isinstance(r, m.State)]

    @property
    def heard(self):
        return heard(bytes(self.pcm))

    def check_done(self, text, *, letters_only=True):
        """Every letter exactly once, and true books."""
        end = self.end
        assert end.reason == "done", end
        pick = letters if letters_only else solid
        assert pick(self.heard) == pick(text)
        assert end.chars == len(text) == sum(getattr(end.source, f) for f in end.source.__struct_fields__)
        assert end.heard_cp == self.cp == self.slot.spec.start_cp + len(text)
        assert end.samples == self.n == len(self.pcm) // 2
        words = [word for r in self.reports if isinstance(r, m.Words) for word in r.words]
        assert all(a[4] <= b[3] and a[2] <= b[2] for a, b in pairwise(words))
        self.check_links()

    def check_links(self):
        """Nobody keeps a socket for a stream that is gone."""
        for link in self.links.values():
            over = link.ended or link.dropped or link.broken or not link.script.takes or not link.script.opens
            assert over or self.crashes, f"link {link.route} was left behind"


def letters(text):
    return "".join(filter(voiced, text))
