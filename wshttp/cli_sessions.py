"""`wshttp sessions`: look at, end and speak to the sessions of a server that runs, over its administration."""

from __future__ import annotations

import getpass
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any, Final, NoReturn

import typer

from wshttp.admin_answers import Answer, Card, Session
from wshttp.admin_client import STEP, AdminClient, AdminRefused, is_name
from wshttp.errors import UsageError

app = typer.Typer(help="List, show, end and speak to the sessions of a server that runs.", no_args_is_help=True)

VARIABLE: Final = "WSHTTP_ADMIN_PASSWORD"
"""The variable of the environment that spares the question."""

INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, as shells have it: 128 and the signal's number."""

_LAST: Final = "the last step may have been done, too"
"""What is said where its answer did not come."""

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
        choice = _choice(user, ip, before)
        found = client.sessions(choice)
        shown = islice(found, limit) if limit else found
        if as_json:
            for session in shown:
                typer.echo(_json(session))
        elif 0 < limit <= STEP:
            _print_table(shown)
        else:
            _print_table(_fetched(shown, client.count(choice), limit))
        if limit and next(found, None) is not None:
            typer.echo(f"There are more; --limit 0 lists all (here: {limit}).", err=True)


@app.command()
def show(
    ref: Annotated[str, typer.Argument(help="The session's ref.", metavar="REF")],
    url: Url = DEFAULT_URL,
    admin: Admin = None,
    as_json: Json = False,
) -> None:
    """Show one session: its facts, what it holds by name and size, its connections, and the history of its life."""
    _require_names([ref])
    with _asking(url, admin) as client:
        found = client.session(ref)
    if as_json:
        typer.echo(_json(found))
    else:
        for line in _card(found):
            typer.echo(_printable(line))


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
    _require_names(refs or [])
    with _asking(url, admin) as client:
        if refs:
            count = _end_each(client, refs)
        else:
            if all_ and not yes and not _is_sure(client):
                raise typer.Exit(1)
            count = _end_chosen(client, {"expired": "1"} if expired else {"all": "1"} if all_ else choice)
    typer.echo(json.dumps({"ended": count}) if as_json else f"{count:,} ended")


@app.command()
def close(
    connections: Annotated[list[str], typer.Argument(help="The connections' names, as shown by `show`.", metavar="ID")],
    url: Url = DEFAULT_URL,
    admin: Admin = None,
    as_json: Json = False,
) -> None:
    """Close connections for good; their sessions live on."""
    _require_names(connections)
    with _asking(url, admin) as client:
        count, asked, missing = _close_each(client, connections)
    if as_json:
        typer.echo(json.dumps({"closed": count, "asked": asked}))
    else:
        typer.echo(f"{count:,} closed" + (f"; other nodes were asked to close {asked:,}" if asked else ""))
    for name in missing:
        typer.echo(f"wshttp sessions: there is no connection {name}", err=True)
    if missing:
        raise typer.Exit(1)


