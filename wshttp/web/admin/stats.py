"""Numbers of this node, as JSON: for the page, and for whoever has no Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wshttp.errors import StoreUnavailable
from wshttp.realtime.hub import Hub
from wshttp.sessions.session_list import SessionList
from wshttp.web.admin.access import AdminCall
from wshttp.web.admin.desk import Desk
from wshttp.web.admin.views import moment
from wshttp.web.metrics import Metrics, closed_by_code, login_outcomes
from wshttp.web.site import Site
from wshttp.web.version import version


class Stats(AdminCall):
    """`GET /admin/api/stats`."""

    async def get(self) -> None:
        self.parameters()
        live, owed = await _of_store(self.site.sessions)
        self.answer(stats_of(self.site, self.desk, live, owed))


async def _of_store(sessions: SessionList) -> tuple[int | None, int | None]:
    """Return what only the store knows: live sessions, and what is owed; while it is away, nobody does."""
    try:
        return await sessions.count(), await sessions.store.owed()
    except StoreUnavailable:
        return None, None


def stats_of(site: Site, desk: Desk, live: int | None, owed: int | None) -> dict[str, Any]:
    """Return all numbers."""
    hub, metrics = site.hub, desk.metrics
    return {
        "node": hub.elsewhere.node,
        "version": version(),
        "at": moment(hub.clock.time()),
        "uptime": moment(hub.clock.monotonic() - desk.began_at),
        "sessions": _sessions(site.sessions, live),
        "connections": {
            "open": len(hub),
            "opened": hub.statistics.opened,
            "closed": _by_name(closed_by_code(hub)),
        },
        "tcp": _tcp(metrics),
        "requests": _requests(metrics),
        "messages": _messages(hub, metrics),
        "lateness": metrics.lateness.describe(),
        "logins": login_outcomes(site),
        "store": _store(site, metrics, owed),
        "watchers": len(desk.watchers),
        "nodes": _nodes(hub),
    }


def _sessions(sessions: SessionList, live: int | None) -> dict[str, Any]:
    counts = sessions.statistics
    return {
        "live": live,
        "started": counts.started,
        "ended": _by_name(counts.ended),
        "refused": _by_name(counts.refused),
    }


def _tcp(metrics: Metrics) -> dict[str, Any]:
    counts = metrics.network()
    return {"open": counts.open, "accepted": counts.accepted, "refused": counts.refused}


def _requests(metrics: Metrics) -> dict[str, Any]:
    return {
        "answered": metrics.statuses.total(),
        "by_status": _by_name(metrics.statuses),
        "seconds": metrics.request_seconds.describe(),
    }


def _messages(hub: Hub, metrics: Metrics) -> dict[str, Any]:
    counts = hub.statistics
    return {
        "received": counts.received,
        "received_bytes": counts.received_bytes,
        "sent": counts.sent,
        "sent_bytes": counts.sent_bytes,
        "slow": counts.slow,
        "seconds": metrics.message_seconds.describe(),
    }


def _store(site: Site, metrics: Metrics, owed: int | None) -> dict[str, Any]:
    return {
        "kind": site.settings.store.kind,
        "up": site.sessions.store.available,
        "owed": owed,
        "waiting": len(site.sessions.outage),
        "seconds": metrics.store_seconds.describe(),
    }


def _nodes(hub: Hub) -> list[dict[str, Any]]:
    """Return this node, and those that were heard lately."""
    others = sorted(hub.elsewhere.nodes().items())
    return [
        {"node": hub.elsewhere.node, "connections": len(hub), "self": True},
        *({"node": name, "connections": count, "self": False} for name, count in others),
    ]


def _by_name(counts: Mapping[Any, int]) -> dict[str, int]:
    return {str(name): count for name, count in sorted(counts.items())}
