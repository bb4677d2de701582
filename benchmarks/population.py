"""Sessions by number, as a public server would have them: anonymous, empty, each from another address."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from wshttp.sessions.data import Json, encoded_size
from wshttp.sessions.ids import SessionId, new_ref
from wshttp.sessions.record import Record

USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


def population(numbers: Iterable[int], now: Callable[[], float], idle_timeout: float = 1200.0) -> Iterator[Record]:
    """Yield records of new sessions. `idle_timeout` is in seconds."""
    for number in numbers:
        address, created_at = address_of(number), now()
        yield Record(
            ref=new_ref(),
            key=id_of(number).key,
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


def with_data(record: Record, data: dict[str, Json]) -> Record:
    """Return a record that has data."""
    filled = record.copy()
    filled.data, filled.size = data, sum(encoded_size(key, value) for key, value in data.items())
    return filled


def id_of(number: int) -> SessionId:
    """Return the id by which a session is found."""
    return SessionId.app(str(number))


def address_of(number: int) -> str:
    """Return one of 16 million addresses."""
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
