"""The socket that every peer in Python listens on."""

from __future__ import annotations

import socket

BACKLOG = 4096


def listen() -> socket.socket:
    """Listen on a free port of the loopback, and say on which: the line that the benchmark waits for."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    return listener
