"""The server: its parts, wired; opened in order, and closed in reverse order."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence

from wshttp import logs, process
from wshttp.auth.authentication import Authentication
from wshttp.auth.tickets import Tickets
from wshttp.auth.watch import UsersWatch
from wshttp.backing import Backing, backing_of
from wshttp.config import Settings, load_settings, merged_settings, reload_differences
from wshttp.config.shipped import shipped
from wshttp.errors import ConfigurationError, UsageError
from wshttp.network import Network
from wshttp.rate_sharing import RateSharing
from wshttp.realtime.hub import Hub
from wshttp.realtime.relay import Relay
from wshttp.sessions.callbacks import Callbacks
from wshttp.sessions.clock import Clock, SystemClock
from wshttp.sessions.decorators import CallbackDecorators
from wshttp.sessions.session_list import SessionList
from wshttp.sessions.store import Store
from wshttp.setup import Setup
from wshttp.web.access_log import AccessLog
from wshttp.web.application import SiteApplication
from wshttp.web.file_root import FileRoot
from wshttp.web.metrics import Metrics
from wshttp.web.routes import RouteDecorators
from wshttp.web.site import Site

LAST_CALLBACKS = 5.0
"""Seconds beyond `server.drain_timeout` that end callbacks get at a shutdown."""

_log = logging.getLogger("wshttp.server")


class Server(CallbackDecorators, RouteDecorators):
    """HTTP and WebSocket on one port, with one list of sessions behind both.

        server = Server.from_config("config/wshttp.yaml")

        @server.get("/visits")
        async def visits(request):
            return {"visits": await request.session.increment("visits")}

        server.run()

    `sessions` is the list, `hub` has the open WebSockets, `application` is Tornado's.
    To embed it, `await server.start()` and `await server.stop()`; `addresses` then says where it listens.
    Sessions are kept in `store`, where one is given, and else where the settings say. A store of several nodes is not
    enough by itself: a `backing` brings what else they share.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        store: Store | None = None,
        backing: Backing | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings = settings or Settings()
        self._clock = clock = clock or SystemClock()
        backing = backing or backing_of(settings, clock, store)
        self.callbacks = Callbacks(settings.session.callback_timeout)
        self.sessions = SessionList(
            settings.session,
            backing.store,
            callbacks=self.callbacks,
            clock=clock,
            store_timeout=settings.store.timeout,
        )
        self.hub = Hub(settings, self.callbacks, backing.kept, clock)
        self.sessions.notifier = self.hub
        authentication = Authentication(settings.auth, self.callbacks, backing.shared, clock)
        users = UsersWatch(authentication, self.sessions)
        self.site = Site(settings, self.sessions, self.hub, self.callbacks, authentication.authenticator, users)
        self.site.tickets = Tickets(backing.kept.tickets)
        self._authentication = authentication
        self._network = Network(settings, clock)
        self.site.rates = self._network.rates
        self._relay: Relay | None = None
        self._rate_sharing: RateSharing | None = None
        if backing.broker is not None:
            self._relay = Relay(
                self.hub,
                self.sessions,
                backing.broker,
                node=backing.node,
                lease=settings.session.lease,
                copies=backing.copies,
            )
            self._rate_sharing = RateSharing(lambda: self._network.rates, backing.shared, clock, backing.node)
        administration = shipped("static") / "admin"  # served by itself, to those who may, if at all
        self._files = FileRoot(settings.static.folder, settings.static.index, without=administration)
        metrics = Metrics(self.site, lambda: self._network.counts)
        self.application = SiteApplication(self.site, metrics, log_function=AccessLog(metrics))
        self.application.serve_files(self._files, lambda: self.settings.static.cache)
        self._setup: Setup | None = None
        self._reread: Callable[[], Settings] | None = None
        self._started = False

    @classmethod
    def from_config(
        cls,
        path: str | os.PathLike[str] | None,
        *,
        environ: Mapping[str, str] = os.environ,
        overrides: Sequence[str] = (),
        store: Store | None = None,
    ) -> Server:
        """Make a server from a YAML file, the environment, and overrides such as `server.port=0`, in this order.

        `None` for the file: the defaults. Where `app` is set, its function is called with the server.
        Raises `ConfigurationError` with every mistake.
        """
        read = functools.partial(load_settings, path, environ=environ, overrides=overrides)
        server = cls(read(), store=store)
        server._reread = read
        if server.settings.app is not None:
            server._setup = Setup(server.settings.app)
            server._setup.begin(server)
        return server

    @property
    def addresses(self) -> list[str]:
        """Where the server listens, such as `http://127.0.0.1:8080`; while it runs."""
        return self._network.addresses

    # --- life -------------------------------------------------------------------------------------

    async def start(self, *, sockets: Sequence[socket.socket] | None = None) -> None:
        """Open everything and listen; once, as nobody comes back to a server that has drained.

        `sockets` that are bound already are listened on in place of an address of the settings.
        Raises `ConfigurationError` where an address or a certificate cannot be used, or the store's file is in use,
        `StoreUnusable`, and `StoreUnavailable` where the store may yet come.
        """
        if self._started:
            raise UsageError("a server is started once; make another one")
        self._started = True
        self._advise()
        self._network.prepare()
        try:
            await self.site.open(sweep=False)
            await self._join()
            if self._setup is not None:
                await self._setup.finish()
            await self.callbacks.notify("startup", self)
            await self.site.begin_sweeping()  # now that all callbacks are there for what an earlier process owed
            self._network.listen(self.application, sockets)
        except BaseException:
            await self._leave()
            await self.site.close(timeout=0)
            raise
        self.site.loopback_only = self._network.loopback_only

    async def stop(self) -> int:
        """Drain and close; return how many sessions' end callbacks were still undelivered at the end.

        Not ready, no new connections; requests finish and sockets get 1001, within `server.drain_timeout`; sessions end
        with `shutdown`, and their callbacks run.
        """
        self.site.begin_draining()
        timeout = self.settings.server.drain_timeout
        until = self._clock.monotonic() + timeout + LAST_CALLBACKS
        self._network.stop_accepting()
        if self._started:
            await asyncio.gather(self.hub.drain(_window(timeout, len(self.hub))), self._network.drain(timeout))
        undelivered = await self.sessions.drain(timeout=until - self._clock.monotonic())
        await self.callbacks.notify("shutdown", self)
        await self._leave()
        await self.site.close(timeout=0)
        await self._network.close()
        self._files.close()
        self.application.close()
        return undelivered

    async def _join(self) -> None:
        """Begin to speak with other nodes, where there may be some."""
        if self._relay is not None:
            await self._relay.open()
        if self._rate_sharing is not None:
            self._rate_sharing.open()

    async def _leave(self) -> None:
        if self._rate_sharing is not None:
            await self._rate_sharing.close()
        if self._relay is not None:
            await self._relay.close()

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain; exits the process where that fails, see `serve`."""
        status = self.serve()
        if status:
            sys.exit(status)

    def serve(self) -> int:
        """Serve until SIGTERM or SIGINT, then drain; a second signal ends at once. SIGHUP reads the settings again.

        With `server.workers` above 1 this process becomes the parent of that many, each of which runs this same program
        from its beginning, up to here; SIGUSR2 starts others in their place, one after the other.

        Returns the process's exit status: 0 after a clean drain, 2 for a mistake in the settings, 1 for a store that cannot
        be used. The process ends at once, with 1, on the second signal and where end callbacks could not be delivered.
        """
        return process.serve(self)

    # --- settings in force ------------------------------------------------------------------------

    async def reload(self) -> None:
        """Read the settings again, and take over what can change while running; a mistake changes nothing."""
        try:
            new = self._reread() if self._reread is not None else self.settings
            changed, fixed = reload_differences(self.settings, new)
            self._use(merged_settings(self.settings, new))
        except ConfigurationError as error:
            for mistake in error.mistakes:
                _log.error("settings not reloaded: %s", mistake)
            return
        logs.set_level(self.settings.log.level)
        for key in fixed:
            _log.warning("%s changed in the settings; it needs a restart", key)
        _log.info("settings reloaded; changed: %s", ", ".join(changed) or "nothing")
        await self.poll_users()

    def _use(self, settings: Settings) -> None:
        """Hand settings to all parts. Raises `ConfigurationError` before anything has changed."""
        self._network.use(settings)
        self.site.rates = self._network.rates
        self.settings = self.site.settings = settings
        self.callbacks.timeout = settings.session.callback_timeout
        self.sessions.use(settings.session)
        self.hub.use(settings)
        self._authentication.use(settings.auth)

    async def poll_users(self) -> None:
        """Look whether the users file changed, and end the sessions of those whose line did, or who are gone."""
        if self.site.users is not None:
            await self.site.users.poll()

    def _advise(self) -> None:
        """Say at the start what the operator may not expect."""
        settings = self.settings
        if not settings.static.folder.is_dir():
            _log.warning("static.root: %s is no folder; no files are served", settings.static.folder)
        for name in ("idle_timeout", "absolute_timeout"):
            if not getattr(settings.session, name):
                _log.warning("session.%s is 0: no session ends by it, ever", name)
        for name, is_set in (("cache", settings.store.cache > 0), ("outage", settings.store.grace > 0)):
            if is_set and settings.store.kind != "redis":
                _log.warning("store.%s: has no effect with store.kind: %s", name, settings.store.kind)
        if self.sessions.store.lease and self._relay is None:
            _log.warning(
                "the store is one of several nodes, and there is no broker: log-outs, messages and rates of others are not"
                " heard of; set store.kind, or give a Backing with a broker"
            )
        if "url" in settings.session.identity:
            _log.warning("session.identity has `url`: tokens in addresses end up in logs, histories and referrers")


def _window(timeout: float, sockets: int) -> float:
    """Return over how many seconds the closing of sockets is spread: a hundred per second, most of the time-out at most."""
    return min(timeout * 0.8, sockets / 100)
