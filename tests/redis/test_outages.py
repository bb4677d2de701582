"""The link on a server that hangs, dies, is not ready, or sends us elsewhere; and back again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

import pytest
import uvloop
from faults.proxy import Proxy
from processes import PATIENCE
from redis_servers import RedisServer, linked
from serving import soon, until

from wshttp.errors import StoreUnavailable, StoreUnusable
from wshttp.redis.backoff import Backoff
from wshttp.redis.greeting import send
from wshttp.redis.link import Call, RedisLink, RedisUnavailable, Script
from wshttp.redis.packing import pack
from wshttp.redis.topology import topology_of

MakeRedis = Callable[..., RedisServer]

ECHO = Script("echo", "return ARGV[1]")


def fails_at_once(link: RedisLink) -> bool:
    """Tell whether a call fails without waiting for anything."""
    call = link.call("PING")
    try:
        call.send(None)
    except RedisUnavailable:
        return True
    call.close()
    return False


async def test_server_that_hangs_holds_no_call_longer_than_the_timeout(make_redis: MakeRedis) -> None:
    """The connection is given up, further calls fail at once, and all is well when the server goes on."""
    server = make_redis()
    loop = asyncio.get_running_loop()
    async with linked(server.url(), timeout=0.3) as link:
        await link.call("SET", "key", "value")
        server.pause()
        began = loop.time()
        answers = await asyncio.gather(*(link.call("GET", "key") for _ in range(3)), return_exceptions=True)
        assert all(isinstance(answer, StoreUnavailable) for answer in answers)
        assert 0.29 < loop.time() - began < 3.0
        assert not link.available
        for _ in range(100):  # the connection is given up, and a new one waits for its greeting
            assert fails_at_once(link)
            await asyncio.sleep(0)
        server.resume()
        await until(lambda: link.available)
        assert await link.call("GET", "key") == b"value"


async def test_pause_that_is_shorter_than_the_timeout_is_waited_for(make_redis: MakeRedis) -> None:
    """Nothing is sent twice."""
    server = make_redis()
    async with linked(server.url()) as link:
        server.pause()
        calls = asyncio.gather(*(link.call("INCR", "count") for _ in range(3)))
        await asyncio.sleep(0)
        server.resume()
        assert await soon(calls) == [1, 2, 3]


async def test_server_that_was_killed_is_found_again(make_redis: MakeRedis) -> None:
    """What is asked while it is away for less than the timeout is answered; `on_connect` has run again by then."""
    server = make_redis(appendonly="yes", appendfsync="always")
    joined = 0

    async def join(call: Call) -> None:
        nonlocal joined
        joined = await call("INCR", "joined")

    async with linked(server.url(), on_connect=join) as link:
        await link.script(ECHO, "key", "value")
        server.kill()
        await until(lambda: not link.available)
        calls = asyncio.gather(link.call("GET", "joined"), link.script(ECHO, "key", "again"))
        server.start()
        assert await soon(calls) == [b"2", b"again"]
        assert joined == 2
        assert link.available


async def test_server_that_stays_away_fails_calls_at_once(
    make_redis: MakeRedis, caplog: pytest.LogCaptureFixture
) -> None:
    """As soon as it was away for the timeout; and it says why, once."""
    server = make_redis()
    async with linked(server.url(), timeout=0.2) as link:
        server.kill()
        await until(lambda: not link.available)
        with caplog.at_level(logging.INFO, "wshttp.redis"):
            with pytest.raises(StoreUnavailable):
                await link.call("PING")
            await until(lambda: fails_at_once(link))
            server.start()
            await until(lambda: link.available)
        assert await link.call("ECHO", 1) == b"1"
    lines = [record.getMessage() for record in caplog.records]
    assert len([line for line in lines if "cannot be reached" in line]) == 1
    assert "is back after" in lines[-1]


@pytest.mark.parametrize("way", ["there", "back"])
async def test_connection_that_is_cut_in_the_middle_of_a_message_is_made_again(
    redis_server: RedisServer, redis_prefix: str, way: str
) -> None:
    """All calls that were under way are sent again and answered, each with its own reply."""
    with Proxy(str(redis_server.socket)) as proxy:
        async with linked(f"redis://127.0.0.1:{proxy.port}") as link:
            for count in (1, 7, 100, 300):
                proxy.cut_after(way, count)  # type: ignore[arg-type]  # one of both
                answers = await soon(asyncio.gather(*(link.script(ECHO, redis_prefix, n) for n in range(50))))
                assert answers == [str(n).encode() for n in range(50)]


def test_connection_that_has_just_been_lost_is_unavailable_on_uvloop(redis_server: RedisServer) -> None:
    """Its transports raise what no client expects, where asyncio's own drop what is written."""

    async def send_too_late() -> None:
        topology = topology_of(redis_server.url(), root="test", timeout=PATIENCE, client_name="test")
        connection = await topology.connect()
        writer = connection._writer
        assert writer is not None
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await soon(writer.wait_closed())
        with pytest.raises(RedisUnavailable, match="closed"):
            await send(connection, pack("PING"))

    uvloop.run(send_too_late())


