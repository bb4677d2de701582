"""A message from an administrator to connections, on all nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from wshttp.errors import BadRequest, ContentTooLarge, InvalidValue
from wshttp.sessions.data import Json, checked, read_json
from wshttp.web.admin.access import AdminCall

MAX_BODY: Final = 64 * 1024
"""Bytes; it goes to everybody."""

_FIELDS: Final = ("message", "user", "session", "topic")


@dataclass(frozen=True, slots=True)
class Announcement:
    """A message, and for whom; `None` is everybody."""

    message: Json
    user: str | None = None
    session: str | None = None
    topic: str | None = None

    @classmethod
    def read(cls, body: bytes) -> Announcement:
        """Read it. Raises `BadRequest` and `ContentTooLarge`."""
        if len(body) > MAX_BODY:
            raise ContentTooLarge(f"a message has {MAX_BODY} bytes at most")
        fields = _object(body)
        if "message" not in fields:
            raise BadRequest("there is no message")
        for name in fields:
            if name not in _FIELDS:
                raise BadRequest(f"there is no field {name!r}; there are {', '.join(_FIELDS)}")
        for name in _FIELDS[1:]:
            value = fields.get(name)
            # An empty one may be all that a page had in place of a name: it must not mean everybody.
            if value is not None and (not isinstance(value, str) or not value):
                raise BadRequest(f"{name} is a text, not an empty one")
        return cls(**fields)


def _object(body: bytes) -> dict[str, Any]:
    try:
        fields = checked(read_json(body.decode()))
    except (ValueError, RecursionError, InvalidValue):
        raise BadRequest("this is not JSON that can be sent") from None
    if not isinstance(fields, dict):
        raise BadRequest('a message is {"message": …}')
    return dict(fields)


class Broadcast(AdminCall):
    """`POST /admin/api/broadcast`."""

    async def post(self) -> None:
        self.parameters()
        media_type = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise BadRequest("the body is JSON: send Content-Type: application/json")
        told = Announcement.read(self.request.body)
        hub = self.site.hub
        count = await hub.send(told.message, user=told.user, session=told.session, topic=told.topic)
        size = len(self.request.body)
        self.record("message sent", user=told.user, ref=told.session, topic=told.topic, count=count, size=size)
        self.answer({"sent": count, "others": len(hub.elsewhere.nodes())})
