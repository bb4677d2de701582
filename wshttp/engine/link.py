"""One accepted connection of TCP or a Unix socket, from accept to close: whose it is, how far it is, what is overdue.

("Connection" is a WebSocket in this project, hence the name.)
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from tornado.http1connection import HTTP1ServerConnection

from wshttp.engine.limits import Limits, Timeout
from wshttp.engine.streams import ObservedStream


class Phase(Enum):
    """How far a link is. It goes round HEADER, BODY, ANSWER; DETACHED is for good."""

    HEADER = "waits for a request's header, or for a request at all"
    BODY = "has the header, and not yet the whole body"
    ANSWER = "has the request; the application has its turn"
    DETACHED = "is no longer HTTP: the application has taken over, for a WebSocket"


class Link:
    """The record of one connection.

    `peer_ip` is the canonical address of the peer, or what a trusted PROXY header said; `None` for a Unix socket.
    `bucket` is what it counts by against the limit per address, `None` where it does not.
    `leaving`: it is closed as soon as it has answered what it has begun; but where it is `lingering`, too, not before an
    answer has told the client, who may have sent another request meanwhile.
    """

    def __init__(self, peer_ip: str | None, now: float) -> None:
        self.peer_ip = peer_ip
        self.bucket: str | None = None
        self.protocol = "http"
        self.phase = Phase.HEADER
        self.leaving = False
        self.lingering = False
        self.told_to_leave = False
        self.closed = False
        self.requests = 0
        self.http: HTTP1ServerConnection | None = None
        self._stream: ObservedStream | None = None
        self._close: Callable[[], None] = lambda: None
        self._since = now
        self._received = 0

    @property
    def remote_ip(self) -> str:
        """The peer's address for the log of those who know no request; empty where there is none."""
        return self.peer_ip or ""

    def __str__(self) -> str:
        return self.peer_ip or "unix"

    @property
    def detached(self) -> bool:
        return self.phase is Phase.DETACHED

    @property
    def idle(self) -> bool:
        """Nothing of a request has arrived, so that closing it loses nothing that we know of."""
        return self.phase is Phase.HEADER and (self._stream is None or self._stream.first_read_at is None)

    @property
    def over(self) -> bool:
        """It takes no other request."""
        return self.leaving and (self.told_to_leave or not self.lingering)

    def closes_by(self, close: Callable[[], None]) -> None:
        """Say how it is closed as long as it has no stream."""
        self._close = close

    def carry(self, stream: ObservedStream, protocol: str) -> None:
        """Speak over this stream from now on."""
        self._stream = stream
        self._close = stream.close
        self.protocol = protocol

    def close(self) -> None:
        if not self.closed:
            self._close()

    def reset(self) -> None:
        """Close, and drop what the peer has not taken."""
        if self._stream is None:
            self.close()
        else:
            self._stream.reset()

    def await_header(self, now: float) -> None:
        """Wait for the next request; bytes that came during the last answer are the beginning of it."""
        self._enter(Phase.HEADER, now)
        if self._stream is not None:
            self._stream.first_read_at = now if self._stream.received > self._received else None

    def await_body(self, now: float) -> None:
        self.requests += 1
        self._enter(Phase.BODY, now)

    def await_answer(self, now: float) -> None:
        self._enter(Phase.ANSWER, now)
        if self._stream is not None:
            self._received = self._stream.received

    def detach(self) -> None:
        self.phase = Phase.DETACHED

    def overdue(self, now: float, limits: Limits) -> Timeout | None:
        """Tell which time-out has passed, if any. To be asked about once a second."""
        if self.detached:
            return None
        if self._write_is_stalled(now, limits.write_timeout):
            return "write"
        if self.phase is Phase.HEADER:
            return self._overdue_header(now, limits)
        if self.phase is Phase.BODY and self._body_is_stalled(now, limits.body_timeout):
            return "body"
        return None

    def _enter(self, phase: Phase, now: float) -> None:
        if not self.detached:
            self.phase = phase
            self._since = now

    def _write_is_stalled(self, now: float, timeout: float) -> bool:
        stream = self._stream
        return bool(timeout and stream and stream.unsent and now - stream.last_sent_at >= timeout)

    def _overdue_header(self, now: float, limits: Limits) -> Timeout | None:
        # Of the first request nothing is known but when the connection began: a PROXY header and TLS come before it.
        begun = self._stream.first_read_at if self.requests and self._stream else self._since
        if begun is None:
            return "idle" if limits.idle_timeout and now - self._since >= limits.idle_timeout else None
        return "header" if limits.header_timeout and now - begun >= limits.header_timeout else None

    def _body_is_stalled(self, now: float, timeout: float) -> bool:
        stream = self._stream
        if stream is None:
            return False
        if not stream.reading():  # the application has not asked for more, so that the client is not to blame
            self._since = now
            return False
        return bool(timeout) and now - max(self._since, stream.last_read_at) >= timeout
