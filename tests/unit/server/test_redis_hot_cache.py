"""The shared cache in a real Redis: what is written there, when, and what happens to it in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tickgate_server.market.answer import Held
from tickgate_server.market.provenance import DataSource, Feed
from tickgate_server.market.quote import Quote
from tickgate_server.market.snapshot import Snapshot, SnapshotPart
from tickgate_server.market.time import NANOS
from tickgate_server.market.trade import Trade
from tickgate_server.market.unavailable import Reason
from tickgate_server.observe.counters import TierCounts
from tickgate_server.ports import Key
from tickgate_server.stores.redis.codec import Codec
from tickgate_server.stores.redis.hot_cache import (
    HotCacheLimits,
    ReceiveTimes,
    RedisHotCache,
    receive_time_of,
)
from tickgate_server.stores.redis.link import RedisLink
from tools.embedded import redis_server

from ...support.fakes import NOW, bar, provenance, quote, settle, side, trade, unavailable
from ...support.hot_cache import JumpingClock
from ...support.redis_link import PATIENT, kept_up, link_to
from ...support.stores import redis_url
from ...support.waiting import until

AAPL: Key = (Feed.IEX, "AAPL")
NAME = b"tg:1:sandbox:iex:quote:AAPL"


@dataclass
class Parts:
    """A cache of quotes and what it is made of."""

    link: RedisLink
    counts: TierCounts
    clock: JumpingClock = field(default_factory=JumpingClock)
    ttl: float = 30.0
    limits: HotCacheLimits = field(default_factory=HotCacheLimits)

    def cache(self, kind: type[Any] = Quote, source: DataSource = DataSource.SANDBOX) -> Any:
        """Make a cache of values of type *kind*."""
        link, clock, counts = self.link, self.clock, self.counts
        return RedisHotCache(link, kind, source, lambda: self.ttl, counts, clock, self.limits)

    async def commands(self, name: str) -> int:
        """Return how often Redis was sent a command."""
        stats = await self.link.client.info("commandstats")
        return int(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"])


@asynccontextmanager
async def parts(**changed: Any) -> AsyncIterator[Parts]:
    """Lend an empty Redis and a link to it."""
    counts = TierCounts()
    with redis_url() as url:
        async with link_to(url, counts=counts) as link:
            yield Parts(link, counts, **changed)


def held(value: Any) -> Held[Any]:
    """A value, as whoever asked the upstream hands it on."""
    return Held(value, 1000.0)


def at(event: int, receive: int = 0, price: str = "10.02") -> Quote:
    """A quote of a moment, in nanoseconds after the clock's start."""
    value = quote(ask=side(price))
    return replace(value, provenance=provenance(NOW + event, NOW + receive))


async def read(cache: Any, key: Key = AAPL) -> Any:
    """Return the value held under *key*."""
    found = await cache.get([key])
    assert found is not None
    return found[key].value if key in found else None


async def test_where_a_value_lies_and_for_how_long() -> None:
    """The key names version, provider, feed, kind and symbol, and it ends when the moment of writing says."""
    async with parts() as it:
        cache = it.cache()
        cache.put({AAPL: held(quote())})
        await cache.flush()
        assert await it.link.client.keys() == [NAME]
        assert 29_000 < await it.link.client.pttl(NAME) <= 30_000
        it.ttl = 900.0
        cache.put({AAPL: held(at(1))})
        await cache.flush()
        assert 899_000 < await it.link.client.pttl(NAME) <= 900_000


