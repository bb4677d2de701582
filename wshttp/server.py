"""The server: its parts, wired; opened in order, and closed in reverse order."""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import ipaddress
import logging
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from wshttp import logs
from wshttp.auth.authenticator import Authenticator
from wshttp.auth.passwords import PasswordHasher
from wshttp.auth.throttle import Throttle
from wshttp.auth.users_file import Reload, UsersFile
from wshttp.collector import Collector
from wshttp.config import Settings, load_settings, merged_settings, reload_differences
from wshttp.engine.address import TrustedProxies
from wshttp.engine.limits import Limits
from wshttp.engine.listeners import Listener, bind_tcp, bind_unix, raise_file_limit
from wshttp.engine.rates import AddressRates
from wshttp.engine.stock import StockServer
from wshttp.engine.tls import TlsContext
from wshttp.errors import ConfigurationError, Forbidden, StoreUnusable, UsageError
from wshttp.realtime.hub import Hub
from wshttp.sessions.callbacks import Callbacks
from wshttp.sessions.clock import Clock, SystemClock
from wshttp.sessions.decorators import CallbackDecorators
from wshttp.sessions.session_list import SessionList
from wshttp.stores.memory import MemoryStore
from wshttp.stores.memory_shared import MemoryShared
from wshttp.stores.sqlite import SqliteStore
from wshttp.web.access_log import AccessLog
from wshttp.web.application import HandlerRule, SiteApplication
from wshttp.web.endpoint import Endpoint
from wshttp.web.file_root import FileRoot
from wshttp.web.metrics import Metrics
from wshttp.web.site import Site

F = TypeVar("F", bound=Callable[..., Any])

USERS_INTERVAL = 1.0
"""Seconds between looks at the users file."""

LAST_CALLBACKS = 5.0
"""Seconds beyond `server.drain_timeout` that end callbacks get at a shutdown."""

_log = logging.getLogger("wshttp.server")


