"""A client's connection to one node: HTTP/1.1 as far as these tests need it, and as quick."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    """By names in lower case."""
    body: bytes

    def json(self) -> dict[str, Any]:
        """Return the body where it is an object, or else nothing."""
        found = json.loads(self.body) if self.body else {}
        return found if isinstance(found, dict) else {}


class HttpConnection:
    """Opened with its first request, and kept until `close`."""

    def __init__(self, address: str) -> None:
        self._host = address.removeprefix("http://")
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        """Make a request. Raises `OSError` where no whole answer comes."""
        if self._streams is None:
            host, _, port = self._host.partition(":")
            self._streams = await asyncio.open_connection(host, int(port))
        reader, writer = self._streams
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}", *(f"{k}: {v}" for k, v in headers.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        try:
            first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            found = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
            body = await reader.readexactly(int(found.get("content-length", "0")))
        except EOFError:
            raise ConnectionResetError from None
        return Answer(int(first.split()[1]), found, body)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None