async def test_an_entry_begins_with_its_stamp() -> None:
    """Event time and receive time stand first, as digits, so that Redis can compare entries of any version."""
    async with parts() as it:
        cache = it.cache()
        cache.put({AAPL: held(at(1, 2))})
        await cache.flush()
        entry = await it.link.client.get(NAME)
        assert isinstance(entry, bytes)
        event, receive = NOW + 1 + 2**63, NOW + 2 + 2**63
        assert entry[:40] == f"{event}".zfill(20).encode() + f"{receive}".zfill(20).encode()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Quote, quote()),
        (Trade, trade()),
        (
            Snapshot,
            Snapshot(
                "AAPL", trade(), quote(), None, bar(), bar(),
                {SnapshotPart.MINUTE_BAR: unavailable(Reason.NO_DATA)},
            ),
        ),
    ],
)  # fmt: skip
async def test_every_kind_is_held(kind: type[Any], value: Any) -> None:
    """Quotes, trades and snapshots each have a place of their own."""
    async with parts() as it:
        cache = it.cache(kind)
        cache.put({AAPL: held(value)})
        await cache.flush()
        assert await read(cache) == value
        assert await it.link.client.keys() == [
            NAME.replace(b"quote", kind.__name__.lower().encode())
        ]


async def test_providers_do_not_meet() -> None:
    """What the sandbox said is never read as the market's."""
    async with parts() as it:
        sandbox, alpaca = it.cache(), it.cache(source=DataSource.ALPACA)
        sandbox.put({AAPL: held(quote())})
        await sandbox.flush()
        assert await read(alpaca) is None
        assert await alpaca.drop(None, None) == 0
        assert await read(sandbox) is not None


def test_a_snapshot_is_as_young_as_its_newest_part() -> None:
    """Each part has its own receipt; of a snapshot without parts nothing is known."""
    older, newer = provenance(NOW, NOW + 1), provenance(NOW, NOW + 2)
    parts_of = Snapshot(
        "AAPL", None, replace(quote(), provenance=older), replace(bar(), provenance=newer), None,
        None, {},
    )  # fmt: skip
    assert receive_time_of(parts_of) == NOW + 2
    assert receive_time_of(Snapshot("AAPL", None, None, None, None, None, {})) == 0


async def test_a_question_is_one_round_trip() -> None:
    """However many keys are asked for, Redis gets one command."""
    async with parts() as it:
        cache = it.cache()
        keys = [(Feed.IEX, f"S{n}") for n in range(300)]
        before = await it.commands("mget")
        assert await cache.get(keys) == {}
        assert await it.commands("mget") == before + 1


async def test_a_batch_is_one_round_trip() -> None:
    """Values that gathered are written by one script for each two hundred."""
    async with parts() as it:
        cache = it.cache()
        cache.put({(Feed.IEX, f"S{n}"): held(quote(f"S{n}")) for n in range(201)})
        await cache.flush()
        before = await it.commands("evalsha")
        cache.put({(Feed.IEX, f"T{n}"): held(quote(f"T{n}")) for n in range(201)})
        cache.put({(Feed.IEX, f"T{n}"): held(quote(f"T{n}")) for n in range(201)})
        await cache.flush()
        assert await it.commands("evalsha") == before + 2
        assert await it.link.client.dbsize() == 402


async def test_the_newest_waits() -> None:
    """Of several values of one key that wait to be written, the newest is, in whatever order they came."""
    async with parts() as it:
        cache = it.cache()
        for value in (at(1), at(2, 1), at(2, 0), at(0, 5)):
            cache.put({AAPL: held(value)})
        await cache.flush()
        assert await read(cache) == at(2, 1)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=6))
async def test_the_newest_is_held(moments: list[tuple[int, int]]) -> None:
    """In whatever order replicas write, what is held is the value of the latest event, received last."""
    async with parts() as it:
        for moment in moments:
            cache = it.cache()
            cache.put({AAPL: held(at(*moment))})
            await cache.flush()
        assert await read(it.cache()) == at(*max(moments))


async def test_what_waits_is_bounded() -> None:
    """Beyond the bound a new key is not written and counted as a failure; one that waits already can be renewed."""
    async with parts(limits=HotCacheLimits(pending=2)) as it:
        cache = it.cache()
        cache.put({(Feed.IEX, f"S{n}"): held(quote(f"S{n}")) for n in range(5)})
        cache.put({(Feed.IEX, "S0"): held(at(7))})
        assert it.counts.failures == 3
        await cache.flush()
        assert await it.link.client.dbsize() == 2
        assert await read(cache, (Feed.IEX, "S0")) == at(7)


