"""How many files the process may have open: every client and every upstream socket is one.

libzmq aborts the whole process when it cannot accept a connection for want of a descriptor, so the limit is raised
as far as it goes, and clients are refused politely long before it is reached.
"""

from __future__ import annotations

import resource
from typing import Final

import structlog

log = structlog.get_logger("tts_streamd")

WANTED: Final = 65_536
"""More than any configuration asks for; a process with millions wastes time in programs that close them all."""

RESERVED: Final = 128
"""Logs, sockets of our own, libraries, pipes to the engine, and connections that have not said hello yet."""


def raise_file_limit() -> int:
    """Raise the soft limit towards the hard one; returns what may be open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(hard, WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return WANTED if soft == resource.RLIM_INFINITY else soft


def room_for_sessions(may_be_open: int, wanted: int) -> int:
    """Clients that may be served: two descriptors each (the connection, and a link for a stream of theirs)."""
    room = max(1, (may_be_open - RESERVED) // 2)
    if room < wanted:
        log.warning(
            "fewer clients than configured: too few open files are allowed",
            allowed_files=may_be_open,
            max_sessions=room,
            remedy="raise the limit (systemd: LimitNOFILE=)",
        )
    return min(room, wanted)
