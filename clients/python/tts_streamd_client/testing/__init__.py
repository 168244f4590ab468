"""A scripted daemon: the bus without speech synthesis, for the tests of programs that speak.

It keeps the wire contract, speaks a tone of 100 ms for each word at once, and plays one of the
fixed scenes (``Scene``).  It shares no encoder with the client: they agree only if both keep the contract.
For other languages: ``python -m tts_streamd_client.testing --runtime-dir DIR --scene gap``.
"""

from tts_streamd_client.testing.daemon import ScriptedDaemon
from tts_streamd_client.testing.script import Scene, Script

__all__ = ["Scene", "Script", "ScriptedDaemon"]
