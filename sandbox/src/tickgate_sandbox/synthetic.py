"""A made-up market for a first run with no recordings at hand.

Five shares walk at random around a start price, in trading hours only: outside them the last
values of the session stand, as they would on a real market. A day's walk depends on nothing
but seed, symbol, day and step, so any instant can be asked again, in any order.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from functools import cached_property, lru_cache
from itertools import islice
from typing import Final

import msgspec

from .bars import DayBars, Trade, weigh
from .calendar import ExchangeCalendar, Session
from .channels import stream_record
from .market import DailyBars, Due
from .timestamps import MINUTE, SECOND, days_after, new_york_date, render

START_PRICES: Final = {
    "AAPL": 22_850,
    "AMZN": 21_940,
    "GOOGL": 27_860,
    "MSFT": 50_410,
    "TSLA": 39_575,
}
"""The made-up shares and the price around which each walks, in cents."""

_RANGE = 0.02
"""A price strays at most this far from its start price."""
_LONGEST_MOVE = 3
"""In cents a step."""
_ROUND_LOT = 100
_ODD_LOT_EVERY = 8
"""One trade in so many is an odd lot."""
_TAPE = "C"
_EXCHANGES = "QPKZV"
_CONDITIONS = {
    (True, False): ("@",),
    (True, True): ("@", "I"),
    (False, False): ("@", "T"),
    (False, True): ("@", "T", "I"),
}
"""Sale conditions by whether the session is on and whether the trade is an odd lot."""

_ENCODER = msgspec.json.Encoder(decimal_format="number")


class Dice:
    """Small random numbers out of the random bits of one step."""

    __slots__ = ("_left",)

    def __init__(self, bits: int) -> None:
        """Use up *bits*."""
        self._left = bits

    def below(self, limit: int) -> int:
        """Return a number from 0 to before *limit*."""
        self._left, number = divmod(self._left, limit)
        return number

    def pick(self, letters: str) -> str:
        """Return one of *letters*."""
        return letters[self.below(len(letters))]

    def lots(self, most: int) -> int:
        """Return a size of up to *most* round lots, in shares."""
        return _ROUND_LOT * (1 + self.below(most))


@lru_cache(maxsize=65_536)
def dollars(cents: int) -> Decimal:
    """Return *cents* in dollars with no trailing zeros, as Alpaca writes prices."""
    whole, rest = divmod(cents, 100)
    return Decimal(f"{whole}.{rest:02}".rstrip("0").rstrip("."))


class SyntheticDay:
    """One symbol's walk through one session: at each step a quote, and soon after it a trade."""

    def __init__(self, symbol: str, price: int, session: Session, step: int, seed: int) -> None:
        """Draw the walk.

        Args:
            symbol: The share.
            price: The price in cents around which it walks.
            session: The session to walk through, pre-market and after-hours included.
            step: Nanoseconds between two updates.
            seed: Another seed gives another walk.
        """
        self._day = session.day
        self._open = session.open
        self._close = session.close
        self._first = session.extended_open
        self._step = step
        steps = -(-(session.extended_close - self._first) // step)
        source = random.Random(f"{seed}/{symbol}/{session.day}")
        self._mids = list(_walk(price, source, steps))
        self._quote_bits = [source.getrandbits(32) for _ in range(steps)]
        self._trade_bits = [source.getrandbits(64) for _ in range(steps)]

    @cached_property
    def bars(self) -> DayBars:
        """The day's bars, added up from its own trades."""
        return DayBars(self, self._day)

    def quote(self, instant: int) -> bytes | None:
        """Return the quote that stood at *instant*."""
        index = self._index(instant)
        return self._quote(index) if index >= 0 else None

    def middle(self, instant: int) -> int | None:
        """Return the price in cents around which the quote at *instant* stood."""
        index = self._index(instant)
        return self._mids[index] if index >= 0 else None

    def trade(self, instant: int) -> bytes | None:
        """Return the last trade of the session that set a price."""
        for index in range(self._index(instant), -1, -1):
            trade, conditions = self._trade(index)
            if trade.time <= instant and trade.weight.sets_price:
                return _trade_json(trade, conditions, trade_id=index + 1)
        return None

    def trades(self, start: int, end: int) -> Iterator[Trade]:
        """Return the trades of the half-open interval from *start* to *end*."""
        first = max(0, self._index(start))
        for index in range(first, self._index(end) + 1):
            trade, _ = self._trade(index)
            if start <= trade.time < end:
                yield trade

    def due(self, channel: str, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Yield what is sent on *channel* from *start* to before *end*, in the shape of REST."""
        if channel == "quotes":
            yield from self._quotes(start, end)
        elif channel == "trades":
            yield from self._trades(start, end)
        elif channel == "bars":
            for begin, bar in self.bars.minute_bars(start - MINUTE, end - MINUTE):
                yield begin + MINUTE, bar
        elif channel == "dailyBars":
            for begin, bar in self.bars.running_bars(start - MINUTE, end - MINUTE):
                yield begin + MINUTE, bar

    def _quotes(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        for index in range(max(0, self._index(start - 1) + 1), self._index(end - 1) + 1):
            yield self._first + index * self._step, self._quote(index)

    def _trades(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        for index in range(max(0, self._index(start)), self._index(end) + 1):
            trade, conditions = self._trade(index)
            if start <= trade.time < end:
                yield trade.time, _trade_json(trade, conditions, trade_id=index + 1)

    def _index(self, instant: int) -> int:
        """Return the newest step at or before *instant*; negative before the first."""
        return min((instant - self._first) // self._step, len(self._mids) - 1)

    def _sides(self, index: int) -> tuple[int, int]:
        """Return bid and ask in cents, never closer than the two ticks around the middle."""
        mid = self._mids[index]
        wider = self._quote_bits[index] % 2
        return mid - 1 - wider, mid + 1 + wider

    def _quote(self, index: int) -> bytes:
        bid, ask = self._sides(index)
        dice = Dice(self._quote_bits[index] >> 1)
        return _ENCODER.encode(
            {
                "t": render(self._first + index * self._step),
                "ax": dice.pick(_EXCHANGES),
                "ap": dollars(ask),
                "as": dice.lots(20),
                "bx": dice.pick(_EXCHANGES),
                "bp": dollars(bid),
                "bs": dice.lots(20),
                "c": ["R"],
                "z": _TAPE,
            }
        )

    def _trade(self, index: int) -> tuple[Trade, tuple[str, ...]]:
        """Return a step's trade and its sale conditions."""
        dice = Dice(self._trade_bits[index])
        side = self._sides(index)[dice.below(2)]
        odd_lot = dice.below(_ODD_LOT_EVERY) == 0
        size = 1 + dice.below(_ROUND_LOT - 1) if odd_lot else dice.lots(9)
        # After the quote it trades on and before the next one.
        time = self._first + index * self._step + 1 + dice.below(self._step // 2)
        in_session = self._open <= time < self._close
        conditions = _CONDITIONS[in_session, odd_lot]
        return Trade(time, dollars(side), size, weigh(conditions, _TAPE)), conditions


def _trade_json(trade: Trade, conditions: tuple[str, ...], trade_id: int) -> bytes:
    return _ENCODER.encode(
        {
            "t": render(trade.time),
            "x": _EXCHANGES[trade_id % len(_EXCHANGES)],
            "p": trade.price,
            "s": trade.size,
            "c": conditions,
            "i": trade_id,
            "z": _TAPE,
        }
    )


def _walk(start: int, source: random.Random, steps: int) -> Iterator[int]:
    """Yield mid prices in cents that never leave the range around *start*."""
    # Two cents inside, so that bid and ask stay in the range as well.
    reach = int(start * _RANGE) - 2
    distance = 0
    for _ in range(steps):
        yield start + distance
        distance += source.randint(-_LONGEST_MOVE, _LONGEST_MOVE)
        distance = max(-reach, min(reach, distance))


class SyntheticMarket:
    """The made-up shares as a market."""

    def __init__(
        self,
        calendar: ExchangeCalendar,
        *,
        symbols: frozenset[str] = frozenset(START_PRICES),
        step: float = 3.0,
        seed: int = 0,
    ) -> None:
        """Make a market.

        Args:
            calendar: The sessions in which prices move.
            symbols: The shares to offer, out of `START_PRICES`.
            step: Seconds of market time between two updates of a share.
            seed: Another seed gives other walks.
        """
        self._symbols = symbols
        self._calendar = calendar
        self._step = round(step * SECOND)
        self._seed = seed
        # Three days of each share answer everything about one instant.
        self._drawn = lru_cache(maxsize=4 * len(START_PRICES))(self._draw)

    @property
    def symbols(self) -> frozenset[str]:
        """The made-up shares."""
        return self._symbols

    async def load(self, symbols: Iterable[str]) -> None:
        """Do nothing: days are drawn when they are asked for."""

    def day(self, symbol: str, session: Session) -> SyntheticDay:
        """Return the walk of *symbol*, one of the made-up shares, through *session*."""
        return self._drawn(symbol, session)

    def due(self, channel: str, symbol: str, start: int, end: int) -> Sequence[Due]:
        """Return what the stream sends of *symbol* from *start* to before *end*."""
        if symbol not in self._symbols:
            return []
        # The bar of a day's last minute is sent when the minute is over.
        days = new_york_date(start - MINUTE), new_york_date(end)
        return [
            (at, stream_record(channel, symbol, record))
            for session in self._calendar.between(*days)
            for at, record in self._drawn(symbol, session).due(channel, start, end)
        ]

    def quote(self, symbol: str, instant: int) -> bytes | None:
        """Return the quote of *symbol* that stood at *instant*."""
        for day in self._newest_days(symbol, instant):
            if (quote := day.quote(instant)) is not None:
                return quote
        return None

    def trade(self, symbol: str, instant: int) -> bytes | None:
        """Return the last trade that set the price of *symbol*."""
        for day in self._newest_days(symbol, instant):
            if (trade := day.trade(instant)) is not None:
                return trade
        return None

    def middle(self, symbol: str, instant: int) -> int:
        """Return the price in cents around which the quote of *symbol* stood at *instant*."""
        for day in self._newest_days(symbol, instant):
            if (middle := day.middle(instant)) is not None:
                return middle
        return START_PRICES[symbol]

    def minute_bar(self, symbol: str, instant: int) -> bytes | None:
        """Return the newest minute bar that was complete at *instant*."""
        for day in self._newest_days(symbol, instant):
            if (bar := day.bars.minute_bar(instant)) is not None:
                return bar[1]
        return None

    def daily_bars(self, symbol: str, instant: int) -> DailyBars:
        """Return the running or newest daily bar and that of the session before."""
        bars = (
            bar[1]
            for day in self._newest_days(symbol, instant, count=3)
            if (bar := day.bars.daily_bar(instant)) is not None
        )
        return DailyBars(*islice(bars, 2))

    def _newest_days(self, symbol: str, instant: int, count: int = 2) -> Iterator[SyntheticDay]:
        """Yield the day of *instant* and those before it: trading may not have begun today."""
        if symbol not in self._symbols:
            return
        last = new_york_date(instant)
        for _ in range(count):
            session = self._calendar.on_or_before(last)
            yield self._drawn(symbol, session)
            last = days_after(session.day, -1)

    def _draw(self, symbol: str, session: Session) -> SyntheticDay:
        return SyntheticDay(symbol, START_PRICES[symbol], session, self._step, self._seed)
