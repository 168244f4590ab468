"""Topics of the events socket: bytes that subscriptions are matched against by prefix (contract section 7).

Rule: every topic ends in ``/``, so that ``audio/-/1-7/`` does not also match stream 70.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from tts_streamd_protocol.messages import AnyReport, Audio, End, State, Words

ReportKind: TypeAlias = Literal["audio", "words", "state", "heard", "end"]
Kind: TypeAlias = Literal["audio", "words", "state", "heard", "end", "metrics", "tick"]

NO_LABEL: Final = "-"
METRICS: Final = b"metrics/"
TICK: Final = b"tick/"
MAX_SUBSCRIPTION_BYTES: Final = 200

_LABEL: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_REPORT: Final = re.compile(
    rb"(audio|words|state|heard|end)/([A-Za-z0-9._-]{1,64})/(0|[1-9][0-9]{0,9})-(0|[1-9][0-9]{0,9})/"
)


class TopicError(ValueError):
    """No topic of this protocol."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic taken apart; ``metrics/`` and ``tick/`` have neither label nor stream."""

    kind: Kind
    label: str | None = None
    session: int | None = None
    sid: int | None = None


def report_topic(kind: ReportKind, *, session: int, sid: int, label: str | None = None) -> bytes:
    """``audio/LABEL/SESSION-SID/``; a stream without a label has ``-``.

    Raises:
        TopicError: the label would not be one path element.
    """
    label = NO_LABEL if label is None else label
    if not _LABEL.fullmatch(label):
        raise TopicError(f"a label is 1..64 of A-Z a-z 0-9 . _ -, not {label[:64]!r}")
    return f"{kind}/{label}/{session}-{sid}/".encode()


def topic_of(report: AnyReport, label: str | None = None) -> bytes:
    """The topic under which a stream's own message is published.

    Raises:
        TopicError: as ``report_topic``.
    """
    return report_topic(_kind(report), session=report.session, sid=report.sid, label=label)


def parse_topic(topic: bytes) -> Topic:
    """A whole topic, as it stands before each message.

    Raises:
        TopicError: it is none of ours.
    """
    if topic == METRICS:
        return Topic("metrics")
    if topic == TICK:
        return Topic("tick")
    found = _REPORT.fullmatch(topic)
    if found is None:
        raise TopicError(f"no topic: {topic[:MAX_SUBSCRIPTION_BYTES]!r}")
    kind, label, session, sid = (part.decode() for part in found.groups())
    return Topic(_KINDS[kind], label, int(session), int(sid))


def is_valid_subscription(prefix: bytes) -> bool:
    """Whether the daemon answers this subscription: printable UTF-8 of at most 200 bytes.

    Any prefix will do, the empty one included; one that does not end in ``/`` matches more than it seems to.
    """
    if len(prefix) > MAX_SUBSCRIPTION_BYTES:
        return False
    try:
        return prefix.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _kind(report: AnyReport) -> ReportKind:
    match report:
        case Audio():
            return "audio"
        case Words():
            return "words"
        case State():
            return "state"
        case End():
            return "end"


_KINDS: Final[dict[str, ReportKind]] = {
    "audio": "audio",
    "words": "words",
    "state": "state",
    "heard": "heard",
    "end": "end",
}
