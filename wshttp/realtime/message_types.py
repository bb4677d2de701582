"""What a message of `wshttp.v1` says it is; docs/reference/wire.md has a row for each."""

from __future__ import annotations

from enum import StrEnum


class ToClient(StrEnum):
    """The `type` of what the server sends."""

    WELCOME = "welcome"
    SESSION = "session"
    EXPIRING = "expiring"
    ENDED = "ended"
    MESSAGE = "message"
    PRESENCE = "presence"
    RESUMED = "resumed"
    JOINED = "joined"
    LEFT = "left"
    APP = "app"
    QUEUE = "queue"
    OK = "ok"
    ERROR = "error"
    PONG = "pong"
    CLOSED = "closed"


class FromClient(StrEnum):
    """The `type` of what a client sends."""

    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"
    PUBLISH = "publish"
    TOUCH = "touch"
    APP = "app"
    PING = "ping"
