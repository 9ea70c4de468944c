"""The calendar: which session an instant falls into, and what comes next."""

from __future__ import annotations

from datetime import date

import pytest
from msgspec.structs import replace

from tickgate_server.market.session import Calendar, MarketSession, Span, TradingDay, joined
from tickgate_server.market.time import parse_rfc3339

from ...support.fakes import provenance, trading_day

PRE, OPEN, AFTER, CLOSED = (
    MarketSession.PRE_MARKET,
    MarketSession.OPEN,
    MarketSession.AFTER_HOURS,
    MarketSession.CLOSED,
)

THURSDAY = trading_day("2026-10-01")
HALF_DAY = trading_day("2026-10-02", ("08:00", "13:30", "17:00", "21:00"))
MONDAY = trading_day("2026-10-05", ("", "13:30", "20:00", ""))
CALENDAR = Calendar([THURSDAY, HALF_DAY, MONDAY], provenance(None))


def at(text: str) -> int:
    """An instant of these days."""
    return parse_rfc3339(f"2026-10-{text}Z")


@pytest.mark.parametrize(
    ("instant", "session", "ends"),
    [
        ("01T08:00:00", PRE, "01T13:30:00"),
        ("01T13:29:59.999999999", PRE, "01T13:30:00"),
        ("01T13:30:00", OPEN, "01T20:00:00"),
        ("01T19:59:59.999999999", OPEN, "01T20:00:00"),
        ("01T20:00:00", AFTER, "02T00:00:00"),
        ("02T00:00:00", CLOSED, "02T08:00:00"),
        ("02T16:59:59", OPEN, "02T17:00:00"),
        ("02T17:00:00", AFTER, "02T21:00:00"),
        ("02T21:00:00", CLOSED, "05T13:30:00"),
        ("04T12:00:00", CLOSED, "05T13:30:00"),
        ("05T13:30:00", OPEN, "05T20:00:00"),
    ],
    ids=str,
)
def test_sessions_change_at_their_edges(instant: str, session: MarketSession, ends: str) -> None:
    """A session holds its first nanosecond and not its last; half days, weekends, no extended hours."""
    assert CALENDAR.session_at(at(instant)) == (session, at(ends))


def test_a_span_is_a_whole_session() -> None:
    """The session of an instant is told with both of its ends, a closure over a weekend with those of the weekend."""
    assert CALENDAR.span_at(at("01T15:00:00")) == Span(OPEN, THURSDAY.open, THURSDAY.close)
    assert CALENDAR.span_at(at("04T12:00:00")) == Span(CLOSED, at("02T21:00:00"), MONDAY.open)
    assert CALENDAR.span_at(at("01T07:59:59.999999999")) is None
    assert CALENDAR.span_at(at("05T20:00:00")) is None


@pytest.mark.parametrize("instant", ["01T07:59:59.999999999", "05T20:00:00", "09T12:00:00"])
def test_outside_of_what_is_known_there_is_no_session(instant: str) -> None:
    """Before the first edge and from the last one on, the calendar says nothing."""
    assert CALENDAR.session_at(at(instant)) is None


def test_an_empty_calendar_knows_nothing() -> None:
    """Without days there is no session, no opening and no closing."""
    empty = Calendar([], provenance(None))
    assert empty.session_at(at("01T15:00:00")) is None
    assert empty.next_open(at("01T15:00:00")) is None
    assert empty.next_close(at("01T15:00:00")) is None


def test_what_comes_next() -> None:
    """The next opening and closing lie after the instant, also when it is one itself."""
    assert CALENDAR.next_open(at("01T00:00:00")) == at("01T13:30:00")
    assert CALENDAR.next_open(at("01T13:30:00")) == at("02T13:30:00")
    assert CALENDAR.next_close(at("01T13:30:00")) == at("01T20:00:00")
    assert CALENDAR.next_close(at("01T20:00:00")) == at("02T17:00:00")
    assert CALENDAR.next_open(at("05T13:30:00")) is None
    assert CALENDAR.next_close(at("05T20:00:00")) is None


def test_a_range_of_days_does_not_hold_its_end() -> None:
    """The days from one date up to another are without the other."""
    assert CALENDAR.between(date(2026, 10, 1), date(2026, 10, 5)) == (THURSDAY, HALF_DAY)
    assert CALENDAR.between(date(2026, 10, 3), date(2026, 10, 5)) == ()


def test_a_day_without_after_hours_ends_with_core_trading() -> None:
    """Where only the morning is extended, the market closes at the end of core trading."""
    calendar = Calendar([replace(THURSDAY, after_hours_close=None), HALF_DAY], provenance(None))
    assert calendar.session_at(at("01T20:00:00")) == (CLOSED, at("02T08:00:00"))


def test_joined_calendars_are_as_old_as_the_oldest() -> None:
    """One calendar of several holds all their days and claims the earliest receive time."""
    early, late = provenance(None, 5), provenance(None, 9)
    whole = joined([Calendar([THURSDAY], late), Calendar([HALF_DAY], early)])
    assert whole.days == (THURSDAY, HALF_DAY)
    assert whole.provenance == early


@pytest.mark.parametrize(
    ("asked", "last"),
    [
        (date(2026, 9, 30), None),
        (date(2026, 10, 1), THURSDAY),
        (date(2026, 10, 2), HALF_DAY),
        (date(2026, 10, 3), HALF_DAY),
        (date(2026, 10, 4), HALF_DAY),
        (date(2026, 10, 5), MONDAY),
        (date(2026, 10, 6), None),
    ],
)
def test_the_last_trading_day_up_to_a_date(asked: date, last: TradingDay | None) -> None:
    """A date is a trading day itself or has one before it, and outside of what is known nobody knows which."""
    assert CALENDAR.last_day(asked) == last
    assert Calendar([], provenance(None)).last_day(asked) is None
