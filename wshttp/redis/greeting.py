"""A connection to one server: made, logged in, and known to be what we need.

redis-py opens it and logs in. What it would do on its own is off: to send again what was not answered (it knows no
tokens), to look whether the connection is alive (the link does), RESP3 with its notifications in between.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, InvalidResponse, NoPermissionError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from wshttp.config.redis_url import Login, Place
from wshttp.errors import StoreUnusable
from wshttp.redis.packing import Argument, pack
from wshttp.redis.refusals import ELSEWHERE, FAILING, RedisRefused, RedisUnavailable, is_reply, refusal

OLDEST: Final = 7
"""The major version from which on scripts may say what goes wrong in them, and effects are replicated as they were."""


@dataclass(frozen=True, slots=True)
class Server:
    """What a server says of itself."""

    version: str
    mode: str
    """`standalone`, `cluster` or `sentinel`."""
    role: str
    """`master` or `replica`; of a sentinel `sentinel`."""


@dataclass(frozen=True, slots=True)
class Greeter:
    """How connections are made: the same for all servers of one URL."""

    login: Login
    tls: dict[str, Any] | None
    timeout: float
    """Seconds that a server may take until it has greeted us, and for each of the first questions."""
    client_name: str = ""

    async def connect(self, place: Place, *, db: int = 0) -> tuple[AbstractConnection, Server]:
        """Connect and log in. Raises `RedisUnavailable`, and `StoreUnusable` where trying again would not help."""
        connection = self._connection(place, db)
        try:
            async with asyncio.timeout(self.timeout):
                await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's own
                server = self._check(await self._hello(connection), place)
                await self._ping(connection)
        except BaseException as error:
            await cut(connection)
            if isinstance(error, TimeoutError | RedisError):
                raise self._reason(error, place) from None
            raise
        return connection, server

    def _connection(self, place: Place, db: int) -> AbstractConnection:
        options: dict[str, Any] = {
            "db": db,
            "username": self.login.user,
            "password": self.login.password,
            "socket_timeout": None,  # the link has deadlines of its own
            "socket_connect_timeout": self.timeout,
            "retry": Retry(NoBackoff(), 0),
            "health_check_interval": 0,
            "protocol": 2,
        }
        if place.path:
            return UnixDomainSocketConnection(path=place.path, **options)
        options |= {"host": place.host, "port": place.port}
        if self.tls is None:
            return Connection(**options)
        # Before redis-py 6 names were not checked unless that was asked for.
        options |= {"ssl_check_hostname": self.tls.get("ssl_cert_reqs") != "none"} | self.tls
        return SSLConnection(**options)

    async def _hello(self, connection: AbstractConnection) -> dict[bytes, Any]:
        # It tells version and role to everybody who may log in at all; INFO and ROLE may be forbidden.
        name = ("SETNAME", self.client_name) if self.client_name else ()
        await connection.send_command("HELLO", 2, *name, check_health=False)
        reply = await connection.read_response(disconnect_on_error=False)
        if not isinstance(reply, list):
            raise InvalidResponse("no list in reply to HELLO")
        return dict(zip(reply[::2], reply[1::2], strict=False))

    async def _ping(self, connection: AbstractConnection) -> None:
        """Let a server that is loading its data, or cannot write them, say so before anybody relies on it."""
        try:
            await connection.send_command("PING", check_health=False)
            await connection.read_response(disconnect_on_error=False)
        except NoPermissionError:
            pass  # then the first call will hear it

    def _check(self, hello: dict[bytes, Any], place: Place) -> Server:
        said = (hello.get(name) for name in (b"version", b"mode", b"role"))
        version, mode, role = (text.decode("ascii", "replace") if isinstance(text, bytes) else "?" for text in said)
        major = version.partition(".")[0]
        if not major.isdecimal() or int(major) < OLDEST:
            raise StoreUnusable(f"store.url: {place} is too old: it is version {version}, and {OLDEST}.0 is needed")
        return Server(version, mode, role)

    def _reason(self, error: Exception, place: Place) -> Exception:
        """Say what became of a connection."""
        while isinstance(error.__cause__, RedisError):  # redis-py wraps what happens while it connects to a Unix socket
            error = error.__cause__
        if isinstance(error, TimeoutError | RedisTimeoutError):
            tls = "" if self.tls is None else "; does it speak TLS?"  # who does not waits for more
            return RedisUnavailable(f"store.url: {place} does not answer within {self.timeout:g} s{tls}")
        if isinstance(error, InvalidResponse):
            return StoreUnusable(f"store.url: {place} is no Redis: it answers in another protocol")
        if isinstance(error, RedisError) and is_reply(error):
            return self._refusal(self._without_password(refusal(error)), place, isinstance(error, AuthenticationError))
        return self._fault(error, place)

    def _without_password(self, refused: RedisRefused) -> RedisRefused:
        """Mask what we sent: who does not understand a command may repeat it."""
        password = self.login.password
        return RedisRefused(refused.code, refused.text.replace(password, "***")) if password else refused

    def _refusal(self, refused: RedisRefused, place: Place, login: bool) -> Exception:
        if refused.code in ELSEWHERE or refused.code == "MISCONF":
            return RedisUnavailable(f"store.url: {place} cannot be used yet: {refused}", code=refused.code)
        if login and self.login.password is None:
            return StoreUnusable(f"store.url: {place} wants a password: redis://user:password@host:port/0")
        if login:
            return StoreUnusable(f"store.url: {place} does not take this user and password: {refused.text}")
        if "unknown command" in refused.text:
            return StoreUnusable(f"store.url: {place} is too old: {OLDEST}.0 is needed")
        return StoreUnusable(f"store.url: {place} refuses the connection: {refused}")

    def _fault(self, error: BaseException, place: Place) -> Exception:
        """Say what became of a connection that never was one."""
        cause = error.__context__
        if isinstance(cause, ssl.SSLCertVerificationError):
            return StoreUnusable(f"store.url: the certificate of {place} is not trusted: {cause.verify_message}")
        if isinstance(cause, ssl.SSLError):
            return StoreUnusable(f"store.url: {place} does not speak TLS as we do: {cause.reason}")
        if isinstance(cause, PermissionError):
            return StoreUnusable(f"store.url: {place} may not be opened: {os.strerror(cause.errno or errno.EACCES)}")
        if isinstance(cause, OSError) and str(cause):
            return RedisUnavailable(f"store.url: {place} cannot be reached: {_why(cause)}; does a Redis listen there?")
        tls = "does it speak TLS?" if self.tls is not None else "does it want TLS (rediss://)?"
        return RedisUnavailable(f"store.url: {place} ended the connection{'' if place.path else f'; {tls}'}")


def _why(error: OSError) -> str:
    # Python's own text of a connection that was refused is a tuple.
    if error.errno is None or isinstance(error, socket.gaierror):
        return error.strerror or str(error)
    return os.strerror(error.errno)


class Conversation:
    """Questions and answers in turn, on a connection on which nothing else waits; `server` is who it leads to."""

    def __init__(self, connection: AbstractConnection, timeout: float, server: object) -> None:
        self._connection = connection
        self._server = server
        self._timeout = timeout
        self.lost: RedisUnavailable | None = None
        """Why there is none any more: an answer that is still to come would be taken for that of the next question."""

    async def ask(self, *command: Argument) -> Any:
        """Send one command, and return its reply. Raises `RedisUnavailable` and `RedisRefused`."""
        if self.lost is not None:
            raise self.lost
        self.lost = RedisUnavailable("the answer to another question is not here yet")
        try:
            async with asyncio.timeout(self._timeout):
                await send(self._connection, pack(*command))
                reply = await self._connection.read_response(disconnect_on_error=False)
        except TimeoutError:
            self.lost = RedisUnavailable(f"no answer within {self._timeout:g} s from {self._server}")
            raise self.lost from None
        except RedisError as error:
            told = failure(error)
            self.lost = None if is_reply(error) else RedisUnavailable(str(told))
            raise told from None
        self.lost = None
        return reply


def failure(error: RedisError) -> RedisUnavailable | RedisRefused:
    """Return what a caller is told of an error."""
    if not is_reply(error):
        return RedisUnavailable(f"the connection is lost: {error}")
    refused = refusal(error)
    return RedisUnavailable(str(refused), code=refused.code) if refused.code in ELSEWHERE | FAILING else refused


async def send(connection: AbstractConnection, packed: bytes | list[bytes]) -> None:
    """Send packed commands. Raises `RedisError`, and `RedisUnavailable` where the connection has just been lost."""
    try:
        await connection.send_packed_command(packed, check_health=False)
    except RuntimeError as error:  # what uvloop says of it; asyncio's own loop drops what is written then
        raise RedisUnavailable(str(error)) from error


async def cut(connection: AbstractConnection) -> None:
    """End a connection, waiting for nobody."""
    try:
        await connection.disconnect(nowait=True)
    except RedisError:
        pass  # it is gone all the same
