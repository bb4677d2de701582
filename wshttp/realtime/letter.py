"""A message on its way to several connections: what it says, and who it is for."""

from __future__ import annotations

from dataclasses import dataclass

from wshttp.realtime.format import Format, Message
from wshttp.realtime.place import Place
from wshttp.sessions.data import Json


@dataclass(frozen=True, slots=True)
class Letter:
    """A message, and what must hold for a connection to get it; `None` is any.

    `include` and `exclude` are ids of connections.
    """

    data: Json | bytes
    connection: str | None = None
    session: str | None = None
    user: str | None = None
    topic: str | None = None
    include: frozenset[str] | None = None
    exclude: frozenset[str] = frozenset()
    published: bool = False
    """It was published on `topic`, and not sent by the application."""
    origin: Json = None
    """Who published it, or `None` for the server."""
    queued: bool = False
    """It has waited for a connection."""
    place: Place | None = None
    """Where it stands in the history of `topic`, if it is kept there."""

    def form(self, form: Format) -> Message:
        """Form what goes over a connection."""
        if self.published and self.topic is not None:
            return form.published(self.topic, self.data, self.origin, self.place)
        return form.queued(self.data) if self.queued else form.message(self.data)
