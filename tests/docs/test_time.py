"""What docs/time.md says of time, claim by claim, by a whole gateway in front of a sandbox."""

from __future__ import annotations

import datetime
from dataclasses import replace
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

import tickgate
from tickgate_sandbox import SandboxSettings
from tickgate_server.history.slots import midnight
from tickgate_server.market.time import NANOS, parse_rfc3339
from tickgate_server.market.timeframe import parse_timeframe

from ..support.running import FROZEN, Stack, running

NEW_YORK = ZoneInfo("America/New_York")
DAY = datetime.timedelta(days=1)


def at(market_time: str) -> SandboxSettings:
    """A gateway whose market stands at *market_time*."""
    return replace(FROZEN, at=market_time)


def new_york(day: str, hour: str) -> datetime.datetime:
    """The moment at which clocks in New York show *hour* on *day*."""
    return datetime.datetime.fromisoformat(f"{day}T{hour}").replace(tzinfo=NEW_YORK)


async def session_at(stack: Stack, market_time: str) -> tickgate.MarketSession | None:
    """The session that a caller is told when the market's clock shows *market_time*."""
    stack.sandbox.clock.seek(parse_rfc3339(market_time))
    await stack.refresh()
    async with tickgate.connect(stack.target) as gateway:
        return (await gateway.clock()).session


async def test_nanoseconds_survive() -> None:
    """A stamp leaves with every digit that came, and the datetime beside it is rounded down."""
    async with running() as stack:
        quote = '{"t":"2026-10-01T14:59:59.123456789Z","bp":1.5,"ap":2.5,"bs":1,"as":1}'
        stack.sandbox.pins.put("quotes", "AAPL", quote)
        async with tickgate.connect(stack.target) as gateway:
            origin = (await gateway.quote("AAPL")).provenance

    assert origin.event_time_ns == parse_rfc3339("2026-10-01T14:59:59.123456789Z")
    assert origin.event_time is not None
    assert origin.event_time.microsecond == 123456


async def test_a_day_begins_in_new_york_and_a_bare_hour_is_refused() -> None:
    """A plain day is midnight in New York, and a time without a zone is refused before it is sent."""
    async with running() as stack, tickgate.connect(stack.target) as gateway:
        days = [
            await gateway.bars("AAPL", "1Hour", start, "2026-09-30T16:00:00Z").fetch()
            for start in ("2026-09-30", datetime.date(2026, 9, 30), "2026-09-30T04:00:00Z")
        ]
        with pytest.raises(tickgate.InvalidRequest):
            await gateway.price_at("AAPL", datetime.datetime(2026, 9, 30, 10, 30))  # noqa: DTZ001

    firsts = {next(iter(records)).start_time for records in days}
    assert len({len(records) for records in days}) == len(firsts) == 1
    assert firsts.pop() >= new_york("2026-09-30", "00:00")


async def test_each_value_tells_its_times() -> None:
    """The event is the market's, receipt and serving are the gateway's wall clock; ages are of the serving."""
    async with running() as stack, tickgate.connect(stack.target) as gateway:
        before = datetime.datetime.now(datetime.UTC)
        quote = await gateway.quote("AAPL", max_age=0)
        after = datetime.datetime.now(datetime.UTC)
        origin, market = quote.provenance, (await gateway.clock()).market_time_ns
        again = (await gateway.quote("AAPL")).provenance

    assert origin.receive_time is not None
    assert before <= origin.receive_time <= origin.serve_time <= after
    assert origin.event_time_ns is not None
    assert origin.event_age_ns == market - origin.event_time_ns
    assert again.receive_age_ns > origin.receive_age_ns, (
        "worked out anew, though the value is the same"
    )


async def test_a_sandbox_owns_market_time_alone() -> None:
    """Before a sandbox of another day events are young and what was received is received today."""
    async with (
        running(at("2024-07-02T15:00:00Z")) as stack,
        tickgate.connect(stack.target) as gateway,
    ):
        quote = await gateway.quote("AAPL")
        clock = await gateway.clock()

    assert quote.market_session is tickgate.MarketSession.OPEN
    assert quote.provenance.event_age is not None
    assert quote.provenance.event_age < datetime.timedelta(seconds=60)
    assert clock.market_time == new_york("2024-07-02", "11:00")
    assert quote.provenance.receive_time is not None
    assert quote.provenance.receive_time - clock.market_time > 365 * DAY


async def test_sessions_of_a_full_day() -> None:
    """Each session begins with its first nanosecond, and the one before has ended then."""
    edges = {
        "2026-10-01T08:00:00Z": tickgate.MarketSession.PRE_MARKET,
        "2026-10-01T13:30:00Z": tickgate.MarketSession.OPEN,
        "2026-10-01T20:00:00Z": tickgate.MarketSession.AFTER_HOURS,
        "2026-10-02T00:00:00Z": tickgate.MarketSession.CLOSED,
    }
    async with running() as stack:
        before = tickgate.MarketSession.CLOSED
        for edge, session in edges.items():
            just_before = parse_rfc3339(edge) - 1
            stack.sandbox.clock.seek(just_before)
            await stack.refresh()
            assert stack.gateway.keeper.session() == before.name.lower()
            assert await session_at(stack, edge) is session
            before = session


