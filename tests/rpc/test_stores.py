"""What replicas share through Redis and PostgreSQL, as callers and operators see it over gRPC."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import pytest
import redis.asyncio as aioredis
from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp
from structlog.testing import capture_logs

from tickgate.v1 import admin_service_pb2 as pb
from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import provenance_pb2
from tickgate.v1 import quote_service_pb2 as quotes
from tickgate_sandbox import SandboxSettings
from tickgate_server.errors import StoreUnusable
from tools.embedded import postgres_server, redis_server

from ..support.error_log import as_administrator
from ..support.outages import QUICK, cold_symbols
from ..support.running import FROZEN, Stack, running, second_gateway
from ..support.shown import (
    SHARED,
    Shown,
    held_in_redis,
    listed,
    postgres_says,
    postgres_state,
    redis_says,
    refuse,
    status,
)
from ..support.stores import postgres_url, redis_url
from ..support.tls import tls_front
from ..support.waiting import until, until_told

SYMBOLS = list(islice(cold_symbols(), 20))
FIRST, SECOND = SYMBOLS[:2]
NIGHT = SandboxSettings(at="2026-10-03T15:00:00Z", speed=0)
"""A Saturday."""

SETTINGS: Mapping[str, Any] = {"alpaca": QUICK, "redis": {"timeout": 1.0}}
RING, POSTGRES = pb.ERROR_LOG_PLACE_RING, pb.ERROR_LOG_PLACE_POSTGRES


# ----------------------------------------------------------------------------------- shared values


async def test_what_one_replica_was_told_the_other_knows() -> None:
    """A value that one replica has asked for is the other's from Redis: same origin, its age counted on, asked once."""
    request = quotes.GetQuoteRequest(symbol=FIRST)
    with redis_url() as url:
        async with (
            running(redis_url=url, **SETTINGS) as one,
            second_gateway(one, redis_url=url, **SETTINGS) as other,
        ):
            shown = Shown(one.sandbox)
            shown.show(SYMBOLS)
            first = (await one.quotes.GetQuote(request)).result
            await held_in_redis(url, [FIRST])
            second = (await other.quotes.GetQuote(request)).result
            third = (await other.quotes.GetQuote(request)).result
            told = [shown.told(result) for result in (first, second, third)]
            asked = one.asked("/quotes/latest")
            redis = (await status(other)).tiers[2]

    assert told == ["UPSTREAM", "REDIS", "MEMORY"]
    assert asked == 1
    origins = [result.quote.provenance for result in (first, second, third)]
    assert len({origin.upstream_request_id for origin in origins}) == 1
    assert len({origin.receive_time.ToNanoseconds() for origin in origins}) == 1
    ages = [origin.receive_age.ToNanoseconds() for origin in origins]
    assert ages == sorted(ages)
    assert (redis.hits, redis.misses, redis.failures) == (1, 0, 0)


async def test_a_batch_is_put_together_from_all_tiers() -> None:
    """A batch takes from memory, Redis and the upstream what each holds, in the asked order."""
    with redis_url() as url:
        async with (
            running(redis_url=url, **SETTINGS) as one,
            second_gateway(one, redis_url=url, **SETTINGS) as other,
        ):
            shown = Shown(one.sandbox)
            shown.show(SYMBOLS)
            await shown.ask_all(one, SYMBOLS[:10])
            await held_in_redis(url, SYMBOLS[:10])
            await shown.ask_all(other, SYMBOLS[:5])
            answer = await other.quotes.GetQuotes(quotes.GetQuotesRequest(symbols=SYMBOLS))
            told = [shown.told(result) for result in answer.results]

    assert told == ["MEMORY"] * 5 + ["REDIS"] * 5 + ["UPSTREAM"] * 10


