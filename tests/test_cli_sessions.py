"""`wshttp sessions`: real processes against a server in this one."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import pty
import re
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import typer
from administering import admin_server, audit_of
from browsing import Browser, read_json
from processes import PATIENCE, ROOT, environment, serving
from serving import farewell, new_server, running, soon, websocket
from typer.testing import CliRunner, Result
from websockets.typing import Origin

from wshttp import Response, Server
from wshttp.admin_client import AdminClient
from wshttp.auth.passwords import hash_password
from wshttp.cli import app
from wshttp.cli_sessions import _ended, _span
from wshttp.errors import StoreUnavailable, UsageError


@pytest.fixture
def users_file(tmp_path: Any) -> str:
    """Ada, who administers, and bob, who does not."""
    path = tmp_path / "users.htpasswd"
    path.write_text("".join(f"{user}:{hash_password('secret', 4)}\n" for user in ("ada", "bob")))
    return str(path)


@dataclass
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str


@asynccontextmanager
async def command(base: str, *arguments: str, **more: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `wshttp sessions …` as ada."""
    variables = {"WSHTTP_ADMIN_URL": base, "WSHTTP_ADMIN_USER": "ada", "WSHTTP_ADMIN_PASSWORD": "secret"} | more
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "wshttp", "sessions", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=environment(**variables),
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def end_of(process: asyncio.subprocess.Process) -> Done:
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    return Done(process.returncode or 0, out.decode(), err.decode())


async def run(base: str, *arguments: str, **more: str) -> Done:
    async with command(base, *arguments, **more) as process:
        return await end_of(process)


async def fill(server: Server, count: int) -> None:
    for _ in range(count):
        await server.sessions.create(remote_ip="192.0.2.7")


@pytest.mark.feature("A1", "A3")
async def test_list_shows_sessions_to_people_and_to_programs(users_file: str) -> None:
    """A line each; what a client chose to be called cannot speak to the terminal. With `--json` an object per line."""
    server = admin_server(users_file)
    async with running(server) as base:
        one = await server.sessions.create(remote_ip="192.0.2.7", user="eve\x1b[2J\nx")
        two = await server.sessions.create(remote_ip="198.51.100.1")
        done = await run(base, "list")
        assert (done.status, done.err) == (0, "")
        head, *rows = done.out.splitlines()
        assert head.split()[:3] == ["REF", "USER", "IP"]
        assert {row.split()[0] for row in rows} == {one.ref, two.ref}
        assert "eve\\x1b[2J\\nx" in done.out
        found = [json.loads(line) for line in (await run(base, "list", "--json", "--ip", "198.51.")).out.splitlines()]
        assert [each["ref"] for each in found] == [two.ref]
        some = await run(base, "list", "--limit", "1")
        assert len(some.out.splitlines()) == 2
        assert "There are more" in some.err


@pytest.mark.feature("A1")
async def test_list_goes_through_all_pages(users_file: str) -> None:
    """More than one answer holds: each once."""
    server = admin_server(users_file)
    async with running(server) as base:
        await fill(server, 1100)
        done = await run(base, "list", "--limit", "0", "--json")
        refs = [json.loads(line)["ref"] for line in done.out.splitlines()]
        assert len(set(refs)) == len(refs) == 1100


@pytest.mark.feature("A3")
async def test_show_tells_of_one_session(users_file: str) -> None:
    """Facts, names and sizes of what it holds, and its history; not what it holds."""
    server = admin_server(users_file)
    async with running(server) as base:
        session = await server.sessions.create(remote_ip="192.0.2.7", user="bob", data={"cart": "apples"})
        done = await run(base, "show", session.ref)
        assert (done.status, done.err) == (0, "")
        for part in (session.ref, "bob", "192.0.2.7", "cart", "started"):
            assert part in done.out
        assert "apples" not in done.out
        assert json.loads((await run(base, "show", session.ref, "--json")).out)["session"]["ref"] == session.ref
        missing = await run(base, "show", "abc123")
        assert (missing.status, missing.out) == (1, "")
        assert missing.err == "wshttp sessions: there is no live session abc123\n"


@pytest.mark.feature("A2")
async def test_end_ends_those_that_are_named(users_file: str, caplog: pytest.LogCaptureFixture) -> None:
    """One that does not live is said, and keeps no other alive; the status tells."""
    server = admin_server(users_file)
    async with running(server) as base:
        one, two, three = [await server.sessions.create(remote_ip="192.0.2.7") for _ in range(3)]
        done = await run(base, "end", one.ref, "abc", two.ref)
        assert (done.status, done.out) == (1, "2 ended\n")
        assert "abc" in done.err
        assert [session.ref async for session in server.sessions.scan()] == [three.ref]
        assert (await run(base, "end", three.ref, "--json")).out == '{"ended": 1}\n'
    assert [line["by"] for line in audit_of(caplog)] == ["ada"] * 3


