"""``tts-streamctl``: talks to a running daemon through the client package; it knows nothing of its inside."""
