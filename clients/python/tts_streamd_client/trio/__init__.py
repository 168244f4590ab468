"""The client for Trio programs: any number of tasks, and no task of its own.

Whoever waits for something takes messages in for all; cancelling a call loses nothing.  Errors are raised
where they concern somebody, bare, never in a group.
"""

from tts_streamd_client.trio.client import Client, open_client
from tts_streamd_client.trio.stream import Observer, Stream, Tap

__all__ = ["Client", "Observer", "Stream", "Tap", "open_client"]
