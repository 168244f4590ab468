"""The Python client of the tts-streamd bus.

``tts_streamd_client.trio`` serves Trio programs, ``tts_streamd_client.blocking`` plain ones; both are thin
shells around the same machine without I/O (``session``, ``book``).  ``tts_streamd_client.testing`` is a
scripted daemon for the tests of programs that speak.  Nothing here imports Trio or NumPy unless you ask for
it.
"""

from tts_streamd_client.errors import (
    ClientError,
    DaemonProtocolError,
    DaemonUnreachableError,
    NoAnswerError,
    RequestRefusedError,
    SessionLostError,
    StreamFailedError,
)
from tts_streamd_client.events import Audio, End, Event, Published, State, Tapped, Word, Words
from tts_streamd_protocol.messages import VoiceSettings

__all__ = [
    "Audio",
    "ClientError",
    "DaemonProtocolError",
    "DaemonUnreachableError",
    "End",
    "Event",
    "NoAnswerError",
    "Published",
    "RequestRefusedError",
    "SessionLostError",
    "State",
    "StreamFailedError",
    "Tapped",
    "VoiceSettings",
    "Word",
    "Words",
]
