"""One stream of speech, the actors' messages, and what others publish, for programs that block."""

from __future__ import annotations

import time
from math import inf
from typing import TYPE_CHECKING, Self

from tts_streamd_client.errors import NoAnswerError
from tts_streamd_client.options import QUIET_S, ROOM_S, TIMEOUT_S
from tts_streamd_client.speech import Gathering, Speech
from tts_streamd_protocol import messages as m

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    import zmq

    from tts_streamd_client.blocking.line import Line
    from tts_streamd_client.book import Resumption, StreamBook
    from tts_streamd_client.events import End, Event, Published, Tapped
    from tts_streamd_client.observation import Observation


class Stream:
    """Iterate over it to hear it; leaving its ``with`` block cancels what is left of it."""

    def __init__(self, line: Line, book: StreamBook, opened: m.Opened) -> None:
        self.opened = opened
        self._line = line
        self._session = line.session
        self._book = book

    @property
    def sid(self) -> int:
        """Its number in the session; another one after a recovery."""
        return self._book.sid

    @property
    def end(self) -> End | None:
        """How it ended, once it has."""
        return self._book.end

    @property
    def sent_cp(self) -> int:
        """Code points given so far: sent, or kept until the daemon is back."""
        return self._book.text.known_cp

    @property
    def room_cp(self) -> int:
        """Code points that ``send`` takes now without waiting for the daemon."""
        return self._book.text.room_cp

    def resumption(self) -> Resumption:
        """What is left to say in a new stream, after ``SessionLostError`` (a recovery does this by itself)."""
        return self._book.resumption()

    # -- text ----------------------------------------------------------------------------------------------
    def send(self, text: str, *, flush: bool = False, timeout_s: float = ROOM_S) -> None:
        """Send more text, in any pieces; ``flush`` has it spoken without waiting for more.

        Text more than ``welcome.limits.text_window`` code points ahead of the daemon waits for room.  Events
        are taken in meanwhile and kept for whoever iterates; but the daemon makes room only as audio is
        consumed, so a program that has so much to say says it in parts, and iterates in between.

        Raises:
            NoAnswerError: the daemon made no room within ``timeout_s``.
            ClientError: the stream is over.
        """
        book = self._book
        while text or flush:
            self._line.until(lambda: book.over or book.text.room_cp, timeout_s=timeout_s, what="text")
            book.check_open()
            text = self._session.text(book, text, flush=flush)
            flush = flush and bool(text)
            self._line.flush()
        self._line.step()

    def say_all(self, text: str) -> None:
        """Say ``text``, however long, and no more; what has no room yet goes out while events are taken."""
        self._book.check_open()
        self._session.say_all(self._book, text)
        self._line.flush()

    def set_voice(self, voice: str, settings: m.VoiceSettings | None = None) -> None:
        """Text from here on in another voice; if it is refused, the old one stays.

        Raises:
            RequestRefusedError: ``voice_not_found``, or ``unknown_op`` where ``welcome.features`` lacks
            ``voice``.
        """
        self._book.check_open()
        self._line.until(self._all_sent, timeout_s=ROOM_S, what="text")
        self._line.request(
            lambda rid: m.Voice(rid=rid, sid=self.sid, voice=voice, settings=settings), m.Ok, "voice"
        )
        self._book.text.voice_changed(voice, settings)

    def _all_sent(self) -> bool:
        """Whether a change of voice may be asked for: it must not overtake text."""
        return self._book.over or (self._session.live and self._book.text.all_sent)

    def close_text(self) -> None:
        """No more text: the rest is spoken, then the stream ends.  Twice is fine."""
        self._session.close_text(self._book)
        self._line.flush()

    # -- speech --------------------------------------------------------------------------------------------
    def next_event(self, timeout_s: float = inf) -> Event | None:
        """The next event; None if there was none within ``timeout_s``, or the end has been heard.

        Without a timeout the wait still ends when the daemon has been silent for three heartbeats.

        Raises:
            StreamFailedError: the stream ended ``failed``.
            SessionLostError: the daemon is gone, and did not come back in time.
        """
        limit_s = time.monotonic() + timeout_s
        while (event := self._session.next_event(self._book)) is None:
            left_s = limit_s - time.monotonic()
            if self._book.end is not None or left_s < 0:
                return None
            self._line.step(left_s)
        return event

    def __iter__(self) -> Iterator[Event]:
        """All events to the end (``End`` is the last); raises what ``next_event`` does."""
        while (event := self.next_event()) is not None:
            yield event

    def collect(self) -> Speech:
        """Hear the stream to its end."""
        gathering = Gathering(self.opened.rate_hz)
        for event in self:
            if (speech := gathering.add(event)) is not None:
                return speech
        raise ValueError("the stream has been heard to its end already")

    def cancel(self, *, at: int | None = None, timeout_s: float = TIMEOUT_S) -> End:
        """Stop at once, and say how far it got.

        ``at``: samples that were really played, where those are fewer than were delivered.
        """
        self._session.cancel(self._book, at=at)
        self._line.until(lambda: self._book.over, timeout_s=timeout_s, what="cancel")
        return self._book.ending()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.cancel(self._book)
        self._line.flush_nowait()


class Tap:
    """The actors' own messages, one after the other."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def next_message(self, timeout_s: float = inf) -> Tapped | None:
        """The next message; None if there was none within ``timeout_s``.

        Raises:
            ClientError: the daemon is gone.
        """
        tapped = self._line.session.tapped
        limit_s = time.monotonic() + timeout_s
        while not tapped:
            if (left_s := limit_s - time.monotonic()) < 0:
                return None
            self._line.step_or_probe(left_s)
        return tapped.popleft()

    def __iter__(self) -> Iterator[Tapped]:
        """All messages from now on."""
        while (message := self.next_message()) is not None:
            yield message


class Observer:
    """What streams publish; lossy for those who read slowly (``at`` and ``seq`` tell)."""

    def __init__(self, socket: zmq.Socket[bytes], observation: Observation) -> None:
        self._socket = socket
        self._observation = observation

    def settle(self, timeout_s: float) -> None:
        """Wait until every subscription stands; ``listen`` does this."""
        limit_s = time.monotonic() + timeout_s
        while self._observation.pending:
            if not self._socket.poll(max(0, int(1000 * (limit_s - time.monotonic())))):
                raise NoAnswerError(f"the subscriptions were not confirmed within {timeout_s:g} s")
            self._take()

    def next_message(self, timeout_s: float = inf) -> Published | None:
        """The next message; None if there was none within ``timeout_s``.

        Raises:
            SessionLostError: not even ticks were published for ``QUIET_S``.
        """
        limit_s = time.monotonic() + timeout_s
        while (message := self._observation.next_message()) is None:
            left_s = max(0.0, min(QUIET_S, limit_s - time.monotonic()))
            if self._socket.poll(int(1000 * left_s)):
                self._take()
            elif left_s == QUIET_S:
                raise self._observation.silence()
            elif time.monotonic() >= limit_s:
                return None
        return message

    def __iter__(self) -> Iterator[Published]:
        """All messages from now on."""
        while (message := self.next_message()) is not None:
            yield message

    def _take(self) -> None:
        self._observation.receive(self._socket.recv_multipart())
