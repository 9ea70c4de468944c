"""What every shared cache of live values promises, whether it is Redis or a fake of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import pytest
from msgspec.structs import replace

from tickgate_server.market.answer import Held
from tickgate_server.market.provenance import DataSource, Feed
from tickgate_server.market.quote import Quote
from tickgate_server.market.time import NANOS
from tickgate_server.observe.counters import TierCounts
from tickgate_server.ports import Key
from tickgate_server.stores.redis.hot_cache import RedisHotCache

from ..support.fakes import NOW, quote, side
from ..support.hot_cache import FakeHotCache, JumpingClock
from ..support.redis_link import link_to
from ..support.stores import redis_url

AAPL, IBM = (Feed.IEX, "AAPL"), (Feed.IEX, "IBM")
AAPL_SIP = (Feed.SIP, "AAPL")


@dataclass
class Subject:
    """A cache on a clock that moves by hand."""

    cache: RedisHotCache[Quote] | FakeHotCache[Quote]
    other: RedisHotCache[Quote] | FakeHotCache[Quote]
    """The same values, as another replica sees them."""

    clock: JumpingClock
    written: Callable[[], Awaitable[None]]
    """Waits for what was put."""

    async def put(self, value: Quote, key: Key = AAPL) -> Quote:
        """Have a value held, and return it."""
        self.cache.put({key: Held(value, self.clock.monotonic())})
        await self.written()
        return value

    async def get(self, key: Key = AAPL) -> Held[Quote] | None:
        """Return what is held under one key."""
        found = await self.cache.get([key])
        assert found is not None
        return found.get(key)

    async def value(self, key: Key = AAPL) -> Quote | None:
        """Return the value held under one key."""
        held = await self.get(key)
        return None if held is None else held.value


@asynccontextmanager
async def fake(*, down: bool = False) -> AsyncIterator[Subject]:
    """A dictionary."""
    clock = JumpingClock()
    cache = FakeHotCache[Quote](clock)
    cache.down = down

    async def at_once() -> None:
        return

    yield Subject(cache, cache, clock, at_once)


@asynccontextmanager
async def real(*, down: bool = False) -> AsyncIterator[Subject]:
    """A real Redis, or an address where there is none."""
    clock, counts = JumpingClock(), TierCounts()
    with redis_url() as url:
        async with link_to("redis://127.0.0.1:1" if down else url, counts=counts) as link:
            await link.validate()
            cache, other = (
                RedisHotCache(link, Quote, DataSource.SANDBOX, lambda: 30.0, counts, clock)
                for _ in range(2)
            )
            yield Subject(cache, other, clock, cache.flush)


Open = Callable[..., AbstractAsyncContextManager[Subject]]
EVERY = pytest.mark.parametrize("subject", [fake, real])


def received(at: float, *, event: float = 0.0, price: str = "10.02") -> Quote:
    """A quote that was received, and happened, so many seconds after the clock's start."""
    value = quote(ask=side(price))
    origin = replace(
        value.provenance,
        event_time=NOW + round(event * NANOS),
        receive_time=NOW + round(at * NANOS),
    )
    return replace(value, provenance=origin)


@EVERY
async def test_what_is_put_is_held(subject: Open) -> None:
    """A value comes back equal, with its whole origin and the digits of its prices, as an object of its own."""
    async with subject() as it:
        put = await it.put(received(0))
        held = await it.get()
        assert held is not None
        assert held.value == put
        assert repr(held.value) == repr(put)
        assert held.encoded is None


@EVERY
async def test_replicas_hold_together(subject: Open) -> None:
    """What one replica puts another one gets."""
    async with subject() as it:
        put = await it.put(received(0))
        found = await it.other.get([AAPL])
        assert found is not None
        assert found[AAPL].value == put


@EVERY
async def test_what_is_not_held_is_left_out(subject: Open) -> None:
    """Of several keys those have an entry that are held, and no key is no question."""
    async with subject() as it:
        await it.put(received(0))
        found = await it.cache.get([IBM, AAPL])
        assert found is not None
        assert set(found) == {AAPL}
        assert await it.cache.get([]) == {}


@EVERY
async def test_a_feed_is_not_another(subject: Open) -> None:
    """The same symbol on another feed is another value."""
    async with subject() as it:
        await it.put(received(0))
        assert await it.get(AAPL_SIP) is None


@EVERY
async def test_the_age_goes_on(subject: Open) -> None:
    """A value was confirmed when it was received, whenever and by whomever it is read."""
    async with subject() as it:
        await it.put(received(0))
        start = it.clock.monotonic()
        it.clock.advance(7)
        held = await it.get()
        assert held is not None
        assert held.confirmed_at == pytest.approx(start, abs=1e-6)


