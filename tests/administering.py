"""A server with an administrator, and a browser of theirs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytest
from browsing import Browser, basic
from serving import new_server

from wshttp import Server
from wshttp.logs import facts_of
from wshttp.sessions.clock import Clock

API = "/wshttp/admin/api"


def admin_server(users_file: str, clock: Clock | None = None, **sections: Mapping[str, Any] | Any) -> Server:
    """Make a server with cookie sessions, in which ada administers and bob does not."""
    given = {"session": {"identity": ["cookie"]}, "auth": {"users_file": users_file}, "admin": {"users": ["ada"]}}
    return new_server(
        clock, **{name: {**given.get(name, {}), **(sections.get(name) or {})} for name in given | sections}
    )


def administrator(base: str, login: tuple[str, str], **headers: str) -> Browser:
    """Return a client that sends user and password with each request."""
    return Browser(base, Authorization=basic(*login), **headers)


def audit_of(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Return the lines of the audit log: their facts, and the `act`."""
    found = [record for record in caplog.records if record.name == "wshttp.audit"]
    assert all(record.levelno >= logging.INFO for record in found)
    return [{"act": record.getMessage()} | facts_of(record) for record in found]