async def test_what_cannot_be_written_harms_no_other() -> None:
    """A value that no entry can hold is counted, and the rest of its batch is written."""
    async with parts() as it:
        cache = it.cache()
        absurd = quote("HUGE", bid=side(size=2**70))
        cache.put({(Feed.IEX, "HUGE"): held(absurd), AAPL: held(quote())})
        await cache.flush()
        assert it.counts.failures == 1
        assert await it.link.client.keys() == [NAME]


@pytest.mark.parametrize(
    "rubbish",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"zzzz" * 50, id="letters"),
        pytest.param(b"9" * 200, id="far future"),
        pytest.param(b"0" * 200, id="far past"),
        pytest.param(b"\xff\x00" * 100, id="bytes"),
        pytest.param(["a", "list"], id="a list"),
    ],
)
async def test_rubbish_is_a_miss_and_gives_way(rubbish: Any) -> None:
    """Whatever somebody else left under our key is not read, and does not keep a value out."""
    async with parts() as it:
        cache = it.cache()
        if isinstance(rubbish, list):
            await it.link.ask(lambda: it.link.client.rpush(NAME.decode(), *rubbish))
        else:
            await it.link.client.set(NAME, rubbish)
        assert await read(cache) is None
        cache.put({AAPL: held(quote())})
        await cache.flush()
        assert await read(cache) == quote()
        assert it.counts.failures == 0


async def test_another_version_is_a_miss() -> None:
    """What a gateway with other types has written is not read, and is replaced by what is newer."""
    async with parts() as it:
        cache = it.cache()
        cache.put({AAPL: held(quote())})
        await cache.flush()
        entry = await it.link.client.get(NAME)
        assert isinstance(entry, bytes)
        ours = Codec(Quote).version
        await it.link.client.set(NAME, entry.replace(ours, b"other001"))
        assert await read(cache) is None
        cache.put({AAPL: held(at(1))})
        await cache.flush()
        assert await read(cache) == at(1)


async def test_the_job_writes() -> None:
    """What is put is written without anybody waiting for it, again and again."""
    async with parts(limits=HotCacheLimits(pause=0.0)) as it:
        cache = it.cache()
        job = asyncio.create_task(cache.run())
        for moment in range(3):
            cache.put({AAPL: held(at(moment))})
            async with asyncio.timeout(20):
                while await read(cache) != at(moment):
                    pass
        job.cancel()
        with suppress(asyncio.CancelledError):
            await job


async def test_what_is_put_during_a_write_is_written() -> None:
    """A newer value that comes while the older is on its way is written behind it."""
    async with parts() as it:
        cache = it.cache()
        cache.put({AAPL: held(at(0))})
        writing = asyncio.create_task(cache.flush())
        await settle(lambda: it.link._waiting != set())
        cache.put({AAPL: held(at(1))})
        await writing
        assert await read(cache) == at(1)


async def test_what_was_on_its_way_at_the_end_is_written() -> None:
    """A write that is cancelled in the middle, as the job is at the end, is done by the flush after it."""
    async with parts() as it:
        cache = it.cache()
        cache.put({AAPL: held(quote())})
        writing = asyncio.create_task(cache.flush())
        await settle(lambda: it.link._waiting != set())
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await cache.flush()
        assert await read(cache) == quote()


async def test_a_drop_includes_what_waits() -> None:
    """A value that waits to be written when it is dropped is not written after it."""
    async with parts() as it:
        cache = it.cache()
        cache.put({AAPL: held(quote()), (Feed.IEX, "IBM"): held(quote("IBM"))})
        assert await cache.drop(None, ["AAPL"]) == 0
        await cache.flush()
        assert await it.link.client.keys() == [NAME.replace(b"AAPL", b"IBM")]


async def test_a_drop_includes_what_is_on_its_way() -> None:
    """A drop in the middle of a write waits for it, and for what was put behind it."""
    async with parts() as it:
        cache = it.cache()
        cache.put({AAPL: held(at(0))})
        writing = asyncio.create_task(cache.flush())
        await settle(lambda: it.link._waiting != set())
        cache.put({AAPL: held(at(1)), (Feed.IEX, "IBM"): held(quote("IBM"))})
        assert await cache.drop(None, ["AAPL"]) == 1
        await writing
        await cache.flush()
        assert await it.link.client.keys() == [NAME.replace(b"AAPL", b"IBM")]


