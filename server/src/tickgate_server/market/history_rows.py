"""Columns of the past as single values, for those who want to look at one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import repeat
from typing import Any

from .bar import Bar
from .columns import BarBlock, Block, Column, QuoteBlock, TradeBlock
from .provenance import Provenance
from .quote import Quote, QuoteSide
from .trade import Trade


def rows(block: Block, symbol: str) -> Iterator[Bar | Trade | Quote]:
    """Yield each row of *block*, in its order, as the value of *symbol* that it is, with its own origin."""
    match block:
        case BarBlock():
            return bars(block, symbol)
        case TradeBlock():
            return trades(block, symbol)
        case QuoteBlock():
            return quotes(block, symbol)


def bars(block: BarBlock, symbol: str) -> Iterator[Bar]:
    """Yield the bars of *block*, which is about *symbol*."""
    columns = zip(
        block.open,
        block.high,
        block.low,
        block.close,
        _each(block.volume),
        _each(block.trade_count),
        _each(block.vwap),
        _origins(block),
        # A column that is left out goes on for ever.
        strict=False,
    )
    for opened, high, low, close, volume, count, vwap, origin in columns:
        yield Bar(
            symbol, _set(opened), _set(high), _set(low), _set(close), volume, count, vwap, origin
        )


def trades(block: TradeBlock, symbol: str) -> Iterator[Trade]:
    """Yield the trades of *block*, which is about *symbol*."""
    columns = zip(
        block.price,
        _each(block.size),
        _each(block.exchange),
        _each(block.conditions),
        _each(block.id),
        _each(block.tape),
        _each(block.amendment),
        _origins(block),
        strict=False,  # as above
    )
    for price, size, exchange, conditions, number, tape, amendment, origin in columns:
        yield Trade(
            symbol,
            _set(price),
            size,
            exchange,
            _listed(conditions),
            number,
            tape,
            amendment,
            origin,
        )


def quotes(block: QuoteBlock, symbol: str) -> Iterator[Quote]:
    """Yield the quotes of *block*, which is about *symbol*. In the past, both sides may have been empty."""
    columns = zip(
        _each(block.bid_price),
        _each(block.bid_size),
        _each(block.bid_exchange),
        _each(block.ask_price),
        _each(block.ask_size),
        _each(block.ask_exchange),
        _each(block.conditions),
        _each(block.tape),
        _origins(block),
        strict=False,  # as above
    )
    for (
        bid,
        bid_size,
        bid_exchange,
        ask,
        ask_size,
        ask_exchange,
        conditions,
        tape,
        origin,
    ) in columns:
        yield Quote(
            symbol,
            _side(bid, bid_size, bid_exchange),
            _side(ask, ask_size, ask_exchange),
            _listed(conditions),
            tape,
            origin,
        )


def _each(column: Column | None) -> Iterable[Any]:
    return repeat(None) if column is None else column


def _origins(block: Block) -> Iterator[Provenance]:
    origin = block.origin
    received: Iterable[int] = block.receive_times or repeat(origin.receive_time)
    # The times bound every row: no block without rows has any.
    for event_time, receive_time in zip(block.times, received, strict=False):
        yield Provenance(
            origin.source, origin.feed, event_time, receive_time, origin.upstream_request_id
        )


def _set(price: Decimal | None) -> Decimal:
    assert price is not None, "a bar and a trade have their prices"
    return price


def _side(price: Decimal | None, size: int | None, exchange: str | None) -> QuoteSide | None:
    return None if price is None else QuoteSide(price, size, exchange)


def _listed(conditions: str | tuple[str, ...] | None) -> tuple[str, ...]:
    if conditions is None:
        return ()
    # Options have one code, which is no list on the wire.
    return (conditions,) if isinstance(conditions, str) else conditions
