"""The past as a gateway sends it, and the values that a client must make of it.

As in `messages`, the two are written side by side and by hand.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.type.date_pb2 import Date

import tickgate
from tickgate.v1 import (
    admin_service_pb2,
    error_reason_pb2,
    history_pb2,
    history_service_pb2,
    provenance_pb2,
    unavailable_pb2,
)

from .messages import (
    LIST_PROVENANCE,
    LIST_PROVENANCE_READ,
    NOON,
    SECOND,
    TRADE,
    TRADE_READ,
    UNAVAILABLE,
    at,
    dollars,
    unavailable_read,
)

MINUTE = 60 * SECOND

# ------------------------------------------------------------------------- chunks, and their rows

ORIGIN = provenance_pb2.Provenance(
    source=provenance_pb2.DATA_SOURCE_ALPACA,
    feed=provenance_pb2.FEED_SIP,
    served_from=provenance_pb2.TIER_STORE,
    receive_time=at(NOON - 10),
    serve_time=at(NOON),
    feed_delay=Duration(),
    upstream_request_id="up-7",
)
ORIGIN_READ = tickgate.Provenance(
    source=tickgate.DataSource.ALPACA,
    feed=tickgate.Feed.SIP,
    served_from=tickgate.Tier.STORE,
    event_time_ns=None,
    receive_time_ns=NOON - 10,
    serve_time_ns=NOON,
    feed_delay_ns=0,
    upstream_request_id="up-7",
    stale=False,
    event_age_ns=None,
    receive_age_ns=10,
)


def cents(
    *values: int, exponent: int = -2, unset: tuple[int, ...] = ()
) -> history_pb2.DecimalColumn:
    """A column of prices."""
    return history_pb2.DecimalColumn(exponent=exponent, values=values, unset_rows=unset)


def times(first_ns: int, *deltas: int, exponent: int = 0) -> history_pb2.TimeColumn:
    """A column of instants."""
    return history_pb2.TimeColumn(first_time=at(first_ns), exponent=exponent, deltas=deltas)


BARS = history_pb2.BarChunk(
    provenance=ORIGIN,
    count=3,
    start_times=times(1_709_303_400 * SECOND, 0, 6, 12, exponent=10),
    open=cents(49833, 49850, 49800),
    high=cents(49900, 49850, 49825),
    low=cents(49800, 49700, 49799),
    close=cents(49850, 49725, 49801),
    volume=history_pb2.CountColumn(values=[1200, 0, 0], unset_rows=[2]),
    vwap=cents(4985012345, 0, 498, exponent=-7, unset=(1,)),
    cursor="behind three bars",
)


def bar_read(start_ns: int, prices: str, volume: int | None, vwap: str | None) -> tickgate.Bar:
    """A row of BARS."""
    open_, high, low, close = map(Decimal, prices.split())
    return tickgate.Bar(
        symbol="SPY",
        start_time_ns=start_ns,
        open=open_,
        high=high,
        low=low,
        close=close,
        volume=volume,
        trade_count=None,
        vwap=None if vwap is None else Decimal(vwap),
        provenance=replace(ORIGIN_READ, event_time_ns=start_ns),
        rule_flags=(),
    )


BARS_READ = [
    bar_read(1_709_303_400 * SECOND, "498.33 499 498 498.5", 1200, "498.5012345"),
    bar_read(1_709_303_460 * SECOND, "498.5 498.5 497 497.25", 0, None),
    bar_read(1_709_303_580 * SECOND, "498 498.25 497.99 498.01", None, "0.0000498"),
]

TRADES = history_pb2.TradeChunk(
    provenance=ORIGIN,
    count=2,
    event_times=times(NOON - 100, 0, 1),
    price=history_pb2.DecimalColumn(
        decimals=[dollars("0.1234567890123456789012345"), dollars("182.05")]
    ),
    size=history_pb2.CountColumn(values=[100, 7]),
    exchange=history_pb2.TextColumn(codes=["V", "Q"], places=[2, 0]),
    conditions=history_pb2.TextsColumn(
        lists=[history_pb2.CodeList(codes=[" ", "I"])], places=[1, 0]
    ),
    id=history_pb2.CountColumn(values=[2**64 - 1, 0], unset_rows=[1]),
    amendment=history_pb2.TextColumn(codes=["canceled"], places=[0, 1]),
    receive_times=times(NOON - 50, 0, 20),
    cursor="behind two trades",
)
TRADES.provenance.ClearField("receive_time")


def trade_read(ns: int, received_ns: int, price: str, **fields: Any) -> tickgate.Trade:
    """A row of TRADES."""
    origin = replace(
        ORIGIN_READ,
        event_time_ns=ns,
        receive_time_ns=received_ns,
        receive_age_ns=NOON - received_ns,
    )
    absent = {"exchange": None, "conditions": (), "id": None, "tape": None, "amendment": None}
    return tickgate.Trade(
        symbol="SPY",
        price=Decimal(price),
        provenance=origin,
        market_session=None,
        rule_flags=(),
        **(absent | fields),
    )


TRADES_READ = [
    trade_read(
        NOON - 100,
        NOON - 50,
        "0.1234567890123456789012345",
        size=100,
        exchange="Q",
        conditions=(" ", "I"),
        id=2**64 - 1,
    ),
    trade_read(NOON - 99, NOON - 30, "182.05", size=7, amendment="canceled"),
]

QUOTES = history_pb2.QuoteChunk(
    provenance=ORIGIN,
    count=2,
    event_times=times(NOON - 100, 0, -5),
    bid_price=cents(18205, 0, unset=(1,)),
    bid_size=history_pb2.CountColumn(values=[3, 0], unset_rows=[1]),
    bid_exchange=history_pb2.TextColumn(codes=["V"], places=[1, 0]),
    ask_price=cents(18210, 18211),
    ask_size=history_pb2.CountColumn(values=[0, 4]),
    conditions=history_pb2.TextsColumn(lists=[history_pb2.CodeList(codes=["R"])], places=[1, 1]),
    tape=history_pb2.TextColumn(codes=["C"], places=[1, 1]),
    cursor="behind two quotes",
)


def quote_read(ns: int, bid: tickgate.QuoteSide | None, ask: tickgate.QuoteSide) -> tickgate.Quote:
    """A row of QUOTES."""
    return tickgate.Quote(
        symbol="SPY",
        bid=bid,
        ask=ask,
        conditions=("R",),
        tape="C",
        provenance=replace(ORIGIN_READ, event_time_ns=ns),
        market_session=None,
        derived=None,
        quality=None,
        latest_trade=None,
        latest_trade_unavailable=None,
        rule_flags=(),
    )


QUOTES_READ = [
    quote_read(
        NOON - 100,
        tickgate.QuoteSide(price=Decimal("182.05"), size=3, exchange="V"),
        tickgate.QuoteSide(price=Decimal("182.1"), size=0, exchange=None),
    ),
    quote_read(
        NOON - 105, None, tickgate.QuoteSide(price=Decimal("182.11"), size=4, exchange=None)
    ),
]

QUOTES_ALONE = history_pb2.QuoteChunk()
"""Quotes of which each says when it was received."""

QUOTES_ALONE.CopyFrom(QUOTES)
QUOTES_ALONE.receive_times.CopyFrom(TRADES.receive_times)
QUOTES_ALONE.provenance.ClearField("receive_time")
QUOTES_ALONE_READ = [
    replace(
        quote,
        provenance=replace(
            quote.provenance, receive_time_ns=received_ns, receive_age_ns=NOON - received_ns
        ),
    )
    for quote, received_ns in zip(QUOTES_READ, (NOON - 50, NOON - 30), strict=True)
]

# ------------------------------------------------------------------------------- streams of bars


def some_bars(symbol: str, first: int, count: int) -> history_service_pb2.StreamBarsResponse:
    """Minute bars of a symbol, numbered by their volume from *first* on."""
    dollar = cents(*([100] * count))
    chunk = history_pb2.BarChunk(
        provenance=ORIGIN,
        count=count,
        start_times=times(first * MINUTE, *([0] + [6] * (count - 1)), exponent=10),
        volume=history_pb2.CountColumn(values=range(first, first + count)),
        cursor=f"{symbol} {first + count}",
        open=dollar,
        high=dollar,
        low=dollar,
        close=dollar,
    )
    return history_service_pb2.StreamBarsResponse(symbol=symbol, chunk=chunk)


def bars_end(symbol: str, count: int, **fields: Any) -> history_service_pb2.StreamBarsResponse:
    """The word that all bars of a symbol were sent."""
    end = history_pb2.SeriesEnd(count=count, cursor=f"{symbol} end", **fields)
    return history_service_pb2.StreamBarsResponse(symbol=symbol, end=end)


def no_bars(
    symbol: str, count: int = 0, reason: str = "CIRCUIT_OPEN"
) -> history_service_pb2.StreamBarsResponse:
    """The word that bars of a symbol cannot be had from the minute *count* on."""
    why = unavailable_pb2.DataUnavailable(
        reason=error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}"),
        category=unavailable_pb2.UNAVAILABLE_CATEGORY_SERVICE_UNAVAILABLE,
        message=f"{symbol}: not now",
        request_id="r-1",
    )
    missing = history_pb2.SeriesUnavailable(
        unavailable=why,
        missing_from_time=at(count * MINUTE),
        count=count,
        cursor=f"{symbol} {count}",
    )
    return history_service_pb2.StreamBarsResponse(symbol=symbol, unavailable=missing)


# ------------------------------------------------------------------------------- other questions

PRICE_AT = history_pb2.PriceAt(trade=TRADE, age=Duration(seconds=1, nanos=5))
PRICE_AT_READ = tickgate.PriceAt(trade=TRADE_READ, age_ns=SECOND + 5)

COVERAGES = [
    history_pb2.CoverageResult(
        symbol="AAPL",
        coverage=history_pb2.Coverage(
            intervals=[
                history_pb2.CoveredInterval(
                    start_time=at(NOON),
                    end_time=at(NOON + MINUTE),
                    receive_time=at(NOON + 2 * MINUTE),
                    count=390,
                )
            ]
        ),
    ),
    history_pb2.CoverageResult(symbol="ZZZZ", unavailable=UNAVAILABLE),
    history_pb2.CoverageResult(symbol="MSFT", coverage=history_pb2.Coverage()),
]
COVERAGES_READ: list[tickgate.Coverage | tickgate.Unavailable] = [
    tickgate.Coverage(
        symbol="AAPL",
        intervals=(
            tickgate.CoveredInterval(
                start_time_ns=NOON,
                end_time_ns=NOON + MINUTE,
                receive_time_ns=NOON + 2 * MINUTE,
                count=390,
            ),
        ),
    ),
    unavailable_read("ZZZZ"),
    tickgate.Coverage(symbol="MSFT", intervals=()),
]

ACTIONS = [
    history_pb2.CorporateAction(
        id="a-1",
        type=history_pb2.CORPORATE_ACTION_TYPE_FORWARD_SPLIT,
        symbol="AAPL",
        old_rate=dollars("1"),
        new_rate=dollars("4"),
        ex_date=Date(year=2020, month=8, day=31),
        record_date=Date(year=2020, month=8, day=24),
        payable_date=Date(year=2020, month=8, day=28),
        process_date=Date(year=2020, month=8, day=31),
        provenance=LIST_PROVENANCE,
    ),
    history_pb2.CorporateAction(
        type=history_pb2.CORPORATE_ACTION_TYPE_CASH_DIVIDEND,
        symbol="AAPL",
        new_symbol="",
        cash_rate=dollars("0.24"),
        special=False,
        provenance=LIST_PROVENANCE,
    ),
]
ACTIONS_READ = [
    tickgate.CorporateAction(
        id="a-1",
        type=tickgate.CorporateActionType.FORWARD_SPLIT,
        symbol="AAPL",
        new_symbol=None,
        old_rate=Decimal(1),
        new_rate=Decimal(4),
        cash_rate=None,
        ex_date=date(2020, 8, 31),
        record_date=date(2020, 8, 24),
        payable_date=date(2020, 8, 28),
        process_date=date(2020, 8, 31),
        special=None,
        provenance=LIST_PROVENANCE_READ,
    ),
    tickgate.CorporateAction(
        id=None,
        type=tickgate.CorporateActionType.CASH_DIVIDEND,
        symbol="AAPL",
        new_symbol="",
        old_rate=None,
        new_rate=None,
        cash_rate=Decimal("0.24"),
        ex_date=None,
        record_date=None,
        payable_date=None,
        process_date=None,
        special=False,
        provenance=LIST_PROVENANCE_READ,
    ),
]

WATCHLIST = admin_service_pb2.Watchlist(
    name="default",
    symbols=["AAPL", "MSFT"],
    record=True,
    refresh_timeframes=["1Day", "1Min"],
    refresh_days=366,
    update_time=at(NOON),
    refresh_time=at(NOON + 1),
)
WATCHLIST_READ = tickgate.Watchlist(
    name="default",
    symbols=("AAPL", "MSFT"),
    record=True,
    refresh_timeframes=("1Day", "1Min"),
    refresh_days=366,
    update_time_ns=NOON,
    refresh_time_ns=NOON + 1,
)

BACKFILL = admin_service_pb2.Backfill(
    id="b-1",
    state=admin_service_pb2.BACKFILL_STATE_DONE,
    request=admin_service_pb2.StartBackfillRequest(
        symbols=["AAPL", "ZZZZ"],
        kind=history_pb2.SERIES_KIND_BARS,
        timeframe="1Min",
        feed=provenance_pb2.FEED_SIP,
        adjustments=[history_pb2.ADJUSTMENT_SPLIT],
        start_time=at(NOON - MINUTE),
        end_time=at(NOON),
    ),
    symbols_done=2,
    fetched_count=98_000,
    progress=1.0,
    failures=[admin_service_pb2.BackfillFailure(symbol="ZZZZ", unavailable=UNAVAILABLE)],
    start_time=at(NOON),
    end_time=at(NOON + SECOND),
)
BACKFILL_READ = tickgate.Backfill(
    id="b-1",
    state=tickgate.BackfillState.DONE,
    request=tickgate.BackfillRequest(
        symbols=("AAPL", "ZZZZ"),
        kind=tickgate.SeriesKind.BARS,
        timeframe="1Min",
        feed=tickgate.Feed.SIP,
        adjustments=(tickgate.Adjustment.SPLIT,),
        start_time_ns=NOON - MINUTE,
        end_time_ns=NOON,
    ),
    symbols_done=2,
    fetched=98_000,
    progress=1.0,
    failures=(tickgate.BackfillFailure(symbol="ZZZZ", unavailable=unavailable_read("ZZZZ")),),
    start_time_ns=NOON,
    end_time_ns=NOON + SECOND,
)
RUNNING = admin_service_pb2.Backfill(
    id="b-2",
    state=admin_service_pb2.BACKFILL_STATE_RUNNING,
    request=admin_service_pb2.StartBackfillRequest(
        symbols=["SPY"],
        kind=history_pb2.SERIES_KIND_TRADES,
        start_time=at(NOON - MINUTE),
        end_time=at(NOON),
    ),
    progress=0.25,
    start_time=at(NOON),
)
RUNNING_READ = tickgate.Backfill(
    id="b-2",
    state=tickgate.BackfillState.RUNNING,
    request=tickgate.BackfillRequest(
        symbols=("SPY",),
        kind=tickgate.SeriesKind.TRADES,
        timeframe=None,
        feed=None,
        adjustments=(),
        start_time_ns=NOON - MINUTE,
        end_time_ns=NOON,
    ),
    symbols_done=0,
    fetched=0,
    progress=0.25,
    failures=(),
    start_time_ns=NOON,
    end_time_ns=None,
)