@pytest.mark.feature("A2")
async def test_end_ends_those_that_are_chosen(users_file: str) -> None:
    """By user, by network, by age, or all; in steps, and those that begin meanwhile are left alone."""
    server = admin_server(users_file)
    async with running(server) as base:
        await fill(server, 1100)
        await server.sessions.create(remote_ip="198.51.100.1", user="bob")
        assert (await run(base, "end", "--user", "bob")).out == "1 ended\n"
        assert (await run(base, "end", "--ip", "203.0.113.0/24")).out == "0 ended\n"
        assert await server.sessions.count() == 1100
        server.on_session_end(lambda session, reason: server.sessions.create(remote_ip="192.0.2.8"))
        done = await run(base, "end", "--all", "--yes")
        assert (done.status, done.out) == (0, "1,100 ended\n")
        await server.sessions.settled(PATIENCE)
        assert {session.remote_ip async for session in server.sessions.scan()} == {"192.0.2.8"}


@pytest.mark.feature("A2")
async def test_end_is_stopped_between_two_steps(users_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C lets the step under way come to its end, and says what was done; all others live on."""
    server = admin_server(users_file)
    started, release = asyncio.Event(), asyncio.Event()
    end_each = server.sessions.end_each

    async def held(*arguments: Any) -> AsyncIterator[Any]:
        started.set()
        await release.wait()
        async for each in end_each(*arguments):
            yield each

    monkeypatch.setattr(server.sessions, "end_each", held)
    async with running(server) as base:
        await fill(server, 1100)
        async with command(base, "end", "--all", "--yes") as process:
            await soon(started.wait())
            process.send_signal(signal.SIGINT)
            release.set()
            done = await end_of(process)
        assert (done.status, done.out) == (130, "")
        assert done.err.strip() == "stopped: 500 ended, all others live on"
        assert await server.sessions.count() == 600


def test_second_interrupt_says_what_was_done(capsys: pytest.CaptureFixture[str]) -> None:
    """It does not wait for the step under way; what that has come to nobody knows, but all before it is counted."""

    def steps() -> Iterator[int]:
        yield 3
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        yield 4

    with pytest.raises(typer.Exit) as stopped:
        _ended(steps(), None)
    assert stopped.value.exit_code == 130
    assert "interrupted: 3 ended; the last step may have been done, too" in capsys.readouterr().err


@pytest.mark.feature("A2", "A4")
async def test_end_that_fails_says_what_was_done(
    users_file: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the steps before, and in the one that failed, as the server tells; the audit log has the same number."""
    server = admin_server(users_file)
    end, calls = server.sessions.store.end, itertools.count(1)

    async def lossy(*arguments: Any) -> Any:
        ended = await end(*arguments)
        if next(calls) > 700:
            raise StoreUnavailable
        return ended

    async with running(server) as base:
        await fill(server, 1100)
        monkeypatch.setattr(server.sessions.store, "end", lossy)
        done = await run(base, "end", "--all", "--yes")
        monkeypatch.undo()
    assert (done.status, done.out) == (1, "")
    assert "700 ended before it failed; the last step may have been done, too" in done.err
    counts = [line["count"] for line in audit_of(caplog) if line["act"] == "sessions ended"]
    assert counts == [500, 200]
    assert all(line["all"] is True for line in audit_of(caplog)), "so it is known again"


@pytest.mark.feature("A5")
async def test_close_closes_connections(users_file: str) -> None:
    """Those that are named, for good; their session lives on. One that does not exist is said."""
    server = admin_server(users_file)
    async with running(server) as base, websocket(base, "/wshttp/socket", origin=Origin(base)) as socket:
        name = json.loads(await soon(socket.recv()))["connection"]
        done = await run(base, "close", name, "abc")
        assert (done.status, done.out) == (1, "1 closed\n")
        assert done.err == "wshttp sessions: there is no connection abc\n"
        assert await farewell(socket) == (4008, "kicked")
        assert await server.sessions.count() == 1


@pytest.mark.feature("A5")
async def test_send_sends_a_message(users_file: str) -> None:
    """To whom it is for, or to all; as text, or as the JSON that it is."""
    server = admin_server(users_file)
    async with running(server) as base, websocket(base, "/wshttp/socket", origin=Origin(base)) as socket:
        ref = json.loads(await soon(socket.recv()))["session"]["ref"]
        assert (await run(base, "send", "noon", "--all")).out == "sent to 1 connections\n"
        told = await run(base, "send", '{"at": 12}', "--parse", "--session", ref, "--json")
        assert json.loads(told.out) == {"sent": 1, "others": 0}
        assert (await run(base, "send", "noon", "--user", "bob")).out == "sent to 0 connections\n"
        assert [json.loads(await soon(socket.recv()))["data"] for _ in range(2)] == ["noon", {"at": 12}]


@pytest.mark.feature("A2")
async def test_end_of_many_refs_is_stopped_between_two(users_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C spares those that have not had their turn; those that were not there are named all the same."""
    server = admin_server(users_file)
    started, release = asyncio.Event(), asyncio.Event()
    end = server.sessions.end

    async def held(*arguments: Any, **options: Any) -> Any:
        started.set()
        await release.wait()
        return await end(*arguments, **options)

    async with running(server) as base:
        refs = [(await server.sessions.create(remote_ip="192.0.2.7")).ref for _ in range(3)]
        monkeypatch.setattr(server.sessions, "end", held)
        async with command(base, "end", "abc", *refs) as process:
            await soon(started.wait())
            process.send_signal(signal.SIGINT)
            release.set()
            done = await end_of(process)
        monkeypatch.undo()
        assert (done.status, done.out) == (130, "")
        assert "stopped: 1 ended, all others live on" in done.err
        assert "no live session abc" in done.err
        assert await server.sessions.count() == 2


@pytest.mark.feature("A1")
async def test_long_list_shows_how_far_it_is(users_file: str) -> None:
    """At a terminal, before the table; a short one is simply there."""
    server = admin_server(users_file)
    async with running(server) as base:
        await fill(server, 700)
        for arguments, shows in ((["--limit", "0"], "700/700"), (["--limit", "600"], "600/600"), ([], None)):
            status, shown = await asyncio.to_thread(at_terminal, base, [], "list", *arguments)
            assert status == 0
            assert ("Asking" in shown) is (shows is not None)
            assert (shows or "REF") in shown
            assert len(re.findall(r"192\.0\.2\.7", shown)) == int((shows or "100/").partition("/")[0])


@pytest.mark.feature("A2")
async def test_all_are_ended_only_when_somebody_is_sure(users_file: str) -> None:
    """At a terminal it asks, with the number; anything but yes ends nobody. How far it is shows on the terminal."""
    server = admin_server(users_file)
    async with running(server) as base:
        await fill(server, 7)
        refused = await asyncio.to_thread(at_terminal, base, ["n"])
        assert "End all 7 sessions?" in refused[1]
        assert refused[0] == 1
        assert await server.sessions.count() == 7
        status, shown = await asyncio.to_thread(at_terminal, base, ["y"])
        assert status == 0
        assert "7/7" in shown
        assert "7 ended" in shown
        assert "secret" not in shown, "the password is not echoed"
        assert await server.sessions.count() == 0


def at_terminal(base: str, answers: list[str], *arguments: str) -> tuple[int, str]:
    """Run `wshttp sessions end --all`, or another, at a terminal: user, password, and answers."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        command = [sys.executable, "-m", "wshttp", "sessions", *(arguments or ("end", "--all")), "--url", base]
        os.execve(sys.executable, command, environment(TERM="xterm"))
    killer = threading.Timer(PATIENCE, os.kill, (child, signal.SIGKILL))
    killer.start()
    shown, waiting = "", [("User:", "ada"), ("Password:", "secret"), *(("[y/N]:", answer) for answer in answers)]
    try:
        while chunk := os.read(terminal, 1024):
            shown += chunk.decode()
            if waiting and waiting[0][0] in shown:
                os.write(terminal, f"{waiting.pop(0)[1]}\n".encode())
    except OSError:
        pass  # Linux's way to say that nobody is at the other end any more
    finally:
        killer.cancel()
        os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["end"], "say whose sessions are to end"),
        (["end", "abc", "--all"], "say whose sessions are to end"),
        (["end", "--user", "bob", "--all"], "say whose sessions are to end"),
        (["end", "--expired", "--all"], "say whose sessions are to end"),
        (["end", "--user", ""], "--user is empty"),
        (["list", "--url", "localhost:8080"], "no address of a server"),
        (["list", "--url", "ftp://localhost"], "no address of a server"),
        (["list", "--url", "http://localhost:x"], "no address of a server"),
        (["list", "--url", "http://ada:secret@localhost"], "no address of a server"),
        (["list", "--url", "http://[::1'"], "no address of a server"),
        (["list", "--admin", "ada\udcff"], "are text in UTF-8"),
        (["show"], "Missing argument"),
        (["show", "../stats"], "is no ref"),
        (["end", "ab", "../connections/cd"], "is no ref"),
        (["end", ""], "is no ref"),
        (["close", "../sessions/ab"], "is no ref"),
        (["send", "noon"], "say whom it is for"),
        (["send", "noon", "--all", "--user", "bob"], "say whom it is for"),
        (["send", "noon", "--user", ""], "--user is empty"),
        (["send", "{", "--all", "--parse"], "is not JSON"),
    ],
)
def test_mistake_in_the_command_line_asks_no_server(arguments: list[str], said: str) -> None:
    """The status is 2, the mistake is said in a line, and nothing is on standard output."""
    given = {"WSHTTP_ADMIN_USER": "ada", "WSHTTP_ADMIN_PASSWORD": "secret", "COLUMNS": "200"}
    done = CliRunner(env=given).invoke(app, ["sessions", *arguments])
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"WSHTTP_ADMIN_PASSWORD": "wrong"}, "user or password is wrong"),
        ({"WSHTTP_ADMIN_USER": "bob"}, "bob is not in admin.users"),
    ],
)
async def test_refusal_is_said_in_a_line(more: dict[str, str], said: str, users_file: str) -> None:
    """With what the server says of it."""
    async with running(admin_server(users_file)) as base:
        done = await run(base, "list", **more)
        assert (done.status, done.out, done.err) == (1, "", f"wshttp sessions: {said}\n")


