"""`wshttp sessions`: list, show and end sessions of a server that runs, over its administration."""

from __future__ import annotations

import getpass
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any, Final, NoReturn

import typer

from wshttp.admin_client import AdminClient, AdminRefused
from wshttp.errors import UsageError

app = typer.Typer(help="List, show and end the sessions of a server that runs.", no_args_is_help=True)

VARIABLE: Final = "WSHTTP_ADMIN_PASSWORD"
"""The variable of the environment that spares the question."""

INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, as shells have it: 128 and the signal's number."""

_COLUMNS: Final[tuple[str, ...]] = ("REF", "USER", "IP", "BY", "AGE", "IDLE", "ENDS IN", "SOCKETS")

Url = Annotated[
    str,
    typer.Option(
        "--url", envvar="WSHTTP_ADMIN_URL", help="Where the server is; its path is the api.prefix, if not /wshttp."
    ),
]
Admin = Annotated[
    str | None,
    typer.Option("--admin", envvar="WSHTTP_ADMIN_USER", help="Who asks: a user of admin.users.", show_default="asked"),
]
User = Annotated[str | None, typer.Option(help="Only of this user.")]
Ip = Annotated[
    str | None, typer.Option("--ip", help="Only of this address, network (192.0.2.0/24) or beginning (192.0.).")
]
Before = Annotated[str | None, typer.Option(help="Only those created before: 2026-01-31T12:00:00Z, or Unix seconds.")]
Json = Annotated[bool, typer.Option("--json", help="JSON, one object per line.")]

DEFAULT_URL: Final = "http://127.0.0.1:8080"


@app.command("list")
def list_(
    url: Url = DEFAULT_URL,
    admin: Admin = None,
    user: User = None,
    ip: Ip = None,
    before: Before = None,
    limit: Annotated[int, typer.Option(min=0, help="How many at most; 0: all.")] = 100,
    as_json: Json = False,
) -> None:
    """List sessions; the password is asked for, or in WSHTTP_ADMIN_PASSWORD."""
    with _asking(url, admin) as client:
        found = client.sessions(_choice(user, ip, before))
        shown = list(islice(found, limit)) if limit else found
        if as_json:
            for session in shown:
                typer.echo(json.dumps(session))
        else:
            _print_table(shown)
        if limit and next(found, None) is not None:
            typer.echo(f"There are more; --limit 0 lists all (here: {limit}).", err=True)


@app.command()
def show(
    ref: Annotated[str, typer.Argument(help="The session's ref.")],
    url: Url = DEFAULT_URL,
    admin: Admin = None,
    as_json: Json = False,
) -> None:
    """Show one session: its facts, what it holds by name and size, its connections, and the history of its life."""
    with _asking(url, admin) as client:
        found = client.session(ref)
    if as_json:
        typer.echo(json.dumps(found))
    else:
        for line in _card(found):
            typer.echo(line)


@app.command()
def end(
    refs: Annotated[list[str] | None, typer.Argument(help="The refs of sessions to end.", metavar="REF")] = None,
    url: Url = DEFAULT_URL,
    admin: Admin = None,
    user: User = None,
    ip: Ip = None,
    before: Before = None,
    expired: Annotated[bool, typer.Option("--expired", help="Those past their deadline, at once.")] = False,
    all_: Annotated[bool, typer.Option("--all", help="All that there are now.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --all: do not ask first.")] = False,
    as_json: Json = False,
) -> None:
    """End sessions: these, or those of a user, of an address, of an age, or all. Ctrl-C stops it without harm."""
    choice = _choice(user, ip, before)
    ways = [bool(refs), bool(choice), expired, all_]
    if sum(ways) != 1:
        _fail("say whose sessions are to end: refs, or --user, --ip and --before, or --expired, or --all", 2)
    with _asking(url, admin) as client:
        if refs:
            count = _end_each(client, refs)
        else:
            if all_ and not yes and not _is_sure(client):
                raise typer.Exit(1)
            count = _end_chosen(client, {"expired": "1"} if expired else choice)
    typer.echo(json.dumps({"ended": count}) if as_json else f"{count:,} ended")


# --- asking ---------------------------------------------------------------------------------------


@contextmanager
def _asking(url: str, admin: str | None) -> Iterator[AdminClient]:
    """Keep a client, and turn what goes wrong into one line and an exit status."""
    try:
        name = admin if admin is not None else typer.prompt("User", err=True)
        client = AdminClient(url, name, _password())
    except UsageError as error:
        _fail(str(error), 2)
    if client.tells_all:
        typer.echo("warning: without https the password can be read on its way", err=True)
    try:
        yield client
    except AdminRefused as error:
        _fail(_printable(str(error)), 1)
    finally:
        client.close()


def _password() -> str:
    """Return the password. There is no option for it: what stands in a command is there for the whole machine to read."""
    found = os.environ.get(VARIABLE)
    return getpass.getpass("Password: ") if found is None else found


