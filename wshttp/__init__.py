"""HTTP and WebSocket on one port, on Tornado, with one list of sessions behind both."""

from __future__ import annotations

from wshttp.auth.user import User
from wshttp.config import Settings
from wshttp.errors import (
    BadCredentials,
    BadRequest,
    ConfigurationError,
    ConnectionClosed,
    DataTooLarge,
    Forbidden,
    InvalidValue,
    LimitReached,
    LockLost,
    NotFound,
    SessionEnded,
    SessionExists,
    StoreUnavailable,
    StoreUnusable,
    TooManyRequests,
    WshttpError,
)
from wshttp.realtime.connection import Connection
from wshttp.realtime.hub import Hub
from wshttp.server import Server
from wshttp.sessions.callbacks import current_event
from wshttp.sessions.draft import Draft
from wshttp.sessions.record import Event, Reason
from wshttp.sessions.session import Session
from wshttp.sessions.session_list import SessionList
from wshttp.sessions.unit_of_work import UnitOfWork
from wshttp.stores.memory import MemoryStore
from wshttp.stores.sqlite import SqliteStore
from wshttp.web.attach import attach
from wshttp.web.handler import SessionHandler
from wshttp.web.request import Request
from wshttp.web.response import Response
from wshttp.web.socket_handler import SessionWebSocketHandler

__all__ = [
    "BadCredentials",
    "BadRequest",
    "ConfigurationError",
    "Connection",
    "ConnectionClosed",
    "DataTooLarge",
    "Draft",
    "Event",
    "Forbidden",
    "Hub",
    "InvalidValue",
    "LimitReached",
    "LockLost",
    "MemoryStore",
    "NotFound",
    "Reason",
    "Request",
    "Response",
    "Server",
    "Session",
    "SessionEnded",
    "SessionExists",
    "SessionHandler",
    "SessionList",
    "SessionWebSocketHandler",
    "Settings",
    "SqliteStore",
    "StoreUnavailable",
    "StoreUnusable",
    "TooManyRequests",
    "UnitOfWork",
    "User",
    "WshttpError",
    "attach",
    "current_event",
]
