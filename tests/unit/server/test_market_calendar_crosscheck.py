"""A second opinion on the market's sessions: what the gateway reads from Alpaca's calendar, against exchange-calendars.

The calendar passes through everything that it passes through in a gateway: the sandbox's `/v2/calendar`, HTTP, the
parser, `Calendar`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import cache
from itertools import pairwise
from typing import Any

import exchange_calendars
import pytest

from tickgate_sandbox import SandboxSettings, sandbox
from tickgate_server.ingress.gate import Gate, Policy
from tickgate_server.jobs.market_clock import MarketClock
from tickgate_server.market.provenance import DataSource
from tickgate_server.market.session import Calendar, MarketSession
from tickgate_server.market.time import NANOS
from tickgate_server.ports import Upstream
from tickgate_server.upstream.alpaca.http import HttpLimits, HttpRequests, http_session
from tickgate_server.upstream.alpaca.rest import AlpacaReference

FIRST, END = date(1970, 1, 1), date(2030, 1, 1)
"""The years that Alpaca's calendar knows, and with it the sandbox's."""

AGREED = date(1993, 1, 1)
"""Before this day Alpaca shows 16:00 for sessions that ended early."""

HOUR = 3600 * NANOS

# exchange-calendars 4.13 uses what pandas 3.1 has begun to deprecate.
pytestmark = pytest.mark.filterwarnings(r"ignore:(Series|DatetimeIndex)\.values returning")


async def ask() -> Calendar:
    """Read all years from a sandbox as the gateway does."""
    limits = HttpLimits(
        total=30,
        connect=10,
        connections=1,
        per_host=1,
        dns_cache=10,
        user_agent="tickgate/test",
        idle=3,
    )
    clock = MarketClock(follows_upstream=False)
    async with (
        sandbox(SandboxSettings(listen="127.0.0.1:0")) as running,
        http_session(limits, "key", "secret") as session,
    ):
        reference = AlpacaReference(
            HttpRequests(session, {Upstream.TRADING: running.url}, clock),
            {Upstream.TRADING: DataSource.SANDBOX},
            Gate(Policy(refuse_crossed=True, future_tolerance=0), clock, {}),
        )
        return await reference.calendar(FIRST, END, clock.monotonic() + 30)


@pytest.fixture(scope="module")
async def ours() -> Calendar:
    """The sandbox's calendar as the gateway knows it."""
    return await ask()


@cache
def theirs(first: int = FIRST.year, last: int = END.year - 1) -> Any:
    """The New York Stock Exchange as exchange-calendars knows it."""
    return exchange_calendars.get_calendar("XNYS", start=f"{first}-01-01", end=f"{last}-12-31")


def nanoseconds(stamps: Any) -> list[int]:
    """Return the instants of a column of theirs."""
    return [int(stamp.value) for stamp in stamps]


def test_the_same_days(ours: Calendar) -> None:
    """On each day of sixty years both are open or both are closed: weekends, holidays, mourning, storms."""
    assert [day.date for day in ours.days] == [day.date() for day in theirs().sessions]


def test_the_same_hours(ours: Calendar) -> None:
    """Every opening and closing is the same instant, half days and both changes of the clock included."""
    days = [day for day in ours.days if day.date >= AGREED]
    assert [day.open for day in days] == nanoseconds(theirs().opens)[-len(days) :]
    assert [day.close for day in days] == nanoseconds(theirs().closes)[-len(days) :]
    # The comparison is worth something: there are half days, and openings in winter and in summer time.
    assert Counter((day.close - day.open) / HOUR for day in days)[3.5] > 60
    assert {datetime.fromtimestamp(day.open / NANOS, UTC).hour for day in days} == {13, 14}


def test_old_early_closes_are_alpacas(ours: Calendar) -> None:
    """Before 1993 openings are the same, and closings are, but for early ones that Alpaca shows at 16:00."""
    days = [day for day in ours.days if day.date < AGREED]
    assert [day.open for day in days] == nanoseconds(theirs().opens)[: len(days)]
    closes = nanoseconds(theirs().closes)[: len(days)]
    differing = [
        (day, close) for day, close in zip(days, closes, strict=True) if day.close != close
    ]
    assert 0 < len(differing) < 20
    for day, close in differing:
        assert close < day.close == day.open + 6.5 * HOUR


def around(days: Sequence[Any]) -> list[int]:
    """Return the openings and closings of *days*, and the nanoseconds before and after each."""
    edges = [edge for day in days for edge in (day.open, day.close)]
    return [edge + shift for edge in edges for shift in (-1, 0, 1)]


def test_core_trading_is_open_trading(ours: Calendar) -> None:
    """To the nanosecond at each opening and closing since 1993, ours is OPEN exactly while theirs is."""
    opens, closes = nanoseconds(theirs().opens), nanoseconds(theirs().closes)
    for instant in around([day for day in ours.days if day.date >= AGREED][:-1]):
        session = ours.session_at(instant)
        assert session is not None
        is_open = instant < closes[bisect_right(opens, instant) - 1]
        assert (session[0] is MarketSession.OPEN) is is_open, instant


def test_every_minute_of_a_year_is_theirs(ours: Calendar) -> None:
    """The minutes at which ours is OPEN are the trading minutes of theirs, all of 2026 and no other."""
    year = [day for day in ours.days if day.date.year == 2026]
    found = [
        instant
        for instant in range(year[0].open - 24 * HOUR, year[-1].close + 24 * HOUR, 60 * NANOS)
        if (session := ours.session_at(instant)) and session[0] is MarketSession.OPEN
    ]
    assert found == nanoseconds(theirs(2026, 2026).minutes)


def test_sessions_follow_each_other_around_the_clock(ours: Calendar) -> None:
    """Pre-market, open, after hours, closed, and again: without a nanosecond between them."""
    order = [
        MarketSession.PRE_MARKET, MarketSession.OPEN, MarketSession.AFTER_HOURS, MarketSession.CLOSED,
    ]  # fmt: skip
    for day, after in pairwise(ours.days):
        assert day.pre_market_open is not None
        assert day.after_hours_close is not None
        edges = (day.pre_market_open, day.open, day.close, day.after_hours_close)
        for session, start, end in zip(
            order, edges, (*edges[1:], after.pre_market_open), strict=True
        ):
            assert ours.session_at(start) == ours.session_at((end or 0) - 1) == (session, end)


@pytest.mark.parametrize(
    ("before", "after"),
    [(date(2026, 3, 6), date(2026, 3, 9)), (date(2026, 10, 30), date(2026, 11, 2))],
    ids=["to summer time", "to winter time"],
)
def test_the_clock_changes_over_a_weekend(ours: Calendar, before: date, after: date) -> None:
    """Over the weekend of a change an opening moves by an hour of UTC, and the closure is as much shorter or longer."""
    friday, monday = ours.between(before, date(after.year, after.month, after.day + 1))
    assert (friday.date, monday.date) == (before, after)
    moved = (monday.open - friday.open) - 3 * 24 * HOUR
    assert moved == (-HOUR if after.month == 3 else HOUR)


def test_what_nobody_told_is_not_known(ours: Calendar) -> None:
    """A nanosecond outside of the known years there is no session, neither open nor closed."""
    first, last = ours.days[0].pre_market_open, ours.days[-1].after_hours_close
    assert first is not None
    assert last is not None
    assert ours.session_at(first - 1) is None
    assert ours.session_at(first) is not None
    assert ours.session_at(last - 1) is not None
    assert ours.session_at(last) is None
    assert ours.span_at(last) is None
