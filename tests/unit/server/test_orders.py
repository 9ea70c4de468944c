"""What an operator may ask for on the command line."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tickgate_server.app.orders import backfill_order, session_feed, session_length
from tickgate_server.errors import OrderError
from tickgate_server.market.provenance import Feed
from tickgate_server.market.series import Adjustment, SeriesKey, SeriesKind
from tickgate_server.market.time import parse_rfc3339
from tickgate_server.market.timeframe import Timeframe, Unit
from tickgate_server.settings import Settings

CALL = "AAPL261016C00200000"
DEFAULTS: dict[str, Any] = {
    "kind": SeriesKind.BARS,
    "timeframe": "1Min",
    "start": "2026-01-05",
    "end": None,
    "feed": None,
    "adjust": (),
}


def test_a_backfill_of_bars() -> None:
    """Days begin in New York, the feed is the configured one, and what is not said is left open."""
    order = backfill_order(Settings(), ["AAPL", "IBM"], **DEFAULTS)
    assert order.key == SeriesKey(SeriesKind.BARS, "AAPL", Feed.IEX, Timeframe(1, Unit.MINUTE))
    assert (order.symbols, order.end) == (("AAPL", "IBM"), None)
    assert order.start == parse_rfc3339("2026-01-05T05:00:00Z")


def test_a_backfill_with_everything() -> None:
    """Moments, feed and adjustments are taken as they are said; all of them is all."""
    said = DEFAULTS | {
        "timeframe": "1D",
        "end": "2026-02-01T12:00:00.000000001Z",
        "feed": Feed.SIP,
        "adjust": ["all"],
    }
    order = backfill_order(Settings(), ["AAPL"], **said)
    assert order.end == parse_rfc3339("2026-02-01T12:00:00.000000001Z")
    assert (order.key.feed, order.key.timeframe) == (Feed.SIP, Timeframe(1, Unit.DAY))
    assert order.key.adjustments == frozenset(Adjustment)
    some = backfill_order(Settings(), ["AAPL"], **said | {"adjust": ["split", "spin-off"]})
    assert some.key.adjustments == {Adjustment.SPLIT, Adjustment.SPIN_OFF}


def test_a_backfill_of_options() -> None:
    """Contracts have no feed."""
    order = backfill_order(
        Settings(), [CALL], **DEFAULTS | {"kind": SeriesKind.TRADES, "timeframe": None}
    )
    assert order.key == SeriesKey(SeriesKind.TRADES, CALL, None)


def test_a_backfill_begins_with_the_upstream() -> None:
    """What lies before the first day of the upstream is not asked for."""
    alpaca = Settings(environment="paper", APCA_API_KEY_ID="a", APCA_API_SECRET_KEY="b")
    order = backfill_order(alpaca, ["AAPL"], **DEFAULTS | {"start": "1998-01-02"})
    assert order.start == parse_rfc3339("2016-01-04T05:00:00Z")
    with pytest.raises(OrderError, match="the upstream has nothing before 2016-01-04"):
        backfill_order(alpaca, ["AAPL"], **DEFAULTS | {"start": "1998-01-02", "end": "1999-01-01"})


@pytest.mark.parametrize(
    ("symbols", "changed", "said"),
    [
        ([], {}, "SYMBOL: name at least one"),
        (["AAPL"] * 2, {}, "SYMBOL: more than once: AAPL"),
        (["aapl"], {}, "SYMBOL: 'aapl': a stock symbol is"),
        ([f"A{number}" for number in range(1001)], {}, "SYMBOL: 1000 at most"),
        (["AAPL", CALL], {}, "SYMBOL: stocks, or contracts, but not both"),
        (["AAPL"], {"timeframe": "7Week"}, "--timeframe: a timeframe is"),
        (["AAPL"], {"timeframe": None}, "--timeframe: a timeframe is"),
        (["AAPL"], {"kind": SeriesKind.TRADES}, "--timeframe: trades have none"),
        (["AAPL"], {"start": "yesterday"}, "--start: a moment is"),
        (["AAPL"], {"end": "2026-02-30"}, "--end: a moment is"),
        (["AAPL"], {"end": "2026-01-05"}, "--end: must lie behind --start"),
        (["AAPL"], {"feed": Feed.OPRA}, "--feed: opra carries no stocks"),
        ([CALL], {"feed": Feed.OPRA}, "--feed: the upstream keeps no feeds of options"),
        ([CALL], {"adjust": ["split"]}, "--adjust: only bars of stocks are adjusted"),
        (["AAPL"], {"adjust": ["nothing"]}, "--adjust: one or more of split, dividend, spin-off"),
        (
            [CALL],
            {"kind": SeriesKind.QUOTES, "timeframe": None},
            "--kind: the upstream has no history of quotes of options",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(
    symbols: list[str], changed: dict[str, Any], said: str
) -> None:
    """Whatever is wrong is named with its rule."""
    with pytest.raises(OrderError) as refused:
        backfill_order(Settings(), symbols, **DEFAULTS | changed)
    assert str(refused.value).startswith(said)


def test_sessions_are_recorded_of_live_stocks() -> None:
    """A session is of stocks, on a feed that brings them live; the configured one if none is said."""
    assert session_feed(Settings(), ["AAPL"], None) is Feed.IEX
    assert session_feed(Settings(), ["AAPL"], Feed.SIP) is Feed.SIP
    with pytest.raises(OrderError, match="otc carries no stocks live"):
        session_feed(Settings(), ["AAPL"], Feed.OTC)
    with pytest.raises(OrderError, match="not of options"):
        session_feed(Settings(), [CALL], None)


def test_a_session_lasts_for_some_time() -> None:
    """What is to be recorded for no time, or less, is refused; nothing said is until somebody stops it."""
    assert session_length(None) is None
    assert session_length(timedelta(minutes=1, milliseconds=500)) == 60.5
    for length in (timedelta(), timedelta(seconds=-2)):
        with pytest.raises(OrderError, match="--for: more than nothing"):
            session_length(length)