def _choice(user: str | None, ip: str | None, before: str | None) -> dict[str, str]:
    given = {"user": user, "ip": ip, "before": before}
    for name, value in given.items():
        if value == "":
            _fail(f"--{name} is empty", 2)
    return {name: value for name, value in given.items() if value is not None}


def _is_sure(client: AdminClient) -> bool:
    count = client.count({})
    client.close()  # people take their time, and servers hang up on who says nothing
    return typer.confirm(f"End all {count:,} sessions?", err=True)


# --- ending ---------------------------------------------------------------------------------------


def _end_each(client: AdminClient, refs: list[str]) -> int:
    """End these; one that does not live is no reason to spare the others."""
    count = 0
    for ref in refs:
        try:
            client.end(ref)
            count += 1
        except AdminRefused as error:
            if error.status != 404:
                raise
            typer.echo(f"wshttp sessions: there is no live session {_printable(ref)}", err=True)
    if count < len(refs):
        typer.echo(f"{count:,} ended")
        raise typer.Exit(1)
    return count


def _end_chosen(client: AdminClient, choice: dict[str, str]) -> int:
    """End step by step, showing how far it is; those that begin meanwhile are left alone."""
    total = None if "expired" in choice else client.count(choice)
    if "expired" not in choice and "before" not in choice:
        choice = choice | {"before": repr(client.stats()["at"])}
    count = 0
    try:
        with _stoppable() as stopping, _bar(total) as bar:
            for ended in client.end_many(choice):
                count += ended
                bar.update(ended)
                if stopping.is_set():
                    break
    except AdminRefused:
        typer.echo(f"{count:,} ended before it failed", err=True)
        raise
    if stopping.is_set():
        typer.echo(f"stopped: {count:,} ended, all others live on", err=True)
        raise typer.Exit(INTERRUPTED)
    return count


def _bar(total: int | None) -> Any:
    """Show how far it is, where somebody looks; in a file it would be noise."""
    label = "Ending" if sys.stderr.isatty() else ""
    return typer.progressbar(length=total or 0, label=label, file=sys.stderr, show_pos=True)


@contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """Have Ctrl-C set an event, so that a step that is under way is still heard of; a second one interrupts that, too."""
    stopping = threading.Event()

    def stop(number: int, frame: Any) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield stopping
    finally:
        signal.signal(signal.SIGINT, before)


# --- showing --------------------------------------------------------------------------------------


def _print_table(sessions: Iterable[dict[str, Any]]) -> None:
    now = time.time()
    rows = [_COLUMNS, *(_row(session, now) for session in sessions)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        typer.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _row(session: dict[str, Any], now: float) -> tuple[str, ...]:
    return (
        _printable(session["ref"]),
        _printable(session["user"] or "-"),
        _printable(session["ip"] or "-"),
        session["identity"],
        _span(now - session["created_at"]),
        _span(session["idle"]),
        _span(session["expires_in"]),
        str(session["connections"]),
    )


def _card(found: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of one session."""
    session, data = found["session"], found["data"]
    facts = {
        "ref": session["ref"],
        "user": session["user"] or "-",
        "roles": ", ".join(session["roles"]) or "-",
        "ip": session["ip"] or "-",
        "recognised by": session["identity"],
        "user agent": found["user_agent"] or "-",
        "created": _date(session["created_at"]),
        "last access": f"{_date(session['last_access_at'])} ({_span(session['idle'])} ago)",
        "ends in": f"{_span(session['expires_in'])}, at the latest in {_span(session['absolute_expires_in'])}",
    }
    yield from (f"{name:<15}{_printable(str(value))}" for name, value in facts.items())
    yield f"{'data':<15}{data['size']:,} bytes"
    yield from (f"  {_printable(each['key'])}  {each['size']:,} bytes" for each in data["keys"])
    yield f"{'connections':<15}{session['connections']}, of node {found['node']}:"
    for each in found["connections"]:
        yield f"  {each['id']}  {_printable(each['path'])}  from {_printable(each['ip'])}, {_date(each['opened_at'])}"
    yield f"{'history':<15}of node {found['node']}:"
    for each in found["history"]:
        details = " ".join(f"{name}={value}" for name, value in each.items() if name not in ("what", "at"))
        yield f"  {_date(each['at'])}  {each['what']:<12} {_printable(details)}".rstrip()


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")


def _span(seconds: float | None) -> str:
    """Return a length of time as people say it, in its two largest units."""
    if seconds is None:
        return "never"
    said: list[str] = []
    left = max(0, int(seconds))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        many, left = divmod(left, size)
        if many or (unit == "s" and not said):
            said.append(f"{many}{unit}")
    return " ".join(said[:2])


def _printable(text: str) -> str:
    """Keep what a client chose to be called from speaking to the terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _fail(text: str, status: int) -> NoReturn:
    typer.echo(f"wshttp sessions: {text}", err=True)
    raise typer.Exit(status)
