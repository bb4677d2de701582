"""Numbers for Prometheus. Labels are bounded: reasons, settings and statuses, never a user, an address or a path."""

from __future__ import annotations

import collections
import ipaddress
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler

from wshttp.auth.authenticator import OUTCOMES
from wshttp.errors import Forbidden, StoreUnavailable
from wshttp.realtime.close_codes import KNOWN
from wshttp.realtime.hub import Hub
from wshttp.sessions.store import Timed
from wshttp.web import checks
from wshttp.web.gate import Gate
from wshttp.web.site import Site
from wshttp.web.timings import Timings
from wshttp.web.version import version

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds for what somebody waits for."""

LATE: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Bounds for ends, which are half a second late at most while all is well."""

_NONE_CLOSED: Final = {str(code): 0 for code in sorted(KNOWN)}
"""Each is there from the beginning: Prometheus takes a series that comes up with a 1 for one that has not changed."""


class ConnectionCounts(Protocol):
    """What is known of TCP connections; the engine's has these names."""

    @property
    def accepted(self) -> int: ...
    @property
    def refused(self) -> int: ...
    @property
    def open(self) -> int: ...
    @property
    def timed_out(self) -> Mapping[Any, int]: ...


class Answered(Protocol):
    """A request that has been answered: Tornado's handlers are such, and exchanges of function endpoints.

    What has an `is_stream` that is true is an answer that goes on for as long as somebody listens.
    """

    @property
    def request(self) -> HTTPServerRequest: ...
    def get_status(self) -> int: ...


class Metrics:
    """All metrics of one server, in a registry of its own."""

    def __init__(self, site: Site, network: Callable[[], ConnectionCounts]) -> None:
        self.registry = CollectorRegistry()
        self.answers: collections.Counter[tuple[str, int]] = collections.Counter()
        """Answers by method and status; a method that somebody has made up is `other`."""
        self.request_seconds = self._timings(
            "wshttp_request_seconds", "Time from a request's headers to the end of its answer.", SECONDS
        )
        self.message_seconds = self._timings(
            "wshttp_message_seconds", "Time that the handling of a message took.", SECONDS
        )
        self.store_seconds = self._timings("wshttp_store_seconds", "Time that the store took to answer.", SECONDS)
        self.lateness = self._timings(
            "wshttp_session_end_lateness_seconds", "Time between a deadline and the end that it brought.", LATE
        )
        site.sessions.statistics.on_lateness = self.lateness.observe
        site.hub.statistics.on_handled = self.message_seconds.observe
        if isinstance(site.sessions.store, Timed):
            site.sessions.store.on_latency = self.store_seconds.observe
        self.network = network
        self._totals = _Totals(site, network, self.answers)
        self.registry.register(self._totals)

    def _timings(self, name: str, documentation: str, bounds: tuple[float, ...]) -> Timings:
        return Timings(name, documentation, bounds, self.registry)

    def observe(self, answered: Answered) -> None:
        """Count an answered request."""
        method = answered.request.method or ""
        self.answers[method if method in RequestHandler.SUPPORTED_METHODS else "other", answered.get_status()] += 1
        if not getattr(answered, "is_stream", False):
            self.request_seconds.observe(answered.request.request_time())

    @property
    def statuses(self) -> collections.Counter[str]:
        """Answers by the hundred of their status, such as `2xx`."""
        found: collections.Counter[str] = collections.Counter()
        for (_, status), count in self.answers.items():
            found[f"{status // 100}xx"] += count
        return found

    async def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        await self._totals.ask_store()
        return generate_latest(self.registry)


def login_outcomes(site: Site) -> dict[str, int]:
    """Return how log-ins came out; what is remembered as right is no log-in."""
    authenticator = site.authenticator
    found = {} if authenticator is None else authenticator.outcomes
    return {outcome: found.get(outcome, 0) for outcome in OUTCOMES}


def closed_by_code(hub: Hub) -> dict[str, int]:
    """Return how many connections closed, by code; those without a meaning here as `other`."""
    found: collections.Counter[str] = collections.Counter()
    for code, count in hub.statistics.closed.items():
        found[str(code) if code in KNOWN else "other"] += count
    return dict(found)


