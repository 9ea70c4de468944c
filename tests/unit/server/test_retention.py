"""How long history is kept."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tickgate_server.jobs.recorded import trade_block
from tickgate_server.jobs.retention import Retention
from tickgate_server.market.interval import Interval
from tickgate_server.market.provenance import Feed
from tickgate_server.market.series import SeriesKey, SeriesKind

from ...support.fakes import NOW, HandClock, trade
from ...support.history_store import MemoryStore
from ...support.waiting import until

DAY = 24 * 3600 * 10**9
TRADES = SeriesKey(SeriesKind.TRADES, "AAPL", Feed.IEX)


async def filled() -> MemoryStore:
    """A store with a trade of each of the last ten days."""
    store = MemoryStore(HandClock())
    block = trade_block([trade(at=NOW - day * DAY) for day in range(10)])
    await store.write(TRADES, Interval(NOW - 10 * DAY, NOW + 1), [block])
    return store


async def test_what_is_too_old_is_dropped() -> None:
    """A kind of series is kept for its days, and its coverage no longer than its values."""
    store = await filled()
    assert await Retention(store, {"trades": 3, "bars": 0}, HandClock()).retire() == 6
    (covered,) = (await store.coverage([TRADES], Interval(0, 2 * NOW)))[TRADES]
    assert (covered.interval.start, covered.count) == (NOW - 3 * DAY, 4)


async def test_nothing_is_dropped_unless_that_is_asked_for() -> None:
    """By default everything is kept for ever, and the store is not asked."""
    store = await filled()
    store.down = True
    retention = Retention(store, {"trades": 0}, HandClock())
    assert await retention.retire() == 0
    await retention.run()


async def test_it_goes_on_by_itself() -> None:
    """As a job it drops at once what is too old; a store that is away is no reason to end."""
    store = await filled()
    job = asyncio.create_task(Retention(store, {"trades": 3}, HandClock()).run())
    await until(lambda: len(store._series[TRADES].rows) == 4)
    job.cancel()
    with suppress(asyncio.CancelledError):
        await job
    store.down = True
    again = asyncio.create_task(Retention(store, {"trades": 3}, HandClock()).run())
    await asyncio.sleep(0)
    assert not again.done()
    again.cancel()
