"""Chunks and pages of the past as their readers understand them, written from the contract's words alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import accumulate
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from tickgate.v1 import bar_pb2, history_pb2, provenance_pb2, quote_pb2, trade_pb2
from tickgate_server.market.bar import Bar
from tickgate_server.market.provenance import DataSource, Feed, Provenance
from tickgate_server.market.quote import Quote, QuoteSide
from tickgate_server.market.time import NANOS
from tickgate_server.market.trade import Trade

Chunk = history_pb2.BarChunk | history_pb2.TradeChunk | history_pb2.QuoteChunk


def instant(message: Timestamp) -> int:
    """Nanoseconds."""
    return message.seconds * NANOS + message.nanos


def values_of(chunk: Chunk, symbol: str) -> list[Bar | Trade | Quote]:
    """The values that *chunk* holds of *symbol*."""
    count = chunk.count

    def column(name: str) -> Iterator[Any]:
        return iter(_column(getattr(chunk, name), chunk.HasField(name), count))  # type: ignore[arg-type]  # each has it

    stamps = chunk.start_times if isinstance(chunk, history_pb2.BarChunk) else chunk.event_times
    received = [instant(chunk.provenance.receive_time)] * count
    if chunk.HasField("receive_times"):
        received = times_of(chunk.receive_times)
    origins = [
        _origin(chunk.provenance, time, receive_time)
        for time, receive_time in zip(times_of(stamps), received, strict=True)
    ]
    match chunk:
        case history_pb2.BarChunk():
            names = ("open", "high", "low", "close", "volume", "trade_count", "vwap")
            return [Bar(symbol, *row) for row in zip(*map(column, names), origins, strict=True)]
        case history_pb2.TradeChunk():
            names = ("price", "size", "exchange", "conditions", "id", "tape", "amendment")
            return [
                Trade(symbol, price, size, venue, tuple(codes or ()), number, tape, amended, at)
                for price, size, venue, codes, number, tape, amended, at in zip(
                    *map(column, names), origins, strict=True
                )
            ]
    sides = [
        [
            None if price is None else QuoteSide(price, size, venue)
            for price, size, venue in zip(
                *(column(f"{side}_{part}") for part in ("price", "size", "exchange")), strict=True
            )
        ]
        for side in ("bid", "ask")
    ]
    return [
        Quote(symbol, bid, ask, tuple(codes or ()), tape, at)
        for bid, ask, codes, tape, at in zip(
            *sides, column("conditions"), column("tape"), origins, strict=True
        )
    ]


def times_of(column: history_pb2.TimeColumn) -> list[int]:
    """The instants of a column."""
    unit = 10**column.exponent
    assert column.deltas[0] == 0
    first = instant(column.first_time)
    return [first + steps * unit for steps in accumulate(column.deltas)]


def value_of(message: Any) -> Bar | Trade | Quote:
    """The value that a row holds."""
    said = message.provenance
    at = _origin(said, instant(said.event_time), instant(said.receive_time))
    match message:
        case bar_pb2.Bar():
            assert message.start_time == said.event_time
            opened, high, low, close = (
                Decimal(price.value)
                for price in (message.open, message.high, message.low, message.close)
            )
            return Bar(
                message.symbol,
                opened,
                high,
                low,
                close,
                _given(message, "volume"),
                _given(message, "trade_count"),
                Decimal(message.vwap.value) if message.HasField("vwap") else None,
                at,
            )
        case trade_pb2.Trade():
            return Trade(
                message.symbol,
                Decimal(message.price.value),
                _given(message, "size"),
                _given(message, "exchange"),
                tuple(message.conditions),
                _given(message, "id"),
                _given(message, "tape"),
                _given(message, "amendment"),
                at,
            )
    assert isinstance(message, quote_pb2.Quote)
    bid, ask = (
        QuoteSide(Decimal(side.price.value), _given(side, "size"), _given(side, "exchange"))
        if message.HasField(name)  # type: ignore[arg-type]  # it has both
        else None
        for name, side in (("bid", message.bid), ("ask", message.ask))
    )
    return Quote(message.symbol, bid, ask, tuple(message.conditions), _given(message, "tape"), at)


def _column(column: Any, there: bool, count: int) -> Sequence[Any]:
    if not there:
        return [None] * count
    if isinstance(column, history_pb2.TextColumn):
        found: list[Any] = [None, *column.codes]
        return [found[place] for place in column.places]
    if isinstance(column, history_pb2.TextsColumn):
        lists: list[Any] = [None, *(tuple(one.codes) for one in column.lists)]
        return [lists[place] for place in column.places]
    unset = set(column.unset_rows)
    if isinstance(column, history_pb2.CountColumn):
        return [None if row in unset else value for row, value in enumerate(column.values)]
    if column.decimals:
        return [Decimal(one.value) if one.value else None for one in column.decimals]
    return [
        None if row in unset else Decimal(value).scaleb(column.exponent)
        for row, value in enumerate(column.values)
    ]


def _origin(said: provenance_pb2.Provenance, event_time: int, receive_time: int) -> Provenance:
    feed = None
    if said.HasField("feed"):
        feed = Feed(provenance_pb2.Feed.Name(said.feed).removeprefix("FEED_").lower())
    source = provenance_pb2.DataSource.Name(said.source).removeprefix("DATA_SOURCE_").lower()
    return Provenance(DataSource(source), feed, event_time, receive_time, said.upstream_request_id)


def _given(message: Any, field: str) -> Any:
    return getattr(message, field) if message.HasField(field) else None
