"""What goes out over a transport."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tornado.websocket import WebSocketClosedError

from wshttp.engine.websocket.outlet import Outlet


class Transport:
    """A transport that takes everything, and sends it when the test says so."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.waiting = 0
        self.high_water: int | None = None
        self.closing = False
        self.on_write: Callable[[], None] = lambda: None

    def write(self, data: bytes) -> None:
        self.written.append(bytes(data))
        self.waiting += len(data)
        self.on_write()

    def set_write_buffer_limits(self, high: int) -> None:
        self.high_water = high

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def is_closing(self) -> bool:
        return self.closing


@pytest.fixture
def transport() -> Transport:
    return Transport()


@pytest.fixture
def outlet(transport: Any) -> Outlet:
    outlet = Outlet()
    outlet.attach(transport)
    return outlet


def test_write_that_the_system_takes_is_not_waited_for(outlet: Outlet, transport: Transport) -> None:
    """Nothing is made to wait with, and nothing counts as unsent; a transport tells as soon as anything is left."""
    assert transport.high_water == 1
    assert outlet.write(b"frame") is None
    assert (transport.written, outlet.unsent) == ([b"frame"], 0)


async def test_write_to_a_slow_peer_is_done_when_there_is_room(outlet: Outlet, transport: Transport) -> None:
    """All who write meanwhile wait for the same; what waits is counted."""
    transport.on_write = outlet.pause
    last = outlet.write(b"last")
    assert last is not None
    assert (last.done(), outlet.unsent) == (False, 4)
    transport.on_write, transport.waiting = lambda: None, 0
    outlet.resume()
    assert last.done()
    outlet.pause()
    first, second = outlet.write(b"one"), outlet.write(b"two")
    assert first is second
    assert first is not None
    assert (first.done(), outlet.unsent) == (False, 6)
    outlet.resume()
    assert first.done()
    assert outlet.write(b"three") is None


@pytest.mark.feature("M5")
async def test_frames_for_a_slow_peer_become_one_write(outlet: Outlet, transport: Transport) -> None:
    """They take no more than their bytes; in order, with the last of the pongs, and as soon as there is room for any."""
    outlet.pause()
    for _ in range(1000):
        outlet.write(b"x")
    outlet.pong(b"p")
    assert (transport.written, outlet.unsent) == ([], 1000)
    outlet.resume()
    assert transport.written == [b"x" * 1000 + b"\x8a\x01p"]
    outlet.resume()
    assert len(transport.written) == 1


async def test_who_waits_goes_on_waiting_while_what_was_gathered_is_too_much(
    outlet: Outlet, transport: Transport
) -> None:
    """A peer that takes a little now and then has as slow a sender."""
    outlet.pause()
    write = outlet.write(b"much")
    assert write is not None
    transport.on_write = outlet.pause
    outlet.resume()
    assert (transport.written, outlet.slow, write.done()) == ([b"much"], True, False)
    transport.waiting = 0
    outlet.resume()
    assert write.done()


async def test_last_frame_goes_out_behind_what_waits(outlet: Outlet, transport: Transport) -> None:
    """The transport gets everything before it may be told to close."""
    outlet.pause()
    outlet.write(b"one")
    outlet.pong(b"late")
    outlet.end(b"last")
    assert transport.written == [b"onelast"]
    outlet.resume()
    assert transport.written == [b"onelast"]


async def test_write_that_nobody_waits_for_any_more_leaves_others_alone(outlet: Outlet) -> None:
    """One who gives up, cancels what he waited for: the next gets another."""
    outlet.pause()
    first = outlet.write(b"one")
    assert first is not None
    first.cancel()
    second = outlet.write(b"two")
    outlet.resume()
    assert second is not None
    assert second.done()


async def test_write_to_a_connection_that_is_lost_fails(outlet: Outlet, transport: Transport) -> None:
    """What waits fails, unheard if nobody asks; what comes later is refused."""
    outlet.pause()
    write = outlet.write(b"one")
    outlet.lost()
    assert write is not None
    assert isinstance(write.exception(), WebSocketClosedError)
    transport.closing = True
    with pytest.raises(WebSocketClosedError):
        outlet.write(b"two")


async def test_future_for_nothing_is_always_the_same(outlet: Outlet) -> None:
    """It costs a socket one, and a message none."""
    assert outlet.done() is outlet.done()
    assert outlet.done().result() is None


def test_pings_of_a_slow_peer_get_one_pong(outlet: Outlet, transport: Transport) -> None:
    """RFC 6455, section 5.5.3: the last of them is answered, once the peer takes something."""
    outlet.pong(b"1")
    outlet.pause()
    for number in range(1000):
        outlet.pong(str(number).encode())
    assert transport.written == [b"\x8a\x011"]
    outlet.resume()
    assert transport.written == [b"\x8a\x011", b"\x8a\x03999"]


def test_nothing_is_sent_after_the_end(outlet: Outlet, transport: Transport) -> None:
    """Neither a pong nor a close frame, on a connection that closes."""
    outlet.pause()
    transport.closing = True
    outlet.pong(b"late")
    outlet.end(b"last")
    assert transport.written == []
    outlet.lost()
    outlet.pong(b"later")
    assert (transport.written, outlet.unsent) == ([], 0)
