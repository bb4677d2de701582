"""A part of a file as an answer, without being read: on the native engine, which alone can."""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from tornado.httputil import HTTPOutputError
from tornado.iostream import StreamClosedError
from tornado.web import Application, RequestHandler

from wshttp.engine import file_sending
from wshttp.engine.limits import Limits
from wshttp.engine.listeners import bind_tcp, bind_unix
from wshttp.engine.tls import TlsContext
from wshttp.testing import FakeClock

pytestmark = [pytest.mark.parametrize("choice", ["native", "uvloop"], indirect=True), pytest.mark.feature("F2")]

PATIENCE = 10.0
LARGE = 40 * 1024 * 1024
"""More than a socket's buffers hold."""


async def in_thread(function: Callable[[], int]) -> int:
    return await asyncio.to_thread(function)


class Story:
    """What the handler is to do, and what came of it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.offset = 0
        self.count = 0
        self.before = b""
        """What is written before it."""
        self.length: int | None = None
        """That the header tells; as much as is sent where `None`."""
        self.run: Callable[[Callable[[], int]], Awaitable[int]] = in_thread
        self.sends_files: bool | None = None
        self.begun = asyncio.Event()
        self.sending: asyncio.Task[int] | None = None
        self.end: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def ask(self, offset: int, count: int, length: int | None = None) -> None:
        self.offset, self.count, self.length = offset, count, length


class Sender(RequestHandler):
    def initialize(self, story: Story) -> None:
        self.story = story

    async def get(self) -> None:
        story = self.story
        connection: Any = self.request.connection
        story.sends_files = connection.sends_files
        if story.length is None or story.length:
            self.set_header(
                "Content-Length", str(len(story.before) + (story.count if story.length is None else story.length))
            )
        self.write(story.before)
        self.flush()
        with story.file.open("rb", buffering=0) as file:
            sending = connection.send_file(file.fileno(), story.offset, story.count, story.run)
            story.sending = asyncio.ensure_future(sending)
            story.begun.set()
            try:
                sent = await story.sending
                if not story.end.done():  # a test may have asked twice
                    story.end.set_result(sent)
            except (Exception, asyncio.CancelledError) as error:
                story.end.set_exception(error)
                connection.stream.close()


@pytest.fixture
def telling(engine: Any, clock: FakeClock, tmp_path: Path, loop_factory: object) -> Callable[..., Any]:
    """`async with telling(data, **options) as (story, server, port)`: a server whose answer is a part of a file.

    `data` is what is in it, or how many zeros.
    """

    @asynccontextmanager
    async def tell(
        data: bytes | int, *, tls: TlsContext | None = None, **options: Any
    ) -> AsyncIterator[tuple[Story, Any, int]]:
        file = tmp_path / "file.bin"
        file.write_bytes(b"" if isinstance(data, int) else data)
        if isinstance(data, int):
            os.truncate(file, data)
        story = Story(file)
        routes = [("/", Sender, {"story": story})]
        application = Application(routes, log_function=lambda handler: None)
        server = engine(application, clock=clock.monotonic, tls=tls, **options)
        [listener] = bind_tcp("127.0.0.1", 0, tls=tls is not None)
        server.add_listeners([listener])
        try:
            yield story, server, listener.socket.getsockname()[1]
        finally:
            await server.close()

    return tell


@pytest.fixture
def from_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of a file is in memory."""
    monkeypatch.setattr(file_sending, "is_in_memory", lambda *part: False)


async def soon(awaitable: Any) -> Any:
    return await asyncio.wait_for(awaitable, PATIENCE)


def borrowed(story: Story) -> list[str]:
    """Return what is open of the file, and the sockets that are open twice."""
    links = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        except FileNotFoundError:
            continue  # that of the list itself
    twice = [link for link in set(links) if link.startswith("socket:") and links.count(link) > 1]
    return [*twice, *(link for link in links if link == str(story.file))]


