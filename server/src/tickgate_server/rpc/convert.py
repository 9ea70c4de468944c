"""Market values to messages and back, as pure functions. What was not sent stays unset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any, Final, TypeVar

from google.protobuf import duration_pb2, timestamp_pb2
from google.type import date_pb2, decimal_pb2
from msgspec import Struct

from tickgate.v1 import (
    asset_pb2,
    bar_pb2,
    channel_pb2,
    gap_pb2,
    market_session_pb2,
    provenance_pb2,
    quote_pb2,
    rule_flag_pb2,
    snapshot_pb2,
    trade_pb2,
    unavailable_pb2,
)

from ..market.asset import Asset, AssetStatus, CodeKind, CodeTable
from ..market.bar import Bar
from ..market.live import Channel, Gap, GapCause, GapRepair
from ..market.provenance import FEED_DELAY, DataSource, Feed, Provenance, Tier
from ..market.quality import Derived, Quality, QuoteFlag
from ..market.quote import Quote, QuoteSide
from ..market.rule_flag import RuleFlag
from ..market.session import MarketNow, MarketSession, TradingDay
from ..market.snapshot import SnapshotPart
from ..market.time import NANOS
from ..market.trade import Trade
from ..market.unavailable import TierOutcome, Unavailable
from .status import FACES, reason_number

E = TypeVar("E", bound=Enum)


def numbers(members: type[E], message_enum: Any, prefix: str) -> Mapping[E, Any]:
    """Return the contract's number of each of our *members*, whose names are the contract's without *prefix*."""
    return {member: message_enum.Value(prefix + member.name) for member in members}


FEEDS: Final = numbers(Feed, provenance_pb2.Feed, "FEED_")
TIERS: Final = numbers(Tier, provenance_pb2.Tier, "TIER_")
SOURCES: Final = numbers(DataSource, provenance_pb2.DataSource, "DATA_SOURCE_")
SESSIONS: Final = numbers(MarketSession, market_session_pb2.MarketSession, "MARKET_SESSION_")
FLAGS: Final = numbers(QuoteFlag, quote_pb2.QuoteFlag, "QUOTE_FLAG_")
PARTS: Final = numbers(SnapshotPart, snapshot_pb2.SnapshotPart, "SNAPSHOT_PART_")
OUTCOMES: Final = numbers(TierOutcome, unavailable_pb2.TierOutcome, "TIER_OUTCOME_")
ASSET_STATUSES: Final = numbers(AssetStatus, asset_pb2.AssetStatus, "ASSET_STATUS_")
CHANNELS: Final = numbers(Channel, channel_pb2.Channel, "CHANNEL_")
CAUSES: Final = numbers(GapCause, gap_pb2.GapCause, "GAP_CAUSE_")
REPAIRS: Final = numbers(GapRepair, gap_pb2.GapRepair, "GAP_REPAIR_")
CODE_KINDS: Final = numbers(CodeKind, asset_pb2.CodeKind, "CODE_KIND_")


class Moment(Struct, frozen=True, gc=False):
    """The instant at which one response is made, and whose it is."""

    request_id: str
    wall: int
    """Nanoseconds of the wall clock: the serve time."""

    monotonic: float
    market: int
    """Nanoseconds of the market's time."""

    session: MarketSession | None


def timestamp(instant: int) -> timestamp_pb2.Timestamp:
    """Return *instant* (nanoseconds) to the nanosecond."""
    seconds, nanos = divmod(instant, NANOS)
    return timestamp_pb2.Timestamp(seconds=seconds, nanos=nanos)


def duration(nanoseconds: int) -> duration_pb2.Duration:
    """Return a length of time to the nanosecond."""
    result = duration_pb2.Duration()
    set_duration(result, nanoseconds)
    return result


