"""What can go wrong for a client, and what to do about each.

::

    ClientError
    ├── DaemonUnreachableError   nobody answered ``hello``: start the daemon
    ├── SessionLostError         it answered once, and did not come back in time: connect again, resume
    ├── NoAnswerError            one request was not answered in time (also a TimeoutError)
    ├── RequestRefusedError      the daemon said no, and why
    ├── StreamFailedError        a stream ended ``failed``
    └── DaemonProtocolError      the daemon broke the wire contract: a bug, please report it
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tts_streamd_protocol.messages import End, Error


class ClientError(Exception):
    """Anything that this package reports."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One place where the daemon was looked for, and why it was not found there."""

    runtime_dir: Path
    reason: str


class DaemonUnreachableError(ClientError):
    """No daemon answered in any of the places where one may be; ``attempts`` are those places."""

    def __init__(self, attempts: tuple[Attempt, ...]) -> None:
        tried = "; ".join(f"{attempt.runtime_dir}: {attempt.reason}" for attempt in attempts)
        super().__init__(
            f"no tts-streamd is running here ({tried}). "
            "Start one: `tts-streamd`, or `systemctl start tts-streamd`"
        )
        self.attempts = attempts


class SessionLostError(ClientError):
    """The daemon is gone, and did not come back within the client's ``resume_within_s``: its streams are over.

    Connect again and say what is missing: each stream's ``resumption()`` holds where to go on.
    """


class RequestLostError(ClientError):
    """Internal to this package: the session was lost before the answer, and the request is made again."""


class NoAnswerError(ClientError, TimeoutError):
    """The daemon lives but did not answer in time."""


class RequestRefusedError(ClientError):
    """The daemon refused a request.  ``code`` is stable; ``message`` says what to do."""

    def __init__(
        self, code: str, message: str, *, retryable: bool = False, retry_ms: int | None = None
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retryable = retryable
        self.retry_ms = retry_ms

    @classmethod
    def of(cls, error: Error) -> RequestRefusedError:
        """The exception for the daemon's ``error`` message."""
        return cls(error.code, error.message, retryable=error.retryable, retry_ms=error.retry_ms)


class StreamFailedError(ClientError):
    """A stream ended ``failed``.  ``end`` tells what was spoken before; ``code`` and ``message`` say why."""

    def __init__(self, end: End) -> None:
        cause = end.error
        self.code: str = "internal" if cause is None else cause.code
        self.message = "the daemon gave no reason" if cause is None else cause.message
        self.retryable = cause is not None and cause.retryable
        self.end = end
        super().__init__(f"{self.code}: {self.message}")


class DaemonProtocolError(ClientError):
    """The daemon broke the wire contract; the stream concerned cannot be trusted and was cancelled."""
