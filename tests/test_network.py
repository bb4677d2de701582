"""Which engine a server runs on, and on which loop."""

from __future__ import annotations

from pathlib import Path

import pytest
import uvloop
from processes import serving
from serving import new_server, running

from wshttp import network
from wshttp.config import ServerSettings
from wshttp.engine.native import NativeServer
from wshttp.engine.stock import StockServer
from wshttp.errors import ConfigurationError

NATIVE_OR_NOT = [("auto", True), ("native", True), ("tornado", False)]


def settings(engine: str) -> ServerSettings:
    return ServerSettings.model_validate({"engine": engine})


@pytest.fixture
def without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where it is not installed."""
    monkeypatch.setattr(network, "find_spec", lambda name: None)


@pytest.mark.parametrize(("engine", "native"), NATIVE_OR_NOT)
async def test_engine_is_the_one_that_is_asked_for(engine: str, native: bool) -> None:
    """On whichever loop the program has."""
    server = new_server(server={"engine": engine})
    async with running(server):
        assert type(server._network.engine) is (NativeServer if native else StockServer)


@pytest.mark.parametrize(("engine", "native"), NATIVE_OR_NOT)
def test_loop_of_the_process_is_the_engines(engine: str, native: bool) -> None:
    """uvloop under the native engine, and asyncio's own under Tornado's."""
    assert network.loop_factory(settings(engine)) is (uvloop.new_event_loop if native else None)


@pytest.mark.usefixtures("without_uvloop")
def test_engine_without_uvloop_is_tornados() -> None:
    """Unless it is asked for by name: then its absence is a mistake, and what to do is said."""
    assert network.loop_factory(settings("auto")) is None
    with pytest.raises(ConfigurationError) as raised:
        network.loop_factory(settings("native"))
    [mistake] = raised.value.mistakes
    assert mistake.startswith("server.engine: native needs uvloop: `pip install uvloop`")


@pytest.mark.usefixtures("without_uvloop")
async def test_server_that_cannot_have_its_engine_does_not_start() -> None:
    """Whoever embeds it learns it, too."""
    server = new_server(server={"engine": "native"})
    with pytest.raises(ConfigurationError, match="uvloop"):
        await server.start()


PROGRAM = """
import asyncio

def setup(server):
    @server.get("/loop")
    def loop(request):
        return type(asyncio.get_running_loop()).__module__
"""


@pytest.mark.parametrize(("engine", "module"), [("native", "uvloop"), ("tornado", "asyncio.unix_events")])
def test_process_runs_on_the_loop_of_its_engine(tmp_path: Path, engine: str, module: str) -> None:
    """It answers, and stops without a word."""
    (tmp_path / "program.py").write_text(PROGRAM)
    options = ("--set", f"server.engine={engine}", "--set", "app=program:setup")
    with serving(
        *options, cwd=tmp_path, env={"PYTHONPATH": f"{Path(network.__file__).parents[1]}:{tmp_path}"}
    ) as server:
        assert server.get("/loop").text.strip('"') == module
        assert server.stop() == 0
        assert "ERROR" not in server.err.whole()


def test_engine_that_is_none_is_a_mistake() -> None:
    """It is a word of three."""
    with pytest.raises(ValueError, match="auto, native or tornado"):
        settings("picows")
