"""A message from an administrator to connections, on all nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from wshttp.errors import BadRequest
from wshttp.sessions.data import Json
from wshttp.web.admin.access import AdminCall

MAX_BODY: Final = 64 * 1024
"""Bytes; it goes to everybody."""

_WHOM: Final = ("user", "session", "topic")


@dataclass(frozen=True, slots=True)
class Message:
    """What is told, and to whom; of several given all must hold, and with none it is for everybody."""

    told: Json
    user: str | None = None
    session: str | None = None
    topic: str | None = None

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Message:
        """Read it from the fields of a body. Raises `BadRequest`."""
        if "message" not in fields:
            raise BadRequest('there is no message; a body is {"message": …}')
        whom = {name: value for name, value in fields.items() if name != "message"}
        for name, value in whom.items():
            if name not in _WHOM:
                raise BadRequest(f"there is no field {name!r}; there are message, {', '.join(_WHOM)}")
            # An empty one may be all that a page had in place of a name: it must not mean everybody.
            if not isinstance(value, str) or not value:
                raise BadRequest(f"{name} is a text, not an empty one; for everybody, leave it out")
        return cls(fields["message"], **whom)


class SendMessage(AdminCall):
    """`POST /admin/api/broadcast`."""

    async def post(self) -> None:
        self.parameters()
        message = Message.read(self.body(MAX_BODY))
        hub, size = self.site.hub, len(self.request.body)
        facts = {"user": message.user, "ref": message.session, "topic": message.topic, "size": size}
        with self.recording("message sent", **facts) as done:
            done["count"] = await hub.send(
                message.told, user=message.user, session=message.session, topic=message.topic
            )
        self.answer({"sent": done["count"], "others": len(hub.elsewhere.nodes())})
