"""Native WebSockets on real connections, on both loops: the client is raw bytes."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import ssl
import weakref
import zlib
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from certificates import write_certificate
from framing import Echo, Socket, binary, close, frame, serving, text
from tornado.websocket import WebSocketClosedError
from websockets.asyncio.client import connect as websockets_connect

from wshttp.engine.websocket import protocol
from wshttp.engine.websocket.frames import encode_message
from wshttp.engine.websocket.protocol import BACKLOG, EVENTS_PER_TURN, SIZE_PER_TURN

pytestmark = pytest.mark.usefixtures("loop_factory")


class Quiet(Echo):
    """An echo whose time-outs no test lives to see."""

    close_timeout = 60.0

    def open(self, *args: str, **kwargs: str) -> None:
        self.wire.close_timeout = self.close_timeout


class Hasty(Quiet):
    """An echo without patience."""

    close_timeout = 0.01


class Busy(Socket):
    """A handler that is busy with each message until the test lets it go."""

    def initialize(self, **settings: Any) -> None:
        super().initialize(**settings)
        self.go = asyncio.Event()

    async def on_message(self, message: str | bytes) -> None:
        self.see(message)
        await self.go.wait()
        self.see(("done", message))


def bomb(size: int) -> bytes:
    """Return a compressed message of so many zeros, on some thousandth of it."""
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = squeezer.compress(bytes(size)) + squeezer.flush(zlib.Z_SYNC_FLUSH)
    return frame(0xC2, data.removesuffix(b"\x00\x00\xff\xff"))


# --- messages -------------------------------------------------------------------------------------------


async def test_messages_are_echoed() -> None:
    """Short and long, text and binary, in frames of the right kind."""
    async with serving() as connect, connect() as peer:
        peer.send(text("grüße"), binary(b"\xff"), text(""), binary(b"x" * 70_000))
        assert await peer.frame() == (0x81, "grüße".encode())
        assert await peer.frame() == (0x82, b"\xff")
        assert await peer.frame() == (0x81, b"")
        assert await peer.frame() == (0x82, b"x" * 70_000)


async def test_bytes_behind_the_handshake_are_frames() -> None:
    """A client that does not wait for the 101 is understood; what it sent, pings too, is handled after `open`."""

    class Late(Echo):
        async def open(self, *args: str, **kwargs: str) -> None:
            await asyncio.sleep(0)
            self.see("open")

        def on_ping(self, data: bytes) -> None:
            self.see(data.decode())

        def on_message(self, message: str | bytes) -> None:
            self.see(message)
            super().on_message(message)

    async with serving(Late) as connect, connect(shake=False) as peer:
        assert "101" in await peer.shake(then=text("early") + frame(0x89, b"ping") + text("bird")[:4])
        peer.send(text("bird")[4:])
        answers = [await peer.frame() for _ in range(3)]
        assert answers == [(0x81, b"early"), (0x8A, b"ping"), (0x81, b"bird")]
        assert peer.handler.seen == ["open", "early", "ping", "bird"]


async def test_ten_thousand_fragments_of_a_byte_are_one_message() -> None:
    """With a ping in between."""
    async with serving() as connect, connect() as peer:
        peer.send(
            frame(0x02, b"x"), frame(0x00, b"x") * 5_000, frame(0x89), frame(0x00, b"x") * 4_998, frame(0x80, b"x")
        )
        assert await peer.frame() == (0x8A, b"")
        assert await peer.frame() == (0x82, b"x" * 10_000)


async def turns_until(done: Awaitable[object]) -> int:
    """Wait for something, and return how many turns of the loop passed meanwhile."""
    turns = 0

    def turn() -> None:
        nonlocal turns, handle
        turns += 1
        handle = loop.call_soon(turn)

    loop = asyncio.get_running_loop()
    handle = loop.call_soon(turn)
    await done
    handle.cancel()
    return turns


async def test_many_small_messages_leave_turns_to_others() -> None:
    """What arrives at once is not handled at once."""
    async with serving(Socket) as connect, connect() as peer:
        peer.send(binary(b"x") * 5_000)
        await peer.handler.has_seen(1)
        turns = await turns_until(peer.handler.has_seen(5_000))
        assert turns >= (5_000 - 3 * EVENTS_PER_TURN) // EVENTS_PER_TURN // 2


@pytest.mark.parametrize("part", [b"", b"x"])
async def test_many_parts_of_a_message_leave_turns_to_others(part: bytes) -> None:
    """Also those that have nothing in them, of which there may be any number: nobody else's frames wait for them."""
    async with serving(Socket) as connect, connect() as peer:
        peer.send(text("first"), frame(0x01, b"x"), frame(0x00, part) * 20_000, frame(0x80))
        await peer.handler.has_seen(1)
        turns = await turns_until(peer.handler.has_seen(2))
        assert turns >= (20_000 - 3 * EVENTS_PER_TURN) // EVENTS_PER_TURN // 2


