"""The client's ZeroMQ sockets, set up as the contract wants them: no routing id, a bounded farewell."""

from __future__ import annotations

from typing import TypeAlias

import zmq

Context: TypeAlias = zmq.Context[zmq.Socket[bytes]]

LINGER_MS = 500
"""How long closing waits for the daemon to take the last messages (a cancel, most often)."""


def control(context: Context, endpoint: str) -> zmq.Socket[bytes]:
    """A DEALER connected to the control socket; raises ``zmq.ZMQError`` if the address is no address."""
    socket = context.socket(zmq.DEALER)
    socket.linger = LINGER_MS
    socket.connect(endpoint)
    return socket


def events(context: Context, endpoint: str, topics: tuple[bytes, ...]) -> zmq.Socket[bytes]:
    """A SUB connected to the events socket and subscribed to ``topics``."""
    socket = context.socket(zmq.SUB)
    socket.linger = 0
    socket.rcvhwm = 2000  # as the daemon's SNDHWM: speech comes in bursts faster than real time
    for topic in topics:
        socket.subscribe(topic)
    socket.connect(endpoint)
    return socket
