"""Reading the past: what is told, from where, and what is said where it cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from tickgate_server.errors import CircuitOpen, NotEntitled, UpstreamBroken
from tickgate_server.history.waiting import closing
from tickgate_server.market.columns import Block
from tickgate_server.market.interval import Interval
from tickgate_server.market.provenance import Feed, Tier
from tickgate_server.market.series import HistoryQuestion, SeriesKey, SeriesKind
from tickgate_server.market.timeframe import Timeframe, Unit
from tickgate_server.market.unavailable import Reason, TierOutcome
from tickgate_server.ports import SeriesBroken, SeriesDone

from ...support.fakes import NOW, HandClock, bar
from ...support.fanning import LoopClock, in_steered_time
from ...support.history_desk import (
    DAY,
    SECOND,
    TRADES,
    YESTERDAY,
    Desk,
    Told,
    since_yesterday,
    trades_at,
)
from ...support.history_pages import block_of
from ...support.history_store import MemoryStore

SIP = replace(TRADES, feed=Feed.SIP)
MINUTE = 60 * SECOND
MINUTES = SeriesKey(SeriesKind.BARS, "AAPL", Feed.IEX, Timeframe(1, Unit.MINUTE))


async def hold(desk: Desk, key: SeriesKey, interval: Interval, refused: int = 0) -> None:
    """Let the store hold all there is of *interval*."""
    block = desk.pages.series.get(key)
    rows = (
        [] if block is None else [row for row, time in enumerate(block.times) if time in interval]
    )
    values = (
        trades_at([time - YESTERDAY for time in block.times if time in interval]) if block else []
    )
    numbered = [replace(value, id=row) for value, row in zip(values, rows, strict=True)]
    held = block_of(numbered)
    await desk.memory.write(key, interval, [] if held is None else [held], refused)


# -------------------------------------------------------------------------------- what is held


async def test_what_may_still_change_is_told_and_not_held() -> None:
    """Trades of the last 35 seconds are asked for again the next time, and nothing else is."""
    ages = (100, 40, 30, 5)
    desk = Desk({TRADES: trades_at([DAY - age * SECOND for age in ages])})
    last_minutes = Interval(NOW - 200 * SECOND, NOW)

    assert (await desk.ask_one(last_minutes)).numbers == [0, 1, 2, 3]
    await desk.settle()
    again = await desk.ask_one(last_minutes)

    assert again.numbers == [0, 1, 2, 3]
    assert again.tiers == ["store", "upstream"]
    assert desk.pages.walks[-1].interval == Interval(NOW - 35 * SECOND, NOW)


async def test_a_bar_may_change_until_its_interval_has_ended() -> None:
    """A bar is held 35 seconds after its end, not after its start."""
    desk = Desk({MINUTES: [bar(at=NOW - minutes * MINUTE) for minutes in (3, 2, 1)]})

    await desk.ask_one(Interval(NOW - 5 * MINUTE, NOW), key=MINUTES)
    await desk.settle()
    held = await desk.memory.coverage([MINUTES], Interval(NOW - DAY, NOW))

    assert [one.interval for one in held[MINUTES]][-1].end == NOW - 95 * SECOND + 1


async def test_what_has_not_come_is_not_taken_for_empty() -> None:
    """A range is cut at the market's time, and one that lies wholly behind it has nothing."""
    desk = Desk({TRADES: trades_at([DAY - 60 * SECOND])})

    told = await desk.ask_one(Interval(NOW - MINUTE, NOW + DAY))
    later = await desk.ask_one(Interval(NOW + SECOND, NOW + DAY))

    assert told.numbers == [0]
    assert desk.pages.walks[0].interval.end == NOW
    assert later.broken.why.reason is Reason.NO_DATA
    assert "not come yet" in later.broken.why.message