async def test_few_messages_that_inflate_much_leave_turns_to_others() -> None:
    """What counts is what they hold, of which the wire shows a thousandth."""

    class Compressing(Socket):
        def get_compression_options(self) -> dict[str, Any]:
            return {}

    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover"
    async with serving(Compressing) as connect, connect(offer) as peer:
        peer.send(bomb(SIZE_PER_TURN - 1000) * 20)
        await peer.handler.has_seen(1)
        assert await turns_until(peer.handler.has_seen(20)) >= 8


async def test_socket_has_no_task_of_its_own() -> None:
    """Neither while it is open, nor for a message."""
    before = asyncio.all_tasks()
    async with serving() as connect, connect() as peer:
        for _ in range(3):
            peer.send(text("hello"))
            await peer.frame()
            assert asyncio.all_tasks() == before


async def test_socket_that_is_over_leaves_nothing_to_collect() -> None:
    """It goes with the last who knows it, and does not wait for the garbage collector."""
    async with serving(PING_INTERVAL=60) as connect:
        gc.collect()
        gc.disable()
        try:
            async with connect() as peer:
                wire = weakref.ref(peer.handler.wire)
                peer.send(text("hello"), close())
                await peer.closed()
                await peer.ended()
                handler = peer._handlers.pop()
                await handler.over
            del handler
            while wire() is not None:
                await asyncio.sleep(0)  # the loop still lets go of its own
        finally:
            gc.enable()


async def test_one_frame_is_sent_to_many() -> None:
    """What is encoded once is the same message everywhere."""
    message = encode_message("to all")
    async with serving() as connect, connect() as one, connect() as two:
        for handler in one._handlers:
            assert handler.wire.send(message) is None
        assert await one.frame() == await two.frame() == (0x81, b"to all")


async def test_handlers_run_in_the_context_of_their_handshake() -> None:
    """A variable that `open` sets is there when messages come."""
    place: contextvars.ContextVar[str] = contextvars.ContextVar("place", default="nowhere")

    class Placed(Socket):
        async def open(self, *args: str, **kwargs: str) -> None:
            place.set("here")

        def on_message(self, message: str | bytes) -> None:
            self.see(place.get())

        def on_ping(self, data: bytes) -> None:
            self.see(place.get())

        def on_close(self) -> None:
            self.see(place.get())
            super().on_close()

    async with serving(Placed) as connect, connect() as peer:
        peer.send(text("a"), frame(0x89), close())
        await peer.handler.over
        assert peer.handler.seen[:3] == ["here", "here", "here"]


# --- a busy handler -------------------------------------------------------------------------------------


async def test_busy_handler_gets_one_message_at_a_time() -> None:
    """While it is busy nothing more is read, and afterwards everything is, in order."""
    async with serving(Busy) as connect, connect() as peer:
        peer.send(text("a"), text("b"))
        await peer.handler.has_seen(1)
        assert peer.handler.wire.listening_since is None
        peer.handler.go.set()
        peer.send(text("c"))
        await peer.handler.has_seen(6)
        assert peer.handler.seen == ["a", ("done", "a"), "b", ("done", "b"), "c", ("done", "c")]
        assert peer.handler.wire.listening_since is not None


