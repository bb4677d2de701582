"""The server as a program embeds it, and what it says and asks of the machine when it starts."""

from __future__ import annotations

import asyncio
import re
import resource
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import serving
from serving import fetch, new_server, running, until

from wshttp import ConfigurationError, MemoryStore, Server, Settings
from wshttp.backing import Backing
from wshttp.engine.listeners import RESERVED_FILES
from wshttp.errors import UsageError
from wshttp.realtime.broker import MemoryBroker, MemoryExchange
from wshttp.sessions.clock import Clock
from wshttp.stores.kept import in_memory
from wshttp.stores.memory_shared import MemoryShared
from wshttp.testing import FakeClock

# --- embedded -------------------------------------------------------------------------------------


async def test_server_can_be_embedded() -> None:
    """`addresses` says where it listens while it runs; callbacks of its life come in order, with the server."""
    server = new_server()
    life: list[tuple[str, list[str]]] = []

    @server.on_startup
    async def begin(given: Server) -> None:
        assert given is server
        life.append(("startup", list(server.addresses)))

    @server.on_shutdown
    def end(given: Server) -> None:
        life.append(("shutdown", []))

    assert server.addresses == []
    async with running(server) as url:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
        assert (await fetch(f"{url}/wshttp/health/ready")).code == 200
    assert server.addresses == []
    assert life == [("startup", []), ("shutdown", [])], "nobody could connect before `on_startup` was through"
    with pytest.raises(OSError):
        await fetch(f"{url}/wshttp/health/ready")


async def test_server_listens_on_all_addresses_of_its_host() -> None:
    """`localhost` is two addresses, on one port where there is a choice, and both answer."""
    server = new_server(server={"host": "localhost"})
    async with running(server):
        assert len({url.rpartition(":")[2] for url in server.addresses}) == 1
        assert [(await fetch(f"{url}/wshttp/health/live")).code for url in server.addresses] == [200] * len(
            server.addresses
        )


async def test_server_that_cannot_listen_opens_nothing() -> None:
    """Where the port is taken, `start` raises, and what was opened before is closed: no session list goes on."""
    before = asyncio.all_tasks()
    with socket.create_server(("127.0.0.1", 0)) as other:
        server = new_server(server={"port": other.getsockname()[1]})
        with pytest.raises(ConfigurationError, match="is in use"):
            await server.start()
    assert server.addresses == []
    assert asyncio.all_tasks() == before


async def test_server_is_started_once() -> None:
    """A second start would leave a listener that nobody closes, and after a drain nobody is served any more."""
    server = new_server()
    async with running(server):
        with pytest.raises(UsageError, match="started once"):
            await server.start()
    with pytest.raises(UsageError, match="started once"):
        await server.start()


async def test_server_that_was_never_started_can_be_stopped() -> None:
    """Who cleans up need not know how far it came."""
    assert await new_server().stop() == 0


async def test_server_without_a_file_can_reload() -> None:
    """There is nothing to read again, and nothing changes."""
    server = new_server(session={"idle_timeout": 600})
    async with running(server):
        await server.reload()
        assert server.settings.session.idle_timeout == 600


class NotedStore(MemoryStore):
    """The memory store, and what it was told."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.told: list[tuple[float, float]] = []
        super().__init__(clock)

    def use(self, *, tombstone: float, warn_before: float) -> None:
        self.told.append((tombstone, warn_before))
        super().use(tombstone=tombstone, warn_before=warn_before)


async def test_server_keeps_sessions_in_the_store_that_it_is_given() -> None:
    """It is told what the settings say for it, and told again by a reload."""
    store = NotedStore()
    sections = {"server": {"port": 0}, "session": {"tombstone": 10, "warn_before": 20}}
    server = Server(Settings.model_validate(sections), store=store)
    assert store.told[-1] == (10, 20)
    server._reread = lambda: Settings.model_validate(sections | {"session": {"tombstone": 30, "warn_before": 40}})
    async with running(server) as url:
        assert (await fetch(f"{url}/wshttp/session")).code == 200
        assert await store.count() == 1
        await server.reload()
    assert store.told[-1] == (30, 40)


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ({"cache": "1s"}, ["store.cache: has no effect with store.kind: memory"]),
        ({"outage": "grace:10s"}, ["store.outage: has no effect with store.kind: memory"]),
        ({}, []),
    ],
)
async def test_settings_of_another_store_are_said_to_do_nothing(
    store: dict[str, str], said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever sets them expects something."""
    async with running(new_server(store=store)):
        pass
    assert [line for line in caplog.messages if line.startswith("store.")] == said


