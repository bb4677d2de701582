"""How a connection ends that has to end at once."""

from __future__ import annotations

import socket
import struct

_AT_ONCE = struct.pack("ii", 1, 0)


def reset_on_close(sock: socket.socket | None) -> None:
    """Have closing reset the connection: the kernel drops what it could not send yet, and the peer sees that it was cut.

    `None` is that of a transport whose socket is closed.
    """
    if sock is None:
        return
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    except OSError:
        pass  # the peer was faster; closing is all that is left
