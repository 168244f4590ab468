"""One context of a ``multi-stream-input`` socket: its states, what leads from one to the next, and its flags.

Rule: nothing else changes a context's state, and what the table does not hold is a bug of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tts_streamd_protocol.elevenlabs.faults import UpstreamFault
from tts_streamd_protocol.elevenlabs.session import FaultEvent, FinalEvent, LocalProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping


class ContextState(Enum):
    """Where a context is in its one utterance."""

    OPEN = "open"
    HELD = "held"
    CLOSING = "closing"
    LOST = "lost"
    ENDED = "ended"


class ContextInput(Enum):
    """What can happen to it; the first three are ours."""

    SPEAK = "speak"
    HOLD = "hold"
    CLOSE = "close"
    AUDIO = "audio"
    FINAL = "final"
    LOSE = "lose"
    FAULT = "fault"


TRANSITIONS: Final[Mapping[ContextState, Mapping[ContextInput, ContextState]]] = MappingProxyType(
    {
        ContextState.OPEN: MappingProxyType(
            {
                ContextInput.SPEAK: ContextState.OPEN,
                ContextInput.HOLD: ContextState.HELD,
                ContextInput.CLOSE: ContextState.CLOSING,
                ContextInput.AUDIO: ContextState.OPEN,
                ContextInput.FINAL: ContextState.ENDED,
                ContextInput.FAULT: ContextState.ENDED,
            }
        ),
        ContextState.HELD: MappingProxyType(
            {
                ContextInput.CLOSE: ContextState.CLOSING,
                ContextInput.AUDIO: ContextState.HELD,
                ContextInput.FINAL: ContextState.ENDED,
                ContextInput.FAULT: ContextState.ENDED,
            }
        ),
        ContextState.CLOSING: MappingProxyType(
            {
                ContextInput.AUDIO: ContextState.CLOSING,
                ContextInput.FINAL: ContextState.ENDED,
                ContextInput.LOSE: ContextState.LOST,
                ContextInput.FAULT: ContextState.ENDED,
            }
        ),
        ContextState.LOST: MappingProxyType(
            {
                ContextInput.AUDIO: ContextState.LOST,
                ContextInput.FINAL: ContextState.ENDED,
                ContextInput.FAULT: ContextState.ENDED,
            }
        ),
        ContextState.ENDED: MappingProxyType({}),
    }
)
"""What is not here is an error of ours; upstream can do any of its inputs to any context that lives."""


@dataclass(slots=True, eq=False)
class Context:
    """What is known of one, by its ``id``."""

    id: str
    state: ContextState = ContextState.OPEN
    deadline: float | None = None
    listened: bool = True  # somebody is to be told
    texted: bool = False
    spoke: bool = False
    heard: bool = False
    owed: bool = False  # voiced text was sent after the last audio
    unflushed: bool = False

    @property
    def nameable(self) -> bool:
        """Whether a message may name it: upstream has it, and was not told to close it."""
        return self.state in _NAMEABLE

    def step(self, given: ContextInput) -> None:
        """``LocalProtocolError`` where the table has nothing."""
        after = TRANSITIONS[self.state].get(given)
        if after is None:
            raise LocalProtocolError(f"{given.value} while context {self.id} is {self.state.value}")
        self.state = after

    def message(self, **fields: Any) -> str:  # noqa: ANN401  any JSON
        """A text frame for it."""
        return msgspec.json.encode({**fields, "context_id": self.id}).decode()

    def end(self) -> FinalEvent | FaultEvent:
        """Its final; one not asked for is no end of text, except in silence: that is how no credits look."""
        was = self.state
        self.step(ContextInput.FINAL)
        silent = self.spoke and not self.heard
        if was is not ContextState.OPEN or silent:
            return FinalEvent(without_audio=silent)
        if not self.texted:
            return FaultEvent(UpstreamFault("timeout", "upstream ended an idle context", retryable=True))
        words = "upstream ended a context before its end of text"
        return FaultEvent(UpstreamFault("upstream_protocol", words, retryable=True))


_NAMEABLE: Final = frozenset({ContextState.OPEN, ContextState.HELD})