async def test_calls_without_an_answer_are_sent_again_in_their_order(
    redis_server: RedisServer, redis_prefix: str
) -> None:
    """They may be carried out twice: whatever changes something carries a token. Who was cancelled is left out."""
    with Proxy(str(redis_server.socket)) as proxy:
        async with linked(f"redis://127.0.0.1:{proxy.port}") as link:
            proxy.stall("back")
            calls = [asyncio.create_task(link.call("RPUSH", redis_prefix, name)) for name in "abc"]
            assert await asyncio.to_thread(proxy.keeps, "back")
            with redis_server.client() as client:
                await until(lambda: client.llen(redis_prefix) == 3)
            calls[1].cancel()
            await asyncio.sleep(0)
            proxy.cut()
            proxy.heal()
            assert await soon(asyncio.gather(calls[0], calls[2])) == [4, 5]
            assert await link.call("LRANGE", redis_prefix, 0, -1) == [b"a", b"b", b"c", b"a", b"c"]


async def test_connection_that_the_server_closes_is_made_again(redis_server: RedisServer) -> None:
    """Also where nobody asks anything at that time."""
    joined = asyncio.Event()

    async def join(call: Call) -> None:
        joined.set()

    async with linked(redis_server.url(), on_connect=join) as link:
        joined.clear()
        redis_server.disconnect_clients()
        await soon(joined.wait())
        assert await link.call("ECHO", 1) == b"1"


async def test_connection_that_lasted_long_is_waited_for_as_one_that_did_not(redis_server: RedisServer) -> None:
    """An outage begins when the connection is lost."""
    async with linked(redis_server.url(), timeout=0.5) as link:
        for _ in range(3):
            assert await link.call("BLPOP", "nothing", 0.2) is None
        redis_server.disconnect_clients()
        await until(lambda: not link.available)
        assert await link.call("ECHO", 1) == b"1"


async def test_call_may_be_late_without_the_connection_being_lost(redis_server: RedisServer) -> None:
    """As long as answers come, it is not broken; that of the late call is nobody's."""
    async with linked(redis_server.url(), timeout=0.5) as link:
        here = await link.call("CLIENT", "ID")
        slow = [asyncio.create_task(link.call("BLPOP", "nothing", 0.3)) for _ in range(2)]
        late = asyncio.create_task(link.call("ECHO", "late"))
        answers = await asyncio.gather(*slow, late, return_exceptions=True)
        assert answers[0] is None
        assert isinstance(answers[2], StoreUnavailable)
        assert await link.call("CLIENT", "ID") == here


async def test_loop_that_was_late_itself_fails_no_call(make_redis: MakeRedis) -> None:
    """What has been answered in time is not lost because we looked at the clock first."""
    server = make_redis()
    async with linked(server.url(), timeout=0.2) as link:
        server.pause()
        call = asyncio.create_task(link.call("ECHO", "here"))
        for _ in range(3):  # it is queued, the writer wakes, it is sent
            await asyncio.sleep(0)
        server.resume()
        server.ask("BLPOP", "nothing", "0.4")  # blocks this thread, and not the server
        assert await call == b"here"
        assert link.available


