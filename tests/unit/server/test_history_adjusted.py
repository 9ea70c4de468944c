"""Adjusted prices: right until something happens to the company."""

from __future__ import annotations

import asyncio
from datetime import date

import pytest
from msgspec.structs import replace

from tickgate_server.errors import UpstreamBroken
from tickgate_server.market.corporate_action import CorporateAction, CorporateActionType
from tickgate_server.market.interval import Interval, union
from tickgate_server.market.series import Adjustment, SeriesKey, SeriesKind
from tickgate_server.market.timeframe import Timeframe, Unit
from tickgate_server.market.unavailable import Reason

from ...support.fakes import NOW, HandClock, bar, provenance
from ...support.history_desk import DAY, Desk

RAW = SeriesKey(SeriesKind.BARS, "AAPL", None, Timeframe(1, Unit.DAY))
ADJUSTED = replace(RAW, adjustments=frozenset({Adjustment.SPLIT}))
MONTH = Interval(NOW - 30 * DAY, NOW - 2 * DAY)


def event(what: CorporateActionType, day: date, symbol: str = "AAPL") -> CorporateAction:
    """Something that happened on *day*, which for `NOW` is the first of October."""
    return CorporateAction(
        id="1", type=what, symbol=symbol, new_symbol=None, old_rate=None, new_rate=None, cash_rate=None,
        ex_date=day, record_date=None, payable_date=None, process_date=None, special=None,
        provenance=provenance(None),
    )  # fmt: skip


class Days:
    """A desk that has read a month of adjusted bars, and lets days pass."""

    def __init__(
        self, *, stored: bool = True, cached: bool = False, replayed: bool = False
    ) -> None:
        self.clock = HandClock()
        bars = [bar(at=NOW - days * DAY) for days in range(20, 3, -1)]
        series = {ADJUSTED: bars, RAW: bars, ADJUSTED.about("IBM"): bars}
        self.desk = Desk(series, clock=self.clock, stored=stored, cached=cached, replayed=replayed)

    async def pages(self, key: SeriesKey = ADJUSTED, *symbols: str) -> int:
        """Read, and return how many pages that took."""
        before = self.desk.pages.pages
        told = await self.desk.ask(MONTH, *symbols, key=key)
        await self.desk.settle()
        assert all(len(one.values) == 17 for one in told.values())
        return self.desk.pages.pages - before

    def pass_day(self) -> None:
        """Let a day pass; what comes is received then."""
        self.clock.advance(24 * 3600)
        for key, block in self.desk.pages.series.items():
            if block is not None:
                origin = replace(block.origin, receive_time=self.clock.wall())
                self.desk.pages.series[key] = replace(block, origin=origin)


async def test_on_the_same_day_nobody_is_asked() -> None:
    """What was fetched today is right today."""
    days = Days()
    assert [await days.pages(), await days.pages()] == [1, 0]
    assert days.desk.actions.asked == []


async def test_on_a_later_day_it_is_asked_once_what_has_happened() -> None:
    """For all symbols together, from the day they were fetched; where nothing did, what is held is right."""
    days = Days()
    await days.pages(ADJUSTED, "AAPL", "IBM")
    days.pass_day()

    assert await asyncio.gather(*(days.pages(ADJUSTED, "AAPL", "IBM") for _ in range(3))) == [0] * 3
    assert days.desk.actions.asked == [(("AAPL", "IBM"), date(2026, 10, 1), date(2026, 10, 3))]


async def test_a_split_makes_them_wrong() -> None:
    """They are forgotten and fetched anew, once; those of another symbol stay."""
    days = Days()
    await days.pages(ADJUSTED, "AAPL", "IBM")
    days.pass_day()
    days.desk.actions.known = [event(CorporateActionType.FORWARD_SPLIT, date(2026, 10, 2))]

    assert await days.pages() == 1
    assert await days.pages() == 0
    assert await days.pages(ADJUSTED.about("IBM")) == 0
    days.pass_day()
    # On the day of the split nobody knows what came first: once more.
    assert await days.pages() == 1
    days.pass_day()
    assert await days.pages() == 0


async def test_what_is_wrong_is_forgotten_wherever_it_is() -> None:
    """Also what nobody asks for at the moment: only what was fetched since the split is held."""
    days = Days()
    await days.pages()
    days.pass_day()
    days.desk.actions.known = [event(CorporateActionType.FORWARD_SPLIT, date(2026, 10, 2))]

    week = Interval(MONTH.end - 7 * DAY, MONTH.end)
    await days.desk.ask_one(week, key=ADJUSTED)
    await days.desk.settle()

    held = (await days.desk.memory.coverage([ADJUSTED], MONTH))[ADJUSTED]
    assert union(one.interval for one in held) == [week]


