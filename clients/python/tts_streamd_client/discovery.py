"""Where the daemon may be: the candidates for its runtime directory, in order, and how long each deserves."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tts_streamd_client.errors import Attempt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HELLO_S = 1.0
"""A live daemon answers in a millisecond; a stale socket file swallows messages without an error."""

LAST_HELLO_S = 5.0
"""At the last candidate there is nothing else to try: it may be busy, or just being started by its socket."""

MAX_PATH_BYTES = 107
"""What a Unix socket's address holds on Linux."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One runtime directory, the time that ``hello`` deserves there, and why it cannot be answered now."""

    runtime_dir: Path
    patience_s: float
    reason: str | None

    @property
    def endpoint(self) -> str:
        """The address of the control socket."""
        return f"ipc://{self.runtime_dir / 'control'}"

    def attempt(self) -> Attempt:
        """Why it was in vain, once it was."""
        return Attempt(self.runtime_dir, self.reason or f"no answer within {self.patience_s:g} s")


def runtime_dirs(explicit: Path | None, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The candidates in order: the one asked for, else the environment's, the user's and the system's."""
    if explicit is not None:
        return (explicit.absolute(),)
    if chosen := environ.get("TTS_STREAMD_RUNTIME_DIR"):
        return (Path(chosen).absolute(),)
    session = environ.get("XDG_RUNTIME_DIR")
    system = Path("/run/tts-streamd")
    return (Path(session, "tts-streamd"), system) if session else (system,)


def candidates(explicit: Path | None, environ: Mapping[str, str]) -> Iterator[Candidate]:
    """Each place worth a ``hello`` or, where there is none to be said, the reason (``patience_s`` is then 0).

    The last place is given a second even if nothing is there yet: a daemon that was just started is about to
    bind.
    """
    places = runtime_dirs(explicit, environ)
    for place in places:
        reason = _obstacle(place)
        if place is not places[-1]:
            yield Candidate(place, 0.0 if reason else HELLO_S, reason)
        elif reason == _NOTHING:
            yield Candidate(place, HELLO_S, reason)
        else:
            yield Candidate(place, 0.0 if reason else LAST_HELLO_S, reason)


_NOTHING = "nothing is there"


def _obstacle(place: Path) -> str | None:
    control = place / "control"
    if len(os.fsencode(control)) > MAX_PATH_BYTES:
        return f"the path of its socket is longer than {MAX_PATH_BYTES} bytes"
    try:
        control.stat()
    except PermissionError:
        return "you may not look into it"
    except OSError:
        return _NOTHING
    if not os.access(control, os.W_OK):
        return "its socket is not open to you (are you in its group?)"
    return None
