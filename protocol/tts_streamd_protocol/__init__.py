"""What the daemon, its clients and upstream say to each other: pure, without clock, sockets or chance."""
