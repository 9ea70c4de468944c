"""The refresh of watchlists: what is fetched, what is left alone, and when."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from apscheduler.triggers.interval import IntervalTrigger

from tickgate_server.errors import StoreDown, UpstreamBroken
from tickgate_server.jobs.first_watchlists import keep_putting, put_first
from tickgate_server.jobs.refresher import Refresher, schedule
from tickgate_server.market.provenance import Feed
from tickgate_server.market.timeframe import Timeframe
from tickgate_server.market.unavailable import Reason
from tickgate_server.market.watchlist import Watchlist
from tickgate_server.stores.watchlists import MemoryWatchlists

from ...support.fakes import NOW, FakeLatest, quote
from ...support.history_store import MemoryWatchlists as FailingWatchlists
from ...support.past import DAY, DAYS, MINUTES, Past, daily_bars, minute_bars
from ...support.waiting import until


class Desk:
    """A refresher over a past in memory."""

    def __init__(self, *symbols: str) -> None:
        self.past = Past(*symbols)
        self.watchlists = MemoryWatchlists()
        self.quotes = FakeLatest(self.past.clock, {one: quote(one) for one in symbols})
        self.refresher = self.again()

    def again(self) -> Refresher:
        """Return what another process would have."""
        return Refresher(
            self.watchlists,
            self.past.fetcher,
            self.quotes,
            self.past.clock,
            feed=Feed.IEX,
            first=0,
        )

    async def watch(
        self,
        *symbols: str,
        name: str = "mine",
        timeframes: tuple[Timeframe, ...] = (DAYS,),
        days: int = 30,
    ) -> None:
        """Put *symbols* on a watchlist."""
        await self.watchlists.put(
            Watchlist(name, symbols, False, timeframes, days, self.past.clock.wall())
        )


async def test_it_fetches_the_bars_of_watchlists() -> None:
    """A refresh brings the bars of each watchlist's timeframes into the store, and notes when it ended."""
    desk = Desk("AAPL", "IBM")
    await desk.watch("AAPL", "IBM", timeframes=(DAYS, MINUTES))
    done = await desk.refresher.refresh()
    assert (done.refreshed, done.skipped, done.fetched, done.failed) == (4, 0, 80, {})
    assert await desk.past.count(minute_bars("IBM")) == 30
    # The bar of the day that is not over is not final.
    assert await desk.past.count(daily_bars("AAPL")) == 9
    listed = await desk.watchlists.get("mine")
    assert listed is not None
    assert listed.refresh_time == desk.past.clock.wall()


async def test_what_is_younger_than_a_day_is_left_alone() -> None:
    """A series is refreshed once a day, on however many lists it stands and however often that is asked for."""
    desk = Desk("AAPL", "IBM")
    await desk.watch("AAPL")
    await desk.watch("AAPL", "IBM", name="others")
    first = await desk.refresher.refresh()
    assert (first.refreshed, first.skipped) == (2, 1)
    desk.past.clock.advance(12 * 3600)
    again = await desk.refresher.refresh()
    assert (again.refreshed, again.skipped, again.fetched) == (0, 3, 0)
    desk.past.clock.advance(12 * 3600)
    assert (await desk.refresher.refresh()).refreshed == 2


async def test_a_longer_reach_is_fetched_at_once() -> None:
    """A list that reaches further back than what was refreshed is not up to date."""
    desk = Desk("AAPL")
    await desk.watch("AAPL", days=3)
    assert (await desk.refresher.refresh()).fetched == 3
    await desk.watch("AAPL", days=30)
    assert (await desk.refresher.refresh()).fetched == 8


async def test_a_restart_does_not_refresh_again() -> None:
    """What another process refreshed less than a day ago is left alone, unless the list was changed since."""
    desk = Desk("AAPL")
    await desk.watch("AAPL")
    await desk.refresher.refresh()
    desk.past.clock.advance(3600)
    assert (await desk.again().refresh()).skipped == 1
    await desk.watch("AAPL")
    assert (await desk.again().refresh()).refreshed == 1


