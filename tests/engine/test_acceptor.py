from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from wshttp.engine import acceptor

PATIENCE = 10.0


async def test_accepting_rests_when_no_file_can_be_opened(
    serving: Any, until: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all descriptors used it says so once and waits, without spinning; later the client is served."""
    rests: list[OSError] = []
    rest = acceptor.Acceptor._rest

    def counted(accepting: acceptor.Acceptor, error: OSError) -> None:
        rests.append(error)
        rest(accepting, error)

    monkeypatch.setattr(acceptor.Acceptor, "_rest", counted)
    async with serving() as (server, port, _):
        accepting = server._accepting[0][0]
        client = socket.socket()
        client.setblocking(False)
        with caplog.at_level(logging.ERROR, logger=acceptor.__name__), no_free_file():
            await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
            for attempt in (1, 2):
                await until(lambda attempt=attempt: len(rests) == attempt)
                for _ in range(50):
                    await asyncio.sleep(0)
                assert len(rests) == attempt
                assert rests[-1].errno == errno.EMFILE
                in_seconds = accepting._resumption.when() - asyncio.get_running_loop().time()
                assert 0 < in_seconds < acceptor.PAUSE + 0.01  # a loop may count in milliseconds
                accepting._resumption.cancel()
                accepting.start()  # as if the pause were over
            await until(lambda: len(rests) == 3)
        assert [record.getMessage() for record in caplog.records] == [
            "cannot accept connections: Too many open files; trying again every 1 s"
        ]
        assert server.counts.accepted == 0
        accepting._resumption.cancel()
        accepting.start()
        reader, writer = await asyncio.open_connection(sock=client)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), PATIENCE)).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_accepting_goes_on_after_a_fault_of_one_connection(until: Any) -> None:
    """A client that is gone before it was accepted stops nobody behind it."""

    class Listening:
        """A socket whose queue holds one aborted connection, and then a good one."""

        def __init__(self, real: socket.socket) -> None:
            self.real = real
            self.faults = [errno.ECONNABORTED, errno.EPROTO]

        def fileno(self) -> int:
            return self.real.fileno()

        def accept(self) -> tuple[socket.socket, Any]:
            if self.faults:
                raise OSError(self.faults.pop(0), "gone")
            return self.real.accept()

    accepted: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as real:
        real.setblocking(False)
        listening: Any = Listening(real)
        accepting = acceptor.Acceptor(asyncio.get_running_loop(), listening, lambda sock, _: accepted.append(sock))
        accepting.start()
        with socket.create_connection(real.getsockname()):
            await until(lambda: len(accepted) == 1)
        accepting.stop()
        accepting.stop()
        accepted[0].close()


@contextmanager
def no_free_file() -> Iterator[None]:
    """Let this process open no file for a while."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
