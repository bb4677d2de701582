"""Reading a PROXY header off a new connection, and not a byte more: what follows is for TLS or HTTP."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from wshttp.engine.proxy_protocol import V2_MAXIMUM, NeedMore, Parsed, ProxyHeaderParser
from wshttp.errors import BadRequest


class Preamble:
    """Wait for the header on a socket that must not block.

    `on_source` is called once with the header's source address (`None`: the connection's own holds),
    or `on_failure` once with why there is none; then the socket is the caller's again.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        on_source: Callable[[str | None], None],
        on_failure: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._socket = sock
        self._on_source = on_source
        self._on_failure = on_failure
        self._parser = ProxyHeaderParser()
        loop.add_reader(sock.fileno(), self._read)

    def cancel(self) -> None:
        """Stop waiting; neither callback will come."""
        self._loop.remove_reader(self._socket.fileno())

    def _read(self) -> None:
        try:
            data = self._socket.recv(V2_MAXIMUM, socket.MSG_PEEK)
            result = self._parser.feed(data)
            self._socket.recv(len(data) if isinstance(result, NeedMore) else result.consumed)
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, BadRequest) as error:
            self._fail(str(error))
            return
        if isinstance(result, Parsed):
            self.cancel()
            self._on_source(result.source_ip)
        elif not data:
            self._fail("the connection ended before its PROXY header")

    def _fail(self, reason: str) -> None:
        self.cancel()
        self._on_failure(reason)