async def test_one_failure_is_not_one_of_the_others() -> None:
    """What fails is told with its reason, and tried again by the next refresh, however soon that comes."""
    desk = Desk("AAPL", "IBM")
    desk.past.pages.invalid = ["BAD"]
    await desk.watch("AAPL", "BAD", "IBM")
    first = await desk.refresher.refresh()
    assert first.refreshed == 2
    assert {name: why.reason for name, why in first.failed.items()} == {
        "BAD 1Day": Reason.SYMBOL_UNKNOWN
    }
    again = await desk.refresher.refresh()
    assert (list(again.failed), again.skipped) == (["BAD 1Day"], 2)


async def test_it_warms_what_is_asked_for_first() -> None:
    """After the start the quotes of all symbols on watchlists are asked for, and a year of their daily bars."""
    desk = Desk("AAPL", "IBM")
    await desk.refresher.warm()
    assert desk.quotes.asked == []
    await desk.watch("AAPL")
    await desk.watch("IBM", "AAPL", name="others", timeframes=())
    await desk.refresher.warm()
    (asked,) = desk.quotes.asked
    assert (asked.symbols, asked.feed) == (("AAPL", "IBM"), Feed.IEX)
    (walk,) = desk.past.pages.walks
    assert (walk.symbols, walk.key) == (("AAPL", "IBM"), daily_bars("AAPL"))
    assert walk.interval.start == NOW - 366 * DAY


async def test_a_failure_to_warm_is_no_failure_to_start() -> None:
    """Warming only makes first answers quicker: nothing of it is raised."""
    desk = Desk("AAPL")
    await desk.watch("AAPL")
    desk.past.pages.failing_with = UpstreamBroken("answered 500")
    await desk.refresher.warm()
    desk.refresher._watchlists = failing = FailingWatchlists()
    failing.down = True
    await desk.refresher.warm()
    with pytest.raises(StoreDown):
        await desk.refresher.refresh()


async def test_it_refreshes_whenever_it_is_due() -> None:
    """As a job it refreshes each time that its trigger is due, and goes on after a failure."""
    desk = Desk("AAPL")
    await desk.watch("AAPL")
    failing = FailingWatchlists()
    failing.down = True
    desk.refresher._watchlists = failing
    job = asyncio.create_task(desk.refresher.run(IntervalTrigger(seconds=1, start_date=_soon())))
    await asyncio.sleep(0)
    desk.refresher._watchlists = desk.watchlists
    await until(lambda: desk.past.pages.pages > 0)
    job.cancel()
    with suppress(asyncio.CancelledError):
        await job


def _soon() -> datetime:
    return datetime.now(UTC)


@pytest.mark.parametrize(
    ("after", "due"),
    [
        ("2026-10-01T15:00:00Z", "2026-10-01T22:30:00Z"),
        ("2026-10-02T22:30:00.5Z", "2026-10-05T22:30:00Z"),
        # Clocks went back on 1 November: half past six in New York is an hour later.
        ("2026-10-30T22:31:00Z", "2026-11-02T23:30:00Z"),
    ],
)
def test_hours_are_those_of_the_exchange(after: str, due: str) -> None:
    """The example's refresh is due at 18:30 in New York, from Monday to Friday, in summer and in winter."""
    trigger = schedule("30 18 * * MON-FRI", "America/New_York")
    found = trigger.get_next_fire_time(None, datetime.fromisoformat(after))
    assert found.astimezone(UTC) == datetime.fromisoformat(due)


async def test_watchlists_of_the_settings_are_put_where_there_is_none() -> None:
    """A list that somebody has changed stays as he changed it; the others are there from the start."""
    mine = Watchlist("mine", ("AAPL",), True, (DAYS,), 366, NOW)
    others = Watchlist("others", ("IBM",), False, (), 1, NOW)
    held = MemoryWatchlists()
    await held.put(Watchlist("mine", ("MSFT",), False, (), 1, NOW))
    await put_first(held, [mine, others])
    assert [(one.name, one.symbols) for one in await held.everything()] == [
        ("mine", ("MSFT",)),
        ("others", ("IBM",)),
    ]


async def test_they_are_put_as_soon_as_they_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is away at the start gets them when it comes back."""
    monkeypatch.setattr("tickgate_server.jobs.first_watchlists._AGAIN", 0.001)
    held = FailingWatchlists()
    held.down = True
    putting = asyncio.create_task(
        keep_putting(held, [Watchlist("mine", ("AAPL",), True, (), 1, NOW)])
    )
    await asyncio.sleep(0)
    held.down = False
    await putting
    assert await held.get("mine") is not None
