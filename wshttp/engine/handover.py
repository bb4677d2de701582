"""A connection whose bytes are no longer HTTP's."""

from __future__ import annotations

import asyncio
from typing import Protocol

from wshttp.engine.link import Link
from wshttp.engine.receiver import Receiver


class Former(Protocol):
    """Who served a connection before it was handed over."""

    def forget(self, link: Link) -> None:
        """Take note that a connection has been closed; again is once."""


class Handover(asyncio.Protocol):
    """What a transport calls from now on: the receiver, and the server it came from when all is over.

    `data_received` is the receiver's own, so that there is no call between it and the transport.
    """

    __slots__ = ("_link", "_receiver", "_server", "_transport", "data_received")

    def __init__(self, receiver: Receiver, transport: asyncio.Transport, server: Former, link: Link) -> None:
        self._receiver = receiver
        self._transport = transport
        self._server = server
        self._link = link
        self.data_received = receiver.data_received  # type: ignore[method-assign]

    def eof_received(self) -> None:
        self._receiver.eof_received()

    def pause_writing(self) -> None:
        self._receiver.pause_writing()

    def resume_writing(self) -> None:
        self._receiver.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._server.forget(self._link)
        self._receiver.connection_lost(error)

    def close(self) -> None:
        """Close now."""
        self._transport.abort()
        self._server.forget(self._link)
