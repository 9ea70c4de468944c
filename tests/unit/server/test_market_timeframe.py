"""The lengths of bars: how they are written, when they end, and from when on they may still change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickgate_server.market.series import SeriesKey, SeriesKind
from tickgate_server.market.time import NANOS, parse_rfc3339
from tickgate_server.market.timeframe import Timeframe, Unit, parse_timeframe

TEXTS = ["1Min", "5Min", "59Min", "1Hour", "23Hour", "1Day", "1Week", "1Month", "3Month", "12Month"]
TIMEFRAMES = [timeframe for text in TEXTS if (timeframe := parse_timeframe(text)) is not None]
INSTANTS = st.integers(parse_rfc3339("2015-01-01T00:00:00Z"), parse_rfc3339("2031-01-01T00:00:00Z"))


@pytest.mark.parametrize("text", TEXTS)
def test_a_timeframe_is_written_in_one_way(text: str) -> None:
    """What was read is written as the upstream writes it."""
    assert str(parse_timeframe(text)) == text


@pytest.mark.parametrize(
    ("text", "meant"),
    [("1T", "1Min"), ("4H", "4Hour"), ("1D", "1Day"), ("1W", "1Week"), ("6M", "6Month")],
)
def test_a_unit_may_be_one_letter(text: str, meant: str) -> None:
    """The upstream's short forms mean the same."""
    assert str(parse_timeframe(text)) == meant


@pytest.mark.parametrize(
    "text",
    "|Min|0Min|60Min|01Min|1min|24Hour|2Day|2Week|5Month|1Year|1 Min|1Min\n|\u0661Min".split("|"),
)
def test_anything_else_is_none(text: str) -> None:
    """What the upstream would refuse is refused here."""
    assert parse_timeframe(text) is None


@pytest.mark.parametrize(
    ("timeframe", "start", "end"),
    [
        ("1Min", "2024-03-08T14:30:00Z", "2024-03-08T14:31:00Z"),
        ("4Hour", "2024-03-08T12:00:00Z", "2024-03-08T16:00:00Z"),
        ("1Day", "2024-03-08T05:00:00Z", "2024-03-09T05:00:00Z"),
        # The night in which clocks went forward.
        ("1Day", "2024-03-10T05:00:00Z", "2024-03-11T04:00:00Z"),
        ("1Week", "2024-03-04T05:00:00Z", "2024-03-11T04:00:00Z"),
        ("1Month", "2024-02-01T05:00:00Z", "2024-03-01T05:00:00Z"),
        ("3Month", "2023-11-01T04:00:00Z", "2024-02-01T05:00:00Z"),
        ("12Month", "2024-01-01T05:00:00Z", "2025-01-01T05:00:00Z"),
    ],
)
def test_an_interval_ends_where_the_next_begins(timeframe: str, start: str, end: str) -> None:
    """Days, weeks and months end at midnight in New York, whatever clocks do."""
    parsed = parse_timeframe(timeframe)

    assert parsed is not None
    assert parsed.end_of(parse_rfc3339(start)) == parse_rfc3339(end)
    assert parsed.shortest <= parse_rfc3339(end) - parse_rfc3339(start)


@given(st.sampled_from(TIMEFRAMES), INSTANTS, st.integers(-400 * 86400, 400 * 86400))
def test_what_has_not_ended_begins_where_it_is_said(
    timeframe: Timeframe, now: int, apart: int
) -> None:
    """Whatever starts before has ended, whatever starts later has not, to the nanosecond."""
    edge = timeframe.unfinished_from(now)

    assert timeframe.end_of(edge) > now
    assert timeframe.end_of(edge - 1) <= now
    start = now + apart * NANOS
    assert (timeframe.end_of(start) <= now) == (start < edge)


def test_trades_and_quotes_are_what_they_are_at_once() -> None:
    """Only bars take until the end of their interval."""
    trades = SeriesKey(SeriesKind.TRADES, "AAPL", None)
    bars = SeriesKey(SeriesKind.BARS, "AAPL", None, Timeframe(1, Unit.MINUTE))

    assert trades.settled_before(1000 * NANOS) == 1000 * NANOS
    assert bars.settled_before(1000 * NANOS) == 940 * NANOS + 1
