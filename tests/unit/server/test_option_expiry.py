"""Expiry: the last moment at which a contract trades, to the nanosecond, and who is asked about it after that."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickgate_server.guards.expiry import UnexpiredOptions
from tickgate_server.market.answer import Answer
from tickgate_server.market.expiry import Expiries, market_date
from tickgate_server.market.occ import parse_occ
from tickgate_server.market.option import OptionQuote
from tickgate_server.market.provenance import Feed
from tickgate_server.market.session import Calendar
from tickgate_server.market.time import NANOS, parse_rfc3339
from tickgate_server.market.unavailable import Reason, Unavailable

from ...support.fakes import FakeLatest, HandClock, provenance, question
from ...support.options import (
    AssetsToCome,
    calendar_of,
    known_expiries,
    late_assets,
    market_day,
    new_york,
    no_calendar,
    quoted,
    symbol_of,
    usual_close,
)

HALF_DAYS = calendar_of(
    market_day("2026-11-25"),
    market_day("2026-11-27", "13:00"),
    market_day("2026-11-30"),
)
"""Around Thanksgiving, which is a Thursday; the Friday behind it is a half day."""

OLD_DAYS = calendar_of(market_day("2014-01-16"), market_day("2014-01-17"), market_day("2014-01-21"))
"""Around a third Saturday of the times when contracts expired on one, before a Monday off."""

EASTER = calendar_of(market_day("2019-04-17"), market_day("2019-04-18"), market_day("2019-04-22"))
"""Around a Good Friday."""


def last(symbol: str, expiries: Expiries) -> int:
    """The last trading moment of a contract, which is checked to be a border."""
    occ = parse_occ(symbol)
    moment = expiries.last_moment(occ)
    assert not expiries.has_expired(occ, moment - 1)
    assert not expiries.has_expired(occ, moment), "at the moment itself it still trades"
    assert expiries.has_expired(occ, moment + 1)
    return moment


def test_a_usual_day_ends_at_four() -> None:
    """A contract trades until 16:00 in New York on its expiration date."""
    days = calendar_of(market_day("2026-11-20"), market_day("2026-11-23"))
    assert last(symbol_of(), Expiries(days, ())) == new_york("2026-11-20 16:00")


def test_some_trade_a_quarter_longer() -> None:
    """Contracts of a late root, or on a late underlying, trade until 16:15, an adjusted series too."""
    expiries = Expiries(no_calendar, {"SPXW", "SPY"})
    for root, close in (
        ("SPXW", "16:15"),
        ("SPX", "16:00"),
        ("SPY", "16:15"),
        ("SPY7", "16:15"),
        ("SPYG", "16:00"),
    ):
        assert last(symbol_of(root=root), expiries) == new_york(f"2026-11-20 {close}")


@pytest.mark.parametrize(("root", "close"), [("AAPL", "13:00"), ("SPY", "13:15")])
def test_a_half_day_ends_early(root: str, close: str) -> None:
    """On a half day contracts trade until 13:00, late ones until 13:15."""
    symbol = symbol_of(root=root, expiry="261127")
    assert last(symbol, Expiries(HALF_DAYS, {"SPY"})) == new_york(f"2026-11-27 {close}")


def test_contracts_once_expired_on_saturdays() -> None:
    """A contract that expires on a Saturday trades for the last time on the Friday before, with a calendar or not."""
    symbol = symbol_of(expiry="140118")
    for days in (OLD_DAYS, no_calendar):
        assert last(symbol, Expiries(days, ())) == new_york("2014-01-17 16:00")


def test_a_holiday_may_fall_on_an_expiration_date() -> None:
    """A contract that expires on Good Friday trades for the last time on Thursday."""
    assert last(symbol_of(expiry="190419"), Expiries(EASTER, ())) == new_york("2019-04-18 16:00")
    symbol = symbol_of(root="SPY", expiry="261126")
    assert last(symbol, Expiries(HALF_DAYS, {"SPY"})) == new_york("2026-11-25 16:15")


@given(st.dates(datetime.date(2007, 1, 1), datetime.date(2099, 12, 31)))
def test_a_date_that_no_calendar_knows_is_taken_for_a_usual_one(expiry: datetime.date) -> None:
    """Without a calendar a contract trades until four on its date, or on the Friday before a weekend."""
    occ = parse_occ(symbol_of(expiry=f"{expiry:%y%m%d}"))
    moment = Expiries(no_calendar, ()).last_moment(occ)
    day = market_date(moment)
    assert day.weekday() < 5
    assert 0 <= (expiry - day).days <= 2
    assert (day == expiry) == (expiry.weekday() < 5)
    assert moment == new_york(f"{day} 16:00")


def test_a_moment_is_known_where_the_calendar_reaches() -> None:
    """Beyond the calendar, on either side, there is a guess to judge by and no moment to tell."""
    expiries = Expiries(HALF_DAYS, {"AAPL"})
    for expiry, known in (
        ("261124", None),
        ("261125", "2026-11-25 16:15"),
        ("261129", "2026-11-27 13:15"),
        ("261130", "2026-11-30 16:15"),
        ("261201", None),
    ):
        occ = parse_occ(symbol_of(expiry=expiry))
        assert expiries.known_moment(occ) == (None if known is None else new_york(known))
        assert expiries.last_moment(occ) >= new_york("2026-11-24 16:15")


@pytest.mark.parametrize(
    ("expiry", "moment"),
    [
        ("260306", "2026-03-06T21:00:00Z"),  # the last Friday of winter time
        ("260308", "2026-03-06T21:00:00Z"),  # the Sunday on which clocks go forward
        ("260309", "2026-03-09T20:00:00Z"),
        ("261030", "2026-10-30T20:00:00Z"),  # the last Friday of summer time
        ("261101", "2026-10-30T20:00:00Z"),  # the Sunday on which they go back
        ("261102", "2026-11-02T21:00:00Z"),
    ],
)
def test_four_in_new_york_is_another_hour_in_winter(expiry: str, moment: str) -> None:
    """The clocks of New York count, on the days around their change too."""
    assert last(symbol_of(expiry=expiry), Expiries(no_calendar, ())) == parse_rfc3339(moment)


def test_a_day_begins_at_midnight_in_new_york() -> None:
    """The market's date changes at midnight there, whatever the date is elsewhere."""
    midnight = parse_rfc3339("2026-10-02T04:00:00Z")
    assert market_date(midnight - 1) == datetime.date(2026, 10, 1)
    assert market_date(midnight) == datetime.date(2026, 10, 2)
    winter = parse_rfc3339("2026-12-02T05:00:00Z")
    assert market_date(winter - 1) == datetime.date(2026, 12, 1)
    assert market_date(winter) == datetime.date(2026, 12, 2)


