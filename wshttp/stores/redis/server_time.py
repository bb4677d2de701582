"""The server's time, as well as a node knows it without asking."""

from __future__ import annotations

from wshttp.sessions.clock import Clock


class ServerTime:
    """A clock that runs as the node's own and is set by replies: behind the server's, by as long as a reply takes.

    It is ahead only by what one of the two clocks has gained since, or the server's was set back, until the next reply.

    A reply that says `now` was formed between the sending of the call and its arrival: each narrows down where the
    server's clock is. One outside of what is known says that the server's clock was set, or that it is another server.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = clock.time() - clock.monotonic()
        self.heard_at = 0.0
        """When the server was last heard, on its own clock; 0: never."""
        self.forgiven = 0.0
        """How long the idle clocks have stood still; see `clocks.lua`."""

    def now(self) -> float:
        return self._clock.monotonic() + self._offset

    def mark(self) -> float:
        """Return what `heard` wants to know of the moment in which a call is sent."""
        return self._clock.monotonic()

    def heard(self, now: float, forgiven: float, mark: float) -> None:
        """Take in what a reply says."""
        earliest, latest = now - self._clock.monotonic(), now - mark
        if not earliest <= self._offset <= latest:
            self._offset = earliest
        self.heard_at = now
        self.forgiven = forgiven