async def test_without_an_upstream_what_is_held_is_told_in_full() -> None:
    """An open breaker is nothing to a covered range; an uncovered one says why not, and from when."""
    desk = Desk({TRADES: trades_at(range(10))})
    await hold(desk, TRADES, since_yesterday(0, 6))
    desk.pages.failing_with = CircuitOpen("the upstream is left alone", retry_delay=5)

    covered = await desk.ask_one(since_yesterday(0, 6))
    partly = await desk.ask_one(since_yesterday(0, 10))

    assert covered.numbers == [0, 1, 2, 3, 4, 5]
    assert isinstance(covered.end, SeriesDone)
    assert partly.numbers == [0, 1, 2, 3, 4, 5]
    assert partly.broken.why.reason is Reason.CIRCUIT_OPEN
    assert partly.broken.why.retry_delay == 5
    assert partly.broken.missing == since_yesterday(6, 10)
    assert [(one.tier, one.outcome) for one in partly.broken.why.tiers] == [
        (Tier.STORE, TierOutcome.EMPTY),
        (Tier.UPSTREAM, TierOutcome.FAILED),
    ]


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("chunks", range(1, 8))
async def test_a_store_that_goes_down_in_the_middle_is_replaced(
    chunks: int, newest_first: bool
) -> None:
    """The upstream goes on behind the last value, also within one crowded instant; nothing comes twice."""
    desk = Desk({TRADES: trades_at([1, 2, 2, 2, 2, 3, 3, 9])})
    expected = (await desk.ask_one(since_yesterday(0, 10), newest_first=newest_first)).numbers
    await desk.settle()
    question = HistoryQuestion(TRADES, ("AAPL",), since_yesterday(0, 10), newest_first)
    told = Told()

    async for event in desk.reader.read(question, rows=1):
        told.take(event)
        desk.memory.down = len(told.chunks) >= chunks

    assert told.numbers == expected
    assert told.tiers == ["store", "upstream"]
    assert told.done.count == len(expected)


async def test_one_symbol_that_fails_does_not_harm_the_others() -> None:
    """Symbols that are held are told; those that need the same upstream each get its reason."""
    desk = Desk({TRADES.about(one): trades_at(range(4), one) for one in ("AAPL", "IBM", "MSFT")})
    await hold(desk, TRADES.about("IBM"), since_yesterday(0, 4))
    desk.pages.failing_with = UpstreamBroken("answered 500")

    told = await desk.ask(since_yesterday(0, 4), "AAPL", "IBM", "MSFT")

    assert told["IBM"].numbers == [0, 1, 2, 3]
    assert told["AAPL"].broken.why.reason is told["MSFT"].broken.why.reason is Reason.UPSTREAM_ERROR
    assert desk.pages.pages == 1


# ------------------------------------------------------------------------------- several symbols


async def test_symbols_that_miss_the_same_travel_together() -> None:
    """One walk brings them all, and they are told in the order asked for, which is not the upstream's."""
    desk = Desk({TRADES.about(one): trades_at(range(4), one) for one in ("AAPL", "IBM", "MSFT")})

    told = await desk.ask(since_yesterday(0, 9), "MSFT", "AAPL", "IBM")

    assert [one.numbers for one in told.values()] == [[0, 1, 2, 3]] * 3
    assert len(desk.pages.walks) == desk.pages.pages == 1


async def test_a_malformed_symbol_stands_alone() -> None:
    """The upstream fails the question about all for one of them: that one is unknown, the others are told."""
    desk = Desk({TRADES.about(one): trades_at(range(4), one) for one in ("AAPL", "IBM")})
    desk.pages.invalid = ("BAD", "WORSE")

    told = await desk.ask(since_yesterday(0, 9), "WORSE", "IBM", "BAD", "AAPL")

    assert told["IBM"].numbers == told["AAPL"].numbers == [0, 1, 2, 3]
    assert told["BAD"].broken.why.reason is told["WORSE"].broken.why.reason is Reason.SYMBOL_UNKNOWN
    assert "invalid symbol: BAD" in told["BAD"].broken.why.message


@pytest.mark.parametrize(
    ("listed", "reason", "passing"),
    [(("IBM",), Reason.SYMBOL_UNKNOWN, False), (("AAPL",), Reason.NO_DATA, False), (None, Reason.NO_DATA, True)],
    ids=["not listed", "listed", "cannot be told"],
)  # fmt: skip
async def test_an_empty_range_is_told_from_an_unknown_symbol(
    listed: tuple[str, ...] | None, reason: Reason, passing: bool
) -> None:
    """Nothing is said to be unknown that may only have been quiet, and the range is named."""
    desk = Desk(listed=listed)

    told = await desk.ask_one(since_yesterday(0, 9))

    assert told.broken.why.reason is reason
    assert told.broken.why.passing is passing
    assert told.broken.missing == since_yesterday(0, 9)
    assert told.broken.position.done
    if reason is Reason.NO_DATA:
        assert "2026-09-30T15:00:00Z" in told.broken.why.message


