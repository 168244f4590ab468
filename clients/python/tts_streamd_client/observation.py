"""Listening to the events socket without I/O: which topics, which subscriptions stand, what was published."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from tts_streamd_client.errors import SessionLostError
from tts_streamd_client.events import Published
from tts_streamd_client.options import QUIET_S
from tts_streamd_protocol import codec
from tts_streamd_protocol import messages as m

if TYPE_CHECKING:
    from collections.abc import Sequence

TICK = b"tick/"
"""Published each second."""

MAX_TOPIC_BYTES = 200
"""The longest subscription that the daemon takes."""


class Observation:
    """Subscriptions to ``topics`` and what comes in on them.  Complete once ``pending`` is empty."""

    def __init__(self, topics: Sequence[str]) -> None:
        for topic in topics:
            if not topic.endswith("/") or len(topic.encode()) > MAX_TOPIC_BYTES:
                raise ValueError(f"a topic ends in '/' and has at most {MAX_TOPIC_BYTES} bytes: {topic!r}")
        wanted = tuple(topic.encode() for topic in topics)
        self.topics = tuple(
            {*wanted, TICK}
        )  # the daemon's pulse: who hears nothing at all knows that it is gone
        self.pending = set(self.topics)
        self._hides_ticks = TICK not in wanted
        self._waiting: deque[Published] = deque()

    def receive(self, frames: Sequence[bytes]) -> None:
        """Take one message: the answer to a subscription, or something published; unknown kinds go."""
        topic, head, *payload = frames
        message = codec.decode_reply(head)
        if isinstance(message, m.Subscribed):
            self.pending.discard(topic)
        elif message is not None and not (self._hides_ticks and topic == TICK):
            self._waiting.append(Published(topic.decode(), message, payload[0] if payload else b""))

    @staticmethod
    def silence() -> SessionLostError:
        """What to raise when not even ticks arrive."""
        return SessionLostError(f"nothing was published for {QUIET_S:g} s: the daemon is gone; connect again")

    def next_message(self) -> Published | None:
        """What was published next; None if there is nothing yet."""
        return self._waiting.popleft() if self._waiting else None