async def test_half_days_and_holidays_are_the_calendars() -> None:
    """The Friday behind Thanksgiving closes at 13:00, Thanksgiving has no session, and dates are half-open."""
    async with running() as stack, tickgate.connect(stack.target) as gateway:
        days = await gateway.sessions(datetime.date(2026, 11, 25), datetime.date(2026, 11, 30))
        thanksgiving = await session_at(stack, "2026-11-26T16:00:00Z")
        friday = await session_at(stack, "2026-11-27T18:00:00Z")

    assert [day.date.day for day in days] == [25, 27]
    assert [day.close_time for day in days] == [
        new_york("2026-11-25", "16:00"),
        new_york("2026-11-27", "13:00"),
    ]
    assert thanksgiving is tickgate.MarketSession.CLOSED
    assert friday is tickgate.MarketSession.AFTER_HOURS


async def test_the_opening_moves_with_the_clocks_of_new_york() -> None:
    """Core trading begins at 13:30 UTC in summer and at 14:30 UTC in winter."""
    async with running() as stack, tickgate.connect(stack.target) as gateway:
        days = await gateway.sessions(datetime.date(2026, 3, 6), datetime.date(2026, 3, 10))

    hours = [(day.open_time.date().isoformat(), day.open_time.time().isoformat()) for day in days]
    assert hours == [("2026-03-06", "14:30:00"), ("2026-03-09", "13:30:00")]


def test_days_have_23_24_or_25_hours() -> None:
    """A day goes from midnight to midnight in New York, however long that is; a daily bar ends with it."""
    timeframe = parse_timeframe("1Day")
    assert timeframe is not None
    for day, hours in (("2026-03-08", 23), ("2026-11-01", 25), ("2026-06-01", 24)):
        first = datetime.date.fromisoformat(day)
        assert midnight(first + DAY) - midnight(first) == hours * 3600 * NANOS
        assert timeframe.end_of(midnight(first)) == midnight(first + DAY)


async def test_ranges_are_half_open_and_bars_carry_their_start() -> None:
    """Two ranges that touch share no bar and miss none; a daily bar is stamped at midnight, a weekly one on Monday."""
    async with running() as stack, tickgate.connect(stack.target) as gateway:

        async def starts(start: str, end: str, timeframe: str = "1Min") -> list[datetime.datetime]:
            records = await gateway.bars("AAPL", timeframe, start, end).fetch()
            return [bar.start_time for bar in records]

        first = await starts("2026-09-30T14:30:00Z", "2026-09-30T14:32:00Z")
        second = await starts("2026-09-30T14:32:00Z", "2026-09-30T14:34:00Z")
        both = await starts("2026-09-30T14:30:00Z", "2026-09-30T14:34:00Z")
        days = await starts("2026-09-29", "2026-10-01", "1Day")
        weeks = await starts("2026-09-14", "2026-09-28", "1Week")

    assert first + second == both
    assert [start.minute for start in both] == [30, 31, 32, 33]
    assert days == [new_york("2026-09-29", "00:00"), new_york("2026-09-30", "00:00")]
    assert weeks == [new_york("2026-09-14", "00:00"), new_york("2026-09-21", "00:00")]


async def test_a_range_ends_with_the_present() -> None:
    """A range whose end lies ahead is answered up to now; one that lies wholly ahead is refused."""
    async with running() as stack, tickgate.connect(stack.target) as gateway:
        records = await gateway.bars(
            "AAPL", "1Min", "2026-10-01T14:50:00Z", "2026-10-05T00:00:00Z", partial=True
        ).fetch()
        with pytest.raises(tickgate.InvalidRequest):
            await gateway.bars("AAPL", "1Min", "2026-10-02", "2026-10-03").fetch()

    assert all(bar.start_time <= new_york("2026-10-01", "11:00") for bar in records)


async def test_a_price_is_never_of_later() -> None:
    """A price at a moment is that of a trade at or before it, and a trade at exactly that moment counts."""
    async with running() as stack, tickgate.connect(stack.target) as gateway:
        found = await gateway.price_at("AAPL", "2026-09-30T18:00:00Z", tolerance=600)
        moment = found.trade.provenance.event_time_ns
        assert moment is not None
        exactly = await gateway.price_at("AAPL", moment, tolerance=0)
        before = await gateway.price_at("AAPL", moment - 1, tolerance=600)
        with pytest.raises(tickgate.NoData):
            await gateway.price_at("AAPL", "2026-09-27T18:00:00Z", tolerance=600)  # a Sunday

    assert moment <= int(new_york("2026-09-30", "14:00").timestamp()) * NANOS
    assert exactly.price == found.price
    assert exactly.age_ns == 0
    assert (before.trade.provenance.event_time_ns or moment) < moment
    assert isinstance(found.price, Decimal)


async def test_a_contract_trades_up_to_its_last_moment() -> None:
    """At 16:00 of its day a contract is still answered, and a nanosecond later it has expired."""
    contract = "AAPL261002C00230000"
    close = new_york("2026-10-02", "16:00")
    nanos = int(close.timestamp()) * NANOS
    async with (
        running(at("2026-10-02T19:59:00Z")) as stack,
        tickgate.connect(stack.target) as gateway,
    ):
        stack.sandbox.clock.seek(nanos)
        await stack.refresh()
        (last,) = await gateway.option_quotes([contract])
        stack.sandbox.clock.seek(nanos + 1)
        await stack.refresh()
        (gone,) = await gateway.option_quotes([contract])

    assert last.ok
    assert getattr(gone, "reason", None) is tickgate.Reason.CONTRACT_EXPIRED
