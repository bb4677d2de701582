"""What an engine allows, and what it has counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Timeout = Literal["header", "idle", "body", "write"]

AcceptHook = Callable[[str, str], float | None]
"""Asked for each new connection, with the client's address and its bucket.

`None` lets it in, a number of seconds refuses it (429, with that `Retry-After`).
It may raise a `PeerError` to refuse in another way: `Forbidden` is a 403.
It is not asked where the client's address is unknown: on Unix sockets, and for trusted proxies.
"""


@dataclass(frozen=True)
class Limits:
    """Limits on connections and on what comes over them; `0` means none.

    Sizes are in bytes, time-outs in seconds.
    A change holds for every open connection, from its next request or the next look at its timers.
    """

    max_connections: int = 10_000
    """All open connections, WebSockets included. Over it: 503."""

    max_connections_per_ip: int = 0
    """Open connections per address bucket; those of trusted proxies are not counted. Over it: 429."""

    max_header_size: int = 64 * 1024
    max_body_size: int = 10 * 1024 * 1024

    header_timeout: float = 10.0
    """From the first byte of a request to the end of its header; for the first request, from the connection's start."""

    idle_timeout: float = 75.0
    """Without a byte between two requests."""

    body_timeout: float = 60.0
    """Without progress of a request's body while the server is willing to read."""

    write_timeout: float = 60.0
    """Without progress of an answer that waits to be sent."""


@dataclass
class ConnectionCounts:
    """What an engine has done since its start; `open` is now, WebSockets included."""

    accepted: int = 0
    """Taken off the listeners, those included that were refused then."""

    refused: int = 0
    """Turned away: over a limit or a rate, or without the PROXY header that they owe."""

    open: int = 0
    timed_out: dict[Timeout, int] = field(default_factory=lambda: {"header": 0, "idle": 0, "body": 0, "write": 0})
