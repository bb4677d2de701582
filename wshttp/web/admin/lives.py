"""What happened in the lives of sessions, on this node: the latest of each, for so many as anything happened to lately.

Most sessions are requests and no more, and have no history here: their beginning is in their record.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from wshttp.sessions.data import Json
from wshttp.sessions.happenings import Happening
from wshttp.web.admin.views import moment

LATEST: Final = 32
"""Entries per session."""

SESSIONS: Final = 10_000
"""Sessions that have any: with 32 entries each, some 20 MB."""


class Lives:
    """What happened in each, by ref."""

    def __init__(self, *, latest: int = LATEST, sessions: int = SESSIONS) -> None:
        self._latest = latest
        self._sessions = sessions
        self._of: OrderedDict[str, list[Happening]] = OrderedDict()

    def take(self, happening: Happening) -> None:
        """Take in what happened; with its end a life is forgotten."""
        ref = happening.ref
        if ref is None or happening.what == "started":
            return
        if happening.what == "ended":
            self._of.pop(ref, None)
            return
        life = self._of.setdefault(ref, [])  # a deque takes 700 bytes from the beginning
        if len(life) == self._latest:
            del life[0]
        life.append(happening)
        self._of.move_to_end(ref)
        if len(self._of) > self._sessions:
            self._of.popitem(last=False)

    def of(self, ref: str) -> list[Happening]:
        """Return what happened in a session's life, oldest first."""
        return list(self._of.get(ref, ()))


def entry(happening: Happening) -> dict[str, Json]:
    """Return an entry as it is shown in the view of its session."""
    shown: dict[str, Json] = {"what": happening.what, "at": moment(happening.at)}
    if happening.what == "renewed":
        shown["user"] = happening.user
    if happening.connection is not None:
        shown |= {"connection": happening.connection, "ip": happening.remote_ip}
    if happening.code is not None:
        shown["code"] = happening.code
    return shown
