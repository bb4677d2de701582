"""Numbers for Prometheus. Labels are bounded: reasons, settings and statuses, never a user, an address or a path."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from tornado.web import RequestHandler

from wshttp.errors import Forbidden, StoreUnavailable
from wshttp.web.gate import Gate
from wshttp.web.site import Site

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


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


class Metrics:
    """All metrics of one server, in a registry of its own."""

    def __init__(self, site: Site, network: Callable[[], ConnectionCounts]) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "wshttp_requests", "HTTP requests answered.", ["method", "status"], registry=self.registry
        )
        self.duration = Histogram(
            "wshttp_request_seconds",
            "Time from a request's headers to the end of its answer.",
            buckets=SECONDS,
            registry=self.registry,
        )
        lateness = Histogram(
            "wshttp_session_end_lateness_seconds",
            "Time between a deadline and the end that it brought.",
            buckets=(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
            registry=self.registry,
        )
        site.sessions.statistics.on_lateness = lateness.observe
        self._totals = _Totals(site, network)
        self.registry.register(self._totals)

    def observe(self, handler: RequestHandler) -> None:
        """Count an answered request."""
        method = handler.request.method or ""
        known = method if method in handler.SUPPORTED_METHODS else "other"
        self.requests.labels(known, str(handler.get_status())).inc()
        self.duration.observe(handler.request.request_time())

    async def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        await self._totals.ask_store()
        return generate_latest(self.registry)


class _Totals(Collector):
    """What other parts count, read when somebody asks."""

    def __init__(self, site: Site, network: Callable[[], ConnectionCounts]) -> None:
        self._site = site
        self._network = network
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
        yield GaugeMetricFamily("wshttp_store_up", "Whether the store answers.", self._site.sessions.store.available)
        waiting = len(self._site.sessions.outage)
        yield GaugeMetricFamily("wshttp_store_waiting", "WebSockets with a message that waits for the store.", waiting)
        yield CounterMetricFamily("wshttp_sessions_started", "Sessions started.", sessions.started)
        yield _labelled("wshttp_sessions_ended", "Sessions ended.", "reason", sessions.ended)
        yield _labelled("wshttp_sessions_refused", "Sessions that a limit kept out.", "limit", sessions.refused)
        yield GaugeMetricFamily("wshttp_connections", "Open WebSockets.", len(hub))
        yield CounterMetricFamily("wshttp_connections_opened", "WebSockets opened.", hub.statistics.opened)
        yield CounterMetricFamily("wshttp_messages_received", "WebSocket messages received.", hub.statistics.received)
        yield CounterMetricFamily("wshttp_messages_sent", "WebSocket messages sent.", hub.statistics.sent)
        yield CounterMetricFamily(
            "wshttp_message_bytes_received", "Size of WebSocket messages received.", hub.statistics.received_bytes
        )
        yield CounterMetricFamily(
            "wshttp_message_bytes_sent", "Size of WebSocket messages sent.", hub.statistics.sent_bytes
        )
        yield CounterMetricFamily("wshttp_messages_slow", "Messages that met a full buffer.", hub.statistics.slow)
        counts = self._network()
        yield GaugeMetricFamily("wshttp_tcp_connections_open", "Open connections, WebSockets included.", counts.open)
        outcomes = {"accepted": counts.accepted, "refused": counts.refused}
        yield _labelled(
            "wshttp_tcp_connections", "Connections taken in, and those of them turned away.", "outcome", outcomes
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
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        self.set_header("Cache-Control", "no-store")
        self.finish(await self._metrics.text())