async def test_what_on_connect_raises_later_keeps_the_link_unavailable(
    make_redis: MakeRedis, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once, and tried again until it holds."""
    server = make_redis()
    tries: list[Call] = []
    foreign: list[Exception] = []

    async def join(call: Call) -> None:
        tries.append(call)
        if foreign:
            raise foreign[0]

    async with linked(server.url(), timeout=0.2, on_connect=join) as link:
        for error in (StoreUnusable("the keys are another schema's"), ZeroDivisionError("a mistake")):
            caplog.clear()
            tries.clear()
            foreign.append(error)
            server.disconnect_clients()
            await until(lambda: len(tries) >= 4)
            assert not link.available
            with pytest.raises(StoreUnavailable, match=str(error)):
                await link.call("PING")
            foreign.clear()
            await until(lambda: link.available)
            assert await link.call("ECHO", 1) == b"1"
            assert caplog.text.count("is tried again and again") == 1


async def test_primary_that_was_demoted_is_asked_no_more(make_redis: MakeRedis) -> None:
    """What it did not take is asked again as soon as there is a primary."""
    server = make_redis()
    async with linked(server.url()) as link:
        server.ask("REPLICAOF", "127.0.0.1", "1")
        call = asyncio.create_task(link.call("INCR", "count"))
        await until(lambda: not link.available)
        server.ask("REPLICAOF", "NO", "ONE")
        assert await soon(call) == 1


async def test_server_that_is_busy_with_a_script_is_waited_for(make_redis: MakeRedis) -> None:
    """Others' endless scripts are an outage, not an answer."""
    server = make_redis(busy_reply_threshold="1")

    def run_for_ever() -> None:
        with server.client() as client, pytest.raises(Exception, match="killed by user"):
            client.eval("while true do end", 0)

    async with linked(server.url()) as link:
        endless = asyncio.create_task(asyncio.to_thread(run_for_ever))
        await until(lambda: link.available and not endless.done() and is_busy(server))
        call = asyncio.create_task(link.call("INCR", "count"))
        await until(lambda: not link.available)
        server.ask("SCRIPT", "KILL")
        assert await soon(call) == 1
        await endless


def is_busy(server: RedisServer) -> bool:
    """Tell whether it is in the midst of a script that takes long."""
    with server.client() as client:
        try:
            client.ping()
        except Exception as error:
            return "BUSY" in str(error) or "busy" in str(error)
    return False


async def test_server_that_is_loading_its_data_is_waited_for(make_redis: MakeRedis) -> None:
    """To open a link on it says so; a link that was open is back when the data are there."""
    server = make_redis(appendonly="yes", loading_process_events_interval_bytes="1024")
    async with linked(server.url()) as link:
        with server.client() as client:
            client.execute_command("DEBUG", "POPULATE", "20000", "k", "100")
            client.execute_command("BGREWRITEAOF")
            await until(lambda: client.info("persistence")["aof_rewrite_in_progress"] == 0)
        server.kill()
        await until(lambda: not link.available)
        with server.configuration.open("a") as options:
            options.write("key-load-delay 10000\n")
        server.start(wait=False)
        await until(lambda: is_loading(server))
        with pytest.raises(RedisUnavailable, match="LOADING"):
            async with linked(server.url()):
                pass
        assert not link.available
        call = asyncio.create_task(link.call("EXISTS", "k:1"))
        await asyncio.sleep(0)
        server.ask("CONFIG", "SET", "key-load-delay", "0")
        assert await soon(call) == 1


def is_loading(server: RedisServer) -> bool:
    """Tell whether it answers, though only that it is loading."""
    try:
        with server.client() as client:
            return bool(client.info("persistence")["loading"])
    except OSError:
        return False
    except Exception as error:
        return "loading" in str(error)


def test_backoff_grows_from_nothing_to_a_second_with_jitter() -> None:
    """The first try is at once; nodes that lost the server together do not come back together."""
    backoff = Backoff()
    waits = [backoff.next() for _ in range(40)]
    assert waits[0] == 0
    assert 0.025 <= waits[1] <= 0.05
    assert all(0.5 <= wait <= 1.0 for wait in waits[8:])
    assert len(set(waits[8:])) > 20
    backoff.reset()
    assert backoff.next() == 0


async def test_connection_that_was_quiet_is_not_given_up_at_once(make_redis: MakeRedis) -> None:
    """Nothing came because nothing was asked: silence begins with the first question."""
    server = make_redis()
    async with linked(server.url()) as link:
        await link.call("ECHO", "first")
        link._heard_at -= 1000
        server.pause()
        call = asyncio.create_task(link.call("ECHO", "here"))
        for _ in range(3):  # it is queued, the writer wakes, it is sent
            await asyncio.sleep(0)
        link._time_is_up()  # that of the first call
        await asyncio.sleep(0)
        assert link.available
        server.resume()
        assert await soon(call) == b"here"


async def test_silence_at_the_first_question_names_the_server(make_redis: MakeRedis) -> None:
    """What comes before all other calls is no exception."""
    server = make_redis()

    async def join(call: Call) -> None:
        server.pause()
        await call("ECHO", "here")

    link = RedisLink(server.url(), timeout=0.2, on_connect=join)
    with pytest.raises(RedisUnavailable, match=f"^no answer within 0.2 s from {server.socket}$"):
        await link.open()
    await link.close()
    server.resume()


async def test_silence_names_the_server(make_redis: MakeRedis) -> None:
    """Whose log it is knows which of several stores is meant; without the password."""
    server = make_redis(requirepass="sesame", admin=("", "sesame"))
    async with linked(server.url("", "sesame"), timeout=0.2) as link:
        server.pause()
        with pytest.raises(StoreUnavailable) as caught:
            await link.call("ECHO", "here")
        server.resume()
    assert str(caught.value) == f"no answer within 0.2 s from {server.socket}"
