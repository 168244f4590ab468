"""A mailbox: the bounded, typed inbox of one actor, which outlives the incarnations that read it.

It carries bytes: a message is a msgspec struct, stored as msgpack, with an optional payload (audio) beside
it. So whatever passes can be tapped, recorded and replayed, and sender and reader share no objects.  Two
lanes, each with its bound: the urgent one is read first.  Who asks gets an answer, ``ActorGoneError`` or
``trio.TooSlowError`` at its own deadline, whatever becomes of the actor.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, Self, TypeAlias, TypeVar

import msgspec
import trio

from tts_streamd_actors.question import ActorGoneError, Answer, Question, Reply

if TYPE_CHECKING:
    from collections.abc import Generator

M = TypeVar("M")
R = TypeVar("R")

Tap: TypeAlias = Callable[[str, bytes, bytes], None]
"""Called with the mailbox's name, the message as msgpack and the payload, when a message was queued."""

__all__ = ["ActorGoneError", "Delivery", "Mailbox", "MailboxStatistics", "Reply", "Tap"]

_log = logging.getLogger("tts_streamd.mailbox")


@dataclass(frozen=True, slots=True)
class MailboxStatistics:
    """A snapshot.  Depths are messages waiting, the rest are counters since the mailbox was made."""

    name: str
    capacity: int
    depth: int
    urgent_depth: int
    payload_bytes: int  # waiting, both lanes
    questions: int  # taken by the actor and not answered yet
    received: int
    refused: int
    undecodable: int


@dataclass(eq=False, slots=True)
class _Letter:
    head: bytes
    payload: bytes
    question: Question | None


@dataclass(frozen=True, slots=True)
class Delivery(Generic[M]):
    """A message as its reader gets it; ``reply`` is None where nobody waits for an answer."""

    message: M
    payload: bytes
    reply: Reply | None

    def answer(self, value: object) -> None:
        """Answer if it was asked, at most once; a message that was only told needs none."""
        if self.reply is not None:
            self.reply.answer(value)


