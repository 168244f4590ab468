"""One stream of speech, the actors' messages, and what others publish, for Trio programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import trio

from tts_streamd_client.errors import NoAnswerError
from tts_streamd_client.options import QUIET_S, ROOM_S, TIMEOUT_S
from tts_streamd_client.speech import Gathering, Speech
from tts_streamd_protocol import messages as m

if TYPE_CHECKING:
    from types import TracebackType

    from tts_streamd_client.book import Resumption, StreamBook
    from tts_streamd_client.events import End, Event, Published, Tapped
    from tts_streamd_client.observation import Observation
    from tts_streamd_client.trio.line import Line
    from tts_streamd_sockets.trio_zmq import TrioSocket


class Stream:
    """Iterate over it to hear it; leaving its ``async with`` block cancels what is left of it.

    One task may send while another iterates; two that iterate share the events between them.
    """

    def __init__(self, line: Line, book: StreamBook, opened: m.Opened) -> None:
        self.opened = opened
        self._line = line
        self._session = line.session
        self._book = book
        self._sending = trio.Lock()  # texts of two tasks must not mix, and each has its position

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
    async def send(self, text: str, *, flush: bool = False, timeout_s: float = ROOM_S) -> None:
        """Send more text, in any pieces; ``flush`` has it spoken without waiting for more.

        Text more than ``welcome.limits.text_window`` code points ahead of the daemon waits for room, which
        the daemon makes as audio is consumed: send long texts in one task and iterate in another.  Cancelled,
        the first ``sent_cp`` code points of the stream have been sent.

        Raises:
            NoAnswerError: the daemon made no room within ``timeout_s``.
            ClientError: the stream is over.
        """
        book = self._book
        async with self._sending:
            while text or flush:
                await self._line.until(
                    lambda: book.over or book.text.room_cp, timeout_s=timeout_s, what="text"
                )
                book.check_open()
                text = self._session.text(book, text, flush=flush)
                flush = flush and bool(text)
                await self._line.flush()

    async def say_all(self, text: str) -> None:
        """Say ``text``, however long, and no more; what has no room yet goes out while events are taken."""
        async with self._sending:
            self._book.check_open()
            self._session.say_all(self._book, text)
            await self._line.flush()

    async def set_voice(self, voice: str, settings: m.VoiceSettings | None = None) -> None:
        """Text from here on in another voice; if it is refused, the old one stays.

        Raises:
            RequestRefusedError: ``voice_not_found``, or ``unknown_op`` if ``welcome.features`` has no
            ``voice``.
        """
        async with self._sending:
            self._book.check_open()
            await self._line.until(self._all_sent, timeout_s=ROOM_S, what="text")
            await self._line.request(
                lambda rid: m.Voice(rid=rid, sid=self.sid, voice=voice, settings=settings), m.Ok, "voice"
            )
            self._book.text.voice_changed(voice, settings)

    def _all_sent(self) -> bool:
        """Whether a change of voice may be asked for: it must not overtake text."""
        return self._book.over or (self._session.live and self._book.text.all_sent)

    async def aclose_text(self) -> None:
        """No more text: the rest is spoken, then the stream ends.  Twice is fine."""
        async with self._sending:
            self._session.close_text(self._book)
            await self._line.flush()

    # -- speech --------------------------------------------------------------------------------------------
    def __aiter__(self) -> Self:
        """All events to the end; ``End`` is the last."""
        return self

    async def __anext__(self) -> Event:
        """The next event; cancelled, it has taken none.

        The wait ends at the latest when the daemon has been silent for three heartbeats.

        Raises:
            StreamFailedError: the stream ended ``failed``.
            SessionLostError: the daemon is gone, and did not come back in time.
        """
        await trio.lowlevel.checkpoint()
        while (event := self._session.next_event(self._book)) is None:
            if self._book.end is not None:
                raise StopAsyncIteration
            await self._line.step()
        self._line.flush_nowait()
        return event

    async def collect(self) -> Speech:
        """Hear the stream to its end."""
        gathering = Gathering(self.opened.rate_hz)
        async for event in self:
            if (speech := gathering.add(event)) is not None:
                return speech
        raise ValueError("the stream has been heard to its end already")

    async def cancel(self, *, at: int | None = None, timeout_s: float = TIMEOUT_S) -> End:
        """Stop at once, and say how far it got.

        ``at``: samples that were really played, where those are fewer than were delivered.
        """
        self._session.cancel(self._book, at=at)
        self._line.flush_nowait()
        await self._line.until(lambda: self._book.over, timeout_s=timeout_s, what="cancel")
        return self._book.ending()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.cancel(self._book)
        self._line.flush_nowait()


class Tap:
    """The actors' own messages, one after the other."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def __aiter__(self) -> Self:
        """All messages from now on."""
        return self

    async def __anext__(self) -> Tapped:
        """The next message; cancelled, it has taken none.

        Raises:
            ClientError: the daemon is gone.
        """
        await trio.lowlevel.checkpoint()
        while not self._line.session.tapped:
            await self._line.step_or_probe()
        return self._line.session.tapped.popleft()


class Observer:
    """What streams publish; lossy for those who read slowly (``at`` and ``seq`` tell)."""

    def __init__(self, socket: TrioSocket, observation: Observation) -> None:
        self._socket = socket
        self._observation = observation

    async def settle(self, timeout_s: float) -> None:
        """Wait until every subscription stands; ``listen`` does this."""
        with trio.move_on_after(timeout_s):
            while self._observation.pending:
                self._observation.receive(await self._socket.recv())
            return
        raise NoAnswerError(f"the subscriptions were not confirmed within {timeout_s:g} s")

    def __aiter__(self) -> Self:
        """All messages from now on."""
        return self

    async def __anext__(self) -> Published:
        """The next message; cancelled, it has taken none.

        Raises:
            SessionLostError: not even ticks were published for ``QUIET_S``.
        """
        await trio.lowlevel.checkpoint()
        while (message := self._observation.next_message()) is None:
            with trio.move_on_after(QUIET_S) as quiet:
                self._observation.receive(await self._socket.recv())
            if quiet.cancelled_caught:
                raise self._observation.silence()
        return message
