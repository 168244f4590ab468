"""Finding the daemon, and what can be asked of it."""

from __future__ import annotations

import os
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import trio
import zmq

from tts_streamd_client import sockets
from tts_streamd_client.discovery import Candidate, candidates
from tts_streamd_client.errors import Attempt, DaemonUnreachableError, NoAnswerError, RequestLostError
from tts_streamd_client.observation import Observation
from tts_streamd_client.options import BUFFER_MS, RESUME_WITHIN_S, TIMEOUT_S, Options
from tts_streamd_client.session import Session, Statistics
from tts_streamd_client.trio.line import Line
from tts_streamd_client.trio.stream import Observer, Stream, Tap
from tts_streamd_protocol import messages as m
from tts_streamd_sockets.trio_zmq import TrioSocket

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from tts_streamd_client.book import StreamBook


@asynccontextmanager
async def open_client(
    runtime_dir: Path | str | None = None,
    *,
    name: str = "python-trio",
    timeout_s: float = TIMEOUT_S,
    resume_within_s: float = RESUME_WITHIN_S,
) -> AsyncGenerator[Client]:
    """Find the daemon and begin a session; at the end its open streams are cancelled.

    If the daemon goes away it is looked for in the same place for ``resume_within_s`` seconds, and everything goes
    on where it was: streams are heard without a gap or a repetition, text given meanwhile is kept, requests wait.
    With 0, or after that time, ``SessionLostError`` is raised.

    Raises:
        DaemonUnreachableError: nobody answered.
        RequestRefusedError: the daemon speaks another version, or takes no more clients.
    """
    context: sockets.Context = zmq.Context()
    try:
        with ExitStack() as undo:
            line = await _find(context, runtime_dir, Session(name, resume_within_s), timeout_s)
            undo.callback(line.close)
            yield Client(line, context)
    finally:
        with trio.CancelScope(shield=True):  # bounded: the sockets are closed and linger LINGER_MS at most
            await trio.to_thread.run_sync(context.term)


async def _find(
    context: sockets.Context, runtime_dir: Path | str | None, session: Session, timeout_s: float
) -> Line:
    attempts: list[Attempt] = []
    for candidate in candidates(None if runtime_dir is None else Path(runtime_dir), os.environ):
        if (
            candidate.patience_s
            and (line := await _hello(context, candidate, session, timeout_s)) is not None
        ):
            return line
        attempts.append(candidate.attempt())
    raise DaemonUnreachableError(tuple(attempts))


async def _hello(
    context: sockets.Context, candidate: Candidate, session: Session, timeout_s: float
) -> Line | None:
    line = Line(lambda: TrioSocket(sockets.control(context, candidate.endpoint)), session, timeout_s)
    with ExitStack() as undo:
        undo.callback(line.close, linger_ms=0)
        rid = line.session.new_rid()
        try:
            await line.answer(rid, line.session.hello(rid), m.Welcome, "hello", candidate.patience_s)
        except NoAnswerError:
            return None
        undo.pop_all()
    return line


