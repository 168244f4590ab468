"""Finding the daemon, and what can be asked of it."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import zmq

from tts_streamd_client import sockets
from tts_streamd_client.blocking.line import Line
from tts_streamd_client.blocking.stream import Observer, Stream, Tap
from tts_streamd_client.discovery import Candidate, candidates
from tts_streamd_client.errors import Attempt, DaemonUnreachableError, NoAnswerError, RequestLostError
from tts_streamd_client.observation import Observation
from tts_streamd_client.options import BUFFER_MS, RESUME_WITHIN_S, TIMEOUT_S, Options
from tts_streamd_client.session import Session, Statistics
from tts_streamd_protocol import messages as m

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from tts_streamd_client.book import StreamBook


@contextmanager
def connect(
    runtime_dir: Path | str | None = None,
    *,
    name: str = "python",
    timeout_s: float = TIMEOUT_S,
    resume_within_s: float = RESUME_WITHIN_S,
) -> Generator[Client]:
    """Find the daemon and begin a session; at the end its open streams are cancelled.

    If the daemon goes away it is looked for in the same place for ``resume_within_s`` seconds, and everything goes
    on where it was: streams are heard without a gap or a repetition, text given meanwhile is kept, requests wait.
    With 0, or after that time, ``SessionLostError`` is raised.

    Raises:
        DaemonUnreachableError: nobody answered.
        RequestRefusedError: the daemon speaks another version, or takes no more clients.
    """
    context: sockets.Context = zmq.Context()
    with ExitStack() as undo:
        undo.callback(context.term)
        line = _find(context, runtime_dir, Session(name, resume_within_s), timeout_s)
        undo.callback(line.close)
        yield Client(line, context)


def _find(
    context: sockets.Context, runtime_dir: Path | str | None, session: Session, timeout_s: float
) -> Line:
    attempts: list[Attempt] = []
    for candidate in candidates(None if runtime_dir is None else Path(runtime_dir), os.environ):
        if candidate.patience_s and (line := _hello(context, candidate, session, timeout_s)) is not None:
            return line
        attempts.append(candidate.attempt())
    raise DaemonUnreachableError(tuple(attempts))


def _hello(context: sockets.Context, candidate: Candidate, session: Session, timeout_s: float) -> Line | None:
    line = Line(partial(sockets.control, context, candidate.endpoint), session, timeout_s)
    with ExitStack() as undo:
        undo.callback(line.close, linger_ms=0)
        rid = line.session.new_rid()
        line.send(line.session.hello(rid))
        try:
            line.answer(rid, m.Welcome, "hello", candidate.patience_s)
        except NoAnswerError:
            return None
        undo.pop_all()
    return line


class Client:
    """A session with the daemon; ``connect`` makes one."""

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

    def step(self, timeout_s: float = 0.0, *, fds: Sequence[int] = ()) -> set[int]:
        """Take in what has arrived; if there is nothing, wait for something at most ``timeout_s``.

        ``fds``: end the wait, too, when one of these can be read; those that can are returned.  So a program
        that reads text while it hears speech waits for both at once.

        Raises:
            SessionLostError: the daemon is gone, and did not come back in time.
        """
        return self._line.step(timeout_s, fds=fds)

    # -- streams -------------------------------------------------------------------------------------------
    def open(self, *, buffer_ms: int = BUFFER_MS, **options: Unpack[Options]) -> Stream:
        """Open a stream whose text follows.

        Raises:
            RequestRefusedError: nothing was opened; ``code`` says why: ``voice_not_found``, ``bad_value``, …
        """
        return self._begin(
            lambda rid: self._session.open(rid, buffer_ms=buffer_ms, now_s=time.monotonic(), **options),
            what="open",
        )

    def speak(self, text: str, *, buffer_ms: int = BUFFER_MS, **options: Unpack[Options]) -> Stream:
        """Say ``text``, however long: open, send and close in one; raises what ``open`` does."""
        if len(text) > self._session.max_text_cp:
            stream = self.open(buffer_ms=buffer_ms, **options)
            stream.say_all(text)
            return stream
        return self._begin(
            lambda rid: self._session.speak(
                rid, text, buffer_ms=buffer_ms, now_s=time.monotonic(), **options
            ),
            what="speak",
        )

    def _begin(self, make: Callable[[int], tuple[StreamBook, bytes]], *, what: str) -> Stream:
        """Open a stream; if the session is lost over it, open it in the next one."""
        while True:
            self._line.await_session()
            book, frame = make(self._session.new_rid())
            with suppress(RequestLostError):
                return self._opened(book, frame, what=what)

    def _opened(self, book: StreamBook, frame: bytes, *, what: str) -> Stream:
        try:
            self._line.send(frame)
            opened = self._line.answer(book.rid, m.Opened, what, self._line.timeout_s)
        finally:
            if book.opened is None:
                self._session.abandon(book)
        return Stream(self._line, book, opened)

    def cancel_all(self, *, everyone: bool = False) -> None:
        """Cancel this session's streams; ``everyone``: those of all sessions that this user may stop."""
        self._line.request(lambda rid: m.Cancel(rid=rid, scope="all" if everyone else "mine"), m.Ok, "cancel")

    def cancel_stream(self, session: int, sid: int) -> None:
        """Cancel one stream of any session of this user (``streams`` lists them); one that has ended is fine."""
        self._line.request(lambda rid: m.Cancel(rid=rid, session=session, sid=sid), m.Ok, "cancel")

    # -- about the daemon ----------------------------------------------------------------------------------
    def voices(self) -> m.VoicesReply:
        """The voices that ``open`` takes, and which is the default."""
        return self._line.request(lambda rid: m.Voices(rid=rid), m.VoicesReply, "voices")

    def status(self) -> m.StatusReply:
        """How the daemon is: actors, restarts, mailboxes, upstream."""
        return self._line.request(lambda rid: m.Status(rid=rid), m.StatusReply, "status")

    def streams(self) -> list[m.StreamInfo]:
        """The streams that are open, of every session that may be seen."""
        return self._line.request(lambda rid: m.Streams(rid=rid), m.StreamsReply, "streams").streams

    def ping(self) -> None:
        """Return when the daemon has answered."""
        self._line.request(lambda rid: m.Ping(rid=rid), m.Pong, "ping")

    @contextmanager
    def tap(self, actor: str | None = None) -> Generator[Tap]:
        """Watch the messages between the daemon's actors: all, or those of actors named ``actor``….

        Raises:
            RequestRefusedError: ``denied``: only the daemon's own user and root may.
        """
        self._session.tapped.clear()
        self._line.request(lambda rid: self._session.watch(actor, rid), m.Tapped, "tap")
        try:
            yield Tap(self._line)
        finally:
            self._session.stop_tapping()
            self._line.flush_nowait()

    @contextmanager
    def listen(self, *topics: str) -> Generator[Observer]:
        """Observe what is published on ``topics`` (each ends in ``/``); from here on nothing is missed.

        Raises:
            NoAnswerError: the subscriptions were not confirmed in time.
        """
        observation = Observation(topics)
        socket = sockets.events(self._context, self.welcome.events, observation.topics)
        try:
            observer = Observer(socket, observation)
            observer.settle(self._line.timeout_s)
            yield observer
        finally:
            socket.close()