async def test_part_of_a_file_is_sent(telling: Any, connect: Any) -> None:
    """Behind its header, from where it is asked for, and the connection goes on."""
    data = os.urandom(300_000)
    async with telling(data) as (story, _, port), connect(port) as client:
        for offset, count in ((0, 300_000), (1, 299_998), (5, 0), (299_999, 1)):
            story.ask(offset, count)
            story.end = asyncio.get_running_loop().create_future()
            client.get()
            assert (await client.response()).body == data[offset : offset + count]
            assert await soon(story.end) == count
        assert story.sends_files


async def test_more_than_the_sockets_hold_is_sent(telling: Any, connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As fast as the client takes it; what it has asked for next comes behind."""
    monkeypatch.setattr(file_sending, "_ONE_CALL", 1_000_003)
    data = os.urandom(1_000_000) * (LARGE // 1_000_000)
    async with telling(data) as (story, _, port), connect(port) as client:
        story.ask(0, len(data))
        client.get()
        await soon(story.begun.wait())
        client.get()
        body = (await soon(client.response())).body
        assert body == data
        story.ask(0, 3)
        story.end = asyncio.get_running_loop().create_future()
        assert (await soon(client.response())).status == 200


@pytest.mark.parametrize("in_memory", [True, False])
async def test_only_what_has_to_come_from_a_disk_is_sent_in_a_thread(
    telling: Any, connect: Any, in_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop waits for no disk, and a thread costs more than sending what is there."""
    monkeypatch.setattr(file_sending, "is_in_memory", lambda *part: in_memory)
    threads: set[bool] = set()
    real = os.sendfile

    def sendfile(*arguments: int) -> int:
        threads.add(threading.current_thread() is not threading.main_thread())
        return real(*arguments)

    monkeypatch.setattr(os, "sendfile", sendfile)
    data = os.urandom(3_000_000)
    async with telling(data) as (story, _, port), connect(port) as client:
        story.ask(0, len(data))
        client.get()
        assert (await soon(client.response())).body == data
    assert threads == {not in_memory}


async def test_others_have_their_turn_while_a_file_is_sent(
    telling: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much the client takes: after each piece the loop goes on with what else there is."""
    monkeypatch.setattr(file_sending, "is_in_memory", lambda *part: True)
    loop = asyncio.get_running_loop()
    turns: list[int] = []
    sent: list[int] = []

    def sendfile(out: int, file: int, offset: int, count: int) -> int:
        sent.append(len(turns))
        loop.call_soon(turns.append, offset)
        return count

    monkeypatch.setattr(os, "sendfile", sendfile)
    async with telling(LARGE) as (story, _, port), connect(port) as client:
        story.ask(0, LARGE)
        client.get()
        assert await soon(story.end) == LARGE
    assert len(sent) > 10
    assert sent == list(range(len(sent)))


async def test_file_comes_behind_what_was_written_before(telling: Any, connect: Any) -> None:
    """Though the one waits in this process, and the other does not come through it."""
    async with telling(LARGE) as (story, _, port), connect(port) as client:
        story.before = os.urandom(1_000_000) * 20
        story.ask(0, 100_000)
        client.get()
        assert (await soon(client.response())).body == story.before + bytes(100_000)


async def test_file_is_sent_over_a_unix_socket(telling: Any, connect: Any, tmp_path: Path) -> None:
    """A proxy on the same machine gets it the same way."""
    async with telling(LARGE) as (story, server, _):
        server.add_listeners([bind_unix(str(tmp_path / "s"))])
        story.ask(0, LARGE)
        async with connect(path=str(tmp_path / "s")) as client:
            client.get()
            assert (await soon(client.response())).body == bytes(LARGE)


async def test_file_that_ends_too_early_tells_how_much_was_sent(telling: Any, connect: Any) -> None:
    """The connection is cut: what was promised does not come."""
    async with telling(b"0123456789") as (story, _, port), connect(port) as client:
        story.ask(4, 100)
        client.get()
        assert (await client.ended()).endswith(b"\r\n\r\n456789")
        assert await soon(story.end) == 6


async def test_file_system_without_sendfile_sends_nothing(
    telling: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest is then the application's to write."""

    def none(*arguments: object) -> NoReturn:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "sendfile", none)
    async with telling(b"0123456789") as (story, _, port), connect(port) as client:
        story.ask(0, 10)
        client.get()
        assert await soon(story.end) == 0


async def test_disk_that_fails_is_told(telling: Any, connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing stays open."""

    def broken(*arguments: object) -> NoReturn:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "sendfile", broken)
    async with telling(b"0123456789") as (story, _, port):
        async with connect(port) as client:
            story.ask(0, 10)
            client.get()
            await client.ended()
        with pytest.raises(OSError, match="Input/output"):
            await soon(story.end)
        assert not borrowed(story)


async def test_client_that_goes_is_told(telling: Any, connect: Any, until: Any) -> None:
    """While the socket is full, and nothing stays open."""
    async with telling(LARGE) as (story, server, port):
        story.ask(0, LARGE)
        async with connect(port) as client:
            client.get()
            await soon(client.reader.readexactly(100_000))
            client.writer.transport.abort()
            with pytest.raises(StreamClosedError):
                await soon(story.end)
        await until(lambda: server.counts.open == 0)
        await until(lambda: not borrowed(story))


async def test_client_that_takes_nothing_is_cut(
    telling: Any, connect: Any, clock: FakeClock, until: Any, only_link: Any
) -> None:
    """After the time for a write, in which one that takes something goes on."""
    async with telling(LARGE, limits=Limits(write_timeout=60)) as (story, server, port):
        story.ask(0, LARGE)
        async with connect(port, limit=1 << 16) as client:
            link = await only_link(server)
            client.get()
            await soon(client.reader.readexactly(100_000))
            await until(lambda: link._stream.transport.get_write_buffer_size() > 0)
            for _ in range(3):
                left = link._stream.unsent
                server.tick()
                await soon(client.reader.readexactly(8_000_000))
                await until(lambda left=left: link._stream.unsent < left)
                clock.advance(59)
            assert not story.end.done()
            await _still(lambda: link._stream.unsent)
            server.tick()
            clock.advance(60)
            server.tick()
            with pytest.raises(StreamClosedError):
                await soon(story.end)
            assert server.counts.timed_out["write"] == 1


async def _still(value: Callable[[], int]) -> None:
    """Wait until something changes no more."""
    same, before = 0, value()
    while same < 200:
        await asyncio.sleep(0)
        same, before = (same + 1 if value() == before else 0), value()


async def test_drain_waits_for_a_file_and_cuts_it_in_the_end(telling: Any, connect: Any) -> None:
    """As any other answer."""
    async with telling(LARGE) as (story, server, port), connect(port, limit=1 << 26) as client:
        story.ask(0, LARGE)
        client.get()
        await soon(story.begun.wait())
        assert await server.drain(0) == 1
        with pytest.raises(StreamClosedError):
            await soon(story.end)
        assert len(await client.ended()) < LARGE
    async with telling(LARGE) as (story, server, port), connect(port) as client:
        story.ask(0, LARGE)
        client.get()
        await soon(story.begun.wait())
        draining = asyncio.ensure_future(server.drain(PATIENCE))
        assert len((await soon(client.response())).body) == LARGE
        assert await soon(draining) == 0


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.usefixtures("from_disk")
async def test_connection_that_ends_while_a_thread_reads_is_told(
    telling: Any, connect: Any, until: Any, cut: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as the thread is back: nobody waits for a client that takes nothing any more."""
    monkeypatch.setattr(file_sending, "_ONE_CALL", LARGE)
    back = asyncio.Event()

    async def run(function: Callable[[], int]) -> int:
        await back.wait()
        return await in_thread(function)

    async with telling(LARGE) as (story, server, port):
        story.ask(0, LARGE)
        story.run = run
        async with connect(port) as client:
            client.get()
            await soon(story.begun.wait())
            client.reader._transport.pause_reading()  # type: ignore[attr-defined]
            await (server.drain(0) if cut else client.close())
            await until(lambda: server.counts.open == 0)
            back.set()
            with pytest.raises(StreamClosedError):
                await soon(story.end)


@pytest.mark.usefixtures("from_disk")
async def test_cancelling_takes_nothing_from_a_thread(
    telling: Any, connect: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A descriptor that is closed under a thread could be another file's by the time it is used."""
    working, go_on = threading.Event(), threading.Event()
    used: list[bool] = []
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(out: int, file: int, offset: int, count: int) -> int:
        working.set()
        go_on.wait(PATIENCE)
        used.append(os.fstat(out) is not None and os.fstat(file) is not None)
        loop.call_soon_threadsafe(done.set)
        return count

    monkeypatch.setattr(os, "sendfile", slow)
    async with telling(b"0123456789") as (story, _, port):
        async with connect(port) as client:
            story.ask(0, 10)
            client.get()
            await asyncio.to_thread(working.wait, PATIENCE)
            assert story.sending is not None
            story.sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await soon(story.end)
            go_on.set()
            await soon(done.wait())
        assert used == [True]
        await until(lambda: not borrowed(story))


@pytest.mark.parametrize("length", [9, 0])
async def test_file_goes_only_where_a_length_is_told(telling: Any, connect: Any, length: int) -> None:
    """One that is long enough; anything else could not be told from the next answer."""
    async with telling(b"0123456789") as (story, _, port), connect(port) as client:
        story.ask(0, 10, length)
        client.get()
        await client.ended()
        with pytest.raises(HTTPOutputError):
            await soon(story.end)


async def test_no_file_goes_over_tls(telling: Any, connect: Any, certificate: Any) -> None:
    """Each byte is encrypted by this process, so that it has to have it."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    tls = TlsContext(*certificate("a"))
    async with telling(b"0123456789", tls=tls) as (story, _, port), connect(port, ssl=context) as client:
        story.ask(0, 10, 9)
        client.get()
        await client.ended()
        assert story.sends_files is False
        story.end.exception()


async def test_file_that_is_in_memory_takes_no_descriptor(
    telling: Any, connect: Any, only_link: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the client takes for it: a connection and a file are all that a download has open."""
    monkeypatch.setattr(file_sending, "is_in_memory", lambda *part: True)
    async with telling(LARGE) as (story, server, port), connect(port, limit=1 << 16) as client:
        story.ask(0, LARGE)
        client.get()
        link = await only_link(server)
        await until(lambda: link._stream is not None and link._stream.transport.get_write_buffer_size() > 0)
        assert borrowed(story) == [str(story.file)]
        assert len((await soon(client.response())).body) == LARGE


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.usefixtures("from_disk")
async def test_descriptors_that_cannot_be_had_leave_the_rest_to_be_written(
    telling: Any, connect: Any, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And none of them open."""
    real, copies = os.dup, []

    def dup(descriptor: int) -> int:
        if first or copies:
            raise OSError(errno.EMFILE, "Too many open files")
        copies.append(real(descriptor))
        return copies[-1]

    monkeypatch.setattr(os, "dup", dup)
    async with telling(b"0123456789") as (story, _, port), connect(port) as client:
        story.ask(0, 10)
        client.get()
        assert await soon(story.end) == 0
        for copy in copies:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(copy)


@pytest.mark.usefixtures("from_disk")
async def test_descriptors_that_run_out_meanwhile_leave_the_rest_to_be_written(
    telling: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After what a full socket has taken."""
    real, copies = os.dup, []

    def dup(descriptor: int) -> int:
        if len(copies) == 2:
            raise OSError(errno.EMFILE, "Too many open files")
        copies.append(real(descriptor))
        return copies[-1]

    sendfile = os.sendfile
    monkeypatch.setattr(os, "dup", dup)
    monkeypatch.setattr(os, "sendfile", lambda out, file, offset, count: sendfile(out, file, offset, 4))
    async with telling(b"0123456789") as (story, _, port), connect(port) as client:
        story.ask(0, 10)
        client.get()
        assert await soon(story.end) == 4