class Client:
    """A session with the daemon; ``open_client`` makes one."""

    def __init__(self, line: Line, context: sockets.Context) -> None:
        self._line = line
        self._session = line.session
        self._context = context

    @property
    def welcome(self) -> m.Welcome:
        """What the daemon said of itself: limits, formats, features, upstream."""
        assert self._session.welcome is not None
        return self._session.welcome

    @property
    def goodbye(self) -> m.Goodbye | None:
        """That the daemon is about to stop, once it has said so."""
        return self._session.goodbye

    def statistics(self) -> Statistics:
        """A frozen snapshot of what was received and what was ignored."""
        return self._session.statistics()

    # -- streams -------------------------------------------------------------------------------------------
    async def open(self, *, buffer_ms: int = BUFFER_MS, **options: Unpack[Options]) -> Stream:
        """Open a stream whose text follows.  Cancelled, it has opened nothing that lasts.

        Raises:
            RequestRefusedError: nothing was opened; ``code`` says why: ``voice_not_found``, ``bad_value``, …
        """
        return await self._begin(
            lambda rid: self._session.open(rid, buffer_ms=buffer_ms, now_s=trio.current_time(), **options),
            what="open",
        )

    async def speak(self, text: str, *, buffer_ms: int = BUFFER_MS, **options: Unpack[Options]) -> Stream:
        """Say ``text``, however long: open, send and close in one; raises what ``open`` does."""
        if len(text) > self._session.max_text_cp:
            stream = await self.open(buffer_ms=buffer_ms, **options)
            await stream.say_all(text)
            return stream
        return await self._begin(
            lambda rid: self._session.speak(
                rid, text, buffer_ms=buffer_ms, now_s=trio.current_time(), **options
            ),
            what="speak",
        )

    async def _begin(self, make: Callable[[int], tuple[StreamBook, bytes]], *, what: str) -> Stream:
        """Open a stream; if the session is lost over it, open it in the next one."""
        while True:
            await self._line.await_session()
            book, frame = make(self._session.new_rid())
            with suppress(RequestLostError):
                return await self._opened(book, frame, what=what)

    async def _opened(self, book: StreamBook, frame: bytes, *, what: str) -> Stream:
        try:
            opened = await self._line.answer(book.rid, frame, m.Opened, what, self._line.timeout_s)
        finally:
            if book.opened is None:
                self._session.abandon(book)
                self._line.flush_nowait()
        return Stream(self._line, book, opened)

    async def cancel_all(self, *, everyone: bool = False) -> None:
        """Cancel this session's streams; ``everyone``: those of all sessions that this user may stop."""
        scope: m.Scope = "all" if everyone else "mine"
        await self._line.request(lambda rid: m.Cancel(rid=rid, scope=scope), m.Ok, "cancel")

    async def cancel_stream(self, session: int, sid: int) -> None:
        """Cancel one stream of any session of this user (``streams`` lists them); one that has ended is fine."""
        await self._line.request(lambda rid: m.Cancel(rid=rid, session=session, sid=sid), m.Ok, "cancel")

    # -- about the daemon ----------------------------------------------------------------------------------
    async def voices(self) -> m.VoicesReply:
        """The voices that ``open`` takes, and which is the default."""
        return await self._line.request(lambda rid: m.Voices(rid=rid), m.VoicesReply, "voices")

    async def status(self) -> m.StatusReply:
        """How the daemon is: actors, restarts, mailboxes, upstream."""
        return await self._line.request(lambda rid: m.Status(rid=rid), m.StatusReply, "status")

    async def streams(self) -> list[m.StreamInfo]:
        """The streams that are open, of every session that may be seen."""
        return (await self._line.request(lambda rid: m.Streams(rid=rid), m.StreamsReply, "streams")).streams

    async def ping(self) -> None:
        """Return when the daemon has answered."""
        await self._line.request(lambda rid: m.Ping(rid=rid), m.Pong, "ping")

    @asynccontextmanager
    async def tap(self, actor: str | None = None) -> AsyncGenerator[Tap]:
        """Watch the messages between the daemon's actors: all, or those of actors named ``actor``….

        Raises:
            RequestRefusedError: ``denied``: only the daemon's own user and root may.
        """
        self._session.tapped.clear()
        await self._line.request(lambda rid: self._session.watch(actor, rid), m.Tapped, "tap")
        try:
            yield Tap(self._line)
        finally:
            self._session.stop_tapping()
            self._line.flush_nowait()

    @asynccontextmanager
    async def listen(self, *topics: str) -> AsyncGenerator[Observer]:
        """Observe what is published on ``topics`` (each ends in ``/``); from here on nothing is missed.

        Raises:
            NoAnswerError: the subscriptions were not confirmed in time.
        """
        observation = Observation(topics)
        socket = TrioSocket(sockets.events(self._context, self.welcome.events, observation.topics))
        try:
            observer = Observer(socket, observation)
            await observer.settle(self._line.timeout_s)
            yield observer
        finally:
            socket.close()