class Server(CallbackDecorators):
    """HTTP and WebSocket on one port, with one list of sessions behind both.

        server = Server.from_config("config/wshttp.yaml")

        @server.get("/visits")
        async def visits(request):
            return {"visits": await request.session.increment("visits")}

        server.run()

    `sessions` is the list, `hub` has the open WebSockets, `application` is Tornado's.
    To embed it, `await server.start()` and `await server.stop()`; `addresses` then says where it listens.
    """

    def __init__(self, settings: Settings | None = None, *, clock: Clock | None = None) -> None:
        self.settings = settings or Settings()
        self.addresses: list[str] = []
        """Where the server listens, such as `http://127.0.0.1:8080`; while it runs."""
        self._reread: Callable[[], Settings] | None = None
        self._clock = clock or SystemClock()
        self._store = _store_of(self.settings, self._clock)
        self._shared = MemoryShared(self._clock)
        self.callbacks = Callbacks(self.settings.session.callback_timeout)
        self.sessions = SessionList(
            self.settings.session,
            self._store,
            callbacks=self.callbacks,
            clock=self._clock,
            store_timeout=self.settings.store.timeout,
        )
        self.hub = Hub(self.settings, self.callbacks, self._clock)
        self.sessions.notifier = self.hub
        self._hasher = PasswordHasher(self.settings.auth.threads)
        self._throttle = Throttle(self._shared, self._clock)
        self._authenticator = Authenticator(
            None,
            lambda: self.callbacks["authenticate"],
            self._hasher,
            self._throttle,
            self._clock,
            on_error=lambda error: _log.error("on_authenticate failed", exc_info=error),
        )
        self.site = Site(self.settings, self.sessions, self.hub, self.callbacks, self._authenticator)
        self.site.ready = lambda: self._store.available
        self._metrics = Metrics(self.site, self._connection_totals)
        self._files = FileRoot(self.settings.static.folder, self.settings.static.index)
        self.application = SiteApplication(self.site, self._metrics, log_function=AccessLog(self._metrics))
        self.application.serve_files(self._files, lambda: self.settings.static.cache)
        self._tls: TlsContext | None = None
        self._engine: StockServer | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._started = False
        self._rates = _rates_of(self.settings, self._clock)
        self._unfinished_setup: Awaitable[Any] | None = None
        self._reloading: asyncio.Future[None] | None = None
        self._use(self.settings)

    @classmethod
    def from_config(
        cls,
        path: str | os.PathLike[str] | None,
        *,
        environ: Mapping[str, str] = os.environ,
        overrides: Sequence[str] = (),
    ) -> Server:
        """Make a server from a YAML file, the environment, and overrides such as `server.port=0`, in this order.

        `None` for the file: the defaults. Where `app` is set, its function is called with the server.
        Raises `ConfigurationError` with every mistake.
        """
        read = functools.partial(load_settings, path, environ=environ, overrides=overrides)
        server = cls(read())
        server._reread = read
        if server.settings.app is not None:
            server._set_up(server.settings.app)
        return server

    def _set_up(self, app: str) -> None:
        """Import the function that `app` names, and call it with the server."""
        module, _, name = app.partition(":")
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        try:
            setup = functools.reduce(getattr, name.split("."), importlib.import_module(module))
            result = setup(self)  # type: ignore[operator]  # what is not callable raises, and is reported
        except Exception as error:
            raise _setup_mistake(app, error) from error
        if inspect.isawaitable(result):
            self._unfinished_setup = result

    async def _finish_set_up(self) -> None:
        """Let an `async` function of `app` do its work, on the loop that the server runs on."""
        unfinished, self._unfinished_setup = self._unfinished_setup, None
        if unfinished is None:
            return
        try:
            await unfinished
        except Exception as error:
            raise _setup_mistake(self.settings.app, error) from error

    # --- registering ------------------------------------------------------------------------------

    def route(
        self, method: str, path: str, *, auto_start: bool | None = None, serialize: bool = False
    ) -> Callable[[F], F]:
        """Answer `method` on `path` with the decorated `function(request)`, plain or async.

        `path` may have parameters, `/rooms/{name}` or, over several segments, `/files/{rest:path}`; those that the
        function takes by name are given to it. What it returns is the answer: `str`, `bytes`, `dict` or `list` (JSON),
        `Response`, an async iterator of `str` or `bytes` (streamed), or `None` (204).
        `auto_start` overrides `session.auto_start`; with `serialize`, requests of one session are handled one at a time.
        """

        def register(function: F) -> F:
            self.application.add_endpoint(method.upper(), path, Endpoint(function, auto_start, serialize))
            return function

        return register

    def get(self, path: str, **options: Any) -> Callable[[F], F]:
        """Answer GET, and HEAD without the body; see `route`."""
        return self.route("GET", path, **options)

    def post(self, path: str, **options: Any) -> Callable[[F], F]:
        """Answer POST; see `route`."""
        return self.route("POST", path, **options)

    def put(self, path: str, **options: Any) -> Callable[[F], F]:
        """Answer PUT; see `route`."""
        return self.route("PUT", path, **options)

    def patch(self, path: str, **options: Any) -> Callable[[F], F]:
        """Answer PATCH; see `route`."""
        return self.route("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> Callable[[F], F]:
        """Answer DELETE; see `route`."""
        return self.route("DELETE", path, **options)

    def websocket(
        self, path: str, *, subprotocols: Iterable[str] = (), auto_start: bool | None = None
    ) -> Callable[[F], F]:
        """Handle messages of WebSockets at `path` with the decorated `function(connection, message)`.

        Messages of one connection come one after the other; text as `str`, binary as `bytes`.
        The first of `subprotocols` that a client offers is chosen.
        """

        def register(function: F) -> F:
            self.application.add_socket(path, function, tuple(subprotocols), auto_start)
            return function

        return register

    def add_handlers(self, rules: Iterable[HandlerRule]) -> None:
        """Add Tornado handlers, as `tornado.web.Application` takes them: `[(pattern, class, arguments), ...]`.

        All stand behind the gate; those derived from `SessionHandler` and `SessionWebSocketHandler` have a session.
        """
        self.application.add_site_handlers(rules)

    # --- life -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open everything and listen; once, as nobody comes back to a server that has drained.

        Raises `ConfigurationError` where an address or a certificate cannot be used, or the store's file is in use, and
        `StoreUnusable`.
        """
        if self._started:
            raise UsageError("a server is started once; make another one")
        self._started = True
        self._advise()
        self._tls = _tls_of(self.settings)
        if self._authenticator.users_file is not None:
            self._report_users(await asyncio.to_thread(self._authenticator.users_file.load))
        await self.sessions.open(sweep=False)
        try:
            await self._finish_set_up()
            await self.callbacks.notify("startup", self)
            await self._dismiss_outdated()
            self.sessions.begin_sweeping()  # now that all callbacks are there for what an earlier process owed
            self._listen()
        except BaseException:
            await self.sessions.close(timeout=0)
            raise
        self._watcher = asyncio.create_task(self._watch_users())

    def _listen(self) -> None:
        settings = self.settings.server
        self._engine = StockServer(
            self.application,
            tls=self._tls,
            proxies=TrustedProxies(
                [network for network in settings.trusted_proxies if network != "unix"],
                unix="unix" in settings.trusted_proxies,
                header=settings.proxy_header,
            ),
            limits=_limits_of(self.settings),
            on_accept=self._admit,
            ipv6_prefix=self.settings.session.ipv6_prefix,
        )
        listeners = _bind(self.settings)
        self._engine.add_listeners(listeners)
        self.addresses = [listener.address for listener in listeners]
        self.site.loopback_only = all(_is_loopback(listener) for listener in listeners)

    def _admit(self, ip: str, bucket: str) -> float | None:
        """Say whether a new connection may come in; see `engine.limits.AcceptHook`."""
        rates = self.site.rates
        if rates is None:
            return None
        if rates.denied(ip):
            raise Forbidden("connections from this address are not accepted")
        return self._rates.connection(ip, bucket)

    async def stop(self) -> int:
        """Drain and close; return how many sessions' end callbacks were still undelivered at the end.

        Not ready, no new connections; requests finish and sockets get 1001, within `server.drain_timeout`; sessions end
        with `shutdown`, and their callbacks run.
        """
        self.site.draining = True
        timeout = self.settings.server.drain_timeout
        until = self._clock.monotonic() + timeout + LAST_CALLBACKS
        if self._watcher is not None:
            self._watcher.cancel()
        if self._engine is not None:
            self._engine.stop_accepting()
            await asyncio.gather(self.hub.drain(_window(timeout, len(self.hub))), self._engine.drain(timeout))
        undelivered = await self.sessions.drain(timeout=until - self._clock.monotonic())
        await self.callbacks.notify("shutdown", self)
        await self.sessions.close(timeout=0)
        await self.hub.stop()
        if self._engine is not None:
            await self._engine.close()
            self._engine = None
        await self._authenticator.close()
        await self._hasher.close()
        self._files.close()
        self.addresses = []
        return undelivered

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain; exits the process where that fails, see `serve`."""
        status = self.serve()
        if status:
            sys.exit(status)

    def serve(self) -> int:
        """Serve until SIGTERM or SIGINT, then drain; a second signal ends at once. SIGHUP reads the settings again.

        Returns the process's exit status: 0 after a clean drain, 2 for a mistake in the settings, 1 for a store
        that cannot be used. The process ends at
        once, with 1, on the second signal and where end callbacks could not be delivered.
        """
        logs.configure(self.settings.log.level, self.settings.log.format)
        try:
            return asyncio.run(self._serve())
        except ConfigurationError as error:
            for mistake in error.mistakes:
                print(mistake, file=sys.stderr)
            return 2
        except StoreUnusable as error:
            print(error, file=sys.stderr)
            return 1

    async def _serve(self) -> int:
        loop, stopping = asyncio.get_running_loop(), asyncio.Event()
        asked = False

        # Not the loop's own signal handlers: in a program that never gives the loop back, nobody would hear the second.
        def on_signal(number: int, frame: FrameType | None) -> None:
            nonlocal asked
            if asked:
                os._exit(1)
            asked = True
            loop.call_soon_threadsafe(stopping.set)

        before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        loop.add_signal_handler(signal.SIGHUP, self._reload_soon)
        try:
            await self.start()
            async with Collector(lambda: self.sessions.busy):
                print(f"wshttp listening on {', '.join(self.addresses)}", flush=True)
                await stopping.wait()
                undelivered = await self.stop()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if undelivered:
            _log.error("%d sessions' end callbacks were not delivered", undelivered)
            sys.stdout.flush()
            logging.shutdown()
            os._exit(1)  # Python itself would wait without end for a thread that such a callback waits for
        return 0

    # --- settings in force ------------------------------------------------------------------------

    def _reload_soon(self) -> None:
        self._reloading = asyncio.ensure_future(self.reload())  # kept: the loop alone does not hold on to a task

    async def reload(self) -> None:
        """Read the settings again, and take over what can change while running; a mistake changes nothing."""
        try:
            new = self._reread() if self._reread is not None else self.settings
            merged = merged_settings(self.settings, new)
            if self._tls is not None:
                self._tls.reload(merged.server.tls.certificate, merged.server.tls.key)
        except ConfigurationError as error:
            for mistake in error.mistakes:
                _log.error("settings not reloaded: %s", mistake)
            return
        changed, fixed = reload_differences(self.settings, new)
        for key in fixed:
            _log.warning("%s changed in the settings; it needs a restart", key)
        users_file = self._authenticator.users_file
        if merged.server.max_connections != self.settings.server.max_connections:
            _raise_file_limit(merged.server.max_connections)
        self._use(merged)
        _log.info("settings reloaded; changed: %s", ", ".join(changed) or "nothing")
        if users_file is not None and self._authenticator.users_file is None:
            await self._dismiss(users_file.users)
        await self.poll_users()

    def _use(self, settings: Settings) -> None:
        """Hand settings to all parts; the one place that knows which part takes what."""
        if settings.rate != self.settings.rate:  # else who is banned would be free again
            self._rates = _rates_of(settings, self._clock)
        self.site.rates = self._rates
        self.settings = self.site.settings = settings
        self.callbacks.timeout = settings.session.callback_timeout
        self.sessions.settings = settings.session
        self._store.use(tombstone=settings.session.tombstone, warn_before=settings.session.warn_before)
        self.hub.use(settings)
        auth = settings.auth
        self._throttle.max_failures = auth.max_failures
        self._throttle.window = auth.failure_window
        self._authenticator.cache_for = auth.cache
        self._authenticator.roles = auth.roles
        users_file = self._authenticator.users_file
        if auth.users_file is None:
            self._authenticator.users_file = None
        elif users_file is None:
            self._authenticator.users_file = UsersFile(auth.users_file)
        else:
            users_file.path = auth.users_file  # the next look finds out who is in the other one, and who no longer
        if self._engine is not None:
            self._engine.limits = _limits_of(settings)
            logs.set_level(settings.log.level)

    def _advise(self) -> None:
        """Say at the start what the operator may not expect."""
        settings = self.settings
        _raise_file_limit(settings.server.max_connections)
        if not settings.static.folder.is_dir():
            _log.warning("static.root: %s is no folder; no files are served", settings.static.folder)
        for name in ("idle_timeout", "absolute_timeout"):
            if not getattr(settings.session, name):
                _log.warning("session.%s is 0: no session ends by it, ever", name)
        if "url" in settings.session.identity:
            _log.warning("session.identity has `url`: tokens in addresses end up in logs, histories and referrers")

    # --- users ------------------------------------------------------------------------------------

    async def _watch_users(self) -> None:
        while True:
            await asyncio.sleep(USERS_INTERVAL)
            try:
                await self.poll_users()
            except Exception:
                _log.exception("the users file could not be looked at")

    async def poll_users(self) -> None:
        """Look whether the users file changed, and end the sessions of those whose line did, or who are gone."""
        users_file = self._authenticator.users_file
        reload = None if users_file is None else await users_file.poll()
        if reload is None:
            return
        self._report_users(reload)
        await self._dismiss(reload.changed)

    async def _dismiss_outdated(self) -> None:
        """End the sessions of users who were changed or removed in the users file while no server ran.

        Where `on_authenticate` knows users too, nobody can tell whose they are.
        """
        users_file = self._authenticator.users_file
        if users_file is None or self.callbacks["authenticate"] or not self.sessions.store.outlives_process:
            return
        async for session in self.sessions.scan():
            entry = None if session.user is None else users_file.users.get(session.user)
            if session.record.version and (entry is None or entry.version != session.record.version):
                await self.sessions.end(session, "credentials")

    async def _dismiss(self, users: Iterable[str]) -> None:
        """Forget what is known of these users, whose passwords are no longer what they were, and end their sessions."""
        for user in users:
            self._authenticator.forget(user)
            await self._throttle.forgive(user)
            await self.sessions.end_all(user=user, reason="credentials")

    def _report_users(self, reload: Reload) -> None:
        for mistake in reload.mistakes:
            _log.error("users file not used: %s", mistake)
        if reload.notice:
            _log.warning("%s", reload.notice)

    def _connection_totals(self) -> dict[str, int]:
        counts = self._engine.counts if self._engine is not None else None
        return {} if counts is None else {"accepted": counts.accepted, "refused": counts.refused}


def _setup_mistake(app: str | None, error: Exception) -> ConfigurationError:
    """Say in one line what an application's setup raised and where, for its author: our own frames are of no interest."""
    ours = (str(Path(__file__).parent), str(importlib.__file__), "<frozen importlib")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(ours)]
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    text = f"app: {app} cannot be used: {type(error).__name__}: {error}{place}"
    return ConfigurationError([" ".join(text.split())])