async def test_busy_handler_does_not_keep_pings_waiting() -> None:
    """What has been read is answered, also behind messages that wait; pongs are seen."""

    class Heard(Busy):
        def on_pong(self, data: bytes) -> None:
            self.see(("pong", data))

    async with serving(Heard) as connect, connect() as peer:
        peer.send(text("a"), frame(0x89, b"1"), text("b"), frame(0x89, b"2"), frame(0x8A, b"3"))
        assert await peer.frame() == (0x8A, b"1")
        assert await peer.frame() == (0x8A, b"2")
        await peer.handler.has_seen(2)
        assert set(peer.handler.seen) == {"a", ("pong", b"3")}
        peer.handler.go.set()


async def test_close_waits_for_the_messages_before_it() -> None:
    """The handler may still answer them; the close frame is answered, and `on_close` called, after that."""

    class Answering(Busy):
        async def on_message(self, message: str | bytes) -> None:
            await super().on_message(message)
            await self.write_message("answer")

    async with serving(Answering) as connect, connect() as peer:
        peer.send(text("a"), text("b"), close(1001))
        await peer.handler.has_seen(1)
        peer.handler.go.set()
        assert [await peer.frame() for _ in range(3)] == [(0x81, b"answer")] * 2 + [(0x88, b"\x03\xe9")]
        await peer.handler.over
        assert peer.handler.seen == ["a", ("done", "a"), "b", ("done", "b"), ("closed", 1001, None)]


async def test_peer_that_sends_after_its_close_is_not_read_while_a_handler_is_busy() -> None:
    """What comes then is for nobody, and must not be kept coming."""
    async with serving(Busy) as connect, connect() as peer:
        wire = peer.handler.wire
        peer.send(text("a"), close(1000))
        await peer.handler.has_seen(1)
        while wire._reading:
            await asyncio.sleep(0)
        assert wire.listening_since is None
        peer.handler.go.set()
        await peer.handler.over


async def test_peer_that_vanishes_is_reported_after_the_message_in_hand() -> None:
    """`on_close` comes once, last, and without a code."""
    async with serving(Busy) as connect, connect() as peer:
        peer.send(text("a"))
        await peer.handler.has_seen(1)
        lost, wire = asyncio.Event(), peer.handler.wire
        told = wire.connection_lost
        wire.connection_lost = lambda error: (told(error), lost.set())
        peer.writer.transport.abort()
        await lost.wait()
        assert peer.handler.seen == ["a"]
        peer.handler.go.set()
        await peer.handler.over
        assert peer.handler.seen == ["a", ("done", "a"), ("closed", None, None)]


async def test_compressed_messages_do_not_pile_up_before_a_busy_handler() -> None:
    """A thousand to one: they are inflated as they are handled, not as they are read."""

    class Compressing(Busy):
        def get_compression_options(self) -> dict[str, Any]:
            return {}

    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover"
    async with serving(Compressing) as connect, connect(offer) as peer:
        peer.send(bomb(900_000) * 20)
        await peer.handler.has_seen(1)
        inbox = peer.handler.wire._inbox
        assert sum(map(len, inbox._waiting or ())) <= 2 * 900_000
        peer.handler.go.set()
        await peer.handler.has_seen(40)


# --- what goes wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x05hello", 1002),
        (frame(0xC9, b"x"), 1002),
        (frame(0x99, b"x"), 1002),
        (frame(0xC1, b"x"), 1002),
        (frame(0x09, b"x"), 1002),
        (frame(0x83, b"x"), 1002),
        (frame(0x80, b"x"), 1002),
        (frame(0x82, b"x" * 5, length=b"\xfe\x00\x05"), 1002),
        (frame(0x82, b"x" * 5, length=b"\xff" + bytes(7) + b"\x05"), 1002),
        (frame(0x89, b"x" * 126), 1002),
        (frame(0x81, b"\xff"), 1007),
        (frame(0x01, b"\xed\xa0"), 1007),
        (close(1005), 1002),
        (close(999), 1002),
        (frame(0x88, b"\x03"), 1002),
        (close(1000, b"\xff"), 1007),
        (binary(b"x" * 5_000_000), 1009),
    ],
)
async def test_peer_that_breaks_a_rule_is_told_which(data: bytes, code: int) -> None:
    """With a close frame and an orderly end, whatever it has still on its way, and after the messages before it."""
    async with serving(Quiet, MAX_MESSAGE_SIZE=1000) as connect, connect() as peer:
        peer.send(text("before"), data, text("after"))
        assert await peer.frame() == (0x81, b"before")
        assert await peer.closed() == code
        assert await peer.reader.read() == b""  # a reset would raise
        peer.writer.close()
        await peer.handler.over
        assert peer.handler.seen == [("closed", None, None)]


