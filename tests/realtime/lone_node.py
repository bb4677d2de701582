"""A node in a process of its own, for tests that kill it: `lone_node.py URL PREFIX LEASE`.

It has one session with a socket in the topic `room`, prints the session's ref, and lives until it is killed.
"""

from __future__ import annotations

import asyncio
import sys

from wshttp.config import Settings
from wshttp.realtime.connection import Connection
from wshttp.realtime.hub import Hub
from wshttp.realtime.redis_broker import RedisBroker
from wshttp.realtime.relay import Relay
from wshttp.sessions.clock import SystemClock
from wshttp.sessions.session_list import SessionList
from wshttp.stores.kept import in_memory
from wshttp.stores.redis.store import RedisStore


async def live(url: str, prefix: str, lease: float) -> None:
    settings = Settings()
    store = RedisStore(url, prefix=prefix, lease=lease)
    sessions = SessionList(settings.session, store)
    hub = Hub(settings, sessions.callbacks, in_memory(SystemClock()))
    sessions.notifier = hub
    await sessions.open()
    await Relay(hub, sessions, RedisBroker(store.link, url, prefix=prefix), lease=lease).open()
    connection = Connection(hub, await sessions.create(remote_ip="192.0.2.9", user="ann"), remote_ip="192.0.2.9")
    hub.register(connection)
    connection.subscribe("room")
    print(connection.session.ref if connection.session else "", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(live(sys.argv[1], sys.argv[2], float(sys.argv[3])))
