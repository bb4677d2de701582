"""Messages on their way out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from wshttp.realtime.format import ENVELOPE
from wshttp.realtime.parcel import Parcel


@pytest.mark.parametrize(("message", "size"), [("hello", 5), ("grüße", 7), (b"\xff\xff", 2), ("", 0)])
def test_parcel_knows_the_size_of_its_message(message: str | bytes, size: int) -> None:
    """In bytes, as it goes over the wire; a frame has it none yet."""
    parcel = Parcel(message)
    assert (parcel.message, parcel.size, parcel.frame) == (message, size, None)


async def test_connections_of_one_format_get_one_parcel(realm: Callable[..., Any]) -> None:
    """What is formed, measured or framed for the first of them is there for all others."""
    here, parcels = realm(), []
    for options in ({}, {}, {"format": ENVELOPE}, {"format": ENVELOPE}):
        _, transport = await here.connect(**options)
        write = transport.write
        transport.write = lambda parcel, write=write: (parcels.append(parcel), write(parcel))[1]
    parcels.clear()
    assert await here.hub.send({"a": 1}) == 4
    plain, also_plain, envelope, also_envelope = parcels
    assert plain is also_plain
    assert envelope is also_envelope
    assert plain.message != envelope.message
