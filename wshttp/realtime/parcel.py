"""A message on its way out, perhaps to many: formed once, measured once, and framed once."""

from __future__ import annotations

from wshttp.realtime.format import Message, size_of


class Parcel:
    """A message in its form.

    `size` is what it takes without its frame. `frame` is for the transport that frames it first, and for all others that
    would frame it alike.
    """

    __slots__ = ("frame", "message", "size")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.size = size_of(message)
        self.frame: bytes | None = None
