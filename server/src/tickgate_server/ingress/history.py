"""The gate for the past: columns of records that are judged together, and one by one only where something is odd.

A page of ten thousand records hardly ever breaks a rule. Whether it does shows in a few looks at whole columns: the
lowest and the highest of each, and each code once. Only a stretch of records that fails one of them goes through the
rules record by record: the same rules hold as for every other record, at their full price only where it matters.

No business rules: those look at what stands around a value now. A crossed quote of the past is one that was crossed,
as quotes of all venues together are for moments, and stays. A quote whose sides were both empty says that they were,
and stays as a row without either.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress, repeat
from operator import le
from typing import Any, Final, TypeAlias, TypeVar

from msgspec import Struct

from ..market.columns import (
    BarBlock,
    Block,
    Codes,
    Counts,
    Decimals,
    Origin,
    QuoteBlock,
    TradeBlock,
    codes,
    counts,
    decimals,
)
from ..market.unavailable import Refusal
from . import rules
from .gate import Gate
from .records import RawBar, RawQuote, RawTrade

T = TypeVar("T")

Texts: TypeAlias = Sequence[str | None]
Numbers: TypeAlias = Sequence[int | None]


class RawBars(Struct, frozen=True):
    """Bars of one symbol to be checked; the times are starts of intervals. At least one."""

    times: Sequence[int]
    open: Decimals
    high: Decimals
    low: Decimals
    close: Decimals
    volume: Numbers
    trade_count: Numbers
    vwap: Decimals | None


class RawTrades(Struct, frozen=True):
    """Trades of one symbol to be checked. At least one."""

    times: Sequence[int]
    price: Decimals
    size: Numbers
    exchange: Texts
    conditions: Sequence[tuple[str, ...]]
    id: Numbers
    tape: Texts
    amendment: Texts


class RawQuotes(Struct, frozen=True):
    """Quotes of one symbol to be checked. A price of zero is how an upstream may write an empty side. At least one."""

    times: Sequence[int]
    bid_price: Decimals
    bid_size: Numbers
    bid_exchange: Texts
    ask_price: Decimals
    ask_size: Numbers
    ask_exchange: Texts
    conditions: Sequence[tuple[str, ...]]
    tape: Texts


RawSeries: TypeAlias = RawBars | RawTrades | RawQuotes

_STRETCH: Final = 256
"""Records that are judged one by one where one of them is odd: thousands take a quarter of a second."""


class Judged(Struct, frozen=True):
    """What became of some records."""

    block: Block | None
    """Those that are market values; None when there are none."""

    refused: Sequence[Refusal]
    """Why the others are none, in their order."""


class HistoryGate:
    """Lets records of the past in, or tells why not. It counts and notes nothing, so it may judge in another thread."""

    def __init__(self, gate: Gate) -> None:
        """Judge by the rules of *gate*."""
        self._gate = gate

    def judge(self, raw: RawSeries, symbol: str, origin: Origin) -> Judged:
        """Return the values among the records of *symbol*, and why the others are none."""
        if self._is_ordinary(raw):
            return Judged(_block(raw, origin), ())
        verdicts = list(self._verdicts(raw, symbol))
        refused = [verdict for verdict in verdicts if verdict is not None]
        if len(refused) == len(verdicts):
            return Judged(None, refused)
        kept = _kept(raw, [verdict is None for verdict in verdicts]) if refused else raw
        return Judged(_block(kept, origin), refused)

    def _verdicts(self, raw: RawSeries, symbol: str) -> Iterator[Refusal | None]:
        for start in range(0, len(raw.times), _STRETCH):
            stretch = _stretch(raw, start, min(start + _STRETCH, len(raw.times)))
            if self._is_ordinary(stretch):
                yield from repeat(None, len(stretch.times))
            else:
                yield from self._each(stretch, symbol)

    def _each(self, raw: RawSeries, symbol: str) -> Iterator[Refusal | None]:
        match raw:
            case RawBars():
                return (self._gate.check_bar(bar, symbol) for bar in _bars(raw, symbol))
            case RawTrades():
                return (self._gate.check_trade(trade, symbol) for trade in _trades(raw, symbol))
            case RawQuotes():
                return (self._gate.check_quote(quote, symbol) for quote in _quotes(raw, symbol))

    def _is_ordinary(self, raw: RawSeries) -> bool:
        """Tell whether no rule can refuse any record of *raw*. False says nothing: then the rules decide."""
        check = self._gate.check_time
        if check(min(raw.times)) is not None or check(max(raw.times)) is not None:
            return False
        match raw:
            case RawBars():
                return _are_ordinary_bars(raw)
            case RawTrades():
                return _are_ordinary_trades(raw)
            case RawQuotes():
                return _are_ordinary_quotes(raw)


# ------------------------------------------------------------------------ looks at whole columns


def _are_ordinary_bars(raw: RawBars) -> bool:
    prices = (raw.low, raw.open, raw.close, raw.high)
    return (
        all(_are_prices(price) for price in prices)
        and (raw.vwap is None or _are_prices(raw.vwap))
        and _are_counts(raw.volume)
        and _are_counts(raw.trade_count)
        and _are_in_order(*prices)
    )


def _are_ordinary_trades(raw: RawTrades) -> bool:
    return (
        _are_prices(raw.price)
        and _are_counts(raw.size)
        and _are_counts(raw.id)
        and all(_are_codes(texts) for texts in (raw.exchange, raw.tape, raw.amendment))
        and _are_conditions(raw.conditions)
    )


def _are_ordinary_quotes(raw: RawQuotes) -> bool:
    return (
        _are_prices(raw.bid_price, or_empty=True)
        and _are_prices(raw.ask_price, or_empty=True)
        and _are_counts(raw.bid_size)
        and _are_counts(raw.ask_size)
        and all(_are_codes(texts) for texts in (raw.bid_exchange, raw.ask_exchange, raw.tape))
        and _are_conditions(raw.conditions)
    )


def _are_prices(column: Decimals, *, or_empty: bool = False) -> bool:
    if column.wide is not None or column.exponent < -rules.MOST_DECIMALS:
        return False
    values = column.values
    lowest, highest = min(values), max(values)
    if highest >= int(rules.HIGHEST_PRICE) * 10**-column.exponent:
        return False
    # Rows without a price have a zero that is none.
    return lowest > 0 or (lowest == 0 and (or_empty or values.count(0) == len(column.unset)))


def _are_in_order(low: Decimals, open_: Decimals, close: Decimals, high: Decimals) -> bool:
    exponent = min(column.exponent for column in (low, open_, close, high))
    lows, opens, closes, highs = (
        _counting(column, exponent) for column in (low, open_, close, high)
    )
    return (
        all(map(le, lows, opens))
        and all(map(le, opens, highs))
        and all(map(le, lows, closes))
        and all(map(le, closes, highs))
    )


def _counting(column: Decimals, exponent: int) -> Sequence[int]:
    factor = 10 ** (column.exponent - exponent)
    return column.values if factor == 1 else [value * factor for value in column.values]


def _are_counts(numbers: Numbers) -> bool:
    given = _given(numbers)
    return not given or (min(given) >= 0 and max(given) <= rules.LARGEST_COUNT)


def _are_codes(texts: Texts) -> bool:
    # Each by itself: a series may well know more codes than a record may have.
    return all(rules.check_codes("code", (text,), 0) is None for text in set(texts))


def _are_conditions(lists: Sequence[tuple[str, ...]]) -> bool:
    return all(rules.check_codes("conditions", conditions, 0) is None for conditions in set(lists))


def _given(values: Sequence[T | None]) -> Sequence[T]:
    return [value for value in values if value is not None]


# ------------------------------------------------------------------------------- record by record


def _bars(raw: RawBars, symbol: str) -> Iterator[RawBar]:
    vwap: Iterable[Any] = repeat(None) if raw.vwap is None else raw.vwap
    columns: Iterable[tuple[Any, ...]] = zip(
        raw.times, raw.open, raw.high, raw.low, raw.close, raw.volume, raw.trade_count, vwap,
        strict=False,  # what is left out goes on for ever
    )  # fmt: skip
    return (RawBar(symbol, *row) for row in columns)


def _trades(raw: RawTrades, symbol: str) -> Iterator[RawTrade]:
    columns: Iterable[tuple[Any, ...]] = zip(
        raw.times, raw.price, raw.size, raw.exchange, raw.conditions, raw.id, raw.tape,
        raw.amendment, strict=True,
    )  # fmt: skip
    return (RawTrade(symbol, *row) for row in columns)


def _quotes(raw: RawQuotes, symbol: str) -> Iterator[RawQuote]:
    columns: Iterable[tuple[Any, ...]] = zip(
        raw.times, raw.bid_price, raw.bid_size, raw.bid_exchange,
        raw.ask_price, raw.ask_size, raw.ask_exchange, raw.conditions, raw.tape, strict=True,
    )  # fmt: skip
    return (RawQuote(symbol, *row) for row in columns)


def _stretch(raw: RawSeries, start: int, end: int) -> RawSeries:
    columns = {name: _part(getattr(raw, name), start, end) for name in raw.__struct_fields__}
    return type(raw)(**columns)


def _part(column: Decimals | Sequence[Any] | None, start: int, end: int) -> Any:
    if column is None:
        return None
    return column.part(start, end) if isinstance(column, Decimals) else column[start:end]


def _kept(raw: RawSeries, keep: Sequence[bool]) -> RawSeries:
    columns = {name: _kept_of(getattr(raw, name), keep) for name in raw.__struct_fields__}
    return type(raw)(**columns)


def _kept_of(column: Decimals | Sequence[Any] | None, keep: Sequence[bool]) -> Any:
    if column is None:
        return None
    kept = list(compress(column, keep))
    return decimals(kept) if isinstance(column, Decimals) else kept


# ------------------------------------------------------------------------------------- the blocks


def _block(raw: RawSeries, origin: Origin) -> Block:
    match raw:
        case RawBars():
            return BarBlock(
                origin=origin,
                times=array("q", raw.times),
                open=raw.open,
                high=raw.high,
                low=raw.low,
                close=raw.close,
                volume=counts(raw.volume),
                trade_count=counts(raw.trade_count),
                vwap=raw.vwap,
            )
        case RawTrades():
            return TradeBlock(
                origin=origin,
                times=array("q", raw.times),
                price=raw.price,
                size=counts(raw.size),
                exchange=codes(raw.exchange),
                conditions=codes(raw.conditions),
                id=counts(raw.id),
                tape=codes(raw.tape),
                amendment=codes(raw.amendment),
            )
        case RawQuotes():
            return _quote_block(raw, origin)


def _quote_block(raw: RawQuotes, origin: Origin) -> QuoteBlock:
    bid_price, bid_size, bid_exchange = _side(raw.bid_price, raw.bid_size, raw.bid_exchange)
    ask_price, ask_size, ask_exchange = _side(raw.ask_price, raw.ask_size, raw.ask_exchange)
    return QuoteBlock(
        origin=origin,
        times=array("q", raw.times),
        bid_price=bid_price,
        bid_size=bid_size,
        bid_exchange=bid_exchange,
        ask_price=ask_price,
        ask_size=ask_size,
        ask_exchange=ask_exchange,
        conditions=codes(raw.conditions),
        tape=codes(raw.tape),
    )


def _side(
    price: Decimals, sizes: Numbers, exchanges: Texts
) -> tuple[Decimals | None, Counts | None, Codes | None]:
    """Return one side of quotes, of which nothing is left where it has no price."""
    prices: Sequence[object] = price.values if price.wide is None else price.wide
    if 0 not in prices:
        return price, counts(sizes), codes(exchanges)
    there = [bool(one) for one in prices]
    if not any(there):
        return None, None, None
    return (
        decimals([one or None for one in price])
        if price.wide is not None
        else Decimals(
            price.exponent,
            price.values,
            tuple(row for row, is_there in enumerate(there) if not is_there),
        ),
        counts([size if is_there else None for size, is_there in zip(sizes, there, strict=True)]),
        codes([one if is_there else None for one, is_there in zip(exchanges, there, strict=True)]),
    )
