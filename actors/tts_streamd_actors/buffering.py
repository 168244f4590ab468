"""One stream, one actor: cuts the text into pieces, sends them on a route, books what comes back.

It reads signals and moves its slot; every decision is the ledger's or the chunker's.  It never waits for the
client: audio is bounded by holding text back.  When it crashes, a new one begins a new ledger on the same journal.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING

import trio

from tts_streamd_actors.commons import Commons
from tts_streamd_actors.outlet import RATE_HZ
from tts_streamd_protocol import signals as s
from tts_streamd_protocol.ledger import Ledger, Lost, Output
from tts_streamd_protocol.prompter import Prompter
from tts_streamd_protocol.take import Alignment

if TYPE_CHECKING:
    from tts_streamd_actors.slot import Slot
    from tts_streamd_protocol.chunking import Piece
    from tts_streamd_protocol.errors import Code

MS_PER_CP = 100
"""What a code point is taken to last until its audio is there: slow speech, so that the bound errs on the safe side."""

BATCH = 64
"""Signals read before the stream thinks: one thought for a burst of frames."""

OWED_S = 10.0
"""A route that owes audio and has brought none for so long is dead."""

SLOW_S = 60.0
"""... unless upstream brings others theirs: then it is slow, and saying it all again would make it slower."""

ASKED_S = 2.0
"""The connection actor answers at once; if it crashed over the question, ask again after this."""

BYTES_PER_S = 2 * RATE_HZ

MAX_S_PER_CP, SLACK_S = 2, 30
"""Audio that a route may bring: far above the slowest speech; without a bound an upstream that never stops would fill
the memory."""

MAX_FAILURES = 4
"""Failures since speech last came out; then the stream gives up (ledger rule 24)."""

RETRY_S = (0.0, 0.2, 0.5, 1.0)
"""Waits before another route, by failures since speech last came out."""

MAX_WAIT_S = 30.0
"""Upstream may ask for hours of patience; nobody listens to silence for so long, so the client is told instead."""

Tell = Callable[[str, s.LinkSignal], bool]
AskForRoute = Callable[[s.OpenRoute], bool]


class Stream:
    """The actor of one slot.  ``open_route`` asks the connection actor, ``tell`` speaks to a link by name."""

    def __init__(
        self, slot: Slot, *, open_route: AskForRoute, tell: Tell, commons: Commons | None = None
    ) -> None:
        self._slot = slot
        self._commons = Commons() if commons is None else commons
        self._allowed_bytes: dict[int, int] = {}  # what each route may still bring
        self._journal = slot.journal
        self._stamps = slot.outlet.stamps
        self._open = open_route
        self._tell = tell
        self._ledger = Ledger(slot.journal)
        self._prompter = Prompter(slot.journal, slot.spec.schedule, slot.flushes)
        self._links: dict[int, str] = {}  # the links of all routes that are still to bring audio
        self._route: int | None = None  # the route that takes text
        self._route_end = 0  # ... and where its text ends
        self._sent_any = False  # ... and whether it carries any
        self._heard_any = False  # ... and whether any of it has come back
        self._asked_at = -inf
        self._retry_at = -inf
        self._moved_at = trio.current_time()  # when upstream last did something, or was last given something
        self._failures = slot.journal.losses_since_release

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve the stream until its slot has ended."""
        ready()
        self._begin()
        if self._over():
            return
        with self._slot.mailbox.incarnation():
            self._ask_for_route()
            self._advance()
            while not self._over():
                await self._listen()
                self._advance()
            await self._give_back()

    def _over(self) -> bool:
        return self._slot.ended

    def _begin(self) -> None:
        """Go on where the facts say; what an earlier incarnation had under way is given up."""
        slot = self._slot
        if slot.link is not None:
            self._tell(slot.link, s.DropRoute(route=slot.last_route))
        if slot.cut_cp > self._journal.released_cp:  # it had been sent: say it again without waiting for more
            slot.flushes.appendleft(slot.cut_cp)

    async def _listen(self) -> None:
        with trio.move_on_at(self._deadline()) as scope:
            first = await self._slot.mailbox.receive()
            self._on(first.message, first.payload)
            for delivery in self._slot.mailbox.drain(BATCH):
                self._on(delivery.message, delivery.payload)
        if scope.cancelled_caught:
            self._on_deadline()

    # -- text out ------------------------------------------------------------------------------------------
    def _advance(self) -> None:
        if self._over():
            return
        if self._journal.closed and not self._journal.sent and self._slot.unspeakable:
            self._slot.finish("done")  # which it cannot
            return
        while (piece := self._next_piece()) is not None and self._may_send(piece):
            if not self._reach(piece):
                return
            self._send(piece)
            if self._over():
                return
        if self._journal.closed and not self._prompter.waiting:
            self._wind_up()

    def _next_piece(self) -> Piece | None:
        piece = self._prompter.next()
        if piece is not None and self._stamps.cut_s is None:
            self._stamps.cut_s = trio.current_time()
        return piece

    def _may_send(self, piece: Piece) -> bool:
        """Whether upstream may be asked for more: audio on its way and audio that waits share one budget."""
        waiting = self._journal.pending_samples
        if not self._prompter.saying_again and self._owing():  # else what is held waits for this very piece
            waiting += self._ledger.held_samples
        waiting_ms = 1000 * waiting // RATE_HZ
        asked_cp = self._ledger.outstanding_cp
        if asked_cp:
            waiting_ms += MS_PER_CP * (asked_cp + piece.end_cp - piece.start_cp) - 1
        may = waiting_ms < self._commons.buffer_ms(self._slot.spec.buffer_ms, trio.current_time())
        self._slot.throttled = not may
        return may

    def _reach(self, piece: Piece) -> bool:
        """Whether the open route can carry the piece; if not, see to it that one soon can."""
        if self._route is not None and self._sent_any and self._route_end != piece.start_cp:
            self._end_route()
        if self._route is None:
            self._ask_for_route()
        return self._route in self._links

    def _send(self, piece: Piece) -> None:
        route, slot = self._route, self._slot
        assert route is not None
        text = self._ledger.send(route, piece.start_cp, piece.end_cp)
        self._route_end, self._sent_any, self._moved_at = piece.end_cp, True, trio.current_time()
        allowed = self._allowed_bytes.get(route, SLACK_S * BYTES_PER_S)
        self._allowed_bytes[route] = allowed + MAX_S_PER_CP * BYTES_PER_S * len(text)
        self._prompter.taken()
        slot.cut_cp = max(slot.cut_cp, piece.end_cp)
        while slot.flushes and slot.flushes[0] <= slot.cut_cp:
            slot.flushes.popleft()
        self._acknowledge()
        if self._stamps.sent_s is None:
            self._stamps.sent_s = trio.current_time()
        signal = s.SpeakPiece(route=route, cp_start=piece.start_cp, cp_end=piece.end_cp, text=text)
        if not self._tell(self._links[route], signal):
            self._lose(route, "upstream_unreachable", "the link to upstream is gone or takes nothing")

    def _acknowledge(self) -> None:
        self._slot.advance_ack()
        if self._slot.acked_cp > self._slot.told_cp:
            self._slot.on_ready(self._slot)

    def _wind_up(self) -> None:
        """All text is on its way: let upstream end its route, and the stream with it."""
        self._ledger.close()
        if self._ledger.done:
            self._slot.finish("done")
        elif self._route is not None and self._sent_any:
            self._end_route()

    # -- routes --------------------------------------------------------------------------------------------
    def _ask_for_route(self) -> None:
        """Have a route opened, ahead of the text where possible; not before ``retry_at``."""
        now = trio.current_time()
        if self._route is not None or now < self._retry_at:
            return
        slot = self._slot
        slot.last_route += 1
        slot.link = None
        self._route, self._asked_at = slot.last_route, now
        self._sent_any = self._heard_any = False
        asked = s.OpenRoute(stream=slot.spec.name, route=self._route, key=slot.spec.key)
        if not self._open(asked):
            self._lose(self._route, "busy", "too many streams ask for a route at once")

    def _end_route(self) -> None:
        if self._route in self._links:
            self._tell(self._links[self._route], s.EndRoute(route=self._route))
        self._route = None

    async def _give_back(self) -> None:
        """The stream has ended: let all its links go, also one that is still to be handed to it."""
        self._forget_all()
        with trio.move_on_at(self._asked_at + ASKED_S), suppress(trio.EndOfChannel):
            while self._route is not None and self._route not in self._links:
                self._on((await self._slot.mailbox.receive()).message, b"")
        self._forget_all()

    def _lose(self, route: int, code: Code, message: str, retry_ms: int | None = None) -> None:
        """A route broke: say again what it had not brought whole, over another one, or give up."""
        if self._break(route):
            self._fail_again(code, message, retry_ms)
        elif retry_ms:  # an idle route ended: another is opened when there is text
            self._retry_at = trio.current_time() + retry_ms / 1000

    def _break(self, route: int) -> bool:
        """Give a route up; whether text is to be said again, or waited for this route in vain."""
        waited = route not in self._links or (not self._sent_any and self._prompter.waiting)
        in_vain = route == self._route and bool(waited)
        self._forget(route)
        if route == self._route:
            self._route = None
        return self._settle(self._ledger.fault, route) or in_vain

    def _fail_again(self, code: Code, message: str, retry_ms: int | None = None) -> None:
        """One more failure since speech last came out: wait a little and go on, or give up."""
        self._failures += 1
        if self._failures > MAX_FAILURES:
            self._slot.fail(code, f"{message} (gave up after {self._failures} attempts)")
            return
        wait_s = max(RETRY_S[min(self._failures, len(RETRY_S)) - 1], (retry_ms or 0) / 1000)
        if wait_s > MAX_WAIT_S:
            self._slot.fail(code, message, retryable=True, retry_ms=retry_ms)
            return
        self._retry_at = trio.current_time() + wait_s
        if self._stamps.first_frame_s is not None:
            self._slot.enter("recovering", code)

    def _book(self, outputs: list[Output]) -> bool:
        """Act on what the ledger says; whether any text must be said again."""
        lost = False
        for output in outputs:
            if isinstance(output, Lost):
                lost = True
                self._prompter.say_again(output.cp_start, output.cp_end)
                if output.route == self._route:
                    self._route = None
                self._forget(output.route)
            elif output.route == self._route:
                self._end_route()
        return lost

    def _settle(self, decide: Callable[[int], list[Output]], route: int) -> bool:
        """Tell the ledger how a route ended; whether any text must be said again."""
        before = self._journal.released_cp, self._journal.samples
        outputs = decide(route)
        self._notice(*before)
        return self._book(outputs)

    def _notice(self, released_cp: int, samples: int) -> None:
        """Something may have been released since then; only sound is a sign of life."""
        if self._journal.samples > samples:
            self._failures = 0
        if self._journal.released_cp > released_cp:
            self._slot.on_ready(self._slot)

    def _forget(self, route: int) -> None:
        self._allowed_bytes.pop(route, None)
        if (link := self._links.pop(route, None)) is not None:
            self._tell(link, s.DropRoute(route=route))

    def _forget_all(self) -> None:
        for route in tuple(self._links):
            self._forget(route)
            if route == self._route:
                self._route = None

    # -- time ----------------------------------------------------------------------------------------------
    def _deadline(self) -> float:
        """When to think again although nothing has come."""
        at = inf
        if self._route is None and not self._slot.throttled and self._prompter.waiting:
            at = self._retry_at
        if self._route is not None and self._route not in self._links:
            at = self._asked_at + ASKED_S
        return min(at, self._owed_at()) if self._owing() else at

    def _owed_at(self) -> float:
        """When what is owed is overdue: later while upstream brings others theirs, for slow is not dead."""
        alive = max(self._moved_at, self._commons.heard_s)
        return min(alive + OWED_S, self._moved_at + SLOW_S)

    def _on_deadline(self) -> None:
        if self._over():
            return
        now = trio.current_time()
        if self._route is not None and self._route not in self._links and now >= self._asked_at + ASKED_S:
            self._lose(self._route, "timeout", "no route was opened in time")
        if now >= self._owed_at() and not self._over():
            self._on_stall()

    def _owing(self) -> list[int]:
        """Routes that still have to bring something: speech, or their final."""
        ledger = self._ledger
        return [route for route in ledger.live_routes if route != self._route or not ledger.has_spoken(route)]

    def _on_stall(self) -> None:
        """Upstream is dead: what has been spoken is believed (ledger rule 16), the rest is said again."""
        lost = False
        for route in self._owing():
            if self._ledger.has_spoken(route):
                self._forget(route)
                lost |= self._settle(self._ledger.final, route)
            else:
                lost |= self._break(route)
        if lost:
            waited_s = trio.current_time() - self._moved_at
            self._fail_again("timeout", f"upstream brought no audio for {waited_s:.0f} s")

    # -- signals in ----------------------------------------------------------------------------------------
    def _on(self, signal: s.StreamSignal, payload: bytes) -> None:
        match signal:
            case s.RouteOpened():
                self._on_opened(signal)  # after the end, too: it has to be given back
            case s.RouteBroken():
                self._on_broken(signal)
            case s.FrameArrived() if not self._over():
                self._on_frame(signal, payload)
            case s.RouteFinal() if not self._over():
                self._on_final(signal.route)
            case _:
                pass  # the slot says it all

    def _on_frame(self, frame: s.FrameArrived, pcm: bytes) -> None:
        if frame.route not in self._links:
            return  # given up already
        now = self._moved_at = self._commons.heard_s = trio.current_time()
        if self._stamps.first_frame_s is None:
            self._stamps.first_frame_s = now
        self._allowed_bytes[frame.route] = allowed = self._allowed_bytes.get(frame.route, 0) - len(pcm)
        if allowed < 0:
            self._lose(frame.route, "upstream_protocol", "upstream brings more audio than the text can last")
            return
        self._slot.enter("speaking", "recovered" if self._slot.phase == "recovering" else None)
        before = self._journal.released_cp, self._journal.samples
        outputs = self._ledger.audio(
            frame.route, pcm, _alignment(frame.alignment), _alignment(frame.normalized)
        )
        self._notice(*before)
        if frame.route == self._route and pcm and not self._heard_any:
            self._heard_any = True
            if frame.alignment is None and frame.normalized is None:
                self._end_route()  # only its final will tell where the words are (ledger rule 12)
        if self._book(outputs):
            self._fail_again("upstream_protocol", _not_spoken(frame.route))

    def _on_final(self, route: int) -> None:
        self._links.pop(route, None)
        self._allowed_bytes.pop(route, None)
        if route == self._route:
            self._route = None
        if self._settle(self._ledger.final, route):
            self._fail_again("upstream_protocol", _not_spoken(route))

    def _on_opened(self, opened: s.RouteOpened) -> None:
        if opened.route != self._route:
            self._tell(opened.link, s.DropRoute(route=opened.route))
        else:
            self._links[opened.route] = self._slot.link = opened.link

    def _on_broken(self, broken: s.RouteBroken) -> None:
        if broken.route not in self._links and broken.route != self._route:
            return  # given up already
        if self._over():
            self._links.pop(broken.route, None)
            self._route = None if broken.route == self._route else self._route
        elif broken.retryable or self._ledger.has_spoken(broken.route):  # then the next one may say so again
            self._lose(broken.route, broken.code, broken.message, broken.retry_ms)
        else:
            self._slot.fail(broken.code, broken.message, retryable=False)


def _not_spoken(route: int) -> str:
    return f"route {route} did not speak what it was given"


def _alignment(times: s.Times | None) -> Alignment | None:
    return None if times is None else Alignment(times.chars, times.starts_ms, times.durations_ms)
