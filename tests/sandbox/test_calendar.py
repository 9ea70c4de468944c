"""The exchange's sessions, against a second opinion and against Alpaca's own answer."""

from __future__ import annotations

import gzip
import json
from datetime import date

import exchange_calendars
import pytest

from tests.support.recordings import REAL_RECORDINGS
from tickgate_sandbox.calendar import FIRST_DAY, LAST_DAY, ExchangeCalendar
from tickgate_sandbox.timestamps import parse

RECORDED = REAL_RECORDINGS / "alpaca-recorded" / "calendar-2021-01.json.gz"

CALENDAR = ExchangeCalendar()


# exchange-calendars 4.13 uses what pandas 3.1 has begun to deprecate.
@pytest.mark.filterwarnings("ignore:Series.values returning")
def test_sessions_and_early_closes() -> None:
    """From 2012 to 2026 open days and early closes are those that exchange-calendars knows."""
    first, last = date(2012, 1, 1), date(2026, 12, 31)
    other = exchange_calendars.get_calendar("XNYS", start=f"{first}", end=f"{last}")
    sessions = list(CALENDAR.between(first, last))

    assert [session.day for session in sessions] == [day.date() for day in other.sessions]
    assert [session.day for session in sessions if session.early_close] == [
        day.date() for day in other.early_closes
    ]


@pytest.mark.recordings
@pytest.mark.skipif(not RECORDED.exists(), reason="real recordings are not at hand")
def test_alpaca_agrees() -> None:
    """From 1990 to 2021 the sessions are exactly those of an answer recorded from Alpaca."""
    first, last = date(1990, 1, 1), date(2021, 12, 31)
    answer = json.loads(gzip.decompress(RECORDED.read_bytes()))["body"]
    recorded = {day["date"]: day["close"] for day in answer}
    ours = {
        f"{session.day}": "13:00" if session.early_close else "16:00"
        for session in CALENDAR.between(first, last)
    }

    assert ours == {day: close for day, close in recorded.items() if f"{first}" <= day <= f"{last}"}


@pytest.mark.parametrize(
    ("day", "why"),
    [
        (date(2001, 9, 11), "the attacks"),
        (date(2012, 10, 29), "hurricane Sandy"),
        (date(2018, 12, 5), "mourning for G. H. W. Bush"),
        (date(2025, 1, 9), "mourning for J. Carter"),
        (date(2022, 6, 20), "Juneteenth, observed"),
    ],
    ids=lambda value: f"{value}",
)
def test_special_closures(day: date, why: str) -> None:
    """Days on which the exchange stayed shut are no sessions."""
    assert CALENDAR.session(day) is None


def test_a_holiday_on_a_saturday_closed_no_friday() -> None:
    """The Friday before Memorial Day of 1970 was a session, as Alpaca and exchange-calendars have it."""
    assert CALENDAR.session(date(1970, 5, 29)) is not None


def test_juneteenth_began_in_2022() -> None:
    """A holiday is none before it was one."""
    assert CALENDAR.session(date(2021, 6, 18)) is not None


@pytest.mark.parametrize(
    ("trade", "settlement"),
    [
        (date(2025, 1, 2), date(2025, 1, 3)),
        (date(2024, 5, 24), date(2024, 5, 29)),
        (date(2024, 5, 28), date(2024, 5, 29)),
        (date(2017, 9, 1), date(2017, 9, 7)),
    ],
)
def test_settlement(trade: date, settlement: date) -> None:
    """Trades settle by the cycle in force on their day: three days, then two, then one."""
    assert CALENDAR.settlement(trade) == settlement


def test_session_bounds() -> None:
    """A session is open from its first instant to just before its last."""
    assert not CALENDAR.is_open(parse("2026-11-20T14:29:59.999999999Z"))
    assert CALENDAR.is_open(parse("2026-11-20T14:30:00Z"))
    assert CALENDAR.is_open(parse("2026-11-20T20:59:59.999999999Z"))
    assert not CALENDAR.is_open(parse("2026-11-20T21:00:00Z"))


def test_edges() -> None:
    """Sessions beyond the calendar's years are known: the last day has a next opening too."""
    assert CALENDAR.on_or_before(FIRST_DAY) == CALENDAR.session(date(1969, 12, 31))
    assert CALENDAR.after(LAST_DAY).day.year == LAST_DAY.year + 1
