"""Which version of the program this is."""

from __future__ import annotations

import importlib.metadata
from functools import cache


@cache
def version() -> str:
    """Return the version that is installed; `unknown` where the source runs without having been."""
    try:
        return importlib.metadata.version("wshttp")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
