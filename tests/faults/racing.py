"""A node without HTTP: its session list writes to, reads and ends sessions as fast as it can, against other nodes.

Arguments: URL of the Redis, file for the ends, name of the node.
Each line of the input is a job, each line of the output its result; both are JSON.
- `{"create": n}`: begins `n` sessions, and returns their refs.
- `{"race": [ref, ...], "seed": s}`: writes to and ends those sessions, and returns what it was told of each.
- `{"look": [ref, ...]}`: returns those that are still there.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from typing import Any

from wshttp.config import SessionSettings
from wshttp.errors import SessionEnded
from wshttp.sessions.changes import Changes
from wshttp.sessions.session import Session
from wshttp.sessions.session_list import SessionList
from wshttp.stores.redis.store import RedisStore

WRITES = 6
"""At most, per session and node."""


class Racer:
    """One node of the race."""

    def __init__(self, url: str, ends: str, name: str) -> None:
        settings = SessionSettings()
        self.sessions = SessionList(settings, RedisStore(url, lease=settings.lease))
        self._name = name
        file = os.open(ends, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

        @self.sessions.on_session_end
        def end(session: Session, reason: str) -> None:
            os.write(file, (json.dumps({"ref": session.ref, "reason": reason, "data": dict(session)}) + "\n").encode())

    async def create(self, count: int) -> list[str]:
        found = await asyncio.gather(*(self.sessions.create(remote_ip="192.0.2.1") for _ in range(count)))
        return [session.ref for session in found]

    async def race(self, refs: list[str], seed: str) -> dict[str, dict[str, Any]]:
        numbers = random.Random(seed + self._name)
        runs = [asyncio.create_task(self._one(ref, numbers.randrange(WRITES + 1), numbers)) for ref in refs]
        return dict(zip(refs, await asyncio.gather(*runs), strict=True))

    async def _one(self, ref: str, writes: int, numbers: random.Random) -> dict[str, Any]:
        """Write so many times, and then end the session: somebody will be first. Return what was told."""
        told: dict[str, Any] = {"added": 0, "set": 0, "written": 0, "over": 0}
        try:
            session = await self._present(ref)
            for number in range(1, writes + 1):
                sent = time.monotonic_ns()
                if numbers.random() < 0.5:
                    await session.increment("n")
                    told["added"] += 1
                else:
                    await session.apply(Changes({self._name: number}))
                    told["set"] = number
                told["written"] = sent
            await self.sessions.end(session, "logout")
        except SessionEnded:
            pass
        told["over"] = time.monotonic_ns()
        return told

    async def _present(self, ref: str) -> Session:
        session = await self.sessions.get_by_ref(ref)
        if session is None:
            raise SessionEnded(ref, "logout")
        return session

    async def look(self, refs: list[str]) -> list[str]:
        found = await asyncio.gather(*(self.sessions.get_by_ref(ref, touch=True) for ref in refs))
        return [session.ref for session in found if session is not None]

    async def do(self, job: dict[str, Any]) -> Any:
        match job:
            case {"create": count}:
                return await self.create(count)
            case {"race": refs, "seed": seed}:
                return await self.race(refs, seed)
            case {"look": refs}:
                return await self.look(refs)


async def main() -> None:
    racer = Racer(*sys.argv[1:4])
    await racer.sessions.open()
    try:
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await racer.do(json.loads(line))), flush=True)
    finally:
        await racer.sessions.close()


if __name__ == "__main__":
    asyncio.run(main())