@EVERY
async def test_newer_replaces_older(subject: Open) -> None:
    """A value of a later event takes the place of an earlier one."""
    async with subject() as it:
        await it.put(received(0, event=0))
        newer = await it.put(received(0, event=1e-9))
        assert await it.value() == newer


@EVERY
async def test_older_never_replaces_newer(subject: Open) -> None:
    """A value of an earlier event is not held in place of a later one, even by a nanosecond and received later."""
    async with subject() as it:
        newer = await it.put(received(0, event=1e-9))
        await it.put(received(1, event=0))
        it.clock.advance(1)
        assert await it.value() == newer


@EVERY
async def test_a_confirmation_renews(subject: Open) -> None:
    """The same event received again later is the value from then on, and an earlier receipt changes nothing."""
    async with subject() as it:
        it.clock.advance(5)
        await it.put(received(2))
        again = await it.put(received(5))
        await it.put(received(3))
        held = await it.get()
        assert held is not None
        assert held.value == again
        assert held.confirmed_at == pytest.approx(it.clock.monotonic(), abs=1e-6)


@EVERY
async def test_what_happened_at_no_known_time_is_replaced(subject: Open) -> None:
    """A value without an event time gives way to one that has it, and does not replace it."""
    async with subject() as it:
        without = quote(at=None)
        await it.put(without)
        assert await it.value() == without
        dated = await it.put(received(-1))
        await it.put(without)
        assert await it.value() == dated


@EVERY
async def test_the_future_is_not_trusted(subject: Open) -> None:
    """What was received more than a second from now is not held, and within a second it was received now."""
    async with subject() as it:
        await it.put(received(1.5))
        assert await it.get() is None
        it.clock.advance(0.6)
        held = await it.get()
        assert held is not None
        assert held.confirmed_at == it.clock.monotonic()


@EVERY
async def test_the_future_gives_way(subject: Open) -> None:
    """What was received in the future is replaced by what is received now, whichever happened later."""
    async with subject() as it:
        await it.put(received(3600, event=1))
        now = await it.put(received(0, event=0))
        assert await it.value() == now


@EVERY
async def test_a_market_set_back(subject: Open) -> None:
    """Once the market is set back, nothing received before counts, and earlier events are let in."""
    async with subject() as it:
        await it.put(received(0, event=0))
        it.clock.advance(1)
        it.cache.set_back()
        assert await it.get() is None
        it.clock.advance(1)
        earlier = await it.put(received(2, event=-3600))
        assert await it.value() == earlier
        later = await it.put(received(2, event=-3500))
        await it.put(received(2, event=-3550))
        assert await it.value() == later


@EVERY
async def test_some_values_are_dropped(subject: Open) -> None:
    """Feeds and symbols that are named are forgotten and counted, and nothing else is."""
    async with subject() as it:
        for key in (AAPL, IBM, AAPL_SIP):
            await it.put(received(0), key)
        assert await it.cache.drop([Feed.IEX], ["AAPL", "MSFT"]) == 1
        assert await it.get(AAPL) is None
        assert await it.get(IBM) is not None
        assert await it.get(AAPL_SIP) is not None


@EVERY
@pytest.mark.parametrize(
    ("feeds", "symbols", "left"),
    [
        (None, None, set()),
        ([Feed.IEX], None, {AAPL_SIP}),
        (None, ["AAPL"], {IBM}),
        ([], None, {AAPL, IBM, AAPL_SIP}),
        (None, [], {AAPL, IBM, AAPL_SIP}),
        ([Feed.BOATS], None, {AAPL, IBM, AAPL_SIP}),
    ],
)
async def test_none_drops_all(
    subject: Open, feeds: list[Feed] | None, symbols: list[str] | None, left: set[Key]
) -> None:
    """Without feeds or symbols every feed or symbol is meant, and an empty list means none."""
    async with subject() as it:
        for key in (AAPL, IBM, AAPL_SIP):
            await it.put(received(0), key)
        assert await it.cache.drop(feeds, symbols) == 3 - len(left)
        found = await it.cache.get([AAPL, IBM, AAPL_SIP])
        assert found is not None
        assert set(found) == left


@EVERY
async def test_what_was_dropped_can_be_held_again(subject: Open) -> None:
    """After a drop even an earlier event is a value."""
    async with subject() as it:
        await it.put(received(0, event=1))
        await it.cache.drop(None, None)
        earlier = await it.put(received(0, event=0))
        assert await it.value() == earlier


@EVERY
async def test_down_says_so(subject: Open) -> None:
    """A cache that cannot be had answers None to questions and takes values without a word."""
    async with subject(down=True) as it:
        await it.put(received(0))
        assert await it.cache.get([AAPL]) is None
        assert await it.cache.drop(None, None) is None
        assert await it.cache.drop(None, ["AAPL"]) is None
