"""``tts-streamctl``: the command that talks to a running daemon.  It knows the wire contract and nothing inside."""
