"""Sessions for a `tornado.web.Application` that exists already."""

from __future__ import annotations

from tornado.web import Application

from wshttp.auth.authentication import Authentication
from wshttp.auth.authenticator import Authenticator
from wshttp.auth.tickets import Tickets
from wshttp.auth.watch import UsersWatch
from wshttp.config import Settings
from wshttp.realtime.hub import Hub
from wshttp.sessions.clock import SystemClock
from wshttp.sessions.session_list import SessionList
from wshttp.stores.kept import in_memory
from wshttp.stores.memory_shared import MemoryShared
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
        site = wshttp.attach(application, sessions)
        await site.open()
        ...
        await site.close()

    Only handlers of these classes are affected. `settings` default to the defaults, with the list's own for sessions.
    Passwords are checked as `settings.auth` and the list's `on_authenticate` say, or by another `authenticator`.
    The returned site's `hub` sends to sockets. Open the site before the first request, and close it at the end.
    """
    settings = (settings or Settings()).model_copy(update={"session": sessions.settings})
    kept = in_memory(SystemClock())
    hub = Hub(settings, sessions.callbacks, kept)
    sessions.notifier = hub
    users = None
    if authenticator is None:
        clock = SystemClock()
        authentication = Authentication(settings.auth, sessions.callbacks, MemoryShared(clock), clock)
        authenticator, users = authentication.authenticator, UsersWatch(authentication, sessions)
    site = Site(settings, sessions, hub, sessions.callbacks, authenticator, users)
    site.tickets = Tickets(kept.tickets)
    put_site(application, site)
    return site