async def test_servers_that_cannot_answer_are_said_in_a_line(users_file: str) -> None:
    """Nobody listens; another prefix; nobody is allowed; something that is no server of ours."""
    async with running(new_server(api={"prefix": "/chat"})) as base:
        elsewhere = await run(base, "list")
        assert elsewhere.status == 1
        assert "is that the address of the server, with its api.prefix?" in elsewhere.err
        closed = await run(f"{base}/chat", "list")
        assert closed.err.startswith("wshttp sessions: nobody may use administration")
    nobody = await run(base, "list")
    assert nobody.status == 1
    assert nobody.err.startswith(f"wshttp sessions: {base} cannot be asked: ")
    for done in (elsewhere, closed, nobody):
        assert len(done.err.splitlines()) == 1


SESSION = {
    "ref": "ab",
    "user": None,
    "roles": [],
    "ip": "",
    "identity": "cookie",
    "created_at": 1.0,
    "last_access_at": 1.0,
    "idle": 0,
    "expires_in": None,
    "absolute_expires_in": None,
    "connections": 0,
}


async def answered(body: str, *arguments: str, status: int = 200) -> Result:
    """Run a command against a server that answers whatever is asked with this."""
    server = new_server(api={"prefix": "/chat"})
    server.get("/wshttp/admin/api/{call:path}")(lambda request, call: Response(body, status))
    async with running(server) as base:
        given = {"WSHTTP_ADMIN_USER": "ada", "WSHTTP_ADMIN_PASSWORD": "secret", "WSHTTP_ADMIN_URL": base}
        return await asyncio.to_thread(CliRunner(env=given).invoke, app, ["sessions", *arguments])