def set_duration(message: duration_pb2.Duration, nanoseconds: int) -> None:
    """Set *message* in place. Both parts of a negative duration are negative, as protobuf wants it."""
    if nanoseconds >= 0:
        message.seconds, message.nanos = divmod(nanoseconds, NANOS)
    else:
        seconds, nanos = divmod(-nanoseconds, NANOS)
        message.seconds, message.nanos = -seconds, -nanos


def price(value: Decimal) -> decimal_pb2.Decimal:
    """Return the number in plain notation, digit for digit."""
    return decimal_pb2.Decimal(value=format(value, "f"))


def civil_date(day: date) -> date_pb2.Date:
    """Return *day* as a message."""
    return date_pb2.Date(year=day.year, month=day.month, day=day.day)


def provenance(origin: Provenance) -> provenance_pb2.Provenance:
    """Return what is known of a value's origin before it is served."""
    message = provenance_pb2.Provenance(
        source=SOURCES[origin.source],
        receive_time=timestamp(origin.receive_time),
        upstream_request_id=origin.upstream_request_id,
    )
    if origin.feed is not None:
        message.feed = FEEDS[origin.feed]
        if (delay := FEED_DELAY.get(origin.feed)) is not None:
            message.feed_delay.CopyFrom(duration(delay))
    if origin.event_time is not None:
        message.event_time.CopyFrom(timestamp(origin.event_time))
    return message


def served_provenance(origin: Provenance, moment: Moment) -> provenance_pb2.Provenance:
    """Return the origin of reference data, which memory keeps for a day, as it is served at *moment*."""
    message = provenance(origin)
    message.serve_time.CopyFrom(timestamp(moment.wall))
    set_duration(message.receive_age, max(0, moment.wall - origin.receive_time))
    return message


def quote(value: Quote) -> quote_pb2.Quote:
    """Return the part of a quote that does not depend on when it is served."""
    message = quote_pb2.Quote(
        symbol=value.symbol,
        bid=_side(value.bid),
        ask=_side(value.ask),
        conditions=value.conditions,
        provenance=provenance(value.provenance),
        rule_flags=rule_flags(value.rule_flags),
    )
    if value.tape is not None:
        message.tape = value.tape
    return message


def derived(value: Derived) -> quote_pb2.DerivedQuote:
    """Return spread and mid."""
    return quote_pb2.DerivedQuote(spread=price(value.spread), mid=price(value.mid))


def quality(value: Quality) -> quote_pb2.QuoteQuality:
    """Return score and flags."""
    return quote_pb2.QuoteQuality(score=value.score, flags=[FLAGS[flag] for flag in value.flags])


def trade(value: Trade) -> trade_pb2.Trade:
    """Return the part of a trade that does not depend on when it is served."""
    message = trade_pb2.Trade(
        symbol=value.symbol,
        price=price(value.price),
        conditions=value.conditions,
        provenance=provenance(value.provenance),
        rule_flags=rule_flags(value.rule_flags),
    )
    set_present(
        message,
        size=value.size,
        exchange=value.exchange,
        id=value.id,
        tape=value.tape,
        amendment=value.amendment,
    )
    return message


def bar(value: Bar) -> bar_pb2.Bar:
    """Return the part of a bar that does not depend on when it is served."""
    message = bar_pb2.Bar(
        symbol=value.symbol,
        open=price(value.open),
        high=price(value.high),
        low=price(value.low),
        close=price(value.close),
        vwap=None if value.vwap is None else price(value.vwap),
        provenance=provenance(value.provenance),
        rule_flags=rule_flags(value.rule_flags),
    )
    if value.event_time is not None:
        message.start_time.CopyFrom(timestamp(value.event_time))
    set_present(message, volume=value.volume, trade_count=value.trade_count)
    return message


