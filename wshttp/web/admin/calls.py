"""All calls of administration, by path under `api.prefix`."""

from __future__ import annotations

from typing import Any

from tornado.web import RequestHandler

from wshttp.web.admin.connections import Connections, OneConnection
from wshttp.web.admin.desk import Desk
from wshttp.web.admin.events import Events
from wshttp.web.admin.message import SendMessage
from wshttp.web.admin.page import AdminEntrance, AdminPage
from wshttp.web.admin.sessions import OneSession, Sessions
from wshttp.web.admin.stats import Stats
from wshttp.web.api import ApiNothing
from wshttp.web.file_root import FileRoot


def admin_calls(desk: Desk, page: FileRoot) -> list[tuple[str, type[RequestHandler], dict[str, Any]]]:
    """Return path, handler and its arguments; `page` is the folder of the page."""
    kept = {"desk": desk}
    return [
        ("/admin/api/sessions", Sessions, kept),
        ("/admin/api/sessions/([0-9a-f]+)", OneSession, kept),
        ("/admin/api/connections", Connections, kept),
        ("/admin/api/connections/([0-9a-f]+)", OneConnection, kept),
        ("/admin/api/broadcast", SendMessage, kept),
        ("/admin/api/stats", Stats, kept),
        ("/admin/api/events", Events, kept),
        ("/admin/api/.*", ApiNothing, {}),
        ("/admin", AdminEntrance, kept),
        ("/admin/(.*)", AdminPage, {**kept, "root": page, "cache": lambda: 0.0}),
    ]