class _Totals(Collector):
    """What other parts count, read when somebody asks."""

    def __init__(
        self, site: Site, network: Callable[[], ConnectionCounts], answers: Mapping[tuple[str, int], int]
    ) -> None:
        self._site = site
        self._network = network
        self._answers = answers
        self._in_store: list[GaugeMetricFamily] = []

    async def ask_store(self) -> None:
        """Ask what only the store knows. While it is away that is left out: nobody knows it, least of all that it is 0."""
        sessions = self._site.sessions
        self._in_store.clear()
        try:
            owed, count = await sessions.store.owed(), await sessions.count()
        except StoreUnavailable:
            return
        self._in_store += [
            GaugeMetricFamily("wshttp_sessions", "Live sessions.", count),
            GaugeMetricFamily("wshttp_ledger_owed", "Starts and ends whose callbacks have not run.", owed),
        ]

    def collect(self) -> Iterator[Metric]:
        sessions, hub = self._site.sessions.statistics, self._site.hub
        yield from self._in_store
        requests = CounterMetricFamily("wshttp_requests", "HTTP requests answered.", labels=["method", "status"])
        for (method, status), count in self._answers.items():
            requests.add_metric([method, str(status)], count)
        yield requests
        yield GaugeMetricFamily("wshttp_store_up", "Whether the store answers.", self._site.sessions.store.available)
        waiting = len(self._site.sessions.outage)
        yield GaugeMetricFamily("wshttp_store_waiting", "Connections with a message that waits for the store.", waiting)
        yield CounterMetricFamily("wshttp_sessions_started", "Sessions started.", sessions.started)
        yield _labelled("wshttp_sessions_ended", "Sessions ended.", "reason", sessions.ended)
        yield _labelled("wshttp_sessions_refused", "Sessions that a limit kept out.", "limit", sessions.refused)
        yield InfoMetricFamily("wshttp_build", "The version of the program.", {"version": version()})
        yield GaugeMetricFamily(
            "wshttp_nodes", "Nodes that are heard, this one included.", 1 + len(hub.elsewhere.nodes())
        )
        logins = login_outcomes(self._site)
        yield _labelled("wshttp_logins", "Passwords that were checked, and attempts that were not.", "outcome", logins)
        yield GaugeMetricFamily("wshttp_connections", "Open WebSockets and streams.", len(hub))
        yield _labelled(
            "wshttp_connections_closed", "WebSockets and streams closed.", "code", _NONE_CLOSED | closed_by_code(hub)
        )
        yield CounterMetricFamily("wshttp_connections_opened", "WebSockets and streams opened.", hub.statistics.opened)
        yield CounterMetricFamily(
            "wshttp_messages_received", "Messages received over WebSockets and streams.", hub.statistics.received
        )
        yield CounterMetricFamily(
            "wshttp_messages_sent", "Messages sent over WebSockets and streams.", hub.statistics.sent
        )
        yield CounterMetricFamily(
            "wshttp_message_bytes_received", "Size of messages received.", hub.statistics.received_bytes
        )
        yield CounterMetricFamily("wshttp_message_bytes_sent", "Size of messages sent.", hub.statistics.sent_bytes)
        yield CounterMetricFamily("wshttp_messages_slow", "Messages that met a full buffer.", hub.statistics.slow)
        counts = self._network()
        yield GaugeMetricFamily(
            "wshttp_tcp_connections_open",
            "Open TCP connections, those of WebSockets and streams included.",
            counts.open,
        )
        taken = {"accepted": counts.accepted, "refused": counts.refused}
        yield _labelled(
            "wshttp_tcp_connections", "Connections taken in, and those of them turned away.", "outcome", taken
        )
        yield _labelled("wshttp_tcp_timeouts", "Connections closed by a time-out.", "waiting_for", counts.timed_out)


def _labelled(name: str, documentation: str, label: str, values: Mapping[Any, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, documentation, labels=[label])
    for value, count in values.items():
        family.add_metric([str(value)], count)
    return family


class MetricsHandler(Gate):
    """`GET /metrics`, for the networks of `metrics.allow`."""

    def initialize(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def get(self) -> None:
        address = ipaddress.ip_address(self.request.remote_ip or "0.0.0.0")  # noqa: S104  # no address is in no network
        if not any(address in network for network in self.site.settings.metrics.allow):
            raise Forbidden("metrics are for the networks of metrics.allow")
        checks.require_unspoofed_host(self.site, self.request)
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        self.set_header("Cache-Control", "no-store")
        self.finish(await self._metrics.text())
