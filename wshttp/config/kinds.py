"""The kinds of values that settings have: what each wants, reads and shows.

A `Kind` stands in a field's annotation and is the one place for the reader, for the words of a mistake, for the
printed form and for the "Values" line of the reference.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from types import MappingProxyType
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from wshttp.config.quantities import format_duration, format_size, parse_duration, parse_size
from wshttp.config.redis_url import masked
from wshttp.config.redis_url import parse as parse_redis_url

T = TypeVar("T")


class Unwanted(ValueError):
    """A value that a kind refuses, with a reason that its `wants` does not tell already."""


def got(value: object) -> str:
    """Return a short form of a value for a mistake's text, in the words of YAML."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, int) and value.bit_length() > 128:
        return "a number with very many digits"
    # Masked before it is cut: half a URL would not be known for one.
    shown = masked(repr(value)) if isinstance(value, str) else str(value)
    return shown if len(shown) <= 80 else f"{shown[:60]}… ({len(shown)} characters)"


@dataclass(frozen=True)
class Kind:
    """A kind of value.

    `wants` finishes the sentence "wants …".
    `read` turns what YAML gave into the value, or raises `ValueError`; `show` turns it back into what YAML prints.
    The value of a `secret` kind appears in no mistake, and its `show` leaves out what is secret.
    """

    wants: str
    read: Callable[[object], object]
    show: Callable[[Any], object] = lambda value: value
    secret: bool = False

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validated)

    def _validated(self, value: object) -> object:
        try:
            return self.read(value)
        except ValueError as error:
            raise unwanted(
                self.wants, value, reason=str(error) if isinstance(error, Unwanted) else "", secret=self.secret
            ) from None


@dataclass(frozen=True)
class Shape:
    """What a list or a mapping wants; its entries have kinds of their own."""

    wants: str


def unwanted(wants: str, value: object, *, reason: str = "", secret: bool = False) -> PydanticCustomError:
    """Build the error for a value that is not what is wanted."""
    told = f"wants {wants}" if secret else f"wants {wants}; got {got(value)}"
    return PydanticCustomError("unwanted", "{text}", {"text": f"{told} ({reason})" if reason else told})


# --- text ---------------------------------------------------------------------------------------


def text(wants: str, pattern: str, *, lower: bool = False, secret: bool = False) -> Kind:
    """Make a kind of text that matches a pattern as a whole; `lower` for what ignores case."""
    compiled = re.compile(pattern)

    def read(value: object) -> str:
        found = _as_text(value)
        if compiled.fullmatch(found) is None:
            raise ValueError
        return found.lower() if lower else found

    return Kind(wants, read, (lambda value: "(set)") if secret else (lambda value: value), secret)


def or_none(kind: Kind) -> Kind:
    """Make a kind that also takes `null`, for "not set"."""
    read = kind.read
    return Kind(f"{kind.wants}, or null", lambda value: None if value is None else read(value), kind.show, kind.secret)


def choice(literal: object) -> Kind:
    """Make a kind of the names of a `Literal`; YAML's unquoted `on` and `off` (booleans) are understood as names."""
    names = get_args(literal)

    def read(value: object) -> str:
        if isinstance(value, bool):
            value = "on" if value else "off"
        if value not in names:
            raise ValueError
        return str(value)

    return Kind(" or ".join(filter(None, [", ".join(names[:-1]), names[-1]])), read)


def _as_text(value: object) -> str:
    if not isinstance(value, str):
        raise Unwanted("put it in quotes") if isinstance(value, bool | int | float) else ValueError
    return value


# RFC 9110, section 5.6.2: what a header's or a cookie's name is made of.
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - a grammar, not a password
_LABEL = r"[0-9A-Za-z_](?:[0-9A-Za-z_-]{0,61}[0-9A-Za-z_])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}\.?")


def _read_host(value: object) -> str:
    host = _as_text(value).lower()
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        # A name whose last label is a number would be taken for an address by whoever resolves it (127.1, 0x7f.1).
        if len(host) > 253 or _NAME.fullmatch(host) is None or re.search(r"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)\.?$", host):
            raise
        return host


_DEFAULT_PORTS = {"http": "80", "https": "443"}


