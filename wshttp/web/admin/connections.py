"""Connections: list those of this node, close one wherever it is."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import Final

from wshttp.addresses import bucket
from wshttp.errors import NotFound
from wshttp.realtime.connection import Connection
from wshttp.web.admin.access import AdminCall, read_cursor, read_limit
from wshttp.web.admin.choice import is_within, read_addresses
from wshttp.web.admin.views import connection_view

PAGE: Final = 100

_by_id = attrgetter("id")


class Connections(AdminCall):
    """`/admin/api/connections`."""

    def get(self) -> None:
        given = self.parameters("user", "session", "ip", "topic", "limit", "cursor")
        cursor, limit = read_cursor(given.get("cursor")), read_limit(given.get("limit"), PAGE)
        hub = self.site.hub
        conditions = list(_conditions(given, self.site.settings.session.ipv6_prefix))
        chosen = (each for each in hub if each.id > cursor and all(holds(each) for holds in conditions))
        page = heapq.nsmallest(limit + 1, chosen, key=_by_id)  # they come and go; their names stay in order
        more = len(page) > limit
        self.answer(
            {
                "connections": [connection_view(each) for each in page[:limit]],
                "total": len(hub),
                "cursor": page[limit - 1].id if more else None,
                "node": hub.elsewhere.node,
                "others": [
                    {"node": node, "connections": count} for node, count in sorted(hub.elsewhere.nodes().items())
                ],
            }
        )


def _conditions(given: Mapping[str, str], ipv6_prefix: int) -> Iterator[Callable[[Connection], bool]]:
    """Return what is asked for as functions of a connection. Raises `BadRequest`."""
    user, ref, topic = given.get("user"), given.get("session"), given.get("topic")
    if user:
        yield lambda each: each.session is not None and each.session.record.user == user
    if ref:
        yield lambda each: each.session is not None and each.session.ref == ref
    if topic:
        yield lambda each: topic in each.topics
    if given.get("ip"):
        address, network = read_addresses(given["ip"])
        if network is not None:
            yield lambda each: is_within(each.remote_ip, network)
        elif address is not None:
            where = bucket(address, ipv6_prefix)
            yield lambda each: bucket(each.remote_ip, ipv6_prefix) == where


class OneConnection(AdminCall):
    """`/admin/api/connections/{id}`."""

    def delete(self, connection_id: str) -> None:
        self.parameters()
        hub = self.site.hub
        connection = hub.get(connection_id)
        if connection is None and not hub.elsewhere.nodes():
            raise NotFound(f"there is no connection {connection_id}")
        hub.kick(connection_id)
        if connection is None:
            self.record("connection asked to close", connection=connection_id)
            self.set_status(202)
            return
        record = None if connection.session is None else connection.session.record
        self.record(
            "connection closed",
            connection=connection_id,
            ref=None if record is None else record.ref,
            user=None if record is None else record.user,
            remote_ip=connection.remote_ip,
        )
        self.set_status(204)
