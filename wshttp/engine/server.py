"""The server that both engines are: listeners, the way in, limits, refusals, time-outs, drain.

How HTTP is spoken on a connection that was let in is an engine's own, and one method here (`_speak`).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, cast

from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop, PeriodicCallback
from tornado.netutil import ssl_options_to_context
from tornado.platform.asyncio import BaseAsyncIOLoop

from wshttp.addresses import bucket
from wshttp.engine.acceptor import Acceptor
from wshttp.engine.address import TrustedProxies, canonical_ip
from wshttp.engine.limits import AcceptHook, ConnectionCounts, Limits
from wshttp.engine.link import Link
from wshttp.engine.listeners import Listener, is_unix
from wshttp.engine.preamble import Preamble
from wshttp.engine.refusals import Refusals
from wshttp.engine.tls import TlsContext
from wshttp.errors import LimitReached, PeerError, TooManyRequests, UsageError

TICK = 1.0
"""Seconds between two looks at the timers: no time-out is later than this."""

_SETTLING_TURNS = 8
"""Turns of the loop in which a connection that was just accepted reads what has arrived for it."""

log = logging.getLogger(__name__)


class EngineServer(HTTPServer):
    """Serve a `tornado.web.Application` (or any `HTTPServerConnectionDelegate`).

        server = NativeServer(application, proxies=TrustedProxies(["10.0.0.0/8"]), limits=Limits(max_connections=500))
        server.add_listeners(bind_tcp("127.0.0.1", 8080))
        ...
        cut = await server.drain(timeout=10)
        await server.close()

    Arguments by name: `tls` for the listeners that speak it, `proxies` (default: none is trusted), `limits`,
    `on_accept`, `ipv6_prefix` for the buckets of addresses (bits, default 64), `clock` (monotonic seconds),
    and those of `HTTPServer` except `xheaders`; its sizes and time-outs count only where `limits` is not given.
    """

    def initialize(  # type: ignore[override]  # arguments by name only, of which `Configurable` passes any
        self,
        request_callback: Any,
        *,
        tls: TlsContext | None = None,
        proxies: TrustedProxies | None = None,
        limits: Limits | None = None,
        on_accept: AcceptHook | None = None,
        ipv6_prefix: int = 64,
        clock: Callable[[], float] = time.monotonic,
        **http_server: Any,
    ) -> None:
        if http_server.get("xheaders"):
            raise UsageError(
                "xheaders believes every peer; say whom to trust: proxies=wshttp.engine.TrustedProxies(...)"
            )
        super().initialize(request_callback, **http_server)
        self.tls = tls
        self.proxies = proxies or TrustedProxies()
        self.on_accept = on_accept
        self.counts = ConnectionCounts()
        self._ipv6_prefix = ipv6_prefix
        self.now = clock
        self._links: set[Link] = set()
        self._per_bucket: Counter[str] = Counter()
        self._accepting: list[tuple[Acceptor, Listener]] = []
        self._refusals: Refusals | None = None
        self._ticker = PeriodicCallback(self.tick, TICK * 1000)
        self._emptied = asyncio.Event()
        self._unreported_refusals = 0
        self._last_refusal = ""
        self.limits = limits or _limits_of(http_server)

    @property
    def limits(self) -> Limits:
        """The limits in force; assign others at any time."""
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._limits = limits
        self._limits_changed(limits)

    def _limits_changed(self, limits: Limits) -> None:
        """Take over limits that an engine keeps elsewhere, too."""

    # --- listening ------------------------------------------------------------------------------

    def add_listeners(self, listeners: Iterable[Listener]) -> None:
        """Accept connections on these; they are closed with the server."""
        loop = cast(BaseAsyncIOLoop, IOLoop.current()).asyncio_loop
        if self._refusals is None:
            self._refusals = Refusals(loop, self.now)
        for listener in listeners:
            if listener.tls and self.tls is None and self.ssl_options is None:
                raise UsageError(f"{listener.address} needs tls=TlsContext(...)")
            listener.socket.setblocking(False)
            acceptor = Acceptor(loop, listener.socket, partial(self._on_socket, listener))
            acceptor.start()
            self._accepting.append((acceptor, listener))
        if not self._ticker.is_running():
            self._ticker.start()

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        """Accept connections on these, all over TLS or none, as Tornado does."""
        tls = self.tls is not None or self.ssl_options is not None
        self.add_listeners([Listener(sock, tls=tls) for sock in sockets])

    def stop_accepting(self) -> None:
        """Close the listeners; open connections go on."""
        for acceptor, listener in self._accepting:
            acceptor.stop()
            listener.close()
        self._accepting.clear()

    def stop(self) -> None:
        """`stop_accepting`, under the name that Tornado gave it."""
        self.stop_accepting()

    # --- a connection's way in ------------------------------------------------------------------

    def _on_socket(self, listener: Listener, sock: socket.socket, address: Any) -> None:
        self.counts.accepted += 1
        link = Link(None if is_unix(sock) else canonical_ip(address[0]), self.now())
        limit = self._limits.max_connections
        if 0 < limit <= len(self._links):
            self._refuse(link, sock, listener, LimitReached("server.max_connections", limit, in_all=True))
        elif not listener.proxy_protocol:
            self._admit(link, sock, listener)
        elif self.proxies.trusts(link.peer_ip):
            self._await_preamble(link, sock, listener)
        else:
            self._drop(link, sock, f"{link} is no trusted proxy, and only those may speak the PROXY protocol")

    def _await_preamble(self, link: Link, sock: socket.socket, listener: Listener) -> None:
        def go_on(source_ip: str | None) -> None:
            if source_ip is None:
                link.may_forward = False  # a trusted proxy has connected, but it does not say for whom
            else:
                link.peer_ip = source_ip
            self._admit(link, sock, listener)

        def give_up(reason: str) -> None:
            self._drop(link, sock, f"{link}: {reason}")

        def abandon() -> None:
            preamble.cancel()
            sock.close()
            self.forget(link)

        self._remember(link)
        link.closes_by(abandon)
        loop = cast(BaseAsyncIOLoop, IOLoop.current()).asyncio_loop
        preamble = Preamble(loop, sock, go_on, give_up)

    def _admit(self, link: Link, sock: socket.socket, listener: Listener) -> None:
        key = self._bucket_of(link.peer_ip)
        try:
            objection = self._objection_to(link.peer_ip, key)
            if objection is None:
                self._serve(link, sock, listener, key)
            else:
                self._refuse(link, sock, listener, objection)
        except OSError:  # the client was gone before we looked
            self._abandon(link, sock)
        except BaseException:  # a fault in the owner's hook lets nobody in, and leaves no socket behind
            self._abandon(link, sock)
            raise

    def _serve(self, link: Link, sock: socket.socket, listener: Listener, key: str | None) -> None:
        link.protocol = self.protocol or ("https" if listener.tls else "http")
        self._speak(link, sock, listener)
        if key is not None:
            link.bucket = key
            self._per_bucket[key] += 1
        self._remember(link)

    @abstractmethod
    def _speak(self, link: Link, sock: socket.socket, listener: Listener) -> None:
        """Begin to speak HTTP on a socket, over TLS where the listener says so; nothing of it ends before the return.

        From then on the link can be closed, and `forget` is called when it has been, once at least.
        Raises `OSError` where the client has gone; the socket is still the caller's then.
        """

    def _bucket_of(self, peer_ip: str | None) -> str | None:
        """Return what a connection counts by; a trusted proxy's own address is no client's."""
        if peer_ip is None or self.proxies.trusts(peer_ip):
            return None
        return bucket(peer_ip, self._ipv6_prefix)

    def _objection_to(self, ip: str | None, key: str | None) -> PeerError | None:
        if ip is None or key is None:
            return None
        limit = self._limits.max_connections_per_ip
        if 0 < limit <= self._per_bucket[key]:
            return LimitReached("server.max_connections_per_ip", limit, in_all=False)
        try:
            seconds = self.on_accept(ip, key) if self.on_accept else None
        except PeerError as error:
            return error
        return None if seconds is None else TooManyRequests(seconds, "too many connections")

    def _refuse(self, link: Link, sock: socket.socket, listener: Listener, error: PeerError) -> None:
        if listener.tls or self._refusals is None:
            # An answer would cost a handshake, which is what a flood is after.
            self._drop(link, sock, str(error))
            return
        self._note_refusal(str(error))
        self.forget(link)
        self._refusals.answer(sock, error)

    def _drop(self, link: Link, sock: socket.socket, reason: str) -> None:
        self._note_refusal(reason)
        self._abandon(link, sock)

    def _abandon(self, link: Link, sock: socket.socket) -> None:
        sock.close()
        self.forget(link)

    def _note_refusal(self, reason: str) -> None:
        self.counts.refused += 1
        self._unreported_refusals += 1
        self._last_refusal = reason

    def _report_refusals(self) -> None:
        # A line for each would let a flood fill the log.
        if self._unreported_refusals:
            log.warning("refused %d connections; the last: %s", self._unreported_refusals, self._last_refusal)
            self._unreported_refusals = 0

    def _tls_context(self) -> ssl.SSLContext:
        if self.tls is not None:
            return self.tls.context
        return ssl_options_to_context(self.ssl_options or {}, server_side=True)

    def _remember(self, link: Link) -> None:
        self._links.add(link)
        self._emptied.clear()
        self.counts.open = len(self._links)

    def forget(self, link: Link) -> None:
        """Take note that a connection is closed; again is once."""
        link.part()
        self._links.discard(link)
        self.counts.open = len(self._links)
        if link.bucket is not None:
            self._per_bucket[link.bucket] -= 1
            if not self._per_bucket[link.bucket]:
                del self._per_bucket[link.bucket]
            link.bucket = None
        if not self._links:
            self._emptied.set()

    # --- the end --------------------------------------------------------------------------------

    def tick(self) -> None:
        """Close what is overdue. Called every `TICK` seconds by itself."""
        now = self.now()
        for link in tuple(self._links):
            which = link.overdue(now, self._limits)
            if which is not None:
                self.counts.timed_out[which] += 1
                log.debug("closed %s: %s time-out", link, which)
                link.expire(which)
            elif link.has_lingered(now):
                link.close()
        if self._refusals is not None:
            self._refusals.tick()
        self._report_refusals()
        if not (self._accepting or self._links or self._refusals):
            self._ticker.stop()

    async def drain(self, timeout: float, *, linger: float = 0.0) -> int:
        """Let what has begun come to its end, within `timeout` seconds, and return how many connections were cut.

        No connection is accepted any more.
        Idle ones close after `linger` seconds, busy ones after their answer, which says `Connection: close`.
        A client that sends requests one after the other hears that in an answer, then, and not in the middle of a request.
        WebSockets are waited for, too: telling them to go is their owner's.
        """
        self.stop_accepting()
        self.conn_params.no_keep_alive = True
        for link in self._links:
            link.leaving, link.lingering = True, linger > 0
        for _ in range(_SETTLING_TURNS):
            await asyncio.sleep(0)
        linger = min(linger, timeout)
        if linger:
            await self._wait_until_empty(linger)
        for link in tuple(self._links):
            link.lingering = False
            if link.idle:
                link.end()
        await self._wait_until_empty(timeout - linger)
        left = tuple(self._links)
        cut = sum(not link.answered for link in left)
        for link in left:
            link.close()
        return cut

    async def _wait_until_empty(self, timeout: float) -> None:
        if not self._links:
            return
        try:
            await asyncio.wait_for(self._emptied.wait(), timeout)
        except TimeoutError:
            pass

    async def close_all_connections(self) -> None:
        """Close all connections except WebSockets, as Tornado does, and wait until they have ended."""
        links = [link for link in self._links if not link.detached]
        for link in links:
            link.close()
        await self._wait_for_ends(links)

    @abstractmethod
    async def _wait_for_ends(self, links: Sequence[Link]) -> None:
        """Wait until what ran for these links, which have been closed, has ended."""

    async def close(self) -> None:
        """Close everything now: listeners, connections, WebSockets."""
        self.stop_accepting()
        await self.close_all_connections()
        for link in tuple(self._links):
            link.close()
        if self._refusals is not None:
            self._refusals.close()
        self._ticker.stop()


_IN_TORNADOS_WORDS = {
    "max_header_size": ("max_header_size",),
    "max_body_size": ("max_body_size",),
    "idle_connection_timeout": ("header_timeout", "idle_timeout"),
    "body_timeout": ("body_timeout",),
}


def _limits_of(http_server: dict[str, Any]) -> Limits:
    """Take over what was given in Tornado's own words, for `HTTPServer.configure(...)`."""
    return Limits(
        **{
            ours: http_server[theirs]
            for theirs, all_ours in _IN_TORNADOS_WORDS.items()
            for ours in all_ours
            if http_server.get(theirs)
        }
    )
