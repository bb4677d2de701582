"""Request paths: decoded once and normalised, so that routes, files and protection all speak of the same one."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from urllib.parse import quote, unquote_to_bytes

from wshttp.config import ProtectRule
from wshttp.errors import BadRequest, UsageError

_SAFE = "/!$&'()*+,;=:@-._~"
_PLAIN = re.compile(r"(?:/[0-9A-Za-z_~-][0-9A-Za-z._~-]*)+/?|/")
"""A path that is what it says: nothing in it is encoded, and no segment is empty or begins with a dot."""


def decoded_path(raw: str) -> str:
    """Decode a request's path once and resolve `.`, `..` and double slashes.

    Raises `BadRequest` for what is not UTF-8, and for NUL and other control characters.
    """
    if _PLAIN.fullmatch(raw):
        return raw
    try:
        path = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise BadRequest("the path is not UTF-8") from None
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in path):
        raise BadRequest("the path contains a control character")
    return _resolved(path)


def _resolved(path: str) -> str:
    """Remove dot segments (RFC 3986, section 5.2.4) and empty ones; a slash at the end stays."""
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments:
        if segment == "..":
            if kept:
                kept.pop()
        elif segment not in ("", "."):
            kept.append(segment)
    slash = "/" if kept and segments[-1] in ("", ".", "..") else ""
    return "/" + "/".join(kept) + slash


def encoded_path(path: str) -> str:
    """Return the one way to write a decoded path: what routes are matched against."""
    return path if _PLAIN.fullmatch(path) else quote(path, safe=_SAFE)


def routed_path(raw: str) -> str:
    """Return a request's path as routes are matched against it. Raises what `decoded_path` does."""
    return raw if _PLAIN.fullmatch(raw) else encoded_path(decoded_path(raw))


def protection_of(path: str, rules: tuple[ProtectRule, ...]) -> ProtectRule | None:
    """Return the first rule whose glob matches a decoded path; `*` also matches `/`."""
    for rule in rules:
        if fnmatchcase(path, rule.path):
            return rule
    return None


_PARAMETER = re.compile(r"\{([A-Za-z_]\w*)(:path)?\}")


def parameters_of(path: str) -> list[str]:
    """Return the names of a route's parameters, in order."""
    return [match[1] for match in _PARAMETER.finditer(path)]


def route_pattern(path: str) -> str:
    """Turn a route such as `/rooms/{name}` or `/files/{rest:path}` into a regular expression over encoded paths.

    Raises `UsageError` for braces that are no parameter, and for two parameters of one name.
    """
    names = parameters_of(path)
    if len(set(names)) < len(names):
        raise UsageError(f"{path!r} has two parameters of one name")
    if set("{}") & set(_PARAMETER.sub("", path)):
        raise UsageError(f"a parameter is written {{name}} or {{name:path}}: {path!r}")
    pattern, end = "", 0
    for match in _PARAMETER.finditer(path):
        pattern += re.escape(encoded_path(path[end : match.start()]))
        pattern += f"(?P<{match[1]}>{'.+' if match[2] else '[^/]+'})"
        end = match.end()
    return pattern + re.escape(encoded_path(path[end:])) + "$"
