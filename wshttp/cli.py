"""The command line: serve, check, passwd, and what `cli_sessions` adds."""

from __future__ import annotations

import asyncio
import getpass
import json
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from tornado import autoreload

from wshttp import cli_sessions
from wshttp.auth.passwords import DEFAULT_COST, hash_password
from wshttp.auth.users_file import delete_user, write_user
from wshttp.config import load_settings, settings_as_yaml, shipped
from wshttp.errors import ConfigurationError, UsageError
from wshttp.server import Server

SHORT_PASSWORD = 15
"""Characters below which a password that is the only factor is weak: NIST SP 800-63B-4, section 3.1.1.2."""

LOW_COST = 10
"""bcrypt's least cost by OWASP ASVS 5.0, appendix C."""

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


app.add_typer(cli_sessions.app, name="sessions")


@app.callback()
def about() -> None:
    """HTTP and WebSocket on one port, with one list of sessions behind both."""


Config = Annotated[
    str | None, typer.Option("--config", help="YAML file with the settings.", show_default="config/wshttp.yaml")
]


def _overrides(app_name: str | None, host: str | None, port: int | None, set_: list[str]) -> list[str]:
    named = {"app": app_name, "server.host": host, "server.port": port}
    # As JSON, which is YAML: an option's value is what it says, `::` no mapping.
    return set_ + [f"{key}={json.dumps(value)}" for key, value in named.items() if value is not None]


def _default_config() -> str:
    """Return `config/wshttp.yaml` of the working directory, or else the one that comes with the package."""
    here = Path("config/wshttp.yaml")
    return str(here if here.is_file() else shipped("config") / "wshttp.yaml")


@app.command()
def serve(
    config: Config = None,
    app_name: Annotated[str | None, typer.Option("--app", help="module:function that gets the server.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Any setting; the value is YAML.")
    ] = None,
    reload: Annotated[bool, typer.Option("--reload", help="Start again when a source file changes.")] = False,
) -> None:
    """Run the server until SIGTERM or SIGINT."""
    overrides = _overrides(app_name, host, port, set_ or [])
    path = config or _default_config()
    if reload:
        autoreload.watch(path)
    culprits: set[str] = set()
    try:
        server = Server.from_config(path, overrides=overrides)
    except ConfigurationError as error:
        _print_mistakes(error)
        culprits.update(_files_of(error))
        status = 2
    else:
        if reload and server.settings.server.workers > 1:
            typer.echo(
                "--reload: starts one process again, not several; leave it out, or set server.workers=1", err=True
            )
            raise typer.Exit(2)
        if reload:
            server.on_startup(lambda server: autoreload.start())
        status = server.serve()
    if reload and status == 2:
        for file in culprits:
            autoreload.watch(file)
        asyncio.run(_wait_for_change())
    sys.exit(status)


def _files_of(error: BaseException) -> Iterator[str]:
    """Name the files that an error came through: a module that cannot be imported is not among those that are watched."""
    cause: BaseException | None = error
    while cause is not None:
        yield from (frame.filename for frame in traceback.extract_tb(cause.__traceback__))
        if isinstance(cause, SyntaxError) and cause.filename is not None:
            yield cause.filename
        cause = cause.__cause__


async def _wait_for_change() -> None:
    """Wait until a source file changes, whereupon Tornado starts this program again, or until a signal."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    autoreload.start()
    await stopping.wait()


@app.command()
def check(config: Config = None) -> None:
    """Print the settings in force, or every mistake in them."""
    try:
        settings = load_settings(config or _default_config())
    except ConfigurationError as error:
        _print_mistakes(error)
        raise typer.Exit(2) from None
    typer.echo(settings_as_yaml(settings), nl=False)


@app.command()
def passwd(
    file: Annotated[Path, typer.Argument(help="The htpasswd file; made where there is none.")],
    user: Annotated[str, typer.Argument(help="The user's name.")],
    stdin: Annotated[bool, typer.Option("--stdin", help="Read the password from standard input.")] = False,
    cost: Annotated[int, typer.Option(min=4, max=16, help="bcrypt's cost: each step doubles the work.")] = DEFAULT_COST,
    delete: Annotated[bool, typer.Option("--delete", help="Remove the user.")] = False,
) -> None:
    """Add a user to a password file, change the password, or remove the user."""
    try:
        if delete:
            found = delete_user(file, user)
            typer.echo(f"{user} removed from {file}" if found else f"{user} is not in {file}", err=not found)
            raise typer.Exit(0 if found else 1)
        password = _read_password(stdin)
        hashed = hash_password(password, cost)
        _warn(password, cost)
        existed = write_user(file, user, hashed)
    except (UsageError, ValueError, OSError) as error:
        typer.echo(f"wshttp passwd: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, UsageError | ValueError) else 1) from None
    typer.echo(f"{user} {'changed in' if existed else 'added to'} {file}")


def _read_password(stdin: bool) -> str:
    if stdin:
        try:
            return sys.stdin.buffer.read().decode().removesuffix("\n")
        except UnicodeDecodeError:
            raise UsageError("the password is not UTF-8, as browsers would send it") from None
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise UsageError("the two passwords differ")
    return password


def _warn(password: str, cost: int) -> None:
    if len(password) < SHORT_PASSWORD:
        typer.echo(f"warning: the password has fewer than {SHORT_PASSWORD} characters", err=True)
    if cost < LOW_COST:
        typer.echo(f"warning: a cost below {LOW_COST} makes passwords cheap to guess from the file", err=True)


def _print_mistakes(error: ConfigurationError) -> None:
    for mistake in error.mistakes:
        typer.echo(mistake, err=True)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; `None`: with the arguments of the process."""
    app(arguments)
