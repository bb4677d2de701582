"""The time of a store on Redis, as a test wants it: a script that reads it from a key, on the server's side."""

from __future__ import annotations

from typing import Final

from redis_servers import RedisServer

from wshttp.testing import FakeClock

TEST_TIME: Final = """
local function now()
  return tonumber(redis.call('GET', KEYS[1] .. ':test-clock'))
end
"""
"""A `time_script`."""


def set_time(server: RedisServer, prefix: str, clock: FakeClock) -> None:
    """Have the scripts of a prefix see the time of a clock."""
    server.ask("SET", f"{{{prefix}}}:test-clock", repr(clock.monotonic()))


def end_leases(server: RedisServer, prefix: str) -> None:
    """Have all nodes of a prefix count as dead."""
    for node in server.ask("ZRANGE", f"{{{prefix}}}:nodes", 0, -1):
        server.ask("ZADD", f"{{{prefix}}}:nodes", 0, node)
