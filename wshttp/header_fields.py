"""Header fields as Tornado has them, from fields that have been checked already.

The one place that knows how `tornado.httputil.HTTPHeaders` keeps them (6.6): its public ways check and normalize each
field again, which takes longer than all the parsing.
"""

from __future__ import annotations

from typing import Final

from tornado.httputil import HTTPHeaders

from wshttp.field_names import FieldNames

Fields = dict[str, list[str]]
"""Values by name, in the order in which they came; the names have capitals as in `Content-Type`."""

FIELD_NAMES: Final = FieldNames()
"""All names that came in."""


def headers_of(fields: Fields) -> HTTPHeaders:
    """Return the fields as Tornado's; they are not copied."""
    headers = HTTPHeaders.__new__(HTTPHeaders)
    headers._as_list = fields
    headers._combined_cache = {}
    return headers


def fields_of(headers: HTTPHeaders) -> Fields:
    """Return the fields of Tornado's; they are not copied."""
    return headers._as_list