@app.command()
def send(
    message: Annotated[str, typer.Argument(help="What is told.", metavar="MESSAGE")],
    url: Url = DEFAULT_URL,
    admin: Admin = None,
    user: Annotated[str | None, typer.Option(help="Only to this user.")] = None,
    session: Annotated[str | None, typer.Option(help="Only to the session with this ref.")] = None,
    topic: Annotated[str | None, typer.Option(help="Only to those in this topic.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="To everybody.")] = False,
    parse: Annotated[bool, typer.Option("--parse", help="The message is JSON, not text.")] = False,
    as_json: Json = False,
) -> None:
    """Send a message to open connections, on all nodes."""
    whom = _given(user=user, session=session, topic=topic)
    if bool(whom) == all_:
        _fail("say whom it is for: --user, --session and --topic, or --all", 2)
    told = _parsed(message) if parse else message
    with _asking(url, admin) as client:
        sent = client.send(told, whom)
    if as_json:
        typer.echo(_json(sent))
    else:
        others = f"; {sent.others:,} other nodes were told" if sent.others else ""
        typer.echo(f"sent to {sent.sent:,} connections{others}")


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
    except UsageError as error:
        _fail(str(error), 2)
    except AdminRefused as error:
        _fail(str(error), 1)
    finally:
        client.close()


def _fetched(found: Iterator[Session], total: int | None, limit: int) -> list[Session]:
    """Fetch sessions, showing how far it is: the first line of a table is as wide as all that follow need it."""
    fetched: list[Session] = []
    with _bar("Asking", min(total, limit) if total and limit else total or limit) as bar:
        while page := list(islice(found, STEP)):
            fetched += page
            bar.update(len(page))
    return fetched


def _password() -> str:
    """Return the password. There is no option for it: what stands in a command is there for the whole machine to read."""
    found = os.environ.get(VARIABLE)
    if found is not None:
        return found
    try:
        return getpass.getpass("Password: ")
    except EOFError:
        _fail(f"there is nobody to ask for the password; {VARIABLE} can have it", 2)


def _choice(user: str | None, ip: str | None, before: str | None) -> dict[str, str]:
    return _given(user=user, ip=ip, before=before)


def _given(**options: str | None) -> dict[str, str]:
    """Return the options that are there; an empty one may be all that a script had in place of a name."""
    for name, value in options.items():
        if value == "":
            _fail(f"--{name} is empty", 2)
    return {name: value for name, value in options.items() if value is not None}


def _require_names(given: list[str]) -> None:
    for name in given:
        if not is_name(name):
            _fail(f"{name} is no ref, nor the name of a connection: those have digits and letters from a to f", 2)


def _parsed(message: str) -> Any:
    try:
        return json.loads(message)
    except (ValueError, RecursionError):
        _fail("the message is not JSON", 2)


def _is_sure(client: AdminClient) -> bool:
    count = client.count({})
    client.close()  # people take their time, and servers hang up on who says nothing
    return typer.confirm("End all sessions?" if count is None else f"End all {count:,} sessions?", err=True)


# --- ending ---------------------------------------------------------------------------------------


def _end_each(client: AdminClient, refs: list[str]) -> int:
    """End these; one that does not live is no reason to spare the others."""
    missing: list[str] = []
    try:
        count = _ended(_ending_each(client, refs, missing), len(refs))
    finally:
        for ref in missing:
            typer.echo(f"wshttp sessions: there is no live session {ref}", err=True)
    if missing:
        typer.echo(f"{count:,} ended")
        raise typer.Exit(1)
    return count


def _ending_each(client: AdminClient, refs: list[str], missing: list[str]) -> Iterator[int]:
    for ref in refs:
        try:
            client.end(ref)
        except AdminRefused as error:
            if error.status != 404:
                raise
            missing.append(ref)
            yield 0
        else:
            yield 1


def _end_chosen(client: AdminClient, choice: dict[str, str]) -> int:
    """End those that are chosen; the server has an end of many spare who comes meanwhile."""
    total = None if "expired" in choice else client.count({name: choice[name] for name in choice if name != "all"})
    return _ended(client.end_many(choice), total)


def _ended(steps: Iterator[int], total: int | None) -> int:
    """Add up how many end with each step, showing how far it is. Ctrl-C stops between two steps, a second one at once."""
    count = 0
    try:
        with _stoppable() as stopping, _bar("Ending", total) as bar:
            for ended in steps:
                count += ended
                bar.update(ended)
                if stopping.is_set():
                    break
    except AdminRefused as error:
        typer.echo(f"{count + error.ended:,} ended before it failed; {_LAST}", err=True)
        raise
    except KeyboardInterrupt:
        typer.echo(f"interrupted: {count:,} ended; {_LAST}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if stopping.is_set():
        typer.echo(f"stopped: {count:,} ended, all others live on", err=True)
        raise typer.Exit(INTERRUPTED)
    return count


def _close_each(client: AdminClient, connections: list[str]) -> tuple[int, int, list[str]]:
    """Close these; return how many were closed, how many other nodes were asked to, and those that there are none of."""
    closed, missing = [], []
    for name in connections:
        try:
            closed.append(client.kick(name))
        except AdminRefused as error:
            if error.status != 404:
                raise
            missing.append(name)
    return closed.count(True), closed.count(False), missing


def _bar(label: str, total: int | None) -> Any:
    """Show how far it is, where somebody looks; in a file it would be noise."""
    label = label if sys.stderr.isatty() else ""
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


_COLUMNS: Final[tuple[tuple[str, Callable[[Session, float], str]], ...]] = (
    ("REF", lambda session, now: session.ref),
    ("USER", lambda session, now: session.user or "-"),
    ("IP", lambda session, now: session.ip or "-"),
    ("BY", lambda session, now: session.identity),
    ("AGE", lambda session, now: _span(now - session.created_at)),
    ("IDLE", lambda session, now: _span(session.idle)),
    ("ENDS IN", lambda session, now: _span(session.expires_in)),
    ("SOCKETS", lambda session, now: str(session.connections)),
)
"""What a table says of a session, at a time."""


def _print_table(sessions: Iterable[Session]) -> None:
    now = time.time()
    rows = [[title for title, _ in _COLUMNS]]
    rows += ([_printable(text(session, now)) for _, text in _COLUMNS] for session in sessions)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _card(found: Card) -> Iterator[str]:
    """Yield the lines of one session."""
    session = found.session
    facts = {
        "ref": session.ref,
        "user": session.user or "-",
        "roles": ", ".join(session.roles) or "-",
        "ip": session.ip or "-",
        "recognised by": session.identity,
        "user agent": found.user_agent or "-",
        "created": _date(session.created_at),
        "last access": f"{_date(session.last_access_at)} ({_span(session.idle)} ago)",
        "ends in": f"{_span(session.expires_in)}, at the latest in {_span(session.absolute_expires_in)}",
    }
    yield from (f"{name:<15}{value}" for name, value in facts.items())
    yield f"{'data':<15}{found.data.size:,} bytes"
    yield from (f"  {each.key}  {each.size:,} bytes" for each in found.data.keys)
    yield f"{'connections':<15}{session.connections}, of node {found.node}:"
    yield from (f"  {each.id}  {each.path}  from {each.ip}, {_date(each.opened_at)}" for each in found.connections)
    yield f"{'history':<15}of node {found.node}:"
    for each in found.history:
        details = " ".join(f"{name}={value}" for name, value in (each.model_extra or {}).items())
        yield f"  {_date(each.at)}  {each.what:<12} {details}".rstrip()


def _json(answer: Answer) -> str:
    return json.dumps(answer.model_dump())


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
    """Keep what a client chose to be called, and what a server answers, from speaking to the terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _fail(text: str, status: int) -> NoReturn:
    typer.echo(f"wshttp sessions: {_printable(text)}", err=True)
    raise typer.Exit(status)