def unavailable(why: Unavailable, moment: Moment) -> unavailable_pb2.DataUnavailable:
    """Return why there is no value, as it is told to one caller."""
    face = FACES[why.reason]
    message = unavailable_pb2.DataUnavailable(
        reason=reason_number(why.reason),
        category=face.category,
        message=why.message,
        request_id=moment.request_id,
        time=timestamp(moment.wall),
        suggested_action=face.action,
        tiers_tried=[
            unavailable_pb2.TierAttempt(
                tier=TIERS[attempt.tier],
                outcome=OUTCOMES[attempt.outcome],
                time=timestamp(attempt.time),
            )
            for attempt in why.tiers
        ],
    )
    if why.retry_delay is not None:
        message.retry_delay.CopyFrom(duration(round(why.retry_delay * NANOS)))
    if why.last_event_time is not None:
        message.last_event_time.CopyFrom(timestamp(why.last_event_time))
    if why.refusal is not None:
        message.refusal.rule = why.refusal.rule
        message.refusal.evidence = why.refusal.evidence
    return message


def asset(value: Asset) -> asset_pb2.Asset:
    """Return an asset."""
    message = asset_pb2.Asset(
        symbol=value.symbol,
        name=value.name,
        id=value.id,
        exchange=value.exchange,
        asset_class=value.asset_class,
        attributes=value.attributes,
    )
    if value.status is not None:
        message.status = ASSET_STATUSES[value.status]
    set_present(
        message,
        tradable=value.tradable,
        marginable=value.marginable,
        shortable=value.shortable,
        fractionable=value.fractionable,
    )
    return message


def code_table(value: CodeTable, moment: Moment) -> asset_pb2.CodeTable:
    """Return a table of codes."""
    return asset_pb2.CodeTable(
        codes=[asset_pb2.Code(code=code, name=name) for code, name in value.names.items()],
        provenance=served_provenance(value.provenance, moment),
    )


def market_clock(value: MarketNow, moment: Moment) -> market_session_pb2.MarketClock:
    """Return the market's time."""
    message = market_session_pb2.MarketClock(
        market_time=timestamp(value.market_time),
        next_open_time=timestamp(value.next_open),
        next_close_time=timestamp(value.next_close),
        provenance=served_provenance(value.provenance, moment),
    )
    if value.session is not None:
        message.session = SESSIONS[value.session]
    return message


def gap(value: Gap) -> gap_pb2.Gap:
    """Return a gap, without the symbols that were followed."""
    message = gap_pb2.Gap(
        id=value.id,
        feed=FEEDS[value.feed],
        cause=CAUSES[value.cause],
        message=value.message,
        start_time=timestamp(value.start),
        end_time=_stamp(value.end),
        repair=REPAIRS[value.repair],
    )
    set_present(message, lost_records=value.lost_records)
    return message


def trading_day(value: TradingDay) -> market_session_pb2.TradingDay:
    """Return a trading day."""
    return market_session_pb2.TradingDay(
        date=civil_date(value.date),
        pre_market_open_time=_stamp(value.pre_market_open),
        open_time=timestamp(value.open),
        close_time=timestamp(value.close),
        after_hours_close_time=_stamp(value.after_hours_close),
        settlement_date=None
        if value.settlement_date is None
        else civil_date(value.settlement_date),
    )


def rule_flags(flags: Sequence[RuleFlag]) -> list[rule_flag_pb2.RuleFlag]:
    """Return what business rules find odd."""
    return [rule_flag_pb2.RuleFlag(rule=flag.rule, evidence=flag.evidence) for flag in flags]


def _stamp(instant: int | None) -> timestamp_pb2.Timestamp | None:
    return None if instant is None else timestamp(instant)


def _side(value: QuoteSide | None) -> quote_pb2.QuoteSide | None:
    if value is None:
        return None
    message = quote_pb2.QuoteSide(price=price(value.price))
    set_present(message, size=value.size, exchange=value.exchange)
    return message


def set_present(message: Any, **fields: object) -> None:
    """Set the *fields* of *message* that have a value; the others stay unset."""
    for name, value in fields.items():
        if value is not None:
            setattr(message, name, value)
