"""Bounds of the history that is held in Redis, and what becomes of entries that are not as they should be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from decimal import Decimal

import redis.asyncio as aioredis
from msgspec import Struct

from tickgate_server.market.columns import Block, Origin
from tickgate_server.market.interval import Interval
from tickgate_server.market.provenance import DataSource, Feed, Tier
from tickgate_server.market.series import SeriesKey, SeriesKind
from tickgate_server.market.timeframe import Timeframe, Unit
from tickgate_server.observe.counters import TierCounts
from tickgate_server.stores.redis.history_cache import HistoryCacheLimits, RedisHistoryCache
from tools.embedded import redis_server

from ...support.fakes import NOW
from ...support.history_store import block_of
from ...support.redis_link import link_to
from ...support.stores import redis_url
from ...support.waiting import until_told

KEY = SeriesKey(SeriesKind.BARS, "AAPL", Feed.IEX, Timeframe(1, Unit.MINUTE))
SLOT, NEXT = Interval(NOW, NOW + 10**6), Interval(NOW + 10**6, NOW + 10**7)


def block(rows: int) -> Block:
    """Some bars."""
    origin = Origin(DataSource.SANDBOX, Feed.IEX, NOW, "upstream-1", Tier.UPSTREAM)
    low, high = Decimal(1), Decimal("2.5")
    values = [(low, high, low, high, row, row, None) for row in range(rows)]
    return block_of(KEY.kind, origin, range(NOW, NOW + rows), values)


class Held(Struct):
    """A cache and what it goes by."""

    cache: RedisHistoryCache
    counts: TierCounts
    client: aioredis.Redis


@asynccontextmanager
async def held(
    url: str, source: DataSource = DataSource.SANDBOX, **limits: float
) -> AsyncIterator[Held]:
    """Lend a cache in the Redis at *url*."""
    counts = TierCounts()
    async with link_to(url, counts=counts) as link:
        await link.validate()
        bounds = HistoryCacheLimits(**limits)  # type: ignore[arg-type]
        yield Held(RedisHistoryCache(link, source, counts, bounds), counts, link.client)


async def test_a_large_slot_is_not_held() -> None:
    """A slot of more bytes than are allowed is left out, and those beside it are held."""
    with redis_url() as url:
        async with held(url, largest=10_000) as it:
            it.cache.put(KEY, SLOT, [block(1000)])
            it.cache.put(KEY, NEXT, [block(10)])
            await it.cache.flush()
            assert list(await it.cache.get(KEY, [SLOT, NEXT])) == [NEXT]
            assert (it.counts.hits, it.counts.misses, it.counts.failures) == (1, 1, 0)


async def test_a_day_of_minute_bars_is_held() -> None:
    """With the bounds as they are delivered a day of minute bars, extended hours included, is no large slot."""
    with redis_url() as url:
        async with held(url) as it:
            it.cache.put(KEY, SLOT, [block(960)])
            await it.cache.flush()
            (read,) = (await it.cache.get(KEY, [SLOT]))[SLOT]
            assert len(read) == 960


async def test_slots_are_held_for_a_while() -> None:
    """Every slot has its end, which is set when it is written."""
    with redis_url() as url:
        async with held(url, ttl=3600) as it:
            it.cache.put(KEY, SLOT, [])
            await it.cache.flush()
            (name,) = await it.client.keys()
            assert 3_590_000 < await it.client.pttl(name) <= 3_600_000


async def test_too_much_at_once_is_not_written() -> None:
    """Slots beyond those that may wait are not written, and counted."""
    with redis_url() as url:
        async with held(url, pending=2) as it:
            slots = [Interval(NOW + n, NOW + n + 1) for n in range(5)]
            for slot in (*slots, slots[0]):
                it.cache.put(KEY, slot, [])
            await it.cache.flush()
            assert list(await it.cache.get(KEY, slots)) == slots[:2]
            assert it.counts.failures == 3


async def test_a_damaged_slot_is_none() -> None:
    """A slot in which a byte has changed, or that another version has written, is not there."""
    with redis_url() as url:
        async with held(url) as it:
            it.cache.put(KEY, SLOT, [block(10)])
            await it.cache.flush()
            (name,) = await it.client.keys()
            entry = await it.client.get(name)
            assert isinstance(entry, bytes)
            for place in (0, 9, len(entry) // 2, len(entry) - 1):
                broken = bytearray(entry)
                broken[place] ^= 1
                await it.client.set(name, bytes(broken))
                assert await it.cache.get(KEY, [SLOT]) == {}
            await it.client.set(name, entry)
            assert list(await it.cache.get(KEY, [SLOT])) == [SLOT]


async def test_providers_never_mix() -> None:
    """What comes from the sandbox is no history of the market."""
    with redis_url() as url:
        async with held(url) as sandbox, held(url, DataSource.ALPACA) as market:
            sandbox.cache.put(KEY, SLOT, [block(1)])
            await sandbox.cache.flush()
            assert await market.cache.get(KEY, [SLOT]) == {}


async def test_the_job_writes_what_is_put() -> None:
    """While the job runs, whatever is put is held soon."""
    with redis_url() as url:
        async with held(url) as it:
            job = asyncio.create_task(it.cache.run())
            for slot in (SLOT, NEXT):
                it.cache.put(KEY, slot, [])
                await until_told(lambda: it.cache.get(KEY, [slot]), bool)  # noqa: B023 - is awaited here
            job.cancel()
            with suppress(asyncio.CancelledError):
                await job


async def test_a_redis_that_dies_costs_nothing() -> None:
    """When Redis dies, slots are not there and are taken without a word, also by the job."""
    with redis_server() as server:
        async with held(server.url) as it:
            it.cache.put(KEY, SLOT, [block(5)])
            server.kill()
            await it.cache.flush()
            assert await it.cache.get(KEY, [SLOT]) == {}
            it.cache.put(KEY, NEXT, [block(5)])
            await it.cache.flush()
            assert it.counts.state == "down"
