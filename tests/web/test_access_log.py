"""A line per answered request, and what is never in any line."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from browsing import Browser, basic, read_json
from serving import new_server, raw, running
from tornado.web import HTTPError

from wshttp.logs import JsonFormatter, TextFormatter


def lines(caplog: pytest.LogCaptureFixture) -> str:
    """Return everything that was logged, as both formats write it."""
    formatters: list[logging.Formatter] = [TextFormatter(), JsonFormatter()]
    return "\n".join(formatter.format(record) for record in caplog.records for formatter in formatters)


@pytest.mark.feature("A4")
async def test_line_says_who_asked_what_and_what_came_of_it(
    caplog: pytest.LogCaptureFixture, users_file: str, ada: tuple[str, str]
) -> None:
    """Method, path, status, address, time, ref and user; the query is left out."""
    caplog.set_level("INFO", "wshttp.access")
    server = new_server(session={"identity": ["cookie"]}, auth={"users_file": users_file})
    async with running(server) as base:
        browser = Browser(base)
        ref = read_json(await browser.log_in(*ada))["ref"]
        caplog.clear()
        await browser.get("/wshttp/session?touch=0")
        await Browser(base).get("/index.css")
        first, second = (record for record in caplog.records if record.name == "wshttp.access")
        assert first.getMessage() == "GET /wshttp/session 200"
        facts: Any = vars(first)
        assert (facts["remote_ip"], facts["ref"], facts["user"]) == ("127.0.0.1", ref, "ada")
        assert facts["milliseconds"] >= 0
        assert (second.getMessage(), vars(second)["ref"]) == ("GET /index.css 200", None)


@pytest.mark.feature("A4")
async def test_level_that_leaves_lines_out_still_counts(caplog: pytest.LogCaptureFixture) -> None:
    """With a level above `info` there is no line, and the metrics go on."""
    caplog.set_level("WARNING", "wshttp.access")
    async with running(new_server()) as base:
        await Browser(base).get("/index.css")
        assert not [record for record in caplog.records if record.name == "wshttp.access"]
        assert (
            b'wshttp_requests_total{method="GET",status="200"} 1.0' in (await Browser(base).get("/wshttp/metrics")).body
        )


@pytest.mark.feature("A4")
@pytest.mark.parametrize("identity", [["cookie"], ["header"], ["header", "url"], ["credentials", "cookie", "ip"]])
async def test_no_secret_is_ever_logged(
    caplog: pytest.LogCaptureFixture, users_file: str, ada: tuple[str, str], identity: list[str]
) -> None:
    """A whole life with log-ins that fail and succeed, dead tokens, faults and drift: no token and no password in it."""
    caplog.set_level("DEBUG")
    server = new_server(
        session={"identity": identity, "drift": {"ip": "log", "user_agent": "log"}},
        auth={"users_file": users_file, "protect": ["/private"]},
    )
    secrets = {ada[1], "wr0ng-passw0rd", "f0rged" * 7 + "A", basic(*ada).split()[1]}

    @server.get("/fault")
    def fault(request: Any) -> None:
        raise RuntimeError("inside")

    @server.get("/error")
    def error(request: Any) -> None:
        raise HTTPError(400, "no good: %s", "argument")

    @server.on_session_end
    def end(session: Any, reason: str) -> None:
        raise RuntimeError("in a callback")

    async with running(server) as base:
        browser = Browser(base, User_Agent="one")

        async def every(path: str, **options: Any) -> None:
            response = await browser.get(path, **options)
            note(response.headers.get("Session-Token"))

        def note(token: str | None) -> None:
            secrets.update(browser.cookies.values())
            if token:
                secrets.add(token)
                browser.headers["Authorization"] = f"Session {token}"

        await every("/wshttp/session")
        await browser.log_in(ada[0], "wr0ng-passw0rd")
        note((await browser.log_in(*ada)).headers.get("Session-Token"))
        browser.headers["User-Agent"] = "two"
        for path in ("/fault", "/error", "/private", "/wshttp/session", "/nothing"):
            for token in list(secrets):
                await every(f"{path}?session={token}")
            await browser.get(path, headers={"Cookie": f"wshttp={'f0rged' * 7}A", "Authorization": "Session x"})
            await browser.get(path, login=ada)
            await browser.get(path, login=(ada[0], "wr0ng-passw0rd"))
        await browser.delete("/wshttp/session")
        await server.sessions.end_all()
        await server.sessions.settled(5)
    text = lines(caplog)
    assert "session started" in text
    assert "session ended" in text
    assert len(secrets) >= 5
    for secret in secrets:
        assert secret not in text


async def test_client_cannot_write_lines_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    """A line break in a path or a user's name stays inside one line."""
    caplog.set_level("DEBUG")
    async with running(new_server()) as base:
        async with raw(base) as connection:
            connection.send(b"GET /a%0d%0aFORGED%20line HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            await connection.rest()
        await Browser(base).log_in("a\nFORGED", "x")
    for line in lines(caplog).split("\n"):
        assert not line.startswith("FORGED")