@pytest.mark.parametrize(
    ("adjustment", "what", "wrong"),
    [
        (Adjustment.SPLIT, CorporateActionType.REVERSE_SPLIT, True),
        (Adjustment.SPLIT, CorporateActionType.STOCK_DIVIDEND, True),
        (Adjustment.SPLIT, CorporateActionType.CASH_DIVIDEND, False),
        (Adjustment.DIVIDEND, CorporateActionType.CASH_DIVIDEND, True),
        (Adjustment.DIVIDEND, CorporateActionType.FORWARD_SPLIT, False),
        (Adjustment.SPIN_OFF, CorporateActionType.SPIN_OFF, True),
        (Adjustment.SPIN_OFF, CorporateActionType.NAME_CHANGE, False),
    ],
)
async def test_only_what_the_adjustment_is_about_counts(
    adjustment: Adjustment, what: CorporateActionType, wrong: bool
) -> None:
    """A dividend does not change what is adjusted for splits alone."""
    days, key = Days(), replace(RAW, adjustments=frozenset({adjustment}))
    days.desk.pages.series[key] = days.desk.pages.series[ADJUSTED]
    await days.pages(key)
    days.pass_day()
    days.desk.actions.known = [event(what, date(2026, 10, 2))]

    assert (await days.pages(key) == 1) is wrong


async def test_prices_as_they_were_stay() -> None:
    """Raw bars are right for ever, and nothing is asked about them."""
    days = Days()
    await days.pages(RAW)
    days.pass_day()

    assert await days.pages(RAW) == 0
    assert days.desk.actions.asked == []


async def test_what_cannot_be_asked_is_not_held() -> None:
    """Then they are fetched anew; where that fails as well, the caller is told."""
    days = Days()
    await days.pages()
    days.pass_day()
    days.desk.actions.failing_with = UpstreamBroken("answered 500")

    assert await days.pages() == 1
    days.pass_day()
    days.desk.pages.failing_with = UpstreamBroken("answered 500")
    told = await days.desk.ask_one(MONTH, key=ADJUSTED)
    assert told.values == []
    assert told.broken.why.reason is Reason.UPSTREAM_ERROR


async def test_the_shared_cache_is_of_today() -> None:
    """Adjusted bars that it still holds from yesterday are passed over."""
    days = Days(stored=False, cached=True)
    year = Interval(NOW - 1000 * DAY, NOW)
    days.desk.pages.series[ADJUSTED] = days.desk.pages.series[RAW]

    async def tiers() -> list[str]:
        return (await days.desk.ask_one(year, key=ADJUSTED)).tiers

    assert [await tiers(), await tiers()] == [["upstream"], ["redis"]]
    days.pass_day()
    assert await tiers() == ["upstream"]


async def test_a_moment_of_the_past_is_read_as_it_was() -> None:
    """What was held then is told, although it is wrong by now."""
    days = Days()
    await days.pages()
    then = days.clock.wall()
    days.pass_day()
    days.desk.actions.known = [event(CorporateActionType.FORWARD_SPLIT, date(2026, 10, 2))]
    await days.pages()

    told = await days.desk.ask_one(MONTH, key=ADJUSTED, as_of=then)

    assert {value.provenance.receive_time for value in told.values} == {NOW}


@pytest.mark.parametrize(
    ("day", "pages"),
    [(date(2026, 9, 28), 0), (date(2026, 9, 29), 1), (date(2026, 10, 1), 1)],
)
async def test_in_a_replay_nobody_knows_when_something_was_fetched(day: date, pages: int) -> None:
    """Its time may have been set since: what has happened from the last day of a range on may not be in it yet."""
    # The range ends on the 29th of September.
    days = Days(replayed=True)
    await days.pages()
    days.desk.actions.known = [event(CorporateActionType.FORWARD_SPLIT, day)]

    assert [await days.pages(), await days.pages()] == [pages, pages]
    assert days.desk.actions.asked[0] == (("AAPL",), date(2026, 9, 29), date(2026, 10, 2))


async def test_a_replay_reads_no_adjusted_prices_from_the_cache() -> None:
    """Of what is in Redis nobody knows the day either."""
    days = Days(stored=False, cached=True, replayed=True)
    assert [await days.pages(), await days.pages()] == [1, 1]