def test_the_last_day_of_a_calendar() -> None:
    """A calendar knows the last trading day up to a date only where it knows all days up to it."""
    days = [market_day("2026-11-25"), market_day("2026-11-27", "13:00"), market_day("2026-11-30")]
    calendar = Calendar(days, provenance(None))
    found = {
        day: calendar.last_day(datetime.date(2026, 11, day)) for day in (24, 25, 26, 27, 29, 30)
    }
    assert found == {
        24: None, 25: days[0], 26: days[0], 27: days[1], 29: days[1], 30: days[2],
    }  # fmt: skip
    assert calendar.last_day(datetime.date(2026, 12, 1)) is None
    assert Calendar([], provenance(None)).last_day(datetime.date(2026, 11, 25)) is None


# -------------------------------------------------------------------------- what is known of late

SPY = symbol_of("600", root="SPY", expiry="261001")
AAPL = symbol_of(expiry="261001")
XYZ = symbol_of("10", root="XYZ", expiry="261001")
LIVING = symbol_of("600", root="SPY", expiry="261002")


class Setup:
    """Five minutes after four on the day on which three contracts expire, one of them later."""

    def __init__(self, assets: AssetsToCome | None = None, late: tuple[str, ...] = ()) -> None:
        self.clock = HandClock(new_york("2026-10-01 16:05"))
        self.assets = assets or AssetsToCome()
        self.known = known_expiries(self.clock, assets=self.assets, late=late)
        values = {symbol: quoted(symbol) for symbol in (SPY, AAPL, XYZ, LIVING)}
        self.source: FakeLatest[OptionQuote] = FakeLatest(self.clock, values)
        self.options = UnexpiredOptions(self.source, self.known)

    async def expired(self, symbol: str) -> Unavailable | None:
        """What is known of a contract now."""
        return self.known.expired(symbol, parse_occ(symbol), await self.known.get(1010.0))


