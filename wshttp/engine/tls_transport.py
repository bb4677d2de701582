"""TLS on an accepted socket: the loop's own, with the transport beneath it at hand.

The loop's transport for TLS counts what it has not encrypted yet, and nothing of what the one beneath it still holds; and
it ends a shutdown after a fixed time, in which the last answer may be on its way to a client that reads it steadily.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, cast

from wshttp.engine.link import LINGER_SECONDS

_WITHOUT_END: Final = 7 * 24 * 3600.0
"""Seconds that the loop's transport waits for the end of a shutdown: that is up to `TlsTransport`, and to time-outs."""


async def speak_tls(sock: socket.socket, context: ssl.SSLContext, make: Callable[[], asyncio.Protocol]) -> None:
    """Shake hands with a client, and have a protocol speak with it on a `TlsTransport`. Raises `OSError`."""
    loop = asyncio.get_running_loop()
    beneath, gathered = await loop.connect_accepted_socket(_Gathered, sock)
    try:
        _check_open(beneath)
        # Before `start_tls` goes on, and after it has put its own protocol in the place of ours.
        loop.call_soon(_pass_on, gathered.data, beneath)
        early = _Gathered()
        tls = await loop.start_tls(beneath, early, context, server_side=True, ssl_shutdown_timeout=_WITHOUT_END)
        _check_open(beneath)
    except BaseException:
        beneath.abort()
        raise
    assert tls is not None  # noqa: S101  # typeshed's `None` is for a transport that is closed
    transport = TlsTransport(tls, beneath)
    protocol = make()
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    if early.data:
        protocol.data_received(early.data)
    if early.has_ended:
        protocol.eof_received()


class _Gathered(asyncio.Protocol):
    """Keep what comes before somebody is there to take it."""

    def __init__(self) -> None:
        self.data = b""
        self.has_ended = False

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> None:
        self.has_ended = True


def _check_open(transport: asyncio.BaseTransport) -> None:
    if transport.is_closing():
        raise ConnectionResetError("the client has gone before the end of the handshake")


def _pass_on(data: bytes, transport: asyncio.Transport) -> None:
    """Give what was read too early to who reads now."""
    protocol = cast(asyncio.BufferedProtocol, transport.get_protocol())
    while data:
        room = memoryview(cast(Any, protocol.get_buffer(len(data))))
        size = min(len(room), len(data))
        room[:size] = data[:size]
        protocol.buffer_updated(size)
        data = data[size:]


class TlsTransport(asyncio.Transport):
    """A transport over TLS that counts all that the kernel has not taken, and closes when the client has had it."""

    __slots__ = ("_beneath", "_is_seen_off", "_tls", "is_closing", "write")

    def __init__(self, tls: asyncio.Transport, beneath: asyncio.Transport) -> None:
        super().__init__()
        self._tls = tls
        self._beneath = beneath
        self._is_seen_off = False
        # What is called for each message is the loop's own, without a call between.
        self.write = tls.write  # type: ignore[method-assign]
        self.is_closing = tls.is_closing  # type: ignore[method-assign]

    def get_write_buffer_size(self) -> int:
        return self._tls.get_write_buffer_size() + self._beneath.get_write_buffer_size()

    def close(self) -> None:
        """Close, after what was written has been sent; the client then has `LINGER_SECONDS` to close, too."""
        if not self.is_closing():
            self._tls.close()
        if not self._is_seen_off:
            self._is_seen_off = True
            self._see_off(False)

    def _see_off(self, had_all: bool) -> None:
        """Look every `LINGER_SECONDS`; a client that had everything at the last look has had its time."""
        if had_all:
            self._tls.abort()
        else:
            loop = asyncio.get_running_loop()
            loop.call_later(LINGER_SECONDS, self._see_off, not self._beneath.get_write_buffer_size())

    def abort(self) -> None:
        self._tls.abort()

    def writelines(self, list_of_data: Any) -> None:
        self._tls.writelines(list_of_data)

    def can_write_eof(self) -> bool:
        """TLS has no half of an end."""
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._tls.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._tls.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._tls.get_protocol()

    def is_reading(self) -> bool:
        return self._tls.is_reading()

    def pause_reading(self) -> None:
        self._tls.pause_reading()

    def resume_reading(self) -> None:
        self._tls.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._tls.set_write_buffer_limits(high, low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._tls.get_write_buffer_limits()
