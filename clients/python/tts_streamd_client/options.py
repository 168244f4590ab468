"""What a program may say about a stream when it opens one, and the bounds it gets if it says nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from tts_streamd_protocol.messages import ExplicitSchedule, NamedSchedule, Pace, Priority, VoiceSettings

BUFFER_MS = 30_000
"""Audio that a stream may hold unconsumed: the daemon's credit, so that a slow consumer costs no memory."""

TIMEOUT_S = 10.0
"""How long a request may take; for most of them the daemon asks nobody else."""

RESUME_WITHIN_S = 30.0
"""How long a daemon that went away is looked for, and its streams wait; 0: not at all."""

QUIET_S = 5.0
"""How long whoever only listens (tap, observer) hears nothing before it makes sure that the daemon lives."""

ROOM_S = 60.0
"""How long text may wait for room in the daemon's window."""


class Options(TypedDict, total=False):
    """Keyword arguments of ``open`` and ``speak``; what is absent is the daemon's choice.

    ``voice``: an id or a name that ``voices()`` lists.  ``format``: one of ``welcome.formats``, if not
    ``pcm_24000``.  ``schedule``: when text is cut into pieces.  ``pace``: ``realtime`` buys audio as it is
    needed, ``eager`` at once.  ``play``: the daemon plays it; ``deliver``: it is sent here.  ``start_cp`` and
    ``before``: see ``Resumption``.
    """

    voice: str | None
    model: str | None
    language: str | None
    settings: VoiceSettings | None
    upstream: dict[str, Any] | None
    format: str
    schedule: NamedSchedule | ExplicitSchedule | None
    pace: Pace
    priority: Priority
    play: bool
    deliver: bool
    cache: bool
    label: str | None
    share: bool | None
    private: bool
    start_cp: int
    before: str | None
