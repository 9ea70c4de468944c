"""Live updates to bytes: once for all who follow them, and then what differs from follower to follower.

A quote that arrives ten thousand times a second is written field by field, with what repeats (prices, seconds, venues)
taken from small tables; a protobuf message would take four times as long. It says the same (a test compares them).
Everything rarer goes through messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from tickgate.v1 import provenance_pb2, quote_pb2, trade_pb2, trading_status_pb2
from tickgate.v1 import stream_service_pb2 as pb

from ..market.live import (
    CorrectedTrade,
    LiveValue,
    PriceBands,
    RecordKind,
    TradeCancellation,
    TradeCorrection,
    TradingStatus,
    UpdateKind,
)
from ..market.provenance import FEED_DELAY, DataSource, Feed, Provenance, Tier
from ..market.quote import Quote, QuoteSide
from ..market.time import NANOS
from . import convert
from .wire import field_of, tag, text_field, varint

_PIECE: Final = tag(pb.Updates, "updates")
_SEQUENCE: Final = field_of(pb.Update, "sequence")
_CONFLATED: Final = field_of(pb.Update, "conflated")
_VALUES: Final = {kind: tag(pb.Update, kind.value) for kind in RecordKind}
_KINDS: Final = {
    kind: pb.Update(kind=number).SerializeToString()
    for kind, number in convert.numbers(UpdateKind, pb.UpdateKind, "UPDATE_KIND_").items()
}

_SYMBOL: Final = field_of(quote_pb2.Quote, "symbol")
_BID: Final = tag(quote_pb2.Quote, "bid")
_ASK: Final = tag(quote_pb2.Quote, "ask")
_CONDITIONS: Final = field_of(quote_pb2.Quote, "conditions")
_TAPE: Final = field_of(quote_pb2.Quote, "tape")
_ORIGIN: Final = tag(quote_pb2.Quote, "provenance")
_SIDE_PRICE: Final = tag(quote_pb2.QuoteSide, "price")
_SIDE_SIZE: Final = field_of(quote_pb2.QuoteSide, "size")
_SIDE_EXCHANGE: Final = field_of(quote_pb2.QuoteSide, "exchange")
_EVENT_TIME: Final = tag(provenance_pb2.Provenance, "event_time")
_RECEIVE_TIME: Final = tag(provenance_pb2.Provenance, "receive_time")

_TABLE: Final = 65_536
"""Entries of a table of what repeats. A thousand symbols with some fifty prices each fit."""


class UpdateEncoder:
    """The `Encode` port."""

    def body(self, kind: RecordKind, value: LiveValue, sequence: int, tier: Tier) -> bytes:
        """Return what all followers get alike: the number, and the value as *tier* serves it."""
        if isinstance(value, Quote):
            encoded = _quote(value, tier)
        else:
            message = _MAKERS[kind](value)
            message.provenance.served_from = convert.TIERS[tier]
            encoded = message.SerializeToString()
        number = _SEQUENCE + varint(sequence) if sequence else b""
        return number + _VALUES[kind] + varint(len(encoded)) + encoded

    def framed(self, body: bytes, kind: UpdateKind, conflated: int) -> bytes:
        """Return one element of `Updates.updates`: *body*, how it comes to this follower, and what it supersedes."""
        rest = _KINDS[kind]
        if conflated:
            rest += _CONFLATED + varint(conflated)
        return _PIECE + varint(len(body) + len(rest)) + body + rest


# --------------------------------------------------------------------------------- quotes, by hand


def _quote(value: Quote, tier: Tier) -> bytes:
    origin = _provenance(value.provenance, tier)
    encoded = _symbol(value.symbol)
    if value.bid is not None:
        side = _side(value.bid)
        encoded += _BID + varint(len(side)) + side
    if value.ask is not None:
        side = _side(value.ask)
        encoded += _ASK + varint(len(side)) + side
    encoded += _codes(value.conditions, value.tape) + _ORIGIN + varint(len(origin)) + origin
    if value.rule_flags:
        encoded += quote_pb2.Quote(
            rule_flags=convert.rule_flags(value.rule_flags)
        ).SerializeToString()
    return encoded


def _side(side: QuoteSide) -> bytes:
    size, exchange = side.size, side.exchange
    # By its text: equal numbers may be written differently, and each leaves as it came.
    encoded = _price(str(side.price))
    if size is not None:
        encoded += _SIDE_SIZE + varint(size)
    return encoded if exchange is None else encoded + _exchange(exchange)


@lru_cache(maxsize=_TABLE)
def _price(text: str) -> bytes:
    encoded = convert.price(Decimal(text)).SerializeToString()
    return _SIDE_PRICE + varint(len(encoded)) + encoded


@lru_cache(maxsize=_TABLE)
def _symbol(symbol: str) -> bytes:
    return text_field(_SYMBOL, symbol)


@lru_cache(maxsize=1024)
def _exchange(exchange: str) -> bytes:
    return text_field(_SIDE_EXCHANGE, exchange)


@lru_cache(maxsize=1024)
def _codes(conditions: tuple[str, ...], tape: str | None) -> bytes:
    encoded = b"".join(text_field(_CONDITIONS, condition) for condition in conditions)
    return encoded if tape is None else encoded + text_field(_TAPE, tape)


def _provenance(origin: Provenance, tier: Tier) -> bytes:
    encoded = _source(origin.source, origin.feed, origin.upstream_request_id, tier)
    if origin.event_time is not None:
        stamped = _timestamp(origin.event_time)
        encoded += _EVENT_TIME + varint(len(stamped)) + stamped
    return encoded + _received(origin.receive_time)


@lru_cache(maxsize=1024)
def _source(source: DataSource, feed: Feed | None, request_id: str, tier: Tier) -> bytes:
    message = provenance_pb2.Provenance(
        source=convert.SOURCES[source],
        served_from=convert.TIERS[tier],
        upstream_request_id=request_id,
    )
    if feed is not None:
        message.feed = convert.FEEDS[feed]
        if (delay := FEED_DELAY.get(feed)) is not None:
            message.feed_delay.CopyFrom(convert.duration(delay))
    return message.SerializeToString()


# The records of a frame were received together.
@lru_cache(maxsize=16)
def _received(instant: int) -> bytes:
    received = _timestamp(instant)
    return _RECEIVE_TIME + varint(len(received)) + received


def _timestamp(instant: int) -> bytes:
    seconds, nanos = divmod(instant, NANOS)
    return _seconds(seconds) + b"\x10" + varint(nanos) if nanos else _seconds(seconds)


@lru_cache(maxsize=1024)
def _seconds(seconds: int) -> bytes:
    return convert.timestamp(seconds * NANOS).SerializeToString()


# ------------------------------------------------------------------------- the others, by protobuf


def _trade_correction(value: TradeCorrection) -> trade_pb2.TradeCorrection:
    message = trade_pb2.TradeCorrection(
        symbol=value.symbol,
        original=_corrected(value.original),
        corrected=_corrected(value.corrected),
        provenance=convert.provenance(value.provenance),
    )
    convert.set_present(message, exchange=value.exchange, tape=value.tape)
    return message


def _corrected(value: CorrectedTrade) -> trade_pb2.CorrectedTrade:
    message = trade_pb2.CorrectedTrade(
        price=convert.price(value.price), conditions=value.conditions
    )
    convert.set_present(message, id=value.id, size=value.size)
    return message


def _trade_cancellation(value: TradeCancellation) -> trade_pb2.TradeCancellation:
    message = trade_pb2.TradeCancellation(
        symbol=value.symbol,
        price=convert.price(value.price),
        action=value.action,
        provenance=convert.provenance(value.provenance),
    )
    convert.set_present(
        message, id=value.id, size=value.size, exchange=value.exchange, tape=value.tape
    )
    return message


def _trading_status(value: TradingStatus) -> trading_status_pb2.TradingStatus:
    message = trading_status_pb2.TradingStatus(
        symbol=value.symbol,
        status_code=value.status_code,
        status_message=value.status_message,
        reason_code=value.reason_code,
        reason_message=value.reason_message,
        provenance=convert.provenance(value.provenance),
    )
    convert.set_present(message, tape=value.tape)
    return message


def _price_bands(value: PriceBands) -> trading_status_pb2.PriceBands:
    message = trading_status_pb2.PriceBands(
        symbol=value.symbol,
        limit_up=None if value.limit_up is None else convert.price(value.limit_up),
        limit_down=None if value.limit_down is None else convert.price(value.limit_down),
        indicator=value.indicator,
        provenance=convert.provenance(value.provenance),
    )
    convert.set_present(message, tape=value.tape)
    return message


_MAKERS: Final[Mapping[RecordKind, Callable[[Any], Any]]] = {
    RecordKind.TRADE: convert.trade,
    RecordKind.TRADE_CORRECTION: _trade_correction,
    RecordKind.TRADE_CANCELLATION: _trade_cancellation,
    RecordKind.BAR: convert.bar,
    RecordKind.REVISED_BAR: convert.bar,
    RecordKind.DAILY_BAR: convert.bar,
    RecordKind.TRADING_STATUS: _trading_status,
    RecordKind.PRICE_BANDS: _price_bands,
}
