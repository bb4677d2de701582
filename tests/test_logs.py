"""What the server writes to its log: for people or for programs, one line per event, and no secret in it."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import PATIENCE, Process, serving

APP = """
import asyncio
from tornado.web import HTTPError, RequestHandler
from wshttp import SessionWebSocketHandler, User

class Plain(RequestHandler):
    def get(self):
        if self.get_query_argument("warn", None):
            raise HTTPError(409, "a conflict\\n2026-01-01 00:00:00 ERROR   wshttp.server: forged")
        raise ValueError("plain")

class Socket(SessionWebSocketHandler):
    def on_ping(self, data):
        raise ValueError("ping")
    def on_message(self, message):
        raise ValueError("socket")

def setup(server):
    server.add_handlers([("/plain", Plain), ("/socket", Socket)])

    @server.get("/boom")
    def boom(request):
        raise ValueError("first\\n2026-01-01 00:00:00 ERROR   wshttp.server: forged\\r\\x1b[2J\\u2028x")

    @server.get("/forget")
    async def forget(request):
        async def lost():
            raise ValueError("lost")
        task = asyncio.ensure_future(lost())
        await asyncio.wait([task])
        return "ok"

    @server.on_authenticate
    def authenticate(user, password, request):
        return User(user, ("admin",)) if password == "open sesame" else False

    @server.on_session_end
    def ended(session, reason):
        raise ValueError("callback")
