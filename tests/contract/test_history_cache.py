"""What every cache of history promises, wherever it holds the values."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import pytest
from msgspec.structs import replace

from tickgate_server.market.columns import Block, Origin
from tickgate_server.market.interval import Interval
from tickgate_server.market.provenance import DataSource, Feed, Tier
from tickgate_server.market.series import Adjustment, SeriesKey, SeriesKind
from tickgate_server.market.timeframe import Timeframe, Unit
from tickgate_server.observe.counters import TierCounts
from tickgate_server.ports import HistoryCache
from tickgate_server.stores.redis.history_cache import RedisHistoryCache

from ..support.fakes import NOW
from ..support.history_store import MemoryHistoryCache, Values, block_of, values_of
from ..support.redis_link import link_to
from ..support.stores import redis_url

BARS = SeriesKey(SeriesKind.BARS, "AAPL", Feed.IEX, Timeframe(1, Unit.DAY))
TRADES = SeriesKey(SeriesKind.TRADES, "AAPL240315C00172500", None)
QUOTES = SeriesKey(SeriesKind.QUOTES, "AAPL", Feed.SIP)
SLOT, NEXT = Interval(NOW, NOW + 10), Interval(NOW + 10, NOW + 20)

WIDE = Decimal("12345678901234567890.123456789")
ROWS: dict[SeriesKey, list[Values]] = {
    BARS: [
        (Decimal("1.5"), Decimal(2), Decimal("1.25"), Decimal("1.3"), 2**62, None, None),
        (Decimal("1.5"), Decimal(2), Decimal("1.25"), WIDE, None, 7, None),
    ],
    TRADES: [
        (Decimal("0.05"), 3, "V", ("@", "I"), None, None, None),
        (Decimal("0.05"), 3, "V", ("株", " "), 2**60, "C", "corrected"),
        (Decimal("0.051"), None, None, None, None, None, None),
    ],
    QUOTES: [
        (None, None, None, Decimal("9.01"), 100, "Q", ("R",), "C"),
        (Decimal(9), 200, "V", None, None, None, None, None),
    ],
}


def block(key: SeriesKey, *, alone: bool = False, request: str = "upstream-1") -> Block:
    """A few values, each with something unset."""
    times = [NOW + place for place in range(len(ROWS[key]))]
    origin = Origin(DataSource.SANDBOX, key.feed, NOW + 99, request, Tier.UPSTREAM)
    return block_of(key.kind, origin, times, ROWS[key], times if alone else None)


def shown(some: Block) -> tuple[object, ...]:
    """Return all that a block says."""
    return some.origin, list(some.times), values_of(some), some.receive_times


def from_cache(some: Block) -> Block:
    """Return what comes back of a block."""
    return replace(some, origin=replace(some.origin, served_from=Tier.REDIS))


@dataclass
class Subject:
    """A cache, and another one that shares its values."""

    cache: HistoryCache
    other: HistoryCache
    written: Callable[[], Awaitable[None]]
    """Waits for what was put."""


async def _at_once() -> None:
    return


@asynccontextmanager
async def fake(*, down: bool = False) -> AsyncIterator[Subject]:
    """A dictionary."""
    cache = MemoryHistoryCache()
    cache.down = down
    yield Subject(cache, cache, _at_once)


@asynccontextmanager
async def real(*, down: bool = False) -> AsyncIterator[Subject]:
    """A real Redis, or an address where there is none."""
    with redis_url() as url:
        async with link_to("redis://127.0.0.1:1" if down else url) as link:
            await link.validate()
            cache, other = (
                RedisHistoryCache(link, DataSource.SANDBOX, TierCounts()) for _ in range(2)
            )
            yield Subject(cache, other, cache.flush)


Open = Callable[..., AbstractAsyncContextManager[Subject]]
EVERY = pytest.mark.parametrize("subject", [fake, real])


@EVERY
@pytest.mark.parametrize("key", list(ROWS), ids=lambda key: key.kind)
@pytest.mark.parametrize("alone", [False, True])
async def test_what_is_put_is_held(subject: Open, key: SeriesKey, alone: bool) -> None:
    """Blocks come back exactly, with their origins and everything unset, and say that the cache has served them."""
    put = [block(key, alone=alone), block(key, request="two")]
    async with subject() as it:
        it.cache.put(key, SLOT, put)
        await it.written()
        found = await it.other.get(key, [SLOT])
    assert list(found) == [SLOT]
    assert list(map(shown, found[SLOT])) == [shown(from_cache(one)) for one in put]


@EVERY
async def test_nothing_is_something(subject: Open) -> None:
    """That a slot is empty is held as well, and is not the same as not being held."""
    async with subject() as it:
        it.cache.put(BARS, SLOT, [])
        await it.written()
        assert await it.cache.get(BARS, [NEXT, SLOT]) == {SLOT: []}
        assert await it.cache.get(BARS, []) == {}


@EVERY
async def test_many_slots_are_had_at_once(subject: Open) -> None:
    """Of many slots those come back that are held, each with its own values."""
    slots = [Interval(NOW + n, NOW + n + 1) for n in range(100)]
    async with subject() as it:
        for slot in slots[::2]:
            it.cache.put(BARS, slot, [block(BARS, request=str(slot.start))])
        await it.written()
        found = await it.other.get(BARS, slots)
    assert list(found) == slots[::2]
    for slot, (one,) in found.items():
        assert one.origin.upstream_request_id == str(slot.start)


@EVERY
async def test_the_newer_of_one_slot_is_held(subject: Open) -> None:
    """What is put again takes the place of what was there."""
    async with subject() as it:
        for request in ("one", "two"):
            it.cache.put(BARS, SLOT, [block(BARS, request=request)])
            await it.written()
        (one,) = (await it.other.get(BARS, [SLOT]))[SLOT]
    assert one.origin.upstream_request_id == "two"


@EVERY
@pytest.mark.parametrize(
    "other",
    [
        replace(BARS, symbol="IBM"),
        replace(BARS, feed=Feed.SIP),
        replace(BARS, feed=None),
        replace(BARS, timeframe=Timeframe(1, Unit.MINUTE)),
        replace(BARS, adjustments=frozenset({Adjustment.SPLIT})),
        replace(BARS, symbol_date=date(2020, 1, 1)),
        replace(BARS, exact_symbol=True),
        replace(BARS, kind=SeriesKind.TRADES),
    ],
)
async def test_a_series_is_not_another(subject: Open, other: SeriesKey) -> None:
    """A series that differs in anything has no part in what is held of this one."""
    async with subject() as it:
        it.cache.put(BARS, SLOT, [block(BARS)])
        await it.written()
        assert await it.cache.get(other, [SLOT]) == {}


@EVERY
async def test_down_has_nothing_and_takes_nothing(subject: Open) -> None:
    """A cache that cannot be had is as good as an empty one, and nobody is told more."""
    async with subject(down=True) as it:
        it.cache.put(BARS, SLOT, [block(BARS)])
        await it.written()
        assert await it.cache.get(BARS, [SLOT]) == {}
