"""The link: the calls of all tasks on one connection, on a server that is well."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest
from redis_servers import RedisServer, linked
from serving import soon

from wshttp.errors import BackendError, StoreUnavailable
from wshttp.redis.link import Call, RedisLink, RedisRefused, RedisUnavailable, Script

ECHO = Script("echo", "return {KEYS[1], unpack(ARGV)}")


async def test_call_returns_what_the_server_answers(redis_server: RedisServer, redis_prefix: str) -> None:
    """Texts and numbers are written as they are; what comes back is bytes, numbers, `None` and lists of these."""
    async with linked(redis_server.url()) as link:
        assert await link.call("RPUSH", redis_prefix, "text", b"\x00\xff\r\n", 7, 0.1, 1e16) == 5
        answer = await link.call("LRANGE", redis_prefix, 0, -1)
        assert answer == [b"text", b"\x00\xff\r\n", b"7", b"0.1", b"1e+16"]
        assert await link.call("GET", f"{redis_prefix}:none") is None


async def test_calls_of_many_tasks_get_their_own_replies(redis_server: RedisServer) -> None:
    """They travel together on one connection."""
    async with linked(redis_server.url(), client_name="many") as link:
        answers = await asyncio.gather(*(link.call("ECHO", number) for number in range(500)))
        assert answers == [str(number).encode() for number in range(500)]
        assert redis_server.ask("CLIENT", "LIST").count(b" name=many ") == 1


async def test_call_that_is_large_goes_through(redis_server: RedisServer, redis_prefix: str) -> None:
    """Replies and commands of megabytes are whole, and what is asked behind them gets its own answer."""
    data = b"x" * 4_000_000
    async with linked(redis_server.url()) as link:
        answers = await asyncio.gather(
            link.call("SET", redis_prefix, data), link.call("GET", redis_prefix), link.call("ECHO", 1)
        )
        assert answers == [b"OK", data, b"1"]


async def test_call_with_what_cannot_travel_is_a_mistake_of_the_caller(redis_server: RedisServer) -> None:
    """Nothing is sent, and others are served."""
    async with linked(redis_server.url()) as link:
        with pytest.raises(TypeError):
            await link.call("ECHO", None)  # type: ignore[arg-type]
        assert await link.call("ECHO", "ok") == b"ok"


async def test_refusal_has_code_and_text(redis_server: RedisServer, redis_prefix: str) -> None:
    """It is an error of this call alone."""
    async with linked(redis_server.url()) as link:
        await link.call("SET", redis_prefix, "text")
        refused, fine = await asyncio.gather(
            link.call("HGET", redis_prefix, "field"), link.call("GET", redis_prefix), return_exceptions=True
        )
        assert isinstance(refused, RedisRefused)
        assert isinstance(refused, BackendError)
        assert (refused.code, refused.text[:9]) == ("WRONGTYPE", "Operation")
        assert fine == b"text"
        with pytest.raises(RedisRefused, match=r"^ERR ") as caught:
            await link.call("INCR", redis_prefix)
        assert caught.value.code == "ERR"


async def test_script_is_sent_once(redis_server: RedisServer, redis_prefix: str) -> None:
    """A server that does not know it is told; then its digest is enough."""
    async with linked(redis_server.url()) as link:
        redis_server.ask("CONFIG", "RESETSTAT")
        assert await link.script(ECHO, redis_prefix, 1, "b") == [redis_prefix.encode(), b"1", b"b"]
        assert await link.script(ECHO, redis_prefix) == [redis_prefix.encode()]
    with redis_server.client() as client:
        counted = client.info("commandstats")
    assert counted["cmdstat_eval"]["calls"] == 1
    assert counted["cmdstat_evalsha"]["calls"] == 2


async def test_scripts_that_were_flushed_are_sent_again(redis_server: RedisServer, redis_prefix: str) -> None:
    """All calls that are under way get their answers."""
    async with linked(redis_server.url()) as link:
        await link.script(ECHO, redis_prefix)
        redis_server.ask("SCRIPT", "FLUSH")
        answers = await asyncio.gather(*(link.script(ECHO, redis_prefix, number) for number in range(20)))
        assert [answer[1] for answer in answers] == [str(number).encode() for number in range(20)]


async def test_script_may_refuse(redis_server: RedisServer, redis_prefix: str) -> None:
    """An error that a script returns, or runs into, comes with its code."""
    refusing = Script("refusing", "return redis.error_reply('SCHEMA is 2')")
    failing = Script("failing", "redis.call('SET', KEYS[1], 1); return redis.call('HGET', KEYS[1], 'f')")
    async with linked(redis_server.url()) as link:
        for script, code in ((refusing, "SCHEMA"), (failing, "WRONGTYPE")):
            with pytest.raises(RedisRefused) as caught:
                await link.script(script, redis_prefix)
            assert caught.value.code == code


async def test_cancelled_call_does_not_shift_the_replies_of_others(redis_server: RedisServer) -> None:
    """Whether it was sent already or not, its reply is nobody's."""
    async with linked(redis_server.url()) as link:
        for turns in range(4):  # before it is queued, when it is queued, when it is sent, when it may be answered
            calls = [asyncio.create_task(link.call("ECHO", number)) for number in range(10)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for call in calls[::3]:
                call.cancel()
            answers = await soon(asyncio.gather(*calls, return_exceptions=True))
            for number, answer in enumerate(answers):
                assert answer == str(number).encode() or (
                    number % 3 == 0 and isinstance(answer, asyncio.CancelledError)
                )


async def test_call_that_is_cancelled_before_it_is_sent_is_not_carried_out(
    redis_server: RedisServer, redis_prefix: str
) -> None:
    """Nobody will ask for its reply."""
    async with linked(redis_server.url()) as link:
        call = asyncio.create_task(link.call("INCR", redis_prefix))
        await asyncio.sleep(0)  # it is queued, and the writer is about to wake
        call.cancel()
        assert await link.call("EXISTS", redis_prefix) == 0
        assert call.cancelled()


async def test_on_connect_comes_before_all_others(redis_server: RedisServer, redis_prefix: str) -> None:
    """It has a call of its own; the link is not available before it is through."""
    seen = []

    async def join(call: Call) -> None:
        seen.append(link.available)
        seen.append(await call("SET", redis_prefix, "joined"))
        with pytest.raises(RedisRefused):
            await call("HGET", redis_prefix, "field")
        seen.append(await call("EVAL", ECHO.source, 1, redis_prefix, 0.5))

    link = RedisLink(redis_server.url(), timeout=5.0, on_connect=join)
    await link.open()
    try:
        assert link.available
        assert seen == [False, b"OK", [redis_prefix.encode(), b"0.5"]]
        assert await link.call("GET", redis_prefix) == b"joined"
    finally:
        await link.close()


async def test_on_connect_that_does_not_mind_an_answer_that_never_came(make_redis: Callable[..., RedisServer]) -> None:
    """The answer would be taken for another's: such a connection is of no use."""
    server = make_redis()
    impatient = True

    async def join(call: Call) -> None:
        if impatient:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(call("BLPOP", "nothing", 0), 0.01)
            with pytest.raises(RedisUnavailable, match="not here yet"):
                await call("ECHO", 1)

    link = RedisLink(server.url(), timeout=5.0, on_connect=join)
    with pytest.raises(RedisUnavailable, match="not here yet"):
        await link.open()
    impatient = False
    await link.open()
    assert await link.call("ECHO", 2) == b"2"
    await link.close()


async def test_what_on_connect_raises_at_first_is_raised_by_open(redis_server: RedisServer) -> None:
    """The link is closed then, and may be opened again."""
    mood = [RuntimeError("not today")]

    async def join(call: Call) -> None:
        if mood:
            raise mood.pop()

    link = RedisLink(redis_server.url(), timeout=5.0, on_connect=join, client_name="moody")
    with pytest.raises(RuntimeError, match="not today"):
        await link.open()
    assert not link.available
    await link.open()
    assert await link.call("ECHO", 1) == b"1"
    await link.close()


async def test_link_that_is_not_open_is_unavailable(redis_server: RedisServer) -> None:
    """Before it was opened, and after it was closed, at once; what waits when it is closed is told so."""
    link = RedisLink(redis_server.url(), timeout=5.0)
    with pytest.raises(StoreUnavailable, match="not open"):
        await link.call("PING")
    await link.open()
    waiting = asyncio.create_task(link.call("BLPOP", "nothing", 0))
    await asyncio.sleep(0)
    await link.close()
    await link.close()
    assert not link.available
    with pytest.raises(StoreUnavailable, match="closed"):
        await waiting
    with pytest.raises(StoreUnavailable, match="closed"):
        await link.call("PING")


async def test_link_may_be_opened_again(redis_server: RedisServer) -> None:
    """Nothing of its first life is left over."""
    link = RedisLink(redis_server.url(), timeout=5.0)
    for _ in range(2):
        await link.open()
        assert await link.call("ECHO", 1) == b"1"
        await link.close()
        assert not link.available


async def test_database_of_the_url_is_the_one_that_is_used(redis_server: RedisServer, redis_prefix: str) -> None:
    """Two links to two databases see each other's keys not."""
    async with linked(redis_server.url(db=1)) as one, linked(redis_server.url(db=2)) as two:
        await one.call("SET", redis_prefix, 1)
        assert await two.call("EXISTS", redis_prefix) == 0


async def test_unavailable_shows_clients_no_more_than_that(redis_server: RedisServer) -> None:
    """The text is for the operator, and names the server; `detail` is what a client gets to see."""
    error = RedisUnavailable("10.0.0.7:6379 cannot be reached")
    assert str(error) == "10.0.0.7:6379 cannot be reached"
    assert "10.0.0.7" not in error.detail


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"maxmemory": "1", "maxmemory_policy": "noeviction"}, "OOM"),
        ({"min_replicas_to_write": "1"}, "NOREPLICAS"),
    ],
)
async def test_server_that_cannot_write_is_unavailable(
    make_redis: Callable[..., RedisServer], caplog: pytest.LogCaptureFixture, options: dict[str, str], code: str
) -> None:
    """Nothing was changed; what it can do yet, it does, and the connection stays."""
    server = make_redis(**options)
    with caplog.at_level(logging.WARNING, "wshttp.redis"):
        async with linked(server.url()) as link:
            with pytest.raises(StoreUnavailable, match=f"^{code} "):
                await link.call("SET", "key", "value")
            assert await link.call("EXISTS", "key") == 0
            assert link.available
    assert caplog.records == []


