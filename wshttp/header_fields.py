"""Header fields as Tornado has them, from fields that have been checked already.

The one place that knows how `tornado.httputil.HTTPHeaders` keeps them (6.6): its public ways check and normalize each
field again, which takes longer than all the parsing.
"""

from __future__ import annotations

import re
from functools import lru_cache

from tornado.httputil import HTTPHeaders

Fields = dict[str, list[str]]
"""Values by name, in the order in which they came; the names have capitals as in `Content-Type`."""

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_LONGEST_REMEMBERED = 64


def headers_of(fields: Fields) -> HTTPHeaders:
    """Return the fields as Tornado's; they are not copied."""
    headers = HTTPHeaders.__new__(HTTPHeaders)
    headers._as_list = fields
    headers._combined_cache = {}
    return headers


def fields_of(headers: HTTPHeaders) -> Fields:
    """Return the fields of Tornado's; they are not copied."""
    return headers._as_list


def field_name(text: str) -> str:
    """Return a field's name as in `Content-Type`. Raises `ValueError` for what is no token (RFC 9110, section 5.6.2)."""
    # Names are the peer's to choose: a few long ones must not fill the memory.
    return _remembered(text) if len(text) <= _LONGEST_REMEMBERED else _normal(text)


def _normal(text: str) -> str:
    if _TOKEN.fullmatch(text) is None:
        raise ValueError(text)
    return "-".join([word.capitalize() for word in text.split("-")])


_remembered = lru_cache(1000)(_normal)
