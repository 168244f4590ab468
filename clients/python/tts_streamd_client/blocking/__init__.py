"""The client for plain programs: one thread, and every call waits at most as long as it is told.

Nothing runs in the background: messages are taken in whenever a call waits, and wait in the socket until
then.  A client and its streams belong to one thread at a time.
"""

from tts_streamd_client.blocking.client import Client, connect
from tts_streamd_client.blocking.stream import Observer, Stream, Tap

__all__ = ["Client", "Observer", "Stream", "Tap", "connect"]
