"""``python -m tts_streamd``: the daemon."""

from tts_streamd.cli import main

main()
