"""One ``multi-stream-input`` socket as a machine without I/O: up to five contexts, each one route of a stream.

Calls that speak return the frames to send; what upstream does returns events by context.  Rules: an id is
used once and never named before its first message or after its ``close_context`` (upstream would open it
anew); per context at most one terminal event (``FinalEvent`` or ``FaultEvent``) and nothing after it; what
breaks the socket breaks every context on it.  A call out of turn is our bug: ``LocalProtocolError``.

    OPEN --finish--> HELD --audio, or too long--> CLOSING --final--> ENDED
      any of them: drop --> CLOSING, unheard; a fault --> ENDED; CLOSING without an answer --> LOST

A closing context keeps its slot upstream until its final; a lost one too, which will hardly come.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tts_streamd_protocol.elevenlabs.contexts import Context, ContextInput, ContextState
from tts_streamd_protocol.elevenlabs.faults import (
    MAX_WORDS,
    UpstreamFault,
    classify_close,
    classify_frame,
    redact,
)
from tts_streamd_protocol.elevenlabs.frames import Frame, FrameError, decode_frame, init_message
from tts_streamd_protocol.elevenlabs.session import (
    AudioEvent,
    Event,
    FaultEvent,
    LocalProtocolError,
)
from tts_streamd_protocol.units import has_voiced

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tts_streamd_protocol.messages import VoiceSettings

MAX_CONTEXTS: Final = 5
"""Open or closing at once; a sixth costs the whole socket [their documents; close 1008]."""

CLOSE_WAIT_S: Final = 10.0
"""``close_context`` waits for audio no longer: longer than any wait of ``keepalive``, which decides before."""

FINAL_WAIT_S: Final = 10.0
"""A closing context that brings nothing for so long is given up; its slot is not used again."""

CLOSE_SOCKET: Final = '{"close_socket":true}'


@dataclass(frozen=True, slots=True)
class ContextEvent:
    """What came for one context."""

    context_id: str
    event: Event


@dataclass(frozen=True, slots=True)
class Output:
    """Text frames to send, in order, and what is to be told."""

    frames: tuple[str, ...] = ()
    events: tuple[ContextEvent, ...] = ()


_NOTHING: Final = Output()


class MultiStreamInput:
    """The client's end of one socket.  It needs no message before its first context; useless once ``is_over``.

    ``late``: frames dropped because their context had ended, or nobody listens any more; ``unnamed``: frames
    with audio or an end that named no context.
    """

    def __init__(
        self,
        *,
        voice_settings: VoiceSettings | None = None,
        generation_config: Sequence[int] | None = None,
        extra: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> None:
        """All contexts share the settings, as changing them on one socket is unsafe.

        *extra*: more fields of each first message; *key* is only kept out of the words of faults.
        """
        self._init = (voice_settings, generation_config, dict(extra or {}))
        self._key = key
        self._live: dict[str, Context] = {}
        self._issued = 0
        self._closing = False
        self._over = False
        self._fault: UpstreamFault | None = None
        self.late = 0
        self.unnamed = 0

    @property
    def is_over(self) -> bool:
        """Whether the socket is done for; every context has had its terminal event."""
        return self._over

    @property
    def fault(self) -> UpstreamFault | None:
        """Why, if it did not end well; also told when it had no context to tell it to."""
        return self._fault

    @property
    def n_free(self) -> int:
        """How many contexts may still be opened now."""
        return 0 if self._over or self._closing else MAX_CONTEXTS - len(self._live)

    @property
    def n_listened(self) -> int:
        """Contexts that somebody waits for."""
        return sum(context.listened for context in self._live.values())

    def state(self, context_id: str) -> ContextState:
        """Where a context is; ENDED for every id that is not alive."""
        context = self._live.get(context_id)
        return ContextState.ENDED if context is None else context.state

    # -- ours ----------------------------------------------------------------------------------------------
    def open(self) -> tuple[str, str]:
        """A new context: its id, and its first message, the only one with voice settings.

        Raises:
            LocalProtocolError: ``n_free`` is 0.
        """
        if not self.n_free:
            raise LocalProtocolError("no context is free on this socket")
        self._issued += 1
        context = Context(f"c{self._issued}")
        self._live[context.id] = context
        settings, schedule, extra = self._init
        return context.id, init_message(settings, schedule, {**extra, "context_id": context.id})

    def speak(self, context_id: str, text: str, *, flush: bool = True) -> str:
        """Text, verbatim; with *flush* it is spoken now, else when upstream likes, or at ``finish``.

        Raises:
            LocalProtocolError: the context is not open, or *text* is empty, which would keep alive only.
        """
        if not text:
            raise LocalProtocolError("empty text says nothing: call keep_alive or finish")
        context = self._named(context_id)
        context.step(ContextInput.SPEAK)
        voiced = has_voiced(text)
        context.texted = True
        context.spoke = context.spoke or voiced
        context.owed = context.owed or voiced
        context.unflushed = not flush
        return context.message(text=text, **({"flush": True} if flush else {}))

    def finish(self, context_id: str, now: float) -> Output:
        """The end of text.  ``close_context`` waits until what was last said has brought audio.

        Upstream has a race: closed right behind a flush, 2.5 % of contexts at peak hours end without sound.
        """
        context = self._named(context_id)
        if context.owed:
            context.step(ContextInput.HOLD)
            context.deadline = now + CLOSE_WAIT_S
            closing: tuple[str, ...] = ()
        else:
            closing = (self._close(context, now),)
        flush = (context.message(flush=True),) if context.unflushed else ()
        return Output((*flush, *closing))

    def drop(self, context_id: str, now: float) -> Output:
        """Nobody listens any more: close it; what still comes is late.  Nothing if it has ended meanwhile."""
        context = self._live.get(context_id)
        if context is None:
            return _NOTHING
        context.listened = False
        if not context.nameable:
            return _NOTHING
        return Output((self._close(context, now),))

    def keep_alive(self, context_id: str) -> str | None:
        """What resets the context's timer; None if it is closing or has ended, and must not be named."""
        context = self._live.get(context_id)
        if context is None or not context.nameable:
            return None
        return context.message(text="")

    def close_socket(self) -> str:
        """The end of the socket, once every context is closing or has ended.

        Raises:
            LocalProtocolError: a context is still to be finished or dropped, or the socket is closed.
        """
        if self._over or self._closing or any(each.nameable for each in self._live.values()):
            raise LocalProtocolError("close_socket with a context not closed, or twice")
        self._closing = True
        return CLOSE_SOCKET

    # -- time ----------------------------------------------------------------------------------------------
    def next_deadline(self) -> float | None:
        """When ``on_time`` has to be called at the latest; None: no need."""
        return min((each.deadline for each in self._live.values() if each.deadline is not None), default=None)

    def on_time(self, now: float) -> Output:
        """Close what waited for audio too long; give up what does not end."""
        frames: list[str] = []
        events: list[ContextEvent] = []
        for context in self._live.values():
            if context.deadline is None or context.deadline > now:
                continue
            if context.state is ContextState.HELD:
                frames.append(self._close(context, now))
            else:
                events += self._lose(context)
        return Output(tuple(frames), tuple(events))

    # -- upstream's ----------------------------------------------------------------------------------------
    def receive(self, frame: str | bytes, now: float) -> Output:
        """One text frame from upstream."""
        if self._over:
            return _NOTHING
        try:
            decoded = decode_frame(frame)
        except FrameError as error:
            return self._fail(_strange(redact(str(error), self._key)))
        if decoded.error is not None:
            return self._fail(classify_frame(decoded.error, key=self._key))
        context = self._live.get(decoded.context_id or "")
        if context is None:
            self._ignore(decoded)
            return _NOTHING
        return self._take(context, decoded, now)

    def closed(self, code: int, reason: str = "") -> Output:
        """The socket is gone (1006: without a word): a fault, unless we asked and nobody waits any more."""
        if self._over:
            return _NOTHING
        if self._closing and not self.n_listened:
            self._over = True
            self._live.clear()
            return _NOTHING
        return self._fail(classify_close(code, reason, key=self._key))

    # -- inside --------------------------------------------------------------------------------------------
    def _named(self, context_id: str) -> Context:
        context = self._live.get(context_id)
        if context is None:
            raise LocalProtocolError(f"context {context_id} is not alive")
        return context

    def _close(self, context: Context, now: float) -> str:
        context.step(ContextInput.CLOSE)
        context.deadline = now + FINAL_WAIT_S
        return context.message(close_context=True)

    def _ignore(self, frame: Frame) -> None:
        if frame.context_id is not None:
            self.late += 1
        elif frame.is_final or _sounds(frame):
            self.unnamed += 1

    def _take(self, context: Context, frame: Frame, now: float) -> Output:
        if context.state is ContextState.CLOSING:
            context.deadline = now + FINAL_WAIT_S
        frames: tuple[str, ...] = ()
        events: list[Event] = []
        if _sounds(frame):
            events.append(AudioEvent(frame.pcm or b"", frame.alignment, frame.normalized))
            context.step(ContextInput.AUDIO)
            if frame.pcm is not None:
                frames = self._heard(context, now) if not frame.is_final else ()
                context.heard = True
        if frame.is_final:
            events.append(context.end())
            del self._live[context.id]
        if not context.listened:
            self.late += bool(events)
            return Output(frames)
        return Output(frames, tuple(ContextEvent(context.id, event) for event in events))

    def _heard(self, context: Context, now: float) -> tuple[str, ...]:
        context.owed = False
        return (self._close(context, now),) if context.state is ContextState.HELD else ()

    def _lose(self, context: Context) -> tuple[ContextEvent, ...]:
        context.step(ContextInput.LOSE)
        context.deadline = None
        told, context.listened = context.listened, False
        words = f"a closing context brought nothing for {FINAL_WAIT_S:g} s"
        fault = UpstreamFault("timeout", words, retryable=True)
        return (ContextEvent(context.id, FaultEvent(fault)),) if told else ()

    def _fail(self, fault: UpstreamFault) -> Output:
        self._fault, self._over = fault, True
        told = [context for context in self._live.values() if context.listened]
        for context in self._live.values():
            context.step(ContextInput.FAULT)
        self._live.clear()
        return Output(events=tuple(ContextEvent(context.id, FaultEvent(fault)) for context in told))


def _sounds(frame: Frame) -> bool:
    return frame.pcm is not None or frame.alignment is not None or frame.normalized is not None


def _strange(words: str) -> UpstreamFault:
    return UpstreamFault("upstream_protocol", words[:MAX_WORDS], retryable=True)


def multi_path(single: str) -> str:
    """Of a path of ``session.url_path``, the same on this endpoint: parameters and meanings are equal."""
    return single.replace("/stream-input?", "/multi-stream-input?", 1)
