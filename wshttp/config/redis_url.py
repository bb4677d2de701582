"""The URL of a Redis: whether it can be one, and how it is shown without its password."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")

_HOST = r"(?:\[[0-9A-Fa-f:.]+(?:%25\w+)?\]|[^\[\]:,@%\s]+)"
_SERVER = re.compile(rf"{_HOST}(?::(?P<port>[0-9]{{1,5}}))?")
# Up to the last @ before the path's or the text's end: an @ or a / that should have been written %40 or %2F is masked too.
_USER_INFO = re.compile(r"(?P<scheme>\w+://)(?P<user>[^\s:@/]*):[^\s]*@")
_QUERY = re.compile(r"(?P<name>[?&][^=&\s]*password=)[^&\s]*", re.IGNORECASE)


def masked(text: str) -> str:
    """Return a text with `***` for the password of each URL in it."""
    return _QUERY.sub(r"\g<name>***", _USER_INFO.sub(r"\g<scheme>\g<user>:***@", text))


def check_redis_url(url: str) -> None:
    """Raise `ValueError`, with the reason and without the password, for what no Redis can be reached by."""
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        raise ValueError("it has spaces or control characters")
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ValueError(f"it begins with none of {', '.join(f'{scheme}://' for scheme in SCHEMES)}")
    if "#" in url:
        raise ValueError("a # in a password is written %23")
    _CHECKS[parts.scheme.rpartition("+")[2]](parts)


def _check_single(parts: SplitResult) -> None:
    if len(_servers(parts)) != 1:
        raise ValueError(f"several servers are {parts.scheme}+sentinel:// or {parts.scheme}+cluster://")
    _check_database(parts.path.strip("/"))


def _check_unix(parts: SplitResult) -> None:
    if parts.netloc.rpartition("@")[2] or len(parts.path) < 2:
        raise ValueError("a socket is unix:///path/of/the/socket")


def _check_sentinel(parts: SplitResult) -> None:
    _servers(parts)
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise ValueError(f"the service is missing: {parts.scheme}://host:26379/service/0")
    _check_database(database)


def _check_cluster(parts: SplitResult) -> None:
    _servers(parts)
    if parts.path.strip("/") not in ("", "0"):
        raise ValueError("a cluster has no database but 0")


_CHECKS: dict[str, Callable[[SplitResult], None]] = {
    "redis": _check_single,
    "rediss": _check_single,
    "unix": _check_unix,
    "sentinel": _check_sentinel,
    "cluster": _check_cluster,
}


def _servers(parts: SplitResult) -> list[str]:
    servers = parts.netloc.rpartition("@")[2].split(",")
    for server in servers:
        found = _SERVER.fullmatch(server)
        if found is None or not 0 < int(found["port"] or 1) <= 65535:
            raise ValueError(
                "its host and port cannot be read; special characters in user and password are written %2F, %40, %3A ..."
            )
    return servers


def _check_database(name: str) -> None:
    if name and re.fullmatch(r"[0-9]{1,9}", name) is None:
        raise ValueError("the database is a number, as in redis://127.0.0.1:6379/0")
