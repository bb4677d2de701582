"""Sessions in any number, as a public server would have them: anonymous, empty, each from another address."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from wshttp.sessions.ids import SessionId, new_ref
from wshttp.sessions.record import Record

USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


def population(
    count: int, now: Callable[[], float], idle_timeout: float = 1200.0
) -> Iterator[tuple[SessionId, Record]]:
    """Yield ids and records of new sessions. `idle_timeout` is in seconds."""
    for number in range(count):
        session_id = SessionId.new_token()
        created_at = now()
        yield (
            session_id,
            Record(
                ref=new_ref(),
                key=session_id.key,
                identity="cookie",
                remote_ip=(address := address_of(number)),
                bucket=address,
                user_agent=USER_AGENT,
                created_at=created_at,
                last_access_at=created_at,
                idle_timeout=idle_timeout,
                absolute_timeout=28_800.0,
                restarted_at=created_at,
            ),
        )


def address_of(number: int) -> str:
    """Return one of 16 million addresses."""
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
