"""Bars added up from trades by the consolidated tape's rules, as far as they are known."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache
from itertools import accumulate, groupby
from typing import NamedTuple, Protocol

import msgspec

from .timestamps import MINUTE, days_after, new_york, render

_VOLUMELESS = frozenset("MQ9")
"""Official open and close and the corrected close repeat volume that was counted before."""

_PRICELESS = frozenset("CGHIMNPQRUVWZ47")
"""Not the price of this moment: odd lots, averages, prior references, out of sequence."""

_AVERAGE_PRICE = "B"
"""Average price on the NYSE tapes; on the Nasdaq tape the same letter is a bunched trade."""

_EXTENDED_HOURS = "T"

_VWAP_STEP = Decimal("0.000001")


class Weight(NamedTuple):
    """What a trade counts for."""

    adds_volume: bool
    """Whether it counts in a bar's volume and number of trades."""
    sets_price: bool
    """Whether it moves the prices of a minute bar, and can be the latest trade."""
    sets_daily_price: bool
    """Whether it moves the prices of a daily bar: trades in extended hours do not."""


@lru_cache(maxsize=1024)
def weigh(conditions: tuple[str, ...], tape: str) -> Weight:
    """Return what a trade under *conditions* on *tape* counts for.

    Args:
        conditions: Sale condition letters; none at all is a regular sale.
        tape: `A` NYSE, `B` regional, `C` Nasdaq; empty when unknown.
    """
    averaged = _AVERAGE_PRICE in conditions and tape in ("A", "B")
    sets_price = not averaged and _PRICELESS.isdisjoint(conditions)
    return Weight(
        adds_volume=_VOLUMELESS.isdisjoint(conditions),
        sets_price=sets_price,
        sets_daily_price=sets_price and _EXTENDED_HOURS not in conditions,
    )


class Trade(NamedTuple):
    """What a bar needs to know of a trade."""

    time: int
    """Nanoseconds since the epoch."""
    price: Decimal
    """As the recording wrote it, in US dollars a share."""
    size: int
    """In shares."""
    weight: Weight
    """What it counts for."""


class Tape(Protocol):
    """Trades of one symbol in order of time."""

    def trades(self, start: int, end: int) -> Iterable[Trade]:
        """Return the trades of the half-open interval from *start* to *end*."""
        ...


class Bar(msgspec.Struct, frozen=True):
    """A bar in Alpaca's words."""

    t: str
    o: Decimal
    h: Decimal
    l: Decimal  # noqa: E741  (the key on the wire)
    c: Decimal
    v: int
    n: int
    vw: Decimal | msgspec.UnsetType


_ENCODER = msgspec.json.Encoder(decimal_format="number")


class Prices(NamedTuple):
    """First, highest, lowest and last price."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal

    @classmethod
    def of(cls, prices: Sequence[Decimal]) -> Prices | None:
        """Return the prices of a stretch of trades, or None when there are none."""
        if not prices:
            return None
        return cls(prices[0], max(prices), min(prices), prices[-1])


def _join(earlier: Prices | None, later: Prices | None) -> Prices | None:
    if earlier is None or later is None:
        return earlier or later
    return Prices(
        earlier.open,
        max(earlier.high, later.high),
        min(earlier.low, later.low),
        later.close,
    )


@dataclass(frozen=True, slots=True)
class Totals:
    """What a stretch of trades adds up to."""

    minute_prices: Prices | None = None
    daily_prices: Prices | None = None
    volume: int = 0
    count: int = 0
    notional: Decimal = Decimal(0)

    @classmethod
    def of(cls, trades: Iterable[Trade]) -> Totals:
        """Add up *trades*."""
        kept = list(trades)
        counted = [trade for trade in kept if trade.weight.adds_volume]
        return cls(
            Prices.of([trade.price for trade in kept if trade.weight.sets_price]),
            Prices.of([trade.price for trade in kept if trade.weight.sets_daily_price]),
            volume=sum(trade.size for trade in counted),
            count=len(counted),
            notional=sum((trade.price * trade.size for trade in counted), Decimal(0)),
        )

    def plus(self, later: Totals) -> Totals:
        """Return the totals of this stretch followed by *later*."""
        return Totals(
            _join(self.minute_prices, later.minute_prices),
            _join(self.daily_prices, later.daily_prices),
            self.volume + later.volume,
            self.count + later.count,
            self.notional + later.notional,
        )

    def bar(self, start: int, prices: Prices) -> bytes:
        """Return the bar that starts at *start* in Alpaca's wire shape."""
        bar = Bar(render(start), *prices, v=self.volume, n=self.count, vw=self._vwap())
        return _ENCODER.encode(bar)

    def _vwap(self) -> Decimal | msgspec.UnsetType:
        if not self.volume:
            return msgspec.UNSET
        return in_plain_digits(self.notional / self.volume)


def in_plain_digits(average: Decimal, step: Decimal = _VWAP_STEP) -> Decimal:
    """Return *average* rounded to a multiple of *step*, without trailing zeros."""
    # In plain digits: normalize() alone turns 100 into 1E+2.
    return Decimal(f"{average.quantize(step).normalize():f}")


class DayBars:
    """The bars of one symbol's New York day at any instant of it."""

    def __init__(self, tape: Tape, day: date) -> None:
        """Add up every minute of *day* once, so that any instant is answered from few sums."""
        self._tape = tape
        self._start = new_york(day)
        minutes = list(_minutes(tape.trades(self._start, new_york(days_after(day, 1)))))
        self._starts = [start for start, _ in minutes]
        self._minutes = [totals for _, totals in minutes]
        self._running = list(accumulate(self._minutes, Totals.plus, initial=Totals()))

    def minute_bar(self, instant: int) -> tuple[int, bytes] | None:
        """Return start and bar of the newest minute complete at *instant*, or None.

        A minute without a trade that sets a price has no bar.
        """
        complete = bisect_right(self._starts, instant - MINUTE)
        for index in reversed(range(complete)):
            prices = self._minutes[index].minute_prices
            if prices is not None:
                start = self._starts[index]
                return start, self._minutes[index].bar(start, prices)
        return None

    def daily_bar(self, instant: int) -> tuple[int, bytes] | None:
        """Return start and bar of the day as far as it has come at *instant*, or None."""
        complete = bisect_right(self._starts, instant - MINUTE)
        totals = self._running[complete]
        if complete < len(self._starts):
            begun = self._tape.trades(self._starts[complete], instant + 1)
            totals = totals.plus(Totals.of(begun))
        if totals.daily_prices is None:
            return None
        return self._start, totals.bar(self._start, totals.daily_prices)

    def minute_bars(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Yield start and bar of the minutes that begin from *start* to before *end*."""
        for index in self._between(start, end):
            prices = self._minutes[index].minute_prices
            if prices is not None:
                begin = self._starts[index]
                yield begin, self._minutes[index].bar(begin, prices)

    def running_bars(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Yield the day's bar as it stood after each minute that begins from *start* to *end*.

        With each comes the start of the last minute in it. A minute without a trade adds none.
        """
        for index in self._between(start, end):
            totals = self._running[index + 1]
            if totals.daily_prices is not None:
                yield self._starts[index], totals.bar(self._start, totals.daily_prices)

    def _between(self, start: int, end: int) -> range:
        return range(bisect_left(self._starts, start), bisect_left(self._starts, end))


def _minutes(trades: Iterable[Trade]) -> Iterator[tuple[int, Totals]]:
    for start, group in groupby(trades, lambda trade: trade.time - trade.time % MINUTE):
        yield start, Totals.of(group)