def _read_origin(value: object) -> str:
    match = re.fullmatch(
        r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[^\[\]/?#:@]+)(?::([0-9]{1,5}))?", _as_text(value).lower()
    )
    if match is None:
        raise ValueError
    scheme, host, port = match.groups()
    shown = f"[{_read_host(host[1:-1])}]" if host.startswith("[") else _read_host(host)
    # Browsers leave the default port out of `Origin`, so an entry that has it would match nothing.
    return f"{scheme}://{shown}" if port in (None, _DEFAULT_PORTS.get(scheme)) else f"{scheme}://{shown}:{int(port)}"


def _read_socket_path(value: object) -> str:
    path = _as_text(value)
    # 108 bytes with the NUL at the end is what Linux takes: unix(7).
    if not 0 < len(path.encode("utf-8", "surrogateescape")) <= 107 or "\x00" in path:
        raise ValueError
    return path


HOST = Kind("an IP address or a host name, without a port", _read_host)
ORIGIN = Kind("an origin such as https://example.com, without a path", _read_origin)
TOKEN = text("a name of letters, digits, - and _, or other characters of an RFC 9110 token", _TOKEN)
TOKEN_OR_EMPTY = text(
    "empty text, or letters, digits, - and _, or other characters of an RFC 9110 token", f"(?:{_TOKEN})?"
)
PARAMETER = text("a name of letters, digits and ._~-", r"[0-9A-Za-z._~-]+")
PATH = text("a path", r"[^\x00]+")
SOCKET_PATH = Kind("a path of at most 107 bytes", _read_socket_path)
FILE_NAME = text("a file name without folders", r"(?!\.{1,2}$)[^\x00-\x1f\x7f/\\]+")
GLOB = text("a pattern such as chat or room-*", r"[^\x00-\x1f\x7f]+")
PATH_GLOB = text("a pattern that begins with / or *, such as /private/*", r"[/*][^\x00-\x1f\x7f]*")
REDIRECT = text("a path such as /login, or an http(s) URL", r"(?:/(?!/)|https?://)[!-~]*")
REALM = text("text of printable ASCII characters", r"[ -~]+")
ROLE = text("a role's name", r"[^\x00-\x1f\x7f]+")
# RFC 7617, section 2: no colon, no control characters.
USER = text("a user's name, without a colon or control characters", r"[^:\x00-\x1f\x7f]+")
URL_PREFIX = text(
    "a path such as /wshttp: it begins with / and does not end with one", r"(?:/(?!\.{1,2}(?:/|$))[0-9A-Za-z._~-]+)+"
)
FUNCTION = text("module:function, such as examples.chat:setup", r"(?:[^\W\d]\w*\.)*[^\W\d]\w*:[^\W\d]\w*")
# 128 bits as hexadecimal digits are 32 characters, as base64 22; below 16 characters no usual form reaches 96 bits.
SECRET = text("text of at least 16 characters", r"(?s:.{16,})", secret=True)


def _read_redis_url(value: object) -> str:
    url = _as_text(value)
    try:
        parse_redis_url(url)
    except ValueError as error:
        raise Unwanted(str(error)) from None
    return url


REDIS_URL = Kind(
    "a URL such as redis://127.0.0.1:6379/0, redis+sentinel://host1,host2/service/0 or redis+cluster://host1,host2",
    _read_redis_url,
    masked,
    secret=True,
)
# Braces are a cluster's hash tag, which is put around the prefix.
KEY_PREFIX = text("1 to 64 printable ASCII characters without spaces and braces", r"[!-z|~]{1,64}")


# --- numbers ------------------------------------------------------------------------------------


def whole(low: int, high: int, wants: str = "") -> Kind:
    """Make a kind of whole numbers from `low` to `high`."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError
        return value

    return Kind(wants or f"a whole number from {low} to {high}", read)


def at_least(shortest: float) -> Kind:
    """Make a kind of durations that are not shorter than `shortest` seconds."""

    def read(value: object) -> float:
        seconds = parse_duration(value)
        if seconds < shortest:
            raise Unwanted(f"at least {format_duration(shortest)}")
        return seconds

    return Kind(DURATION.wants, read, format_duration)


CLOSED, GRACE = "closed", "grace:"


def _read_outage(value: object) -> str:
    """Return `closed`, or `grace:` with a duration in its usual form; a grace of nothing is `closed`."""
    written = _as_text(value)
    if written == CLOSED:
        return CLOSED
    if not written.startswith(GRACE):
        raise ValueError
    seconds = parse_duration(written.removeprefix(GRACE))
    return f"{GRACE}{format_duration(seconds)}" if seconds else CLOSED


def grace_of(outage: str) -> float:
    """Return the seconds of `grace:<duration>`; 0 for `closed`."""
    return parse_duration(outage.removeprefix(GRACE)) if outage.startswith(GRACE) else 0.0


def _read_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Unwanted("without quotes") if value in ("true", "false") else ValueError
    return value


def _read_rate(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e9:
        raise ValueError
    return float(value)


FLAG = Kind("true or false", _read_flag)
DURATION = Kind("a duration such as 30s, 20m, 8h", parse_duration, format_duration)
SIZE = Kind("a size such as 512, 64KiB, 10MiB", parse_size, format_size)
OUTAGE = Kind("closed, or grace: and a duration such as grace:30s", _read_outage)
COUNT = whole(0, 10**9, "a whole number, 0 or more")
RATE = Kind("a number, 0 or more", _read_rate, lambda value: int(value) if value.is_integer() else value)

Flag = Annotated[bool, FLAG]
Duration = Annotated[float, DURATION]
Size = Annotated[int, SIZE]
Count = Annotated[int, COUNT]
Rate = Annotated[float, RATE]


# --- networks -----------------------------------------------------------------------------------

Network = IPv4Network | IPv6Network


def _read_network(value: object) -> Network:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    written = _as_text(value)
    try:
        network = ipaddress.ip_network(written)
    except ValueError:
        raise _host_bits(written) from None
    if isinstance(network, IPv6Network) and network.prefixlen >= 96 and network.network_address.ipv4_mapped:
        # Clients with an IPv4-mapped address are known by their IPv4 address, so a mapped network would match nobody.
        return IPv4Network((network.network_address.ipv4_mapped, network.prefixlen - 96))
    return network


def _host_bits(written: str) -> ValueError:
    try:
        return Unwanted(f"the network is {ipaddress.ip_network(written, strict=False)}")
    except ValueError:
        return ValueError("not a network")


NETWORK = Kind("a network such as 10.0.0.0/8 or ::1/128", _read_network, str)
PROXY = Kind(
    "a network such as 10.0.0.0/8, or unix",
    lambda value: value if value == "unix" else _read_network(value),
    str,
)


# --- lists and mappings -------------------------------------------------------------------------


def several(kind: Kind) -> Shape:
    """Describe a list of one kind."""
    return Shape(f"a list, each entry {kind.wants}")


def _unique_names(names: tuple[T, ...]) -> tuple[T, ...]:
    if not names:
        raise unwanted("at least one name", names)
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise PydanticCustomError("unwanted", "{text}", {"text": f"wants each name once; `{double}` is there twice"})
    return names


UNIQUE = AfterValidator(_unique_names)
FROZEN = AfterValidator(lambda mapping: MappingProxyType(dict(mapping)))