def _raise_file_limit(max_connections: int) -> None:
    """Make room for connections (0: no limit, no need), or say that the system does not let us."""
    if not max_connections:
        return
    files = raise_file_limit(max_connections)
    if files.got < files.wanted:
        _log.warning(
            "server.max_connections needs %d open files, and the system allows %d: raise `ulimit -Hn` "
            "(systemd: LimitNOFILE), or lower the setting",
            files.wanted,
            files.got,
        )


def _store_of(settings: Settings, clock: Clock) -> MemoryStore | SqliteStore:
    if settings.store.kind == "sqlite":
        return SqliteStore(settings.store.path, clock, timeout=settings.store.timeout)
    return MemoryStore(clock)


def _rates_of(settings: Settings, clock: Clock) -> AddressRates:
    rate = settings.rate
    return AddressRates(
        rate.requests_per_second,
        rate.burst,
        rate.connections_per_minute,
        rate.ban,
        rate.allow,
        rate.deny,
        monotonic=clock.monotonic,
    )


def _window(timeout: float, sockets: int) -> float:
    """Return over how many seconds the closing of sockets is spread: a hundred per second, most of the time-out at most."""
    return min(timeout * 0.8, sockets / 100)


def _limits_of(settings: Settings) -> Limits:
    server = settings.server
    return Limits(
        max_connections=server.max_connections,
        max_connections_per_ip=server.max_connections_per_ip,
        max_header_size=server.max_header_size,
        max_body_size=server.max_body_size,
        header_timeout=server.header_timeout,
        idle_timeout=server.idle_timeout,
        body_timeout=server.body_timeout,
        write_timeout=server.write_timeout,
    )


def _tls_of(settings: Settings) -> TlsContext | None:
    tls = settings.server.tls
    return None if tls.certificate is None else TlsContext(tls.certificate, tls.key)


def _bind(settings: Settings) -> list[Listener]:
    server = settings.server
    if server.unix_socket is not None:
        return [bind_unix(server.unix_socket, proxy_protocol=server.proxy_protocol)]
    return bind_tcp(
        server.host, server.port, tls=server.tls.certificate is not None, proxy_protocol=server.proxy_protocol
    )


def _is_loopback(listener: Listener) -> bool:
    """Whether only this machine can connect; a Unix socket's clients come through a proxy, from anywhere."""
    if listener.address.startswith("unix:"):
        return False
    return ipaddress.ip_address(listener.socket.getsockname()[0]).is_loopback