async def test_end_is_not_announced_after_a_close_of_ours() -> None:
    """Whoever closed knows already, and with another code."""
    announced = []

    class Noting:
        def unfinished(self) -> None:
            return None

        def closing(self, code: int | None, reason: str | None) -> None:
            announced.append(code)

    async with serving(Quiet) as connect, connect() as peer:
        peer.handler.wire.ending = Noting()
        peer.handler.wire.close(3000)
        peer.send(close(1001))
        await peer.handler.over
        assert (announced, peer.handler.close_code) == ([], 1001)


async def test_failure_is_announced_before_the_connection_is_gone() -> None:
    """Who keeps a list of sockets can take this one out."""
    said: list[Any] = []

    class Noting:
        def unfinished(self) -> None:
            return None

        def closing(self, code: int | None, reason: str | None) -> None:
            said.append((code, reason))

    class Announced(Quiet):
        def open(self, *args: str, **kwargs: str) -> None:
            self.wire.ending = Noting()

    async with serving(Announced) as connect:
        for last in (b"\xff", close(3000, b"why"), close()):
            async with connect() as peer:
                peer.send(last)
                await peer.closed()
    assert said == [(1002, "reserved bits are set"), (3000, "why"), (1005, "")]


async def test_peer_that_goes_on_after_its_failure_is_cut_off() -> None:
    """It may not hold the connection by sending."""
    async with serving(Hasty) as connect, connect() as peer:
        peer.send(b"\xff")
        assert await peer.closed() == 1002
        await peer.handler.over
        await peer.ended()


