"""ZeroMQ sockets on Trio, shared by the daemon's actors and the Python client."""
