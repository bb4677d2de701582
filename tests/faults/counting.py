"""A program that writes down every callback it gets, for tests that kill it: one line each, in a file that survives."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

from wshttp import Server, current_event


def setup(server: Server) -> None:
    file = os.open(os.environ["COUNTED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(session: Any, **more: Any) -> None:
        event = current_event()
        assert event is not None
        line = {"ref": session.ref, "kind": event.kind, "id": event.id, "attempt": event.attempt, **more}
        os.write(file, (json.dumps(line) + "\n").encode())

    @server.on_session_start
    async def start(session: Any) -> None:
        note(session)
        await asyncio.sleep(0.002)

    @server.on_session_end
    async def end(session: Any, reason: str) -> None:
        note(session, reason=reason, data=dict(session))
        await asyncio.sleep(0.002)

    @server.scheduled("call")
    async def call(session: Any, data: Any) -> None:
        note(session)

    @server.get("/hit")
    async def hit(request: Any) -> dict[str, Any]:
        n = await request.session.increment("n")
        request.session["key"] = n
        return {"ref": request.session.ref, "n": n}

    @server.get("/short")
    async def short(request: Any) -> dict[str, Any]:
        request.session.set_timeouts(idle=0.4)
        request.session.schedule(0.1, "call")
        return {"ref": request.session.ref}

    @server.get("/fill")
    async def fill(request: Any) -> dict[str, Any]:
        for number in range(10):
            request.session[f"filler {number}"] = os.urandom(2500).hex()
        return {"ref": request.session.ref}

    @server.post("/end-all", auto_start=False)
    async def end_all(request: Any) -> dict[str, Any]:
        await server.sessions.end_all()
        return await state(request)

    @server.get("/state", auto_start=False)
    async def state(request: Any) -> dict[str, Any]:
        return {"sessions": await server.sessions.count(), "owed": await server.sessions.store.owed()}