async def test_failure_over_tls_is_told_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be half closed there: the connection is closed a moment later, without waiting for the peer."""
    monkeypatch.setattr(protocol, "LINGER", 0.01)
    certificate, key = write_certificate(tmp_path, "localhost")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate, key)
    client = ssl.create_default_context(cafile=certificate)
    client.check_hostname = False
    async with serving(Quiet, tls=(server, client)) as connect, connect() as peer:
        peer.send(b"\xff")
        assert await peer.closed() == 1002
        assert await peer.ended() == b""
        await peer.handler.over


async def test_peer_that_does_not_answer_a_close_is_cut_off() -> None:
    """After a while; what it says until then is still a message."""

    class Leaving(Hasty):
        def on_message(self, message: str | bytes) -> None:
            self.see(message)
            if message == "a":
                self.close(1001, "later")

    async with serving(Leaving) as connect, connect() as peer:
        peer.send(text("a"), text("b"))
        assert await peer.frame() == (0x88, b"\x03\xe9later")
        await peer.handler.over
        assert peer.handler.seen == ["a", "b", ("closed", None, None)]
        assert await peer.ended() == b""


@pytest.mark.feature("W5")
async def test_nobody_is_pinged_after_a_close_of_ours() -> None:
    """The close frame is the last one."""
    async with serving(Quiet, PING_INTERVAL=60) as connect, connect() as peer:
        heartbeat = peer.handler.wire._heartbeat
        peer.handler.wire.close()
        assert heartbeat._timer.cancelled()
        assert await peer.closed() is None


async def test_close_of_ours_is_over_with_the_answer() -> None:
    """The server closes the connection, and the handler learns what the peer said."""
    async with serving(Quiet) as connect, connect() as peer:
        handler, wire = peer.handler, peer.handler.wire
        handler.close(4001, "go")
        assert wire.is_closing()
        wire.close(4002, "again")
        with pytest.raises(WebSocketClosedError):
            wire.write_message("late")
        with pytest.raises(WebSocketClosedError):
            wire.send(encode_message("late"))
        wire.write_ping(b"late")
        peer.send(frame(0x89, b"late"))
        assert await peer.frame() == (0x88, b"\x0f\xa1go")
        peer.send(close(4001, b"gone"))
        assert await peer.ended() == b""
        await handler.over
        assert handler.seen == [("closed", 4001, "gone")]


async def test_close_that_may_not_be_sent_is_an_error_and_closes_nothing() -> None:
    """A code for nobody, and a reason that is too long."""
    async with serving(Quiet) as connect, connect() as peer:
        for code, reason in ((1006, None), (42, None), (1000, "x" * 124)):
            with pytest.raises(ValueError):
                peer.handler.wire.close(code, reason)
        peer.send(text("still open"))
        assert await peer.frame() == (0x81, b"still open")


@pytest.mark.parametrize("where", ["open", "open later", "message", "message later", "ping"])
async def test_handler_that_fails_cuts_its_connection(where: str, caplog: pytest.LogCaptureFixture) -> None:
    """The error is logged, and `on_close` is called where `open` has not failed itself: stock Tornado does the same."""

    class Failing(Socket):
        def fail(self, *args: str, **kwargs: str) -> None:
            raise ZeroDivisionError

        async def fail_later(self, *args: str, **kwargs: str) -> None:
            await asyncio.sleep(0)
            raise ZeroDivisionError

        def initialize(self, **settings: Any) -> None:
            super().initialize(**settings)
            name = {"open": "open", "message": "on_message", "ping": "on_ping"}[where.split()[0]]
            setattr(self, name, self.fail_later if where.endswith("later") else self.fail)

    with caplog.at_level(logging.ERROR, "tornado.application"):
        async with serving(Failing) as connect, connect() as peer:
            peer.send(text("a"), frame(0x89), text("b"))
            opens = not where.startswith("open")
            if opens:
                await peer.handler.over
            await peer.ended()
            peer.handler.ws_connection = None
            assert peer.handler.seen[-1:] == [("closed", None, None)] * opens
            assert peer.handler.seen.count(("closed", None, None)) == opens
    assert "Uncaught exception" in caplog.text


# --- slow peers -----------------------------------------------------------------------------------------


@pytest.mark.feature("M5")
async def test_write_to_a_slow_peer_waits_for_room() -> None:
    """What is returned is done when the peer has taken what was above the mark; before that, it is counted."""
    async with serving() as connect, connect() as peer:
        wire = peer.handler.wire
        assert wire.write_message("fast").done()
        assert wire.unsent == 0
        count = 1
        while (write := wire.write_message(b"x" * 65_536, binary=True)).done():
            count += 1
        assert wire.unsent > 0
        for _ in range(count + 1):
            await peer.frame()
        await write
        assert wire.unsent == 0


async def test_write_to_a_peer_that_vanishes_fails() -> None:
    """Whoever waits is told."""
    async with serving() as connect, connect() as peer:
        wire = peer.handler.wire
        while (write := wire.write_message(b"x" * 65_536, binary=True)).done():
            pass
        peer.writer.transport.abort()
        with pytest.raises(WebSocketClosedError):
            await write


async def test_pings_of_a_peer_that_reads_nothing_take_no_memory() -> None:
    """Pongs wait for it up to the mark, and then only the last one."""

    class Counting(Socket):
        pings = 0
        everything: asyncio.Event

        def on_ping(self, data: bytes) -> None:
            self.pings += 1
            if data == b"last":
                self.everything.set()

    Counting.everything = asyncio.Event()
    async with serving(Counting) as connect, connect() as peer:
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        peer.send(frame(0x89, b"x" * 125) * 100_000, frame(0x89, b"last"))
        await Counting.everything.wait()
        assert peer.handler.pings == 100_001
        assert peer.handler.wire._transport.get_write_buffer_size() < 128 * 1024
        peer.reader._transport.resume_reading()  # type: ignore[attr-defined]
        while (await peer.frame())[1] != b"last":
            pass


async def test_peer_that_sends_and_reads_nothing_is_no_longer_read() -> None:
    """An echo that waits for nothing must not keep what its client floods it with; all of it arrives in the end."""
    async with serving(Echo, MAX_MESSAGE_SIZE=2**20) as connect, connect() as peer:
        wire = peer.handler.wire
        message, count = binary(b"x" * 65_536), 400
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        paused, regulate = asyncio.Event(), wire._regulate

        def watch() -> None:
            regulate()
            if wire._backed_up:
                paused.set()

        wire._regulate = watch
        peer.send(message * count)
        await paused.wait()
        assert wire.unsent <= BACKLOG + 2**20
        wire._regulate = regulate
        peer.reader._transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(count):
            assert len((await peer.frame())[1]) == 65_536


async def test_peer_that_is_not_read_and_takes_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would see its end, which is behind all that it has sent."""
    monkeypatch.setattr(protocol, "STALL", 0.01)
    async with serving(Quiet, MAX_MESSAGE_SIZE=2**20) as connect, connect() as peer:
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        peer.send(binary(b"x" * 65_536) * 400)
        peer.writer.write_eof()
        await peer.handler.over


