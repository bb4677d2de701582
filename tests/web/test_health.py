"""Health: live as long as the loop turns, ready as long as requests are wanted."""

from __future__ import annotations

import pytest
from browsing import Browser, read_json
from serving import new_server, running


@pytest.mark.feature("A6")
async def test_health_of_a_running_server() -> None:
    """Both are 200 JSON, not to be stored, and start no session."""
    server = new_server()
    async with running(server) as base:
        for name in ("live", "ready"):
            response = await Browser(base).get(f"/wshttp/health/{name}")
            assert (response.code, read_json(response)) == (200, {"status": name})
            assert response.headers["Cache-Control"] == "no-store"
        assert await server.sessions.count() == 0


@pytest.mark.feature("A6")
async def test_ready_is_503_while_it_drains() -> None:
    """Ready says no, and why; live goes on."""
    server = new_server()
    async with running(server) as base:
        server.site.draining = True
        response = await Browser(base).get("/wshttp/health/ready")
        assert (response.code, read_json(response)) == (503, {"status": "draining"})
        assert (await Browser(base).get("/wshttp/health/live")).code == 200
        assert (await Browser(base)("HEAD", "/wshttp/health/ready")).code == 503


@pytest.mark.feature("A6")
async def test_ready_is_503_while_the_store_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked each time, so that requests come back with the store."""
    server = new_server()
    async with running(server) as base:
        for available, expected in ((False, (503, "store-unavailable")), (True, (200, "ready"))):
            monkeypatch.setattr(server.sessions.store, "available", available)
            response = await Browser(base).get("/wshttp/health/ready")
            assert (response.code, read_json(response)) == (expected[0], {"status": expected[1]})
            assert (await Browser(base).get("/wshttp/health/live")).code == 200


@pytest.mark.interpreted(reason="it replaces a method")
async def test_health_is_answered_whatever_the_address() -> None:
    """Limits and denied networks are for clients, not for supervisors."""
    server = new_server(rate={"requests_per_second": 0.001, "deny": ["127.0.0.0/8"], "allow": []})
    server.site.rates.denied = lambda ip: False  # type: ignore[union-attr]  # or nobody could connect at all
    async with running(server) as base:
        assert [(await Browser(base).get("/wshttp/health/live")).code for _ in range(3)] == [200] * 3
