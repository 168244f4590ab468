"""A question to an actor: the two messages of ``Mailbox.ask``, joined by a number.

It is settled once: by an answer, or by the end of the incarnation that took it, so nobody waits for a dead
actor.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import trio

if TYPE_CHECKING:
    from collections.abc import Callable


class ActorGoneError(Exception):
    """The question will not be answered: its actor ended after taking it, or for good before."""


class Answer(msgspec.Struct, frozen=True, tag_field="op", tag="answer"):
    """What a tap sees of an answer; ``id`` numbers the mailbox's questions."""

    id: int
    value: msgspec.Raw


@dataclass(eq=False, slots=True)
class Question:
    """One question under way: settled once, by an answer or by the end of who might have answered."""

    id: int
    settled: trio.Event = field(default_factory=trio.Event)
    value: bytes | None = None
    answered: bool = False

    def settle(self, value: bytes | None) -> None:
        """Wake the asker: *value* is the answer as msgpack, None says that none will come."""
        if not self.settled.is_set():
            self.value = value
            self.settled.set()


@dataclass(frozen=True, slots=True)
class Reply:
    """The actor's end of a question."""

    _question: Question
    _settle: Callable[[Question, object], None]

    def answer(self, value: object) -> None:
        """Give the answer; if the asker has gone away meanwhile, nothing happens.

        Raises:
            RuntimeError: it was answered already, which is a bug.
        """
        if self._question.answered:
            raise RuntimeError(f"question {self._question.id} was answered twice")
        self._question.answered = True
        self._settle(self._question, value)
