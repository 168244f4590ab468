"""One ``multi-stream-input`` socket as a machine without I/O: messages in, orders for each context out.

    any message with a new ``context_id``  -> opens that context, also a bare flush or a keep-alive
    {"text": "...", "context_id"}          -> buffered as on the single socket
    {"context_id", "flush": true}          -> the buffer is a segment now
    {"text": "", "context_id"}             -> keep-alive: never the end of a text here
    {"context_id", "close_context": true}  -> what was not flushed is dropped, then ``FinishContext``
    {"close_socket": true}                 -> every buffer is a segment, all contexts finish, later messages are ignored

Rule: at most five contexts are open or closing; one is closing until its final frame is sent (``finished``).
Context ids may be used again; ``serial`` tells the contexts of one id apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from tts_streamd_engine.intake import (
    Intake,
    ProtocolError,
    Speak,
    credentials_in,
    parse_message,
    unreadable,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tts_streamd_engine.voices.interface import VoiceSettings

MAX_CONTEXTS = 5
DEFAULT_CONTEXT = "default"
"""The id of the context that messages without an id belong to."""


@dataclass(frozen=True, slots=True)
class Context:
    """One context among all that a socket ever had."""

    serial: int
    context_id: str


@dataclass(frozen=True, slots=True)
class SpeakIn:
    """Voice this segment in this context, behind its earlier ones."""

    context: Context
    speak: Speak


@dataclass(frozen=True, slots=True)
class FinishContext:
    """When all before it in this context is voiced, send its final frame."""

    context: Context


ContextOrder: TypeAlias = SpeakIn | FinishContext


@dataclass(slots=True)
class _Open:
    context: Context
    intake: Intake
    heard_at_s: float
    is_new: bool = field(default=True)


class Contexts:
    """The state of one socket.  Times are seconds of any clock that only grows."""

    def __init__(self, inactivity_s: float, *, auto_mode: bool = False) -> None:
        self._inactivity_s = inactivity_s
        self._auto_mode = auto_mode
        self._open: dict[str, _Open] = {}
        self._closing: set[int] = set()
        self._serial = 0
        self._inherited: VoiceSettings | None = None
        self.is_opened = False
        self.is_finished = False
        self.credentials: list[str] = []

    @property
    def n_occupied(self) -> int:
        """Contexts that are open or closing."""
        return len(self._open) + len(self._closing)

    @property
    def is_spent(self) -> bool:
        """Whether the socket is to be closed: ``close_socket`` came and every final frame is sent."""
        return self.is_finished and not self.n_occupied

    @property
    def expires_at_s(self) -> float | None:
        """When the next open context will have heard nothing for too long."""
        return min((one.heard_at_s + self._inactivity_s for one in self._open.values()), default=None)

    def receive(self, message: str, at_s: float) -> list[ContextOrder]:
        """Take one text frame.

        Raises:
            ProtocolError: it is no message of the protocol, changes a context's voice settings or opens a
                sixth context.
        """
        if self.is_finished:
            return []
        fields = parse_message(message)
        is_first, self.is_opened = not self.is_opened, True
        if is_first:
            self.credentials = credentials_in(fields)
        if fields.get("close_socket") is True:
            self.is_finished = True
            return [order for one in [*self._open.values()] for order in self._finish(one, speak=True)]
        named = _context_id(fields)
        text = _text(fields)
        if named is None and text == "" and not _acts(fields) and DEFAULT_CONTEXT not in self._open:
            return []  # keeps the socket alive and opens nothing
        one = self._context(named or DEFAULT_CONTEXT, at_s)
        one.intake.configure(fields, opening=one.is_new)
        if is_first:
            self._inherited = one.intake.settings
        one.is_new = False
        return self._take(one, text, fields)

    def expire(self, at_s: float) -> list[ContextOrder]:
        """Close the contexts that have heard nothing for the inactivity timeout."""
        idle = [one for one in self._open.values() if at_s - one.heard_at_s >= self._inactivity_s]
        return [order for one in idle for order in self._finish(one, speak=False)]

    def finished(self, context: Context) -> None:
        """The context's final frame is sent: its place is free."""
        self._closing.discard(context.serial)
        mine = self._open.get(context.context_id)
        if mine is not None and mine.context == context:
            del self._open[context.context_id]

    def _context(self, context_id: str, at_s: float) -> _Open:
        one = self._open.get(context_id)
        if one is None:
            if self.n_occupied >= MAX_CONTEXTS:
                raise _too_many()
            self._serial += 1
            intake = Intake(auto_mode=self._auto_mode, inherited=self._inherited)
            one = self._open[context_id] = _Open(Context(self._serial, context_id), intake, at_s)
        one.heard_at_s = at_s
        return one

    def _take(self, one: _Open, text: str, fields: dict[str, Any]) -> list[ContextOrder]:
        flush, trigger = fields.get("flush") is True, fields.get("try_trigger_generation") is True
        orders = _in(one.context, one.intake.take(text, flush=flush, trigger=trigger))
        return [*orders, *self._finish(one, speak=False)] if fields.get("close_context") is True else orders

    def _finish(self, one: _Open, *, speak: bool) -> list[ContextOrder]:
        del self._open[one.context.context_id]
        self._closing.add(one.context.serial)
        # in auto mode nothing is ever left in the buffer
        return [*_in(one.context, one.intake.generate() if speak else []), FinishContext(one.context)]


def _in(context: Context, segments: Iterable[Speak]) -> list[ContextOrder]:
    return [SpeakIn(context, segment) for segment in segments]


def _acts(fields: dict[str, Any]) -> bool:
    return any(fields.get(name) is True for name in ("flush", "close_context"))


def _context_id(fields: dict[str, Any]) -> str | None:
    named = fields.get("context_id") or fields.get("contextId") or None
    if named is not None and not isinstance(named, str):
        raise unreadable()
    return named


def _text(fields: dict[str, Any]) -> str:
    text = fields.get("text")
    if text is None:
        return ""
    if not isinstance(text, str):
        raise unreadable()
    return text


def _too_many() -> ProtocolError:
    return ProtocolError(
        "max_active_conversations",
        f"Maximum simultaneous contexts per WebSocket connection exceeded ({MAX_CONTEXTS}). Please close an "
        "existing context before opening a new one.",
    )
