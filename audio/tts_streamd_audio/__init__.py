"""Sound as computation: formats, resampling and codecs.  No clock, no sockets, no tasks."""