@pytest.mark.parametrize(("market", "least", "most"), [(FROZEN, 20, 30), (NIGHT, 590, 600)])
async def test_keys_say_what_they_hold_and_for_how_long(
    market: SandboxSettings, least: int, most: int
) -> None:
    """Each key names source, feed, kind and symbol, and lives as long as the settings say for the market's session."""
    ttl = {"quote": 30.0, "trade": 30.0, "snapshot": 30.0, "otherwise": 20.0}
    kinds = ("quote", "trade", "snapshot")
    keys = [f"tg:1:sandbox:iex:{kind}:AAPL" for kind in kinds]
    with redis_url() as url:
        async with (
            running(market, redis_url=url, redis={"timeout": 1.0, "ttl": ttl}) as stack,
            aioredis.Redis.from_url(url, decode_responses=True) as client,
        ):
            await stack.quotes.GetQuote(quotes.GetQuoteRequest(symbol="AAPL"))
            await stack.quotes.GetLatestTrade(quotes.GetLatestTradeRequest(symbol="AAPL"))
            await stack.quotes.GetSnapshot(quotes.GetSnapshotRequest(symbol="AAPL"))
            await held_in_redis(url, ["AAPL"], kinds)
            held = await client.keys("tg:1:*:AAPL")
            lives = [await client.pttl(key) / 1000 for key in keys]

    assert sorted(held) == sorted(keys)
    assert all(least < left <= most for left in lives)


@pytest.mark.parametrize("damage", [b"", b"nonsense", b"9" * 200])
async def test_what_cannot_be_read_is_not_there(damage: bytes) -> None:
    """An entry that is damaged, or of another version, is a miss, and the next answer takes its place."""
    with redis_url() as url:
        async with (
            running(redis_url=url, **SETTINGS) as one,
            aioredis.Redis.from_url(url) as client,
        ):
            shown = Shown(one.sandbox)
            shown.show(SYMBOLS)
            await client.set(f"tg:1:sandbox:iex:quote:{FIRST}", damage, ex=60)
            alone = await shown.ask(one, FIRST, SHARED)
            asked = await shown.ask(one, FIRST)
            await shown.until_shared(one, FIRST)

    assert (alone, asked) == ("NOT_HELD", "UPSTREAM")


async def test_an_entry_under_a_foreign_name_is_no_value() -> None:
    """A value that stands under another symbol's key is never given out as that symbol's."""
    with redis_url() as url:
        async with (
            running(redis_url=url, **SETTINGS) as one,
            second_gateway(one, redis_url=url, **SETTINGS) as other,
            aioredis.Redis.from_url(url) as client,
        ):
            shown = Shown(one.sandbox)
            shown.show(SYMBOLS)
            await shown.ask(one, FIRST)
            await held_in_redis(url, [FIRST])
            await client.copy(f"tg:1:sandbox:iex:quote:{FIRST}", f"tg:1:sandbox:iex:quote:{SECOND}")
            told = await shown.ask(other, FIRST, SHARED), await shown.ask(other, SECOND, SHARED)

    assert told == ("REDIS", "NOT_HELD")


async def test_a_market_set_back_has_no_past() -> None:
    """When the clock of a replay is set back, nothing that Redis held before is given out, and it fills anew."""
    with redis_url() as url:
        async with running(redis_url=url, **SETTINGS) as one:
            await one.quotes.GetQuote(quotes.GetQuoteRequest(symbol="AAPL"))
            await held_in_redis(url, ["AAPL"])
            one.sandbox.clock.seek(one.sandbox.clock.now() - 3600 * 10**9)
            await one.refresh()
            before = await quoted(one, SHARED)
            fresh = await quoted(one)
            held = await until_told(
                lambda: quoted(one, SHARED), lambda origin: bool(origin.served_from)
            )

    assert not before.served_from
    assert fresh.served_from == provenance_pb2.TIER_UPSTREAM
    assert held.served_from == provenance_pb2.TIER_REDIS
    assert held.event_time == fresh.event_time


