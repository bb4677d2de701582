"""The URL of a Redis, read: where its servers are, and how to log in; and shown without its password.

    redis://user:password@host:6379/0           one server; rediss:// with TLS
    unix:///run/redis.sock?db=0                 on this machine
    redis+sentinel://host:26379,…/service/0     the primary that these sentinels name; rediss+sentinel://
    redis+cluster://host:6379,…                 a cluster, by some of its nodes; rediss+cluster://

User and password are for Redis itself; sentinels that want some are given `?sentinel_username=…&sentinel_password=…`.
With TLS there may be `ssl_…` options, named as redis-py names them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from wshttp.errors import nearest

SCHEMES: Final = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")

PORT: Final = 6379
SENTINEL_PORT: Final = 26379


# Up to the last @ before the path's or the text's end: an @ or a / that should have been written %40 or %2F is masked too.
_USER_INFO: Final = re.compile(r"(?P<scheme>\w+://)(?P<user>[^\s:@/]*):[^\s]*@")
_QUERY: Final = re.compile(r"(?P<name>[?&][^=&\s]*password=)[^&\s]*", re.IGNORECASE)


def masked(text: str) -> str:
    """Return a text with `***` for the password of each URL in it."""
    return _QUERY.sub(r"\g<name>***", _USER_INFO.sub(r"\g<scheme>\g<user>:***@", text))


@dataclass(frozen=True, slots=True)
class Place:
    """Where one server listens: a host and a port, or the path of a Unix socket."""

    host: str
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return self.path or f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Login:
    """User and password; `None` is none."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """What a URL says; as text it is without its password."""

    kind: str
    """`single`, `sentinel` or `cluster`."""
    places: tuple[Place, ...]
    login: Login = Login()
    db: int = 0
    tls: dict[str, Any] | None = field(default=None, repr=False)
    """redis-py's `ssl_…` options; `None` is no TLS."""
    service: str = ""
    sentinel_login: Login = Login()

    def __str__(self) -> str:
        return ", ".join(map(str, self.places)) + (f" ({self.service})" if self.service else "")


def parse(url: str) -> RedisUrl:
    """Read a URL. Raises `ValueError` with what is wrong, which has no password in it."""
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        raise ValueError("it has spaces or control characters")
    scheme, found, rest = url.partition("://")
    if not found or scheme not in SCHEMES:
        raise ValueError(f"it begins with none of {', '.join(f'{known}://' for known in SCHEMES)}")
    if "#" in url:
        raise ValueError("a # in a password is written %23")
    rest, _, query = rest.partition("?")
    netloc, _, path = rest.partition("/")
    user_info, _, hosts = netloc.rpartition("@")
    options = _options(query)
    secure = scheme.startswith("rediss")
    if not secure and any(name.startswith("ssl_") for name in options):
        raise ValueError("an option ssl_… makes sense with rediss:// alone")
    if scheme == "unix":
        return _unix(hosts, path, _login(user_info, options), options)
    kind = scheme.partition("+")[2] or "single"
    service, _, db = path.strip("/").partition("/") if kind == "sentinel" else ("", "", path.strip("/"))
    if kind == "sentinel" and not service:
        raise ValueError(f"the service is missing: {scheme}://host:26379/service/0")
    places = tuple(_place(host, SENTINEL_PORT if kind == "sentinel" else PORT) for host in hosts.split(","))
    if kind == "single" and len(places) > 1:
        raise ValueError(f"several servers are {scheme}+sentinel:// or {scheme}+cluster://")
    db_number = _db(options.pop("db", db))
    if kind == "cluster" and db_number:
        raise ValueError("a cluster has no database but 0")
    return RedisUrl(
        kind=kind,
        places=places,
        login=_login(user_info, options),
        db=db_number,
        tls={name: value for name, value in options.items() if name.startswith("ssl_")} if secure else None,
        service=unquote(service),
        sentinel_login=Login(options.get("sentinel_username"), options.get("sentinel_password")),
    )


def _unix(host: str, path: str, login: Login, options: dict[str, Any]) -> RedisUrl:
    if host or not path:
        raise ValueError("a socket is unix:///path/of/the/socket")
    return RedisUrl("single", (Place("", path=f"/{unquote(path)}"),), login, _db(options.get("db", "")))


def _login(user_info: str, options: dict[str, Any]) -> Login:
    user, _, password = user_info.partition(":")
    return Login(
        unquote(user) or options.get("username"),
        unquote(password) or options.get("password"),
    )


def _place(text: str, default: int) -> Place:
    if text.startswith("["):
        host, found, port = text[1:].partition("]")
        wrong = not found or (port != "" and not port.startswith(":"))
        port = port.removeprefix(":")
    else:
        host, _, port = text.partition(":")
        wrong = ":" in port
    if wrong or not host or (port and not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536)):
        raise ValueError(
            "its host and port cannot be read; special characters in user and password are written %2F, %40, %3A ..."
        )
    return Place(unquote(host), int(port or default))


def _db(text: str) -> int:
    if text and not (text.isascii() and text.isdecimal()):
        raise ValueError("the database is a number, as in redis://127.0.0.1:6379/0")
    return int(text or 0)


def _options(query: str) -> dict[str, Any]:
    options = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _OPTIONS:
            raise ValueError(f"there is no option {name!r}{nearest(name, _OPTIONS)}")
        try:
            options[name] = _OPTIONS[name](value)
        except (ValueError, OSError) as error:
            raise ValueError(f"option {name}: {error}") from None
    return options


def _readable(path: str) -> str:
    if not os.access(path, os.R_OK):
        raise ValueError(f"{path} cannot be read")
    return path


def _flag(text: str) -> bool:
    if text.lower() not in ("1", "0", "true", "false", "yes", "no"):
        raise ValueError("it is yes or no")
    return text.lower() in ("1", "true", "yes")


def _requirement(text: str) -> str:
    if text not in ("none", "optional", "required"):
        raise ValueError("it is none, optional or required")
    return text


_OPTIONS: Final[dict[str, Callable[[str], Any]]] = {
    "db": str,
    "username": str,
    "password": str,
    "sentinel_username": str,
    "sentinel_password": str,
    "ssl_ca_certs": _readable,
    "ssl_certfile": _readable,
    "ssl_keyfile": _readable,
    "ssl_cert_reqs": _requirement,
    "ssl_check_hostname": _flag,
    "ssl_ciphers": str,
}
"""What may stand behind the `?`, and how it is read; of TLS, what every redis-py from 5.2 on can do."""
