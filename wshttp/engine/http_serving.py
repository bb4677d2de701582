"""What a connection needs of the server that it came to: the port between `http_protocol` and `native`."""

from __future__ import annotations

from asyncio import Future
from typing import Protocol

from tornado.http1connection import HTTP1ConnectionParameters
from tornado.httputil import HTTPMessageDelegate

from wshttp.engine.http_answer import HttpAnswer
from wshttp.engine.http_head import Head
from wshttp.engine.link import Link


class HttpServing(Protocol):
    """Sizes are in bytes, and may change at any time."""

    max_header_size: int
    max_body_size: int

    chunk_size: int
    """How much of a body is given to the application at once, at most."""

    conn_params: HTTP1ConnectionParameters
    """Of these `no_keep_alive`: an answer from now on is its connection's last."""

    @property
    def nothing_to_wait_for(self) -> Future[None]:
        """A future that is done."""

    def now(self) -> float:
        """Seconds of the clock of time-outs."""

    def begin(self, link: Link, head: Head, answer: HttpAnswer) -> HTTPMessageDelegate:
        """Return who deals with a request; `answer` is told where it comes from."""

    def forget(self, link: Link) -> None:
        """Take note that a connection has been closed."""
