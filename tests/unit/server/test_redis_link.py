"""The link to a real Redis that is killed, held, restarted, and asked by callers who leave."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop
from redis.exceptions import ConnectionError as ConnectionLost
from structlog.testing import capture_logs

from tickgate_server.errors import StoreUnusable
from tickgate_server.observe.counters import TierCounts
from tickgate_server.stores.redis.address import CLUSTER
from tickgate_server.stores.redis.link import LinkLimits, RedisDown, RedisLink
from tools.embedded import redis_server

from ...support.fakes import NOW, HandClock, settle
from ...support.redis_link import (
    HASTY,
    PATIENT,
    kept_up,
    link_to,
    sentinel_server,
)
from ...support.stores import redis_url
from ...support.tls import tls_front
from ...support.waiting import until, until_told

NOWHERE = "redis://127.0.0.1:1"
SLOW = 20.0
"""Seconds within which a replica must have come to its Redis, or Sentinel agreed on another."""

ALONE = LinkLimits(timeout=20.0, check_every=0.01, connections=1)


def echo(link: RedisLink, text: str) -> Callable[[], Awaitable[bytes | str]]:
    """A command that is answered with *text*."""
    return lambda: link.client.echo(text)


def wait_for_ever(link: RedisLink) -> Callable[[], Awaitable[object]]:
    """A command that is not answered."""
    return lambda: link.client.blpop(["nothing"], 0)


def never_asked() -> Awaitable[None]:
    """A command that must not be sent."""
    raise AssertionError


async def lose_connection() -> None:
    """A command during which the connection is lost."""
    msg = "lost"
    raise ConnectionLost(msg)


async def test_a_command_is_answered() -> None:
    """While Redis is there, a question gets its answer and nothing is counted."""
    with redis_url() as url:
        counts = TierCounts()
        async with link_to(url, counts=counts) as link:
            assert await link.ask(echo(link, "here")) == b"here"
            assert (counts.state, counts.failures, counts.changed_time) == ("up", 0, None)


def test_a_broken_connection_is_a_broken_connection_on_uvloop_too() -> None:
    """The program's loop has its own words for writing to a connection that has just broken: Redis is down, no more."""

    async def ask_over_a_broken_connection() -> str:
        with redis_server() as server:
            counts = TierCounts()
            async with link_to(server.url, PATIENT, counts=counts) as link:
                await link.validate()

                async def echo_on_what_breaks() -> object:
                    pool: Any = link.client.connection_pool
                    connection = await pool.get_connection()
                    try:
                        connection._writer.transport.abort()
                        await connection._reader.read()
                        await connection.send_command("ECHO", "lost")
                        return await connection.read_response()
                    finally:
                        await pool.release(connection)

                with pytest.raises(RedisDown):
                    await link.ask(echo_on_what_breaks)
                return counts.state

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(ask_over_a_broken_connection()) == "down"


async def test_a_killed_redis_is_left_out_until_it_is_back() -> None:
    """The first failure marks it down, nobody asks it after that, and it is in use again once it was restarted."""
    counts, clock = TierCounts(), HandClock()
    with redis_server() as server:
        async with link_to(server.url, counts=counts, clock=clock) as link:
            await link.validate()
            server.kill()
            with pytest.raises(RedisDown):
                await link.ask(echo(link, "gone"))
            assert (counts.state, counts.failures, counts.changed_time) == ("down", 1, NOW)

            with pytest.raises(RedisDown):
                await link.ask(never_asked)
            assert counts.failures == 1

            clock.advance(1)
            async with kept_up(link):
                await settle(lambda: True)
                server.start()
                await until(lambda: link.up)
            assert await link.ask(echo(link, "back")) == b"back"
            assert counts.changed_time == clock.wall()


async def test_a_held_redis_costs_its_timeout_once() -> None:
    """One that accepts and never answers is down after the timeout, and back once it goes on."""
    counts = TierCounts()
    with redis_server() as server:
        async with link_to(server.url, counts=counts, limits=HASTY) as link, kept_up(link):
            await until(lambda: link.up)
            server.pause()
            with pytest.raises(RedisDown):
                await link.ask(echo(link, "still"))
            assert not link.up
            server.resume()
            await until(lambda: link.up)
            assert await link.ask(echo(link, "back")) == b"back"