async def test_refused_records_are_counted_wherever_the_rest_comes_from() -> None:
    """Also from the store it is said how many records were left out."""
    desk = Desk({TRADES: trades_at([1, 2])})
    desk.pages.refused = {TRADES: [YESTERDAY + 1, YESTERDAY + 3]}

    assert (await desk.ask_one(since_yesterday(0, 9))).done.refused == 2
    await desk.settle()
    again = await desk.ask_one(since_yesterday(0, 9))
    assert again.tiers == ["store"]
    assert again.done.refused == 2


async def test_a_range_of_which_everything_was_refused_is_invalid() -> None:
    """It is no empty range: the first refusal is the reason."""
    desk = Desk()
    desk.pages.refused = {TRADES: [YESTERDAY + 3]}

    first = await desk.ask_one(since_yesterday(0, 9))
    await desk.settle()
    again = await desk.ask_one(since_yesterday(0, 9))

    assert first.broken.why.reason is again.broken.why.reason is Reason.INVALID_DATA
    assert first.broken.why.refusal is not None
    assert desk.pages.pages == 1


# ----------------------------------------------------------------------------------- entitlement


def recent_desk(stored: bool = True) -> Desk:
    """A desk whose account may read all but the last quarter of an hour, in which there is a trade a minute."""
    desk = Desk(
        {SIP: trades_at([DAY - minutes * MINUTE for minutes in range(1, 60)])}, stored=stored
    )
    desk.pages.readable_until = NOW - 15 * MINUTE
    return desk


HOUR = Interval(NOW - 60 * MINUTE, NOW)


@pytest.mark.parametrize("newest_first", [False, True])
async def test_a_range_that_may_not_be_read_to_its_end_is_refused_whole(newest_first: bool) -> None:
    """Also what is held of it is not told first, as if more came."""
    desk = recent_desk()
    await desk.memory.write(SIP, Interval(NOW - 60 * MINUTE, NOW - 30 * MINUTE), [])

    told = await desk.ask_one(HOUR, key=SIP, newest_first=newest_first)

    assert told.numbers == []
    assert told.broken.why.reason is Reason.NOT_ENTITLED
    assert told.broken.missing == HOUR


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("stored", [False, True])
async def test_a_clamp_gives_way_and_says_so(stored: bool, newest_first: bool) -> None:
    """The answer reaches as far as the account, and names its end, for every symbol."""
    desk = recent_desk(stored)

    told = await desk.ask(HOUR, "AAPL", "IBM", key=SIP, clamp=True, newest_first=newest_first)

    # At the sixteenth minute the range ends.
    assert len(told["AAPL"].numbers) == 43
    assert told["AAPL"].done.clamped_end == NOW - 16 * MINUTE
    assert told["IBM"].broken.why.reason is Reason.NO_DATA
    assert told["IBM"].broken.missing == Interval(HOUR.start, NOW - 16 * MINUTE)


async def test_a_clamp_does_not_cut_what_is_held() -> None:
    """A symbol that is held to the end of the range is told to its end."""
    desk = recent_desk()
    held = desk.pages.series[SIP]
    assert held is not None
    await desk.memory.write(SIP.about("IBM"), HOUR, [held])

    told = await desk.ask(HOUR, "AAPL", "IBM", key=SIP, clamp=True)

    assert told["AAPL"].done.clamped_end == NOW - 16 * MINUTE
    assert told["IBM"].done.clamped_end is None
    assert len(told["IBM"].numbers) == 59


async def test_a_clamp_that_leaves_nothing_is_no_answer() -> None:
    """A range of the last quarter of an hour alone may not be read at all."""
    told = await recent_desk().ask_one(Interval(NOW - 10 * MINUTE, NOW), key=SIP, clamp=True)

    assert told.broken.why.reason is Reason.NOT_ENTITLED


async def test_another_refusal_is_no_matter_of_the_end() -> None:
    """Where the whole feed is refused, a clamp is tried once and does not help."""
    desk = recent_desk()
    desk.pages.failing_with = NotEntitled("answered 403", said="not your feed", about_feed=True)

    told = await desk.ask_one(HOUR, key=SIP, clamp=True)

    assert told.broken.why.reason is Reason.NOT_ENTITLED
    assert desk.pages.pages == 2


# --------------------------------------------------------------------------------------- tiers