async def test_a_sweep_finds_all_of_ours_and_no_others() -> None:
    """Among thousands of keys those of the kind and the feeds are dropped, and nobody else's."""
    async with parts() as it:
        client, cache, trades = it.link.client, it.cache(), it.cache(Trade)
        await client.mset({f"tg:1:budget:{n}": "x" for n in range(3000)})
        await client.set("tg:1:sandbox:iex:quotes:AAPL", "not ours")
        trades.put({AAPL: held(trade())})
        await trades.flush()
        feeds = [Feed.IEX, Feed.SIP, Feed.DELAYED_SIP]
        cache.put({(feed, f"S{n}"): held(quote(f"S{n}")) for feed in feeds for n in range(700)})
        await cache.flush()
        assert await cache.drop([Feed.IEX, Feed.DELAYED_SIP], None) == 1400
        assert await cache.drop(None, None) == 700
        assert await client.dbsize() == 3002


async def test_an_outage_loses_only_what_waited() -> None:
    """Killed with values on their way, Redis is written again once it is back; nothing waits for it meanwhile."""
    counts = TierCounts()
    with redis_server() as server:
        async with link_to(server.url, PATIENT, counts) as link, kept_up(link):
            cache = Parts(link, counts).cache()
            cache.put({AAPL: held(at(0))})
            await cache.flush()
            server.kill()
            cache.put({AAPL: held(at(1))})
            await cache.flush()
            assert counts.state == "down"
            cache.put({AAPL: held(at(2))})
            assert cache._behind.waiting == {}
            assert await cache.get([AAPL]) is None
            server.start()
            await until(lambda: link.up)
            assert await read(cache) is None
            cache.put({AAPL: held(at(3))})
            await cache.flush()
            assert await read(cache) == at(3)


async def test_a_market_set_back_forgets_what_waits() -> None:
    """What waits to be written when the market is set back was received before, and is not written."""
    async with parts() as it:
        cache = it.cache()
        cache.put({AAPL: held(quote())})
        cache.set_back()
        await cache.flush()
        assert await it.link.client.dbsize() == 0


async def test_a_clock_set_back_makes_nothing_younger() -> None:
    """When civil time is set back, what was received before is no answer, and what is received after it is."""
    async with parts() as it:
        cache = it.cache()
        cache.put({AAPL: held(at(0, 0))})
        await cache.flush()
        it.clock.advance(20)
        it.clock.jump(-15)
        assert await read(cache) is None
        it.clock.advance(1)
        again = at(0, 6 * NANOS)
        cache.put({AAPL: held(again)})
        await cache.flush()
        found = await cache.get([AAPL])
        assert found[AAPL].value == again
        assert found[AAPL].confirmed_at == pytest.approx(it.clock.monotonic(), abs=1e-6)


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_jump_after_a_set_back_shuts_nothing_out(jump: float) -> None:
    """Wherever civil time goes after the market was set back, what is received from then on is trusted."""
    clock = JumpingClock()
    times = ReceiveTimes(clock)
    clock.advance(10)
    before = clock.wall()
    clock.advance(1)
    times.set_back()
    clock.jump(jump)
    clock.advance(1)
    assert times.confirmed_at(before) is None
    times.since()
    clock.advance(1)
    now = clock.wall()
    assert times.confirmed_at(now) == pytest.approx(clock.monotonic(), abs=1e-6)
    assert times.since() < b"%020d" % (now + 2**63) < times.horizon()


def test_slow_drift_is_no_jump() -> None:
    """A civil clock that is slowed down over hours, as NTP does, shuts nothing out."""
    clock = JumpingClock()
    times = ReceiveTimes(clock)
    for _ in range(100):
        clock.advance(60)
        clock.jump(-0.03)
        assert times.confirmed_at(clock.wall() - 30 * NANOS) is not None
    assert times.since() == b""