async def test_nobody_waits_on_when_it_goes_down() -> None:
    """One failure ends the wait of everybody else at once, of those in a command and of those before one."""
    counts = TierCounts()
    with redis_url() as url:
        limits = LinkLimits(timeout=20.0, check_every=0.01, connections=3)
        async with link_to(url, limits, counts) as link:
            begun = [0]

            async def hang() -> object:
                begun[0] += 1
                return await wait_for_ever(link)()

            waiting = [asyncio.create_task(link.ask(hang)) for _ in range(2)]
            await settle(lambda: begun == [2])
            failing = asyncio.create_task(link.ask(lose_connection))
            behind = [asyncio.create_task(link.ask(hang)) for _ in range(50)]
            outcomes = await asyncio.gather(failing, *waiting, *behind, return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {RedisDown}
            assert begun == [2]
            assert counts.failures == 3


async def test_a_burst_is_no_outage() -> None:
    """More callers than connections are all answered, one after the other."""
    counts = TierCounts()
    with redis_url() as url:
        limits = LinkLimits(timeout=20.0, check_every=0.01, connections=2)
        async with link_to(url, limits, counts) as link:
            texts = [f"caller {n}" for n in range(300)]
            answers = await asyncio.gather(*(link.ask(echo(link, text)) for text in texts))
            assert answers == [text.encode() for text in texts]
            assert (counts.state, counts.failures) == ("up", 0)


async def test_who_leaves_takes_the_answer_along() -> None:
    """Wherever a caller is cancelled in the middle of a command, the next one gets the answer to its own question."""
    with redis_url() as url:
        async with link_to(url, ALONE) as link:
            for turns in range(60):
                leaving = asyncio.create_task(link.ask(echo(link, f"left after {turns}")))
                for _ in range(turns % 20):
                    await asyncio.sleep(0)
                leaving.cancel()
                await asyncio.gather(leaving, return_exceptions=True)
                mine = f"mine {turns}"
                assert await link.ask(echo(link, mine)) == mine.encode()
            assert link.up


async def test_who_leaves_gives_the_place_back() -> None:
    """A caller who is cancelled while nothing is answered does not keep the only connection."""
    with redis_url() as url:
        async with link_to(url, ALONE) as link:
            for _ in range(5):
                leaving = asyncio.create_task(link.ask(wait_for_ever(link)))
                await settle(link._places.locked)
                leaving.cancel()
                await asyncio.gather(leaving, return_exceptions=True)
            assert await link.ask(echo(link, "next")) == b"next"


async def test_a_restart_that_nobody_noticed_costs_nothing() -> None:
    """Connections that died while idle are made again before a command is sent over them."""
    counts = TierCounts()
    with redis_server() as server:
        async with link_to(server.url, counts=counts) as link:
            texts = [f"{n}" for n in range(5)]

            async def ask_all() -> list[bytes | str]:
                return await asyncio.gather(*(link.ask(echo(link, text)) for text in texts))

            await ask_all()
            # In threads, so that the loop sees the connections end, as one that serves would.
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            assert await ask_all() == [text.encode() for text in texts]
            assert (counts.state, counts.failures) == ("up", 0)


async def test_a_busy_gateway_is_no_outage() -> None:
    """An answer that the event loop comes to too late is a failure, and says nothing about Redis."""
    counts = TierCounts()
    with redis_url() as url:
        async with link_to(url, HASTY, counts) as link:

            async def busy() -> bytes | str:
                time.sleep(HASTY.timeout + 0.1)  # noqa: ASYNC251 - what this is about
                return await echo(link, "too late")()

            with pytest.raises(RedisDown):
                await link.ask(busy)
            assert (counts.state, counts.failures) == ("up", 1)


async def test_a_refused_command_is_no_outage() -> None:
    """Redis answered, so others still ask it; the refusal is a failure, and is logged once."""
    counts = TierCounts()
    with redis_url() as url:
        async with link_to(url, counts=counts) as link:
            with capture_logs() as logs:
                for _ in range(3):
                    with pytest.raises(RedisDown):
                        await link.ask(lambda: link.client.eval("return nonsense", 0))
            assert (counts.state, counts.failures) == ("up", 3)
            assert [line["event"] for line in logs] == ["redis_refused"]


async def test_no_redis_at_the_start_is_no_error() -> None:
    """A Redis that cannot be reached is down from the first look on."""
    counts = TierCounts()
    async with link_to(NOWHERE, counts=counts) as link:
        with capture_logs() as logs:
            await link.validate()
            await link.check()
        assert counts.state == "down"
        assert [line["event"] for line in logs] == ["redis_state"]


async def test_a_cluster_is_refused_at_the_start() -> None:
    """A server in cluster mode raises, in one sentence, and is not used."""
    with redis_server(arguments=("--cluster-enabled", "yes")) as server:
        async with link_to(server.url) as link:
            with pytest.raises(StoreUnusable) as refused:
                await link.validate()
            assert str(refused.value) == CLUSTER
            assert not link.up


async def test_a_cluster_that_comes_up_later_is_left_out() -> None:
    """Where a cluster stands in for what was down at the start, the sentence is logged once."""
    with redis_server(arguments=("--cluster-enabled", "yes")) as server:
        async with link_to(server.url) as link:
            with capture_logs() as logs:
                await link.check()
                await link.check()
            assert not link.up
            assert [line.get("said") for line in logs] == [None, CLUSTER]


async def test_a_user_with_few_rights_is_enough() -> None:
    """A Redis that does not let its user ask for its mode is in use."""
    with redis_server() as server:
        async with link_to(server.url) as operator:
            await operator.client.acl_setuser(
                "few", enabled=True, passwords="+word", commands=["+echo", "+client|setname"]
            )
        url = server.url.replace("redis://", "redis://few:word@")
        async with link_to(url) as link:
            await link.validate()
            assert link.up
            assert await link.ask(echo(link, "enough")) == b"enough"


async def test_a_password_opens_and_is_never_told() -> None:
    """With the right one Redis is in use, with a wrong one it is down, and neither is logged."""
    with redis_server(password="s3cr3t") as server, capture_logs() as logs:
        async with link_to(server.url) as link:
            await link.validate()
            assert await link.ask(echo(link, "open")) == b"open"
        async with link_to(server.url.replace("s3cr3t", "wr0ng")) as locked:
            await locked.validate()
            assert not locked.up
            locked._mark_up()
            with pytest.raises(RedisDown) as down:
                await locked.ask(echo(locked, "shut"))
    for words in (str(logs), str(down.value), repr(down.value.__cause__), repr(locked.client)):
        assert "wr0ng" not in words
        assert "s3cr3t" not in words
    assert any(line.get("why") == "AuthenticationError" for line in logs)


async def test_callers_in_a_hurry_raise_doubt() -> None:
    """A Redis that hangs goes down also where every caller leaves before it is clear; one that is merely slow stays."""
    counts = TierCounts()
    with redis_server() as server:
        async with link_to(server.url, PATIENT, counts) as link, kept_up(link):
            await leave(link)
            assert await link.ask(echo(link, "here")) == b"here"
            assert counts.state == "up"
        async with link_to(server.url, HASTY, counts) as link, kept_up(link):
            await link.validate()
            server.pause()
            await leave(link)
            await until(lambda: counts.state == "down")
            server.resume()
            await until(lambda: link.up)
    assert counts.failures == 0


async def leave(link: RedisLink) -> None:
    """Ask, and go away before there is an answer."""
    asking = asyncio.create_task(link.ask(wait_for_ever(link)))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_a_unix_socket_is_as_good() -> None:
    """The address may be that of a Unix socket."""
    with redis_server() as server:
        async with link_to(server.unix_url) as link:
            await link.validate()
            assert await link.ask(echo(link, "local")) == b"local"


async def test_tls_is_verified() -> None:
    """A certificate that nobody trusts leaves Redis out; one that the settings name lets it in."""
    with redis_server() as server, tls_front(server.port) as front:
        url = f"rediss://127.0.0.1:{front.port}"
        async with link_to(url) as link:
            await link.validate()
            assert not link.up
        async with link_to(f"{url}?ssl_ca_certs={front.authority}") as link:
            await link.validate()
            assert await link.ask(echo(link, "private")) == b"private"


async def test_sentinels_name_the_redis() -> None:
    """Where Redis is said by the first Sentinel that answers; one that hangs before it does not keep Redis away."""
    limits = LinkLimits(timeout=1.0, check_every=0.01, connections=5)
    with (
        redis_server() as server,
        sentinel_server(server) as hung,
        sentinel_server(server) as answering,
    ):
        hung.pause()
        hosts = f"127.0.0.1:{hung.port},127.0.0.1:{answering.port}"
        async with link_to(f"redis+sentinel://{hosts}/prices?db=1", limits) as link:
            await link.validate()
            assert await link.ask(echo(link, "found")) == b"found"
        async with link_to(f"redis+sentinel://{hosts}/others", limits) as link:
            await link.validate()
            assert not link.up


async def test_a_failover_is_followed() -> None:
    """When Sentinel puts another Redis in the place of a dead one, that is in use without a restart."""
    with (
        redis_server(arguments=("--repl-diskless-sync-delay", "0")) as first,
        redis_server(arguments=("--replicaof", "127.0.0.1", str(first.port))) as second,
    ):
        async with link_to(second.url) as replica:
            await until_replicating(replica)
        with sentinel_server(first) as sentinel:
            url = f"redis+sentinel://127.0.0.1:{sentinel.port}/prices"
            async with link_to(url, PATIENT) as link, kept_up(link):
                await link.ask(lambda: link.client.set("price", "10.02"))
                first.kill()
                with pytest.raises(RedisDown):
                    await link.ask(echo(link, "gone"))
                await until(lambda: link.up, within=SLOW)
                assert await link.ask(lambda: link.client.set("price", "10.03"))


async def until_replicating(replica: RedisLink) -> None:
    """Wait until a replica has come to its Redis."""
    await until_told(
        lambda: replica.client.info("replication"),
        lambda said: said["master_link_status"] == "up",
        within=SLOW,
    )


async def test_closing_waits_for_nobody() -> None:
    """A link to a Redis that hangs is closed all the same."""
    with redis_server() as server:
        async with link_to(server.url, PATIENT) as link:
            await link.ask(echo(link, "open"))
            server.pause()
        assert link.client.connection_pool._in_use_connections == set()
