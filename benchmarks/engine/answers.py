"""Whether a server does the work, before it is measured: a program that answers quickly and wrongly wins nothing."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from typing import TypeAlias

PATIENCE = 60.0
"""Seconds until which an answer must be there."""

Check: TypeAlias = Callable[[int, str], None]
"""Called with port and path. Raises `WrongAnswer`."""


class WrongAnswer(Exception):
    """A server did something else than was asked."""


def counts(port: int, path: str) -> None:
    """Each request of a client counts one more, in its session."""
    first, cookie = _get(port, path)
    second, _ = _get(port, path, cookie)
    numbers = [json.loads(body)["count"] for body in (first, second)]
    if numbers[1] != numbers[0] + 1:
        raise WrongAnswer(f"{path} counted {numbers}")


def says_hello(port: int, path: str) -> None:
    """The answer is the greeting."""
    body, _ = _get(port, path)
    if body != b"Hello, world":
        raise WrongAnswer(f"{path} said {body[:100]!r}")


def has_size(size: int) -> Check:
    """Return a check that the answer has so many bytes."""

    def check(port: int, path: str) -> None:
        body, _ = _get(port, path)
        if len(body) != size:
            raise WrongAnswer(f"{path} has {len(body)} bytes")

    return check


def _get(port: int, path: str, cookie: str = "") -> tuple[bytes, str]:
    """Return the body, and the cookie that was set."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        client.request("GET", path, headers={"Cookie": cookie} if cookie else {})
        answer = client.getresponse()
        body = answer.read()
    finally:
        client.close()
    if answer.status != 200:
        raise WrongAnswer(f"{path}: {answer.status} {body[:200]!r}")
    return body, (answer.getheader("Set-Cookie") or "").partition(";")[0]
