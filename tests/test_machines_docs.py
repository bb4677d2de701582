"""What `docs/howto/machines.md` says of the Redis: done as it is written, it works."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import bcrypt
import pytest
from redis_servers import RedisServer
from serving import farewell, fetch, new_server, running, websocket
from test_several_nodes import Nodes, begin

from wshttp import StoreUnusable
from wshttp.stores.redis.node import rights

PAGE = (Path(__file__).parents[1] / "docs/howto/machines.md").read_text()


def acl_line() -> list[str]:
    """Return the command of the page that makes a user."""
    [line] = re.findall(r"^ACL SETUSER .*$", PAGE, re.MULTILINE)
    return shlex.split(line)


async def test_user_of_the_page_may_do_all_that_a_server_does(
    make_redis: Callable[..., RedisServer], tmp_path: Path
) -> None:
    """With exactly these rights servers start, and have sessions, sockets, log-ins and log-outs; Redis refuses nothing."""
    redis = make_redis()
    command = acl_line()
    redis.ask(*command)
    user, password = command[2], next(word[1:] for word in command if word.startswith(">"))
    users = tmp_path / "users"
    users.write_text("bob:" + bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode() + "\n")
    sections = {
        "auth": {"users_file": str(users), "max_failures": 5},
        "rate": {"requests_per_second": 1000},
        "store": {"cache": 5},
        "websocket": {"topics": ["room"]},
    }
    nodes = Nodes(2, redis.url(user, password), "wshttp", **sections)
    async with running(nodes.servers[0]) as base, running(nodes.servers[1]) as other:
        for server in nodes.servers:
            assert server._rate_sharing is not None
            await server._rate_sharing.beat()
        _, cookie = await begin(base)
        for code, word in ((401, "wrong"), (200, "right")):
            answer = await fetch(f"{base}/wshttp/session", auth_username="bob", auth_password=word)
            assert answer.code == code
        async with websocket(
            other, "/wshttp/socket", additional_headers=cookie, origin=other, subprotocols=["wshttp.v1"]
        ) as socket:
            await socket.send(json.dumps({"type": "subscribe", "topic": "room", "id": 1}))
            await socket.send(json.dumps({"type": "publish", "topic": "room", "data": "hello", "id": 2}))
            while json.loads(await socket.recv())["type"] != "message":
                pass
            assert (await fetch(f"{base}/wshttp/session", "DELETE", headers=cookie)).code == 204
            assert await farewell(socket) == (4001, "session-ended:logout")
        for server in nodes.servers:
            await server.sessions.sweep()
    assert redis.ask("ACL", "LOG") == []


def test_rights_of_the_page_are_those_that_an_error_names() -> None:
    """Whoever has too few is told the same as whoever reads first."""
    assert " ".join(acl_line()[5:]) == rights("{wshttp}")


async def test_user_who_lacks_a_right_is_told_which_are_needed(make_redis: Callable[..., RedisServer]) -> None:
    """One that the page names: without it no server starts, and its words are those of the page."""
    redis = make_redis()
    *words, _ = acl_line()
    redis.ask(*words)  # without +time
    store = {"kind": "redis", "url": redis.url("wshttp", "a-long-password")}
    with pytest.raises(StoreUnusable, match=r"too few rights \(NOPERM") as caught:
        await new_server(store=store).start()
    assert rights("{wshttp}") in str(caught.value)