async def test_store_of_several_nodes_wants_a_broker(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    """Without one others are not heard of, which is said; a backing brings it."""

    class Leased(MemoryStore):
        lease = 15.0

    settings = Settings.model_validate({"server": {"port": 0}})
    for server, is_said in (
        (Server(settings, store=Leased(clock)), True),
        (Server(settings, store=MemoryStore(clock)), False),
        (Server(settings, backing=_backing(Leased(clock), clock)), False),
    ):
        caplog.clear()
        async with running(server):
            pass
        assert any("there is no broker" in line for line in caplog.messages) is is_said


async def test_servers_of_one_program_hear_each_other(clock: FakeClock) -> None:
    """With a backing each: the store of both, and brokers that meet in one exchange."""
    settings = Settings.model_validate({"server": {"port": 0}})
    exchange = MemoryExchange()
    one, other = [Server(settings, backing=_backing(MemoryStore(clock), clock, exchange)) for _ in range(2)]
    async with running(one), running(other):
        assert one._relay is not None
        assert other._relay is not None
        directory, name = one._relay.directory, other._relay.node
        await until(lambda: directory.knows(name))


def _backing(store: MemoryStore, clock: FakeClock, exchange: MemoryExchange | None = None) -> Backing:
    return Backing(store, MemoryShared(clock), in_memory(clock), MemoryBroker(exchange or MemoryExchange()))


async def test_hosts_are_any_where_the_network_can_connect() -> None:
    """The rule against DNS rebinding holds on loopback only: elsewhere the server has names that it cannot know."""
    server = new_server(server={"host": "0.0.0.0"})
    async with running(server) as url:
        port = url.rpartition(":")[2]
        answer = await fetch(f"http://127.0.0.1:{port}/wshttp/session", headers={"Host": "anything.example"})
        assert answer.code == 200
    server = new_server()
    async with running(server) as url:
        assert (await fetch(f"{url}/wshttp/session", headers={"Host": "anything.example"})).code == 403


def test_settings_come_from_the_environment_given(tmp_path: Path) -> None:
    """`from_config` takes a file, an environment and overrides, each over the one before."""
    (tmp_path / "own.yaml").write_text("server: {port: 1}\nsession: {idle_timeout: 1m}\napi: {prefix: /file}\n")
    server = Server.from_config(
        tmp_path / "own.yaml",
        environ={"WSHTTP_SERVER__PORT": "2", "WSHTTP_SESSION__IDLE_TIMEOUT": "2m"},
        overrides=["server.port=3"],
    )
    settings = server.settings
    assert (settings.server.port, settings.session.idle_timeout, settings.api.prefix) == (3, 120.0, "/file")


# --- advice at the start --------------------------------------------------------------------------


@pytest.mark.feature("L6", "I6")
def test_start_says_what_an_operator_may_not_expect() -> None:
    """Sessions that never end, and tokens in addresses, are chosen knowingly or not at all."""
    options = "session={idle_timeout: 0, absolute_timeout: 0, identity: [url]}"
    with serving("--set", options) as server:
        for warning in (r"session.idle_timeout is 0", r"session.absolute_timeout is 0", r"session.identity has `url`"):
            server.err.wait_for(f"WARNING .*{warning}")
        assert server.get("/wshttp/session").headers["Referrer-Policy"] == "no-referrer"


def limited(soft: int, hard: int) -> Callable[[], None]:
    """Return what limits the files of a process that is about to begin."""
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def files_of(pid: int) -> int:
    """Return how many files a process may open."""
    found = re.search(r"^Max open files +(\d+)", Path(f"/proc/{pid}/limits").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


@pytest.mark.feature("M2")
@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="only Linux tells the limits of another process")
def test_file_limit_is_raised_to_fit_the_connections(tmp_path: Path) -> None:
    """At the start, and when a reload allows more, with a file on each; never beyond what is needed, and never lowered."""
    config = tmp_path / "own.yaml"
    config.write_text("server: {max_connections: 300}\n")
    with serving("--config", "own.yaml", cwd=tmp_path, preexec=limited(256, 2048)) as server:
        assert server.port
        assert files_of(server.pid) == 2 * 300 + RESERVED_FILES
        config.write_text("server: {max_connections: 400}\n")
        server.signal(signal.SIGHUP)
        server.err.wait_for("settings reloaded; changed: server.max_connections")
        assert files_of(server.pid) == 2 * 400 + RESERVED_FILES
        assert server.err.find("WARNING") is None


@pytest.mark.feature("M2")
def test_file_limit_that_cannot_be_raised_is_said() -> None:
    """No machine has so many: it serves, and the log says what to do."""
    with serving("--set", "server.max_connections=900000000", preexec=limited(256, 512)) as server:
        assert server.get("/wshttp/health/ready").status == 200
        found = server.err.wait_for(
            r"WARNING .*server.max_connections needs (\d+) open files, and the system allows (\d+)"
        )
        assert int(found[1]) == 900_000_000 + RESERVED_FILES
        assert 256 < int(found[2]) < int(found[1])
        assert "ulimit -Hn" in found.string
        assert "LimitNOFILE" in found.string