async def test_what_was_known_then_only_the_store_can_say() -> None:
    """Without a store it is not supported, with a store that is down it is unavailable, and nothing is asked."""
    without, down = Desk(stored=False), Desk()
    down.memory.down = True

    assert (
        await without.ask_one(since_yesterday(0, 9), as_of=NOW)
    ).broken.why.reason is Reason.NOT_SUPPORTED
    assert (
        await down.ask_one(since_yesterday(0, 9), as_of=NOW)
    ).broken.why.reason is Reason.STORE_UNAVAILABLE
    assert without.pages.pages == down.pages.pages == 0


async def test_what_was_not_known_then_is_not_told() -> None:
    """What was held at that moment is told as it was; where that ends, it says so."""
    clock = HandClock()
    desk = Desk({TRADES: trades_at(range(10))}, clock=clock)
    await desk.ask_one(since_yesterday(0, 5))
    await desk.settle()
    then = clock.wall()
    clock.advance(60)
    desk.pages.series[TRADES] = None
    await desk.memory.write(TRADES, since_yesterday(0, 10), [])

    told = await desk.ask_one(since_yesterday(0, 10), as_of=then)

    assert told.numbers == [0, 1, 2, 3, 4]
    assert told.broken.why.reason is Reason.NOT_HELD
    assert "not known then" in told.broken.why.message
    assert told.broken.missing == since_yesterday(5, 10)


async def test_a_tier_that_is_named_alone_answers_alone() -> None:
    """The others are said not to have been allowed; a store that is down or missing is said to be that."""
    desk = Desk({TRADES: trades_at(range(10))}, cached=True)
    only = frozenset({Tier.REDIS, Tier.STORE})

    told = await desk.ask_one(since_yesterday(0, 9), allowed_tiers=only)
    desk.memory.down = True
    down = await desk.ask_one(since_yesterday(0, 9), allowed_tiers=only)

    assert told.broken.why.reason is Reason.NOT_HELD
    assert [(one.tier, one.outcome) for one in told.broken.why.tiers] == [
        (Tier.REDIS, TierOutcome.EMPTY),
        (Tier.STORE, TierOutcome.EMPTY),
        (Tier.UPSTREAM, TierOutcome.NOT_ALLOWED),
    ]
    assert down.broken.why.reason is Reason.STORE_UNAVAILABLE


async def test_the_upstream_alone_is_asked_and_what_it_brings_is_held() -> None:
    """Whoever wants it fresh gets it from there, and the next one finds it in the store."""
    desk = Desk({TRADES: trades_at(range(10))}, page=2, spool=1)
    for _ in range(2):
        told = await desk.ask_one(
            since_yesterday(0, 20), rows=1, allowed_tiers=frozenset({Tier.UPSTREAM})
        )
        assert told.tiers == ["upstream"]
        assert told.numbers == list(range(10))
        await desk.settle()

    assert len(desk.pages.walks) == 2
    assert (await desk.ask_one(since_yesterday(0, 20))).tiers == ["store"]


# --------------------------------------------------------------------------------------- limits


async def test_the_newest_values_take_no_more_than_a_page() -> None:
    """Of a long range only what was read is asked for and held."""
    desk = Desk({TRADES: trades_at(range(1000))}, least_page=1)

    told = await desk.ask_one(since_yesterday(0, 1000), newest_first=True, limit=10)
    await desk.settle()

    assert told.numbers == list(range(999, 989, -1))
    assert desk.pages.pages == 1
    (held,) = (await desk.memory.coverage([TRADES], since_yesterday(0, 1000)))[TRADES]
    assert held.interval == since_yesterday(990, 1000)
    assert (await desk.ask_one(since_yesterday(0, 1000), newest_first=True, limit=10)).tiers == [
        "store"
    ]
    assert desk.pages.pages == 1


# -------------------------------------------------------------------------------------- patience


@in_steered_time
async def test_a_deadline_bounds_all() -> None:
    """What has come by then is told, and the rest is out of time; so is every symbol behind."""
    desk = Desk({TRADES: trades_at(range(10))}, clock=LoopClock())
    await hold(desk, TRADES, since_yesterday(0, 5))
    desk.pages.open.clear()
    begun = desk.clock.monotonic()

    told = await desk.ask(since_yesterday(0, 10), "AAPL", "IBM", deadline=begun + 2)

    assert told["AAPL"].numbers == [0, 1, 2, 3, 4]
    assert told["AAPL"].broken.missing == since_yesterday(5, 10)
    assert told["AAPL"].broken.why.reason is Reason.UPSTREAM_TIMEOUT
    # Nobody was asked about it any more.
    assert told["IBM"].broken.why.reason is Reason.OUT_OF_TIME
    assert told["IBM"].broken.why.tiers == ()
    assert 1.9 <= desk.clock.monotonic() - begun <= 2
    assert len(desk.pages.walks) == 1
    await desk.reader.aclose()


