"""A program that writes down every callback it gets, for tests that kill it: one line each, in a file that survives.

`COUNTED` names the file, which several nodes may share: a line is one append.
With `LOGINS`, everybody may log in with the password `right`.
`POST /die?at=PLACE` has the process kill itself when it is next at a place; `PLACES` are those that there are.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import Any

from wshttp import Server, User, current_event

PLACES = (
    "start", "started",     # before and after the line of a start is written
    "ending", "end", "ended",  # with the sockets still open; before and after the line of an end is written
    "call",                 # in what was scheduled
    "handler", "handled",   # in an endpoint: before it changes anything, and after a change that is not committed yet
    "message",              # on a socket, after a change
    "password",             # in a log-in
)  # fmt: skip


class Fate:
    """Where the process is to die."""

    def __init__(self) -> None:
        self.place = ""

    def meet(self, place: str) -> None:
        if place == self.place:
            os.kill(os.getpid(), signal.SIGKILL)


def setup(server: Server) -> None:
    file = os.open(os.environ["COUNTED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    fate = Fate()

    def note(session: Any, **more: Any) -> None:
        event = current_event()
        assert event is not None
        line = {"ref": session.ref, "kind": event.kind, "id": event.id, "attempt": event.attempt, **more}
        line |= {"node": os.environ.get("NODE"), "at": time.monotonic_ns()}
        os.write(file, (json.dumps(line) + "\n").encode())

    @server.on_session_start
    async def start(session: Any) -> None:
        fate.meet("start")
        await asyncio.sleep(0.01)  # long enough for others to end it meanwhile
        note(session)
        fate.meet("started")

    @server.on_session_ending
    async def ending(session: Any, reason: str) -> None:
        fate.meet("ending")

    @server.on_session_end
    async def end(session: Any, reason: str) -> None:
        fate.meet("end")
        note(session, reason=reason, data=dict(session))
        await asyncio.sleep(0.002)
        fate.meet("ended")

    @server.scheduled("call")
    async def call(session: Any, data: Any) -> None:
        fate.meet("call")
        note(session)

    @server.get("/hit")
    async def hit(request: Any) -> dict[str, Any]:
        fate.meet("handler")
        n = await request.session.increment("n")
        request.session[request.query.get("key", "key")] = json.loads(request.query.get("value", str(n)))
        fate.meet("handled")
        return {"ref": request.session.ref, "n": n}

    @server.get("/update")
    async def update(request: Any) -> dict[str, Any]:
        value = int(request.query["value"])
        most = await request.session.update(request.query["key"], lambda found: max(found, value), default=0)
        return {"ref": request.session.ref, "most": most}

    @server.get("/short")
    async def short(request: Any) -> dict[str, Any]:
        request.session.set_timeouts(idle=0.4)
        request.session.schedule(0.1, "call")
        return {"ref": request.session.ref}

    @server.get("/timeouts")
    async def timeouts(request: Any) -> dict[str, Any]:
        request.session.set_timeouts(**{name: float(value) for name, value in request.query.items()})
        return {"ref": request.session.ref}

    @server.get("/fill")
    async def fill(request: Any) -> dict[str, Any]:
        for number in range(10):
            request.session[f"filler {number}"] = os.urandom(2500).hex()
        return {"ref": request.session.ref}

    @server.on_message
    async def message(connection: Any, message: Any) -> None:
        n = await connection.session.increment("n")
        fate.meet("message")
        await connection.send({"ref": connection.session.ref, "n": n, "to": message})

    if "LOGINS" in os.environ:

        @server.on_authenticate
        async def check(user: str, password: str, request: Any) -> User | bool:
            fate.meet("password")
            return password == "right" and User(user, (), "1")

    @server.post("/die", auto_start=False)
    async def die(request: Any) -> dict[str, Any]:
        fate.place = request.query["at"]
        return {}

    @server.post("/end-all", auto_start=False)
    async def end_all(request: Any) -> dict[str, Any]:
        await server.sessions.end_all()
        return await state(request)

    @server.get("/state", auto_start=False)
    async def state(request: Any) -> dict[str, Any]:
        return {"sessions": await server.sessions.count(), "owed": await server.sessions.store.owed()}

    @server.get("/count", auto_start=False)
    async def count(request: Any) -> dict[str, Any]:
        return {"sessions": await server.sessions.count(**request.query)}