@pytest.mark.parametrize("command", [("list",), ("list", "--limit", "0"), ("show", "ab")])
@pytest.mark.parametrize(
    "body",
    [
        "{}",
        "[]",
        "",
        "[" * 100_000,
        '{"sessions": {}, "total": 0, "cursor": null}',
        json.dumps({"sessions": [SESSION | {"created_at": 1e300}], "total": 1, "cursor": None}),
        json.dumps({"sessions": [SESSION | {"idle": "long"}], "total": 1, "cursor": None}),
        '{"sessions": [], "total": NaN, "cursor": null}',
    ],
    ids=lambda body: body[:30],
)
async def test_answer_that_is_none_of_ours_is_said_in_a_line(command: tuple[str, ...], body: str) -> None:
    """Whatever answers there, nobody gets a traceback."""
    done = await answered(body, *command)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "an answer that is none of ours" in done.stderr
    assert len(done.stderr.splitlines()) == 1


async def test_server_does_not_speak_to_the_terminal() -> None:
    """Nothing that it answers does, wherever it stands."""
    evil = "\x1b[2J\u202e\n"
    session = SESSION | {"ref": evil, "user": evil, "roles": [evil], "ip": evil, "identity": evil}
    card = {
        "session": session,
        "user_agent": evil,
        "data": {"size": 1, "keys": [{"key": evil, "size": 1}]},
        "connections": [{"id": evil, "ip": evil, "path": evil, "opened_at": 1.0}],
        "history": [{"what": evil, "at": 1.0, "code": evil}],
        "node": evil,
    }
    listed = await answered(json.dumps({"sessions": [session], "total": 1, "cursor": None}), "list")
    shown = await answered(json.dumps(card), "show", "ab")
    refused = await answered(json.dumps({"type": "urn:wshttp:x", "title": evil}), "list", status=503)
    assert [done.exit_code for done in (listed, shown, refused)] == [0, 0, 1]
    for done in (listed, shown, refused):
        assert all(line.isprintable() for line in done.output.split("\n"))
    assert listed.stdout.count("\n") == 2


