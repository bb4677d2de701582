"""A network as some companies have it: HTTP passes, and no WebSocket does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import BaseRequestHandler, ThreadingTCPServer

REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@contextmanager
def without_websockets(port: int) -> Iterator[str]:
    """Stand before a port of this machine; the address is where."""

    class Passage(BaseRequestHandler):
        def handle(self) -> None:
            head = self.request.recv(64 * 1024)  # browsers open a connection of its own for each handshake
            if b"upgrade: websocket" in head.lower():
                self.request.sendall(REFUSAL)
                return
            with socket.create_connection(("127.0.0.1", port)) as server:
                server.sendall(head)
                back = threading.Thread(target=pass_on, args=(server, self.request), daemon=True)
                back.start()
                pass_on(self.request, server)
                back.join()

    with ThreadingTCPServer(("127.0.0.1", 0), Passage) as relay:
        relay.daemon_threads = True
        relay.block_on_close = False
        thread = threading.Thread(target=relay.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{relay.server_address[1]}"
        finally:
            relay.shutdown()
            thread.join()


def pass_on(source: socket.socket, target: socket.socket) -> None:
    """Send on what comes, until either side has closed; then both have."""
    try:
        while data := source.recv(64 * 1024):
            target.sendall(data)
    except OSError:
        pass  # somebody hung up
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it was closed before