@pytest.mark.parametrize(("newest_first", "left"), [(False, (2, 10)), (True, (0, 3))])
@in_steered_time
async def test_who_reads_too_slowly_is_told_where_it_breaks_off(
    newest_first: bool, left: tuple[int, int]
) -> None:
    """What is missing begins at the instant of the last value, which may have more, and no tier is said to lack it."""
    desk = Desk({TRADES: trades_at([1, 2, 2, 2, 9])}, clock=LoopClock())
    await hold(desk, TRADES, since_yesterday(0, 10))
    question = HistoryQuestion(TRADES, ("AAPL",), since_yesterday(0, 10), newest_first)
    told = Told()

    deadline = desk.clock.monotonic() + 2
    async for event in desk.reader.read(question, rows=1, deadline=deadline):
        told.take(event)
        await asyncio.sleep(0.7)

    assert told.numbers == ([4, 3, 2] if newest_first else [0, 1, 2])
    assert told.broken.missing == since_yesterday(*left)
    assert told.broken.why.reason is Reason.OUT_OF_TIME
    assert told.broken.why.passing
    assert told.broken.why.tiers == ()
    assert desk.pages.pages == 0


@pytest.mark.parametrize("newest_first", [False, True])
@in_steered_time
async def test_bars_break_off_behind_the_last_one(newest_first: bool) -> None:
    """There is one bar at its time, so the last one that was told is not missing."""
    whole = Interval(NOW - 60 * MINUTE, NOW - 50 * MINUTE)
    bars = [bar(at=whole.start + place * MINUTE) for place in range(10)]
    desk = Desk({MINUTES: bars}, clock=LoopClock())
    await desk.ask_one(whole, key=MINUTES)
    await desk.settle()
    question = HistoryQuestion(MINUTES, ("AAPL",), whole, newest_first)
    told = Told()

    deadline = desk.clock.monotonic() + 2
    async for event in desk.reader.read(question, rows=1, deadline=deadline):
        told.take(event)
        await asyncio.sleep(0.7)

    last = told.values[-1].event_time
    assert len(told.values) == 3
    expected = Interval(whole.start, last) if newest_first else Interval(last + 1, whole.end)
    assert told.broken.missing == expected


class _Stalled(MemoryStore):
    """A store that reads one block and then nothing any more."""

    async def read(self, *args: Any, **kwargs: Any) -> AsyncIterator[Block]:
        async with closing(super().read(*args, **kwargs)) as blocks:
            async for block in blocks:
                yield block
                await asyncio.sleep(3600)


@in_steered_time
async def test_a_store_that_stalls_is_named_and_not_the_upstream() -> None:
    """The tier that was asked when time was up did not answer; one that was not asked is not blamed."""
    clock = LoopClock()
    desk = Desk({TRADES: trades_at(range(10))}, clock=clock)
    desk.memory = desk.store = _Stalled(clock)
    desk.reader = desk.another()
    await hold(desk, TRADES, since_yesterday(0, 10))

    told = await desk.ask_one(since_yesterday(0, 10), rows=4, deadline=clock.monotonic() + 2)

    assert told.numbers == [0, 1, 2, 3]
    assert told.broken.missing == since_yesterday(3, 10)
    assert told.broken.why.reason is Reason.OUT_OF_TIME
    assert [(one.tier, one.outcome) for one in told.broken.why.tiers] == [
        (Tier.STORE, TierOutcome.FAILED)
    ]
    assert desk.pages.pages == 0


@in_steered_time
async def test_without_a_deadline_it_lasts_as_long_as_it_gets_on() -> None:
    """After 60 seconds in which nothing came it ends."""
    desk = Desk({TRADES: trades_at(range(10))}, clock=LoopClock(), stored=False)
    desk.pages.open.clear()
    begun = desk.clock.monotonic()

    told = await desk.ask_one(since_yesterday(0, 10))

    assert isinstance(told.end, SeriesBroken)
    assert told.end.why.reason is Reason.UPSTREAM_TIMEOUT
    assert desk.clock.monotonic() - begun == 60
    await desk.reader.aclose()
