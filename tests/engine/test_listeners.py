from __future__ import annotations

import os
import resource
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from wshttp.engine.listeners import (
    RESERVED_FILES,
    UNIX_MODE,
    Listener,
    addresses,
    adopt,
    bind_tcp,
    bind_unix,
    raise_file_limit,
)
from wshttp.errors import ConfigurationError


@pytest.fixture
def opened() -> Iterator[list[Listener]]:
    """Listeners put in here are closed after the test."""
    listeners: list[Listener] = []
    yield listeners
    for listener in listeners:
        listener.close()


def mistake_of(error: pytest.ExceptionInfo[ConfigurationError]) -> str:
    [mistake] = error.value.mistakes
    return mistake


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_bind_tcp_says_its_addresses(opened: list[Listener]) -> None:
    """An address is written as a person types it into a browser."""
    opened += bind_tcp("127.0.0.1", 0) + bind_tcp("127.0.0.1", 0, tls=True)
    ports = [listener.socket.getsockname()[1] for listener in opened]
    assert addresses(opened) == [f"http://127.0.0.1:{ports[0]}", f"https://127.0.0.1:{ports[1]}"]


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["localhost", ""])
def test_bind_tcp_of_several_addresses_has_one_port(opened: list[Listener], host: str) -> None:
    """Port 0 picks a port that is free on both families."""
    opened += bind_tcp(host, 0)
    assert [listener.socket.family for listener in opened] == [socket.AF_INET, socket.AF_INET6]
    assert len({listener.socket.getsockname()[1] for listener in opened}) == 1
    if host:
        port = opened[0].socket.getsockname()[1]
        assert addresses(opened) == [f"http://127.0.0.1:{port}", f"http://[::1]:{port}"]
    with socket.create_connection(("::1", opened[0].socket.getsockname()[1]), 5):
        pass


def test_bind_tcp_of_localhost_does_without_ipv6(opened: list[Listener], monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without IPv6 serves localhost on what it has."""
    bind = socket.socket.bind

    def without_ipv6(sock: socket.socket, address: tuple[str, int]) -> None:
        if sock.family == socket.AF_INET6:
            raise OSError(99, "Cannot assign requested address")
        bind(sock, address)

    monkeypatch.setattr(socket.socket, "bind", without_ipv6)
    opened += bind_tcp("localhost", 0)
    assert [listener.socket.family for listener in opened] == [socket.AF_INET]


def test_bind_tcp_of_a_port_in_use_names_it(opened: list[Listener]) -> None:
    """The operator reads which setting, which port, and why."""
    opened += bind_tcp("127.0.0.1", 0)
    port = opened[0].socket.getsockname()[1]
    with pytest.raises(ConfigurationError) as error:
        bind_tcp("127.0.0.1", port)
    assert mistake_of(error) == f"server.port: {port} is in use: another server listens on 127.0.0.1"


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [
        ("x" * 300, 0, "server.host: 'xxx"),
        ("a\0b", 0, "server.host: 'a\\x00b' is no address and cannot be looked up"),
        ("192.0.2.1", 0, "server.host: 192.0.2.1 is not an address of this machine"),
        ("127.0.0.1", 70000, "server.port: 70000 is not within 0 and 65535"),
    ],
)
def test_bind_tcp_of_a_bad_host_names_it(host: str, port: int, text: str) -> None:
    """What cannot be listened on is a mistake in a setting, not a traceback."""
    with pytest.raises(ConfigurationError) as error:
        bind_tcp(host, port)
    assert mistake_of(error).startswith(text)


def test_bind_tcp_of_an_unknown_name_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that no resolver knows is a mistake in `server.host`."""

    def unknown(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # asking a real resolver may leave this machine
    with pytest.raises(ConfigurationError) as error:
        bind_tcp("no-such-host.invalid", 0)
    assert mistake_of(error).startswith("server.host: 'no-such-host.invalid' is no address and cannot be looked up")


def test_bind_tcp_without_permission_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's refusal of a low port is told as what it is."""

    def refuse(sock: socket.socket, address: tuple[str, int]) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)  # tests may run as root, whom the kernel lets
    with pytest.raises(ConfigurationError) as error:
        bind_tcp("127.0.0.1", 80)
    assert mistake_of(error) == "server.port: no permission to listen on port 80 of 127.0.0.1"


def test_bind_unix_lets_owner_and_group_in(opened: list[Listener], tmp_path: Path) -> None:
    """The socket's file has mode 0660, whatever the umask, and goes when the listener closes."""
    path = str(tmp_path / "s")
    before = os.umask(0)
    try:
        opened.append(bind_unix(path))
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(path).st_mode) == UNIX_MODE == 0o660
    assert addresses(opened) == [f"unix:{path}"]
    opened[0].close()
    assert not os.path.exists(path)
    opened[0].close()