"""

BEGIN = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (DEBUG  |INFO   |WARNING|ERROR  ) [\w.]+: .")

QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')

NASTY = "eve\n2026-01-01 00:00:00 ERROR   wshttp.server: forged\x1b[2J"


@pytest.fixture(params=["text", "json"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Process]:
    """A server that takes every identity, and logs all that there is to log."""
    (tmp_path / "own.py").write_text(APP)
    (tmp_path / "own.yaml").write_text(
        f"log: {{level: debug, format: {request.param}}}\napp: own:setup\n"
        "session: {identity: [cookie, header, url], secret: top-secret-0123456789, drift: {user_agent: log}}\n"
    )
    with serving("--config", "own.yaml", cwd=tmp_path, faults=True) as process:
        process.address  # waits until it listens
        yield process


def is_json(server: Process) -> bool:
    return (server.err.find("^{") or server.err.wait_for("^{|^2")).group() == "{"


def tour(server: Process) -> list[str]:
    """Give every secret that there is to a server, in every place where it could be noted; return the secrets."""
    first = server.get("/wshttp/session")
    cookie = first.headers["Set-Cookie"].partition(";")[0]
    login = json.dumps({"user": "ada", "password": "open sesame"})
    renewed = server.request("POST", "/wshttp/login", login, headers={"Cookie": cookie})
    assert renewed.status == 200
    token = renewed.headers["Set-Cookie"].partition(";")[0].partition("=")[2]
    for carrier in ({"Cookie": f"wshttp={token}"}, {"Authorization": f"Session {token}"}, {}):
        query = "" if carrier else f"?session={token}"
        for path in ("/boom", "/plain", "/wshttp/session", "/nothing", "/index.html", "/%ff"):
            server.get(path + query, {"User-Agent": "another"} | carrier)
    server.get(f"/plain?warn=1&session={token}")
    server.get("/boom", {"Cookie": f"wshttp={token[:-4]}abcd", "Authorization": f"Session {token[:-4]}abcd"})
    server.get("/wshttp/session", {"Authorization": "Basic YWRhOndyb25nLXBhc3N3b3Jk"})
    malformed(server, f"Cookie: wshttp={token}\x01")
    malformed(server, f"Cookie : wshttp={token}")
    malformed(server, f"X: 1\r\nwshttp={token}")
    handshake(server, f"/socket?session={token}")
    server.request("DELETE", "/wshttp/session", headers={"Authorization": f"Session {token}"})
    server.err.wait_for("callback")
    return [cookie.partition("=")[2], token, "open sesame", "wrong-password", "YWRhOndyb25n", "top-secret"]


def malformed(server: Process, header: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
        client.sendall(f"GET / HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n".encode("latin1"))
        client.makefile("rb").read()


def handshake(server: Process, path: str) -> None:
    """Open a socket whose handlers fail, and wait until it is closed for that."""
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
        client.sendall(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            + b"\x81\x81\0\0\0\0x"
        )
        received = b""
        while not received.endswith(b"internal error"):
            received += client.recv(4096)
        assert b" 101 " in received


@pytest.mark.feature("A4")
def test_log_never_holds_a_secret(server: Process) -> None:
    """No token, password or key, at level `debug`, through failures, refusals and malformed headers."""
    secrets = tour(server)
    server.stop()
    text = server.err.whole()
    assert text.count("first") >= 3, "the failures are all there"
    assert [secret for secret in secrets if secret in text] == []


@pytest.mark.feature("A4")
def test_log_cannot_be_written_by_a_client(server: Process) -> None:
    """Line breaks and terminal codes in paths, users and errors make no line of their own, and reach no terminal."""
    ref = "0" * 24
    for path in (
        "/%0a2026-01-01%2000:00:00%20ERROR%20forged",
        "/%1b[2J",
        f"/x%20ref={ref}",
        "/%e2%80%a8forged",
        "/\x1b",
    ):
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            client.makefile("rb").read()
    for user in (NASTY, "eve\u2028x", f"eve ref={ref}", 'eve" ref="x'):
        login = json.dumps({"user": user, "password": "open sesame"})
        answer = server.request("POST", "/wshttp/login", login)
        if answer.status == 200:
            server.get("/boom", {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]})
    server.get("/boom")
    server.get("/plain?warn=1")
    server.get("/forget")
    server.err.wait_for("lost")
    of_people = not is_json(server)
    server.stop()
    text = server.err.whole()
    for line in text.split("\n"):
        assert line.isprintable(), repr(line)
        if of_people:
            assert BEGIN.match(line) or line.startswith("    "), line
            assert "forged" not in line or not line.startswith("2026-01-01"), line
            assert QUOTED.sub("", line).count(" ref=") <= 1, line
        else:
            assert {"at", "level", "logger", "message"} <= set(json.loads(line))


@pytest.mark.feature("A4")
def test_access_log_says_who_asked_for_what(server: Process) -> None:
    """Method, path without the query, status, address, duration, and the session's ref and user; of files, too."""
    login = json.dumps({"user": "ada", "password": "open sesame"})
    answer = server.request("POST", "/wshttp/login", login)
    ref = json.loads(answer.body)["ref"]
    server.get("/wshttp/session?x=1", {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]})
    server.get("/index.html")
    server.get("/a%64min/%e4")
    server.err.wait_for("GET /index.html 200")
    server.err.wait_for("%E4 400|%e4 400")
    wanted = {"remote_ip": "127.0.0.1", "ref": ref, "user": "ada"}
    if is_json(server):
        lines = [json.loads(line) for line in server.err]
        [line] = [line for line in lines if line["message"] == "GET /wshttp/session 200"]
        assert {key: line[key] for key in wanted} == wanted
        assert line["milliseconds"] >= 0
        assert (line["level"], line["logger"]) == ("info", "wshttp.access")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["at"])
        assert "user" not in next(line for line in lines if line["message"] == "GET /index.html 200")
    else:
        line = server.err.wait_for(r"INFO    wshttp.access: GET /wshttp/session 200 (.*)$")[1]
        facts: dict[str, Any] = dict(word.split("=") for word in line.split())
        assert facts.pop("milliseconds")
        assert facts == wanted


def test_failures_are_logged_with_their_traceback(server: Process) -> None:
    """Of a handler, of a plain Tornado handler, of a callback, and of a task that nobody waited for."""
    server.get("/boom")
    server.get("/plain")
    server.get("/forget")
    for what in ("first", "plain", "lost"):
        server.err.wait_for(f"ValueError: {what}")
    if is_json(server):
        line = next(json.loads(line) for line in server.err if "ValueError: plain" in line)
        assert line["level"] == "error"
        assert "Traceback (most recent call last)" in line["exception"]
        assert "/plain" in line["message"]
    else:
        server.err.wait_for("ERROR .*/plain")
