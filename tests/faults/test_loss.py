"""A Redis that lost its last writes: what a node holds in memory is newer than what the store has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from faults.fleet import Disk
from redis_servers import RedisServer
from serving import soon

from wshttp.config import SessionSettings
from wshttp.sessions.session_list import SessionList
from wshttp.stores.redis.store import RedisStore


@pytest.mark.feature("T3", "T5")
async def test_session_that_a_node_holds_follows_the_store(make_redis: Callable[..., RedisServer]) -> None:
    """It is read as the store has it now, can be changed, and ends; as if nobody had ever seen what is lost."""
    redis = make_redis(appendonly="yes", appendfsync="always")
    sessions, disk, ended = SessionList(SessionSettings(), RedisStore(redis.url())), Disk(redis), []
    sessions.on_session_end(lambda session, reason: ended.append((session.ref, dict(session))))
    await sessions.open()
    try:
        session = await sessions.create(remote_ip="192.0.2.1")
        session["key"] = 1
        await session.commit()
        disk.keep()
        for value in (2, 3, 4):
            session["key"] = value
            await session.commit()
        await asyncio.to_thread(disk.cut_power)
        await soon(session.refresh())
        assert dict(session) == {"key": 1}
        assert await soon(session.update("key", lambda value: value + 10)) == 11
        assert await soon(sessions.end(session))
        await soon(sessions.settled())
        assert ended == [(session.ref, {"key": 11})]
    finally:
        await sessions.close(timeout=0)