async def test_late_closes_come_from_settings_and_assets() -> None:
    """What the settings name, and what the list of assets marks, closes at 16:15, and nothing else."""
    setup = Setup(AssetsToCome(late_assets("SPY", others=["AAPL"])), late=("XYZ",))
    assert await setup.expired(SPY) is None
    assert await setup.expired(XYZ) is None
    assert await setup.expired(AAPL) is not None
    setup.clock.advance(600)
    assert await setup.expired(SPY) is None
    setup.clock.advance(0.001)
    assert await setup.expired(SPY) is not None


async def test_a_list_of_assets_may_come_later() -> None:
    """Until the list of assets is there the settings alone count, and from then on both, without a restart."""
    setup = Setup(late=("XYZ",))
    assert await setup.expired(SPY) is not None
    assert await setup.expired(XYZ) is None
    setup.assets.list = late_assets("SPY")
    assert await setup.expired(SPY) is None
    assert await setup.expired(XYZ) is None
    setup.assets.list = None
    assert await setup.expired(SPY) is None, "a list that was there once is kept"
    setup.assets.list = late_assets("AAPL")
    assert await setup.expired(SPY) is not None
    assert await setup.expired(AAPL) is None
    assert setup.assets.deadlines == [1010.0] * 7


async def test_who_is_told_of_an_expired_contract_learns_when() -> None:
    """The reason names the contract, its date and its last moment."""
    why = await Setup().expired(AAPL)
    assert why is not None
    assert why.reason is Reason.CONTRACT_EXPIRED
    assert why.message == (
        f"{AAPL}: expired on 2026-10-01, its last trading moment was 2026-10-01T20:00:00Z"
    )
    assert not why.passing


# --------------------------------------------------------------------------- who is asked of whom


async def test_only_living_contracts_are_asked_for() -> None:
    """Of a mixed question the expired contracts are told apart, and the others asked for as they were."""
    setup = Setup()
    asked = question(AAPL, LIVING, SPY, feed=Feed.OPRA, max_age=7 * NANOS)
    answers = await setup.options.latest(asked)
    assert set(answers) == {AAPL, LIVING, SPY}
    for symbol in (AAPL, SPY):
        why = answers[symbol]
        assert isinstance(why, Unavailable)
        assert why.reason is Reason.CONTRACT_EXPIRED
    living = answers[LIVING]
    assert isinstance(living, Answer)
    assert living.value.symbol == LIVING
    assert setup.source.asked == [asked.about((LIVING,))]


async def test_nobody_is_asked_about_expired_contracts_alone() -> None:
    """When all have expired, no question goes on."""
    setup = Setup()
    answers = await setup.options.latest(question(AAPL, SPY))
    assert set(answers) == {AAPL, SPY}
    assert setup.source.asked == []


async def test_a_question_about_living_contracts_is_not_touched() -> None:
    """When none has expired, the question goes on whole."""
    setup = Setup()
    asked = question(LIVING)
    await setup.options.latest(asked)
    assert setup.source.asked == [asked]


async def test_a_contract_expires_between_two_questions() -> None:
    """The market's time decides, anew for each question, to the moment."""
    setup = Setup()
    seconds = (usual_close(parse_occ(LIVING)) - setup.clock.market()) / NANOS
    setup.clock.advance(seconds)
    assert isinstance((await setup.options.latest(question(LIVING)))[LIVING], Answer)
    setup.clock.advance(0.001)
    assert isinstance((await setup.options.latest(question(LIVING)))[LIVING], Unavailable)
