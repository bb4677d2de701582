"""A transport, as far as Tornado's applications know it: by the names of `tornado.iostream.IOStream`."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from tornado.ioloop import IOLoop

from wshttp.engine.link import LINGER_SECONDS
from wshttp.engine.sudden_end import reset_on_close


class TransportStream:
    """The names that need nothing but the transport."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.io_loop = IOLoop.current()

    @property
    def socket(self) -> Any:
        """What there is to be asked: the TLS object with its `getpeercert`, or else the socket's address and options."""
        return self._transport.get_extra_info("ssl_object") or self._transport.get_extra_info("socket")

    def close(self) -> None:
        """Close, after what was written has been sent: `LINGER_SECONDS` from now at the latest."""
        if self._transport.is_closing():
            return
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self.io_loop.call_later(LINGER_SECONDS, self._transport.abort)

    def reset(self) -> None:
        """Close now, and have the kernel drop what it could not send yet: the peer sees that it was cut."""
        reset_on_close(self._transport.get_extra_info("socket"))
        self._transport.abort()

    def closed(self) -> bool:
        return self._transport.is_closing()

    def set_nodelay(self, value: bool) -> None:
        """Turn Nagle's algorithm off or on; a transport begins with it off."""
        sock = self._transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, int(value))