async def quoted(
    stack: Stack, tiers: Sequence[provenance_pb2.Tier.ValueType] = ()
) -> provenance_pb2.Provenance:
    """Return the origin of what *tiers* hold of AAPL, empty where that is nothing."""
    request = quotes.GetQuoteRequest(symbol="AAPL")
    request.freshness.allowed_tiers.extend(tiers)
    return (await stack.quotes.GetQuote(request)).result.quote.provenance


async def test_what_is_dropped_is_dropped_for_all() -> None:
    """InvalidateCache empties Redis too, and says how much; the other replica then asks the upstream."""
    with redis_url() as url:
        async with (
            running(redis_url=url, **SETTINGS) as one,
            second_gateway(one, redis_url=url, **SETTINGS) as other,
        ):
            shown = Shown(one.sandbox)
            shown.show(SYMBOLS)
            await shown.ask_all(one, SYMBOLS)
            await held_in_redis(url, SYMBOLS)
            some = await one.admin.InvalidateCache(pb.InvalidateCacheRequest(symbols=[FIRST]))
            told = await shown.ask(other, FIRST, SHARED), await shown.ask(other, SECOND, SHARED)
            rest = await one.admin.InvalidateCache(pb.InvalidateCacheRequest())
            asked = await shown.ask(one, SECOND)

    assert (some.memory_entries, some.redis_entries) == (1, 1)
    assert told == ("NOT_HELD", "REDIS")
    assert (rest.memory_entries, rest.redis_entries) == (19, 19)
    assert asked == "UPSTREAM"


async def test_a_redis_that_is_away_drops_nothing() -> None:
    """InvalidateCache leaves open what Redis dropped when it cannot be reached, and memory is emptied all the same."""
    with redis_server() as server:
        async with running(redis_url=server.url, **SETTINGS) as one:
            shown = Shown(one.sandbox)
            shown.show(SYMBOLS)
            await shown.ask(one, FIRST)
            server.kill()
            dropped = await one.admin.InvalidateCache(pb.InvalidateCacheRequest())

    assert dropped.memory_entries == 1
    assert not dropped.HasField("redis_entries")


# ---------------------------------------------------------------------------------- the error log


@pytest.mark.parametrize("place", [RING, POSTGRES], ids=["ring", "postgres"])
async def test_errors_are_found_again(place: pb.ErrorLogPlace.ValueType) -> None:
    """ListErrors pages newest first and filters by reason, request id and time, alike from ring and PostgreSQL."""
    wrong, unknown = reasons.ERROR_REASON_INVALID_REQUEST, reasons.ERROR_REASON_SYMBOL_UNKNOWN
    with postgres_url() as url:
        async with running(alpaca=QUICK, postgres_url=url if place == POSTGRES else "") as stack:
            for number in range(10):
                await refuse(stack, f"wrong-{number}")
            between = Timestamp()
            between.GetCurrentTime()
            for number in range(5):
                await refuse(stack, f"unknown-{number}", "ZZZZ")
            log = stack.gateway.counters.error_log
            await until(lambda: log.written == 15)
            everything = await listed(stack, pb.ListErrorsRequest(page_size=4))
            by_reason = await listed(stack, pb.ListErrorsRequest(reasons=[unknown], page_size=2))
            by_both = await listed(stack, pb.ListErrorsRequest(reasons=[unknown, wrong]))
            by_id = await listed(stack, pb.ListErrorsRequest(request_id="wrong-7"))
            before = await listed(stack, pb.ListErrorsRequest(end_time=between))
            after = await listed(stack, pb.ListErrorsRequest(start_time=between))
            one = await stack.admin.ListErrors(pb.ListErrorsRequest(request_id="unknown-2"))

    early = [f"wrong-{number}" for number in range(10)]
    late = [f"unknown-{number}" for number in range(5)]
    assert everything == (early + late, place, 4)
    assert by_reason == (late, place, 3)
    assert by_both == (early + late, place, 1)
    assert by_id == (["wrong-7"], place, 1)
    assert before == (early, place, 1)
    assert after == (late, place, 1)
    (record,) = one.errors
    assert record.reason == unknown
    assert MessageToDict(record.context)["symbols"] == ["ZZZZ"]


