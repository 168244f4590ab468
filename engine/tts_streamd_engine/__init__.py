"""The embedded speech engine: ElevenLabs' text-to-speech API, served on this machine."""