async def test_user_without_permission_is_unavailable(make_redis: Callable[..., RedisServer]) -> None:
    """Somebody has to give it; until then nothing is changed."""
    server = make_redis()
    server.ask("ACL", "SETUSER", "app", "on", ">secret", "~*", "+get", "+eval", "+evalsha")
    async with linked(server.url("app", "secret")) as link:
        assert await link.call("GET", "key") is None
        with pytest.raises(RedisUnavailable, match="NOPERM") as caught:
            await link.call("SET", "key", "value")
        assert caught.value.code == "NOPERM"


@pytest.mark.parametrize("command", ["'SET', KEYS[1], 1", "'GET', 'another'", "'PUBLISH', 'channel', 1"])
async def test_permission_that_a_script_lacks_is_one(make_redis: Callable[..., RedisServer], command: str) -> None:
    """For a command, a key and a channel: the server words it in another way there."""
    server = make_redis()
    rights = ("~key", "resetchannels", "+get", "+publish", "+eval", "+evalsha")
    server.ask("ACL", "SETUSER", "app", "on", ">secret", *rights)
    async with linked(server.url("app", "secret")) as link:
        with pytest.raises(RedisUnavailable) as caught:
            await link.script(Script("script", f"return redis.call({command})"), "key")
        assert caught.value.code == "NOPERM"