async def test_replicas_list_each_others_errors() -> None:
    """What one replica refused, an operator finds at the other, and after a restart."""
    with postgres_url() as url:
        async with running(postgres_url=url) as one:
            async with second_gateway(one, postgres_url=url) as other:
                await refuse(one, "at-one")
                await refuse(other, "at-other")
            async with second_gateway(one, postgres_url=url) as later:
                await until(lambda: one.gateway.counters.error_log.written == 1)
                found = await listed(later)

    assert sorted(found.ids) == ["at-one", "at-other"]
    assert found.place == POSTGRES


async def test_an_old_schema_is_left_alone_where_asked() -> None:
    """With `store.migrate = check` a gateway does not start on an empty database, and says what to do."""
    with postgres_url() as url:
        with pytest.raises(StoreUnusable, match=r"no schema yet .* run `tickgate-server migrate`"):
            async with running(postgres_url=url, store={"migrate": "check"}):
                pass
        async with running(postgres_url=url):
            pass
        async with running(postgres_url=url, store={"migrate": "check"}) as stack:
            assert await postgres_state(stack) == "UP"
        as_administrator(url, "UPDATE tickgate_schema SET version_num = '9000'")
        with pytest.raises(StoreUnusable, match="newer than this gateway"):
            async with running(postgres_url=url):
                pass


# --------------------------------------------------------------------------------------- secrecy


async def test_stores_are_reached_by_tls() -> None:
    """With rediss:// and sslmode the whole gateway works over TLS."""
    by_id = pb.ListErrorsRequest(request_id="by-tls")
    with (
        redis_server(password="hush") as cache,
        postgres_server() as server,
        tls_front(cache.port) as first,
        tls_front(server.port, postgres=True) as second,
    ):
        postgres = server.url.replace(f":{server.port}/", f":{second.port}/")
        async with running(
            redis_url=f"rediss://:hush@127.0.0.1:{first.port}?ssl_ca_certs={first.authority}",
            postgres_url=f"{postgres}?sslmode=require",
            **SETTINGS,
        ) as stack:
            shown = Shown(stack.sandbox)
            shown.show(SYMBOLS)
            await shown.until_shared(stack, FIRST)
            await refuse(stack, "by-tls")
            found = await until_told(lambda: listed(stack, by_id), lambda held: bool(held.ids))

    assert found == (["by-tls"], POSTGRES, 1)


async def test_no_password_is_ever_shown(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Passwords of stores that are well, away, or refuse them stand in no log line, error, status or listed record."""
    seen: list[str] = []
    with (
        redis_server(password="hush-redis") as cache,
        postgres_server() as server,
        capture_logs() as logs,
        caplog.at_level(logging.DEBUG),
    ):
        password = server.url.partition("postgres:")[2].partition("@")[0]
        right: dict[str, Any] = {"redis_url": cache.url, "postgres_url": server.url}
        wrong: dict[str, Any] = {
            "redis_url": cache.url.replace("hush-redis", "hush-wrong"),
            "postgres_url": server.url.replace(password, "hush-postgres"),
        }
        for urls in (right, wrong):
            async with running(log={"calls": True}, store={"check_every": 0.05}, **urls) as stack:
                shown = Shown(stack.sandbox)
                shown.show(SYMBOLS)
                await shown.ask(stack, FIRST)
                if urls is right:
                    cache.kill()
                    server.kill()
                await shown.ask(stack, SECOND)
                await redis_says(stack, "DOWN")
                await postgres_says(stack, "DOWN")
                await refuse(stack, "any")
                seen.append(str(await status(stack)))
                seen.append(str(await stack.admin.ListErrors(pb.ListErrorsRequest())))
            if urls is right:
                cache.start()
                server.start()
    written = capfd.readouterr()
    text = " ".join([*seen, str(logs), caplog.text, written.out, written.err])

    assert "any" in text
    assert "hush" not in text
    assert password not in text
