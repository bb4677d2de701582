"""Sessions in any number, as a public server would have them: anonymous, empty, each from another address."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

from wshttp.sessions.ids import new_ref
from wshttp.sessions.record import Record

USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


def records(count: int, now: Callable[[], float], idle_timeout: float = 1200.0) -> Iterator[Record]:
    """Yield records of new sessions. `idle_timeout` is in seconds."""
    for number in range(count):
        address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        created_at = now()
        yield Record(
            ref=new_ref(),
            key=secrets.token_bytes(32),  # as random as the SHA-256 of a token, and made in a tenth of the time
            identity="cookie",
            remote_ip=address,
            bucket=address,
            user_agent=USER_AGENT,
            created_at=created_at,
            last_access_at=created_at,
            idle_timeout=idle_timeout,
            absolute_timeout=28_800.0,
            restarted_at=created_at,
        )