def test_bind_unix_replaces_a_stale_socket(opened: list[Listener], tmp_path: Path) -> None:
    """What a killed server left behind is no obstacle."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    opened.append(bind_unix(path))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def test_bind_unix_leaves_a_live_server_alone(opened: list[Listener], tmp_path: Path) -> None:
    """A second server on the same path is refused, and the first goes on."""
    path = str(tmp_path / "s")
    opened.append(bind_unix(path))
    with pytest.raises(ConfigurationError) as error:
        bind_unix(path)
    assert mistake_of(error) == f"server.unix_socket: another server listens on {path}"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def test_closing_a_listener_leaves_its_successor_alone(opened: list[Listener], tmp_path: Path) -> None:
    """A server that took the path over keeps its file when the old one closes."""
    path = str(tmp_path / "s")
    opened.append(bind_unix(path))
    os.unlink(path)
    opened.append(bind_unix(path))
    opened[0].close()
    assert os.path.exists(path)


def test_bind_unix_of_an_impossible_path_says_why(tmp_path: Path) -> None:
    """Other files are never removed; missing folders and long names are told."""
    file = tmp_path / "file"
    file.write_text("precious")
    for path, text in [
        (str(file), f"server.unix_socket: {file} exists and is not a socket"),
        (str(tmp_path / "no" / "s"), "No such file or directory"),
        ("a\0b", "null"),
        (str(tmp_path / ("long" * 50)), "too long"),
    ]:
        with pytest.raises(ConfigurationError) as error:
            bind_unix(path)
        assert mistake_of(error).startswith("server.unix_socket: ")
        assert text in mistake_of(error)
    assert file.read_text() == "precious"


# --- several processes ----------------------------------------------------------------------------


def connected(address: object, family: int = socket.AF_INET) -> socket.socket:
    client = socket.socket(family)
    client.settimeout(5)
    client.connect(address)
    return client


def waiting_in(listener: Listener) -> int:
    """Accept what waits, and count it."""
    count = 0
    while True:
        try:
            listener.socket.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


def test_twins_share_the_connections_of_one_port(opened: list[Listener]) -> None:
    """Each gets its part from when it listens, and none when it is closed; none is lost."""
    opened += bind_tcp("127.0.0.1", 0, shared=True)
    first = opened[0]
    address = first.socket.getsockname()
    opened.append(first.twin())
    second = opened[1]
    assert second.socket.getsockname() == address

    def counts(clients: int, *listeners: Listener) -> list[int]:
        for client in [connected(address) for _ in range(clients)]:
            client.close()
        return [waiting_in(each) for each in listeners]

    assert counts(20, first) == [20], "the other does not listen yet"
    adopt([second.socket])
    both = counts(200, first, second)
    assert sum(both) == 200
    assert all(both)
    first.close()
    assert counts(20, second) == [20]


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_twin_of_an_ipv6_listener_leaves_ipv4_alone(opened: list[Listener]) -> None:
    """Each family has its own twin, with the same port."""
    opened += bind_tcp("localhost", 0, shared=True)
    opened += [listener.twin() for listener in opened]
    assert addresses(opened[2:]) == addresses(opened[:2])


@pytest.mark.parametrize("shared", [False, True])
def test_shared_port_is_in_use_for_others(opened: list[Listener], shared: bool) -> None:
    """Only a twin gets in: who comes by the settings, a second parent too, is told."""
    opened += bind_tcp("127.0.0.1", 0, shared=True)
    port = opened[0].socket.getsockname()[1]
    with pytest.raises(ConfigurationError) as error:
        bind_tcp("127.0.0.1", port, shared=shared)
    assert mistake_of(error) == f"server.port: {port} is in use: another server listens on 127.0.0.1"


def test_port_that_is_not_shared_has_no_twin(opened: list[Listener]) -> None:
    """Nobody takes connections of a server that does not know of it."""
    opened += bind_tcp("127.0.0.1", 0)
    with pytest.raises(OSError, match="in use"):
        opened[0].twin()


def test_twin_of_a_unix_socket_is_the_same_queue(opened: list[Listener], tmp_path: Path) -> None:
    """Closing one leaves the other; the file goes when nobody listens any more."""
    path = str(tmp_path / "s")
    opened.append(bind_unix(path))
    opened.append(opened[0].twin())
    with connected(path, socket.AF_UNIX):
        assert waiting_in(opened[1]) == 1
        assert waiting_in(opened[0]) == 0
    opened[0].close()
    with connected(path, socket.AF_UNIX):
        assert waiting_in(opened[1]) >= 1, "closing has looked whether somebody listens"
    opened[1].close()
    assert not os.path.exists(path)


def test_adopted_listener_takes_what_waits_and_leaves_the_file(opened: list[Listener], tmp_path: Path) -> None:
    """A connection that came before this process did is its first; the file is of the process that bound the socket."""
    path = str(tmp_path / "s")
    opened.append(bind_unix(path, proxy_protocol=True))
    with connected(path, socket.AF_UNIX):
        [adopted] = adopt([opened[0].socket.dup()], proxy_protocol=True)
        opened.append(adopted)
        assert (adopted.address, adopted.tls, adopted.proxy_protocol) == (f"unix:{path}", False, True)
        assert waiting_in(adopted) == 1
    opened[0].socket.close()
    adopted.close()
    assert os.path.exists(path)
    opened[0].remove_file()
    assert not os.path.exists(path)


def test_raise_file_limit_fits_the_connections() -> None:
    """The soft limit grows to what is wanted, and a file for each, never shrinks, and what could not be had is told."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = min(1000, before[0])
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    try:
        got, wanted = raise_file_limit(soft)
        assert (got, wanted) == (2 * soft + RESERVED_FILES, soft + RESERVED_FILES)
        assert raise_file_limit(1) == (got, 1 + RESERVED_FILES)
        beyond = raise_file_limit(2**40)
        assert beyond.got < beyond.wanted
        assert beyond.got >= got
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
