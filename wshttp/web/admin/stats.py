"""Numbers of this node, as JSON: for the page, and for whoever has no Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wshttp.errors import StoreUnavailable
from wshttp.sessions.session_list import SessionList
from wshttp.web.admin.access import AdminCall
from wshttp.web.admin.desk import Desk
from wshttp.web.admin.views import moment
from wshttp.web.metrics import closed_by_code, login_outcomes
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
    sessions, hub, metrics = site.sessions, site.hub, desk.metrics
    counts = metrics.network()
    node, others = hub.elsewhere.node, hub.elsewhere.nodes()
    messages = hub.statistics
    return {
        "node": node,
        "version": version(),
        "at": moment(hub.clock.time()),
        "uptime": moment(hub.clock.monotonic() - desk.began_at),
        "sessions": {
            "live": live,
            "started": sessions.statistics.started,
            "ended": _by_name(sessions.statistics.ended),
            "refused": _by_name(sessions.statistics.refused),
        },
        "connections": {"open": len(hub), "opened": messages.opened, "closed": _by_name(closed_by_code(hub))},
        "tcp": {"open": counts.open, "accepted": counts.accepted, "refused": counts.refused},
        "requests": {
            "answered": metrics.statuses.total(),
            "by_status": _by_name(metrics.statuses),
            "seconds": metrics.request_seconds.describe(),
        },
        "messages": {
            "received": messages.received,
            "received_bytes": messages.received_bytes,
            "sent": messages.sent,
            "sent_bytes": messages.sent_bytes,
            "slow": messages.slow,
            "seconds": metrics.message_seconds.describe(),
        },
        "lateness": metrics.lateness.describe(),
        "logins": login_outcomes(site),
        "store": {
            "kind": site.settings.store.kind,
            "up": sessions.store.available,
            "owed": owed,
            "waiting": len(sessions.outage),
            "seconds": metrics.store_seconds.describe(),
        },
        "watchers": len(desk.watchers),
        "nodes": [
            {"node": node, "connections": len(hub), "self": True},
            *({"node": name, "connections": count, "self": False} for name, count in sorted(others.items())),
        ],
    }


def _by_name(counts: Mapping[Any, int]) -> dict[str, int]:
    return {str(name): count for name, count in sorted(counts.items())}
