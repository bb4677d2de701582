"""A client of `GET /stream`: the built-in socket over server-sent events and POST."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from serving import Raw, fetch, raw

from wshttp import Server


class Listener:
    """A client of `GET /stream`."""

    def __init__(self, base: str, connection: Raw, headers: dict[str, str]) -> None:
        self.base = base
        self.raw = connection
        self.headers = headers
        self.status = 0
        self.answer: dict[str, str] = {}
        self.comments = 0
        self._text = ""

    async def open(self, path: str) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        self.raw.send(f"GET {path} HTTP/1.1\r\nHost: {self.base.partition('//')[2]}\r\n{lines}\r\n".encode())
        head, *rest = (await self.raw.until(b"\r\n\r\n")).decode().split("\r\n")
        self.status = int(head.split()[1])
        self.answer = dict(line.split(": ", 1) for line in rest if line)

    async def _chunk(self) -> str | None:
        size = int((await self.raw.until(b"\r\n")).strip(), 16)
        chunk = (await self.raw.exactly(size + 2))[:-2]
        return chunk.decode() if size else None

    async def lines(self) -> list[str] | None:
        """Return the lines of the next event or comment; `None` at the end of the answer."""
        while "\n\n" not in self._text:
            chunk = await self._chunk()
            if chunk is None:
                assert self._text == ""
                return None
            self._text += chunk
        event, _, self._text = self._text.partition("\n\n")
        return event.split("\n")

    async def read(self) -> dict[str, Any] | None:
        """Return the next message."""
        while (lines := await self.lines()) is not None:
            if lines[0].startswith(":"):
                self.comments += 1
                continue
            [line] = lines
            assert line.startswith("data: ")
            message: dict[str, Any] = json.loads(line.removeprefix("data: "))
            return message
        return None

    async def read_until(self, *types: str) -> dict[str, Any]:
        while (message := await self.read()) is not None:
            if message["type"] in types:
                return message
        raise AssertionError("the stream has ended")

    async def post(self, message: Any, **options: Any) -> Any:
        body = options.pop("body", None) or json.dumps({"connection": self.name, "message": message})
        headers = {name: value for name, value in self.headers.items() if name != "Accept"} | options.pop("headers", {})
        return await fetch(f"{options.pop('base', self.base)}/wshttp/send", "POST", body, headers=headers)

    async def ask(self, **envelope: Any) -> dict[str, Any]:
        assert (await self.post(envelope | {"id": "?"})).code == 202
        return await self.read_until("ok", "error")


@asynccontextmanager
async def listening(
    base: str, path: str = "/wshttp/stream", *, welcome: bool = True, **headers: str
) -> AsyncIterator[Listener]:
    async with raw(base) as connection:
        listener = Listener(base, connection, {name.replace("_", "-"): value for name, value in headers.items()})
        await listener.open(path)
        if welcome:
            listener.welcome = await listener.read()
            listener.name = listener.welcome["connection"]
        yield listener


async def session_of(server: Server, **options: Any) -> tuple[Any, dict[str, str]]:
    session = await server.sessions.create(remote_ip="127.0.0.1", identity="cookie", **options)
    return session, {"Cookie": f"wshttp={session.id.value}"}
