"""Sessions for a `tornado.web.Application` that exists already."""

from __future__ import annotations

from tornado.web import Application

from wshttp.auth.authenticator import Authenticator
from wshttp.config import Settings
from wshttp.realtime.hub import Hub
from wshttp.sessions.session_list import SessionList
from wshttp.web.site import Site, put_site


def attach(
    application: Application,
    sessions: SessionList,
    *,
    settings: Settings | None = None,
    authenticator: Authenticator | None = None,
) -> Site:
    """Give an application's `SessionHandler`s and `SessionWebSocketHandler`s their sessions, and return what they share.

        sessions = SessionList(Settings().session, MemoryStore())
        application = tornado.web.Application([("/visits", Visits)])
        wshttp.attach(application, sessions)
        await sessions.open()

    Only handlers of these classes are affected. `settings` default to the defaults, with the list's own for sessions.
    Without an `authenticator`, Basic headers are ignored. The returned site's `hub` sends to sockets.
    Open the list before the first request, and close it at the end.
    """
    settings = (settings or Settings()).model_copy(update={"session": sessions.settings})
    hub = Hub(settings, sessions.callbacks)
    sessions.notifier = hub
    site = Site(settings, sessions, hub, sessions.callbacks, authenticator)
    put_site(application, site)
    return site