def test_host_that_can_have_no_name_is_said_in_a_line() -> None:
    """It is not even looked for."""
    given = {"WSHTTP_ADMIN_USER": "ada", "WSHTTP_ADMIN_PASSWORD": "secret"}
    done = CliRunner(env=given).invoke(app, ["sessions", "list", "--url", f"https://{'x' * 70}.example"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "cannot be asked" in done.stderr


async def test_password_stays_with_the_server_that_was_named(users_file: str) -> None:
    """A redirect is not followed, wherever it leads; it is said."""
    server = new_server(api={"prefix": "/chat"})

    @server.get("/wshttp/admin/api/sessions")
    def elsewhere(request: Any) -> Any:
        return Response(status=302, headers={"Location": "https://evil.example/"})

    async with running(server) as base:
        done = await run(base, "list")
        assert done.status == 1
        assert "https://evil.example/" in done.err


def test_password_over_a_network_needs_https() -> None:
    """Without it there is a warning; on this machine nobody listens."""
    risky = {url: AdminClient(url, "ada", "secret").tells_all for url in ("http://192.0.2.7", "https://192.0.2.7")}
    assert risky == {"http://192.0.2.7": True, "https://192.0.2.7": False}
    for host in ("localhost", "127.0.0.1", "[::1]", "app.localhost"):
        assert not AdminClient(f"http://{host}:8080", "ada", "secret").tells_all
    with pytest.raises(UsageError):
        AdminClient("//localhost", "ada", "secret")


async def test_session_of_a_browser_is_found_under_the_ref_that_it_knows(users_file: str) -> None:
    """The `ref` of `GET /session` is what support asks a customer for."""
    async with running(admin_server(users_file)) as base:
        ref = read_json(await Browser(base).post("/wshttp/session"))["ref"]
        assert (await run(base, "show", ref)).status == 0


@pytest.mark.feature("A2", "A4")
@pytest.mark.parametrize("form", ["text", "json"])
def test_audit_log_is_written_whatever_the_level(form: str, users_file: str) -> None:
    """`log.level` is about the server's work; who did what is written all the same, as a line or as fields."""
    settings = (f"auth.users_file={users_file}", "admin.users=[ada]", "log.level=error", f"log.format={form}")
    with serving(*(word for setting in settings for word in ("--set", setting))) as server:
        client = AdminClient(server.address, "ada", "secret")
        assert list(client.end_many({"user": "bob \n"})) == [0]
        client.close()
        assert server.stop() == 0
    before, line = server.err.whole().splitlines()
    assert "sessions ending" in before
    if form == "json":
        fields = json.loads(line)
        assert (fields["message"], fields["by"], fields["by_ip"]) == ("sessions ended", "ada", "127.0.0.1")
        assert (fields["user"], fields["count"]) == ("bob \n", 0)
    else:
        assert line.endswith(r'wshttp.audit: sessions ended by=ada by_ip=127.0.0.1 user="bob \n" count=0')


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("list", ["--url", "--admin", "--user", "--ip", "--before", "--limit", "--json"]),
        ("show", ["--url", "--admin", "--json"]),
        ("close", ["--url", "--admin", "--json"]),
        ("send", ["--url", "--admin", "--user", "--session", "--topic", "--all", "--parse", "--json"]),
        ("end", ["--url", "--admin", "--user", "--ip", "--before", "--expired", "--all", "--yes", "--json"]),
    ],
)
def test_help_and_reference_name_every_option(command: str, options: list[str]) -> None:
    """What `--help` tells of is what the reference tells of; a password is no option."""
    told = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["sessions", command, "--help"]).output
    assert set(re.findall(r"--[a-z]+", told)) - {"--help"} == set(options)
    reference = (ROOT / "docs" / "reference" / "admin.md").read_text()
    assert all(option in reference for option in options)


def test_spans_are_said_in_two_units() -> None:
    """As people say them."""
    said = {0: "0s", 59: "59s", 60: "1m", 61: "1m 1s", 3600: "1h", 90061: "1d 1h", None: "never", -3: "0s"}
    assert {seconds: _span(seconds) for seconds in said} == said
