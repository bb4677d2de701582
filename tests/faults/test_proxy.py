"""The proxy that the other tests break connections with does what they think it does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from faults.proxy import Proxy
from processes import PATIENCE


class Echo:
    """Sends back whatever comes, to one connection after the other."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.target: tuple[str, int] = self._listener.getsockname()
        self.ended: list[bool] = []
        """Of each connection, whether the client ended it in order."""
        self.over = threading.Semaphore(0)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        in_order = False
        with connection:
            try:
                while data := connection.recv(65536):
                    connection.sendall(data)
                in_order = True
                connection.sendall(b"bye")
            except OSError:
                pass  # cut
        self.ended.append(in_order)
        self.over.release()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(echo.target) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), PATIENCE) as client:
        client.sendall(b"hello")
        assert exactly(client, 5) == b"hello"
        yield client


def exactly(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := client.recv(count - len(data))):
        data += more
    return data


def test_connection_that_is_cut_is_reset_for_both(proxy: Proxy, echo: Echo, client: socket.socket) -> None:
    """Not ended in order; a new connection is carried."""
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert echo.over.acquire(timeout=PATIENCE)
    assert echo.ended == [False]
    with socket.create_connection(("127.0.0.1", proxy.port), PATIENCE) as again:
        again.sendall(b"again")
        assert exactly(again, 5) == b"again"


def test_connection_that_is_refused_never_reaches_the_target(proxy: Proxy, client: socket.socket) -> None:
    """It is accepted, and reset: as where a machine answers, and nobody behind it."""
    proxy.refuse()
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", proxy.port), PATIENCE) as again:
        again.sendall(b"x")
        if not again.recv(1):
            raise ConnectionResetError
    proxy.heal()
    with socket.create_connection(("127.0.0.1", proxy.port), PATIENCE) as again:
        again.sendall(b"again")
        assert exactly(again, 5) == b"again"


def test_connection_that_stalls_keeps_what_comes(proxy: Proxy, client: socket.socket) -> None:
    """Nothing is delivered, nothing is closed; healed, all of it comes."""
    proxy.stall("back")
    client.sendall(b"kept")
    assert proxy.keeps("back")
    client.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.recv(1)
    client.settimeout(PATIENCE)
    proxy.heal()
    assert exactly(client, 4) == b"kept"


def test_half_closed_connection_carries_the_other_way(proxy: Proxy, echo: Echo, client: socket.socket) -> None:
    """The target hears the end and says a last word, which comes."""
    proxy.half_close("there")
    assert exactly(client, 4) == b"bye"
    assert echo.over.acquire(timeout=PATIENCE)
    assert echo.ended == [True]


def test_half_closed_connection_is_ended_for_its_receiver_only(proxy: Proxy, client: socket.socket) -> None:
    """Who waits for the answer hears that there is none to come, while what it sends is carried still."""
    proxy.half_close("back")
    assert client.recv(1) == b""
    client.sendall(b"nobody sends this back")
    assert len(proxy) == 1


def test_reply_is_cut_in_its_midst(proxy: Proxy, client: socket.socket) -> None:
    """After as many bytes as were said, of which all have come."""
    proxy.cut_after("back", 3)
    client.sendall(b"whole")
    with pytest.raises(ConnectionResetError):
        assert exactly(client, 3) == b"who"
        client.recv(1)


def test_command_is_cut_before_it_comes(proxy: Proxy, echo: Echo, client: socket.socket) -> None:
    """The target has the first of it."""
    proxy.cut_after("there", 0)
    client.sendall(b"never")
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert echo.over.acquire(timeout=PATIENCE)


def test_target_that_is_away_is_a_reset(proxy: Proxy, echo: Echo) -> None:
    """As where its process is not there."""
    proxy.target = ("127.0.0.1", 1)
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", proxy.port), PATIENCE) as client:
        client.sendall(b"x")
        if not client.recv(1):
            raise ConnectionResetError
