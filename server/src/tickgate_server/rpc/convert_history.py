"""The past, and what is done to keep it, to messages. What was not sent stays unset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final

from google.type import date_pb2, decimal_pb2

from tickgate.v1 import admin_service_pb2, history_pb2
from tickgate.v1 import history_pb2 as pb

from ..market.answer import Answer
from ..market.backfill import Backfill, BackfillState
from ..market.corporate_action import CorporateAction, CorporateActionType
from ..market.interval import Interval
from ..market.series import Adjustment, SeriesKind
from ..market.trade import Trade
from ..market.unavailable import Unavailable
from ..market.watchlist import Watchlist
from ..ports import Covered
from . import convert, encode_history
from .convert import Moment

KINDS: Final = convert.numbers(SeriesKind, history_pb2.SeriesKind, "SERIES_KIND_")
ADJUSTMENTS: Final = convert.numbers(Adjustment, history_pb2.Adjustment, "ADJUSTMENT_")
ACTION_TYPES: Final[Mapping[CorporateActionType, Any]] = convert.numbers(
    CorporateActionType, history_pb2.CorporateActionType, "CORPORATE_ACTION_TYPE_"
)
BACKFILL_STATES: Final = convert.numbers(
    BackfillState, admin_service_pb2.BackfillState, "BACKFILL_STATE_"
)

MOST_STRETCHES: Final = 10_000
"""Stretches of coverage that an answer names."""

MOST_FAILURES: Final = 1000
"""Failures of a backfill that an answer names."""


def series_unavailable(
    why: Unavailable,
    missing: Interval,
    count: int,
    cursor: str,
    moment: Moment,
    *,
    newest_first: bool,
) -> pb.SeriesUnavailable:
    """Return that a series, or the rest of it, cannot be had: *count* of its values were sent before."""
    return pb.SeriesUnavailable(
        unavailable=convert.unavailable(why, moment),
        missing_from_time=convert.timestamp(missing.end if newest_first else missing.start),
        count=count,
        cursor=cursor,
    )


def price_at(answer: Answer[Trade], time: int, moment: Moment) -> pb.PriceAt:
    """Return the trade that a symbol was priced by at *time*."""
    value = answer.value
    trade = convert.trade(value)
    encode_history.serve(trade.provenance, value.provenance, answer.served_from, moment)
    price = pb.PriceAt(trade=trade)
    if value.event_time is not None:
        price.age.CopyFrom(convert.duration(time - value.event_time))
    return price


def coverage(covered: Sequence[Covered]) -> pb.Coverage:
    """Return what is held as few stretches in order, of which none touches another."""
    merged: list[Covered] = []
    for one in sorted(covered, key=lambda one: one.interval):
        if merged and one.interval.start <= merged[-1].interval.end:
            merged[-1] = _joined(merged[-1], one)
        else:
            merged.append(one)
    return pb.Coverage(intervals=[_stretch(one) for one in merged[:MOST_STRETCHES]])


def corporate_action(value: CorporateAction, moment: Moment) -> pb.CorporateAction:
    """Return an event."""
    message = pb.CorporateAction(
        id=value.id,
        type=ACTION_TYPES[value.type],
        symbol=value.symbol,
        old_rate=_rate(value.old_rate),
        new_rate=_rate(value.new_rate),
        cash_rate=_rate(value.cash_rate),
        ex_date=_date(value.ex_date),
        record_date=_date(value.record_date),
        payable_date=_date(value.payable_date),
        process_date=_date(value.process_date),
        provenance=convert.served_provenance(value.provenance, moment),
    )
    convert.set_present(message, new_symbol=value.new_symbol, special=value.special)
    return message


def watchlist(value: Watchlist) -> admin_service_pb2.Watchlist:
    """Return a watchlist."""
    message = admin_service_pb2.Watchlist(
        name=value.name,
        symbols=value.symbols,
        record=value.record,
        refresh_timeframes=[str(timeframe) for timeframe in value.refresh_timeframes],
        refresh_days=value.refresh_days,
        update_time=convert.timestamp(value.update_time),
    )
    if value.refresh_time is not None:
        message.refresh_time.CopyFrom(convert.timestamp(value.refresh_time))
    return message


def backfill(value: Backfill, moment: Moment) -> admin_service_pb2.Backfill:
    """Return a backfill as it stands."""
    message = admin_service_pb2.Backfill(
        id=value.id,
        state=BACKFILL_STATES[value.state],
        request=_backfill_request(value),
        symbols_done=value.symbols_done,
        fetched_count=value.fetched,
        progress=value.progress,
        failures=[
            admin_service_pb2.BackfillFailure(
                symbol=failure.symbol, unavailable=convert.unavailable(failure.why, moment)
            )
            for failure in value.failures[:MOST_FAILURES]
        ],
        start_time=convert.timestamp(value.start_time),
    )
    if value.end_time is not None:
        message.end_time.CopyFrom(convert.timestamp(value.end_time))
    return message


def _backfill_request(value: Backfill) -> admin_service_pb2.StartBackfillRequest:
    key = value.key
    request = admin_service_pb2.StartBackfillRequest(
        symbols=value.symbols,
        kind=KINDS[key.kind],
        timeframe="" if key.timeframe is None else str(key.timeframe),
        adjustments=[ADJUSTMENTS[one] for one in Adjustment if one in key.adjustments],
        start_time=convert.timestamp(value.interval.start),
        end_time=convert.timestamp(value.interval.end),
    )
    if key.feed is not None:
        request.feed = convert.FEEDS[key.feed]
    return request


def _joined(first: Covered, second: Covered) -> Covered:
    start, end = first.interval.start, max(first.interval.end, second.interval.end)
    return Covered(
        Interval(start, end),
        min(first.receive_time, second.receive_time),
        first.count + second.count,
        first.refused + second.refused,
    )


def _stretch(covered: Covered) -> pb.CoveredInterval:
    return pb.CoveredInterval(
        start_time=convert.timestamp(covered.interval.start),
        end_time=convert.timestamp(covered.interval.end),
        receive_time=convert.timestamp(covered.receive_time),
        count=covered.count,
    )


def _rate(value: Decimal | None) -> decimal_pb2.Decimal | None:
    return None if value is None else convert.price(value)


def _date(day: date | None) -> date_pb2.Date | None:
    return None if day is None else convert.civil_date(day)