async def test_peer_that_is_not_read_and_takes_something_stays() -> None:
    """It is watched as long as it is not read, and no longer."""
    async with serving(Quiet, MAX_MESSAGE_SIZE=2**20) as connect, connect() as peer:
        wire = peer.handler.wire
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        peer.send(binary(b"x" * 65_536) * 400)
        while not wire._backed_up:
            await asyncio.sleep(0)
        wire._stalled.cancel()
        wire._look(wire._outlet.in_transport + 1)
        assert not wire.is_closing()
        peer.reader._transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(400):
            await peer.frame()
        assert wire._stalled is None


async def test_peer_that_ends_and_takes_nothing_is_cut_off() -> None:
    """Half of a connection, with what is left for the other half, is not kept either."""
    async with serving(Hasty) as connect, connect() as peer:
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        wire = peer.handler.wire
        while wire.write_message(b"x" * 65_536, binary=True).done():
            pass
        peer.writer.write_eof()
        await peer.handler.over


@pytest.mark.parametrize("ends", [False, True])
async def test_all_that_waits_for_a_slow_peer_arrives_before_the_end(ends: bool) -> None:
    """In order, with the close frame last; and where the peer has half closed."""
    async with serving(Quiet) as connect, connect() as peer:
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        wire, count = peer.handler.wire, 0
        while wire.write_message(b"x" * 65_536, binary=True).done():
            count += 1
        for number in range(100):
            wire.write_message(str(number))
            await asyncio.sleep(0)
        peer.writer.write_eof() if ends else wire.close(3000)
        if ends:
            while not wire.is_closing():
                await asyncio.sleep(0)
        peer.reader._transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(count + 1):
            assert len((await peer.frame())[1]) == 65_536
        assert [await peer.frame() for _ in range(100)] == [(0x81, str(number).encode()) for number in range(100)]
        if not ends:
            assert await peer.frame() == (0x88, b"\x0b\xb8")


async def test_peer_that_takes_no_close_is_cut_off() -> None:
    """It cannot keep a connection by not reading what is left for it."""
    async with serving(Hasty) as connect, connect() as peer:
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        wire = peer.handler.wire
        while wire.write_message(b"x" * 65_536, binary=True).done():
            pass
        peer.send(close(1000))
        await peer.handler.over


# --- the handshake --------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, "", "short", "MDEyMzQ1Njc4OWFiY2RlZg", "dGhlIHNhbXBsZSBub25jZQ==="])
async def test_handshake_without_a_right_key_is_refused(key: str | None) -> None:
    """400, and nothing is opened."""
    async with serving(Socket) as connect, connect(shake=False) as peer:
        assert "HTTP/1.1 400" in await peer.shake(key=key)
        peer.handler.ws_connection = None


@pytest.mark.feature("W6")
@pytest.mark.parametrize(
    ("lines", "version"),
    [(("Sec-WebSocket-Version: 8",), "HTTP/1.1"), ((), "HTTP/1.0")],
)
async def test_handshake_of_another_version_is_told_ours(lines: tuple[str, ...], version: str) -> None:
    """426, with what it takes: HTTP/1.1 (RFC 9110, section 7.8) and version 13."""
    async with serving(Socket) as connect, connect(shake=False) as peer:
        answer = await peer.shake(*lines, version=version)
        assert "HTTP/1.1 426" in answer
        assert "Sec-Websocket-Version: 13" in answer


