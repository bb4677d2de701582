"""The engine under a server, in the words of its settings. Nobody else knows that there is one."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Final

from tornado.web import Application

from wshttp.config import ServerSettings, Settings
from wshttp.engine.address import TrustedProxies
from wshttp.engine.limits import ConnectionCounts, Limits
from wshttp.engine.listeners import Listener, adopt, bind_tcp, bind_unix, raise_file_limit
from wshttp.engine.rates import AddressRates
from wshttp.engine.server import EngineServer
from wshttp.engine.tls import TlsContext
from wshttp.errors import ConfigurationError, Forbidden
from wshttp.sessions.clock import Clock

LINGER: Final = 1.0
"""Seconds that idle connections stay open in a drain when another process goes on listening in our place."""

_log = logging.getLogger("wshttp.server")


class Network:
    """Listeners, limits, rates and the certificate of a server."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.addresses: list[str] = []
        """Where it listens, such as `http://127.0.0.1:8080`."""
        self.loopback_only = False
        """All listeners are on loopback addresses."""
        self.rates = _rates_of(settings, clock)
        self.engine: EngineServer | None = None
        """While it listens."""
        self._settings = settings
        self._clock = clock
        self._tls: TlsContext | None = None
        self._linger = 0.0
        self._is_native = False

    @property
    def counts(self) -> ConnectionCounts:
        """What the engine has counted since it listens."""
        return ConnectionCounts() if self.engine is None else self.engine.counts

    def prepare(self) -> None:
        """Choose the engine, load the certificate, have the system allow enough files. Raises `ConfigurationError`."""
        server = self._settings.server
        self._is_native = is_native(server)
        _raise_file_limit(server.max_connections)
        if server.tls.certificate is not None:
            self._tls = TlsContext(server.tls.certificate, server.tls.key)

    def listen(self, application: Application, sockets: Sequence[socket.socket] | None = None) -> None:
        """Take in connections, on `sockets` if given. Raises `ConfigurationError` where an address cannot be had."""
        server = self._settings.server
        listeners = bind(server) if sockets is None else _adopt(server, sockets)
        self._linger = 0.0 if sockets is None else LINGER
        self.engine = _engine(self._is_native)(
            application,
            tls=self._tls,
            proxies=TrustedProxies(
                [network for network in server.trusted_proxies if network != "unix"],
                unix="unix" in server.trusted_proxies,
                header=server.proxy_header,
            ),
            limits=_limits_of(server),
            on_accept=self._admit,
            ipv6_prefix=self._settings.session.ipv6_prefix,
        )
        self.engine.add_listeners(listeners)
        self.addresses = [listener.address for listener in listeners]
        self.loopback_only = all(_is_loopback(listener) for listener in listeners)

    def use(self, settings: Settings) -> None:
        """Take over settings. Raises `ConfigurationError` for another certificate that cannot be used; nothing changes then."""
        server = settings.server
        if self._tls is not None:
            self._tls.reload(server.tls.certificate, server.tls.key)
        before, self._settings = self._settings, settings
        if settings.rate != before.rate:  # else who is banned would be free again
            self.rates = _rates_of(settings, self._clock)
        if server.max_connections != before.server.max_connections:
            _raise_file_limit(server.max_connections)
        if self.engine is not None:
            self.engine.limits = _limits_of(server)

    def stop_accepting(self) -> None:
        """Take in no more connections."""
        if self.engine is not None:
            self.engine.stop_accepting()

    async def drain(self, timeout: float) -> None:
        """Wait at most `timeout` seconds until requests are answered and connections closed."""
        if self.engine is not None:
            await self.engine.drain(timeout, linger=self._linger)

    async def close(self) -> None:
        """Close what is still open."""
        engine, self.engine, self.addresses = self.engine, None, []
        if engine is not None:
            await engine.close()

    def _admit(self, ip: str, bucket: str) -> float | None:
        """Say whether a new connection may come in; see `engine.limits.AcceptHook`."""
        if self.rates.denied(ip):
            raise Forbidden("connections from this address are not accepted")
        return self.rates.connection(ip, bucket)


def is_native(server: ServerSettings) -> bool:
    """Tell whether the engine is the native one. Raises `ConfigurationError` where it is asked for and cannot be."""
    if server.engine == "tornado":
        return False
    has_loop = sys.implementation.name == "cpython" and find_spec("uvloop") is not None
    if server.engine == "native" and not has_loop:
        raise ConfigurationError(
            ["server.engine: native needs uvloop: `pip install uvloop` (CPython on Linux or macOS), or choose `auto`"]
        )
    return has_loop


def loop_factory(server: ServerSettings) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the loop that the engine is fastest on, `None` for asyncio's own. Raises `ConfigurationError`."""
    if not is_native(server):
        return None
    import uvloop

    return uvloop.new_event_loop


def _engine(is_native: bool) -> type[EngineServer]:
    if is_native:
        from wshttp.engine.native import NativeServer

        return NativeServer
    from wshttp.engine.stock import StockServer

    return StockServer


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


def _limits_of(server: ServerSettings) -> Limits:
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


def bind(server: ServerSettings, *, shared: bool = False) -> list[Listener]:
    """Listen where the settings say; `shared`: each may have a twin. Raises `ConfigurationError`."""
    if server.unix_socket is not None:
        return [bind_unix(server.unix_socket, proxy_protocol=server.proxy_protocol)]
    return bind_tcp(
        server.host,
        server.port,
        tls=server.tls.certificate is not None,
        proxy_protocol=server.proxy_protocol,
        shared=shared,
    )


def _adopt(server: ServerSettings, sockets: Sequence[socket.socket]) -> list[Listener]:
    return adopt(sockets, tls=server.tls.certificate is not None, proxy_protocol=server.proxy_protocol)


def _is_loopback(listener: Listener) -> bool:
    """Whether only this machine can connect; a Unix socket's clients come through a proxy, from anywhere."""
    if listener.address.startswith("unix:"):
        return False
    return ipaddress.ip_address(listener.socket.getsockname()[0]).is_loopback


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
