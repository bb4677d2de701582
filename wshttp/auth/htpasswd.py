"""The htpasswd format: lines `user:hash`, comments and blank lines, bcrypt hashes only. No I/O.

No message holds anything of a line except the user's name: the rest may be a password in plain.
"""

from __future__ import annotations

import codecs
import hashlib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from wshttp.auth.passwords import MAX_COST, MIN_COST, cost_of
from wshttp.errors import UsageError

_OTHER_FORMATS: Final = (
    ("$apr1$", "Apache's MD5"),
    ("{SHA}", "SHA-1"),
    ("$5$", "SHA-256-crypt"),
    ("$6$", "SHA-512-crypt"),
    ("$argon2", "Argon2"),
    ("$2x$", "an old faulty bcrypt"),
)


_LISTED: Final = "htpasswd:"
"""What the versions of users in a file begin with: a session that outlives its process tells by it whose its user is."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A user's line: the hash, its cost, and the version of the credential (made of a digest of the hash)."""

    password_hash: str
    cost: int
    version: str


def parse(content: bytes) -> tuple[dict[str, Entry], list[tuple[int, str]]]:
    """Read the users of a file, by name in NFC, and every mistake in it with its line."""
    users: dict[str, Entry] = {}
    first_lines: dict[str, int] = {}
    mistakes: list[tuple[int, str]] = []
    for number, line in _lines(content):
        try:
            name, entry = _parse_line(line)
        except UsageError as error:
            mistakes.append((number, str(error)))
            continue
        if name in users:
            mistakes.append((number, f"user {name!r} is in line {first_lines[name]} already"))
        else:
            users[name], first_lines[name] = entry, number
    return users, mistakes


def check_user_name(name: str) -> str:
    """Return a user name in NFC, or raise `UsageError` that says what it must not have."""
    if mistake := _mistake_in_name(name):
        raise UsageError(mistake)
    if name.startswith("#"):
        raise UsageError("a user name in a file must not begin with '#': its line would be a comment")
    return unicodedata.normalize("NFC", name)


def _mistake_in_name(name: str) -> str | None:
    if not name:
        return "a user name must not be empty"
    if ":" in name:
        return "a user name must not have a colon"
    if any(letter < " " or letter == "\x7f" or "\ud800" <= letter <= "\udfff" for letter in name):
        return "a user name must not have control characters, and must be valid Unicode"
    return None


def _lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that name users, with their numbers from 1."""
    for number, line in enumerate(content.removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        line = line.rstrip(b" \t\r")
        if line and not line.startswith(b"#"):
            yield number, line


def _parse_line(line: bytes) -> tuple[str, Entry]:
    try:
        name, colon, password_hash = line.decode().partition(":")
    except UnicodeDecodeError:
        raise UsageError("is not UTF-8") from None
    if not colon:
        raise UsageError("wants user:hash, and has no colon")
    return check_user_name(name), parse_hash(password_hash)


def parse_hash(password_hash: str) -> Entry:
    """Read a hash, or raise `UsageError` that says what it is instead of one that is accepted."""
    cost = cost_of(password_hash)
    if cost is None:
        other = next((name for prefix, name in _OTHER_FORMATS if password_hash.startswith(prefix)), None)
        raise UsageError(f"wants a bcrypt hash ($2a$, $2b$, $2y$), and has {other or 'something else'}")
    if not MIN_COST <= cost <= MAX_COST:
        raise UsageError(f"has a bcrypt cost of {cost}; {MIN_COST} to {MAX_COST} are accepted")
    digest = hashlib.sha256(b"wshttp credential version:" + password_hash.encode()).hexdigest()
    return Entry(password_hash, cost, f"{_LISTED}{digest[:32]}")


def is_listed(version: str) -> bool:
    """Tell whether a version is that of a user in a file, and not of one whom the application knows."""
    return version.startswith(_LISTED)


def with_user(content: bytes, name: str, line: bytes | None) -> tuple[bytes, bool]:
    """Change a file's content, and say whether the user was in it.

    Puts `line` in the place of the user's first line, or at the end; other lines of the user go.
    Without a `line` all of them go.
    """
    kept: list[bytes] = []
    found = False
    for old in _split(content):
        if _name_in(old) != name:
            kept.append(old)
            continue
        if line is not None and not found:
            kept.append(line)
        found = True
    if line is not None and not found:
        kept.append(line)
    return b"".join(part + b"\n" for part in kept), found


def _split(content: bytes) -> list[bytes]:
    lines = content.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def _name_in(line: bytes) -> str | None:
    if line.startswith(b"#") or b":" not in line:
        return None
    name = line.removeprefix(codecs.BOM_UTF8).partition(b":")[0]
    return unicodedata.normalize("NFC", name.decode(errors="surrogateescape"))
