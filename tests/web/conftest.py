"""Users with cheap hashes, and what a test and its handlers tell each other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from wshttp.auth.passwords import hash_password

ADA, BOB = ("ada", "correct horse"), ("bob", "battery staple")


@pytest.fixture(scope="session")
def _users_text() -> str:
    return "".join(f"{user}:{hash_password(password, 4)}\n" for user, password in (ADA, BOB))


@pytest.fixture
def users_file(tmp_path: Path, _users_text: str) -> str:
    """A users file with ada and bob, hashed at bcrypt's least cost."""
    path = tmp_path / "users.htpasswd"
    path.write_text(_users_text)
    return str(path)


@pytest.fixture
def ada() -> tuple[str, str]:
    return ADA


@pytest.fixture
def bob() -> tuple[str, str]:
    return BOB


class Scene:
    """A handler sets `started` and waits for `release`; what it found out is in `seen`."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.release = asyncio.Event()
        self.done = asyncio.Event()
        self.seen: list[object] = []

    async def hold(self) -> None:
        self.started.set()
        await self.release.wait()


@pytest.fixture
def scene() -> Scene:
    return Scene()