@pytest.mark.parametrize(
    ("offers", "answer"),
    [
        (["permessage-deflate; server_max_window_bits=8"], None),
        (["permessage-deflate; spice=1"], None),
        (['permessage-deflate; "'], None),
        (["\x80"], None),
        (["permessage-deflate; server_max_window_bits=8, permessage-deflate"], "permessage-deflate"),
        (["x-spice", "permessage-deflate; server_max_window_bits=9"], "permessage-deflate; server_max_window_bits=9"),
    ],
)
async def test_extension_that_is_malformed_is_declined_and_the_next_is_tried(
    offers: list[str], answer: str | None
) -> None:
    """The socket opens, with compression if any offer allows it."""

    class Compressing(Echo):
        def get_compression_options(self) -> dict[str, Any]:
            return {}

    async with serving(Compressing) as connect, connect(shake=False) as peer:
        head = await peer.shake(*(f"Sec-WebSocket-Extensions: {offer}" for offer in offers))
        said = [line.partition(": ")[2] for line in head.splitlines() if line.startswith("Sec-Websocket-Extensions")]
        assert said == ([] if answer is None else [answer])
        peer.send(text("hello"))
        assert (await peer.frame())[0] == (0x81 if answer is None else 0xC1)


async def test_compression_that_is_not_wanted_is_not_agreed_on() -> None:
    """A handler without options gets no extension, and RSV1 is an error."""
    async with serving(Quiet) as connect, connect(shake=False) as peer:
        assert "Extensions" not in await peer.shake("Sec-WebSocket-Extensions: permessage-deflate")
        assert not peer.handler.wire.compresses
        peer.send(frame(0xC1, b"x"))
        assert await peer.closed() == 1002


async def test_subprotocol_is_the_handlers_choice() -> None:
    """It is asked once, with what is offered, and has to choose from that."""

    class Choosing(Socket):
        def select_subprotocol(self, subprotocols: list[str]) -> str | None:
            self.see(subprotocols)
            return "b"

    async with serving(Choosing) as connect:
        async with connect(shake=False) as peer:
            head = await peer.shake("Sec-WebSocket-Protocol: a, b", "Sec-WebSocket-Protocol: c")
            assert "Sec-Websocket-Protocol: b" in head
            assert (peer.handler.selected_subprotocol, peer.handler.seen) == ("b", [["a", "b", "c"]])
        async with connect(shake=False) as peer:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Choosing, "log_exception", lambda *_: None)
                assert "HTTP/1.1 500" in await peer.shake("Sec-WebSocket-Protocol: a")
            peer._handlers[1].ws_connection = None


async def test_methods_of_requests_are_refused_after_the_handshake() -> None:
    """As Tornado does: they would have no effect, or a wrong one."""
    async with serving(Socket) as connect, connect() as peer:
        for method in (peer.handler.write, peer.handler.set_header, peer.handler.finish, peer.handler.flush):
            with pytest.raises(RuntimeError, match="not supported for Web Sockets"):
                method()


# --- another's client -----------------------------------------------------------------------------------


async def test_client_of_the_websockets_library_gets_along() -> None:
    """With compression, fragments and pings, both ways, and an orderly close."""

    class Compressing(Echo):
        def get_compression_options(self) -> dict[str, Any]:
            return {"compression_level": 1, "mem_level": 5, "window_bits": 12}

    async with serving(Compressing) as connect, connect() as peer:
        port = peer.writer.get_extra_info("peername")[1]
        async with websockets_connect(f"ws://127.0.0.1:{port}/", max_size=None) as client:
            extension = client.response.headers["Sec-WebSocket-Extensions"]  # type: ignore[union-attr]
            assert "server_max_window_bits=12" in extension
            for message in ("grüße" * 1000, b"\x00" * 100_000, "", "x"):
                await client.send(message)
                assert await client.recv() == message
            await client.send(["one ", "two"])
            assert await client.recv() == "one two"
            await (await client.ping())
            await client.close(3001, "bye")
            assert client.close_code == 3001
