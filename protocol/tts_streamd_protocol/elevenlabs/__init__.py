"""ElevenLabs' protocols from the client's side: frames, sessions and faults, without any I/O."""
