"""The log: structlog and the standard library through one handler on standard error.

The rules: the API key never stands in a line, texts never do, and a line that repeats is counted, not said.
Third parties' debug output is off for good: it holds headers and frames.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

import structlog
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from structlog.typing import EventDict, Processor, WrappedLogger

    from tts_streamd.config import LogSection, Secret

CHATTY: Final = ("httpcore", "httpx", "hypercorn", "trio-websocket", "wsproto", "h2", "hpack")
TEXT_FIELDS: Final = frozenset({"text", "texts", "before", "words", "message_text"})
REDACTED: Final = "<redacted>"
REPEATS: Final = 10
"""So many equal lines in one window are said; the rest is counted."""
WINDOW_S: Final = 10.0
_REMEMBERED: Final = 1024
_PRIORITY: Final = {"debug": "<7>", "info": "<6>", "warning": "<4>", "error": "<3>", "critical": "<2>"}


@contextmanager
def logging_to(
    section: LogSection,
    *,
    secret: Secret | None,
    environ: Mapping[str, str],
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[None]:
    """Log to ``stream`` (standard error) while the block runs; afterwards everything is as it was before.

    Format ``auto``: lines for journald under systemd, colours on a terminal, plain lines elsewhere.
    """
    target = stream or sys.stderr
    handler = logging.StreamHandler(target)
    handler.setFormatter(_RedactingFormatter(_renderers(section.format, target, environ), secret))
    handler.addFilter(RepeatFilter(clock))
    with _restored():
        _install(handler)
        set_level(section.level)
        yield


@contextmanager
def _restored() -> Generator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in CHATTY}
    before = structlog.get_config()
    configured = structlog.is_configured()
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        for name, its_level in levels.items():
            logging.getLogger(name).setLevel(its_level)
        structlog.reset_defaults()
        if configured:
            structlog.configure(**before)


def _install(handler: logging.Handler) -> None:
    logging.getLogger().handlers[:] = [handler]
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_enrichers(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # else a logger made now would outlive this configuration
    )


def set_level(name: str) -> None:
    """Say records from this level on; may be called at any time."""
    logging.getLogger().setLevel(name.upper())


def _enrichers() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.StackInfoRenderer(),
        _without_texts,
    ]


def _without_texts(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A text is somebody's: its length says enough."""
    for key in TEXT_FIELDS & event.keys():
        value: Any = event[key]
        event[key] = f"<{len(value)} characters>" if isinstance(value, str) else "<withheld>"
    return event


def _renderers(chosen: str, stream: TextIO, environ: Mapping[str, str]) -> list[Processor]:
    if chosen == "json":
        return [
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ]
    if chosen == "auto" and is_journal(stream, environ):
        return [_journal_renderer()]
    return [
        structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=False),
        _console(colors=stream.isatty()),
    ]


def _console(*, colors: bool, pad_event: int = 30) -> structlog.dev.ConsoleRenderer:
    """Plain tracebacks: the pretty ones print local variables, and those hold texts."""
    return structlog.dev.ConsoleRenderer(
        colors=colors, pad_event_to=pad_event, exception_formatter=structlog.dev.plain_traceback
    )


def _journal_renderer() -> Processor:
    """Lines without time (the journal has it), each with the priority prefix that journald reads."""
    render = _console(colors=False, pad_event=0)

    def lines(logger: WrappedLogger, method: str, event: EventDict) -> str:
        priority = _PRIORITY.get(str(event.pop("level", "info")), "<6>")
        return "\n".join(f"{priority}{line}" for line in str(render(logger, method, event)).splitlines())

    return lines


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether ``stream`` is the journal: systemd names its device and inode in ``JOURNAL_STREAM``."""
    try:
        facts = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{facts.st_dev}:{facts.st_ino}"


class _RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """Takes the API key out of the finished line, wherever it came from: the last defence."""

    def __init__(self, renderers: list[Processor], secret: Secret | None) -> None:
        super().__init__(
            foreign_pre_chain=_enrichers(),
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
        self._secret = secret

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        return line.replace(self._secret.reveal(), REDACTED) if self._secret else line


class RepeatFilter(logging.Filter):
    """Lets the first ``REPEATS`` records of one kind through in ``WINDOW_S``, and counts the rest.

    A kind is logger, level and event (the format string of foreign records).  The next record that passes
    says how many were ``suppressed``.  Remembers at most 1024 kinds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._seen: OrderedDict[tuple[str, int, str], _Repeats] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is said."""
        now = self._clock()
        repeats = self._of(record, now)
        if now - repeats.since >= WINDOW_S:
            _say_suppressed(record, repeats.count - REPEATS)
            repeats.since, repeats.count = now, 0
        repeats.count += 1
        return repeats.count <= REPEATS

    def _of(self, record: logging.LogRecord, now: float) -> _Repeats:
        kind = (record.name, record.levelno, str((_event_of(record) or {"event": record.msg}).get("event")))
        repeats = self._seen.setdefault(kind, _Repeats(now))
        self._seen.move_to_end(kind)
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return repeats


class _Repeats(Struct):
    since: float
    count: int = 0


def _say_suppressed(record: logging.LogRecord, n: int) -> None:
    if n <= 0:
        return
    event = _event_of(record)
    if event is None:
        record.msg = f"{record.msg} (suppressed {n})"
    else:
        record.__dict__["msg"] = {
            **event,
            "suppressed": n,
        }  # structlog hands its event dict over as the message


def _event_of(record: logging.LogRecord) -> dict[str, Any] | None:
    """Return structlog's event dict; nothing for a record of the standard library."""
    message: object = record.msg
    return cast("dict[str, Any]", message) if isinstance(message, dict) else None