class Mailbox(Generic[M]):
    """``offer`` refuses when full, ``tell`` waits, ``ask`` waits for an answer; *kind* is what it holds.

    Args:
        name: the actor's, as in the supervision tree.
        kind: a msgspec struct type, or a union of tagged ones.
        capacity: messages the normal lane holds.
        tap: called for every message queued; see ``Tap``.
        urgent_capacity: messages the urgent lane holds; as many as the normal one unless said.
        max_payload_bytes: payload both lanes together hold; no bound of their own unless said.
    """

    def __init__(  # noqa: PLR0913 - three bounds and a tap, by name
        self,
        name: str,
        kind: object,
        capacity: int,
        *,
        tap: Tap | None = None,
        urgent_capacity: int | None = None,
        max_payload_bytes: int | None = None,
    ) -> None:
        self.name = name
        self.capacity = capacity
        self.tap = tap
        self._urgent_capacity = capacity if urgent_capacity is None else urgent_capacity
        self._max_payload_bytes = max_payload_bytes
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = _decoder(kind)
        self._normal: deque[_Letter] = deque()
        self._urgent: deque[_Letter] = deque()
        self._payload_bytes = 0
        self._readers = trio.lowlevel.ParkingLot()
        self._writers = trio.lowlevel.ParkingLot()
        self._taken: dict[int, Question] = {}
        self._question_ids = itertools.count(1)
        self._incarnated = False
        self._closed = False
        self._received = self._refused = self._undecodable = 0

    # -- for senders ---------------------------------------------------------------------------------------
    def offer(self, message: M, payload: bytes = b"", *, urgent: bool = False) -> bool:
        """Queue a message and return True, or queue nothing and return False: it is full, or closed."""
        queued = self._offer(_Letter(self._encoder.encode(message), payload, None), urgent=urgent)
        self._refused += not queued
        return queued

    async def tell(self, message: M, payload: bytes = b"", *, urgent: bool = False) -> None:
        """Queue a message, waiting for room; cancelled, it has queued nothing.

        Raises:
            ValueError: the payload alone is more than the mailbox may ever hold.
            trio.ClosedResourceError: the mailbox was closed.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._put(_Letter(self._encoder.encode(message), payload, None), urgent=urgent)
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def ask(
        self, message: M, *, reply: type[R], within_s: float, payload: bytes = b"", urgent: bool = False
    ) -> R:
        """Queue a question and wait for its answer, an instance of *reply*.

        A question still queued when its asker gives up is taken back.

        Raises:
            trio.TooSlowError: there was no room, or no answer, within *within_s* seconds.
            ActorGoneError: the incarnation that took the question ended first, or the mailbox was closed.
            msgspec.ValidationError: the answer is no *reply*.
        """
        question = Question(next(self._question_ids))
        letter = _Letter(self._encoder.encode(message), payload, question)
        try:
            with trio.fail_after(within_s):
                await self._put(letter, urgent=urgent)
                await question.settled.wait()
        except trio.ClosedResourceError:
            raise ActorGoneError(f"{self.name} takes no more questions") from None
        finally:
            self._withdraw(letter, question)
        if question.value is None:
            raise ActorGoneError(f"{self.name} ended before it answered")
        return msgspec.msgpack.decode(question.value, type=reply)

    def close(self) -> None:
        """Take no more messages; the reader gets what is queued, then ``trio.EndOfChannel``."""
        self._closed = True
        self._readers.unpark_all()
        self._writers.unpark_all()
        if not self._incarnated:
            self._fail_queued()

    # -- for the actor -------------------------------------------------------------------------------------
    @contextmanager
    def incarnation(self) -> Generator[None]:
        """Read within this: what was taken and not answered when it exits, however, fails its asker.

        Questions still queued wait for the next incarnation; of a closed mailbox, they fail too.

        Raises:
            RuntimeError: another incarnation is reading.
        """
        if self._incarnated:
            raise RuntimeError(f"{self.name} runs twice at once")
        self._incarnated = True
        try:
            yield
        finally:
            self._incarnated = False
            for question in self._taken.values():
                question.settle(None)
            self._taken.clear()
            if self._closed:
                self._fail_queued()

    async def receive(self) -> Delivery[M]:
        """Wait for the next message; cancelled, it has taken none.

        Raises:
            trio.EndOfChannel: the mailbox is closed and empty.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        delivery = self._take()
        if delivery is not None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return delivery
        while delivery is None:
            if self._closed:
                raise trio.EndOfChannel
            await self._readers.park()
            delivery = self._take()
        return delivery

    def receive_nowait(self) -> Delivery[M]:
        """Return the next message.

        Raises:
            trio.WouldBlock: there is none.
            trio.EndOfChannel: the mailbox is closed and empty.
        """
        delivery = self._take()
        if delivery is None:
            raise trio.EndOfChannel if self._closed else trio.WouldBlock
        return delivery

    def drain(self, limit: int) -> list[Delivery[M]]:
        """Return up to *limit* messages that are there, maybe none, urgent ones first."""
        taken: list[Delivery[M]] = []
        while len(taken) < limit and (delivery := self._take()) is not None:
            taken.append(delivery)
        return taken

    def __aiter__(self) -> Self:
        """Receive until the mailbox is closed and empty."""
        return self

    async def __anext__(self) -> Delivery[M]:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    @property
    def depth(self) -> int:
        """Messages waiting, both lanes."""
        return len(self._normal) + len(self._urgent)

    def statistics(self) -> MailboxStatistics:
        """Return how full it is and what was counted so far."""
        return MailboxStatistics(
            name=self.name,
            capacity=self.capacity,
            depth=self.depth,
            urgent_depth=len(self._urgent),
            payload_bytes=self._payload_bytes,
            questions=len(self._taken),
            received=self._received,
            refused=self._refused,
            undecodable=self._undecodable,
        )

    # -- queueing ------------------------------------------------------------------------------------------
    def _offer(self, letter: _Letter, *, urgent: bool) -> bool:
        lane, capacity = (self._urgent, self._urgent_capacity) if urgent else (self._normal, self.capacity)
        if self._closed or len(lane) >= capacity or not self._has_room(letter.payload):
            return False
        lane.append(letter)
        self._payload_bytes += len(letter.payload)
        if self.tap is not None:
            self.tap(self.name, letter.head, letter.payload)
        self._readers.unpark()
        return True

    def _has_room(self, payload: bytes) -> bool:
        # A message without payload always has: news of a fault must reach a reader drowned in audio.
        limit = self._max_payload_bytes
        return limit is None or not payload or self._payload_bytes + len(payload) <= limit

    async def _put(self, letter: _Letter, *, urgent: bool) -> None:
        if self._max_payload_bytes is not None and len(letter.payload) > self._max_payload_bytes:
            raise ValueError(f"{len(letter.payload)} bytes never fit into {self.name}")
        while not self._offer(letter, urgent=urgent):
            if self._closed:
                raise trio.ClosedResourceError(f"the mailbox of {self.name} was closed")
            await self._writers.park()

    def _take(self) -> Delivery[M] | None:
        while self._urgent or self._normal:
            letter = (self._urgent or self._normal).popleft()
            self._removed(letter)
            self._received += 1
            message = self._decode(letter)
            if message is not None:
                return Delivery(message, letter.payload, self._reply(letter.question))
        return None

    def _removed(self, letter: _Letter) -> None:
        self._payload_bytes -= len(letter.payload)
        self._writers.unpark()

    def _decode(self, letter: _Letter) -> M | None:
        try:
            message: M = self._decoder.decode(letter.head)
        except msgspec.DecodeError:
            self._undecodable += 1
            _log.exception("%s dropped a message it cannot read: %r", self.name, letter.head[:200])
            if letter.question is not None:
                letter.question.settle(None)
            return None
        return message

    # -- questions -----------------------------------------------------------------------------------------
    def _reply(self, question: Question | None) -> Reply | None:
        if question is None:
            return None
        self._taken[question.id] = question
        return Reply(question, self._settle)

    def _settle(self, question: Question, value: object) -> None:
        if self._taken.pop(question.id, None) is None:
            return  # the asker gave up, or the incarnation that took it has ended
        encoded = self._encoder.encode(value)
        question.settle(encoded)
        if self.tap is not None:
            self.tap(self.name, self._encoder.encode(Answer(question.id, msgspec.Raw(encoded))), b"")

    def _withdraw(self, letter: _Letter, question: Question) -> None:
        self._taken.pop(question.id, None)
        for lane in (self._urgent, self._normal):
            if letter in lane:
                lane.remove(letter)
                self._removed(letter)

    def _fail_queued(self) -> None:
        for letter in (*self._urgent, *self._normal):
            if letter.question is not None:
                letter.question.settle(None)


@lru_cache(maxsize=64)  # streams and links come and go by thousands and are of few kinds
def _decoder(kind: object) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(kind)
