"""One accepted connection of TCP or a Unix socket, from accept to close: whose it is, how far it is, what is overdue.

("Connection" is a WebSocket in this project, hence the name.)
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from wshttp.engine.limits import Limits, Timeout

LINGER_SECONDS = 2.0
"""How long a connection stays open after its last answer, for the client to read it; as nginx's `lingering_timeout`."""


class Phase(Enum):
    """How far a link is. It goes round HEADER, BODY, ANSWER; DETACHED and LINGERING are for good."""

    HEADER = "waits for a request's header, or for a request at all"
    BODY = "has the header, and not yet the whole body"
    ANSWER = "has the request; the application has its turn"
    LINGERING = "has had its last answer; what still comes is read and dropped"
    DETACHED = "is no longer HTTP: the application has taken over, for a WebSocket"


class LinkStream(Protocol):
    """What carries a link's bytes, and keeps account of them. Times are in seconds of the server's clock."""

    first_read_at: float | None
    """When bytes first came in since somebody set this to `None`."""
    last_read_at: float
    """When bytes last came in; when the stream was made, before any."""
    last_sent_at: float
    """When output last made progress, or began to wait."""
    received: int
    """Bytes that have come in."""

    @property
    def unsent(self) -> int:
        """Bytes that were written and that the kernel has not taken yet."""

    def look(self) -> None:
        """Note what nobody tells: that output has made progress, or that the peer has gone. Called once a second."""

    def reading(self) -> bool:
        """Tell whether more bytes are wanted; else it is the application that has to go on."""

    def end(self) -> None:
        """Close as soon as all that was written has been sent."""

    def close(self) -> None:
        """Close now."""

    def expire(self, which: Timeout) -> None:
        """End what has taken too long."""


class Link:
    """The record of one connection.

    `peer_ip` is the canonical address of the peer, or what a trusted PROXY header said; `None` for a Unix socket.
    `may_forward`: where that is a trusted proxy, requests may say whom it speaks for.
    `bucket` is what it counts by against the limit per address, `None` where it does not.
    `leaving`: it is closed as soon as it has answered what it has begun; but where it is `lingering`, too, not before an
    answer has told the client, who may have sent another request meanwhile.
    `requests` is how many there have been, or have begun; whoever speaks on it counts them.
    """

    __slots__ = (
        "_close",
        "_received",
        "_since",
        "_stream",
        "bucket",
        "closed",
        "leaving",
        "lingering",
        "may_forward",
        "peer_ip",
        "phase",
        "protocol",
        "requests",
        "told_to_leave",
    )

    def __init__(self, peer_ip: str | None, now: float) -> None:
        self.peer_ip = peer_ip
        self.may_forward = True
        self.bucket: str | None = None
        self.protocol = "http"
        self.phase = Phase.HEADER
        self.leaving = False
        self.lingering = False
        self.told_to_leave = False
        self.closed = False
        self.requests = 0
        self._stream: LinkStream | None = None
        self._close: Callable[[], None] = _nothing
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
    def answered(self) -> bool:
        """All its requests have had their answers, and there will be no other."""
        return self.phase is Phase.LINGERING

    @property
    def over(self) -> bool:
        """It takes no other request."""
        return self.leaving and (self.told_to_leave or not self.lingering)

    def closes_by(self, close: Callable[[], None]) -> None:
        """Say how it is closed as long as it has no stream."""
        self._close = close

    def carry(self, stream: LinkStream) -> None:
        """Speak over this stream from now on."""
        self._stream = stream
        self._close = stream.close

    def close(self) -> None:
        """Close now."""
        if not self.closed:
            self._close()

    def end(self) -> None:
        """Close as soon as all has been sent."""
        if self._stream is None:
            self.close()
        else:
            self._stream.end()

    def expire(self, which: Timeout) -> None:
        """Close, because a time-out has passed."""
        if self._stream is None:
            self.close()
        else:
            self._stream.expire(which)

    def await_header(self, now: float) -> None:
        """Wait for the next request; bytes that came during the last answer are the beginning of it."""
        if self.phase is not Phase.DETACHED:
            self.phase = Phase.HEADER
            self._since = now
        stream = self._stream
        if stream is not None:
            stream.first_read_at = now if stream.received > self._received else None

    def await_body(self, now: float) -> None:
        self._enter(Phase.BODY, now)

    def await_answer(self) -> None:
        """Wait for the application, which has no time-out."""
        if self.phase is not Phase.DETACHED:
            self.phase = Phase.ANSWER
        if self._stream is not None:
            self._received = self._stream.received

    def linger(self, now: float) -> None:
        """Wait for the client to close, who has had its last answer."""
        self._enter(Phase.LINGERING, now)

    def has_lingered(self, now: float) -> bool:
        """Tell whether the client has had its time to read the last answer. To be asked about once a second."""
        if self.phase is not Phase.LINGERING:
            return False
        if self._stream is not None and self._stream.unsent:  # it is the write time-out that ends this
            self._since = now
        return now - self._since >= LINGER_SECONDS

    def part(self) -> None:
        """Take note that it has been closed, and keep nothing for it: what is over shall not wait for the collector."""
        self.closed = True
        self._stream = None
        self._close = _nothing

    def detach(self) -> None:
        self.phase = Phase.DETACHED

    def hand_over(self, close: Callable[[], None]) -> None:
        """As `detach`, and its stream is somebody else's: `close` is how it is closed from now on."""
        self.detach()
        self._stream = None
        self._close = close

    def overdue(self, now: float, limits: Limits) -> Timeout | None:
        """Tell which time-out has passed, if any. To be asked about once a second."""
        if self.detached:
            return None
        if self._stream is not None:
            self._stream.look()
        if self._write_is_stalled(now, limits.write_timeout):
            return "write"
        if self.phase is Phase.HEADER:
            return self._overdue_header(now, limits)
        if self.phase is Phase.BODY and self._body_is_stalled(now, limits.body_timeout):
            return "body"
        return None

    def _enter(self, phase: Phase, now: float) -> None:
        if self.phase is not Phase.DETACHED:
            self.phase = phase
            self._since = now

    def _write_is_stalled(self, now: float, timeout: float) -> bool:
        stream = self._stream
        return bool(timeout and stream and stream.unsent and now - stream.last_sent_at >= timeout)

    def _overdue_header(self, now: float, limits: Limits) -> Timeout | None:
        if self._stream is not None and self._stream.unsent:
            # The client takes its last answer, and the next request waits for that: only the write time-out counts.
            self._since = now
            if self._stream.first_read_at is not None and self.requests:
                self._stream.first_read_at = now
            return None
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


def _nothing() -> None:
    """Close what nobody speaks on."""
