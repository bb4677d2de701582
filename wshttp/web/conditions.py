"""Whether a client's copy is still right: RFC 9110, section 13, for GET and HEAD."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')


def precondition(headers: Mapping[str, str], etag: str | None, modified_at: int | None) -> int | None:
    """Return 304 or 412 where the request's conditions say so, `None` to go on.

    `etag` is strong and in quotes; `None` where the file has none now, and then none matches.
    `modified_at` is in whole Unix seconds; `None` where it can't be told, and then dates are not looked at.
    The order is that of RFC 9110, section 13.2.2.
    """
    if "If-Match" in headers:
        if not _matches(headers["If-Match"], etag, weak=False):
            return 412
    elif "If-Unmodified-Since" in headers and _is_after(modified_at, headers["If-Unmodified-Since"]) is True:
        return 412
    if "If-None-Match" in headers:
        return 304 if _matches(headers["If-None-Match"], etag, weak=True) else None
    if "If-Modified-Since" in headers and _is_after(modified_at, headers["If-Modified-Since"]) is False:
        return 304
    return None


def range_applies(headers: Mapping[str, str], etag: str | None, modified_at: int | None) -> bool:
    """Tell whether a `Range` is of the copy that the client has: `If-Range`, compared strongly."""
    condition = headers.get("If-Range", "").strip()
    if not condition:
        return True
    if '"' in condition:
        return etag is not None and condition == etag
    return modified_at is not None and _seconds(condition) == modified_at


def _matches(header: str, etag: str | None, *, weak: bool) -> bool:
    if header.strip() == "*":
        return True
    tags = _TAG.findall(header)
    return etag is not None and etag in ([tag.removeprefix("W/") for tag in tags] if weak else tags)


def _is_after(modified_at: int | None, date: str) -> bool | None:
    """Tell whether the file changed after `date`; `None` where either can't be told."""
    seconds = _seconds(date)
    return None if seconds is None or modified_at is None else modified_at > seconds


def _seconds(date: str) -> int | None:
    try:
        moment = parsedate_to_datetime(date.strip())
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return None
